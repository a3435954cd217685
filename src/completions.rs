//! The shells' completion scripts, made of the command line itself.
//!
//! Owns what clap's generators leave out: hosts and interfaces, values that must follow an equals sign, and that a hidden
//! flag is not to be offered. Must not know what the options mean. Trade-off: static scripts, committed and compared by a
//! test; clap's dynamic completion is unstable, and breaks at a colon in bash. Where a generator has no way to say
//! something, its text is mended, and a test drives the real shells to see that it still is.

use anyhow::Result;
use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

use crate::exit::Status;
use crate::fault::manual::{ACTIONS, KEYS, Word};
use crate::man::whole;
use crate::output::Output;

/// The options whose value is a network interface; clap has no hint for one.
const INTERFACE_OPTIONS: [&str; 2] = ["bind-device", "multicast-interface"];

/// The option whose value is a fault rule: a grammar of its own, which clap cannot describe.
const RULE_OPTION: &str = "fault";

/// How the options that are switched on and off call their value.
const SWITCH: &str = "on|off";

/// What bash's script needs to know beyond clap's. HOSTS, INTERFACES and ATTACHED are lists of options, ACTIONS and KEYS the
/// words of a fault rule.
const BASH_HINTS: &str = r#"
# Hosts, services and interfaces, which the function above does not know; and words that readline cuts at = and at a colon.
_sockkit_with_hints() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" cut=""
    if [[ "$current" == [=:] ]]; then
        cut="$current" current=""
    elif [[ "$previous" == [=:] ]]; then
        cut="$previous" previous="${COMP_WORDS[COMP_CWORD-2]}"
    fi
    if [[ "$cut" == : ]]; then
        COMPREPLY=($(compgen -A service -- "$current"))
        return
    fi
    # A fault rule: its action, and behind a comma its keys. readline has cut it at each equals sign.
    local first=$COMP_CWORD flag
    [[ "${COMP_WORDS[first]}" == "=" ]] && first=$((first - 1))
    while [[ "${COMP_WORDS[first-1]}" == "=" ]]; do
        first=$((first - 2))
    done
    flag="${COMP_WORDS[first-1]}"
    if [[ "${COMP_WORDS[first]}" == --fault && "$cut" == "=" ]]; then
        flag=--fault first=$((first + 2))
    fi
    if [[ "$flag" == -F || "$flag" == --fault ]]; then
        if [[ "$current" == *,* ]]; then
            COMPREPLY=($(compgen -P "${current%,*}," -W "KEYS" -- "${current##*,}"))
        elif [[ $COMP_CWORD -le $first ]]; then
            COMPREPLY=($(compgen -W "ACTIONS" -- "$current"))
        fi
        [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    case "$previous" in
        HOSTS)
            COMPREPLY=($(compgen -A hostname -- "$current"))
            return
            ;;
        INTERFACES)
            COMPREPLY=($(compgen -W "$(ls /sys/class/net 2>/dev/null || ifconfig -l 2>/dev/null)" -- "$current"))
            return
            ;;
        ATTACHED)
            # The value of these can only follow an equals sign.
            [[ "$cut" == "=" ]] || previous=""
            ;;
    esac
    _sockkit "$1" "$current" "$previous"
    # What is no option and no option's value is an endpoint: a host, or when there is none a path.
    if [[ $COMP_CWORD -gt 1 && "$current" != -* && ( ${#COMPREPLY[@]} -eq 0 || "${COMPREPLY[0]}" == -* ) ]]; then
        COMPREPLY=($(compgen -A hostname -- "$current"))
    fi
}
complete -F _sockkit_with_hints -o nosort -o bashdefault -o default sockkit 2>/dev/null ||
    complete -F _sockkit_with_hints -o bashdefault -o default sockkit
"#;

/// A fault rule in zsh: its action, and behind a comma its keys. What needs a value is not ended by a space.
const ZSH_RULES: &str = r"
_sockkit_rule() {
    local -a valued plain
    if compset -P '*,'; then
        valued=(KEYS)
        _describe -t keys key valued -S ''
    else
        valued=(VALUED_ACTIONS)
        plain=(PLAIN_ACTIONS)
        _describe -t actions action valued -S '' -- plain
    fi
}
";

/// How clap's script for zsh begins its last step, which is to complete.
const ZSH_END: &str = "\nif [ \"$funcstack[1]\" ";

/// The same in fish, where a completion is the whole word.
const FISH_RULES: &str = r#"
function __fish_sockkit_rule
    set -l typed (commandline -ct | string replace --regex '^(--fault=|-[a-zA-Z]*F)' '')
    set -l before (string match --regex '^.*,' -- $typed)
    if test -n "$before"
        printf '%s\n' $before(printf '%s\t%s\n' KEYS)
    else
        printf '%s\t%s\n' ACTIONS
    end
end
"#;

/// The completion script of a shell.
pub fn script(shell: Shell) -> String {
    let mut command = offered();
    let attached = flags(&command, Arg::is_require_equals_set);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "sockkit", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + &bash_hints(&command, &attached),
        Shell::Zsh => {
            let lines: String = script.lines().map(|line| zsh_line(line, &attached) + "\n").collect();
            lines.replacen(ZSH_END, &(zsh_rules() + ZSH_END), 1)
        }
        Shell::Fish => {
            let lines: String = script.lines().map(|line| fish_line(line, &attached) + "\n").collect();
            lines + &fish_endpoints(&command) + &fish_rules()
        }
        _ => script,
    }
}

/// The command line without what is hidden, and without the offer of files where a value is something else.
fn offered() -> Command {
    let whole = whole();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| {
        let shown = Command::new(forever(command.get_name()))
            .visible_aliases(command.get_visible_aliases().map(forever))
            .about(command.get_about().cloned().unwrap_or_default())
            .disable_help_flag(true); // It comes with the arguments.
        shown.args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned().map(with_values))
    });
    Command::new("sockkit").version(env!("CARGO_PKG_VERSION")).subcommands(commands)
}

