//! What threads, this process and the whole machine have used of the CPUs.
//!
//! Owns the readings. Must not know what they mean. Trade-off: files of /proc, read before and after a run and never during
//! it; where they are not, nothing is known.

use serde::Serialize;

/// /proc counts a CPU's time in ticks of a hundredth of a second (`USER_HZ`), whatever the kernel's own are.
pub const TICK_NS: u64 = 10_000_000;

/// What a thread, or several, have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Time on a CPU.
    pub cpu_ns: u64,
    /// Times it waited for something.
    pub voluntary_switches: u64,
    /// Times something else was given its CPU.
    pub involuntary_switches: u64,
    /// Times it went on on another CPU; none where the kernel does not tell.
    pub migrations: Option<u64>,
}

impl Usage {
    /// What was used between two readings.
    pub fn since(&self, before: Usage) -> Usage {
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(before.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(before.involuntary_switches),
            // A thread that has begun since then had none.
            migrations: self.migrations.map(|now| now.saturating_sub(before.migrations.unwrap_or(0))),
        }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Usage) {
        self.cpu_ns += other.cpu_ns;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        self.migrations = match (self.migrations, other.migrations) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
    }
}

/// What the current thread has used so far; none where there is no /proc.
pub fn thread_usage() -> Option<Usage> {
    usage_of("/proc/thread-self")
}

fn usage_of(folder: &str) -> Option<Usage> {
    let cpu_ns = std::fs::read_to_string(format!("{folder}/schedstat")).ok()?.split(' ').next()?.parse().ok()?;
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    // Only kernels with CONFIG_SCHED_DEBUG have this file.
    let sched = std::fs::read_to_string(format!("{folder}/sched")).unwrap_or_default();
    let migrations = sched.lines().find_map(|line| line.strip_prefix("se.nr_migrations")?.split(':').nth(1));
    let number = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Usage {
        cpu_ns,
        voluntary_switches: number("voluntary_ctxt_switches:")?,
        involuntary_switches: number("nonvoluntary_ctxt_switches:")?,
        migrations: migrations.and_then(|count| count.trim().parse().ok()),
    })
}

/// What the threads of the server inside this process have used so far: all that are neither the load's nor the main one.
pub fn server_usage() -> Option<Usage> {
    let mut sum = Usage::default();
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let folder = task.path().display().to_string();
        let name = std::fs::read_to_string(format!("{folder}/comm")).unwrap_or_default();
        if matches!(name.trim(), "server" | "serve") {
            sum.add(&usage_of(&folder)?);
        }
    }
    Some(sum)
}

/// Time of all CPUs, in ticks since the machine started.
#[derive(Debug, Clone, Copy)]
pub struct MachineTime {
    /// In all.
    pub all: u64,
    /// Not idle.
    pub busy: u64,
    /// Taken by the machine below a virtual one.
    pub stolen: u64,
}

impl MachineTime {
    /// The first line of /proc/stat (proc_stat(5)).
    pub fn now() -> Option<MachineTime> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<u64> =
            text.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests' time is in the user's already.
        let [user, nice, system, idle, waiting, interrupts, soft, stolen, ..] = fields[..] else { return None };
        let busy = user + nice + system + interrupts + soft;
        Some(MachineTime { all: busy + idle + waiting + stolen, busy, stolen })
    }
}

/// What this process has used so far, in ticks.
pub fn own_ticks() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold anything but ends with the last parenthesis; of what follows, the 12th and 13th are its times.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}
