//! Rules as they are typed and read: errors, files, plans.

use std::fs;
use std::io::Write;

use super::{End, faulty, read_all};
use crate::harness::{Run, dial, exchange};

#[test]
fn a_malformed_rule_is_refused_before_anything_is_bound() {
    for (rule, why) in [
        ("reset,after=5", "after=5: 5 needs a unit: 5B, 5s or 5msg"),
        ("delay=50", "delay=50: 50 needs a unit: 50s or 50ms"),
        ("delay", "delay: delay needs a value, such as delay=30ms..70ms"),
        ("reset,chance=10", "chance=10: 10 needs a unit, 10%: 0% to 100%, with at most four decimals"),
        ("reset,delay=2s", "delay=2s: delay is an action: give it a rule of its own, -F delay=2s"),
        ("reset,dir=up", "dir=up: a direction is in, out or both"),
    ] {
        let said = format!("sockkit: invalid value '{rule}' for '--fault <RULE>': {why}\n");
        Run::sockkit("serve -p 0").args(["-F", rule]).stderr(&said).code(2).check();
    }
    for (words, said) in [
        (
            "-F drop",
            "fault rule \"drop\" cannot work here: a stream loses, doubles and swaps no bytes: it is for datagrams (-u); \
             close, reset and corrupt are for streams",
        ),
        (
            "-u -F reset",
            "fault rule \"reset\" cannot work here: datagrams have no connection that could end; drop,after=... loses them",
        ),
        ("-u -F mss=536", "fault rule \"mss=536\" cannot work here: segments are TCP's"),
        ("-F mss=536 --mss 600", "--mss and a fault rule set the same thing: leave one out"),
        ("-F close -F reset", "fault rule \"reset\" cannot work here: \"close\" ends every connection before it"),
        ("--seed 7", "--seed 7 is for fault rules: -F RULE or --faults FILE"),
        ("--plan 7", "--plan 7 is for fault rules: -F RULE or --faults FILE"),
    ] {
        Run::sockkit("serve -p 0").args(words.split(' ')).stderr(&format!("sockkit: {said}\n")).code(2).check();
    }
    Run::sockkit("serve -p 0 -F reset")
        .env("SOCKKIT_SEED", "many")
        .stderr("sockkit: SOCKKIT_SEED=many is no whole number\n")
        .code(2)
        .check();
}

#[test]
fn a_file_of_rules_is_read_and_its_errors_name_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules");
    let name = path.to_str().unwrap();
    fs::write(&path, "# a comment\n\nclose,after=5B # five\n").unwrap();
    let server = faulty(&format!("--faults {name}"), &[]);
    let mut socket = dial(&server.v4());
    socket.write_all(b"hello, world").unwrap();
    assert_eq!(read_all(&socket), (b"hello".to_vec(), End::Fin));
    for (text, said) in [
        ("delay=1ms\nreset,after=5\n", "line 2: rule \"reset,after=5\": after=5: 5 needs a unit: 5B, 5s or 5msg"),
        (
            "reset,",
            "line 1: rule \"reset,\": nothing between two commas, or after one: no such key: the keys are after, conn, every, chance, dir, from, times, for",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let finished = Run::sockkit("serve -p 0 --faults").args([name]).finish();
        assert_eq!((finished.code, finished.stderr), (2, format!("sockkit: {name}, {said}\n")));
    }
    let missing = format!("{name}.not");
    let finished = Run::sockkit("serve -p 0 --faults").args([&missing]).finish();
    let said = format!("sockkit: read fault file \"{missing}\" failed: No such file or directory (ENOENT, 2)\n");
    assert_eq!((finished.code, finished.stderr), (4, said));
}

#[test]
fn a_plan_says_what_will_happen_and_binds_nothing() {
    Run::sockkit("serve -p 0 -F reset,after=1KiB,conn=3 -F delay=5ms,every=2 --plan 4")
        .stdout("conn 1 -\nconn 2 delay=5ms\nconn 3 reset@1024B\nconn 4 delay=5ms\n")
        .check();
    Run::sockkit("serve -u -p 0 -F drop,every=2 --plan 2").stdout("datagram 1 -\ndatagram 2 drop\n").check();
    Run::sockkit("serve -p 0 -F close,conn=1 --plan 1 --json")
        .stdout("{\"schema\":\"sockkit.plan/1\",\"of\":\"connection\",\"number\":1,\"faults\":[\"close\"]}\n")
        .check();
    let plan = |words: &str, seed: &str| {
        let run = Run::sockkit("serve -p 0 -F reset,chance=50% --plan 64").args(words.split_whitespace());
        String::from_utf8(run.env("SOCKKIT_SEED", seed).finish().stdout).unwrap()
    };
    assert_eq!(plan("", "7"), plan("--seed 7", "8"));
    assert_ne!(plan("", "7"), plan("", "8"));
}

#[test]
fn the_page_of_faults_is_the_same_wherever_it_is_asked_for() {
    let page = Run::sockkit("help faults").finish();
    assert!(page.code == 0 && page.stdout.starts_with(b"Faults on purpose: -F RULE"), "{page:?}");
    for words in ["--help faults", "serve --help faults", "connect --help faults"] {
        assert_eq!(Run::sockkit(words).finish().stdout, page.stdout, "{words}");
    }
}

#[test]
fn peers_are_chosen_by_their_address() {
    let server = faulty("", &["close,from=127.0.0.2"]);
    assert_eq!(exchange(&dial(&server.v4()), b"hello"), b"hello");
    let server = faulty("", &["close,from=127.0.0.0/8"]);
    assert_eq!(read_all(&dial(&server.v4())), (vec![], End::Fin));
}
