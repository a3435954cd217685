//! `connect --send`, `--expect` and `--script`: a script in the user's place.
//!
//! Owns the flags, whose order is what they mean, and what becomes of a check that failed. Must not know how a script is
//! carried out. Trade-off: clap keeps the flags apart, and only their places on the command line put them together again.

use std::fs;

use anyhow::{Context, Result};
use clap::{ArgAction, ArgMatches, FromArgMatches, ValueHint};
use serde::Serialize;

use super::Args;
use super::verdict::SCHEMA;
use crate::cli::UsageError;
use crate::connection::{Cause, Conn, Error, Kind, Op, Transport};
use crate::output::Output;
use crate::printable::quoted;
use crate::relay::Ended;
use crate::script::{Done, Report, Script, Unmet};
use crate::units::{Elapsed, milliseconds};

/// The flags. Each is a statement of a script, carried out in the order in which they are typed.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Script")]
struct Statements {
    /// Send TEXT; \r \n \t \0 \xHH \\ are what they are in C
    ///
    /// These flags are carried out in the order in which they are typed, each as often as it is; stdin is not read. After a
    /// last --send our half is closed, and what comes is printed until the peer finishes; after a last expectation it ends.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: Vec<String>,
    /// Send bytes, two hexadecimal digits each
    #[arg(long, value_name = "HEX")]
    send_hex: Vec<String>,
    /// Half-close: nothing can be sent after it
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "")]
    send_eof: Vec<String>,
    /// Pass over what comes until it matches this regular expression [status when it does not: 5]
    ///
    /// Of bytes, anywhere in what came since the last match; of datagrams each is looked at for itself. Named groups,
    /// (?<id>[0-9]+), become variables: $id in what follows.
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    expect: Vec<String>,
    /// Pass over what comes until these bytes do
    #[arg(long, value_name = "HEX")]
    expect_hex: Vec<String>,
    /// Pass over what comes until the peer finishes
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "")]
    expect_eof: Vec<String>,
    /// Pass over what comes until the peer resets
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "")]
    expect_reset: Vec<String>,
    /// How long each expectation after it may take [default: 10s]
    ///
    /// When it is typed once, it is for all of them, wherever it stands.
    #[arg(long, value_name = "DURATION")]
    within: Vec<String>,
    /// Set a variable: $NAME or ${NAME} in what is sent, expected or set after it
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Carry out the statements in FILE
    ///
    /// One a line, the same words without the hyphens: send, send-hex, send-eof, expect, expect-hex, expect-eof,
    /// expect-reset, within, set NAME VALUE. What begins with # is a comment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    script: Vec<String>,
    /// Join stdin and stdout to the peer when the script is done
    #[arg(long)]
    interact: bool,
}

/// The flags that are statements.
const VERBS: [&str; 10] =
    ["send", "send_hex", "send_eof", "expect", "expect_hex", "expect_eof", "expect_reset", "within", "set", "script"];

/// The statements in the order in which they were typed.
#[derive(Debug, Clone, Default)]
pub struct ScriptArgs {
    typed: Vec<(&'static str, String)>,
    interact: bool,
}

impl FromArgMatches for ScriptArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut typed: Vec<(usize, &str, String)> = Vec::new();
        for verb in VERBS {
            let places = matches.indices_of(verb).into_iter().flatten();
            let values = matches.get_many::<String>(verb).into_iter().flatten();
            typed.extend(places.zip(values).map(|(place, value)| (place, verb, value.clone())));
        }
        typed.sort_by_key(|(place, ..)| *place);
        let typed = typed.into_iter().map(|(_, verb, value)| (verb, value)).collect();
        Ok(ScriptArgs { typed, interact: matches.get_flag("interact") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ScriptArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ScriptArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        <Statements as clap::Args>::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        <Statements as clap::Args>::augment_args_for_update(command)
    }
}

/// The script of a command line, if there is one: it decides what is sent and what is heard.
pub fn script_of(args: &Args, transport: Transport) -> Result<Option<Scripted>> {
    let Some(scripted) = args.script.script()? else { return Ok(None) };
    let program = if args.program.is_any() { Some("-e or -c") } else { None };
    let no_stdin = args.joining.no_stdin.then_some("-d");
    let send_only = args.joining.send_only.then_some("--send-only");
    if let Some(flag) = program.or(no_stdin).or(send_only) {
        return Err(
            UsageError(format!("a script decides what is sent and heard: leave {flag} out, or the script")).into()
        );
    }
    if scripted.script.sends_end() && !transport.is_stream() {
        return Err(UsageError(format!("send-eof half-closes, and {transport} has no such thing")).into());
    }
    Ok(Some(scripted))
}

/// A script, and what follows it.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// What to do.
    pub script: Script,
    /// Whether stdin and stdout come after it.
    pub interacts: bool,
}

