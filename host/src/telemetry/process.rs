//! The process itself: memory, CPU, files. Names are those that Prometheus' own clients use.
//!
//! The kernel is asked when somebody looks. Where it has no `/proc`, what would come from there is left out.

use std::fmt;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::time::{ClockId, clock_gettime};

/// The process, since it began to serve.
#[derive(Debug)]
pub struct Process {
    /// Seconds since 1970.
    began: f64,
    since: Instant,
}

/// What the kernel says of the process now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Memory that is in RAM, in bytes.
    pub resident: Option<u64>,
    /// Addresses that are taken, in bytes.
    pub virtual_memory: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<u64>,
    /// Most of them that there may be.
    pub max_files: Option<u64>,
}

impl Default for Process {
    fn default() -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { began, since: Instant::now() }
    }
}

impl Process {
    /// How long it has been serving, in seconds.
    pub fn uptime(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// CPU time of all threads, in seconds.
    pub fn cpu() -> f64 {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
    }
}

impl Usage {
    /// As it is now.
    pub fn now() -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").map(|all| all.count() as u64).ok();
        // The folder itself was open while it was read.
        Self::of(&read("status"), &read("limits"), open.map(|n| n.saturating_sub(1)))
    }

    fn of(status: &str, limits: &str, open_files: Option<u64>) -> Self {
        let number =
            |name: &str| -> Option<u64> { status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok() };
        let kib = |name: &str| number(name).map(|n| n << 10);
        let max_files =
            limits.lines().find_map(|l| l.strip_prefix("Max open files")).and_then(|l| l.split_whitespace().next()?.parse().ok());
        Self { resident: kib("VmRSS:"), virtual_memory: kib("VmSize:"), threads: number("Threads:"), open_files, max_files }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = Usage::now();
        let gauges = [
            ("process_resident_memory_bytes", "Memory of the process that is in RAM", usage.resident),
            ("process_virtual_memory_bytes", "Addresses that the process has taken", usage.virtual_memory),
            ("process_threads", "Threads of the process", usage.threads),
            ("process_open_fds", "Open files and connections", usage.open_files),
            ("process_max_fds", "Most open files and connections", usage.max_files),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(value as f64))?;
            }
        }
        let mut gauge =
            |name: &str, help: &str, value: f64| encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value);
        gauge("process_start_time_seconds", "When the process began to serve, in seconds since 1970", self.began)?;
        gauge("wasmgate_uptime_seconds", "How long the process has been serving", self.uptime())?;
        encoder
            .encode_descriptor("process_cpu_seconds", "CPU time of the process", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&Self::cpu(), None)?;
        let labels = [("version", env!("CARGO_PKG_VERSION"))];
        let mut info =
            encoder.encode_descriptor("wasmgate_build_info", "What was built; the value is always 1", None, MetricType::Gauge)?;
        info.encode_family(&labels)?.encode_gauge(&1_i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\twasmgate\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 4096                 files\n";
        let expected =
            Usage { resident: Some(1 << 20), virtual_memory: Some(2 << 20), threads: Some(7), open_files: Some(3), max_files: Some(1_024) };
        assert_eq!(Usage::of(status, limits, Some(3)), expected);
        assert_eq!(Usage::of("", "Max open files unlimited unlimited files\n", None), Usage::default());
    }

    #[test]
    fn cpu_time_is_counted() {
        assert!(Process::cpu() > 0.0);
    }
}
