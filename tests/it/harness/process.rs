//! What the system knows of a process: its memory and its descriptors. Where it tells nothing, a test finds nothing wrong.

use std::fs;

/// What a process holds in memory (`VmRSS:`), or held at most (`VmHWM:`): a line of proc_pid_status(5), in KiB.
pub fn memory_kib(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What a process holds now, to be compared with later.
pub fn held_kib(pid: u32) -> Option<u64> {
    memory_kib(pid, "VmRSS:")
}

/// By how much it has grown since.
pub fn growth_kib(pid: u32, before: Option<u64>) -> u64 {
    held_kib(pid).zip(before).map_or(0, |(now, before)| now.saturating_sub(before))
}

/// How many descriptors it has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
