//! Records as packets: what tcpdump makes of them.

use std::io::Write;
use std::path::Path;

use super::place;
use crate::harness::{Peer, Place, Run, Server, has, pattern, read_to_end};

/// A line for each packet, as tcpdump tells it with its checksums verified, the ports masked.
#[track_caller]
fn dump(record: &Path) -> String {
    let finished = Run::program("tcpdump").args(["-nvvtr"]).args([record]).finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    String::from_utf8(finished.stdout).unwrap()
}

#[test]
fn tcpdump_reads_a_conversation_and_its_checksums_are_right() {
    if !has("tcpdump") {
        return;
    }
    let (record, _folder) = place("record.pcapng");
    let peer = Peer::start(Place::Tcp, |mut peer| {
        assert_eq!(read_to_end(&peer), b"hello\n");
        peer.write_all(&pattern(70_000)).unwrap();
    });
    let port = peer.address.rsplit(':').next().unwrap().to_owned();
    let run = Run::sockkit("connect").args([&peer.address, "--record", record.to_str().unwrap()]).stdin("hello\n");
    assert!(run.finish().stdout == pattern(70_000));
    peer.finish();
    let text = dump(&record);
    let heads = text.lines().filter(|line| line.contains("Flags")).map(|line| {
        let from = if line.trim_start().starts_with(&format!("127.0.0.1.{port} ")) { "peer" } else { "us" };
        let (flags, length) = (line.split(['[', ']']).nth(1).unwrap(), line.rsplit(' ').next().unwrap());
        (from, flags, length.parse::<usize>().unwrap())
    });
    let heads: Vec<_> = heads.collect();
    assert_eq!(heads[..5], [("us", "S", 0), ("peer", "S.", 0), ("us", ".", 0), ("us", "P.", 6), ("peer", ".", 0)]);
    let of_peer: usize = heads.iter().filter(|(from, ..)| *from == "peer").map(|(.., length)| length).sum();
    assert_eq!(of_peer, 70_000);
    let fins: Vec<_> = heads.iter().filter(|(_, flags, _)| flags.contains('F')).map(|(from, ..)| *from).collect();
    assert_eq!(fins, ["us", "peer"]);
    assert_eq!(text.matches("(correct)").count(), heads.len(), "{text}");
    assert!(!text.contains("incorrect") && !text.contains("bad cksum"), "{text}");
}

#[test]
fn tcpdump_reads_datagrams() {
    if !has("tcpdump") {
        return;
    }
    for (family, address) in [("-4", "127.0.0.1"), ("-6", "::1")] {
        let (record, _folder) = place("record.pcapng");
        let server = Server::start(&format!("-u {family} --quiet"));
        let port = server.port().to_string();
        Run::sockkit("connect -u -q 1 -i 0")
            .args([address, &port, "--record", record.to_str().unwrap()])
            .stdin("one\n\ntwo\n")
            .stdout("one\n\ntwo\n")
            .check();
        let text = dump(&record);
        assert_eq!(
            text.matches("UDP, length").count() + text.matches("] udp").count() + text.matches("udp sum ok").count(),
            6 * 2,
            "{text}"
        );
    }
}
