//! The calls of a run that change something, as strace tells them.

use crate::harness::{sh, try_sh};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What may change something, of threads and children too.
const CALLS: &str = "ioctl,fsync,fdatasync,openat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,ftruncate,\
                     fallocate,fchmod,fchown,write,writev,pwrite64,pwritev,copy_file_range,mkdir,mkdirat,symlink,symlinkat,\
                     mount,umount2,semop,semctl,io_submit,execve";
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

/// What looks, as far as a line of strace tells at what: see [`LOOKED_AT`].
const LOOKS: &str = "openat,statx,readlink,getdents64,ioctl";
const LOOKED_AT: &[&str] = &[
    "\"/proc",
    "\"/sys",
    "\"/run",
    "\"/var",
    "\"/dev",
    "\"/etc/docker",
    "\"/etc/containerd",
    "\"/etc/lvm",
    "entries */",
    "DM_TABLE_STATUS",
    "DM_LIST_DEVICES",
    "LOOP_GET_STATUS",
];

/// A call to be cut off at: the so-many-th of its name in one thread. strace counts for each thread and strikes at the first
/// that comes so far, so that only the first one's place can be met for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub call: String,
    pub number: usize,
    /// It is the first thread's, which strace is told to look at alone then.
    pub first: bool,
    /// How many steps of the plan were done by then.
    pub step: usize,
    /// As strace wrote it, for who reads of a failure.
    pub text: String,
}

/// A daemon that LVM starts under strace would keep strace for as long as it lives.
fn daemon_runs() {
    sh("pgrep -x dmeventd >/dev/null || dmeventd");
}

/// Runs a command to its end and tells its places.
///
/// # Errors
/// It failed.
pub fn learn(dmtool: &str, words: &str) -> Result<Vec<Place>, String> {
    Ok(places(&traced(dmtool, words, CALLS)?, changes))
}

/// As [`learn`], of the calls by which dmtool itself looks: LVM runs in another thread.
///
/// # Errors
/// It failed.
pub fn learn_looks(dmtool: &str, words: &str) -> Result<Vec<Place>, String> {
    // What is written tells the steps.
    let trace = traced(dmtool, words, &format!("{LOOKS},write"))?;
    let looks = |call: &str, arguments: &str| call != "write" && LOOKED_AT.iter().any(|at| arguments.contains(at));
    Ok(places(&trace, looks).into_iter().filter(|place| place.first).collect())
}

fn traced(dmtool: &str, words: &str, calls: &str) -> Result<String, String> {
    daemon_runs();
    let (ok, said, wrong) = try_sh(&format!(
        "timeout 240 strace -f -qq -s 200 -o /run/trace -e trace={calls} {dmtool} {words} < /dev/null"
    ));
    if ok { Ok(sh("cat /run/trace")) } else { Err(format!("{words} undisturbed failed: {said} {wrong}")) }
}

/// Whether a call changes something.
fn changes(call: &str, arguments: &str) -> bool {
    match call {
        "ioctl" => IOCTLS.iter().any(|name| arguments.contains(name)),
        "semctl" => !arguments.contains("GETVAL"),
        "openat" => ["O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag)),
        _ => true,
    }
}

fn places(trace: &str, is_one: impl Fn(&str, &str) -> bool) -> Vec<Place> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut step = 0;
    let mut found = Vec::new();
    let begins = trace.split(' ').next().unwrap_or_default();
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
        if !to_us && is_one(call, arguments) {
            let text = rest.trim_start().chars().take(110).collect();
            found.push(Place { call: call.to_owned(), number: *number, first: thread == begins, step, text });
        }
    }
    // The program itself is started before anything can be cut off.
    if found.first().is_some_and(|place| place.call == "execve") {
        found.remove(0);
    }
    found
}

/// Which threads strace is to look at.
fn threads(place: &Place) -> &'static str {
    if place.first { "" } else { "-f" }
}

/// What is done to a command at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    Signal(&'static str),
    /// The call is not made, and seems to have failed with this.
    Error(&'static str),
}

