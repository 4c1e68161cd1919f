//! The arrows between the rooms (src/lib.rs), read from the sources: who may use whom.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

/// For each room, the rooms that its files may name. What is not listed here has no walls of its own.
const ARROWS: [(&str, &[&str]); 6] = [
    ("sys", &["sys", "units", "names"]),
    ("observe", &["observe", "sys", "units", "names"]),
    ("plan", &["plan", "observe", "units", "names"]),
    ("health", &["health", "observe", "units", "names"]),
    ("apply", &["apply", "plan", "observe", "sys", "exit", "units", "names"]),
    ("report", &["report", "observe", "plan", "health", "apply", "exit", "units", "names"]),
];

/// What reaches the machine and so has no place in a room of pure functions.
const IMPURE: [&str; 7] =
    ["std::fs", "std::process", "std::env", "std::net", "observe::Host", "rustix::", "crate::sys"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The rooms that a line names, `super::` put in as what it stands for.
fn rooms_named(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .flat_map(|(at, word)| {
            let rest = &line[at + word.len()..];
            match rest.strip_prefix('{') {
                // use crate::{a::b, c};
                Some(group) => group.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>(),
                None => vec![rest.to_owned()],
            }
        })
        .collect()
}

/// The part of a file that is not its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source");
    if path.ends_with("tests.rs") {
        return String::new();
    }
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn breaches(room: &str, allowed: &[&str], text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for named in rooms_named(line) {
            if !allowed.iter().any(|allowed| named.starts_with(allowed)) {
                found.push(format!("{room} names {named}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for (room, allowed) in ARROWS {
        for path in sources(&src.join(room)) {
            found.extend(breaches(room, allowed, &code(&path)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn plans_and_checks_are_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src.join("plan")).into_iter().chain(sources(&src.join("health"))) {
        for line in code(&path).lines() {
            let impure = IMPURE.iter().find(|word| line.contains(**word));
            assert!(impure.is_none(), "{}: {}", path.display(), line.trim());
        }
    }
}

#[test]
fn nobody_but_the_dispatch_names_commands() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let own = path.starts_with(src.join("commands")) || path.ends_with("src/cli.rs");
        assert!(own || !code(&path).contains("crate::commands"), "{} names commands", path.display());
    }
}

#[test]
fn the_walls_are_seen_to_fail_when_broken() {
    assert!(!breaches("plan", &["plan", "units"], "use crate::sys::file;").is_empty());
    assert!(!breaches("sys", &["sys"], "use crate::{sys::dm, report::Voice};").is_empty());
    assert!(breaches("plan", &["plan", "units"], "use crate::units::Bytes; // crate::units").is_empty());
}

#[test]
fn unsafe_code_stands_in_sys_alone_and_gives_its_reason() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let text = fs::read_to_string(&path).expect("a source");
        if !path.starts_with(src.join("sys")) {
            assert!(!text.contains("allow(unsafe_code"), "{} allows unsafe code", path.display());
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if line.contains("unsafe {") {
                let reason = lines[at.saturating_sub(3)..at].iter().any(|line| line.contains("SAFETY:"));
                assert!(reason, "{}:{}: unsafe without a SAFETY comment", path.display(), at + 1);
            }
        }
    }
}
