//! What spoils a measurement, each with what helps.
//!
//! Owns the thresholds and the words. Must not know how a warning is shown. Trade-off: what follows from the plan is told
//! before the run, because it would be a pity to learn it afterwards; and again with the result, which is read without it.

use std::time::Duration;

use super::super::load::Load;
use super::super::plan::{Plan, Until};
use super::usage::TICK_NS;
use super::{Environment, congestion_control, file};
use crate::cli::cores;
use crate::connection::Transport;
use crate::units::{Count, Latency};

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

/// Descriptors that are not connections: the standard streams, files, event queues, those of our own server.
const DESCRIPTORS_APART: u64 = 32;

/// What the plan alone lets one fear. `descriptors`: as many can be open at a time, if there is a limit.
pub fn of_plan(plan: &Plan, descriptors: Option<u64>) -> Vec<String> {
    let mut warnings: Vec<String> =
        [spinning(plan), scarce_descriptors(plan, descriptors)].into_iter().flatten().collect();
    match plan.transport {
        Transport::Tcp => warnings.extend(of_tcp(plan)),
        Transport::Udp => warnings.extend(window(plan)),
        _ => {}
    }
    warnings
}

fn spinning(plan: &Plan) -> Option<String> {
    let ends = plan.threads as usize + usize::from(plan.endpoint.is_none());
    (plan.is_spinning && ends > cores()).then(|| {
        format!(
            "{} threads spin for {} CPUs: they will wait for each other; fewer --threads, or no --spin",
            plan.threads,
            cores()
        )
    })
}

/// Each connection is a descriptor, and with a server of our own both of its ends are.
fn scarce_descriptors(plan: &Plan, descriptors: Option<u64>) -> Option<String> {
    let ends = if plan.endpoint.is_none() && plan.transport.is_stream() { 2 } else { 1 };
    let needed = u64::from(plan.connections) * ends + DESCRIPTORS_APART;
    descriptors.filter(|limit| *limit < needed).map(|limit| {
        format!(
            "{} connections take some {} descriptors, and there may be {}: ulimit -Hn {needed}, or a smaller -c",
            Count(plan.connections.into()),
            Count(needed),
            Count(limit)
        )
    })
}

fn of_tcp(plan: &Plan) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.options.nodelay == Some(false) {
        warnings.push("--nodelay=off: messages may wait 40 ms for an acknowledgement (Nagle's algorithm)".to_owned());
    }
    if congestion_control(plan).as_deref() == Some("bbr") && plan.lengths.max() >= BULK_BYTES {
        warnings.push("bbr paces bulk data, on loopback to a half or less: compare with --congestion cubic".to_owned());
    }
    warnings.extend(ephemeral_ports().and_then(|ports| scarce_ports(plan, ports)));
    warnings
}

/// A connection takes a local port, and one that has ended keeps it for a while.
fn scarce_ports(plan: &Plan, ports: u64) -> Option<String> {
    let Some(messages) = plan.reconnect else {
        return (u64::from(plan.connections) > ports).then(|| {
            let connections = Count(plan.connections.into());
            format!("{connections} connections take as many local ports, and there are {}: a smaller -c", Count(ports))
        });
    };
    if plan.options.linger.is_some_and(|linger| linger.duration().is_zero()) {
        return None;
    }
    let each = format!("of {} local ports each connection keeps one for {TIME_WAIT_S} s", Count(ports));
    match plan.until {
        Until::Messages(all) if all.div_ceil(messages) <= ports => None,
        Until::Messages(all) => Some(format!(
            "{each}, and this takes {} of them: --linger 0 gives them back at once",
            Count(all.div_ceil(messages))
        )),
        Until::Time(_) => Some(format!(
            "{each}: more than {} connections a second run out of them; --linger 0 gives them back at once",
            Count(ports / TIME_WAIT_S)
        )),
    }
}

