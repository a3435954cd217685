//! UDP: only an answer proves anything.

use std::net::UdpSocket;

use crate::harness::{Run, Server};

#[test]
fn a_port_that_answers_is_open_and_one_that_is_silent_is_not_known() {
    let server = Server::start("-4 -u --quiet");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (open, silent) = (server.v4(), silent.local_addr().unwrap().to_string());
    Run::sockkit(&format!("probe -u {open}")).stdout("udp:127.0.0.1:PORT open TIME\n").check();
    Run::sockkit(&format!("probe udp:{open}")).stdout("udp:127.0.0.1:PORT open TIME\n").check();
    let line = "udp:127.0.0.1:PORT open|filtered after TIME: no answer within the reply timeout (ETIMEDOUT, 110)\n";
    for (meaning, code) in [("errno", 110), ("class", 124), ("simple", 1), ("nagios", 2)] {
        Run::sockkit(&format!("probe -u -w 50ms --exit-code {meaning} {silent}")).stdout(line).code(code).check();
    }
}

#[test]
fn a_question_can_be_chosen_and_its_answer_checked() {
    let server = Server::start("-4 -u --quiet");
    let open = server.v4();
    Run::sockkit("probe -u --send")
        .args([r"hello\x21\n", "--expect", "^hello!\n$", "--banner", &open])
        .stdout("udp:127.0.0.1:PORT open TIME, first byte after TIME: \"hello!\\n\"\n")
        .check();
    let finished = Run::sockkit(&format!("probe -u -w 100ms --send hello --expect bye {open}")).finish();
    assert_eq!(finished.code, 204, "{}", String::from_utf8_lossy(&finished.stdout));
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::harness::{can_unshare, has, unshared};

    #[test]
    fn a_closed_port_is_refused() {
        for (target, from) in
            [("127.0.0.1:1", "ICMP port unreachable from 127.0.0.1"), ("[::1]:1", "ICMPv6 port unreachable from ::1")]
        {
            let reason = format!("Connection refused (ECONNREFUSED, 111); {from}");
            Run::sockkit(&format!("probe -u {target}"))
                .stdout(&format!("udp:{target} refused after TIME: {reason}\n"))
                .code(111)
                .check();
        }
    }

    #[test]
    fn a_thousand_ports_are_told_apart_in_one_window() {
        let server = Server::start("-4 -u --quiet");
        let port = server.port();
        let words = format!("probe -u --open -w 2 127.0.0.1:1-1000,{port}");
        let finished = Run::sockkit(&words).finish();
        assert_eq!(finished.code, 0);
        let text = crate::harness::mask(&String::from_utf8(finished.stdout).unwrap());
        assert_eq!(text, "udp:127.0.0.1:PORT open TIME\n");
        assert!(finished.stderr.contains("1 open, 1 000 refused"), "{}", finished.stderr);
    }

    #[test]
    fn what_the_network_says_is_told_apart() {
        if !can_unshare() || !has("iptables") || !has("ip6tables") {
            return;
        }
        let reject = "ip link set lo up; for rule in 81:host-unreachable 82:net-unreachable 83:admin-prohibited; do \
                      iptables -A INPUT -p udp --dport ${rule%:*} -j REJECT --reject-with icmp-${rule#*:}; done; \
                      for rule in 84:addr-unreachable 85:no-route 86:adm-prohibited 87:port-unreachable; do \
                      ip6tables -A INPUT -p udp --dport ${rule%:*} -j REJECT --reject-with icmp6-${rule#*:}; done";
        let (host, network) = ("No route to host (EHOSTUNREACH, 113)", "Network is unreachable (ENETUNREACH, 101)");
        let (prohibited, refused) = ("Permission denied (EACCES, 13)", "Connection refused (ECONNREFUSED, 111)");
        for (target, state, why, code) in [
            ("127.0.0.1:81", "unreachable", format!("{host}; ICMP host unreachable from 127.0.0.1"), 113),
            ("127.0.0.1:82", "unreachable", format!("{network}; ICMP network unreachable from 127.0.0.1"), 101),
            ("127.0.0.1:83", "unreachable", format!("{host}; ICMP administratively prohibited from 127.0.0.1"), 113),
            ("[::1]:84", "unreachable", format!("{host}; ICMPv6 host unreachable from ::1"), 113),
            ("[::1]:85", "unreachable", format!("{network}; ICMPv6 network unreachable from ::1"), 101),
            ("[::1]:86", "unreachable", format!("{prohibited}; ICMPv6 administratively prohibited from ::1"), 13),
            ("[::1]:87", "refused", format!("{refused}; ICMPv6 port unreachable from ::1"), 111),
        ] {
            unshared("-rn", reject, &format!("probe udp:{target}"))
                .stdout(&format!("udp:{target} {state} after TIME: {why}\n"))
                .code(code)
                .check();
        }
    }
}
