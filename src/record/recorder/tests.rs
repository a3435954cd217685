//! The recorder from several threads, and with files that fail.

use std::io::BufReader;
#[cfg(target_os = "linux")]
use std::sync::mpsc;
use std::time::SystemTime;

use super::*;
use crate::record::{Action, Record};

const PLAIN: Form = Form::Lines { limit_bytes: None };

fn header() -> Header {
    Header { start: SystemTime::now(), command: vec!["serve".to_owned(), "-p".to_owned(), "0".to_owned()], seed: None }
}

/// In a file of its own, which is read when the record has ended.
fn recorded(form: Form, record: impl FnOnce(&Recorder)) -> Record {
    let file = tempfile::NamedTempFile::new().unwrap();
    let recorder =
        Recorder::start(file.reopen().unwrap(), form, header(), Box::new(|error| panic!("{error}"))).unwrap();
    record(&recorder);
    recorder.finish().unwrap();
    Record::read(BufReader::new(file.reopen().unwrap())).unwrap()
}

fn open(recorder: &Recorder, connection: u64) -> Track {
    let address = |port| Address::Inet(([127, 0, 0, 1], port).into());
    recorder.open(connection, Transport::Tcp, &address(50_000), &address(7))
}

#[test]
fn several_threads_write_one_record_in_which_time_goes_forward() {
    const ROUNDS: usize = 200;
    let record = recorded(PLAIN, |recorder| {
        std::thread::scope(|scope| {
            for connection in 1..=4 {
                scope.spawn(move || {
                    let track = open(recorder, connection);
                    for round in 0..ROUNDS {
                        track.data(Direction::Received, &[connection as u8; 3]);
                        track.data(Direction::Sent, format!("{round}\n").as_bytes());
                    }
                    track.finished(Direction::Received);
                    track.close(Ending::Finished, u64::MAX);
                    track.data(Direction::Sent, b"late");
                });
            }
        });
    });
    // The reader has checked the offsets, the totals, the number of connections and the times.
    assert_eq!((record.command.len(), record.scripts.len()), (3, 4));
    for script in &record.scripts {
        assert_eq!(script.steps.len(), 2 * ROUNDS + 2);
        let is_last = |action: &Action| *action == Action::Closed(Ending::Finished);
        assert!(is_last(&script.steps.last().unwrap().action), "{:?}", script.steps.last());
    }
}

#[test]
fn what_is_recorded_after_the_end_is_nobodys_business() {
    let record = recorded(PLAIN, |recorder| {
        let track = open(recorder, 1);
        recorder.finish().unwrap();
        track.data(Direction::Sent, b"late");
    });
    assert_eq!(record.scripts[0].steps, []);
}

#[test]
fn the_limit_is_each_directions_own() {
    let record = recorded(Form::Lines { limit_bytes: Some(2) }, |recorder| {
        let track = open(recorder, 1);
        track.data(Direction::Received, b"abc");
        track.data(Direction::Sent, b"d");
    });
    let kept = |step: usize| match &record.scripts[0].steps[step].action {
        Action::Data(_, bytes, cut) => (bytes.clone(), cut.as_ref().map(|cut| cut.bytes)),
        other => panic!("{other:?}"),
    };
    assert_eq!((kept(0), kept(1)), ((b"ab".to_vec(), Some(1)), (b"d".to_vec(), None)));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_once_and_ends_the_record() {
    let (tell, told) = mpsc::channel();
    let tell_of = |tell: &mpsc::Sender<io::ErrorKind>| {
        let tell = tell.clone();
        Box::new(move |error: &io::Error| tell.send(error.kind()).unwrap())
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let recorder = Recorder::start(full, PLAIN, header(), tell_of(&tell)).unwrap();
    assert_eq!(told.recv(), Ok(io::ErrorKind::StorageFull));
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    // What fails later: a pipe whose reader goes away.
    let (reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let recorder = Recorder::start(file, PLAIN, header(), tell_of(&tell)).unwrap();
    drop((reader, tell));
    let track = open(&recorder, 1);
    assert_eq!(told.recv(), Ok(io::ErrorKind::BrokenPipe));
    track.data(Direction::Sent, b"nobody waits for this");
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(told.recv(), Err(mpsc::RecvError), "once");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_nothing_holds_nobody_up_for_long() {
    let (_reader, writer) = io::pipe().unwrap();
    let (tell, told) = mpsc::channel();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let recorder =
        Recorder::start(file, PLAIN, header(), Box::new(move |error| tell.send(error.to_string()).unwrap())).unwrap();
    let track = open(&recorder, 1);
    // The pipe takes 64 KiB, the writer's batch and the queue what the queue is allowed.
    let block = vec![b'x'; 1 << 20];
    let begun = Instant::now();
    while told.try_recv().is_err() {
        track.data(Direction::Sent, &block);
        assert!(begun.elapsed() < 30 * PATIENCE, "it waits for ever");
    }
    for _ in 0..2 {
        assert_eq!(recorder.finish().unwrap_err().to_string(), "it took nothing for 1 s");
    }
}
