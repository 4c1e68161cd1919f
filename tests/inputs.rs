//! Whatever comes from outside (tests/inputs/mod.rs): all inputs that are kept, what dice make of them, and long ones.
//! `MUTATIONS` is for how many of each target, `SEED` for others; a fuzzer finds more (`make fuzz`).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "torture/dice.rs"]
mod dice;
#[path = "inputs/mod.rs"]
mod inputs;

use dice::Dice;
use inputs::{TARGETS, Target, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus");

/// An input that is being tried, and left to be looked at where it breaks a promise.
struct Tried<'a> {
    target: &'a Target,
    data: &'a [u8],
    /// Where it is from.
    path: Option<&'a Path>,
}

impl Tried<'_> {
    fn now(self) {
        run(self.target.take, self.data);
    }
}

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let left = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("input-{}", self.target.name));
        let path = self.path.unwrap_or(&left);
        let written = if self.path.is_some() { Ok(()) } else { fs::write(path, self.data) };
        eprintln!("the input of {} is {} ({written:?})", self.target.name, path.display());
    }
}

fn kept(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(KEPT).join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("an input"))).collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A stretch of something so long.
fn stretch(dice: &mut Dice, length: usize) -> std::ops::Range<usize> {
    let from = dice.below(length + 1);
    from..from + dice.below((length - from).min(32) + 1)
}

/// What stands where something else is due.
const WORDS: [&[u8]; 12] = [
    b"18446744073709551616",
    b"-1",
    b"+0",
    b"1e999",
    b"\0",
    b"\n",
    b"\"",
    b"\x1b[2J",
    b"\xff",
    "\u{85}é".as_bytes(),
    b"[[[[{{{{",
    b" ",
];

fn mutated(kept: &[(PathBuf, Vec<u8>)], dice: &mut Dice) -> Vec<u8> {
    let mut data = kept[dice.below(kept.len())].1.clone();
    for _ in 0..=dice.below(4) {
        let place = stretch(dice, data.len());
        let put: Vec<u8> = match dice.below(6) {
            0 => Vec::new(),
            1 => WORDS[dice.below(WORDS.len())].to_vec(),
            2 => data[place.clone()].repeat(2),
            3 => data[place.clone()].iter().map(|byte| byte ^ (1 << dice.below(8))).collect(),
            4 => data[stretch(dice, data.len())].to_vec(),
            _ => {
                let other = &kept[dice.below(kept.len())].1;
                other[stretch(dice, other.len())].to_vec()
            }
        };
        data.splice(place, put);
    }
    data
}

fn try_all(target: &Target) {
    let kept = kept(target);
    assert!(!kept.is_empty(), "nothing is kept for {}", target.name);
    for (path, data) in &kept {
        Tried { target, data, path: Some(path) }.now();
    }
    let mut dice = Dice::new(number("SEED").unwrap_or(1));
    for _ in 0..number("MUTATIONS").unwrap_or(300) {
        Tried { target, data: &mutated(&kept, &mut dice), path: None }.now();
    }
}

/// Each list with its elements again and again, until it is this much longer.
fn with_long_lists(value: &mut Value, more: usize) {
    match value {
        Value::Array(list) if !list.is_empty() => {
            let length = list.iter().map(|one| one.to_string().len()).sum::<usize>().max(1);
            let elements = list.clone();
            (0..more / length).for_each(|_| list.extend(elements.iter().cloned()));
        }
        Value::Object(fields) => fields.values_mut().for_each(|value| with_long_lists(value, more)),
        _ => {}
    }
}

/// What is kept, again and again in one: a time or a size that grows faster than what is read shows.
fn try_long(target: &Target) {
    const LONG: usize = 64 << 10;
    let mut largest = kept(target);
    largest.sort_by_key(|(_, data)| std::cmp::Reverse(data.len()));
    for (_, data) in largest.iter().filter(|(_, data)| !data.is_empty()).take(8) {
        if let Ok(mut value) = serde_json::from_slice::<Value>(data) {
            with_long_lists(&mut value, LONG);
            Tried { target, data: value.to_string().as_bytes(), path: None }.now();
        }
        let middle = data.len() / 2;
        let (from, to) = (middle - middle / 2, middle + middle / 2 + 1);
        let times = |part: usize| LONG / part.max(1);
        Tried { target, data: &data.repeat(times(data.len())), path: None }.now();
        let inner = data[from..to.min(data.len())].repeat(times(to - from));
        let stretched = [&data[..from], &inner, &data[to.min(data.len())..]].concat();
        Tried { target, data: &stretched, path: None }.now();
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            mod $name {
                #[test]
                fn whatever_comes() {
                    super::try_all(super::named(stringify!($name)));
                }

                #[test]
                fn however_long() {
                    super::try_long(super::named(stringify!($name)));
                }
            }
        )*

        #[test]
        fn every_target_is_tried() {
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target")
}

tests! {
    command_line config_toml containerd_db daemon_json docker_files dump journals last_look lvm_conf lvm_report names proc
    register sizes tables tools trees
}

/// The fuzzer builds what is shipped: both lists of crates have the same versions.
#[test]
fn the_fuzzer_has_the_same_crates() {
    let crates = |path: &str| -> std::collections::BTreeMap<String, Vec<String>> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a list of crates");
        let text: toml_edit::DocumentMut = text.parse().expect("TOML");
        let mut found = std::collections::BTreeMap::<_, Vec<_>>::new();
        for one in text["package"].as_array_of_tables().expect("crates") {
            let word = |key: &str| one[key].as_str().expect("a text").to_owned();
            found.entry(word("name")).or_default().push(word("version"));
        }
        found
    };
    let (ours, fuzzers) = (crates("Cargo.lock"), crates("tests/fuzz/Cargo.lock"));
    for (name, versions) in &fuzzers {
        let differ = ours.get(name).is_some_and(|ours| versions.iter().any(|version| !ours.contains(version)));
        assert!(
            !differ,
            "{name} is of another version in tests/fuzz/Cargo.lock: \
             cp Cargo.lock tests/fuzz && cargo fetch --manifest-path tests/fuzz/Cargo.toml"
        );
    }
    assert!(fuzzers.contains_key("dmtool") && fuzzers.contains_key("libfuzzer-sys"));
}
