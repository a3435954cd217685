//! What comes out of a lane, and when.

use proptest::prelude::*;

use super::super::tests::rules;
use super::*;

/// What came out of a lane.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    bytes: Vec<u8>,
    ending: Option<EndingKind>,
    fired: Vec<(usize, u64)>,
    /// When the last byte passed.
    last: Duration,
    pieces: Vec<usize>,
}

/// Puts these bytes in, so many at a time in turn, and passes on at most so many at a time, at a clock that jumps.
fn came(texts: &[&str], seed: u64, input: &[u8], puts: &[usize], passes: &[usize]) -> Came {
    let set = Arc::new(loose(texts, seed));
    let applying: Vec<usize> = (0..texts.len()).collect();
    let mut lane = Lane::new(&set, &applying, 3, Direction::Out).expect("a rule for what goes out");
    let (mut came, mut now, mut rest) = (Came::default(), Duration::ZERO, input);
    let (mut puts, mut passes) = (puts.iter().cycle(), passes.iter().cycle());
    for _ in 0..1_000_000 {
        match lane.step(now) {
            Step::Pass => {
                let count = lane.piece().len().min(*passes.next().unwrap());
                came.bytes.extend_from_slice(&lane.piece()[..count]);
                came.pieces.push(count);
                came.last = now;
                lane.passed(count, now);
            }
            Step::End(ending) => {
                came.ending = Some(ending.kind);
                break;
            }
            Step::Wait(wake) => {
                let count = lane.room(now).min(*puts.next().unwrap()).min(rest.len());
                lane.put(&rest[..count], now);
                rest = &rest[count..];
                match wake {
                    _ if count > 0 => {}
                    Some(wake) => now = wake,
                    None => break,
                }
            }
        }
    }
    came.fired = lane.take_fired().into_iter().map(|fired| (fired.rule, fired.at)).collect();
    came
}

/// Without a look at whether they make sense together.
fn loose(texts: &[&str], seed: u64) -> RuleSet {
    RuleSet { rules: texts.iter().map(|text| super::super::parse(text).unwrap()).collect(), seed }
}

fn text() -> Vec<u8> {
    (0..40_u32).flat_map(|line| format!("line {line}: the quick brown fox\n").into_bytes()).collect()
}

fn seconds(texts: &[&str], input: &[u8]) -> f64 {
    came(texts, 1, input, &[usize::MAX], &[usize::MAX]).last.as_secs_f64()
}

#[test]
fn an_ending_comes_at_its_place() {
    let text = text();
    let lines = |count: usize| text.split_inclusive(|byte| *byte == b'\n').take(count).map(<[u8]>::len).sum::<usize>();
    for (texts, ending, length) in [
        (&["close"][..], Some(EndingKind::Close), 0),
        (&["reset,after=100B"], Some(EndingKind::Reset), 100),
        (&["half-close,after=3msg"], Some(EndingKind::HalfClose), lines(3)),
        (&["stall,after=100B"], None, 100),
        (&["stall,after=1MB"], None, text.len()),
        (&["reset,after=200B", "close,after=100B"], Some(EndingKind::Close), 100),
        (&["reset,after=100B", "close,after=100B"], Some(EndingKind::Reset), 100),
        (&["stall,after=100B", "close,after=200B"], None, 100),
        // A stall that ends is no end, and time that passes meanwhile counts.
        (&["stall,after=100B,for=1s", "close,after=200B"], Some(EndingKind::Close), 200),
        (&["stall,after=100B,for=2s", "reset,after=2s"], Some(EndingKind::Reset), 100),
        (&["delay=1s", "close,after=2s"], Some(EndingKind::Close), text.len()),
        (&["delay=2s", "close,after=1s"], Some(EndingKind::Close), 0),
        (&["garbage=36B", "close,after=36B"], Some(EndingKind::Close), 36),
    ] {
        let came = came(texts, 1, &text, &[usize::MAX], &[usize::MAX]);
        assert_eq!((came.ending, came.bytes.len()), (ending, length), "{texts:?}");
        if texts.iter().all(|text| !text.starts_with("garbage")) {
            assert_eq!(came.bytes, text[..length], "{texts:?}");
        }
    }
}

#[test]
fn what_is_promised_is_told_from_what_is_not() {
    for (rule, expected) in [("reset,after=1B", true), ("reset,after=1msg", true), ("reset", false)] {
        let set = Arc::new(rules(&[rule], 1));
        let mut lane = Lane::new(&set, &[0], 1, Direction::Out).unwrap();
        lane.put(&b"\n"[..lane.room(Duration::ZERO).min(1)], Duration::ZERO);
        if lane.step(Duration::ZERO) == Step::Pass {
            lane.passed(1, Duration::ZERO);
        }
        let ending = Ending { kind: EndingKind::Reset, rule: 0, is_promised: expected };
        assert_eq!(lane.step(Duration::ZERO), Step::End(ending), "{rule}");
    }
}

#[test]
fn shaping_takes_its_time() {
    let bytes = vec![b'x'; 1000];
    for (texts, least, most) in [
        (&["delay=250ms"][..], 0.25, 0.25),
        (&["delay=250ms", "delay=500ms"], 0.75, 0.75),
        (&["delay=250ms..500ms"], 0.25, 0.5),
        (&["delay=1s,after=500B"], 1.0, 1.0),
        (&["delay=1s,after=1001B"], 0.0, 0.0),
        // The first piece goes at once.
        (&["rate=1000B/s"], 0.97, 1.0),
        (&["rate=1000B/s", "rate=500B/s"], 1.95, 2.0),
        (&["rate=1000B/s,after=500B"], 0.47, 0.5),
        (&["chunk=100B/1s"], 9.0, 9.0),
        (&["chunk=100B/1s,after=500B"], 4.0, 4.0),
        (&["stall,after=500B,for=3s"], 3.0, 3.0),
    ] {
        let took = seconds(texts, &bytes);
        assert!((least - 0.001..most + 0.001).contains(&took), "{texts:?}: {took} s");
    }
}

