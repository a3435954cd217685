//! Scripts played without a socket: whose turn it is, when, and what is told of a peer that differs.

use proptest::prelude::*;

use super::*;
use crate::connection::Transport;
use crate::record::line::sha256;

const AT_ONCE: Manner = Manner { matching: Matching::Bytes, pace: Pace::Max };
const EXACT: Manner = Manner { matching: Matching::Exact, pace: Pace::Max };

fn script(transport: Transport, actions: &[(u64, Action)]) -> Arc<Script> {
    let steps = actions.iter().enumerate().map(|(index, (time_ms, action))| Step {
        time: Duration::from_millis(*time_ms),
        line: index as u64 + 2,
        action: action.clone(),
    });
    Arc::new(Script { transport, opened: Duration::ZERO, steps: steps.collect() })
}

fn rx(text: &str) -> Action {
    Action::Data(Direction::Received, text.into(), None)
}

fn tx(text: &str) -> Action {
    Action::Data(Direction::Sent, text.into(), None)
}

/// A question and its answer, 10 ms and 30 ms after the beginning.
fn question() -> Vec<(u64, Action)> {
    vec![
        (10, rx("PING")),
        (30, tx("PONG")),
        (30, Action::Finished(Direction::Received)),
        (50, Action::Closed(Ending::Finished)),
    ]
}

#[test]
fn something_is_sent_once_as_much_has_come_as_had() {
    let now = Instant::now();
    let mut player = Player::new(script(Transport::Tcp, &question()), Direction::Sent, AT_ONCE, now);
    assert_eq!(player.turn(now), Turn::Receive);
    player.received(b"pin").unwrap();
    assert_eq!(player.turn(now), Turn::Receive);
    // More than was awaited does no harm.
    player.received(b"g and more").unwrap();
    assert_eq!(player.turn(now), Turn::Send(b"PONG"));
    player.sent(1);
    assert_eq!(player.turn(now), Turn::Send(b"ONG"));
    player.sent(3);
    assert_eq!(player.turn(now), Turn::Receive);
    player.peer_finished().unwrap();
    assert_eq!(player.turn(now), Turn::Finish);
    player.finished();
    assert_eq!(player.turn(now), Turn::Over);
}

#[test]
fn the_other_side_can_be_played_as_well() {
    let now = Instant::now();
    let mut player = Player::new(script(Transport::Tcp, &question()), Direction::Received, EXACT, now);
    assert_eq!(player.turn(now), Turn::Send(b"PING"));
    player.sent(4);
    assert_eq!(player.turn(now), Turn::Receive);
    player.received(b"PONG").unwrap();
    assert_eq!(player.turn(now), Turn::Finish);
    player.finished();
    assert_eq!(player.turn(now), Turn::Over);
}

#[test]
fn pauses_are_as_long_as_they_were_or_scaled_or_none() {
    let ms = Duration::from_millis;
    for (pace, pause) in [(Pace::Times(1.0), ms(20)), (Pace::Times(4.0), ms(5)), (Pace::Times(0.5), ms(40))] {
        let begun = Instant::now();
        let manner = Manner { pace, ..AT_ONCE };
        let mut player = Player::new(script(Transport::Tcp, &question()), Direction::Sent, manner, begun);
        // The question comes late: the answer takes as long as it took after the question.
        let asked = begun + ms(1000);
        player.received(b"PING").unwrap();
        assert_eq!(player.turn(asked), Turn::Wait(asked + pause));
        assert_eq!(player.turn(asked + pause), Turn::Send(b"PONG"));
    }
    // By time alone nobody is waited for.
    let begun = Instant::now();
    let manner = Manner { matching: Matching::Nothing, pace: Pace::Times(2.0) };
    let mut player = Player::new(script(Transport::Tcp, &question()), Direction::Sent, manner, begun);
    assert_eq!(player.turn(begun), Turn::Wait(begun + ms(15)));
    assert_eq!(player.turn(begun + ms(20)), Turn::Send(b"PONG"));
    player.sent(4);
    assert_eq!(player.turn(begun + ms(20)), Turn::Wait(begun + ms(25)));
}

#[test]
fn what_was_late_once_is_not_late_for_ever() {
    let ms = Duration::from_millis;
    let begun = Instant::now();
    let steps = [(0, tx("a")), (10, tx("b")), (20, tx("c"))];
    let manner = Manner { pace: Pace::Times(1.0), ..AT_ONCE };
    let mut player = Player::new(script(Transport::Tcp, &steps), Direction::Sent, manner, begun);
    assert_eq!(player.turn(begun + ms(8)), Turn::Send(b"a"));
    player.sent(1);
    assert_eq!(player.turn(begun + ms(8)), Turn::Wait(begun + ms(10)));
    player.turn(begun + ms(15));
    player.sent(1);
    assert_eq!(player.turn(begun + ms(15)), Turn::Wait(begun + ms(20)));
}

#[test]
fn an_end_is_played_as_it_was() {
    let now = Instant::now();
    for (ending, side, turn) in [
        (Ending::Finished, Direction::Sent, Turn::Finish),
        (Ending::Left, Direction::Sent, Turn::Finish),
        (Ending::Reset, Direction::Sent, Turn::Reset),
        (Ending::Reset, Direction::Received, Turn::Receive),
        (Ending::PeerReset, Direction::Sent, Turn::Receive),
        (Ending::PeerReset, Direction::Received, Turn::Reset),
    ] {
        let script = script(Transport::Tcp, &[(0, Action::Closed(ending.clone()))]);
        let mut player = Player::new(script, side, AT_ONCE, now);
        assert_eq!(player.turn(now), turn, "{ending:?}");
        assert_eq!(player.expects_reset(), turn == Turn::Receive);
    }
    let mut half_closed = Player::new(
        script(Transport::Tcp, &[(0, Action::Finished(Direction::Sent)), (0, rx("a"))]),
        Direction::Sent,
        AT_ONCE,
        now,
    );
    assert_eq!(half_closed.turn(now), Turn::Finish);
    half_closed.finished();
    assert_eq!(half_closed.turn(now), Turn::Receive);
    assert!(!half_closed.is_over());
    half_closed.received(b"a").unwrap();
    assert_eq!(half_closed.turn(now), Turn::Over);
    assert!(half_closed.is_over());
}

