//! What cannot work here: rules that a transport, a side or another rule leaves without a meaning.
//!
//! Owns the reasons, which are told before anything is bound. Must not know how rules are carried out. Trade-off: a rule
//! that would never do anything is refused rather than ignored, though that takes a list of the combinations.

use super::rule::{Action, After, Direction, Keys, Rule, Stage};
use crate::connection::Transport;
use crate::connection::datagram::PAYLOAD_BYTES_MAX;

/// Where rules are to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The protocol.
    pub transport: Transport,
    /// Which end.
    pub side: Side,
}

/// Which end of the connections the rules are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that is connected to.
    Serves,
    /// The one that connects.
    Connects,
}

/// Whether all rules can work, alone and together.
pub(super) fn check(rules: &[Rule], place: Place) -> Result<(), String> {
    for (index, rule) in rules.iter().enumerate() {
        let refuse = |why: String| Err(format!("fault rule \"{rule}\" cannot work here: {why}"));
        if let Some(why) = action_against(&rule.action, place).or_else(|| keys_against(rule, place)) {
            return refuse(why);
        }
        if let Some(earlier) = rules[..index].iter().find(|earlier| are_at_odds(earlier, rule)) {
            return refuse(format!("\"{earlier}\" sets the same thing"));
        }
        let comes_first = |(place, other): (usize, &Rule)| place != index && ends_before(other, rule, place < index);
        if let Some(place) = (0..rules.len()).find(|place| comes_first((*place, &rules[*place]))) {
            return refuse(format!("\"{}\" ends every connection before it", rules[place]));
        }
    }
    Ok(())
}

fn action_against(action: &Action, place: Place) -> Option<String> {
    let Place { transport, side } = place;
    let is_stream = transport.is_stream();
    let why = match (action.stage(), action) {
        (Stage::Door, _) if side == Side::Connects => "this end does not accept: serve's -F has it",
        (Stage::Door, Action::Refuse(_) | Action::Flap { .. }) if transport == Transport::UnixDatagram => {
            "a path without a receiver is no address; drop loses what comes"
        }
        (Stage::Door, Action::Blackhole(_) | Action::NoAccept(_)) if !is_stream => {
            "datagrams are not accepted; drop loses them"
        }
        (Stage::Door, Action::Refuse(_) | Action::Flap { .. }) if cfg!(windows) => {
            "this system gives a port away that nobody listens on"
        }
        (Stage::Door, Action::Blackhole(_)) if cfg!(windows) => "this system refuses what its queue has no room for",
        (Stage::Ending, Action::DelayClose(_)) if !is_stream => "datagrams have no end",
        (Stage::Ending, _) if !is_stream => "datagrams have no connection that could end; drop,after=... loses them",
        (_, Action::Reset) if transport.is_unix() => "a unix socket has no reset; close ends it",
        (_, Action::Chunk { .. }) if !is_stream => "a datagram goes in one piece; truncate cuts it",
        (_, Action::Corrupt { among: Some(_), .. }) if !is_stream => {
            "each datagram has its own bytes: corrupt=N changes N of each, chance=PCT and every=N choose which"
        }
        (_, Action::Garbage(size)) if !is_stream && *size > PAYLOAD_BYTES_MAX as u64 => {
            return Some(format!("a datagram has at most {PAYLOAD_BYTES_MAX} bytes"));
        }
        (_, Action::Mss(_)) if transport != Transport::Tcp => "segments are TCP's",
        (Stage::Datagram, _) if is_stream => {
            "a stream loses, doubles and swaps no bytes: it is for datagrams (-u); close, reset and corrupt are for streams"
        }
        _ => return None,
    };
    Some(why.to_owned())
}

