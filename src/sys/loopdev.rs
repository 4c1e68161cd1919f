//! Loop devices (loop(4)): which file each has, a new one, and one less.

#![allow(unsafe_code, reason = "ioctls")]

use super::{block, exec};
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    numbers: [u32; 4],
    names: [u8; 64 + 64 + 32],
    init: [u64; 2],
}

/// A loop device that has a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// loop0
    pub name: String,
    /// The number of the file's file system, and its inode there: a path may have changed since.
    pub device: u64,
    pub inode: u64,
    /// It shows the file from its beginning to its end.
    pub whole: bool,
    /// It reads and writes past the page cache.
    pub direct: bool,
}

/// Every loop device that has a file.
///
/// # Errors
/// sysfs or one of them cannot be read.
pub fn attached() -> Result<Vec<Attached>> {
    let mut found = Vec::new();
    for name in block::entries(Path::new("/sys/class/block"))? {
        let folder = Path::new("/sys/class/block").join(&name).join("loop");
        if name.starts_with("loop") && folder.join("backing_file").exists() {
            // One that went since has nothing to tell.
            let Some(info) = info(&name)? else { continue };
            found.push(Attached {
                device: info.device,
                inode: info.inode,
                whole: info.offset == 0 && info.size_limit == 0,
                direct: fs::read_to_string(folder.join("dio")).is_ok_and(|text| text.trim() == "1"),
                name,
            });
        }
    }
    Ok(found)
}

fn info(name: &str) -> Result<Option<Info>> {
    let context = || format!("asking /dev/{name} for its file");
    let device = File::open(format!("/dev/{name}")).with_context(context)?;
    let mut info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        numbers: [0; 4],
        names: [0; 160],
        init: [0; 2],
    };
    // SAFETY: the descriptor is open during the call, which fills in a structure of the kernel's layout.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    let error = std::io::Error::last_os_error();
    match done {
        0 => Ok(Some(info)),
        _ if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        _ => Err(error).with_context(context),
    }
}

/// The loop device that shows all of this file, if there is one.
///
/// # Errors
/// The file or the loop devices cannot be looked at.
pub fn of(path: &Path) -> Result<Option<Attached>> {
    let file = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    let is_its = |one: &Attached| (one.device, one.inode) == (file.dev(), file.ino()) && one.whole;
    Ok(attached()?.into_iter().find(is_its))
}

/// Puts a file on a loop device, past the page cache where its file system can; one that is on one already stays.
/// losetup(8) does it, since it knows what older kernels need.
///
/// # Errors
/// losetup's.
pub fn attach(path: &Path) -> Result<Attached> {
    if let Some(found) = of(path)? {
        return Ok(found);
    }
    let file = path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?;
    let words = ["--find", "--nooverlap", "--direct-io=on", file];
    if let Err(why) = exec::run("losetup", &words) {
        // Where it only minds the direct I/O, the device may be there by now.
        if of(path)?.is_none() {
            exec::run("losetup", &["--find", "--nooverlap", file]).map_err(|_| why)?;
        }
    }
    of(path)?.with_context(|| format!("{} is on no loop device after losetup", path.display()))
}

/// Takes a file off its loop device, and waits until it is off: who else has that open for a moment (udev, for one)
/// puts it off. One that has gone by itself is no error, and its number may be another file's by then.
///
/// # Errors
/// The kernel's, or that somebody keeps it open.
pub fn detach(path: &Path) -> Result<()> {
    let Some(Attached { name, .. }) = of(path)? else { return Ok(()) };
    let context = || format!("detaching /dev/{name}");
    let device = OpenOptions::new().read(true).open(format!("/dev/{name}")).with_context(context)?;
    // SAFETY: the descriptor is open during the call, which takes no argument.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) };
    let error = std::io::Error::last_os_error();
    drop(device);
    if done != 0 && error.raw_os_error() != Some(libc::ENXIO) {
        return Err(error).with_context(context);
    }
    let file = Path::new("/sys/class/block").join(&name).join("loop/backing_file");
    let deadline = Instant::now() + Duration::from_secs(5);
    while file.exists() {
        if Instant::now() >= deadline {
            bail!("/dev/{name} is open in some process, and is detached when that closes it");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
