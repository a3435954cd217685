//! `sockkit connect` with TCP Fast Open and Multipath TCP: what the kernel counts says what was in the handshake.

use crate::harness::{Finished, Run, SOCKKIT, can_unshare};

/// Runs this in a network of its own, in which a server listens at port 9000, and `count NAME` tells one of the kernel's
/// counters. A kernel that lacks what is asked for says so.
fn in_a_network(server: &str, script: &str) -> Finished {
    let script = format!(
        "set -e; ip link set lo up; {script_begin}
        \"$0\" serve -4 -p 9000 --quiet {server} > /dev/null & server=$!
        trap 'kill $server 2> /dev/null || true' EXIT
        until \"$0\" probe --quiet 127.0.0.1:9000; do kill -0 $server; done
        {script}",
        script_begin = "count() {
            awk -v name=$1 '$1 == table { for (i = 2; i <= NF; i++) if (names[i] == name) print name, $i; table = \"\"; next }
                { table = $1; for (i = 2; i <= NF; i++) names[i] = $i }' /proc/net/netstat
        }"
    );
    Run::program("unshare").args(["-rn", "sh", "-c", &script, SOCKKIT]).finish()
}

/// The first connection asks for a cookie; from the second on stdin's first bytes are in the SYN, and the server has them
/// before the handshake is over.
#[test]
fn with_fast_open_data_goes_in_the_syn() {
    if !can_unshare() {
        return;
    }
    let script = "echo 3 > /proc/sys/net/ipv4/tcp_fastopen
        for each in 1 2 3; do echo hello | \"$0\" connect --fast-open 127.0.0.1:9000; done
        count TCPFastOpenActive; count TCPFastOpenPassive";
    let came = in_a_network("--fast-open", script);
    let text = String::from_utf8_lossy(&came.stdout);
    assert_eq!(text, "hello\nhello\nhello\nTCPFastOpenActive 2\nTCPFastOpenPassive 2\n", "{}", came.stderr);
}

/// A peer that has no Multipath TCP is talked to all the same.
#[test]
fn with_mptcp_both_ends_speak_it_or_fall_back() {
    if !can_unshare() || !std::path::Path::new("/proc/sys/net/mptcp").exists() {
        return;
    }
    let script = "echo hello | \"$0\" connect --mptcp 127.0.0.1:9000; count MPCapableACKRX";
    for (server, expected) in [("--mptcp", "hello\nMPCapableACKRX 1\n"), ("", "hello\nMPCapableACKRX 0\n")] {
        let came = in_a_network(server, script);
        assert_eq!(String::from_utf8_lossy(&came.stdout), expected, "{server}: {}", came.stderr);
    }
}
