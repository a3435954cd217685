//! The machine that a result belongs to: what it is, what else it did meanwhile, and what in it spoils a measurement.
//!
//! Owns what is read from the system, and the warnings that follow. Must not know how they are shown. Trade-off: everything
//! is read from files of /proc and /sys, before and after the run and never during it; where they are not, it is left out.

use std::time::Instant;

use serde::Serialize;

use super::load::Load;
use super::plan::{Plan, Until};
use crate::cli::cores;
use crate::connection::Transport;
use crate::units::{Count, Latency};

/// /proc counts a CPU's time in ticks of a hundredth of a second (`USER_HZ`), whatever the kernel's own are.
const TICK_NS: u64 = 10_000_000;

/// From this share on, other programs are part of the result.
const FOREIGN_SHARE: f64 = 0.10;

/// From this share on, the machine below this one is.
const STOLEN_SHARE: f64 = 0.02;

/// A clock that is a system call and not a page of memory costs several times this.
const CLOCK_COST_NS: u64 = 100;

/// From here on messages are bulk data, which bbr paces.
const BULK_BYTES: usize = 16 * 1024;

/// The kernel's own book-keeping for a small datagram, at least.
const OVERHEAD_BYTES: u64 = 512;

/// Closed connections keep their port so long (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_S: u64 = 60;

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

