//! What stands where a record of the register says that a pool's devices are.

mod fit;
mod up;

use super::metadata::{Head, head};
use super::register::{Place, Record};
use super::{Looked, device, looked, udev_links};
use crate::sys::block::{self, Node};
use crate::sys::{blkid, file, loopdev};
use crate::units::{Bytes, Sectors};
use serde::Serialize;
use std::path::Path;

pub use up::{Elsewhere, elsewhere};

/// Both places of a record, as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    pub metadata: Looked<There>,
    pub data: Looked<There>,
    pub head: Looked<Head>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum There {
    Missing,
    /// Something else, in words: "a directory".
    Other(String),
    File(FileThere),
    Device(DeviceThere),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileThere {
    pub inode: u64,
    /// The UUID of its file system; none where that has no device of its own.
    pub filesystem: Option<String>,
    pub length: Bytes,
    pub allocated: Bytes,
    pub read_only: bool,
    /// The loop device that shows all of it.
    pub loop_device: Option<LoopThere>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoopThere {
    pub name: String,
    pub number: (u32, u32),
    /// It reads and writes past the page cache.
    pub direct: bool,
    /// The kernel would let us have it for ourselves.
    pub free: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceThere {
    pub number: (u32, u32),
    pub size: Bytes,
    pub dm_uuid: Option<String>,
    /// The kernel would let us have it for ourselves.
    pub free: bool,
}

/// Looks at both places of a record.
pub fn look(record: &Record) -> Standing {
    let there = |place: &Place| match place {
        Place::File { path, .. } => file_at(path),
        Place::Device { path, .. } => device_at(path),
    };
    Standing {
        metadata: there(&record.metadata),
        data: there(&record.data),
        head: head(Path::new(record.metadata.path())),
    }
}

/// A file that is there or may be.
///
/// # Errors
/// It cannot be looked at.
pub fn file_at(path: &str) -> Looked<There> {
    let at = Path::new(path);
    let Some(identity) = looked(file::identity(at))? else { return Ok(There::Missing) };
    if !identity.plain {
        return Ok(There::Other("no plain file".to_owned()));
    }
    let space = looked(file::space(at))?;
    let loop_device = looked(loopdev::of(at))?.map(loop_there).transpose()?;
    Ok(There::File(FileThere {
        inode: identity.inode,
        filesystem: filesystem_of(identity.device)?,
        length: Bytes(space.length),
        allocated: Bytes(space.allocated),
        read_only: space.read_only,
        loop_device,
    }))
}

fn loop_there(found: loopdev::Attached) -> Looked<LoopThere> {
    let number = looked(block::dev_of(&Path::new("/sys/class/block").join(&found.name)))?;
    let free = device::is_free(&format!("/dev/{}", found.name), number)?;
    Ok(LoopThere { number, direct: found.direct, free, name: found.name })
}

/// Room for files in a folder that is there or is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// What its file system has left for root.
    pub free: Bytes,
    pub read_only: bool,
    /// Gone with the next boot.
    pub in_memory: bool,
}

/// A folder by its one name, without links, doubled slashes and one at its end: as the kernel calls what lies in it. What
/// of it is not there yet stays as it is.
pub fn resolved(folder: &str) -> String {
    let path = Path::new(folder);
    let there = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, real)) = there else { return folder.to_owned() };
    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
    let whole: std::path::PathBuf = real.join(rest).components().collect();
    whole.to_string_lossy().into_owned()
}

/// Looks at the folder, or at the nearest one above it that is there.
///
/// # Errors
/// It cannot be looked at, or is no folder.
pub fn room(folder: &str) -> Looked<Room> {
    let there = Path::new(folder).ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(super::Unseen(format!("{} is no folder", there.display())));
    }
    let space = looked(file::space(there))?;
    Ok(Room { free: Bytes(space.free), read_only: space.read_only, in_memory: space.in_memory })
}

/// The UUID of the file system with this number. One without a device of its own (btrfs, overlay) is looked for by
/// its mounts.
fn filesystem_of(number: u64) -> Looked<Option<String>> {
    let (major, minor) = block::split_device_number(number);
    let device = if major == 0 {
        super::device::source_of(major, minor)
    } else {
        block::kernel_name(major, minor).map(|name| format!("/dev/{name}"))
    };
    let Some(device) = device else { return Ok(None) };
    Ok(looked(blkid::signatures(&device))?.into_iter().find_map(|found| found.uuid))
}

/// A device that is there or may be.
///
/// # Errors
/// It cannot be looked at.
pub fn device_at(path: &str) -> Looked<There> {
    let (major, minor) = match looked(block::node(path))? {
        Node::Missing => return Ok(There::Missing),
        Node::Other(words) => return Ok(There::Other(words.to_owned())),
        Node::Block { major, minor, .. } => (major, minor),
    };
    let folder = block::sysfs(major, minor);
    Ok(There::Device(DeviceThere {
        number: (major, minor),
        size: Sectors(looked(block::number(&folder.join("size")))?).bytes(),
        dm_uuid: dm_uuid(&folder)?,
        free: device::is_free(path, (major, minor))?,
    }))
}

fn dm_uuid(folder: &Path) -> Looked<Option<String>> {
    let text = looked(file::read(&folder.join("dm/uuid")))?.unwrap_or_default();
    Ok(Some(text.trim().to_owned()).filter(|uuid| !uuid.is_empty()))
}

/// How a device under a live pool is to be known again; none where nothing about it outlives a boot.
///
/// # Errors
/// It cannot be looked at.
pub fn place_of(number: &str) -> Looked<Option<Place>> {
    let (major, minor) = looked(block::parse_dev(number))?;
    let folder = block::sysfs(major, minor);
    let size = Sectors(looked(block::number(&folder.join("size")))?).bytes();
    if folder.join("loop").exists() {
        return file_place(&folder);
    }
    let dm_uuid = dm_uuid(&folder)?;
    let path = if dm_uuid.is_some() {
        looked(file::read(&folder.join("dm/name")))?.map(|name| format!("/dev/mapper/{}", name.trim()))
    } else {
        // What follows the disk. Not by-path: that is a slot, which another disk may be in.
        let links = udev_links(major, minor);
        // A name that somebody gave a device can be given to another one.
        let named = |link: &str| link.contains("/dm-name-") || link.contains("/md-name-");
        let under = |folder: &str| links.iter().find(|link| link.starts_with(folder) && !named(link)).cloned();
        ["/dev/disk/by-partuuid/", "/dev/disk/by-id/"].into_iter().find_map(under)
    };
    Ok(path.map(|path| Place::Device { path, size, dm_uuid }))
}

fn file_place(folder: &Path) -> Looked<Option<Place>> {
    let backing = looked(file::read(&folder.join("loop/backing_file")))?.unwrap_or_default();
    let path = backing.trim_end_matches('\n').to_owned();
    let shows_all = looked(loopdev::of(Path::new(&path)));
    match (file_at(&path)?, shows_all) {
        (There::File(found), Ok(Some(_))) => Ok(Some(Place::File {
            path,
            size: found.length,
            inode: Some(found.inode),
            filesystem: found.filesystem,
            grows_to: None,
        })),
        _ => Ok(None),
    }
}
