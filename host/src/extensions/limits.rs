//! What an instance may use. Every limit is a field of the extension's configuration.

use std::time::Duration;

/// Limits of one extension, for each of its instances.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Guest CPU time of one call. Time in the host does not count.
    pub cpu: Duration,
    /// More of it for each MiB that the call has to read, so that a long conversation can be decoded.
    pub cpu_per_mib: Duration,
    /// Wall-clock time of one call, waiting included.
    pub wall: Duration,
    /// Linear memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Elements of a table.
    pub table_elements: usize,
    /// Handles that an instance holds at once.
    pub handles: usize,
    /// Bytes that cross in one call of the host.
    pub host_call_bytes: usize,
    /// Log lines a second; more are dropped with one notice.
    pub log_lines_per_second: u32,
    /// Bytes that a stream filter may hold back.
    pub hold_bytes: usize,
    /// How long it may hold them back.
    pub hold: Duration,
    /// How deep requests that extensions make may be nested.
    pub generate_depth: u32,
    /// Requests that may be made for one request of a caller.
    pub generate_calls: u32,
    /// Tokens that they may take together.
    pub generate_tokens: u64,
    /// Time of one of them.
    pub generate: Duration,
    /// Idle instances that are kept warm.
    pub warm_instances: usize,
}

impl Limits {
    /// As JSON, by the names of the settings.
    pub fn to_json(&self) -> serde_json::Value {
        let ms = |d: Duration| d.as_millis() as u64;
        serde_json::json!({
            "cpu_ms": ms(self.cpu),
            "cpu_ms_per_mib": ms(self.cpu_per_mib),
            "wall_ms": ms(self.wall),
            "memory_mb": self.memory_bytes >> 20,
            "table_elements": self.table_elements,
            "handles": self.handles,
            "host_call_bytes": self.host_call_bytes,
            "log_lines_per_second": self.log_lines_per_second,
            "hold_bytes": self.hold_bytes,
            "hold_ms": ms(self.hold),
            "generate_depth": self.generate_depth,
            "generate_calls": self.generate_calls,
            "generate_tokens": self.generate_tokens,
            "generate_ms": ms(self.generate),
            "warm_instances": self.warm_instances,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(5),
            cpu_per_mib: Duration::from_millis(50),
            wall: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            handles: 256,
            host_call_bytes: 4 << 20,
            log_lines_per_second: 100,
            hold_bytes: 64 << 10,
            hold: Duration::from_secs(2),
            generate_depth: 4,
            generate_calls: 16,
            generate_tokens: 1_000_000,
            generate: Duration::from_secs(120),
            warm_instances: 64,
        }
    }
}

impl Limits {
    /// Guest CPU time of a call that has to read this many bytes.
    pub fn cpu_for(&self, bytes: usize) -> Duration {
        self.cpu + self.cpu_for_reading(bytes)
    }

    /// What of it is for the reading.
    pub fn cpu_for_reading(&self, bytes: usize) -> Duration {
        self.cpu_per_mib.mul_f64(bytes as f64 / f64::from(1 << 20))
    }
}
