//! Which rules apply to whom.

use super::*;
use crate::connection::Transport;

/// Rules for a server on TCP.
pub(super) fn rules(texts: &[&str], seed: u64) -> RuleSet {
    rules_on(Transport::Tcp, texts, seed)
}

/// Rules for a server.
pub(super) fn rules_on(transport: Transport, texts: &[&str], seed: u64) -> RuleSet {
    let rules = texts.iter().map(|text| parse(text).unwrap()).collect();
    RuleSet::new(rules, seed, Place { transport, side: Side::Serves }).unwrap()
}

/// To which of the connections 1 to 12 each rule applies.
fn chosen(set: &RuleSet, peer: Option<IpAddr>) -> Vec<Vec<u64>> {
    let mut choice = Choice::default();
    let mut chosen = vec![Vec::new(); set.rules.len()];
    for ordinal in 1..=12 {
        choice.connection(set, ordinal, peer).into_iter().for_each(|rule| chosen[rule].push(ordinal));
    }
    chosen
}

#[test]
fn the_keys_choose_connections() {
    let peer = Some(IpAddr::from([192, 0, 2, 7]));
    for (rule, expected) in [
        ("reset", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..]),
        ("reset,conn=3", &[3]),
        ("reset,conn=2..4", &[2, 3, 4]),
        ("reset,conn=11..", &[11, 12]),
        ("reset,every=5", &[5, 10]),
        ("reset,every=2,times=2", &[2, 4]),
        ("reset,chance=100%,times=1", &[1]),
        ("reset,chance=0%", &[]),
        ("reset,from=192.0.2.0/24,times=2", &[1, 2]),
        ("reset,from=192.0.3.0/24", &[]),
        ("refuse=2s", &[]),
    ] {
        assert_eq!(chosen(&rules(&[rule], 1), peer), [expected], "{rule}");
    }
    assert_eq!(chosen(&rules(&["delay=1s", "reset"], 1), None)[1].len(), 12, "all that match apply");
}

#[test]
fn a_chance_is_drawn_for_each_rule_and_connection_and_repeats_with_the_seed() {
    let texts = ["reset,chance=50%", "reset,chance=50%"];
    let first = chosen(&rules(&texts, 7), None);
    assert_eq!(chosen(&rules(&texts, 7), None), first);
    assert_ne!(chosen(&rules(&texts, 8), None), first);
    assert_ne!(first[0], first[1]);
    let set = rules(&["reset,chance=10%"], 7);
    let mut choice = Choice::default();
    let number = (1..=10_000).filter(|ordinal| !choice.connection(&set, *ordinal, None).is_empty()).count();
    assert!((900..1100).contains(&number), "{number} of 10000");
    // Which connections were asked about before changes nothing.
    let alone = Choice::default().connection(&set, 9_999, None);
    assert_eq!(alone, Choice::default().connection(&set, 9_999, None));
}

#[test]
fn the_kernels_share_is_set_both_ways_or_one_way() {
    for (texts, expected) in [
        (&["buffer=4KiB"][..], (Some(4096), Some(4096), None)),
        (&["buffer=4KiB,dir=in"], (Some(4096), None, None)),
        (&["buffer=4KiB,dir=in", "buffer=8KiB,dir=out"], (Some(4096), Some(8192), None)),
        (&["mss=536"], (None, None, Some(536))),
        (&["reset"], (None, None, None)),
    ] {
        assert_eq!(rules(texts, 1).socket_options(), expected, "{texts:?}");
    }
}

#[test]
fn only_what_is_drawn_needs_a_seed() {
    for (rule, expected) in [
        ("reset,chance=10%", true),
        ("reset,chance=100%", false),
        ("reset,chance=0%", false),
        ("delay=30ms..70ms", true),
        ("delay=50ms", false),
        ("chunk=1B..2B", true),
        ("corrupt=1", true),
        ("garbage=1B", true),
        ("reset,after=2s", false),
    ] {
        assert_eq!(rules(&[rule], 1).is_random(), expected, "{rule}");
    }
}
