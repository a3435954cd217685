//! What is printed, and how.
//!
//! Owns the flags. Must not know who prints: that is `output`'s. Trade-off: they are the same in all commands, so what one
//! command cannot do with one of them it must say.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{ArgAction, Args, ValueEnum, ValueHint};

use crate::connection::trace::Form;
use crate::output::{Output, Trace, Verbosity};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// As strace would: time, call, arguments, result, duration.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is printed, and how: the same in all four commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// JSON lines instead of text
    ///
    /// One object a line, each with a "schema" field that names its form and version.
    #[arg(short = 'j', long)]
    pub json: bool,
    /// Say more on stderr
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only errors (serve: and the listening lines)
    #[arg(long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print each socket call as it is made [to: stderr]
    ///
    /// Each line has the time since the start, the call, its arguments and result, and how long it took. With a FILE the
    /// lines go there instead of to stderr.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, value_hint = ValueHint::FilePath)]
    pub trace: Option<Option<PathBuf>>,
    /// How the trace is written [default: text, json with --json]
    #[arg(long, value_name = "FORMAT", requires = "trace")]
    pub trace_format: Option<TraceFormat>,
}

impl OutputArgs {
    /// How to print.
    pub fn output(&self) -> Output {
        Output {
            json: self.json,
            verbosity: match (self.quiet, self.verbose) {
                (true, _) => Verbosity::Quiet,
                (false, 0) => Verbosity::Normal,
                (false, _) => Verbosity::Verbose,
            },
            color: match self.color {
                Color::Auto => ColorChoice::Auto,
                Color::Always => ColorChoice::Always,
                Color::Never => ColorChoice::Never,
            },
            yields_stdout: false,
        }
    }

    /// Whether and how to trace.
    pub fn trace(&self) -> Option<Trace> {
        let file = self.trace.clone()?;
        let unsaid = if self.json { TraceFormat::Json } else { TraceFormat::Text };
        let form = match self.trace_format.unwrap_or(unsaid) {
            TraceFormat::Text => Form::Text,
            TraceFormat::Json => Form::Json,
        };
        Some(Trace { file, form })
    }
}
