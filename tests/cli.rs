//! The command line, without a kernel and as any user.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn dmtool(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmtool"));
    command.args(words).env_remove("NO_COLOR");
    command
}

/// Every verb, with words that are complete but for what each test is about.
const VERBS: [&[&str]; 18] = [
    &["setup", "/dev/null"],
    &["resize", "200GB"],
    &["status"],
    &["check"],
    &["activate"],
    &["deactivate"],
    &["autoextend"],
    &["discards", "vg/pool"],
    &["volume", "list"],
    &["repair", "vg/pool"],
    &["metadata", "check", "vg/pool"],
    &["configure", "docker", "vg/pool"],
    &["configure", "containerd", "vg/pool"],
    &["teardown", "vg/pool"],
    &["metrics"],
    &["watch"],
    &["explain"],
    &["completions", "bash"],
];

#[test]
fn every_verb_has_help_that_fits_80_columns() {
    for words in std::iter::once(["help"].as_slice()).chain(VERBS) {
        let mut command = if words == ["help"] { dmtool(&["--help"]) } else { dmtool(&[words[0], "--help"]) };
        let output = command.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(output).expect("text");
        assert!(text.contains("Usage:"), "{words:?}");
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{words:?}: {wide:#?}");
    }
}

/// A word that a verb does not know is wrong usage before its help is asked for.
#[test]
fn every_command_of_the_readme_is_one() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("README.md");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    dmtool ")).collect();
    assert!(commands.len() > 40, "{commands:#?}");
    for command in commands {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        words.push("--help");
        dmtool(&words).assert().success().stdout(contains("Usage:"));
    }
}

