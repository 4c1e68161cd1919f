//! What sysfs, procfs and the device nodes say of block devices. Reading only.

use anyhow::{Context, Result, bail};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Block { path: String, major: u32, minor: u32 },
    Other(&'static str),
    Missing,
}

/// Looks at a path the operator gave, through symlinks.
///
/// # Errors
/// Where neither "there" nor "not there" can be said: no permission, a loop of symlinks.
pub fn node(path: &str) -> Result<Node> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Node::Missing),
        Err(why) => return Err(why).with_context(|| format!("looking at {path}")),
    };
    let metadata = fs::metadata(&real).with_context(|| format!("looking at {path}"))?;
    let kind = metadata.file_type();
    if kind.is_block_device() {
        let (major, minor) = split_device_number(metadata.rdev());
        return Ok(Node::Block { path: real.to_string_lossy().into_owned(), major, minor });
    }
    Ok(Node::Other(if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_file() {
        "a file"
    } else {
        "no block device"
    }))
}

/// A device number as major and minor.
pub fn split_device_number(number: u64) -> (u32, u32) {
    (rustix::fs::major(number), rustix::fs::minor(number))
}

/// The folder of a block device in sysfs.
pub fn sysfs(major: u32, minor: u32) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

/// The kernel's name of a block device (`xvdf`, `dm-3`), `None` where sysfs does not know it.
pub fn kernel_name(major: u32, minor: u32) -> Option<String> {
    let target = fs::read_link(sysfs(major, minor)).ok()?;
    // The kernel writes a slash in a name as an exclamation mark here (cciss!c0d0).
    target.file_name().map(|name| name.to_string_lossy().replace('!', "/"))
}

/// A number in a file of sysfs.
///
/// # Errors
/// The file is not there or holds something else.
pub fn number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.trim().parse().with_context(|| format!("reading {}", path.display()))
}

/// The entries of a folder of sysfs, sorted; none where there is no such folder.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn entries(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    match fs::read_dir(path) {
        Ok(folder) => {
            for entry in folder {
                let entry = entry.with_context(|| format!("reading {}", path.display()))?;
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
        Err(why) => return Err(why).with_context(|| format!("reading {}", path.display())),
    }
    names.sort_unstable();
    Ok(names)
}

/// The `MAJ:MIN` text of a device's `dev` file.
///
/// # Errors
/// No such device in sysfs.
pub fn dev_of(path: &Path) -> Result<(u32, u32)> {
    let text = fs::read_to_string(path.join("dev")).with_context(|| format!("reading {}/dev", path.display()))?;
    parse_dev(text.trim()).with_context(|| format!("reading {}/dev", path.display()))
}

/// `MAJ:MIN` as two numbers.
///
/// # Errors
/// It has another form.
pub fn parse_dev(text: &str) -> Result<(u32, u32)> {
    let Some((major, minor)) = text.split_once(':') else { bail!("'{text}' is not a device number") };
    Ok((major.parse()?, minor.parse()?))
}

/// Has a loop device look at the length of its file again (`LOOP_SET_CAPACITY`, loop(4)).
///
/// # Errors
/// The kernel's.
#[expect(unsafe_code, reason = "an ioctl")]
pub fn set_capacity(path: &str) -> Result<()> {
    const LOOP_SET_CAPACITY: libc::c_ulong = 0x4C07;
    let context = || format!("setting the capacity of {path}");
    let device = OpenOptions::new().read(true).write(true).open(path).with_context(context)?;
    // SAFETY: the descriptor is open during the call, which takes no argument.
    let done = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&device), LOOP_SET_CAPACITY, 0) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).with_context(context) }
}

/// The size of a block device in bytes, as it is now (BLKGETSIZE64).
///
/// # Errors
/// It cannot be opened.
pub fn size(path: &str) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    let context = || format!("reading the size of {path}");
    let mut device = OpenOptions::new().read(true).open(path).with_context(context)?;
    device.seek(SeekFrom::End(0)).with_context(context)
}

