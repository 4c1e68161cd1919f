//! Work in a process of its own, which can be given up. A sick pool can hold whoever asks for its status in the kernel,
//! where no signal reaches (seen: its metadata device stands still during a commit), and a process with such a thread
//! never ends: not even its parent's wait for it does.

#![expect(unsafe_code, reason = "fork and _exit")]

use super::signal::Stop;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::time::Timespec;
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::{Duration, Instant};

const STAGE: u8 = b'S';
const RESULT: u8 = b'R';

/// How such a work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Done(Vec<u8>),
    /// It went on for longer than it may.
    Late(Where),
    /// It ended without a result.
    Died(Where),
}

/// How far a work had come: the stage, and on what it was at.
#[derive(Debug, PartialEq, Eq)]
pub struct Where {
    pub stage: String,
    pub detail: String,
}

/// Tells the waiting process what comes next.
pub struct Stage {
    pipe: PipeWriter,
    /// Read only when something went wrong: a word through the pipe would wake the reader each time.
    detail: File,
}

impl Stage {
    /// Says what is about to be done; the clock begins anew.
    pub fn begins(&mut self, what: &str) {
        self.at("");
        // The one who waits may be gone; then nobody needs to know.
        let _ = frame(&mut self.pipe, STAGE, what.as_bytes());
    }

    /// Notes the one thing of this stage that is looked at now; the clock runs on.
    pub fn at(&mut self, what: &str) {
        let mut record = what.as_bytes().to_vec();
        record.resize(DETAIL, 0);
        let _ = self.detail.write_all_at(&record, 0);
    }
}

/// Longer than any device-mapper name (DM_NAME_LEN in linux/dm-ioctl.h is 128).
const DETAIL: usize = 256;

fn read_detail(file: &File) -> String {
    let mut record = [0; DETAIL];
    let count = file.read_at(&mut record, 0).unwrap_or(0);
    String::from_utf8_lossy(record.get(..count).unwrap_or_default()).trim_end_matches('\0').to_owned()
}

fn frame(pipe: &mut PipeWriter, kind: u8, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![kind];
    bytes.extend(length);
    bytes.extend(body);
    pipe.write_all(&bytes)
}

/// Does `work` in a child and waits for it; each stage may take what `limit` says. An end that somebody asks of this
/// process by `stop` is asked of the child, which may then tidy up; `meanwhile` makes what shall live as long, and may
/// have threads. To be called while this process has one thread.
///
/// # Errors
/// No process or pipe can be had, or there are several threads.
pub fn run<G>(
    limit: impl Fn(&str) -> Duration,
    stop: Option<&Stop>,
    meanwhile: impl FnOnce() -> G,
    work: impl FnOnce(Stage) -> Vec<u8>,
) -> Result<Ended> {
    // Those that were given up before and have ended since.
    while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    let detail = rustix::fs::memfd_create("dmtool-stage", MemfdFlags::CLOEXEC).context("making a file in memory")?;
    let detail = File::from(detail);
    alone()?;
    // SAFETY: this process has one thread, so that the child may do whatever its parent could.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(std::io::Error::last_os_error()).context("starting a process"),
        0 => {
            drop(reader);
            // Unwound any further, a panic would have the child go on as a second parent.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| in_child(writer, detail, work)));
            // SAFETY: ends the child here and now; what its parent registered to be done at exit is not its to do.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(writer);
            let _kept = meanwhile();
            let child = Pid::from_raw(child);
            let mut asked = stop.map(|stop| Asked { stop, child, end_by: None });
            let ended = listen(reader, &detail, &limit, &mut asked);
            if let Some(child) = child {
                // What hangs in the kernel ends when the kernel lets it.
                let _ = kill_process(child, Signal::KILL);
                let _ = waitpid(Some(child), WaitOptions::NOHANG);
            }
            ended
        }
    }
}

