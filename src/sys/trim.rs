//! A mounted file system, told to hand on what is free in it.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `struct fstrim_range` of linux/fs.h.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    /// Shorter runs are left out; a file system takes its device's unit where that is more.
    minimum: u64,
}

const _: () = assert!(size_of::<Range>() == 24);

/// The file system that is mounted at a folder.
pub struct FileSystem {
    place: String,
    folder: File,
}

impl FileSystem {
    /// # Errors
    /// Another one is there than the one with that number.
    pub fn open(place: &str, number: (u32, u32)) -> Result<FileSystem> {
        let context = || format!("opening {place}");
        let folder = File::open(place).with_context(context)?;
        let there = super::block::split_device_number(folder.metadata().with_context(context)?.dev());
        // Each subvolume of btrfs has a number of its own.
        if number.0 != 0 && there != number {
            bail!("another file system is mounted on {place} by now");
        }
        Ok(FileSystem { place: place.to_owned(), folder })
    }

    /// Has it write out what waits. ext4 frees the blocks of a deleted file only when its journal is committed.
    ///
    /// # Errors
    /// It cannot.
    pub fn write_out(&self) -> Result<()> {
        rustix::fs::syncfs(&self.folder).with_context(|| format!("writing out {}", self.place))
    }

    /// Has it discard all that is free in it (FITRIM); how many bytes it says that these were.
    ///
    /// # Errors
    /// It knows no such thing, or its device takes no discards.
    #[expect(unsafe_code, reason = "an ioctl")]
    pub fn trim(&self) -> Result<u64> {
        let mut range = Range { start: 0, length: u64::MAX, minimum: 0 };
        let fitrim = rustix::ioctl::opcode::read_write::<Range>(b'X', 121);
        // SAFETY: the descriptor is open during the call, and the kernel reads and writes no more than the struct.
        let done = unsafe { libc::ioctl(self.folder.as_raw_fd(), fitrim.into(), &raw mut range) };
        let context = || format!("trimming {}", self.place);
        if done == 0 { Ok(range.length) } else { Err(std::io::Error::last_os_error()).with_context(context) }
    }
}

/// What a file system has in use, in bytes, by its own count.
///
/// # Errors
/// It cannot be asked.
pub fn in_use(place: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(place).with_context(|| format!("looking at {}", place.display()))?;
    Ok(found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_has_nothing_to_trim() {
        let system = FileSystem::open("/proc", (0, 0)).expect("procfs");
        let why = system.trim().expect_err("it has no blocks");
        assert_eq!(why.to_string(), "trimming /proc");
        assert!(in_use(Path::new("/proc")).is_ok());
    }
}
