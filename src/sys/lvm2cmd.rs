//! liblvm2cmd: LVM's commands in this process, at a third of what a process each would cost.
//!
//! The library is opened at first use with dlopen. Linking it would make every `status` pay for it and would
//! bind loop and raw pools to hosts with LVM; the crate `lvm-sys2` links it at build time, keeps no messages and
//! asks every command for JSON, so it is not used. One thread of this process owns the one handle, since the library
//! keeps its state in globals; a read that misses its deadline leaves that thread behind and the handle is given up.

#![expect(unsafe_code, reason = "foreign functions of liblvm2cmd")]

use anyhow::{Context, Result, anyhow, bail};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

const SONAME: &str = "liblvm2cmd.so.2.03";
// Return values and levels from lvm2cmd.h.
const SUCCEEDED: c_int = 1;
const LOG_WARN: c_int = 4; // LVM's own log.h: a warning is level 4 like printed text, told apart by its flag.
const LOG_ERROR: c_int = 3;
const LOG_PRINT: c_int = 4;
const LOG_TO_STDERR: c_int = 0x80; // log.h: "_LOG_STDERR", or-ed to the level of what belongs on stderr.
const LEVEL_MASK: c_int = 0x07;

// Its functions, as lvm2cmd.h declares them.
type LogFn = extern "C" fn(c_int, *const c_char, c_int, c_int, *const c_char);
type SetLogFn = unsafe extern "C" fn(LogFn);
type SetLogLevel = unsafe extern "C" fn(*mut c_void, c_int);
type Init = unsafe extern "C" fn() -> *mut c_void;
type Run = unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int;

/// What one command said and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Lines of its report, or of what it says when it went well.
    pub printed: Vec<String>,
    pub warnings: Vec<String>,
    pub errors: Vec<String>,
    /// As in lvm2cmd.h: 1 succeeded, 2 no such command, 3 invalid parameters, 4 init failed, 5 failed.
    pub status: i32,
}

/// A command that LVM did not carry out.
#[derive(Debug)]
pub struct LvmError {
    pub command: String,
    pub reply: Reply,
}

impl fmt::Display for LvmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reply.status {
            2 => "LVM has no such command",
            3 => "LVM did not take its parameters",
            4 => "LVM could not start",
            _ => "LVM refused or failed",
        };
        write!(f, "{}: {why}", self.command)?;
        for line in &self.reply.errors {
            write!(f, "\n{}", line.trim())?;
        }
        Ok(())
    }
}

impl std::error::Error for LvmError {}

/// Why LVM did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBegun {
    /// It keeps a copy of its metadata before each change (lvm.conf(5), backup/archive), and could not.
    CannotArchive,
    /// A physical volume of the group is not there.
    Incomplete,
}

impl LvmError {
    /// Why LVM did not even begin, where it was for one of the reasons that somebody can mend.
    pub fn not_begun(&self) -> Option<NotBegun> {
        let said = |words: &str| self.reply.errors.iter().any(|line| line.contains(words));
        if said("Cannot archive volume group metadata") {
            Some(NotBegun::CannotArchive)
        } else if said("while PVs are missing") {
            Some(NotBegun::Incomplete)
        } else {
            None
        }
    }

    /// Whether it failed because somebody else holds one of LVM's locks, and which file that is.
    pub fn lock_file(&self) -> Option<&str> {
        self.reply.errors.iter().find_map(|line| line.trim().split_once(": flock failed: ").map(|(path, _)| path))
    }
}

/// As [`LvmError::lock_file`], of whatever went wrong.
pub fn lock_file(why: &anyhow::Error) -> Option<&str> {
    why.downcast_ref::<LvmError>()?.lock_file()
}

static LOG: Mutex<Vec<(c_int, String)>> = Mutex::new(Vec::new());

extern "C" fn collect(level: c_int, _file: *const c_char, _line: c_int, _errno: c_int, message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: not null, and LVM hands over a string that ends in zero and lives during this call.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    if let Ok(mut log) = LOG.lock() {
        log.push((level, text));
    }
}

struct Library2 {
    _library: Library,
    handle: *mut c_void,
    run: Symbol<Run>,
}

// SAFETY: the library does not mind which thread uses a handle, as long as it is one at a time (dmeventd's plugins, which
// come with it, have a thread for each pool and one handle), and there is but one.
unsafe impl Send for Library2 {}