/// A fork copies no other thread, and what one of those holds stays locked in the child. One that was told to end may
/// need a moment.
fn alone() -> Result<()> {
    let deadline = Instant::now() + ENDS_WITHIN;
    while super::block::entries(Path::new("/proc/self/task"))?.len() != 1 {
        if Instant::now() >= deadline {
            bail!("a process is not started from one with several threads");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

const ENDS_WITHIN: Duration = Duration::from_secs(2);

fn in_child(writer: PipeWriter, detail: File, work: impl FnOnce(Stage) -> Vec<u8>) {
    // Whoever reads our output to its end shall not wait for a process that was given up.
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let Ok(mut result) = writer.try_clone() else { return };
    let bytes = work(Stage { pipe: writer, detail });
    let _ = frame(&mut result, RESULT, &bytes);
}

/// How long a child may tidy up after it was asked for an end.
const TIDIES: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody asked for an end: a signal right before the wait does not end that.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

struct Asked<'a> {
    stop: &'a Stop,
    child: Option<Pid>,
    /// When a child that was told is given up.
    end_by: Option<Instant>,
}

impl Asked<'_> {
    /// Passes the wish on, once; until when the child may go on.
    fn pass_on(&mut self) -> Option<Instant> {
        if self.end_by.is_none() && self.stop.asked() {
            if let Some(child) = self.child {
                let _ = kill_process(child, Signal::TERM);
            }
            self.end_by = Some(Instant::now() + TIDIES);
        }
        self.end_by
    }
}

fn listen(
    mut reader: PipeReader,
    detail: &File,
    limit: &impl Fn(&str) -> Duration,
    asked: &mut Option<Asked<'_>>,
) -> Result<Ended> {
    let mut heard = Vec::new();
    let mut stage = "beginning".to_owned();
    let place = |stage: String| Where { stage, detail: read_detail(detail) };
    let mut deadline = Instant::now() + limit(&stage);
    loop {
        while let Some((kind, body, rest)) = take_frame(&heard) {
            if kind == RESULT {
                return Ok(Ended::Done(body.to_vec()));
            }
            stage = String::from_utf8_lossy(body).into_owned();
            heard = rest.to_vec();
            deadline = Instant::now() + limit(&stage);
        }
        if let Some(end_by) = asked.as_mut().and_then(Asked::pass_on) {
            deadline = deadline.min(end_by);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let late = left.is_zero();
        let left = if asked.is_some() { left.min(LOOKS_EVERY) } else { left };
        let timeout = Timespec::try_from(left).context("counting time")?;
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if !late && asked.is_some() => continue,
            Ok(0) => return Ok(Ended::Late(place(stage))),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(why) => bail!("waiting for a process: {why}"),
        }
        let mut buffer = [0; 8192];
        match reader.read(&mut buffer).context("listening to a process")? {
            0 => return Ok(Ended::Died(place(stage))),
            count => heard.extend(buffer.get(..count).unwrap_or_default()),
        }
    }
}

fn take_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(5)?;
    let (kind, length) = head.split_first()?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((*kind, body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fork_beside_other_threads() {
        // The test runner is one.
        let why = run(|_| Duration::ZERO, None, || (), |_| Vec::new()).expect_err("several threads");
        assert!(why.to_string().contains("several threads"), "{why}");
    }

    #[test]
    fn frames_that_are_whole() {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        frame(&mut writer, STAGE, b"kernel").expect("written");
        frame(&mut writer, RESULT, b"").expect("written");
        drop(writer);
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).expect("heard");
        let (kind, body, rest) = take_frame(&heard).expect("a frame");
        assert_eq!((kind, body), (STAGE, b"kernel".as_slice()));
        assert_eq!(take_frame(rest), Some((RESULT, b"".as_slice(), b"".as_slice())));
        for cut in 0..5 {
            assert_eq!(take_frame(rest.get(..cut).expect("a part")), None);
        }
        assert_eq!(take_frame(&[RESULT, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }
}
