//! What comes from outside, and what must hold of it whatever it is: each function here takes any bytes for one kind of
//! input, and panics where dmtool breaks a promise. tests/inputs.rs hands them what is kept in fuzz/corpus, and a fuzzer
//! (tests/fuzz) whatever it thinks of.

mod claims;
pub mod command_line;
pub mod config_toml;
pub mod containerd_db;
pub mod daemon_json;
pub mod docker_files;
pub mod dump;
pub mod journals;
pub mod last_look;
pub mod lvm_conf;
pub mod lvm_report;
mod memory;
pub mod names;
pub mod proc;
pub mod register;
mod reports;
pub mod sizes;
pub mod tables;
pub mod tools;
pub mod trees;

use rustix::time::{ClockId, clock_gettime};
use std::borrow::Cow;
use std::time::Duration;

/// One kind of input.
pub struct Target {
    pub name: &'static str,
    pub take: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident)*) => {
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), take: $name::$name }),*];
    };
}

targets! {
    command_line config_toml containerd_db daemon_json docker_files dump journals last_look lvm_conf lvm_report names proc
    register sizes tables tools trees
}

/// Longer than any input of some kilobytes takes on a slow machine, whatever runs beside.
const LONGEST: Duration = Duration::from_secs(5);
/// What every input may take in memory, and what each byte of it may besides.
const MEMORY: (usize, usize) = (4 << 20, 256);

/// Hands an input to a target, which may take neither long nor much memory for it.
///
/// # Panics
/// A promise is broken.
pub fn run(take: fn(&[u8]), data: &[u8]) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time");
    let begun = now();
    let ((), peak) = memory::peak_of(|| take(data));
    let took = now().saturating_sub(begun);
    assert!(took < LONGEST, "{} bytes took {took:?}", data.len());
    let most = MEMORY.0 + MEMORY.1 * data.len();
    assert!(peak <= most, "{} bytes took {peak} bytes of memory, more than {most}", data.len());
}

/// Bytes with many zeroes in few: behind a zero stands how many more follow. What lies on disks is mostly empty.
fn expanded(data: &[u8]) -> Vec<u8> {
    const MOST: usize = 1 << 18;
    let (mut bytes, mut data) = (Vec::new(), data.iter());
    while let Some(byte) = data.next() {
        let more = if *byte == 0 { data.next().copied().unwrap_or(0) } else { 0 };
        bytes.resize(bytes.len() + 1 + usize::from(more), *byte);
        if bytes.len() > MOST {
            break;
        }
    }
    bytes
}

/// As a file is read: what is no UTF-8 would not be taken apart at all.
fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// What reaches a terminal as it is: no character of it controls one.
#[track_caller]
fn assert_plain(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?} would control a terminal");
}
