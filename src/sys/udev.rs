//! udev: whether it runs, and an end to waits for it. Whoever makes or removes a device of device-mapper waits until
//! udev's rules are through with it: on a semaphore, the cookie, which `dmsetup udevcomplete` in the last rule brings to
//! zero (dmsetup(8), "udevcookies"). libdevmapper and the crate wait without a limit, and udev may be dead, may stand
//! still, or may have killed its worker before the last rule.

#![expect(unsafe_code, reason = "semctl")]

use super::file;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

const CONTROL: &str = "/run/udev/control";
/// Each event that udev is through with changes something here.
const DATABASE: &str = "/run/udev/data";
const CONFIGURATION: &str = "/etc/udev/udev.conf";

/// Whether udev runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Runs,
    /// This host has none, so nobody waits for it.
    Absent,
    /// Its socket is there and nobody listens: who waits for it waits for ever.
    Gone,
}

/// Looks whether somebody listens at udev's socket; systemd may be the one, and start udev then.
pub fn state() -> State {
    if !Path::new(CONTROL).exists() {
        return State::Absent;
    }
    let reached = SocketAddrUnix::new(CONTROL).and_then(|address| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        connect(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?, &address)
    });
    if reached == Err(rustix::io::Errno::CONNREFUSED) { State::Gone } else { State::Runs }
}

/// How long udev gives an event before it kills the worker at it (udev.conf(5), `event_timeout`).
const EVENT_TIMEOUT: Duration = Duration::from_secs(180);

fn event_timeout() -> Duration {
    let text = file::read(Path::new(CONFIGURATION)).ok().flatten().unwrap_or_default();
    timeout_of(&text).unwrap_or(EVENT_TIMEOUT)
}

fn timeout_of(configuration: &str) -> Option<Duration> {
    let lines = configuration.lines().filter_map(|line| line.trim().strip_prefix("event_timeout"));
    let mut values = lines.filter_map(|rest| rest.trim_start().strip_prefix('='));
    let seconds = values.next_back()?.trim().trim_matches('"').trim_end_matches('s').parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// udev did not say that it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled(Duration);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udev stands still: for {} s it has not said that it is done with a device", self.0.as_secs())
    }
}

impl std::error::Error for Stalled {}

/// A thread that ends this process's waits for a udev that stands still; gone with the value.
pub struct Watch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    limit: Duration,
    gave_up: Arc<AtomicBool>,
}

const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// Once one wait was in vain the next ones are, too; and nobody answers whom nobody hears.
const NO_HOPE: Duration = Duration::from_secs(5);

impl Watch {
    /// Begins to watch. Where no thread can be had, waits end when udev lets them.
    pub fn begin() -> Watch {
        let (end, ends) = channel::<()>();
        let limit = event_timeout();
        let gave_up = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&gave_up);
        let work = move || {
            let mut since: BTreeMap<i32, Instant> = BTreeMap::new();
            let mut at_work = last_work();
            while ends.recv_timeout(LOOKS_EVERY) == Err(RecvTimeoutError::Timeout) {
                let waits = waits();
                since.retain(|cookie, _| waits.contains(cookie));
                if last_work() != at_work {
                    at_work = last_work();
                    since.clear();
                }
                for cookie in waits {
                    let waited = since.entry(cookie).or_insert_with(Instant::now).elapsed();
                    let hopeless = given_up.load(Ordering::Relaxed) || state() == State::Gone;
                    if waited >= if hopeless { NO_HOPE.min(limit) } else { limit } {
                        given_up.store(true, Ordering::Relaxed);
                        release(cookie);
                    }
                }
            }
        };
        Watch { end: Some(end), thread: Builder::new().spawn(work).ok(), limit, gave_up }
    }

    /// Whether a wait was ended in vain so far.
    pub fn stalled(&self) -> Option<Stalled> {
        self.gave_up.load(Ordering::Relaxed).then_some(Stalled(self.limit))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When udev last wrote down what it knows of a device.
fn last_work() -> Option<(i64, i64)> {
    let folder = std::fs::metadata(DATABASE).ok()?;
    Some((folder.mtime(), folder.mtime_nsec()))
}

/// The upper half of a cookie's key (`DM_COOKIE_MAGIC` in libdevmapper.h).
const MAGIC: u32 = 0x0d4d;

/// The cookies that a thread of this process waits for.
fn waits() -> Vec<i32> {
    let cookies = cookies(&file::read(Path::new("/proc/sysvipc/sem")).ok().flatten().unwrap_or_default());
    if cookies.is_empty() {
        return cookies;
    }
    let calls: Vec<i32> = calls().iter().filter_map(|call| waited_for(call)).collect();
    // Where the kernel does not tell what threads are at: who was the last to touch it, as who waits mostly is.
    let ours = |cookie: i32| asked(cookie, libc::GETPID) == i32::try_from(std::process::id()).ok();
    let waited = |cookie: i32| asked(cookie, libc::GETZCNT).is_some_and(|count| count > 0);
    cookies.into_iter().filter(|cookie| calls.contains(cookie) || (ours(*cookie) && waited(*cookie))).collect()
}

/// The numbers of all cookies of this host (proc(5), /proc/sysvipc/sem: key, number, …).
fn cookies(table: &str) -> Vec<i32> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (key, number) = (words.next()?.parse::<i32>().ok()?, words.next()?.parse().ok()?);
        (key.cast_unsigned() >> 16 == MAGIC).then_some(number)
    };
    table.lines().filter_map(line).collect()
}

