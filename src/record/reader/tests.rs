//! Records that are whole, and what is told of those that are not.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::record::event::{Event, Header, What};
use crate::record::line::{sha256, write_event, write_head};

fn read(text: &str) -> Result<Record, String> {
    Record::read(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_person_may_leave_out_what_there_is_only_one_of() {
    let record = read(
        "{\"sockkit\":1}\n\
         {\"ev\":\"rx\",\"txt\":\"PING\\r\\n\"}\n\
         \n\
         {\"ev\":\"tx\",\"b64\":\"K1BPTkcNCg==\"}\n\
         {\"ev\":\"end\"}",
    );
    let step = |line, action| Step { time: Duration::ZERO, line, action };
    let steps = vec![
        step(2, Action::Data(Direction::Received, b"PING\r\n".to_vec(), None)),
        step(4, Action::Data(Direction::Sent, b"+PONG\r\n".to_vec(), None)),
    ];
    let script = Script { transport: Transport::Tcp, opened: Duration::ZERO, steps };
    assert_eq!(record, Ok(Record { command: vec![], scripts: vec![script] }));
}

#[test]
fn connections_are_told_apart_and_are_in_the_order_of_their_numbers() {
    let record = read(
        "{\"sockkit\":1,\"cmd\":[\"serve\",\"-u\"],\"seed\":7}\n\
         {\"t\":0.5,\"conn\":2,\"ev\":\"open\",\"transport\":\"udp\",\"peer\":\"[::1]:5\"}\n\
         {\"t\":0.5,\"conn\":1,\"ev\":\"open\",\"transport\":\"unix datagram\"}\n\
         {\"t\":1,\"conn\":2,\"ev\":\"rx\",\"off\":0,\"txt\":\"a\"}\n\
         {\"t\":1.000000001,\"conn\":2,\"ev\":\"rx\",\"off\":1,\"len\":3,\"cut\":\"x\"}\n\
         {\"t\":2,\"conn\":1,\"ev\":\"fault\",\"rule\":0,\"what\":\"drop\",\"at\":1}\n\
         {\"t\":2,\"conn\":2,\"ev\":\"fin\",\"dir\":\"rx\",\"off\":4}\n\
         {\"t\":2,\"conn\":2,\"ev\":\"close\",\"how\":\"error\",\"errname\":\"ETIMEDOUT\",\"rx\":4,\"tx\":0}\n\
         {\"t\":3,\"ev\":\"end\",\"conns\":2,\"complete\":true}\n",
    )
    .unwrap();
    assert_eq!(record.command, ["serve", "-u"]);
    let [first, second] = &record.scripts[..] else { panic!("{record:?}") };
    assert_eq!((first.transport, first.steps.len()), (Transport::UnixDatagram, 0));
    assert_eq!((second.transport, second.opened), (Transport::Udp, Duration::from_millis(500)));
    let cut = Cut { bytes: 3, sha256: "x".to_owned() };
    let actions: Vec<&Action> = second.steps.iter().map(|step| &step.action).collect();
    assert_eq!(
        actions,
        [
            &Action::Data(Direction::Received, b"a".to_vec(), None),
            &Action::Data(Direction::Received, vec![], Some(cut)),
            &Action::Finished(Direction::Received),
            &Action::Closed(Ending::Failed("ETIMEDOUT".to_owned())),
        ]
    );
    assert_eq!(second.steps[1].time, Duration::from_nanos(1_000_000_001));
}

/// Each is the second line of a record, or more from there on.
#[test]
fn a_bad_line_is_named_and_so_is_what_is_wrong_with_it() {
    for (lines, error) in [
        ("{\"ev\":\"rx\",\"txt\":\"a\"", "line 2: it is cut short: whole lines there are 1"),
        ("{\"ev\":\"tx\",\"txt\":\"\u{fc}", "line 2: it is cut short: whole lines there are 1"),
        ("{\"ev\":\"rx\"}", "line 2: rx needs \"txt\" or \"b64\""),
        ("{\"ev\":\"rx\",\"txt\":\"a\",\"b64\":\"\"}", "line 2: rx has both \"txt\" and \"b64\""),
        ("{\"ev\":\"rx\",\"b64\":\"a\"}", "line 2: \"b64\" is no base64 (RFC 4648)"),
        ("{\"ev\":\"rx\",\"txt\":\"a\",\"off\":1}", "line 2: \"off\" is 1, but 0 bytes of rx were before it"),
        (
            "{\"ev\":\"rx\",\"txt\":\"a\",\"len\":2}",
            "line 2: \"len\" is the whole length, and \"cut\" the hash of what is missing",
        ),
        ("{\"ev\":\"rx\",\"txt\":\"a\",\"at\":2}", "line 2: rx has no \"at\""),
        ("{\"ev\":\"tx\",\"text\":\"a\"}\n", "line 2: unknown field `text`, expected one of "),
        ("{\"ev\":\"send\"}", "line 2: \"ev\" is \"send\": it is open, rx, tx, fin, fault, close or end"),
        ("{}", "line 2: it has no \"ev\""),
        ("[]\nx", "line 2: it has no \"ev\""),
        ("hello\n", "line 2: expected value at column 1"),
        ("{\"t\":1e18,\"ev\":\"end\"}", "line 2: \"t\" is 1000000000000000000: it is seconds since the start"),
        ("{\"t\":-1,\"ev\":\"end\"}", "line 2: \"t\" is -1: it is seconds since the start"),
        (
            "{\"t\":2,\"ev\":\"rx\",\"txt\":\"\"}\n{\"t\":1,\"ev\":\"rx\",\"txt\":\"\"}",
            "line 3: \"t\" is 1.0, which is before the line above",
        ),
        (
            "{\"ev\":\"open\",\"transport\":\"sctp\"}",
            "line 2: \"transport\" is \"sctp\": it is tcp, udp, unix or unix datagram",
        ),
        ("{\"ev\":\"open\"}\n{\"ev\":\"open\"}", "line 3: connection 1 was opened before"),
        ("{\"ev\":\"fin\"}", "line 2: \"dir\" is \"\": it is rx or tx"),
        ("{\"ev\":\"fin\",\"dir\":\"tx\"}\n{\"ev\":\"tx\",\"txt\":\"a\"}", "line 3: tx had its fin before"),
        ("{\"ev\":\"fin\",\"dir\":\"tx\"}\n{\"ev\":\"fin\",\"dir\":\"tx\"}", "line 3: tx had its fin before"),
        ("{\"ev\":\"close\",\"how\":\"FIN\"}", "line 2: \"how\" is \"FIN\": it is fin, rst, peer-rst, left or error"),
        ("{\"ev\":\"close\",\"how\":\"fin\",\"rx\":1}", "line 2: \"rx\" is 1, but 0 bytes of rx were before it"),
        ("{\"ev\":\"close\",\"how\":\"fin\",\"tx\":1}", "line 2: \"tx\" is 1, but 0 bytes of tx were before it"),
        ("{\"ev\":\"close\",\"how\":\"fin\"}\n{\"ev\":\"rx\",\"txt\":\"\"}", "line 3: connection 1 was closed before"),
        ("{\"ev\":\"end\",\"conns\":1}", "line 2: \"conns\" is 1, but there are 0 connections"),
        ("{\"ev\":\"end\",\"complete\":false}", "line 2: the record is incomplete, as its writer says"),
        ("{\"ev\":\"end\"}\n{\"ev\":\"end\"}", "line 3: it comes after the end"),
        (
            "{\"ev\":\"rx\",\"txt\":\"a\"}\n\n",
            "line 2: nothing follows, and the record is cut short: a whole one ends with {\"ev\":\"end\"}",
        ),
        ("", "line 1: nothing follows, and the record is cut short: a whole one ends with {\"ev\":\"end\"}"),
    ] {
        let told = read(&format!("{{\"sockkit\":1}}\n{lines}")).expect_err(lines);
        assert!(told.starts_with(error), "{lines}\n  expected {error}\n  came     {told}");
    }
}

#[test]
fn what_is_no_record_is_told_by_its_first_line() {
    for (text, error) in [
        ("", "line 1: it is missing: the file is empty"),
        ("{\"sockkit\":1", "line 1: it is cut short: whole lines there are 0"),
        ("{\"sockkit\":2}\n", "line 1: \"sockkit\" is 2: this program reads version 1 only"),
        ("\u{a}\r\r\n", "line 1: it is missing: the file is empty"),
        (
            "GET / HTTP/1.0\r\n\r\n",
            "line 1: this is no record (expected value at column 1): its first line would be {\"sockkit\":1}",
        ),
    ] {
        assert_eq!(read(text).expect_err(text), error);
    }
    let endless = Record::read(io::BufReader::new(io::repeat(b'['))).unwrap_err();
    assert!(matches!(endless, Unreadable::Line(1, _)), "{endless}");
}

/// What each direction of each connection carried, in the lengths that it was written in.
type Runs = Vec<(u64, Direction, Vec<u8>)>;

fn runs() -> impl Strategy<Value = Runs> {
    let direction = prop_oneof![Just(Direction::Received), Just(Direction::Sent)];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        "\\PC*".prop_map(String::into_bytes),
        "[ -~\n\t\r]{0,64}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec((1..4_u64, direction, bytes), 0..32)
}

fn written(runs: &Runs, limit_bytes: Option<u64>) -> Vec<u8> {
    let mut lines = Vec::new();
    let header = Header { start: SystemTime::now(), command: vec!["serve".to_owned()], seed: Some(7) };
    write_head(&header, &mut lines);
    let mut offsets = BTreeMap::new();
    for (number, (connection, direction, bytes)) in runs.iter().enumerate() {
        let offset = offsets.entry((*connection, direction.word())).or_insert(0);
        let (connection, direction, bytes) = (*connection, *direction, bytes.clone());
        let length = bytes.len() as u64;
        let what = What::Data { connection, direction, offset: *offset, bytes };
        *offset += length;
        write_event(&Event { time: Duration::from_nanos(number as u64 * 997), what }, limit_bytes, &mut lines);
    }
    let connections = offsets.keys().map(|(connection, _)| connection).collect::<std::collections::HashSet<_>>();
    let what = What::End { connections: connections.len() as u64, complete: true };
    write_event(&Event { time: Duration::from_secs(1), what }, limit_bytes, &mut lines);
    lines
}

/// The runs of one connection, as a script has them.
fn steps_of(runs: &Runs, id: u64) -> Vec<(u64, Direction, Vec<u8>)> {
    let numbered = runs.iter().enumerate().filter(|(_, (connection, ..))| *connection == id);
    numbered.map(|(number, (_, direction, bytes))| (number as u64, *direction, bytes.clone())).collect()
}

proptest! {
    #[test]
    fn whatever_was_written_is_read(runs in runs()) {
        let lines = written(&runs, None);
        prop_assert_eq!(lines.split_inclusive(|byte| *byte == b'\n').count(), runs.len() + 2);
        let record = Record::read(&lines[..]).unwrap();
        let ids: std::collections::BTreeSet<u64> = runs.iter().map(|run| run.0).collect();
        prop_assert_eq!(record.scripts.len(), ids.len());
        for (id, script) in ids.into_iter().zip(record.scripts) {
            let came: Vec<_> = script.steps.into_iter().map(|step| match step.action {
                Action::Data(direction, bytes, None) => {
                    assert_eq!(step.time, Duration::from_nanos((step.line - 2) * 997));
                    (step.line - 2, direction, bytes)
                }
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(came, steps_of(&runs, id));
        }
    }

    #[test]
    fn what_is_cut_keeps_its_length_and_its_hash(runs in runs(), limit_bytes in 0..96_u64) {
        let record = Record::read(&written(&runs, Some(limit_bytes))[..]).unwrap();
        let mut kept = 0;
        for step in record.scripts.into_iter().flat_map(|script| script.steps) {
            let Action::Data(_, bytes, cut) = step.action else { panic!("{step:?}") };
            let whole = &runs[(step.line - 2) as usize].2;
            let (expected, missing) = whole.split_at(bytes.len());
            prop_assert_eq!(&bytes, expected);
            let told = cut.map(|cut| (cut.bytes, cut.sha256));
            prop_assert_eq!(told, (!missing.is_empty()).then(|| (missing.len() as u64, sha256(missing))));
            kept += bytes.len() as u64;
        }
        // Three connections of two directions.
        prop_assert!(kept <= 6 * limit_bytes);
    }

    /// A program that is killed leaves a record that is whole up to its last line.
    #[test]
    fn a_record_that_is_cut_anywhere_says_so(runs in runs(), at: prop::sample::Index) {
        let lines = written(&runs, None);
        let length = at.index(lines.len() - 1);
        let read = Record::read(&lines[..length]);
        let whole = lines[..length].split(|byte| *byte == b'\n').count() - 1;
        match read {
            Err(Unreadable::Line(_, what)) if length == 0 => prop_assert_eq!(what, "it is missing: the file is empty"),
            Err(Unreadable::Line(line, what)) if what.starts_with("it is cut short: whole lines there are ") => {
                prop_assert_eq!(line, whole as u64 + 1);
            }
            Err(Unreadable::Line(_, what)) => prop_assert!(what.starts_with("nothing follows"), "{}", what),
            // All but the last line's end.
            Ok(_) => prop_assert_eq!(length, lines.len() - 1),
            Err(Unreadable::File(error)) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn no_bytes_at_all_make_it_panic(bytes: Vec<u8>, head: bool) {
        let head = if head { &b"{\"sockkit\":1}\n"[..] } else { b"" };
        let _ = Record::read(&[head, &bytes].concat()[..]);
    }

    #[test]
    fn no_line_makes_it_panic(lines in proptest::collection::vec(
        "\\{(\"(t|conn|ev|off|txt|b64|len|cut|how|rx|tx|dir|conns)\":(-?[0-9]{1,25}|1e400|\"(rx|tx|fin|close|open|end|AA==)?\"|null|true),?){0,5}\\}",
        0..8,
    )) {
        let _ = read(&format!("{{\"sockkit\":1}}\n{}", lines.join("\n")));
    }

    /// One byte is another than it was.
    #[test]
    fn a_damaged_record_is_read_or_refused(runs in runs(), at: prop::sample::Index, byte: u8) {
        let mut lines = written(&runs, Some(40));
        let index = at.index(lines.len());
        lines[index] = byte;
        let _ = Record::read(&lines[..]);
    }
}
