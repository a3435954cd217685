//! The machine that a result belongs to: what it is, and what else it did meanwhile.
//!
//! Owns what is read from the system. Must not know how it is shown. Trade-off: everything is read from files of /proc and
//! /sys, before and after the run and never during it; where they are not, it is left out.
//!
//! | file | owns |
//! |---|---|
//! | `usage` | what was used of the CPUs |
//! | `warnings` | what of it spoils a measurement |

mod usage;
mod warnings;

use std::net::IpAddr;
use std::time::Instant;

use serde::Serialize;

use super::plan::Plan;
use crate::cli::cores;
use crate::connection::interface::Interface;
use crate::units::Count;
use usage::{MachineTime, own_ticks, server_usage};
pub use usage::{Usage, thread_usage};
pub use warnings::of_plan as warnings_of_plan;

/// Keeps the current thread, and those that it starts, on this CPU.
#[cfg(target_os = "linux")]
pub fn pin(cpu: usize) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Readings from before the run.
#[derive(Debug)]
pub struct Before {
    /// What is to be feared, by the plan.
    warnings: Vec<String>,
    machine: Option<MachineTime>,
    own: Option<u64>,
    server: Option<Usage>,
}

impl Before {
    /// Reads them.
    pub fn read(warnings: Vec<String>) -> Before {
        Before { warnings, machine: MachineTime::now(), own: own_ticks(), server: server_usage() }
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
    /// Where packets to the server leave.
    interface: Option<Interface>,
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
    /// Reads it, after a run. `server`: where that is, unless it is no IP address.
    pub fn read(before: &Before, plan: &Plan, load_threads: Option<Usage>, server: Option<IpAddr>) -> Environment {
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
            congestion_control: congestion_control(plan),
            interface: server.and_then(Interface::towards),
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
            warnings: before.warnings.clone(),
        };
        let is_local = server.is_none_or(|server| server.to_canonical().is_loopback());
        environment.warnings.extend(environment.warnings_of_run(is_local && !has_own));
        environment
    }

    /// `lo, packets up to 65 536 bytes, noqueue, bbr`: what is between the two, in one line; none where it is not known.
    pub fn path_text(&self) -> Option<String> {
        let Interface { name, mtu_bytes, queueing } = self.interface.as_ref()?;
        let congestion = self.congestion_control.as_ref().map_or(String::new(), |name| format!(", {name}"));
        Some(format!("{name}, packets up to {} bytes, queue {queueing}{congestion}", Count((*mtu_bytes).into())))
    }

    /// `2 CPUs: 49 % ours, 1 % others', 0 % stolen`: who used the CPUs, in one line.
    pub fn text(&self) -> String {
        let percent = |share: Option<f64>| share.map_or("?".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let plural = if self.cpus == 1 { "" } else { "s" };
        let mut text = format!(
            "{} CPU{plural}: {} ours, {} others', {} stolen",
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
            if let Some(migrations) = usage.migrations {
                text.push_str(&format!(", {} migrations", Count(migrations)));
            }
        }
        text.push_str(&format!("; clock {} ns", self.clock_cost_ns));
        text
    }
}

/// The one that is asked for, or the system's.
fn congestion_control(plan: &Plan) -> Option<String> {
    plan.options.congestion.clone().or_else(|| file("/proc/sys/net/ipv4/tcp_congestion_control"))
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::plan::typed as plan;
    use super::*;

    #[test]
    fn the_machine_is_read() {
        let before = Before::read(vec!["fear".to_owned()]);
        let server = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let environment = Environment::read(&before, &plan(""), thread_usage(), server);
        assert!(environment.kernel.is_some() && environment.load_average.is_some());
        assert_eq!((environment.interface.unwrap().name.as_str(), environment.warnings[0].as_str()), ("lo", "fear"));
        assert!(environment.clock_cost_ns > 0 && environment.clock_cost_ns < 1_000_000);
    }

    #[test]
    fn a_threads_time_is_its_own() {
        let before = thread_usage().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < std::time::Duration::from_millis(30) {}
        let used = thread_usage().unwrap().since(before);
        assert!(used.cpu_ns > 0 && used.cpu_ns < 10_000_000_000, "{used:?}");
    }
}
