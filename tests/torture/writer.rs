//! Somebody who writes all the time to the volume that was there before: what was acknowledged must be there, whatever
//! happens to dmtool meanwhile.

use super::Tally;
use super::cases::Case;
use super::state::wait_for_udev;
use crate::harness::{sh, try_sh};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Behind the bytes whose sum is kept, one block in each chunk, so that each is a mapping of its own.
const START: u64 = 8 << 20;
const CHUNK: u64 = 64 << 10;
const CHUNKS: u64 = ((64 << 20) - START) / CHUNK;
const BLOCK: usize = 4096;
const PAUSE: Duration = Duration::from_millis(5);
/// How long a write may wait for a device that stands still, once the command was run again.
const LIMIT: Duration = Duration::from_secs(60);

/// A writer at work.
pub struct Writer {
    device: &'static str,
    salt: u64,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Writer {
    /// Begins to write, where the case's volume is up all the time; what the volume had there is discarded before.
    pub fn beside(case: &Case, tally: &mut Tally) -> Option<Writer> {
        let writer = Writer::started(case, false)?;
        tally.tried("of all these beside a writer");
        Some(writer)
    }

    /// As [`Writer::beside`], with a mark in the log of the disk behind each block that was acknowledged, and each block
    /// written once.
    pub fn marking(case: &Case) -> Option<Writer> {
        Writer::started(case, true)
    }

    fn started(case: &Case, marks: bool) -> Option<Writer> {
        static SALT: AtomicU64 = AtomicU64::new(1);
        let device = case.up_all_the_time()?;
        let salt = SALT.fetch_add(1, Ordering::Relaxed);
        // A pool may ignore discards; what is there is written over then.
        try_sh(&format!("blkdiscard -o {START} -l {} {device}", CHUNKS * CHUNK));
        let stop = Arc::new(AtomicBool::new(false));
        let (file, stopped) = (open(device, true), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut written = 0;
            while !(stopped.load(Ordering::Relaxed) || marks && written == CHUNKS) {
                file.write_all_at(&block(salt, written), place(written)).expect("the volume takes writes");
                written += 1;
                // It is there for what it leaves, and not to keep the processor from dmtool.
                std::thread::sleep(PAUSE);
                if marks {
                    sh(&format!("dmsetup message power 0 mark {}", mark(written)));
                }
            }
            written
        });
        Some(Writer { device, salt, stop, thread })
    }

    /// Stops writing, and reads back what was acknowledged, past what the host remembers of it.
    ///
    /// # Errors
    /// Some of it is not there, or the writer still waits.
    pub fn ended(self) -> Result<(), String> {
        let written = self.stopped()?;
        sh("echo 3 > /proc/sys/vm/drop_caches");
        let ended = written.read_back(written.count);
        wait_for_udev();
        ended
    }

    /// Stops writing.
    ///
    /// # Errors
    /// It still waits.
    pub fn stopped(self) -> Result<Written, String> {
        let Writer { device, salt, stop, thread } = self;
        stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LIMIT;
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return Err(format!("who writes to {device} waits for ever"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let count = thread.join().map_err(|_| format!("a write to {device} failed"))?;
        Ok(Written { device, salt, count })
    }
}

/// What a writer wrote.
pub struct Written {
    device: &'static str,
    salt: u64,
    /// The blocks that were acknowledged.
    pub count: u64,
}

impl Written {
    /// Looks at the first so many blocks, or the last of them that have no later one in their place.
    ///
    /// # Errors
    /// The first that is not what was written.
    pub fn read_back(&self, count: u64) -> Result<(), String> {
        let Written { device, salt, .. } = self;
        let file = open(device, false);
        for number in count.saturating_sub(CHUNKS)..count {
            let mut found = vec![0; BLOCK];
            file.read_exact_at(&mut found, place(number)).map_err(|why| format!("{device}: {why}"))?;
            if found != block(*salt, number) {
                let holds = u64::from_le_bytes(found[..8].try_into().expect("8 bytes"));
                return Err(format!(
                    "{device} lost block {number} of {count} acknowledged ones, and has {holds} there"
                ));
            }
        }
        Ok(())
    }
}

/// What the log says behind the last of so many blocks.
fn mark(written: u64) -> String {
    format!("written-{written}")
}

/// How many blocks these marks say.
pub fn acknowledged<'a>(marks: impl Iterator<Item = &'a str>) -> u64 {
    let number = |mark: &str| mark.trim_end_matches('\0').trim_end().strip_prefix("written-")?.parse().ok();
    marks.filter_map(number).max().unwrap_or(0)
}

fn open(device: &str, to_write: bool) -> File {
    // Each write is on the disk before it is acknowledged.
    let flags = if to_write { libc::O_DSYNC } else { 0 };
    OpenOptions::new().read(true).write(to_write).custom_flags(flags).open(device).expect("the volume")
}

fn place(number: u64) -> u64 {
    START + number % CHUNKS * CHUNK
}

fn block(salt: u64, number: u64) -> Vec<u8> {
    let words = [number, salt].into_iter().cycle().take(BLOCK / 8);
    words.flat_map(u64::to_le_bytes).collect()
}
