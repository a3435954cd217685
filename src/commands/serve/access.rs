//! Who may come in: networks that are allowed and networks that are denied.
//!
//! Owns the flags, the files and the rule: deny wins, and where anybody is allowed by name, only those are. Must not know
//! what happens to who is refused. Trade-off: the files are read again all or none, so that a slip in one of them leaves the
//! rules as they were instead of letting everybody in.

use std::fs;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use anyhow::Context;
use clap::ValueHint;

use crate::cli::UsageError;
use crate::connection::Address;
use crate::network::{Network, Networks};

/// What was typed.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AccessArgs {
    /// Let in only peers of this network (repeatable)
    ///
    /// An address, ADDRESS/LENGTH, or `any`. What --deny names is refused all the same. A refused connection is reset, a
    /// refused datagram gets no answer.
    #[arg(long, value_name = "NETWORK", value_parser = Who::parse)]
    pub allow: Vec<Who>,
    /// Refuse peers of this network, also those that --allow names (repeatable)
    #[arg(long, value_name = "NETWORK", value_parser = Who::parse)]
    pub deny: Vec<Who>,
    /// Let in only peers of the networks in a file, read again at SIGHUP (repeatable)
    ///
    /// One or more in a line; `#` begins a comment.
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub allow_file: Vec<PathBuf>,
    /// Refuse peers of the networks in a file, read again at SIGHUP (repeatable)
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub deny_file: Vec<PathBuf>,
}

impl AccessArgs {
    /// Whether there are any rules.
    pub fn is_typed(&self) -> bool {
        let AccessArgs { allow, deny, allow_file, deny_file } = self;
        !(allow.is_empty() && deny.is_empty() && allow_file.is_empty() && deny_file.is_empty())
    }

    /// Whether somebody was named who may come in.
    fn names_somebody(&self) -> bool {
        !self.allow.is_empty() || !self.allow_file.is_empty()
    }
}

/// What one word names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who(Vec<Network>);

impl Who {
    fn parse(text: &str) -> Result<Who, String> {
        let words = if text == "any" { &["0.0.0.0/0", "::/0"][..] } else { &[text][..] };
        words.iter().map(|word| Network::parse_or_address(word)).collect::<Result<_, _>>().map(Who)
    }
}

/// Why somebody is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// By the rules.
    Denied,
    /// As many as may be are there.
    Full,
    /// As many as may be are there from its address.
    FullForAddress,
    /// It has no name to which an answer could be sent.
    Unnamed,
}

impl Refusal {
    /// The word for it in events.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::Denied => "denied",
            Refusal::Full => "full",
            Refusal::FullForAddress => "full_for_address",
            Refusal::Unnamed => "unnamed",
        }
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Access {
    args: AccessArgs,
    rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    /// None: everybody.
    allowed: Option<Networks>,
    denied: Networks,
}

impl Access {
    /// Reads the files for the first time. Fails as a usage error, or because a file cannot be read.
    pub fn new(args: AccessArgs) -> anyhow::Result<Access> {
        let rules = RwLock::new(Rules::read(&args)?);
        Ok(Access { args, rules })
    }

    /// Whether a peer may come in. Unix sockets have permissions of their own.
    pub fn admits(&self, peer: &Address) -> bool {
        let Address::Inet(peer) = peer else { return true };
        if !self.args.is_typed() {
            return true;
        }
        // A poisoned lock means that a thread panicked while it held it; what is inside is still good.
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let is_allowed = rules.allowed.as_ref().is_none_or(|allowed| allowed.has_peer(peer.ip()));
        is_allowed && !rules.denied.has_peer(peer.ip())
    }

    /// Whether there is a file to be read again.
    pub fn has_files(&self) -> bool {
        !self.args.allow_file.is_empty() || !self.args.deny_file.is_empty()
    }

    /// Reads the files again. When it fails, the rules stay as they were.
    pub fn reload(&self) -> anyhow::Result<()> {
        let rules = Rules::read(&self.args)?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// Refuses to offer to everybody on a network what should be offered only to those who were named: programs, other
    /// hosts, or more bytes than a forged datagram had.
    pub fn guard(&self, what: &str, addresses: &[Address]) -> Result<(), UsageError> {
        match addresses.iter().find(|address| !address.is_loopback()) {
            Some(address) if !self.args.names_somebody() => Err(UsageError(format!(
                "{what} on {address} would be open to everybody who can reach it: say to whom with --allow NETWORK, or --allow any"
            ))),
            _ => Ok(()),
        }
    }
}

impl Rules {
    fn read(args: &AccessArgs) -> anyhow::Result<Rules> {
        let allowed = collect(&args.allow, &args.allow_file)?;
        let denied = collect(&args.deny, &args.deny_file)?;
        Ok(Rules { allowed: args.names_somebody().then_some(allowed), denied })
    }
}

fn collect(typed: &[Who], files: &[PathBuf]) -> anyhow::Result<Networks> {
    let mut all: Vec<Network> = typed.iter().flat_map(|who| who.0.iter().copied()).collect();
    for path in files {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("read access file \"{name}\""))?;
        for (index, line) in text.lines().enumerate() {
            for word in line.split('#').next().unwrap_or_default().split_whitespace() {
                let who = Who::parse(word).map_err(|why| UsageError(format!("{name}, line {}: {why}", index + 1)))?;
                all.extend(who.0);
            }
        }
    }
    Ok(Networks::of(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let read = |words: &[&str]| words.iter().map(|word| Who::parse(word).unwrap()).collect();
        Access::new(AccessArgs { allow: read(allow), deny: read(deny), ..AccessArgs::default() }).unwrap()
    }

    fn address(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    #[test]
    fn deny_wins_and_who_is_allowed_shuts_out_the_others() {
        for (allow, deny, peer, expected) in [
            (&[][..], &[][..], "192.0.2.7:1", true),
            (&["192.0.2.0/24"], &[], "192.0.2.7:1", true),
            (&["192.0.2.0/24"], &[], "[::ffff:192.0.2.7]:1", true),
            (&["192.0.2.0/24"], &[], "198.51.100.1:1", false),
            (&["192.0.2.0/24"], &[], "[2001:db8::1]:1", false),
            (&["192.0.2.0/24"], &["192.0.2.7"], "192.0.2.7:1", false),
            (&["192.0.2.7"], &["192.0.2.0/24"], "192.0.2.7:1", false),
            (&["any"], &["192.0.2.7"], "[::ffff:192.0.2.7]:1", false),
            (&["any"], &["192.0.2.7"], "[2001:db8::1]:1", true),
            (&[], &["2001:db8::/32"], "[2001:db8::1]:1", false),
            (&[], &["any"], "192.0.2.7:1", false),
        ] {
            assert_eq!(access(allow, deny).admits(&address(peer)), expected, "{allow:?} {deny:?} {peer}");
        }
    }

    #[test]
    fn what_is_dangerous_is_offered_off_loopback_only_to_those_who_are_named() {
        let (here, anywhere) = (address("127.0.0.1:1"), address("0.0.0.0:1"));
        assert!(access(&[], &[]).guard("exec", std::slice::from_ref(&here)).is_ok());
        assert!(access(&["any"], &[]).guard("exec", &[here.clone(), anywhere.clone()]).is_ok());
        let refused = access(&[], &["192.0.2.7"]).guard("exec", &[here, anywhere]).unwrap_err();
        let expected = "exec on 0.0.0.0:1 would be open to everybody who can reach it: say to whom with --allow NETWORK, or \
                        --allow any";
        assert_eq!(refused.to_string(), expected);
    }
}