fn keys_against(rule: &Rule, place: Place) -> Option<String> {
    let (keys, stage) = (&rule.keys, rule.action.stage());
    let word = rule.action.word();
    let is_flap = matches!(rule.action, Action::Flap { .. });
    let is_buffer = matches!(rule.action, Action::Buffer(_));
    let delays_close = matches!(rule.action, Action::DelayClose(_));
    let is_door = stage == Stage::Door;
    let is_kernel = stage == Stage::Kernel;
    let ends_or_adds = stage == Stage::Ending && rule.action != Action::Stall
        || matches!(rule.action, Action::Garbage(_)) && place.transport.is_stream();
    let before_all = if is_door { "it comes before any connection" } else { "it is set before there is a connection" };
    let none =
        |is_given: bool, key: &str, why: &str| is_given.then(|| format!("{key}= has no meaning for {word}: {why}"));
    let chooses = [
        ("conn", keys.connections.is_some()),
        ("every", keys.every.is_some()),
        ("chance", keys.chance.is_some()),
        ("from", keys.from.is_some()),
        ("times", keys.times.is_some() && !is_flap),
    ];
    let chosen = chooses.into_iter().find(|(_, is_given)| *is_given && (is_door || is_kernel));
    let until = if is_door { "its value says how long" } else { before_all };
    None.or(chosen.and_then(|(key, _)| none(true, key, before_all)))
        .or(none(keys.after.is_some() && is_kernel, "after", before_all))
        .or(none(keys.lasts.is_some() && (is_door || is_kernel), "for", until))
        .or(none(keys.direction.is_some() && (is_door || is_kernel && !is_buffer), "dir", before_all))
        .or(none(is_door && !matches!(keys.after, None | Some(After::Time(_))), "after", "only a time can pass here"))
        .or(none(keys.after.is_some() && delays_close, "after", "it waits for the end"))
        .or(none(keys.direction.is_some() && delays_close, "dir", "only what is sent has an end to delay"))
        .or(none(keys.lasts.is_some() && ends_or_adds, "for", "it happens once"))
        .or(none(
            keys.connections.is_some() && !place.transport.is_stream(),
            "conn",
            "datagrams have no connections; every=N, chance=PCT, after=Nmsg and times=N choose among them",
        ))
        .or(none(
            place.side == Side::Connects
                && matches!(rule.action, Action::Close | Action::HalfClose)
                && rule.concerns(Direction::In),
            "dir",
            "this end finishes with what it sends",
        ))
        .or(none(keys.from.is_some() && place.transport.is_unix(), "from", "unix peers have no address"))
}

/// Whether an ending that nothing holds back leaves another no chance.
fn ends_before(ending: &Rule, other: &Rule, is_earlier: bool) -> bool {
    let ends = |rule: &Rule| rule.action.stage() == Stage::Ending && !matches!(rule.action, Action::DelayClose(_));
    let is_always = ending.keys == Keys { direction: ending.keys.direction, ..Keys::default() };
    let share = [Direction::In, Direction::Out].into_iter().any(|way| ending.concerns(way) && other.concerns(way));
    ends(ending) && ends(other) && is_always && share && (is_earlier || other.keys.after.is_some())
}