#[test]
fn chunks_are_cut_where_they_are_drawn() {
    let bytes = vec![b'x'; 1000];
    let pieces = |texts: &[&str]| came(texts, 1, &bytes, &[usize::MAX], &[usize::MAX]).pieces;
    assert_eq!(pieces(&["chunk=300B"]), [300, 300, 300, 100]);
    let drawn = pieces(&["chunk=1B..16B"]);
    assert!(drawn.iter().all(|length| (1..=16).contains(length)) && drawn.len() > 63, "{drawn:?}");
    assert!(drawn.iter().any(|length| *length != drawn[0]), "{drawn:?}");
}

#[test]
fn corruption_changes_so_many_bytes_and_no_others() {
    let bytes: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
    let changed = |texts: &[&str], seed| -> Vec<usize> {
        let came = came(texts, seed, &bytes, &[usize::MAX], &[usize::MAX]);
        assert_eq!(came.bytes.len(), bytes.len());
        (0..bytes.len()).filter(|place| came.bytes[*place] != bytes[*place]).collect()
    };
    assert_eq!(changed(&["corrupt=3"], 1), [0, 1, 2]);
    assert_eq!(changed(&["corrupt=2,after=500B"], 1), [500, 501]);
    let places = changed(&["corrupt=1/1000B"], 1);
    assert_eq!(places.iter().map(|place| place / 1000).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_ne!(places, changed(&["corrupt=1/1000B"], 2));
    assert_eq!(changed(&["corrupt=3/1000B"], 1).len(), 30);
    assert_eq!(changed(&["corrupt=7/7B"], 1).len(), 10_000);
}

#[test]
fn memory_is_bounded() {
    for (texts, most) in [
        (&["stall,after=1MB"][..], PIECE_BYTES),
        (&["stall,after=10B"], 10),
        (&["stall"], 0),
        (&["rate=1KiB/s"], 256),
        (&["chunk=16B/1s"], 16),
        (&["delay=1s"], DELAYED_BYTES),
    ] {
        let set = Arc::new(rules(texts, 1));
        let mut lane = Lane::new(&set, &[0], 1, Direction::Out).unwrap();
        lane.step(Duration::ZERO);
        let room = lane.room(Duration::ZERO);
        assert_eq!(room, most, "{texts:?}");
        lane.put(&vec![0; room], Duration::ZERO);
        assert_eq!(lane.room(Duration::ZERO), 0, "{texts:?}");
    }
    let set = Arc::new(rules(&["delay=1s"], 1));
    let mut lane = Lane::new(&set, &[0], 1, Direction::Out).unwrap();
    let puts = (1..100_000).find(|number| {
        lane.put(b"x", Duration::from_millis(*number));
        lane.room(Duration::ZERO) == 0
    });
    assert!(puts.is_some_and(|puts| puts < 50_000), "tiny pieces are bounded as well: {puts:?}");
}

#[test]
fn the_other_direction_is_left_alone() {
    let set = Arc::new(rules(&["reset,dir=in", "buffer=4KiB", "refuse=2s", "delay-close=1s"], 1));
    assert!(Lane::new(&set, &[0, 1, 2, 3], 1, Direction::Out).is_none());
    assert!(Lane::new(&set, &[0], 1, Direction::In).is_some());
    assert!(Lane::new(&set, &[], 1, Direction::In).is_none());
}

/// Rules that no clock decides.
fn placed() -> impl Strategy<Value = Vec<&'static str>> {
    let rules = [
        "close,after=700B",
        "reset,after=17msg",
        "stall,after=900B",
        "half-close,after=1KiB",
        "corrupt=1/50B",
        "corrupt=5,after=3msg",
        "garbage=40B",
        "garbage=100B,after=5msg",
        "chunk=1B..16B",
        "chunk=7B/1ms,after=300B",
        "rate=100KB/s",
        "delay=1ms..3ms",
        "delay=5ms,after=100B",
    ];
    prop::collection::vec(prop::sample::select(rules.to_vec()), 1..5)
}

proptest! {
    #[test]
    fn the_same_bytes_come_out_however_they_went_in(
        texts in placed(),
        seed in any::<u64>(),
        puts in prop::collection::vec(1_usize..400, 1..6),
        passes in prop::collection::vec(1_usize..400, 1..6),
    ) {
        let text = text();
        let whole = came(&texts, seed, &text, &[usize::MAX], &[usize::MAX]);
        let split = came(&texts, seed, &text, &puts, &passes);
        prop_assert_eq!(&split.bytes, &whole.bytes);
        prop_assert_eq!(split.ending, whole.ending);
        let sorted = |came: &Came| { let mut fired = came.fired.clone(); fired.sort_unstable(); fired };
        prop_assert_eq!(sorted(&split), sorted(&whole));
        prop_assert_eq!(came(&texts, seed, &text, &puts, &passes), split);
    }

    #[test]
    fn rules_that_do_not_come_to_it_change_nothing(
        puts in prop::collection::vec(1_usize..400, 1..6),
        passes in prop::collection::vec(1_usize..400, 1..6),
    ) {
        let text = text();
        let came = came(&["reset,after=1MB", "corrupt=1,after=1MB"], 1, &text, &puts, &passes);
        prop_assert_eq!((came.bytes, came.ending, came.fired, came.last), (text, None, vec![], Duration::ZERO));
    }
}
