//! What the system says of this process (Linux; elsewhere nothing is known).

use std::fs;

use super::catalogue::Metrics;

/// Clock ticks a second in `/proc/self/stat`: the same on every Linux, whatever the kernel's own (`USER_HZ`).
const TICKS: f64 = 100.0;

pub(super) fn read(metrics: &Metrics) {
    if let Some((cpu, started)) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| times(&stat)) {
        metrics.cpu.raise_to([], cpu);
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted(&stat)) {
            metrics.started.set([], booted + started);
        }
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)) {
        metrics.memory.set([], bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        metrics.open_files.set([], super::count(files.count()));
    }
}

/// Processor time, and when the process started after the boot, in seconds.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The second field is the program's name, in brackets and of any characters.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(((field(14)? + field(15)?) / TICKS, field(22)? / TICKS))
}

/// When the system booted, in seconds since 1970.
fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 9 0 0 0 150 50 0 0 20 0 3 0 1200 9 9";
        assert_eq!(times(stat), Some((2.0, 12.0)));
        assert_eq!(booted("cpu 1\nbtime 1700000000\n"), Some(1_700_000_000.0));
        assert_eq!(resident("Name:\tx\nVmRSS:\t  20 kB\n"), Some(20480.0));
        assert_eq!(times("nonsense"), None);
    }
}