/// Whether two rules set one thing.
fn are_at_odds(earlier: &Rule, rule: &Rule) -> bool {
    match (&earlier.action, &rule.action) {
        (Action::Mss(_), Action::Mss(_)) => true,
        (Action::Buffer(_), Action::Buffer(_)) => {
            [Direction::In, Direction::Out].into_iter().any(|way| earlier.concerns(way) && rule.concerns(way))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        use Transport::{Tcp, Udp, UnixDatagram, UnixStream};
        let serves = Side::Serves;
        for (transport, side, texts, why) in [
            (Tcp, serves, &["drop"][..], "a stream loses, doubles and swaps no bytes"),
            (UnixStream, serves, &["dup"], "a stream loses, doubles and swaps no bytes"),
            (Udp, serves, &["reset"], "datagrams have no connection that could end; drop,after=... loses them"),
            (Udp, serves, &["stall"], "datagrams have no connection that could end"),
            (Udp, serves, &["delay-close=2s"], "datagrams have no end"),
            (Udp, serves, &["chunk=1B"], "a datagram goes in one piece; truncate cuts it"),
            (Udp, serves, &["corrupt=1/64KiB"], "corrupt=N changes N of each"),
            (Udp, serves, &["garbage=64KiB"], "a datagram has at most 65507 bytes"),
            (Udp, serves, &["mss=536"], "segments are TCP's"),
            (UnixStream, serves, &["mss=536"], "segments are TCP's"),
            (UnixStream, serves, &["reset"], "a unix socket has no reset; close ends it"),
            (Udp, serves, &["blackhole"], "datagrams are not accepted; drop loses them"),
            (UnixDatagram, serves, &["refuse=2s"], "drop loses what comes"),
            (Tcp, Side::Connects, &["refuse=2s"], "this end does not accept: serve's -F has it"),
            (Tcp, serves, &["refuse=2s,conn=1..3"], "conn= has no meaning for refuse: it comes before any connection"),
            (Tcp, serves, &["refuse=2s,after=1KiB"], "after= has no meaning for refuse: only a time can pass here"),
            (Tcp, serves, &["no-accept,for=2s"], "for= has no meaning for no-accept: its value says how long"),
            (Tcp, serves, &["blackhole,dir=in"], "dir= has no meaning for blackhole"),
            (Tcp, serves, &["refuse=2s,times=2"], "times= has no meaning for refuse"),
            (
                Tcp,
                serves,
                &["buffer=4KiB,chance=10%"],
                "chance= has no meaning for buffer: it is set before there is a connection",
            ),
            (Tcp, serves, &["mss=536,dir=in"], "dir= has no meaning for mss"),
            (Tcp, serves, &["mss=536", "mss=600"], "\"mss=536\" sets the same thing"),
            (Tcp, serves, &["buffer=4KiB,dir=in", "buffer=8KiB"], "\"buffer=4KiB,dir=in\" sets the same thing"),
            (Tcp, serves, &["stall", "reset,after=2s"], "\"stall\" ends every connection before it"),
            (Tcp, serves, &["stall,chance=10%", "close", "reset"], "\"close\" ends every connection before it"),
            (Tcp, serves, &["reset,for=2s"], "for= has no meaning for reset: it happens once"),
            (Tcp, serves, &["garbage=2B,for=2s"], "for= has no meaning for garbage: it happens once"),
            (Tcp, serves, &["delay-close=2s,after=2s"], "after= has no meaning for delay-close: it waits for the end"),
            (Tcp, serves, &["delay-close=2s,dir=in"], "dir= has no meaning for delay-close"),
            (Udp, serves, &["drop,conn=1"], "conn= has no meaning for drop: datagrams have no connections; every=N"),
            (UnixStream, serves, &["close,from=::1/128"], "from= has no meaning for close: unix peers have no address"),
        ] {
            let rules: Vec<Rule> = texts.iter().map(|text| parse(text).unwrap()).collect();
            let said = check(&rules, Place { transport, side }).expect_err(&texts.join(" "));
            let rule = texts.last().unwrap();
            assert!(
                said.starts_with(&format!("fault rule \"{rule}\" cannot work here: ")) && said.contains(why),
                "{said}"
            );
        }
    }

    #[test]
    fn an_ending_that_comes_later_in_the_text_may_come_first_in_time() {
        let rules = ["reset,after=2s", "close"].map(|text| parse(text).unwrap());
        let said = check(&rules, Place { transport: Transport::Tcp, side: Side::Serves }).unwrap_err();
        assert_eq!(said, "fault rule \"reset,after=2s\" cannot work here: \"close\" ends every connection before it");
        let rules = ["reset,chance=10%", "close", "stall,dir=in", "delay-close=2s"].map(|text| parse(text).unwrap());
        assert_eq!(check(&rules, Place { transport: Transport::Tcp, side: Side::Serves }), Ok(()));
    }

    #[test]
    fn what_can_work_is_not_refused() {
        use Transport::{Tcp, Udp, UnixStream};
        for (transport, side, text) in [
            (Tcp, Side::Serves, "flap=2s/500ms,after=5s,times=3"),
            (Tcp, Side::Serves, "stall,dir=in,after=4KiB,for=2s"),
            (Tcp, Side::Connects, "buffer=4KiB,dir=in"),
            (UnixStream, Side::Serves, "refuse=2s"),
            (Udp, Side::Serves, "refuse=2s"),
            (Udp, Side::Serves, "garbage=36B,for=2s"),
            (Udp, Side::Serves, "rate=64KiB/s,dir=both"),
            (Udp, Side::Connects, "drop,after=3msg,times=1"),
        ] {
            assert_eq!(check(&[parse(text).unwrap()], Place { transport, side }), Ok(()), "{text}");
        }
        let both: Vec<Rule> =
            ["buffer=4KiB,dir=in", "buffer=8KiB,dir=out"].iter().map(|text| parse(text).unwrap()).collect();
        assert_eq!(check(&both, Place { transport: Tcp, side: Side::Serves }), Ok(()));
    }
}