impl Library2 {
    fn open() -> Result<Library2> {
        // SAFETY: the library is LVM's own; its initialisers touch nothing of ours.
        let library = unsafe { Library::open(Some(SONAME), RTLD_NOW | RTLD_LOCAL) }
            .with_context(|| format!("opening LVM's command library {SONAME}"))?;
        // SAFETY: a function of this type in every library of this soname.
        let log_fn = unsafe { library.get::<SetLogFn>(b"lvm2_log_fn\0") }?;
        // SAFETY: as before.
        let init = unsafe { library.get::<Init>(b"lvm2_init\0") }?;
        // SAFETY: as before.
        let log_level = unsafe { library.get::<SetLogLevel>(b"lvm2_log_level\0") }?;
        // SAFETY: as before; it is called no more when the library is closed, which is kept beside it.
        let run = unsafe { library.get::<Run>(b"lvm2_run\0") }?;
        // SAFETY: the function lives as long as this process, and no other thread is in the library.
        unsafe { log_fn(collect) };
        // SAFETY: no other thread is in the library.
        let handle = unsafe { init() };
        if handle.is_null() {
            let said = take_log().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
            bail!("LVM's command library could not start: {said}");
        }
        // SAFETY: the handle is what init gave.
        unsafe { log_level(handle, LOG_PRINT) };
        Ok(Library2 { _library: library, handle, run })
    }

    fn run(&self, command: &CStr) -> Reply {
        take_log();
        // SAFETY: the handle is the one that lvm2_init gave, used by this thread alone; the command ends in zero.
        let status = unsafe { (self.run)(self.handle, command.as_ptr()) };
        let mut reply = Reply { status, ..Reply::default() };
        for (level, text) in take_log() {
            match level & LEVEL_MASK {
                ..=LOG_ERROR => reply.errors.push(text),
                LOG_WARN if level & LOG_TO_STDERR != 0 || text.trim_start().starts_with("WARNING: ") => {
                    reply.warnings.push(text.trim().to_owned());
                }
                LOG_PRINT => reply.printed.push(text),
                _ => {}
            }
        }
        reply
    }
}

fn take_log() -> Vec<(c_int, String)> {
    LOG.lock().map(|mut log| std::mem::take(&mut *log)).unwrap_or_default()
}

/// Whether the library is on this host, without loading it.
pub fn is_installed() -> bool {
    const DIRECTORIES: [&str; 6] =
        ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"];
    let there = |folder: &str| std::path::Path::new(folder).join(SONAME).exists();
    if DIRECTORIES.iter().any(|folder| there(folder)) {
        return true;
    }
    // Other places are the dynamic linker's to know.
    // SAFETY: the library is LVM's own; its initialisers touch nothing of ours.
    unsafe { Library::open(Some(SONAME), RTLD_NOW | RTLD_LOCAL) }.is_ok()
}

type Job = (CString, Sender<Result<Reply>>);

/// Who may enter the library.
enum Entrance {
    /// Whoever comes; open already where somebody was there before.
    Free(Option<Library2>),
    /// Nobody, for this reason: a thread is in it.
    Taken(String),
}

static ENTRANCE: Mutex<Entrance> = Mutex::new(Entrance::Free(None));

fn entrance() -> MutexGuard<'static, Entrance> {
    ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread in the library, and the way to it.
struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// The door to LVM: there may be several, one after another. Nothing is opened before the first command.
#[derive(Default)]
pub struct Lvm {
    worker: Option<Worker>,
}

