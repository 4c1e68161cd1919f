//! The arrows between the rooms (src/lib.rs), read from the sources: who may use whom. And what dmtool is made of.
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
            let rest = line.split_at(at + word.len()).1;
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
            assert!(!text.contains("(unsafe_code"), "{} has unsafe code", path.display());
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

/// Whether one of the licences that are allowed is enough: "A OR B" (in old crates "A/B"), "(A OR B) AND C".
fn is_licensed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    expression.split(" AND ").all(|all| {
        let all = all.trim_matches(['(', ')', ' ']).replace('/', " OR ");
        all.split(" OR ").any(|one| allowed(one.trim()))
    })
}

/// What `make audit` looks at more closely, with a tool that takes minutes to build.
#[test]
fn crates_are_licensed_and_there_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = fs::read_to_string(root.join(".cargo/deny.toml")).expect("rules");
    let rules: toml_edit::DocumentMut = rules.parse().expect("TOML");
    let allowed = rules["licenses"]["allow"].as_array().expect("licences");
    let allowed = |name: &str| allowed.iter().any(|one| one.as_str() == Some(name));
    let skipped = rules["bans"]["skip"].as_array().expect("duplicates");
    let skipped: Vec<&str> = skipped.iter().filter_map(|one| one.as_inline_table()?.get("crate")?.as_str()).collect();
    let words = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform"];
    let told = std::process::Command::new(env!("CARGO"))
        .args(words)
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(root)
        .output()
        .expect("running cargo");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let mut names = std::collections::BTreeSet::new();
    for one in told["packages"].as_array().expect("packages") {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        assert!(is_licensed(text("license"), &allowed), "{name} {version}: {}", text("license"));
        let known = skipped.iter().any(|skipped| format!("{name}@{version}").starts_with(&format!("{skipped}.")));
        assert!(known || names.insert(name), "{name} is there in several versions");
        let ours = name == "dmtool";
        assert!(ours || text("source") == "registry+https://github.com/rust-lang/crates.io-index", "{name}: {one}");
    }
    assert!(is_licensed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed) && is_licensed("GPL-3.0/MIT", &allowed));
    assert!(
        !is_licensed("GPL-3.0", &allowed) && !is_licensed("MIT AND GPL-3.0", &allowed) && !is_licensed("", &allowed)
    );
}
