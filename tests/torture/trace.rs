//! The calls of a run that change something, as strace tells them.

use crate::harness::{sh, try_sh};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What may change something, of threads and children too.
const CALLS: &str = "ioctl,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,write,pwrite64,\
                     mkdir,mkdirat,symlink,mount,umount2,io_submit,execve";
/// Of the ioctls, those that do.
const IOCTLS: &[&str] = &[
    "DM_DEV_CREATE",
    "DM_DEV_REMOVE",
    "DM_DEV_RENAME",
    "DM_TABLE_LOAD",
    "DM_TABLE_CLEAR",
    "DM_DEV_SUSPEND",
    "DM_TARGET_MSG",
    "LOOP_CTL",
    "LOOP_SET",
    "LOOP_CLR",
    "LOOP_CONFIGURE",
    "BLKDISCARD",
    "BLKZEROOUT",
    "FITRIM",
    "FIFREEZE",
];

/// A call to be cut off at: the so-many-th of its name in one thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub call: String,
    pub number: usize,
    /// How many steps of the plan were done by then.
    pub step: usize,
    /// As strace wrote it, for who reads of a failure.
    pub text: String,
}

/// Runs a command to its end and tells its places.
///
/// # Errors
/// It failed.
pub fn learn(dmtool: &str, words: &str) -> Result<Vec<Place>, String> {
    let (ok, said, wrong) =
        try_sh(&format!("strace -f -qq -s 200 -o /run/trace -e trace={CALLS} {dmtool} {words} < /dev/null"));
    if !ok {
        return Err(format!("{words} without any cut failed: {said} {wrong}"));
    }
    Ok(places(&sh("cat /run/trace")))
}

fn places(trace: &str) -> Vec<Place> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut step = 0;
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let number = counts.entry((thread.to_owned(), call.to_owned())).or_default();
        *number += 1;
        let to_us = call == "write" && (arguments.starts_with("1,") || arguments.starts_with("2,"));
        if to_us && arguments.contains("\"  done") {
            step += 1;
        }
        let changes = !to_us && (call != "ioctl" || IOCTLS.iter().any(|name| arguments.contains(name)));
        if changes {
            let text = rest.trim_start().chars().take(110).collect();
            found.push(Place { call: call.to_owned(), number: *number, step, text });
        }
    }
    // The program itself is started before anything can be cut off.
    if found.first().is_some_and(|place| place.call == "execve") {
        found.remove(0);
    }
    found
}

/// Starts a command under strace, which sends it a signal at this place, and waits for its end; whether it was met.
pub fn cut(dmtool: &str, words: &str, place: &Place, signal: &str) -> bool {
    let Place { call, number, .. } = place;
    try_sh(&format!(
        "strace -f -qq -o /run/cut -e trace={call} -e inject={call}:signal={signal}:when={number} {dmtool} {words} < /dev/null > /run/said 2>&1"
    ));
    try_sh(&format!("grep -qE 'killed by SIG{signal}|--- SIG{signal} ' /run/cut")).0
}

/// Starts a command under strace, which stops it at this place, and leaves it there; whether it was met.
pub fn stopped_at(dmtool: &str, words: &str, place: &Place) -> bool {
    let Place { call, number, .. } = place;
    sh(&format!(
        "(strace -f -qq -o /run/cut -e trace={call} -e inject={call}:signal=STOP:when={number} {dmtool} {words} < /dev/null > /run/said 2>&1; \
         touch /run/ended) > /dev/null 2>&1 & rm -f /run/cut /run/ended"
    ));
    loop {
        if try_sh("grep -q 'stopped by SIGSTOP' /run/cut").0 {
            return true;
        }
        if try_sh("test -e /run/ended").0 {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