/// What each thread of this process is at (proc(5), /proc/[pid]/syscall: number and arguments).
fn calls() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.filter_map(|thread| file::read(&thread.path().join("syscall")).ok().flatten()).collect()
}

/// The semaphore that a call waits for, where it is one that does.
fn waited_for(call: &str) -> Option<i32> {
    let mut words = call.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let first = i64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    if number == libc::SYS_semop || number == libc::SYS_semtimedop { i32::try_from(first).ok() } else { None }
}

fn asked(cookie: i32, what: i32) -> Option<i32> {
    // SAFETY: a question (semctl(2)), which takes no further argument.
    let answer = unsafe { libc::semctl(cookie, 0, what) };
    (answer >= 0).then_some(answer)
}

/// What `dmsetup udevcomplete` does: who waits for this cookie goes on.
fn release(cookie: i32) {
    // SAFETY: sets a semaphore to the number that follows (semctl(2), SETVAL), which wakes whoever waits for that.
    unsafe { libc::semctl(cookie, 0, libc::SETVAL, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_udev_gives_an_event() {
        assert_eq!(timeout_of("#event_timeout=180\n"), None);
        assert_eq!(timeout_of("udev_log=info\n event_timeout = 30\n"), Some(Duration::from_secs(30)));
        assert_eq!(timeout_of("event_timeout=\"10s\""), Some(Duration::from_secs(10)));
        assert_eq!(timeout_of("event_timeout=1min"), None);
    }

    #[test]
    fn cookies_among_other_semaphores() {
        let table = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n \
                     223154337          5   600          1     0     0     0     0 1762000000 1762000000\n \
                     1234          6   600          1     0     0     0     0 1762000000 1762000000\n";
        assert_eq!(cookies(table), [5]);
        assert!(cookies("nonsense\n\n-1 x").is_empty());
    }

    #[test]
    fn a_wait_for_a_cookie_is_found_and_ended() {
        let key = i32::try_from(MAGIC << 16).expect("a key")
            | i32::from(u16::try_from(std::process::id() & 0xffff).expect("16 bits"));
        // SAFETY: makes a semaphore, this test's own.
        let cookie = unsafe { libc::semget(key, 1, libc::IPC_CREAT | 0o600) };
        assert!(cookie >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: sets it to 1 (semctl(2), SETVAL).
        unsafe { libc::semctl(cookie, 0, libc::SETVAL, 1) };
        let waiter = std::thread::spawn(move || {
            let mut for_zero = libc::sembuf { sem_num: 0, sem_op: 0, sem_flg: 0 };
            // SAFETY: one operation, which lives during the call.
            unsafe { libc::semop(cookie, &raw mut for_zero, 1) }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !waits().contains(&cookie) {
            assert!(Instant::now() < deadline, "not seen: {:?}", calls());
            std::thread::sleep(Duration::from_millis(10));
        }
        release(cookie);
        assert_eq!(waiter.join().expect("the waiter"), 0);
        // SAFETY: removes what this test made.
        unsafe { libc::semctl(cookie, 0, libc::IPC_RMID) };
        assert!(!waits().contains(&cookie));
    }
}
