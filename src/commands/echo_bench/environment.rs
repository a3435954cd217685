//! The machine that a result belongs to: what it is, what else it did meanwhile, and what in it spoils a measurement.
//!
//! Owns what is read from the system, and the warnings that follow. Must not know how they are shown. Trade-off: everything
//! is read from files of /proc and /sys, before and after the run and never during it; where they are not, it is left out.

use serde::Serialize;

/// What a thread, or several, have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Time on a CPU.
    pub cpu_ns: u64,
    /// Times it waited for something.
    pub voluntary_switches: u64,
    /// Times something else was given its CPU.
    pub involuntary_switches: u64,
}

impl Usage {
    /// What was used between two readings.
    pub fn since(&self, before: Usage) -> Usage {
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(before.involuntary_switches),
        }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Usage) {
        self.cpu_ns += other.cpu_ns;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
    }
}

/// What the current thread has used so far; none where there is no /proc.
pub fn thread_usage() -> Option<Usage> {
    usage_of("/proc/thread-self")
}

fn usage_of(folder: &str) -> Option<Usage> {
    let cpu_ns = std::fs::read_to_string(format!("{folder}/schedstat")).ok()?.split(' ').next()?.parse().ok()?;
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let number = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Usage {
        cpu_ns,
        voluntary_switches: number("voluntary_ctxt_switches:")?,
        involuntary_switches: number("nonvoluntary_ctxt_switches:")?,
    })
}

/// Keeps the current thread, and those that it starts, on these CPUs.
#[cfg(target_os = "linux")]
pub fn pin(cpus: &[usize]) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