/// What the threads of the server inside this process have used so far: all that are neither the load's nor the main one.
fn server_usage() -> Option<Usage> {
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

/// Keeps the current thread, and those that it starts, on these CPUs.
#[cfg(target_os = "linux")]
pub fn pin(cpus: &[usize]) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Time of all CPUs, in ticks since the machine started.
#[derive(Debug, Clone, Copy)]
struct MachineTime {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl MachineTime {
    /// The first line of /proc/stat (proc_stat(5)).
    fn now() -> Option<MachineTime> {
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
fn own_ticks() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold anything but ends with the last parenthesis; of what follows, the 12th and 13th are its times.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Readings from before the run.
#[derive(Debug)]
pub struct Before {
    machine: Option<MachineTime>,
    own: Option<u64>,
    server: Option<Usage>,
}

impl Before {
    /// Reads them.
    pub fn read() -> Before {
        Before { machine: MachineTime::now(), own: own_ticks(), server: server_usage() }
    }
}

/// The machine, and what it did during the run.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    command_line: Vec<String>,
    system: &'static str,
    kernel: Option<String>,
    cpu_model: Option<String>,
    /// CPUs that this process may use.
    cpus: usize,
    clock_source: Option<String>,
    /// What one look at the clock costs; each round trip holds one, and nothing is subtracted.
    clock_cost_ns: u64,
    congestion_control: Option<String>,
    idle_driver: Option<String>,
    frequency_governor: Option<String>,
    load_average: Option<String>,
    /// As shares of all CPUs during the run.
    cpu_own: Option<f64>,
    /// Other programs'; a server in another process of this machine is among them.
    cpu_foreign: Option<f64>,
    /// Taken by the machine below a virtual one.
    cpu_stolen: Option<f64>,
    /// Of the threads that send and receive.
    load_threads: Option<Usage>,
    /// Of echo-bench's own server.
    own_server: Option<Usage>,
    /// What to know before believing the result, and what to do about it.
    pub warnings: Vec<String>,
}

fn file(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Environment {
    /// Reads it, after a run.
    pub fn read(before: &Before, plan: &Plan, load_threads: Option<Usage>, is_local: bool) -> Environment {
        let machine = MachineTime::now().zip(before.machine);
        let share = |of: fn(&MachineTime) -> u64| {
            let (now, then) = machine.as_ref()?;
            let all = now.all.saturating_sub(then.all);
            (all > 0).then(|| of(now).saturating_sub(of(then)) as f64 / all as f64)
        };
        let own = own_ticks().zip(before.own).zip(machine).and_then(|((now, then), (machine, earlier))| {
            let all = machine.all.saturating_sub(earlier.all);
            (all > 0).then(|| (now - then) as f64 / all as f64)
        });
        let info = file("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let has_own = plan.endpoint.is_none();
        let mut environment = Environment {
            command_line: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            system: std::env::consts::OS,
            kernel: file("/proc/sys/kernel/osrelease"),
            cpu_model: model.map(|(_, model)| model.to_owned()),
            cpus: cores(),
            clock_source: file("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_cost_ns: clock_cost_ns(),
            congestion_control: plan
                .options
                .congestion
                .clone()
                .or_else(|| file("/proc/sys/net/ipv4/tcp_congestion_control")),
            idle_driver: file("/sys/devices/system/cpu/cpuidle/current_driver"),
            frequency_governor: file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load_average: file("/proc/loadavg"),
            cpu_own: own,
            cpu_foreign: share(|time| time.busy).zip(own).map(|(busy, own)| (busy - own).max(0.0)),
            cpu_stolen: share(|time| time.stolen),
            load_threads,
            own_server: if has_own {
                server_usage().zip(before.server).map(|(now, then)| now.since(then))
            } else {
                None
            },
            warnings: Vec::new(),
        };
        environment.warnings = environment.warnings_for(plan, is_local && !has_own);
        environment
    }

    /// `own 98 % of one, 2 of 2 ...`: who used the CPUs, in one line.
    pub fn text(&self) -> String {
        let percent = |share: Option<f64>| share.map_or("?".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let mut text = format!(
            "{} CPUs: {} ours, {} others', {} stolen",
            self.cpus,
            percent(self.cpu_own),
            percent(self.cpu_foreign),
            percent(self.cpu_stolen)
        );
        if let Some(usage) = &self.load_threads {
            text.push_str(&format!(
                "; {} waits, {} preemptions",
                Count(usage.voluntary_switches),
                Count(usage.involuntary_switches)
            ));
        }
        text.push_str(&format!("; clock {} ns", self.clock_cost_ns));
        text
    }

    /// What spoils this result, and what helps. `has_neighbour`: the server is another process of this machine.
    fn warnings_for(&self, plan: &Plan, has_neighbour: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        // The ticks of a run much shorter than a second are too coarse to accuse anybody.
        let is_long = self.load_threads.is_some_and(|usage| usage.cpu_ns > 20 * TICK_NS);
        if let Some(foreign) = self.cpu_foreign.filter(|foreign| is_long && !has_neighbour && *foreign > FOREIGN_SHARE)
        {
            warnings.push(format!("other programs used {} of the CPUs: rerun on a quiet machine", percent(foreign)));
        }
        if let Some(stolen) = self.cpu_stolen.filter(|stolen| *stolen > STOLEN_SHARE) {
            warnings
                .push(format!("{} of the CPUs' time was taken by the host: rerun when it is quiet", percent(stolen)));
        }
        if self.clock_cost_ns > CLOCK_COST_NS {
            let cost = Latency(std::time::Duration::from_nanos(self.clock_cost_ns));
            let source = self.clock_source.as_deref().unwrap_or("unknown");
            warnings.push(format!(
                "a look at the clock costs {cost} (clock source {source}): another one may be in \
                 /sys/devices/system/clocksource/clocksource0/available_clocksource"
            ));
        }
        if plan.transport == Transport::Tcp {
            warnings.extend(self.tcp_warnings(plan));
        }
        if plan.transport == Transport::Udp {
            warnings.extend(window_warning(plan));
        }
        warnings
    }

    fn tcp_warnings(&self, plan: &Plan) -> Vec<String> {
        let mut warnings = Vec::new();
        if plan.options.nodelay == Some(false) {
            warnings
                .push("--nodelay=off: messages may wait 40 ms for an acknowledgement (Nagle's algorithm)".to_owned());
        }
        if self.congestion_control.as_deref() == Some("bbr") && plan.lengths.max() >= BULK_BYTES {
            warnings
                .push("bbr paces bulk data, on loopback to a half or less: compare with --congestion cubic".to_owned());
        }
        if let (Some(messages), Some((low, high))) = (plan.reconnect, ephemeral_ports()) {
            let ports = high - low + 1;
            let rate = ports / TIME_WAIT_S;
            warnings.push(format!(
                "{} local ports, each kept for {TIME_WAIT_S} s: more than {} connections a second (at {messages} messages \
                 each) may run out of them; --linger 0 gives them back at once",
                Count(ports),
                Count(rate)
            ));
        }
        warnings
    }
}

/// A window that the socket's buffer cannot hold is a loss of our own making.
fn window_warning(plan: &Plan) -> Option<String> {
    let Load::Closed { window } = plan.load else { return None };
    let default: u64 = file("/proc/sys/net/core/rmem_default")?.parse().ok()?;
    // What is set is doubled by the kernel, and counts its book-keeping.
    let buffer = plan.options.receive_buffer.map_or(default, |bytes| u64::from(bytes) * 2);
    let needed = u64::from(window) * (plan.lengths.max() as u64 + OVERHEAD_BYTES);
    (needed > buffer).then(|| {
        format!(
            "--window {window} takes up to {} bytes, and the receive buffer holds {}: what does not fit is lost; \
             --receive-buffer {}",
            Count(needed),
            Count(buffer),
            needed / 2 + 1
        )
    })
}

/// The first and last port that connect(2) chooses from.
fn ephemeral_ports() -> Option<(u64, u64)> {
    let text = file("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (low, high) = text.split_once(char::is_whitespace)?;
    Some((low.parse().ok()?, high.trim().parse().ok()?))
}

/// What one look at the clock costs: the median of many.
fn clock_cost_ns() -> u64 {
    const LOOKS: u32 = 100;
    const ROUNDS: usize = 11;
    let mut costs: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..LOOKS {
                std::hint::black_box(Instant::now());
            }
            begun.elapsed().as_nanos() as u64 / u64::from(LOOKS)
        })
        .collect();
    costs.sort_unstable();
    costs[ROUNDS / 2]
}

/// What is told before a run, because it would be a pity to learn it afterwards.
pub fn warnings_before(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    let ends = plan.threads as usize + usize::from(plan.endpoint.is_none());
    if plan.is_spinning && ends > cores() {
        warnings.push(format!(
            "{} threads spin for {} CPUs: they will wait for each other; fewer --threads, or no --spin",
            plan.threads,
            cores()
        ));
    }
    if let (Until::Time(_), Some(_)) = (plan.until, plan.reconnect) {
        warnings.extend(ephemeral_ports().map(|(low, high)| {
            format!(
                "each connection takes one of {} local ports for {TIME_WAIT_S} s (--linger 0: none)",
                Count(high - low + 1)
            )
        }));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::plan::typed as plan;
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_is_read() {
        let before = Before::read();
        let environment = Environment::read(&before, &plan(""), thread_usage(), false);
        assert!(environment.kernel.is_some() && environment.load_average.is_some());
        assert!(environment.clock_cost_ns > 0 && environment.clock_cost_ns < 1_000_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_threads_time_is_its_own() {
        let before = thread_usage().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(30) {}
        let used = thread_usage().unwrap().since(before);
        assert!(used.cpu_ns > 0 && used.cpu_ns < 10_000_000_000, "{used:?}");
    }

    #[test]
    fn what_spoils_a_result_is_told_with_its_remedy() {
        for (words, remedy) in [
            ("--nodelay=off", "Nagle's algorithm"),
            ("-u --window 100000", "--receive-buffer"),
            ("--reconnect 1", "--linger 0"),
        ] {
            let environment = Environment::read(&Before::read(), &plan(words), None, false);
            let told = environment.warnings.iter().any(|warning| warning.contains(remedy));
            assert!(told || cfg!(not(target_os = "linux")), "{words}: {:?}", environment.warnings);
        }
        let spinning = Plan { is_spinning: true, threads: 1000, ..plan("") };
        assert!(warnings_before(&spinning)[0].contains("1000 threads spin"));
        assert!(warnings_before(&plan("")).is_empty());
    }
}