/// clap wants the names of commands for as long as the program runs: here that is until the script is printed.
fn forever(name: &str) -> &'static str {
    String::from(name).leak()
}

fn with_values(arg: Arg) -> Arg {
    // One that only has a place among the others has none.
    let has_value = arg.get_action().takes_values() && arg.get_num_args().is_none_or(|count| count.takes_values());
    let arg = match arg.get_value_hint() {
        ValueHint::Unknown if has_value => arg.value_hint(ValueHint::Other),
        _ => arg,
    };
    let is_switch = arg.get_value_names().is_some_and(|names| names.iter().any(|name| *name == SWITCH));
    if is_switch { arg.value_parser(["on", "off"]) } else { arg }
}

/// The options of all commands that are of a kind, as they are typed, each once.
fn flags(command: &Command, is_wanted: impl Fn(&Arg) -> bool) -> Vec<String> {
    let mut flags = Vec::new();
    for arg in command.get_subcommands().flat_map(Command::get_arguments).filter(|arg| is_wanted(arg)) {
        flags.extend(arg.get_short().map(|letter| format!("-{letter}")));
        flags.extend(arg.get_long().map(|name| format!("--{name}")));
    }
    flags.sort();
    flags.dedup();
    flags
}

fn bash_hints(command: &Command, attached: &[String]) -> String {
    let hosts = flags(command, |arg| arg.get_value_hint() == ValueHint::Hostname);
    let interfaces = flags(command, |arg| arg.get_long().is_some_and(|name| INTERFACE_OPTIONS.contains(&name)));
    let typed = |words: &[&Word]| words.iter().map(|word| word.typed).collect::<Vec<_>>().join(" ");
    BASH_HINTS
        .replace("\"KEYS\"", &format!("\"{}\"", typed(&keys())))
        .replace("\"ACTIONS\"", &format!("\"{}\"", typed(&actions())))
        .replace("HOSTS)", &(hosts.join("|") + ")"))
        .replace("INTERFACES)", &(interfaces.join("|") + ")"))
        .replace("ATTACHED)", &(attached.join("|") + ")"))
}

/// The actions of a fault rule.
fn actions() -> Vec<&'static Word> {
    ACTIONS.iter().flat_map(|family| family.words).collect()
}

/// Its keys.
fn keys() -> Vec<&'static Word> {
    KEYS.iter().collect()
}

/// Words with what they do, each quoted as zsh and fish have it.
fn described(words: &[&Word], between: &str) -> String {
    let quoted = |text: &str| text.replace('\'', r"'\''");
    let line = |word: &&Word| format!("'{}{between}{}'", quoted(word.typed), quoted(word.says));
    words.iter().map(line).collect::<Vec<_>>().join(" ")
}

fn zsh_rules() -> String {
    let (valued, plain): (Vec<_>, Vec<_>) = actions().into_iter().partition(|word| word.typed.ends_with('='));
    ZSH_RULES
        .replace("VALUED_ACTIONS", &described(&valued, ":"))
        .replace("PLAIN_ACTIONS", &described(&plain, ":"))
        .replace("KEYS", &described(&keys(), ":"))
}

fn fish_rules() -> String {
    FISH_RULES.replace("KEYS", &described(&keys(), "' '")).replace("ACTIONS", &described(&actions(), "' '"))
}

