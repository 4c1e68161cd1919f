//! What a kernel test works with: dmtool, a shell, disks, waiting.

use super::clean;
use assert_cmd::Command as AssertCommand;
use std::process::Command;
use std::time::{Duration, Instant};

/// dmtool with these words, to be asserted upon.
pub fn dmtool(words: &str) -> AssertCommand {
    let mut command = AssertCommand::new(env!("CARGO_BIN_EXE_dmtool"));
    command.args(words.split_whitespace()).timeout(Duration::from_secs(400));
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

/// Unmounts what somebody may still use who was told to end, or who just looks at it.
#[track_caller]
pub fn unmount(folder: &str) {
    wait_until(&format!("nobody uses {folder}"), || try_sh(&format!("umount {folder}")).0);
}

/// Removes devices, the loop devices under them and the file system with their files. udev may look at a loop device
/// still: that one goes with its last user, whatever losetup says.
#[track_caller]
pub fn remove_with_files(names: &str) {
    try_sh(&format!("for name in {names}; do dmsetup remove --retry $name; done; udevadm settle"));
    wait_until("nobody uses /run/files", || try_sh("losetup -D; umount /run/files").0);
}

/// Part of a script: waits until the command whose terminal `script -f` writes down in /run/typed asks. What is typed
/// sooner, the terminal takes for its own.
pub const ASKED: &str =
    "n=0; until grep -q 'y/N' /run/typed 2>/dev/null || [ $n -ge 600 ]; do n=$((n + 1)); sleep 0.1; done; sleep 1";

/// Holds the lock of a file until `pkill -x tail`.
#[track_caller]
pub fn hold_lock(file: &str) {
    sh(&format!("flock {file} tail -f /dev/null >/dev/null 2>&1 &"));
    wait_until(&format!("{file} is locked"), || !try_sh(&format!("flock -n {file} true")).0);
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
