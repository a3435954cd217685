//! Completions, man pages and the README are what the program says.
//!
//! Owns what is committed and was made by the program: `BLESS=1 cargo test` writes it anew. Must not know what it says.
//! Trade-off: the scripts are compared as a whole, and beside that driven in the real shells, because a script can be
//! fresh and still complete nothing.

#[cfg(target_os = "linux")]
mod json;
mod readme;
#[cfg(target_os = "linux")]
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Run, has};

/// Where the script of each shell is, and what clap calls the shell.
const SCRIPTS: [(&str, &str); 5] = [
    ("bash", "completions/sockkit.bash"),
    ("zsh", "completions/_sockkit"),
    ("fish", "completions/sockkit.fish"),
    ("powershell", "completions/_sockkit.ps1"),
    ("elvish", "completions/sockkit.elv"),
];

/// A file of the project.
fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether the committed files are to be written instead of compared.
fn is_blessed() -> bool {
    std::env::var_os("BLESS").is_some_and(|value| value == "1")
}

/// Compares a committed file with what it should be.
#[track_caller]
fn in_step(path: &str, fresh: &str) {
    if is_blessed() {
        fs::write(in_project(path), fresh).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let committed = fs::read_to_string(in_project(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let differs = committed.lines().zip(fresh.lines()).find(|(committed, fresh)| committed != fresh);
    assert!(committed == fresh, "{path} is stale (BLESS=1 cargo test writes it anew): {differs:?}");
}

/// What a run of sockkit prints.
fn printed(words: &str) -> String {
    let finished = Run::sockkit(words).finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "sockkit {words}");
    String::from_utf8(finished.stdout).expect("text")
}

#[test]
fn the_completions_are_fresh() {
    for (shell, path) in SCRIPTS {
        in_step(path, &printed(&format!("completions {shell}")));
    }
}

#[test]
fn the_shells_understand_their_scripts() {
    for (shell, path) in &SCRIPTS[..3] {
        if has(shell) {
            Run::program(shell).args(["-n", in_project(path).to_str().unwrap()]).check();
        }
    }
}

#[test]
fn a_shell_that_nobody_knows_is_refused() {
    let finished = Run::sockkit("completions tcsh").finish();
    assert_eq!((finished.code, finished.stdout.len()), (2, 0));
    assert!(finished.stderr.contains("[possible values: bash, elvish, fish, powershell, zsh]"), "{}", finished.stderr);
}

/// Calls the completion function as bash does, readline having cut the words, and prints what it offers in one line.
const BASH: &str = r#"
source "$1"
[[ "$(complete -p sockkit)" == *" -F _sockkit_with_hints "* ]] || echo "another function is registered"
while IFS='|' read -ra COMP_WORDS; do
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    [[ "${COMP_WORDS[COMP_CWORD]}" == "''" ]] && COMP_WORDS[COMP_CWORD]=""
    COMPREPLY=()
    _sockkit_with_hints sockkit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
    echo "${COMPREPLY[*]}"
done
"#;

#[test]
fn bash_completes() {
    if !has("bash") {
        return;
    }
    let hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(hosts.path(), "192.0.2.1 example-host\n192.0.2.2 example-peer\n").unwrap();
    let rows = [
        ("sockkit|se", "serve"),
        ("sockkit|ma", ""),
        ("sockkit|serve|--qui", "--quickack --quiet --quit-after"),
        ("sockkit|serve|--no", "--notsent-lowat --nodelay --no-shutdown --no-stdin"),
        ("sockkit|serve|--keep-", ""),
        ("sockkit|serve|--bind-device|l", "lo"),
        ("sockkit|serve|--bind-device|=|l", "lo"),
        ("sockkit|serve|--nodelay|=|of", "off"),
        ("sockkit|serve|--nodelay|=", "on off"),
        ("sockkit|serve|--color|a", "auto always"),
        ("sockkit|serve|--grace|''", ""),
        ("sockkit|serve|--mode|dis", "discard"),
        ("sockkit|serve|--mode|=|ba", "banner="),
        ("sockkit|serve|-F|del", "delay-close= delay="),
        ("sockkit|serve|-F|reset,ch", "reset,chance="),
        ("sockkit|connect|--fault|delay|=|5ms,every|=|2,d", "2,dir="),
        ("sockkit|serve|--fault|=|ref", "refuse="),
        ("sockkit|serve|--fault|=|reset,ti", "reset,times="),
        ("sockkit|echo-bench|-F|delay|=", ""),
        ("sockkit|serve|-s|example-h", "example-host"),
        ("sockkit|connect|exam", "example-host example-peer"),
        ("sockkit|connect|--nodelay|exam", "example-host example-peer"),
        ("sockkit|connect|-v|example-p", "example-peer"),
        ("sockkit|connect|example-host|:|finge", "finger"),
        ("sockkit|connect|/no/such/path", ""),
        ("sockkit|probe|-o|err", "errno errname"),
        ("sockkit|probe|example-host|:|22|example-p", "example-peer"),
        ("sockkit|help|echo", "echo-bench"),
    ];
    // Interfaces are listed where Linux has them; services where the system knows any.
    let works_here = |words: &str| {
        (!words.contains("--bind-device") || Path::new("/sys/class/net/lo").exists())
            && (!words.contains("finge") || Path::new("/etc/services").exists())
    };
    let rows: Vec<_> = rows.into_iter().filter(|(words, _)| works_here(words)).collect();
    let (typed, offered): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let script = in_project(SCRIPTS[0].1);
    let finished = Run::program("bash")
        .args(["--norc", "-c", BASH, "bash", script.to_str().unwrap()])
        .env("HOSTFILE", hosts.path().to_str().unwrap())
        .stdin(typed.join("\n") + "\n")
        .finish();
    let came = String::from_utf8(finished.stdout).expect("text");
    let came: Vec<(&str, String)> = typed.into_iter().zip(came.lines().map(sorted)).collect();
    let expected: Vec<(&str, String)> =
        rows.iter().map(|(words, _)| *words).zip(offered.into_iter().map(sorted)).collect();
    assert_eq!(came, expected, "{}", finished.stderr);
}

/// bash has no order of its own here.
fn sorted(words: &str) -> String {
    let mut words: Vec<&str> = words.split(' ').collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ")
}

#[test]
fn fish_completes() {
    if !has("fish") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("peer.sock"), "").unwrap();
    let script = in_project("completions/sockkit.fish");
    for (typed, offered) in [
        ("sockkit se", "serve"),
        ("sockkit ma", ""),
        ("sockkit serve --quie", "--quiet"),
        ("sockkit serve --keep-", ""),
        ("sockkit serve --nodelay=", "--nodelay=off --nodelay=on"),
        ("sockkit serve --nodelay of", ""),
        ("sockkit serve --color ne", "never"),
        ("sockkit serve --mode char", "chargen"),
        ("sockkit serve -F sta", "stall"),
        ("sockkit serve -F reset,ch", "reset,chance="),
        ("sockkit serve -F delay=5ms,chance=10%,d", "delay=5ms,chance=10%,dir="),
        ("sockkit connect --fault=ref", "--fault=refuse="),
        ("sockkit echo-bench --fault=reset,ti", "--fault=reset,times="),
        ("sockkit serve --bind-device lo", "lo"),
        ("sockkit connect -U ./p", "./peer.sock"),
        ("sockkit probe -o err", "errname errno"),
    ] {
        if typed.contains("--bind-device") && !Path::new("/sys/class/net/lo").exists() {
            continue;
        }
        let command = "cd $argv[1]; source $argv[2]; complete --do-complete $argv[3] | string split --fields 1 \\t";
        let home = folder.path().to_str().unwrap();
        let finished = Run::program("fish")
            .args(["--no-config", "-c", command, home, script.to_str().unwrap(), typed])
            .env("HOME", home)
            .finish();
        let came = String::from_utf8(finished.stdout).expect("text");
        assert_eq!(came.trim_end().replace('\n', " "), offered, "{typed}: {}", finished.stderr);
    }
}

/// Types into an interactive zsh, a tab after each line, and prints what the line has become.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
start="PS1= PS2= RPS1=; unset zle_bracketed_paste; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
report="report() { zle -I; print -r -- \"{\$BUFFER}\"; BUFFER= }; zle -N report; bindkey '^X' report"
zpty -w shell "$start; $report; bindkey '^I' complete-word; print REA''DY"
zpty -r shell line '*READY*'
shift
for typed in "$@"; do
    zpty -wn shell "$typed"$'\t\x18'
    zpty -r shell line '*{*}*'
    print -r -- "${${line##*\{}%%\}*}"
done
zpty -d shell
"#;

#[test]
fn zsh_completes() {
    if !has("zsh") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::copy(in_project("completions/_sockkit"), folder.path().join("_sockkit")).unwrap();
    let path = folder.path().join("peer.sock");
    fs::write(&path, "").unwrap();
    let (path, cut) = (path.to_str().unwrap(), path.with_extension("so"));
    let mut rows = vec![
        ("sockkit se".to_owned(), "sockkit serve ".to_owned()),
        ("sockkit ma".to_owned(), "sockkit ma".to_owned()),
        ("sockkit serve --quie".to_owned(), "sockkit serve --quiet ".to_owned()),
        ("sockkit serve --nodelay=of".to_owned(), "sockkit serve --nodelay=off ".to_owned()),
        ("sockkit serve --mode dis".to_owned(), "sockkit serve --mode discard ".to_owned()),
        ("sockkit serve -F bla".to_owned(), "sockkit serve -F blackhole ".to_owned()),
        ("sockkit serve -F rat".to_owned(), "sockkit serve -F rate=".to_owned()),
        ("sockkit serve -F reset,ch".to_owned(), "sockkit serve -F reset,chance=".to_owned()),
        (
            "sockkit connect --fault=rate=1K/s,every=2,d".to_owned(),
            "sockkit connect --fault=rate=1K/s,every=2,dir=".to_owned(),
        ),
        ("sockkit probe -o js".to_owned(), "sockkit probe -o json ".to_owned()),
        (format!("sockkit connect -U {}", cut.display()), format!("sockkit connect -U {path} ")),
    ];
    if Path::new("/sys/class/net/lo").exists() {
        rows.push(("sockkit serve --bind-device l".to_owned(), "sockkit serve --bind-device lo ".to_owned()));
    }
    let typed = rows.iter().map(|(typed, _)| typed.as_str());
    let arguments = ["-f", "-c", ZSH, "zsh", folder.path().to_str().unwrap()];
    let finished = Run::program("zsh").args(arguments.into_iter().chain(typed)).finish();
    let came = String::from_utf8(finished.stdout).expect("text");
    let expected: Vec<&str> = rows.iter().map(|(_, expected)| expected.as_str()).collect();
    assert_eq!(came.lines().collect::<Vec<_>>(), expected, "{}", finished.stderr);
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let program = printed("man");
    for (name, title) in [
        ("", "sockkit"),
        ("serve", "sockkit-serve"),
        ("connect", "sockkit-connect"),
        ("probe", "sockkit-probe"),
        ("echo-bench", "sockkit-echo-bench"),
    ] {
        let page = printed(&format!("man {name}"));
        assert!(page.contains(&format!("\n.TH {title} 1 ")), "{name}: {page:.200}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"] {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{title} has no {section}");
        }
        assert!(!page.contains("netcat's flag"), "{title} tells of what is hidden");
        if !name.is_empty() {
            assert!(page.contains("\n.SH EXAMPLES\n"), "{title} has no examples");
            assert!(program.contains(&title.replace('-', "\\-")), "the program's page does not name {title}");
        }
        if has("groff") {
            // Every warning of the formatter would be on stderr.
            let finished = Run::program("groff").args(["-man", "-ww", "-Tutf8"]).stdin(page).finish();
            assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{title}");
        }
    }
}

#[test]
fn a_man_page_that_there_is_not_is_refused() {
    for name in ["nosuch", "completions", "help"] {
        Run::sockkit("man")
            .args([name])
            .stderr(&format!("sockkit: no page for \"{name}\": the commands are serve, connect, probe, echo-bench\n"))
            .code(2)
            .check();
    }
}
