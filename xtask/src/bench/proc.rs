//! What Linux tells about the CPU time and memory of processes and of the machine (proc(5)).

/// Clock ticks a second in `/proc`. It is 100 on every architecture that Linux runs on today, whatever the kernel's own clock.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process, in clock ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// utime + stime of its threads.
    pub own: u64,
    /// The same of its children that have ended and were waited for.
    pub children: u64,
}

/// From `/proc/PID/stat`. The name in parentheses may hold anything, also parentheses and blanks.
pub fn ticks(stat: &str) -> Option<Ticks> {
    let (_, fields) = stat.rsplit_once(')')?;
    // The first of these is field 3.
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Ticks { own: field(14)? + field(15)?, children: field(16)? + field(17)? })
}

/// Ticks in which these CPUs were not idle, from `/proc/stat`. What the hypervisor took for others counts: it is noise as well.
pub fn busy_ticks(stat: &str, cpus: &[usize]) -> Option<u64> {
    let mut busy = 0;
    for cpu in cpus {
        let label = format!("cpu{cpu}");
        let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&label))?;
        let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        busy += [0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index)).sum::<u64>();
    }
    Some(busy)
}

/// Resident memory in KiB, from `/proc/PID/status`.
pub fn resident_kib(status: &str) -> Option<u64> {
    field(status, "VmRSS")?.trim_end_matches("kB").trim().parse().ok()
}

/// The CPUs that a process may use, from `/proc/PID/status`.
pub fn allowed_cpus(status: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in field(status, "Cpus_allowed_list")?.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// How many CPUs `/proc/cpuinfo` lists.
pub fn cpu_count(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.starts_with("processor")).count()
}

/// The name of the first CPU of `/proc/cpuinfo`.
pub fn cpu_model(cpuinfo: &str) -> &str {
    field(cpuinfo, "model name").unwrap_or("unknown CPU")
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(':').filter(|(label, _)| label.trim() == name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nVmPeak:\t  900 kB\nVmRSS:\t   12345 kB\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1,4\n";

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a ) (b) S 1 42 42 0 -1 4194560 100 200 0 0 7 5 300 20 20 0 3 0 1000 1 1";
        assert_eq!(ticks(stat), Some(Ticks { own: 12, children: 320 }));
        assert_eq!(ticks("42 (x) S 1"), None);
    }

    #[test]
    fn busy_is_what_is_not_idle() {
        let stat =
            "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 4 1000 1000 8 16 32 64 64\ncpu1 1 0 0 5 5 0 0 0 0 0\ncpu10 7 0 0 0 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(busy_ticks(stat, &[0]), Some(63));
        assert_eq!(busy_ticks(stat, &[0, 1]), Some(64));
        assert_eq!(busy_ticks(stat, &[2]), None);
    }

    #[test]
    fn status_and_cpuinfo_are_read() {
        assert_eq!(resident_kib(STATUS), Some(12345));
        assert_eq!(allowed_cpus(STATUS), Some(vec![0, 1, 4]));
        let info = "processor\t: 0\nmodel name\t: Some CPU\n\nprocessor\t: 1\nmodel name\t: Some CPU\n";
        assert_eq!((cpu_count(info), cpu_model(info)), (2, "Some CPU"));
    }

    #[test]
    fn this_process_can_be_read() {
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(ticks(&read("/proc/self/stat")).is_some());
        let cpus = allowed_cpus(&read("/proc/self/status")).unwrap();
        assert!(busy_ticks(&read("/proc/stat"), &cpus).is_some());
        assert!(resident_kib(&read("/proc/self/status")).unwrap() > 0);
    }
}
