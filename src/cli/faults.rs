//! `-F`, `--faults`, `--seed` and `--plan`: fault rules as they are typed.
//!
//! Owns the flags, and the reading of the file and the environment. Must not know what a rule does: that is `fault`'s.
//! Trade-off: a file of rules is read when the plan is made, so that a slip in it is found before anything is bound.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueHint};

use super::UsageError;
use crate::connection::{Options, Transport};
use crate::fault::{self, Rule, RuleSet};
use crate::random;

/// Whether it is `help faults`, or ends with `--help faults`: a page beside those of the commands.
pub(super) fn are_asked_for(arguments: &[OsString]) -> bool {
    let [.., help, faults] = arguments else { return false };
    let is_help = help == "--help" || (help == "help" && arguments.len() == 3);
    is_help && faults == "faults"
}

/// Faults on purpose: the same in serve, connect and echo-bench.
// The help's brackets are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, Clone, Default, Args)]
pub struct FaultArgs {
    /// A fault on purpose, such as delay=50ms or reset,after=1KiB (repeatable)
    ///
    /// An action, its value behind an equals sign, and keys behind commas: `sockkit help faults` has them all. Rules are read
    /// in order, and all that match apply.
    #[arg(short = 'F', long = "fault", value_name = "RULE", value_parser = fault::parse)]
    pub rules: Vec<Rule>,
    /// More fault rules, one in each line of a file
    ///
    /// They come after those of -F. `#` begins a comment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub faults: Option<PathBuf>,
}

/// What fault rules draw: the same in serve and connect; echo-bench has a seed of its own.
#[derive(Debug, Clone, Default, Args)]
pub struct SeedArgs {
    /// What fault rules draw follows from this number [default: drawn, and told]
    ///
    /// One seed, the same faults, however threads and reads fall. SOCKKIT_SEED in the environment is another way to say it.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print what fault rules would do to connections 1 to N, and end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub plan: Option<u64>,
}

/// The environment's way to say `--seed`.
const SEED_VARIABLE: &str = "SOCKKIT_SEED";

impl FaultArgs {
    /// Whether there are any rules.
    pub fn is_typed(&self) -> bool {
        !self.rules.is_empty() || self.faults.is_some()
    }

    /// The rules, those of the file as it is now.
    pub fn read(&self, seed: u64, place: fault::Place) -> anyhow::Result<RuleSet> {
        let mut rules = self.rules.clone();
        if let Some(path) = &self.faults {
            let name = path.display();
            let text = std::fs::read_to_string(path).with_context(|| format!("read fault file \"{name}\""))?;
            let wrong = |(line, why)| UsageError(format!("{name}, line {line}: {why}"));
            rules.extend(fault::parse_file(&text).map_err(wrong)?);
        }
        Ok(RuleSet::new(rules, seed, place).map_err(UsageError)?)
    }
}

impl SeedArgs {
    /// Without rules there is nothing to draw and nothing to plan.
    pub fn refuse_without_rules(&self) -> Result<(), UsageError> {
        for (flag, value) in [("--seed", self.seed), ("--plan", self.plan)] {
            if let Some(value) = value {
                return Err(UsageError(format!("{flag} {value} is for fault rules: -F RULE or --faults FILE")));
            }
        }
        Ok(())
    }

    /// The seed, and whether it was drawn.
    pub fn seed(&self) -> Result<(u64, bool), UsageError> {
        if let Some(seed) = self.seed {
            return Ok((seed, false));
        }
        let Some(text) = std::env::var_os(SEED_VARIABLE) else {
            return Ok((random::drawn_seed(), true));
        };
        let seed = text.to_str().and_then(|text| text.parse().ok());
        let wrong = || UsageError(format!("{SEED_VARIABLE}={} is no whole number", text.display()));
        Ok((seed.ok_or_else(wrong)?, false))
    }
}

/// What of the rules is the kernel's business, among the options.
pub fn tell_options(set: &RuleSet, transport: Transport, options: &mut Options) -> Result<(), UsageError> {
    if transport == Transport::UnixSeqpacket {
        let why = "-F cuts bytes where it likes, and --seqpacket keeps messages whole: leave one out";
        return Err(UsageError(why.to_owned()));
    }
    let (receive, send, mss) = set.socket_options();
    for (option, value, flag) in [
        (&mut options.receive_buffer, receive, "--receive-buffer"),
        (&mut options.send_buffer, send, "--send-buffer"),
        (&mut options.mss, mss, "--mss"),
    ] {
        if value.is_some() && option.is_some() {
            return Err(UsageError(format!("{flag} and a fault rule set the same thing: leave one out")));
        }
        *option = option.or(value);
    }
    if transport == Transport::Tcp && set.refuses() && options.reuse_port.replace(true) == Some(false) {
        let why = "a port that nobody listens on is kept by --reuse-port: it cannot be off with refuse or flap";
        return Err(UsageError(why.to_owned()));
    }
    Ok(())
}