impl Drop for Lvm {
    /// Waits for its thread, so that the next one has the library for itself, and a fork no other thread beside it.
    fn drop(&mut self) {
        if let Some(Worker { jobs, thread }) = self.worker.take() {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

impl Lvm {
    /// Runs a command that only reads, and gives up on it after `limit`.
    ///
    /// # Errors
    /// [`LvmError`] where LVM refused, otherwise a sentence: late, lost, no library.
    pub fn read(&mut self, words: &[String], limit: Duration) -> Result<Reply> {
        let line = command_line(words)?;
        let answer = self.send(&line)?;
        let reply = match answer.recv_timeout(limit) {
            Ok(reply) => reply?,
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("LVM did not answer '{}' within {} s", shown(words), limit.as_secs());
                // Nobody enters the library beside its thread, and nobody waits for that.
                *entrance() = Entrance::Taken(why.clone());
                self.worker = None;
                bail!(why);
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that runs LVM's commands ended"),
        };
        judge(words, reply)
    }

    /// Runs a command that changes something, to its end however long it takes. Another holder of LVM's lock is
    /// waited for until `lock_limit` has passed.
    ///
    /// # Errors
    /// [`LvmError`] where LVM refused or failed, otherwise a sentence.
    pub fn change(&mut self, words: &[String], lock_limit: Duration) -> Result<Reply> {
        let line = command_line(words)?;
        let deadline = Instant::now() + lock_limit;
        loop {
            let answer = self.send(&line)?;
            let reply = answer.recv().context("the thread that runs LVM's commands ended")??;
            let outcome = judge(words, reply);
            let locked = outcome.as_ref().err().and_then(lock_file);
            if locked.is_none() || Instant::now() >= deadline {
                return outcome;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn send(&mut self, line: &CStr) -> Result<Receiver<Result<Reply>>> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(start()?),
        };
        let (sender, receiver) = channel();
        worker
            .jobs
            .send((line.to_owned(), sender))
            .map_err(|_| anyhow!("the thread that runs LVM's commands ended"))?;
        Ok(receiver)
    }
}

fn judge(words: &[String], reply: Reply) -> Result<Reply> {
    if reply.status == SUCCEEDED { Ok(reply) } else { Err(LvmError { command: shown(words), reply }.into()) }
}

fn start() -> Result<Worker> {
    let mut entrance = entrance();
    let mut library = match &mut *entrance {
        Entrance::Free(library) => library.take(),
        Entrance::Taken(why) => bail!("{why}"),
    };
    *entrance = Entrance::Taken("LVM is asked by another part of this run".to_owned());
    let (sender, jobs) = channel::<Job>();
    let work = move || {
        for (line, answer) in jobs {
            let opened = match &library {
                Some(opened) => Ok(opened),
                None => Library2::open().map(|opened| &*library.insert(opened)),
            };
            // Nobody listens any more to an answer that came too late.
            let _ = answer.send(opened.map(|library| library.run(&line)));
        }
        // For the next one: begun twice, it would lose what it had. The end of the process frees it; lvm2_exit and
        // dlclose would race with that.
        *self::entrance() = Entrance::Free(library);
    };
    let thread = Builder::new().spawn(work).inspect_err(|_| *entrance = Entrance::Free(None));
    Ok(Worker { jobs: sender, thread: thread.context("starting a thread for LVM's commands")? })
}

/// The command as an operator would type it, without what only this process needs.
fn shown(words: &[String]) -> String {
    let mut line = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            words.next();
        } else {
            line.push(word.as_str());
        }
    }
    line.join(" ")
}

/// One string for `lvm2_run`, which splits it at blanks and knows quotes: each word is checked and quoted.
///
/// # Errors
/// A word has a character that cannot be quoted.
pub fn command_line(words: &[String]) -> Result<CString> {
    let mut line = String::new();
    for word in words {
        if let Some(bad) = word.chars().find(|c| c.is_control() || matches!(c, '\'' | '\\')) {
            bail!("'{}' cannot be handed to LVM: it contains '{}'", word.escape_debug(), bad.escape_debug());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_.+-=:%,@[]".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(word);
        } else {
            line.push('\'');
            line.push_str(word);
            line.push('\'');
        }
    }
    Ok(CString::new(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_are_quoted_or_refused() {
        let line = command_line(&words(&["lvs", "--config", "devices{filter=[\"r|.*|\"]}", "vg/lv"]));
        assert_eq!(line.expect("valid").to_str(), Ok("lvs --config 'devices{filter=[\"r|.*|\"]}' vg/lv"));
        for bad in ["a'b", "a\nb", "a\\b", "a\0b"] {
            assert!(command_line(&words(&[bad])).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_shown_command_leaves_the_filter_out() {
        assert_eq!(shown(&words(&["lvs", "--config", "devices{}", "-a"])), "lvs -a");
    }

    /// All in one test: the library is one thread's at a time.
    #[test]
    fn the_library_itself() {
        if !is_installed() {
            return;
        }
        let second = Duration::from_secs(60);
        for _ in 0..2 {
            let mut lvm = Lvm::default();
            let reply = lvm.read(&words(&["version"]), second).expect("a version");
            assert!(reply.printed.iter().any(|line| line.contains("LVM version:")), "{reply:?}");
            let mut refused = |line: &[&str]| {
                let why = lvm.read(&words(line), second).expect_err("no such thing");
                let why = why.downcast::<LvmError>().expect("LVM's own refusal");
                (why.reply.status, why.to_string())
            };
            assert_eq!(refused(&["nonsense"]), (2, "nonsense: LVM has no such command".to_owned()));
            let (status, said) = refused(&["version", "--nonsense"]);
            assert!(status == 3 && said.contains("LVM did not take its parameters"), "{status} {said}");
            // What went wrong before leaves nothing behind.
            let types = lvm.read(&words(&["segtypes"]), second).expect("kinds of segments");
            assert!(types.printed.iter().any(|line| line.trim() == "thin-pool"), "{types:?}");
            assert!(types.errors.is_empty(), "{types:?}");
            let beside = Lvm::default().read(&words(&["version"]), second).expect_err("one is in it");
            assert!(beside.to_string().contains("another part of this run"), "{beside}");
        }
        // A busy host may have the answer there before anybody waits for it.
        let hasty = || Lvm::default().read(&words(&["version"]), Duration::ZERO).err();
        let late = (0..100).find_map(|_| hasty()).expect("late");
        assert_eq!(late.to_string(), "LVM did not answer 'version' within 0 s");
        let again = Lvm::default().read(&words(&["version"]), second);
        assert!(again.is_ok() || again.is_err_and(|why| why.to_string() == late.to_string()));
    }

    #[test]
    fn a_lock_names_its_file() {
        let errors = vec!["  /run/lock/lvm/V_docker:aux: flock failed: Resource temporarily unavailable".to_owned()];
        let error = LvmError { command: String::new(), reply: Reply { errors, status: 5, ..Reply::default() } };
        assert_eq!(error.lock_file(), Some("/run/lock/lvm/V_docker:aux"));
    }
}