/// How many ports connect(2) chooses from.
fn ephemeral_ports() -> Option<u64> {
    let text = file("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (low, high) = text.split_once(char::is_whitespace)?;
    Some((high.trim().parse::<u64>().ok()? + 1).saturating_sub(low.parse().ok()?))
}

/// A window that the socket's buffer cannot hold is a loss of our own making.
fn window(plan: &Plan) -> Option<String> {
    let Load::Closed { window } = plan.load else { return None };
    let setting = |name: &str| file(&format!("/proc/sys/net/core/{name}"))?.parse::<u64>().ok();
    let (default, max) = (setting("rmem_default")?, setting("rmem_max")?);
    // What is set is doubled by the kernel, and counts its book-keeping.
    let buffer = plan.options.receive_buffer.map_or(default, |bytes| u64::from(bytes).min(max) * 2);
    let needed = u64::from(window) * (plan.lengths.max() as u64 + OVERHEAD_BYTES);
    let wanted = needed / 2 + 1;
    let first = if wanted > max { format!("sysctl net.core.rmem_max={wanted}, then ") } else { String::new() };
    (needed > buffer).then(|| {
        format!(
            "--window {window} takes up to {} bytes, and the receive buffer holds {}: what does not fit is lost; \
             {first}--receive-buffer {wanted}",
            Count(needed),
            Count(buffer),
        )
    })
}

impl Environment {
    /// What was found during the run. `has_neighbour`: the server is another process of this machine.
    pub(super) fn warnings_of_run(&self, has_neighbour: bool) -> Vec<String> {
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
            let cost = Latency(Duration::from_nanos(self.clock_cost_ns));
            let source = self.clock_source.as_deref().unwrap_or("unknown");
            warnings.push(format!(
                "a look at the clock costs {cost} (clock source {source}): another one may be in \
                 /sys/devices/system/clocksource/clocksource0/available_clocksource"
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::typed as plan;
    use super::*;

    /// What is told of a command line, for a system with so many descriptors.
    fn told(words: &str, descriptors: u64) -> Vec<String> {
        of_plan(&plan(words), Some(descriptors))
    }

    #[test]
    fn what_spoils_a_result_is_told_with_its_remedy() {
        for (words, descriptors, remedy) in [
            (
                "-c 1000 127.0.0.1:7",
                1031,
                "1 000 connections take some 1 032 descriptors, and there may be 1 031: ulimit",
            ),
            ("-c 1000", 2031, "ulimit -Hn 2032, or a smaller -c"),
            ("-c 1000 -u", 1031, "ulimit -Hn 1032, or a smaller -c"),
            ("--nodelay=off", 1024, "Nagle's algorithm"),
            ("-l 1Mi --congestion bbr", 1024, "--congestion cubic"),
        ] {
            let warnings = told(words, descriptors);
            assert!(warnings.len() == 1 && warnings[0].contains(remedy), "{words}: {warnings:?}");
        }
        for (words, descriptors) in
            [("", 1024), ("-u", 1024), ("-c 1000 127.0.0.1:7", 1032), ("-c 1000", 2032), ("--congestion bbr", 1024)]
        {
            assert_eq!(told(words, descriptors), [""; 0], "{words}");
        }
        let spinning = Plan { is_spinning: true, threads: 1000, ..plan("") };
        assert!(of_plan(&spinning, None)[0].contains("1000 threads spin"));
    }

    #[test]
    fn ports_are_counted_before_they_run_out() {
        for (words, remedy) in [
            ("--reconnect 1", Some("more than 1 connections a second run out of them; --linger 0")),
            ("--reconnect 10 -n 1001", Some("and this takes 101 of them: --linger 0")),
            ("--reconnect 10 -n 1000", None),
            ("--reconnect 1 --linger 0", None),
            ("-c 101", Some("101 connections take as many local ports, and there are 100: a smaller -c")),
            ("-c 100", None),
        ] {
            let warning = scarce_ports(&plan(words), 100);
            assert_eq!(warning.is_some(), remedy.is_some(), "{words}: {warning:?}");
            assert!(
                remedy.is_none_or(
                    |remedy| warning.as_ref().unwrap().ends_with(remedy) || warning.unwrap().contains(remedy)
                )
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_window_beyond_the_receive_buffer_is_told() {
        assert!(told("-u --window 1000000", 1024)[0].contains("--receive-buffer 288000001"));
        assert!(told("-u --window 2 -l 1000 --receive-buffer 1000", 1024)[0].contains("takes up to 3 024 bytes"));
        for words in ["-u --window 2", "-u -r 1000", "--window 100000"] {
            assert_eq!(told(words, 1024), [""; 0], "{words}");
        }
    }
}
