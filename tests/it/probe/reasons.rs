//! Each cause of failure, provoked for real: by routes, by a packet filter, and by a name server that answers as it is
//! told to.

use crate::harness::{can_unshare, has, names_from, unshared};

#[test]
fn a_packet_filters_answers_are_told_apart() {
    if !can_unshare() || !has("iptables") {
        return;
    }
    let reject = "ip link set lo up; iptables -A INPUT -p tcp --dport 90 -j DROP; \
                  for rule in 81:icmp-host-unreachable 82:icmp-net-unreachable 83:icmp-port-unreachable \
                  84:icmp-admin-prohibited 85:tcp-reset 86:icmp-proto-unreachable; do \
                  iptables -A INPUT -p tcp --dport ${rule%:*} -j REJECT --reject-with ${rule#*:}; done";
    for (port, state, errname, code, class) in [
        (81, "unreachable", "EHOSTUNREACH", 113, 3),
        (82, "unreachable", "ENETUNREACH", 101, 3),
        (83, "refused", "ECONNREFUSED", 111, 1),
        (84, "unreachable", "EHOSTUNREACH", 113, 3),
        (85, "refused", "ECONNREFUSED", 111, 1),
        (86, "unreachable", "ENOPROTOOPT", 92, 3),
        (90, "timed_out", "ETIMEDOUT", 110, 124),
    ] {
        let line = format!("{state}\ttcp\t127.0.0.1\t{port}\t{errname}\t127.0.0.1:{port}\n");
        for (meaning, code) in [("errno", code), ("class", class)] {
            let words = format!("probe -w 500ms -o grep --exit-code {meaning} 127.0.0.1:{port}");
            unshared("-rn", reject, &words).stdout(&line).code(code).check();
        }
    }
}

#[test]
fn what_a_name_server_answers_is_told_apart() {
    if !can_unshare() || !has("python3") {
        return;
    }
    // It answers with the code that it is told, or not at all.
    let server = "mkfifo $T/ready; python3 -c '\n\
                  import os, socket\n\
                  code = os.environ[\"CODE\"]\n\
                  server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  server.bind((\"127.0.0.1\", 53))\n\
                  print(flush=True)\n\
                  while True:\n \
                  query, sender = server.recvfrom(512)\n \
                  question = query[12:query.index(0, 12) + 5]\n \
                  answer = query[:2] + bytes([0x81, 0x80 | int(code or 0)]) + query[4:6] + bytes(6) + question\n \
                  if code: server.sendto(answer, sender)\n' > $T/ready & read line < $T/ready";
    for (rcode, words, errname, code) in [
        ("3", "", "EAI_NONAME", 200),
        ("3", "--exit-code class", "EAI_NONAME", 6),
        // Waiting for a refusal is not met by a name that does not exist.
        ("3", "--wait closed --deadline 300ms", "ETIMEDOUT", 110),
        ("2", "", "EAI_AGAIN", 201),
        ("2", "--exit-code class", "EAI_AGAIN", 6),
        ("", "-w 300ms", "ETIMEDOUT", 110),
        ("", "-w 300ms --exit-code class", "ETIMEDOUT", 124),
        ("", "--deadline 300ms", "ETIMEDOUT", 110),
    ] {
        let folder = tempfile::tempdir().unwrap();
        unshared(
            "-rmnpf",
            &format!("{}; {server}", names_from("127.0.0.1")),
            &format!("probe -o errname {words} name.invalid:80"),
        )
        .env("T", folder.path().to_str().unwrap())
        .env("CODE", rcode)
        .stdout(&format!("{errname}\n"))
        .code(code)
        .check();
    }
}
