//! Runs, and exits; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    sockkit::run(std::env::args_os()).into()
}