#[test]
fn the_version_is_the_packages() {
    dmtool(&["--version"]).assert().success().stdout(format!("dmtool {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2_and_tells_the_word() {
    for (words, said) in [
        (["frobnicate"].as_slice(), "frobnicate"),
        (&["setup"], "DEVICE"),
        (&["setup", "/dev/null", "--frob"], "--frob"),
        (&["setup", "/dev/null", "--data", "0%VG"], "1 to 100"),
        (&["setup", "/dev/null", "--data", "101%VG"], "1 to 100"),
        (&["setup", "/dev/null", "--data", "1e9"], "not a size"),
        (&["setup", "/dev/null", "--data=-5G"], "not a size"),
        (&["setup", "/dev/null", "--data", "99999999999P"], "larger than any device"),
        (&["setup", "/dev/null", "--chunk-size", "63K"], "multiple of 64K"),
        (&["setup", "/dev/null", "--chunk-size", "1.5G"], "multiple of 64K"),
        (&["setup", "/dev/null", "--chunk-size", "100K"], "multiple of 64K"),
        (&["setup", "/dev/null", "--autoextend-threshold", "0"], "50..=100"),
        (&["setup", "/dev/null", "--autoextend-threshold", "49"], "50..=100"),
        (&["setup", "/dev/null", "--autoextend-threshold", "101"], "50..=100"),
        (&["setup", "/dev/null", "--no-autoextend", "--autoextend-percent", "9"], "cannot be used with"),
        (&["setup", "/dev/null", "--pool", "docker"], "VG/LV"),
        (&["setup", "/dev/null", "--pool", "a b/c"], "' ' is not allowed"),
        (&["setup", "/dev/null", "--pool", "a\"b/c"], "not allowed"),
        (&["setup", "/dev/null", "--pool=-a/c"], "begins with a hyphen"),
        (&["setup", "/dev/null", "--pool", "../c"], "no name"),
        (&["setup", "/dev/null", "--pool", "a\nb/c"], "not allowed"),
        (&["setup", "/dev/null", "--pool", "vg/x_tmeta"], "for itself"),
        (&["setup", "/dev/null", "--pool", "vg/snapshot0"], "for itself"),
        (&["status", "--lock-timeout", "soon"], "soon"),
        (&["status", "-q", "-v"], "cannot be used with"),
        (&["autoextend", "--threshold", "49"], "50..=100"),
        (&["autoextend", "--percent", "0"], "1..=1000"),
        (&["autoextend", "--off", "--percent", "20"], "cannot be used with"),
        (&["discards"], "POOL"),
        (&["volume", "trim"], "POOL"),
        (&["discards", "vg/pool", "keep"], "no_passdown"),
        (&["discards", "passdown", "vg/pool"], "possible values"),
        (&["watch", "--interval", "0"], "1..=86400"),
        (&["resize"], "needs a SIZE"),
        (&["resize", "20X"], "not a size"),
        (&["resize", "0"], "no size for a pool"),
        (&["resize", "+200%FREE"], "not a size"),
        (&["resize", "-5G"], "-5"),
        (&["resize", "--", "-5G"], "'-5G' is not a size"),
        (&["resize", "1e9", "docker/thinpool"], "'1e9' is not a size"),
        (&["resize", "max%"], "'max%' is not a size"),
        (&["resize", "20%", "docker/thinpool"], "'20%' is not a size"),
        (&["resize", "+0", "docker/thinpool"], "no size for a pool"),
        (&["resize", "99999999999p"], "larger than any device"),
        (&["resize", "+99999999999p"], "larger than any device"),
        (&["resize", "--metadata", "0"], "no size for a pool"),
        (&["resize", "--metadata=-1G"], "not a size"),
        (&["resize", "--metadata", "1e9"], "not a size"),
        (&["resize", "--metadata", "max%"], "not a size"),
        (&["resize", "--metadata", "99999999999p"], "larger than any device"),
        (&["resize", "--metadata", "-1G"], "-1"),
        (&["resize", "docker/thinpool"], "needs a SIZE"),
        (&["resize", "--add-device", "/dev/null"], "needs the pool's name"),
        (&["explain", "no-such-thing"], "there is no code no-such-thing"),
    ] {
        dmtool(words).assert().code(2).stdout("").stderr(contains(said));
    }
    let long = format!("{}/x", "v".repeat(200));
    dmtool(&["setup", "/dev/null", "--pool", &long]).assert().code(2).stderr(contains("too long"));
}

#[test]
fn wrong_usage_with_json_is_json() {
    let output =
        dmtool(&["setup", "--json", "/dev/null", "--data", "1e9"]).assert().code(2).get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(value["error"]["kind"], "usage");
    assert_eq!((&value["dmtool"], &value["changed"]), (&1.into(), &false.into()));
    assert!(value["error"]["message"].as_str().is_some_and(|text| text.contains("1e9")));
    let output = dmtool(&["setup", "--json"]).assert().code(2).get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(value["error"]["causes"], serde_json::json!(["<DEVICE>..."]));
}

#[test]
fn a_host_that_cannot_is_refused_in_words_and_json() {
    // The machine that builds this has no device-mapper, or the user of these tests no right to it.
    if std::path::Path::new("/dev/mapper/control").exists() {
        return;
    }
    let refused: [&[&str]; 5] =
        [&["setup", "/dev/null"], &["status"], &["activate"], &["deactivate"], &["autoextend", "--threshold", "80"]];
    for words in refused {
        dmtool(words).assert().code(3).stdout("").stderr(
            contains("error:").and(contains("caused by:")).and(contains("hint:")).and(contains("\u{1b}").not()),
        );
        let output = dmtool(words).arg("--json").assert().code(3).get_output().stdout.clone();
        let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
        assert_eq!(value["command"], words[0]);
        assert_eq!(value["error"]["kind"], "refused");
    }
}

#[test]
fn a_host_that_cannot_is_unknown_to_monitoring() {
    if std::path::Path::new("/dev/mapper/control").exists() {
        return;
    }
    dmtool(&["check"]).assert().code(3).stdout(contains("could-not-look").and(contains("1 unknown in 0 pools")));
    dmtool(&["check", "--nagios"]).assert().code(3).stdout(predicates::str::starts_with("DMTOOL UNKNOWN - could-not"));
    let output = dmtool(&["check", "--json"]).assert().code(3).get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!((&value["command"], &value["status"]), (&"check".into(), &"unknown".into()));
    assert_eq!(value["findings"][0]["code"], "could-not-look");
    dmtool(&["metrics"]).assert().success().stdout(contains("\ndmtool_check_status 3\n"));
}

#[test]
fn wrong_usage_of_check_is_unknown_to_monitoring() {
    for words in [
        ["check", "--warn", "0"].as_slice(),
        &["check", "--crit", "101"],
        &["check", "--warn", "many"],
        &["check", "--warn", "95"],
        &["check", "--warn", "90", "--crit", "80"],
        &["check", "--nagios", "--json"],
        &["check", "--last", "--metadata"],
        &["check", "--last", "--warn", "70"],
        &["check", "--last", "--crit", "95"],
        &["check", "--last", "--output", "x"],
        &["check", "--last", "--max-age", "0"],
        &["check", "--max-age", "60"],
        &["check", "--output", "x", "docker/thinpool"],
        &["check", "--output", "x", "--nagios"],
        &["--color", "never", "-q", "check", "--frob"],
    ] {
        dmtool(words).assert().code(3).stderr(contains("error:"));
    }
    dmtool(&["status", "check", "--frob"]).assert().code(2);
}

#[test]
fn a_look_in_a_file_and_no_look_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("check.json");
    let output = |path: &std::path::Path| dmtool(&["check", "--output", path.to_str().expect("a path")]);
    output(&file).arg("--dry-run").assert().stdout(contains("This would replace"));
    assert!(!file.exists());
    // Whether well or not, and unknown where there is no device-mapper: the exit status and the file agree.
    let status = output(&file).assert().stdout("").get_output().status.code();
    let value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a file")).expect("an object");
    let word = value["status"].as_str().expect("a status");
    assert_eq!(
        ["ok", "warning", "critical", "unknown"].iter().position(|is| *is == word),
        status.and_then(|code| code.try_into().ok())
    );
    assert!(value["looked_at"].as_u64() > Some(1_000_000_000), "{value}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("a file"));
    assert_eq!(mode & 0o7777, 0o644);
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1, "nothing is left beside it");
    output(&folder.path().join("none/check.json"))
        .assert()
        .code(3)
        .stderr(contains("cannot be written").and(contains("hint:")));
    if std::path::Path::new("/run/dmtool/check.json").exists() {
        return;
    }
    let hint = "hint: systemctl enable --now dmtool-check.timer";
    dmtool(&["check", "--last"])
        .assert()
        .code(3)
        .stdout("")
        .stderr(contains("error: no look was kept since the boot").and(contains("caused by: ")).and(contains(hint)));
    dmtool(&["check", "--last", "--nagios"])
        .assert()
        .code(3)
        .stdout("DMTOOL UNKNOWN - no look was kept since the boot\n");
    let output = dmtool(&["check", "--last", "--json"]).assert().code(3).get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!((&value["command"], &value["error"]["kind"]), (&"check".into(), &"refused".into()));
}

#[test]
fn every_code_is_explained_offline() {
    let output = dmtool(&["explain"]).assert().success().get_output().stdout.clone();
    let list = String::from_utf8(output).expect("text");
    assert_eq!(list.lines().count(), 38);
    for line in list.lines() {
        let code = line.split(' ').next().expect("a code");
        dmtool(&["explain", code]).assert().success().stdout(contains("What to do"));
    }
    dmtool(&["explain", "data-full"]).assert().code(2).stderr(contains("there is no code data-full"));
    let output = dmtool(&["explain", "needs-check", "--json"]).assert().success().get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!((&value["code"], &value["severity"]), (&"needs-check".into(), &"critical".into()));
}

#[test]
fn colour_is_asked_for_or_not() {
    if std::path::Path::new("/dev/mapper/control").exists() {
        return;
    }
    dmtool(&["status", "--color", "always"]).assert().code(3).stderr(contains("\u{1b}["));
    dmtool(&["status", "--color", "auto"]).assert().code(3).stderr(contains("\u{1b}[").not());
}

#[test]
fn a_completion_script_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        dmtool(&["completions", shell]).assert().success().stdout(contains("setup"));
    }
}