/// The first and the last bytes of a device, so many of each; of a smaller one all, and nothing.
///
/// # Errors
/// It cannot be read.
pub fn edges(path: &Path, length: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let context = || format!("reading {}", path.display());
    let file = OpenOptions::new().read(true).open(path).with_context(context)?;
    let (size, length) = (super::copy::size(path)?, length as u64);
    let part = |from: u64, count: u64| -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).with_context(context)?];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, from).with_context(context)?;
        Ok(bytes)
    };
    let tail = if size > length { length.min(size - length) } else { 0 };
    Ok((part(0, length.min(size))?, part(size - tail, tail)?))
}

/// Writes zeros over the first and the last bytes of a device that nobody else has, the first ones last.
///
/// # Errors
/// Something holds it, or it cannot be written.
pub fn blank_edges(path: &Path, length: usize) -> Result<()> {
    let context = || format!("blanking {}", path.display());
    let flag = i32::try_from(rustix::fs::OFlags::EXCL.bits()).context("the flag O_EXCL")?;
    let file = OpenOptions::new().write(true).custom_flags(flag).open(path).with_context(context)?;
    let (size, length) = (super::copy::size(path)?, length as u64);
    let zero = |from: u64, count: u64| -> Result<()> {
        let bytes = vec![0; usize::try_from(count).with_context(context)?];
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, from).with_context(context)?;
        file.sync_all().with_context(context)
    };
    let tail = if size > length { length.min(size - length) } else { 0 };
    zero(size - tail, tail)?;
    zero(0, length.min(size))
}

/// Whether LVM's label stands on a device, in one of its first four sectors (LABEL_SCAN_SECTORS of LVM's label.h).
///
/// # Errors
/// It cannot be read.
pub fn has_label(path: &Path) -> Result<bool> {
    let (head, _) = edges(path, 4 * 512)?;
    Ok(head.chunks(512).any(|sector| sector.starts_with(b"LABELONE")))
}

/// A device, for ourselves alone for as long as this is kept.
///
/// # Errors
/// Something holds it.
pub fn exclusive(name: &str) -> Result<fs::File> {
    let flag = i32::try_from(rustix::fs::OFlags::EXCL.bits()).context("the flag O_EXCL")?;
    let path = format!("/dev/{name}");
    let opened = OpenOptions::new().read(true).custom_flags(flag).open(&path);
    opened.with_context(|| format!("having {path} for ourselves alone"))
}

/// Whether the kernel lets us have the device for ourselves: a mount in any namespace, swap, a device-mapper or
/// md device above it all hold it against O_EXCL (open(2)).
///
/// # Errors
/// Something else than "busy" is in the way.
pub fn is_free(path: &str) -> Result<bool> {
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).context("the flag O_EXCL")?;
    match OpenOptions::new().read(true).custom_flags(exclusive).open(path) {
        Ok(_) => Ok(true),
        Err(why) if why.kind() == std::io::ErrorKind::ResourceBusy => Ok(false),
        Err(why) => Err(why).with_context(|| format!("opening {path} for ourselves alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_capacity() {
        let why = set_capacity("/dev/null").expect_err("no loop device");
        assert_eq!(why.to_string(), "setting the capacity of /dev/null");
    }

    #[test]
    fn edges_of_what_is_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("device");
        for (text, (head, tail)) in
            [("", ("", "")), ("abc", ("abc", "")), ("abcdef", ("abcd", "ef")), ("abcdefghi", ("abcd", "fghi"))]
        {
            fs::write(&path, text).expect("a file");
            let found = edges(&path, 4).expect("edges");
            assert_eq!(found, (head.into(), tail.into()), "{text}");
        }
        blank_edges(&path, 4).expect("blank");
        assert_eq!(fs::read(&path).expect("a file"), b"\0\0\0\0e\0\0\0\0");
    }
}
