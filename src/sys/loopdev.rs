//! Loop devices (loop(4)): which file each has, a new one, and one less.

#![expect(unsafe_code, reason = "ioctls")]

use super::{block, exec};
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
/// Flags of `struct loop_info64`.
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// How often to ask for another free device, where somebody else took the one that was named.
const TRIES: usize = 16;

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

impl Info {
    const BLANK: Info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        numbers: [0; 4],
        names: [0; 160],
        init: [0; 2],
    };
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

// The kernel copies as many bytes as its own have.
const _: () = assert!(size_of::<Info>() == 232 && std::mem::offset_of!(Info, numbers) == 40);
const _: () = assert!(size_of::<Config>() == 304 && std::mem::offset_of!(Config, info) == 8);

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
        if name.starts_with("loop") && has_file(&folder)? {
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

/// Whether a loop device shows a file, by its folder in sysfs.
fn has_file(folder: &Path) -> Result<bool> {
    let file = folder.join("backing_file");
    file.try_exists().with_context(|| format!("looking at {}", file.display()))
}

/// What a loop device says of its file; none where it has none, or is gone.
fn info(name: &str) -> Result<Option<Info>> {
    let context = || format!("asking /dev/{name} for its file");
    match File::open(format!("/dev/{name}")) {
        Ok(device) => info_of(&device).with_context(context),
        // Gone by now, and not without a node here alone, as in a container.
        Err(_) if !has_file(&Path::new("/sys/class/block").join(name).join("loop"))? => Ok(None),
        Err(why) => Err(why).with_context(context),
    }
}

fn info_of(device: &File) -> std::io::Result<Option<Info>> {
    let mut info = Info::BLANK;
    // SAFETY: the descriptor is open during the call, which fills in a structure of the kernel's layout.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    let error = std::io::Error::last_os_error();
    match done {
        0 => Ok(Some(info)),
        _ if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        _ => Err(error),
    }
}

/// The loop device that shows all of this file, if there is one.
///
/// # Errors
/// The file or the loop devices cannot be looked at.
pub fn of(path: &Path) -> Result<Option<Attached>> {
    Ok(all_of(path)?.into_iter().find(|one| one.whole))
}

/// Every loop device that shows a part of this file.
///
/// # Errors
/// As [`of`]'s.
pub fn all_of(path: &Path) -> Result<Vec<Attached>> {
    let file = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    let mut found = attached()?;
    found.retain(|one| (one.device, one.inode) == (file.dev(), file.ino()));
    Ok(found)
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
    let Some(Attached { name, device: of, inode, .. }) = of(path)? else { return Ok(()) };
    let context = || format!("detaching /dev/{name}");
    let device = OpenOptions::new().read(true).open(format!("/dev/{name}")).with_context(context)?;
    if info_of(&device).with_context(context)?.is_none_or(|info| (info.device, info.inode) != (of, inode)) {
        return Ok(());
    }
    // SAFETY: the descriptor is open during the call, which takes no argument.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) };
    let error = std::io::Error::last_os_error();
    drop(device);
    if done != 0 && error.raw_os_error() != Some(libc::ENXIO) {
        return Err(error).with_context(context);
    }
    let folder = Path::new("/sys/class/block").join(&name).join("loop");
    let deadline = Instant::now() + Duration::from_secs(5);
    while has_file(&folder)? {
        if Instant::now() >= deadline {
            bail!("/dev/{name} is open in some process, and is detached when that closes it");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A loop device for as long as this is kept: it goes with its last user, however this process ends.
#[derive(Debug)]
pub struct Held {
    /// `/dev/loop7`
    pub path: String,
    _device: File,
}

/// Shows a file as a device for a while: tools that read and write past the page cache do not take a file on tmpfs or
/// overlayfs.
///
/// # Errors
/// The kernel's; before Linux 5.8 it has no one call for this.
pub fn hold(path: &Path, writable: bool) -> Result<Held> {
    let context = || format!("showing {} as a device", path.display());
    let file = OpenOptions::new().read(true).write(writable).open(path).with_context(context)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").with_context(context)?;
    let flags = LO_FLAGS_AUTOCLEAR | if writable { 0 } else { LO_FLAGS_READ_ONLY };
    for _ in 0..TRIES {
        // SAFETY: the descriptor is open during the call, which takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE, 0) };
        if number < 0 {
            return Err(std::io::Error::last_os_error()).with_context(context);
        }
        let name = format!("/dev/loop{number}");
        let device = OpenOptions::new().read(true).write(writable).open(&name).with_context(context)?;
        let config = Config {
            file: u32::try_from(file.as_raw_fd()).with_context(context)?,
            block_size: 0,
            info: Info { numbers: [0, 0, 0, flags], ..Info::BLANK },
            reserved: [0; 8],
        };
        // SAFETY: both descriptors are open during the call, which reads a structure of the kernel's layout.
        let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        let error = std::io::Error::last_os_error();
        match done {
            0 => return Ok(Held { path: name, _device: device }),
            _ if error.raw_os_error() == Some(libc::EBUSY) => {}
            _ => return Err(error).with_context(context),
        }
    }
    bail!("showing {} as a device: others take every free loop device", path.display())
}