/// Who reads a file or a pipe has no answer where that is full, whatever dmtool did.
#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let to = |words: &[&str], file: &str| {
        let full = std::fs::OpenOptions::new().write(true).open(file).expect("a device");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dmtool"));
        let output = command.args(words).stdout(full).output().expect("dmtool");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for words in [["explain"].as_slice(), &["explain", "--json"], &["completions", "bash"], &["--help"]] {
        let (status, said) = to(words, "/dev/full");
        assert_eq!(status, Some(1), "{words:?}: {said}");
        assert!(said.contains("error: what there was to say could not be written: No space left"), "{said}");
        assert_eq!(to(words, "/dev/null"), (Some(0), String::new()), "{words:?}");
    }
    let (status, _) = to(&["check", "--nagios"], "/dev/full");
    assert_eq!(status, Some(3), "a monitor that hears nothing knows nothing");
    // A reader that has enough is no error of ours.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dmtool"));
    let output = command.arg("explain").stdout(writer).output().expect("dmtool");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), [].as_slice()));
}

/// Names come from anywhere; what a terminal obeys of them is never handed to it.
#[test]
fn words_that_command_a_terminal_are_shown_without_their_power() {
    for word in ["a\u{1b}[31mb", "a\u{1b}]0;x\u{7}b", "a\u{9b}2Jb", "a\u{202e}b", "a\u{7f}b", "a\rb"] {
        for words in
            [vec![word], vec!["status", word], vec!["check", word], vec!["explain", word], vec!["resize", word]]
        {
            for more in ["--color=always", "--json"] {
                let mut words = words.clone();
                words.push(more);
                let output = dmtool(&words).output().expect("dmtool");
                let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
                let ours = said.replace("\u{1b}[0m", "");
                let ours = ["1;31", "1;36", "1;33", "1", "1;35"]
                    .iter()
                    .fold(ours, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
                let bad = ours.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
                assert_eq!(bad, None, "{words:?}: {ours:?}");
            }
        }
    }
}
