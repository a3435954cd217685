//! Thousands of ports, with plenty of descriptors and with few.

use std::collections::BTreeSet;

use crate::harness::{can_unshare, has, unshared};

/// What is open on 127.0.0.1 in a namespace where Python listens at these ports.
fn swept(ports: &str, flags: &str, prefix: &str) -> (BTreeSet<u16>, String) {
    // Everything in there ends with the probe: it is the first process of its own namespace.
    let listen = format!(
        "ip link set lo up; mkfifo $T/ready; python3 -c '\nimport signal, socket\nheld = []\nfor port in {ports}:\n \
         held.append(socket.create_server((\"127.0.0.1\", port)))\nprint(flush=True)\nsignal.pause()' > $T/ready & \
         read line < $T/ready; {prefix}"
    );
    let folder = tempfile::tempdir().unwrap();
    let finished = unshared("-rmnpf", &listen, &format!("probe -o grep --open {flags}"))
        .env("T", folder.path().to_str().unwrap())
        .finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(finished.code, 0, "{text}{}", finished.stderr);
    let ports = text.lines().map(|line| line.split('\t').nth(3).unwrap().parse().unwrap());
    (ports.collect(), finished.stderr)
}

fn can_sweep() -> bool {
    can_unshare() && has("python3")
}

#[test]
fn every_port_of_a_machine_is_swept_five_times_without_an_error() {
    if !can_sweep() {
        return;
    }
    let listening = BTreeSet::from([22, 8080, 33333, 47113, 65432]);
    for _ in 0..5 {
        let (open, told) = swept("22, 8080, 33333, 47113, 65432", "127.0.0.1:1-65535", "");
        assert_eq!(open, listening);
        assert!(told.ends_with("5 open, 65 530 refused\n"), "{told}");
    }
}

#[test]
fn few_descriptors_make_a_sweep_slow_and_never_wrong() {
    if !can_sweep() || !has("iptables") {
        return;
    }
    // Some of the ports are silent, so that more connects are under way than there are descriptors.
    let silent = "iptables -A INPUT -p tcp --dport 1000:1099 -j DROP; ulimit -n 24";
    let (open, told) = swept("22, 2022", "-w 200ms 127.0.0.1:1-3000", silent);
    assert_eq!(open, BTreeSet::from([22, 2022]));
    assert!(told.ends_with("2 open, 2 898 refused, 100 timed out\n"), "{told}");
}

#[test]
fn a_thousand_silent_ports_take_one_timeout() {
    if !can_unshare() || !has("iptables") {
        return;
    }
    let silent = "ip link set lo up; iptables -A INPUT -p tcp --dport 1000:1999 -j DROP";
    let finished = unshared("-rn", silent, "probe -w 500ms -o ndjson 127.0.0.1:1000-1999").finish();
    let text = String::from_utf8(finished.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((finished.code, &summary["counts"]["timed_out"]), (110, &1000.into()));
    // One after the other they would take eight minutes.
    assert!((500.0..10_000.0).contains(&summary["elapsed_ms"].as_f64().unwrap()), "{summary}");
}

#[test]
fn a_rate_is_kept() {
    let begun = std::time::Instant::now();
    let finished = crate::harness::Run::sockkit("probe --quiet --rate 100/s 127.0.0.1:1-21").finish();
    assert_eq!(finished.code, 111);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(200));
}

#[test]
fn a_deadline_counts_what_it_left_out() {
    let finished = crate::harness::Run::sockkit("probe --open --rate 100 --deadline 200ms 127.0.0.1:1-65535").finish();
    assert_eq!(finished.code, 111, "the first that failed was refused");
    assert!(finished.stderr.contains(" not tried\n"), "{}", finished.stderr);
    let words = "probe -o ndjson --rate 100 --deadline 200ms 127.0.0.1:1-65535";
    let text = String::from_utf8(crate::harness::Run::sockkit(words).finish().stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["complete"], &summary["total"]), (&false.into(), &65535.into()));
    assert_eq!(summary["not_tried"].as_u64().unwrap() as usize, 65536 - text.lines().count());
}