impl ScriptArgs {
    /// Whether there is one.
    pub fn is_any(&self) -> bool {
        !self.typed.is_empty()
    }

    fn script(&self) -> Result<Option<Scripted>> {
        if self.typed.is_empty() {
            if self.interact {
                return Err(
                    UsageError("--interact follows a script, and there is none: --script FILE".to_owned()).into()
                );
            }
            return Ok(None);
        }
        let mut script = Script::default();
        let is_within = |(verb, _): &&(&str, String)| *verb == "within";
        // Typed once, it is for all of them.
        let (first, rest): (Vec<_>, Vec<_>) = match self.typed.iter().filter(is_within).count() {
            1 => self.typed.iter().partition(is_within),
            _ => (Vec::new(), self.typed.iter().collect()),
        };
        for (verb, value) in first.into_iter().chain(rest) {
            add(&mut script, verb, value)?;
        }
        if self.interact && script.sends_end() {
            return Err(UsageError("--interact has nothing to send after send-eof: leave one out".to_owned()).into());
        }
        Ok(Some(Scripted { script, interacts: self.interact }))
    }
}

/// Adds what a flag says. Fails as a usage error, or because a file cannot be read.
fn add(script: &mut Script, verb: &str, value: &str) -> Result<()> {
    if verb != "script" {
        let verb = verb.replace('_', "-");
        let added = script.add("--", &verb, value);
        return Ok(added.map_err(|why| UsageError(format!("--{verb}: {why}")))?);
    }
    let bytes = fs::read(value).with_context(|| format!("read script \"{value}\""))?;
    let is_no_text = |_| UsageError(format!("--script {value} is not text: it must be UTF-8"));
    let text = String::from_utf8(bytes).map_err(is_no_text)?;
    Ok(script.add_file(value, &text).map_err(UsageError)?)
}

/// A statement that was carried out, as a JSON line.
#[derive(Serialize)]
struct Carried<'a> {
    schema: &'static str,
    event: &'static str,
    statement: &'a str,
    elapsed_ms: f64,
}

/// Tells each statement that is done.
pub fn report(output: Output) -> Report {
    Box::new(move |statement, elapsed| {
        let record = Carried { schema: SCHEMA, event: "statement", statement, elapsed_ms: milliseconds(elapsed) };
        output.verdict(&record, format_args!("{statement}: done after {}", Elapsed(elapsed)));
    })
}

/// What the end of a relay means, now that it is known how the script ended.
pub fn conclude(result: Result<Done, Unmet>, ended: Ended, conn: &Conn) -> Ended {
    let is_reset = |error: &Error| matches!(error.kind(), Kind::Reset | Kind::BrokenPipe | Kind::Refused);
    match (ended, result) {
        (Ended::PeerFailed(error), Ok(done)) if done.met_reset && is_reset(&error) => Ended::EndsFinished,
        (ended, Ok(_)) => ended,
        // A host that cannot be reached any more has not failed a check.
        (Ended::PeerFailed(error), Err(unmet)) if !is_reset(&error) => Ended::PeerFailed(error.told(told(&unmet))),
        (_, Err(unmet)) => {
            let failed = Error::new(Op::Receive, conn, conn.age(), Cause::Misbehaved(unmet.why));
            Ended::PeerFailed(failed.told(told(&unmet)))
        }
    }
}

/// What was expected, and what came.
fn told(unmet: &Unmet) -> String {
    /// Enough to see what it is instead.
    const SHOWN_BYTES_MAX: usize = 120;
    let Unmet { written, received, .. } = unmet;
    let shown = quoted(received, SHOWN_BYTES_MAX);
    match received.len() {
        0 => format!("{written}; nothing came"),
        1 => format!("{written}; 1 byte came: {shown}"),
        count => format!("{written}; {count} bytes came: {shown}"),
    }
}