#[test]
fn the_first_difference_is_told_with_its_offset_and_line() {
    let steps = [(0, rx("hello ")), (0, tx("hey")), (0, rx("world"))];
    for (came, told) in [
        (&["hello ", "world"][..], None),
        (&["h", "ello wor", "ld"], None),
        (&["hello there"], Some("at offset 6: in line 4 it was \"world\", and \"there\" came")),
        (&["hellO"], Some("at offset 4: in line 2 it was \"o \", and \"O\" came")),
        (&["hello world", "!\n"], Some("at offset 11: nothing more was there, and \"!\\n\" came")),
    ] {
        let mut player = Player::new(script(Transport::Tcp, &steps), Direction::Sent, EXACT, Instant::now());
        let result = came.iter().try_for_each(|text| player.received(text.as_bytes()));
        assert_eq!(result.err().map(|mismatch| mismatch.to_string()).as_deref(), told);
    }
    let mut player = Player::new(script(Transport::Tcp, &steps), Direction::Sent, EXACT, Instant::now());
    player.received(b"hello wo").unwrap();
    let told = player.peer_finished().unwrap_err().to_string();
    assert_eq!(told, "at offset 8: it ended, and in line 4 there was more");
}

#[test]
fn datagrams_are_counted_and_compared_one_by_one() {
    let steps = [(0, rx("one")), (0, tx("")), (0, rx(""))];
    let now = Instant::now();
    let mut player = Player::new(script(Transport::Udp, &steps), Direction::Sent, EXACT, now);
    assert_eq!(player.turn(now), Turn::Receive);
    player.received(b"one").unwrap();
    assert_eq!(player.turn(now), Turn::Send(b""));
    player.sent(0);
    assert_eq!(player.turn(now), Turn::Receive);
    player.received(b"").unwrap();
    assert_eq!(player.turn(now), Turn::Over);
    for (came, told) in [
        ("on", "at offset 2: in line 2 it was a datagram of 3 bytes, and 2 came"),
        ("one!", "at offset 3: in line 2 it was a datagram of 3 bytes, and 4 came"),
        ("One", "at offset 0: in line 2 it was \"one\", and \"One\" came"),
    ] {
        let mut player = Player::new(script(Transport::Udp, &steps), Direction::Sent, EXACT, now);
        assert_eq!(player.received(came.as_bytes()).unwrap_err().to_string(), told);
    }
}

#[test]
fn of_what_was_cut_the_hash_is_compared() {
    let cut = Cut { bytes: 5, sha256: sha256(b"world") };
    let steps = [(0, Action::Data(Direction::Received, b"hello ".to_vec(), Some(cut))), (0, rx("!"))];
    for (came, told) in [
        ("hello world!", None),
        ("hello wOrld!", Some("at offset 6: in line 2 5 bytes had another SHA-256")),
        ("hello world?", Some("at offset 11: in line 3 it was \"!\", and \"?\" came")),
    ] {
        for piece in 1..came.len() {
            let mut player = Player::new(script(Transport::Tcp, &steps), Direction::Sent, EXACT, Instant::now());
            let result = came.as_bytes().chunks(piece).try_for_each(|bytes| player.received(bytes));
            assert_eq!(result.err().map(|mismatch| mismatch.to_string()).as_deref(), told, "{came} by {piece}");
        }
    }
}

proptest! {
    /// However what comes is cut into pieces, each side of a record satisfies the other.
    #[test]
    fn the_two_sides_of_a_record_play_together(
        runs in proptest::collection::vec((any::<bool>(), "[a-z]{1,9}"), 0..12),
        pieces in proptest::collection::vec(1..5_usize, 1..8),
    ) {
        let mut actions: Vec<(u64, Action)> =
            runs.iter().map(|(is_sent, text)| (0, if *is_sent { tx(text) } else { rx(text) })).collect();
        actions.push((0, Action::Closed(Ending::Finished)));
        let script = script(Transport::Tcp, &actions);
        let now = Instant::now();
        let mut sides =
            [Direction::Sent, Direction::Received].map(|ours| Player::new(script.clone(), ours, EXACT, now));
        let mut pieces = pieces.into_iter().cycle();
        let mut turns = 0;
        let mut over = [false; 2];
        while over != [true; 2] {
            turns += 1;
            prop_assert!(turns < 1000, "they wait for each other");
            let [one, other] = if turns % 2 == 0 { [0, 1] } else { [1, 0] };
            let moved = match sides[one].turn(now) {
                Turn::Send(bytes) => Some(bytes[..bytes.len().min(pieces.next().unwrap())].to_vec()),
                Turn::Finish => Some(Vec::new()),
                Turn::Over => { over[one] = true; None }
                _ => None,
            };
            match moved {
                Some(bytes) if bytes.is_empty() => {
                    sides[one].finished();
                    prop_assert_eq!(sides[other].peer_finished(), Ok(()));
                }
                Some(bytes) => {
                    sides[one].sent(bytes.len());
                    prop_assert_eq!(sides[other].received(&bytes), Ok(()));
                }
                None => {}
            }
        }
    }
}
