//! The shells' completion scripts and the man pages, made of the command line itself.
//!
//! Owns what clap's generators leave out: hosts and interfaces in bash, which has no hint for them, and interfaces in zsh
//! and fish. Must not know what the options mean. Trade-off: static scripts, committed and compared by a test; clap's
//! dynamic completion is unstable, and breaks at a colon in bash.

use std::io;

use anyhow::Result;
use clap_complete::Shell;

use crate::cli::{self, UsageError};
use crate::exit::Status;
use crate::output::Output;

/// The options whose value is a network interface.
const INTERFACE_OPTIONS: [&str; 2] = ["bind-device", "multicast-interface"];

/// Hosts come before or after a colon, which bash takes for the end of a word: `__ltrim_colon_completions` mends that.
const BASH_HOSTS: &str = r#"
# Hosts and interfaces, which the script above cannot know.
_sockkit_with_hosts() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    case "$previous" in
        --bind-device|--multicast-interface)
            COMPREPLY=($(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$current"))
            return
            ;;
    esac
    _sockkit "$@"
    if [[ ${#COMPREPLY[@]} -eq 0 && "$current" != -* && $COMP_CWORD -gt 1 ]]; then
        COMPREPLY=($(compgen -A hostname -- "$current"))
        type __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions "$current"
    fi
}
complete -F _sockkit_with_hosts -o nosort -o bashdefault -o default sockkit 2>/dev/null ||
    complete -F _sockkit_with_hosts -o bashdefault -o default sockkit
"#;

/// The completion script of a shell.
pub fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "sockkit", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script.push_str(BASH_HOSTS),
        Shell::Zsh => {
            for option in INTERFACE_OPTIONS {
                script = with_zsh_interfaces(&script, option);
            }
        }
        Shell::Fish => {
            for option in INTERFACE_OPTIONS {
                let (plain, known) = (format!("-l {option} "), format!("-l {option} -a '(__fish_print_interfaces)' "));
                script = script.replace(&plain, &known);
            }
        }
        _ => {}
    }
    script
}

/// zsh has a completer for interfaces; clap has no hint that leads to it.
fn with_zsh_interfaces(script: &str, option: &str) -> String {
    let start = format!("'*--{option}=[");
    let start_once = format!("'--{option}=[");
    let with = |line: &str| match line.strip_suffix(":_default' \\") {
        Some(head) if line.starts_with(&start) || line.starts_with(&start_once) => {
            format!("{head}:_net_interfaces' \\\n")
        }
        _ => format!("{line}\n"),
    };
    script.lines().map(with).collect()
}

/// Prints the script of a shell.
pub fn print_script(shell: Shell, output: Output) -> Result<Status> {
    output.print(script(shell).trim_end())?;
    Ok(Status::Done)
}

/// Prints the man page of the program, or of one command.
pub fn print_man(name: Option<&str>, output: Output) -> Result<Status> {
    let page = man(name)?;
    output.print(page.trim_end())?;
    Ok(Status::Done)
}

fn man(name: Option<&str>) -> Result<String> {
    let mut command = cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => {
            let known: Vec<&str> =
                command.get_subcommands().filter(|known| !known.is_hide_set()).map(clap::Command::get_name).collect();
            let unknown = || UsageError(format!("no page for \"{name}\": the commands are {}", known.join(", ")));
            command.find_subcommand(name).ok_or_else(unknown)?.clone()
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(io::Error::other)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
