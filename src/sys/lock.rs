//! One lock for everything of dmtool that changes things. It goes with its process, so a killed run leaves none.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Not in /run/lock, where everybody may put a file of that name.
pub const PATH: &str = "/run/dmtool.lock";

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Somebody else has it: who, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Held(pub String);

/// Takes the lock, waiting for its present holder for at most `limit`.
///
/// # Errors
/// The lock's file cannot be made. The inner result says that it is held.
pub fn take(limit: Duration, what: &str) -> Result<Result<Lock, Held>> {
    take_at(Path::new(PATH), limit, what)
}

/// As [`take`], a lock of its own.
///
/// # Errors
/// As [`take`]'s.
pub fn take_at(path: &Path, limit: Duration, what: &str) -> Result<Result<Lock, Held>> {
    let context = || format!("taking the lock {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits())?)
        .open(path)
        .with_context(context)?;
    let deadline = Instant::now() + limit;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                return Ok(Err(Held(if holder.is_empty() { "another dmtool".to_owned() } else { holder.to_owned() })));
            }
            Err(why) => return Err(why).with_context(context),
        }
    }
    // For the message of whoever waits in vain; the lock itself is the kernel's.
    file.set_len(0).and_then(|()| file.rewind()).with_context(context)?;
    writeln!(file, "dmtool {what} (process {})", std::process::id()).with_context(context)?;
    Ok(Ok(Lock { _file: file }))
}

/// Who holds a lock file by flock, as `lvextend (process 123)`, read from /proc/locks.
pub fn holder_of(path: &str) -> Option<String> {
    let inode = fs::metadata(path).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = parse_locks(&locks, inode)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (process {pid})", name.trim()))
}

/// The process that holds a flock on the inode; lines of waiters begin with an arrow.
pub fn parse_locks(text: &str, inode: u64) -> Option<u32> {
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
        let number = file.rsplit(':').next()?;
        (number.parse() == Ok(inode)).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_among_waiters_and_other_locks() {
        let text = "1: POSIX  ADVISORY  WRITE 811 00:1a:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 903 00:1a:77 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 904 00:1a:77 0 EOF\n3: FLOCK  ADVISORY  READ 1 00:1a:78 0 EOF\n";
        assert_eq!(parse_locks(text, 77), Some(903));
        assert_eq!(parse_locks(text, 78), Some(1));
        assert_eq!(parse_locks(text, 79), None);
    }
}