/// zsh completes interfaces, fault rules, attached values, and paths where no host fits: clap does not ask it to.
fn zsh_line(line: &str, attached: &[String]) -> String {
    if let Some(rule) = line.strip_suffix(":RULE:' \\") {
        return format!("{rule}:RULE:_sockkit_rule' \\");
    }
    let Some((option, rest)) = line.trim_start_matches(['\'', '*']).split_once("=[") else {
        return match line.strip_suffix(":_hosts' \\").filter(|head| head.starts_with("'*::") || head.starts_with("':"))
        {
            Some(endpoint) => format!("{endpoint}:{{_hosts || _files}}' \\"),
            None => line.to_owned(),
        };
    };
    if attached.iter().any(|flag| flag == option) {
        // In _arguments, =- is a value in the same word only.
        return line.replacen("=[", "=-[", 1);
    }
    let is_interface = INTERFACE_OPTIONS.iter().any(|name| option.strip_prefix("--") == Some(name));
    match rest.strip_suffix(":' \\") {
        Some(_) if is_interface => line.replace(":' \\", ":_net_interfaces' \\"),
        _ => line.to_owned(),
    }
}

/// fish completes interfaces, fault rules and attached values: clap does not ask it to.
fn fish_line(line: &str, attached: &[String]) -> String {
    let Some((_, rest)) = line.split_once(" -l ") else { return line.to_owned() };
    let name = rest.split(' ').next().unwrap_or_default();
    if INTERFACE_OPTIONS.contains(&name) {
        return format!("{line} -a \"(__fish_print_interfaces)\"");
    }
    if name == RULE_OPTION {
        return format!("{line} -a \"(__fish_sockkit_rule)\"");
    }
    if attached.iter().any(|flag| flag.strip_prefix("--") == Some(name)) {
        // Without -r the value can only be in the same word.
        return line.replacen("' -r", "'", 1);
    }
    line.to_owned()
}

/// fish completes hosts beside paths where an endpoint is wanted; clap has nothing to say of positional words.
fn fish_endpoints(command: &Command) -> String {
    let names: Vec<&str> = command.get_subcommands().flat_map(Command::get_name_and_visible_aliases).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "help").collect();
    format!(
        "complete -c sockkit -n \"__fish_sockkit_using_subcommand {}\" -a \"(__fish_print_hostnames)\"\n",
        names.join(" ")
    )
}

/// Prints the script of a shell.
pub fn print(shell: Shell, output: Output) -> Result<Status> {
    output.print(script(shell).trim_end())?;
    Ok(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_offered() {
        let offered = offered();
        let names: Vec<&str> = offered.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, ["serve", "connect", "probe", "echo-bench"]);
        assert!(flags(&whole(), Arg::is_hide_set).contains(&"-N".to_owned()));
        assert_eq!(flags(&offered, Arg::is_hide_set), [""; 0]);
    }

    #[test]
    fn the_options_with_hints_exist() {
        for name in INTERFACE_OPTIONS {
            assert_eq!(flags(&offered(), |arg| arg.get_long() == Some(name)), [format!("--{name}")]);
        }
        assert_eq!(flags(&offered(), |arg| arg.get_long() == Some(RULE_OPTION)), ["--fault", "-F"]);
        assert!(flags(&offered(), Arg::is_require_equals_set).contains(&"--nodelay".to_owned()));
    }

    #[test]
    fn lines_that_are_not_about_a_hint_stay() {
        let attached = ["--nodelay".to_owned()];
        for (line, mended) in [
            ("'--nodelay=[Send]::on|off:' \\", "'--nodelay=-[Send]::on|off:' \\"),
            ("'--bind-device=[Use]:NAME:' \\", "'--bind-device=[Use]:NAME:_net_interfaces' \\"),
            ("'*::endpoint -- Where:_hosts' \\", "'*::endpoint -- Where:{_hosts || _files}' \\"),
            ("'--bind=[Address]:ADDRESS:_hosts' \\", "'--bind=[Address]:ADDRESS:_hosts' \\"),
            ("'--mptcp[Use]' \\", "'--mptcp[Use]' \\"),
        ] {
            assert_eq!(zsh_line(line, &attached), mended);
        }
        for (line, mended) in [
            ("complete -l nodelay -d 'Send' -r -f", "complete -l nodelay -d 'Send' -f"),
            ("complete -l ttl -d 'Hops' -r -f", "complete -l ttl -d 'Hops' -r -f"),
            ("complete -s h", "complete -s h"),
        ] {
            assert_eq!(fish_line(line, &attached), mended);
        }
    }
}
