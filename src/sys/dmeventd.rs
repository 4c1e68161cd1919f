//! Whether dmeventd answers, by the greeting that its own clients begin with (dm-event.h of device-mapper: a command
//! and a length in network order, then text; fifos under /run). libdevmapper-event is not asked: it starts a daemon
//! where none runs, and waits for another client's lock without end.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::time::Timespec;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// Its clients write here.
const CLIENT: &str = "/run/dmeventd-client";
/// It writes its answers here; a client locks this one first.
const SERVER: &str = "/run/dmeventd-server";
/// `DM_EVENT_CMD_HELLO`
const HELLO: u32 = 8;

/// What became of a greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// Somebody listens, or seems to, and says nothing; with the reason.
    No(String),
    /// Another client holds the line to it: which one, if that can be seen.
    Held(String),
    /// Nobody listens.
    NotRunning,
}

/// Greets dmeventd and waits for the answer. Where systemd holds the fifos, this starts it, as any client would.
///
/// # Errors
/// The fifos are there and cannot be used.
pub fn greet(limit: Duration) -> Result<Answer> {
    let deadline = Instant::now() + limit;
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
    let mut client = match OpenOptions::new().write(true).custom_flags(nonblocking).open(CLIENT) {
        Ok(client) => client,
        Err(why) if why.kind() == ErrorKind::NotFound || why.raw_os_error() == Some(libc::ENXIO) => {
            return Ok(Answer::NotRunning);
        }
        Err(why) => return Err(why).with_context(|| format!("opening {CLIENT}")),
    };
    let mut server = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking)
        .open(SERVER)
        .with_context(|| format!("opening {SERVER}"))?;
    while flock(&server, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= deadline {
            let holder = super::lock::holder_of(SERVER).unwrap_or_else(|| "another process".to_owned());
            return Ok(Answer::Held(holder));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Answers that their asker did not wait for.
    let mut old = [0; 4096];
    while matches!(server.read(&mut old), Ok(1..)) {}
    let words = format!("{}:0 HELLO", std::process::id());
    let mut message = HELLO.to_be_bytes().to_vec();
    message.extend(u32::try_from(words.len())?.to_be_bytes());
    message.extend(words.as_bytes());
    if let Err(why) = client.write_all(&message) {
        return Ok(Answer::No(format!("it takes no message: {why}")));
    }
    answer(&mut server, &format!("{}:0 ", std::process::id()), deadline, limit)
}

fn answer(server: &mut File, ours: &str, deadline: Instant, limit: Duration) -> Result<Answer> {
    let mut heard = Vec::new();
    loop {
        // An answer is short; what stands in it behind our number is the daemon's own business.
        if String::from_utf8_lossy(&heard).contains(ours) {
            return Ok(Answer::Yes);
        }
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
        match poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(Answer::No(format!("it says nothing for {} s", limit.as_secs()))),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why).context("waiting for dmeventd"),
        }
        let mut buffer = [0; 4096];
        match server.read(&mut buffer) {
            Ok(count) => heard.extend(buffer.get(..count).unwrap_or_default()),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why).context("listening to dmeventd"),
        }
    }
}
