//! What a kernel test works with: dmtool, a shell, disks, waiting.

use super::clean;
use assert_cmd::Command as AssertCommand;
use std::process::Command;
use std::time::{Duration, Instant};

/// dmtool with these words, to be asserted upon.
pub fn dmtool(words: &str) -> AssertCommand {
    let mut command = AssertCommand::new(env!("CARGO_BIN_EXE_dmtool"));
    command.args(words.split_whitespace()).timeout(Duration::from_secs(120));
    command
}

/// What dmtool with these words and `--json` says, with its exit status.
#[track_caller]
pub fn json(words: &str) -> (i32, serde_json::Value) {
    let output = dmtool(words).arg("--json").output().expect("running dmtool");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|why| {
        panic!(
            "dmtool {words} --json: {why}\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code().unwrap_or(-1), value)
}

/// A shell command's output, trimmed; a failure fails the test.
#[track_caller]
pub fn sh(script: &str) -> String {
    let (ok, stdout, stderr) = try_sh(script);
    assert!(ok, "{script}\nfailed:\n{stdout}{stderr}");
    stdout
}

/// Whether a shell command succeeded, its output and its errors, trimmed.
pub fn try_sh(script: &str) -> (bool, String, String) {
    let output = Command::new("sh").args(["-c", script]).output().expect("running sh");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The path of blank disk number `at`: 0 to 2 hold 4 GiB, 3 holds 512 MiB, 4 holds 300 MiB, 5 holds 3 TiB.
pub fn disk(at: usize) -> String {
    clean::disks()[at].clone()
}

/// The node that partition number `number` of a disk has, there or not.
pub fn partition(disk: &str, number: u32) -> String {
    let node = sh(&format!("readlink -f {disk}"));
    let between = if node.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{node}{between}{number}")
}

/// A disk as the bytes on it and as the sectors written to it so far.
#[derive(Debug, PartialEq, Eq)]
pub struct Print {
    sum: String,
    written: String,
}

impl Print {
    /// What is on it, whatever was written on the way.
    pub fn sum(&self) -> &str {
        &self.sum
    }
}

/// For "nothing was written": compare one from before with one from after. Meant for the 512 MiB disk.
pub fn print_of(path: &str) -> Print {
    sh("sync");
    let name = sh(&format!("basename $(readlink -f {path})"));
    Print {
        sum: sh(&format!("dd if={path} bs=1M status=none | md5sum")),
        written: sh(&format!("awk '{{print $7}}' /sys/class/block/{name}/stat")),
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    // Machines differ: what comes at all comes by then.
    let deadline = Instant::now() + Duration::from_secs(120);
    while !met() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
