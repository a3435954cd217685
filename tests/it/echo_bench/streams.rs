//! What is wrong with a stream server: wrong bytes, too many, too few, and none.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

use super::{report, tcp_server, tcp_servers};
use crate::harness::Run;

#[test]
fn fragments_of_any_size_are_a_whole_answer() {
    let (address, server) = tcp_server(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        let mut count = 0;
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
            count += 1;
        }
        count
    });
    let (report, status) = report(&format!("{address} -n 20 -l 50"));
    assert_eq!((status, &report["round_trips"]), (0, &20.into()), "{report}");
    assert_eq!(server.join().unwrap(), 1000);
}

#[test]
fn the_first_wrong_byte_of_a_stream_is_told() {
    // The third message of 100 bytes, its 41st byte.
    let (address, server) = tcp_server(|mut stream| {
        let mut message = [0; 100];
        for number in 0.. {
            if stream.read_exact(&mut message).is_err() {
                return number;
            }
            message[40] ^= u8::from(number == 2);
            stream.write_all(&message).unwrap();
        }
        unreachable!()
    });
    let (report, status) = report(&format!("{address} -n 10 -l 100"));
    assert_eq!(status, 5, "{report}");
    assert_eq!((&report["errors"]["corrupt"], &report["errors"]["first_corrupt_offset"]), (&1.into(), &240.into()));
    assert_eq!((&report["verified"], &report["round_trips"]), (&false.into(), &10.into()));
    assert_eq!(server.join().unwrap(), 10, "one wrong byte does not end the run");
}

#[test]
fn many_connections_find_a_wrong_byte_as_well() {
    let address = tcp_servers(|mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            message[63] ^= 1;
            stream.write_all(&message).unwrap();
        }
    });
    let (report, status) = report(&format!("{address} -n 40 -c 4 --threads 1"));
    assert_eq!((status, &report["errors"]["corrupt"]), (5, &40.into()), "{report}");
}

#[test]
fn a_wrong_byte_is_counted_in_its_own_connection() {
    // Each connection has two messages of 10 bytes, and the fourth byte of the second is wrong.
    let address = tcp_servers(|mut stream| {
        for wrong in [0, 1] {
            let mut message = [0; 10];
            if stream.read_exact(&mut message).is_ok() {
                message[3] ^= wrong;
                stream.write_all(&message).unwrap();
            }
        }
    });
    let (report, status) = report(&format!("{address} -n 6 -l 10 --reconnect 2"));
    let errors = &report["errors"];
    assert_eq!((status, &errors["corrupt"]), (5, &3.into()), "{report}");
    assert_eq!((&errors["first_corrupt_message"], &errors["first_corrupt_offset"]), (&2.into(), &13.into()));
}

#[test]
fn a_server_that_ends_a_stream_early_fails_the_run() {
    for words in ["", "-c 2 --threads 1"] {
        let (address, _server) = tcp_server(|mut stream| {
            let mut message = [0; 64];
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&message[..10]).unwrap();
        });
        let finished = Run::sockkit(&format!("echo-bench {address} -n 5 {words}")).finish();
        assert_eq!(finished.code, 1, "{}", finished.stderr);
        // The second connection is reset when the listener goes, and may be the first to notice.
        assert!(finished.stderr.contains(&format!(" {address} (tcp) failed after ")), "{}", finished.stderr);
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        assert!(String::from_utf8(finished.stdout).unwrap().contains("\nerrors        ended early\n"));
    }
}

#[test]
fn a_server_that_says_more_than_it_was_told_is_no_echo_server() {
    let (address, _server) = tcp_server(|mut stream| {
        let mut message = [0; 64];
        stream.read_exact(&mut message).unwrap();
        stream.write_all(&message).unwrap();
        // Not what the second message says, in whatever pieces it comes.
        stream.write_all(&[0xff; 64]).unwrap();
        let _ = stream.read(&mut message);
    });
    let finished = Run::sockkit(&format!("echo-bench {address} -n 2")).finish();
    assert_eq!(finished.code, 5, "{}", finished.stderr);
}

#[test]
fn a_server_that_never_answers_ends_by_the_reply_clock() {
    for words in ["", "-c 2 --threads 1"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let finished = Run::sockkit(&format!("echo-bench {address} -n 5 -W 200ms {words}")).finish();
        assert_eq!(finished.code, 124, "{}", finished.stderr);
        assert!(finished.stderr.contains("no answer within the reply timeout (ETIMEDOUT, "), "{}", finished.stderr);
    }
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (report, status) = report(&format!("-u {} -n 3 -W 100ms", silent.local_addr().unwrap()));
    assert_eq!((status, &report["errors"]["lost"], &report["round_trips"]), (124, &3.into(), &0.into()), "{report}");
}