impl std::fmt::Display for Tamper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tamper::Signal(signal) => write!(f, "SIG{signal}"),
            Tamper::Error(error) => write!(f, "{error}"),
        }
    }
}

/// How a command ended that was tampered with.
pub struct Ended {
    /// It came to the place.
    pub met: bool,
    /// None where a signal ended it.
    pub status: Option<i32>,
    pub said: String,
}

/// How long a command may take that is tampered with: longer than anything that it may wait for.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a command under strace, which tampers with it at this place, and waits for its end.
///
/// # Errors
/// It hangs.
pub fn tampered(dmtool: &str, words: &str, place: &Place, tamper: Tamper) -> Result<Ended, String> {
    daemon_runs();
    let Place { call, number, .. } = place;
    let threads = threads(place);
    let what = match tamper {
        Tamper::Signal(signal) => format!("signal={signal}"),
        Tamper::Error(error) => format!("error={error}"),
    };
    let (_, status, _) = try_sh(&format!(
        "timeout {} strace {threads} -qq -o /run/cut -e trace={call} -e inject={call}:{what}:when={number} {dmtool} {words} \
         < /dev/null > /run/said 2>&1; echo $?",
        LIMIT.as_secs()
    ));
    let said = sh("cat /run/said");
    let status: i32 = status.trim().parse().expect("a status");
    if status == 124 {
        let at = sh(
            "for p in $(pgrep -x dmtool); do cat /proc/$p/wchan /proc/$p/stack; done 2>/dev/null; tail -n 5 /run/cut",
        );
        try_sh("pkill -9 -x dmtool");
        return Err(format!("it hangs: {said}\n{at}"));
    }
    let mark = match tamper {
        Tamper::Signal(signal) => format!("killed by SIG{signal}|--- SIG{signal} "),
        Tamper::Error(_) => "INJECTED".to_owned(),
    };
    let met = try_sh(&format!("grep -qE '{mark}' /run/cut")).0;
    // A shell tells of a signal by a number above 128, and dmtool's own 130 is one of these.
    // A command that changes nothing has no step to end before, and goes with SIGTERM as any program (128 + 15).
    let killed = matches!(tamper, Tamper::Signal("KILL")) || tamper == Tamper::Signal("TERM") && status == 143;
    let status = if killed { None } else { Some(status) };
    Ok(Ended { met, status, said })
}

/// Lets a command go on that was stopped at a place, and waits for its end.
///
/// # Errors
/// It hangs.
pub fn go_on() -> Result<Ended, String> {
    let deadline = Instant::now() + LIMIT;
    // It may be thin_check or mount that was stopped, in dmtool's stead. Not all the time: it interrupts who waits for udev.
    let goes_on = || try_sh("kill -CONT $(pgrep -x dmtool) $(awk '{print $1}' /run/cut | sort -u)");
    let mut rounds = 0..;
    while !try_sh("test -s /run/ended").0 {
        if rounds.next().is_some_and(|round| round % 40 == 0) {
            goes_on();
        }
        if Instant::now() > deadline {
            let said = sh("cat /run/said; tail -n 5 /run/cut");
            try_sh("pkill -9 -x dmtool; pkill -CONT -x dmtool");
            return Err(format!("it hangs: {said}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = sh("cat /run/ended").parse().expect("a status");
    Ok(Ended { met: true, status: Some(status), said: sh("cat /run/said") })
}

/// Starts a command under strace, which stops it at this place, and leaves it there; whether it was met.
pub fn stopped_at(dmtool: &str, words: &str, place: &Place) -> bool {
    daemon_runs();
    let Place { call, number, .. } = place;
    let threads = threads(place);
    sh(&format!(
        "rm -f /run/cut /run/ended; (strace {threads} -qq -o /run/cut -e trace={call} -e inject={call}:signal=STOP:when={number} {dmtool} {words} < /dev/null > /run/said 2>&1; \
         echo $? > /run/ended) > /dev/null 2>&1 &"
    ));
    loop {
        if try_sh("grep -q 'stopped by SIGSTOP' /run/cut").0 {
            return true;
        }
        if try_sh("test -s /run/ended").0 {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
