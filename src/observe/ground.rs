//! What a bare pool stands on, as far as it can grow: a file behind a loop device, a volume of LVM, or a device that
//! has the size it has.

use super::lvm::{Lvm, lvm_name};
use super::pools::{Below, Live};
use super::{Looked, Unseen, looked};
use crate::names::LvmName;
use crate::sys::{block, file};
use crate::units::{Bytes, Sectors};
use std::path::Path;

/// Both devices under a bare pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    pub data: Looked<Base>,
    pub metadata: Looked<Base>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A file behind a loop device.
    File {
        device: String,
        path: String,
        length: Bytes,
        device_size: Bytes,
        /// Where in the file its device begins, and how large that may become where it has a limit (losetup(8)).
        offset: Bytes,
        limit: Option<Bytes>,
        /// What its file system has left for root.
        free: Bytes,
        /// What of the file is there: it may be sparse.
        allocated: Bytes,
        read_only: bool,
        deleted: bool,
    },
    /// A plain volume of LVM.
    Volume {
        name: LvmName,
        extent: Bytes,
        size: Bytes,
        /// In LVM's books: more than the kernel has of it, where LVM was cut off on the way.
        in_books: Bytes,
        total: Bytes,
        free: Bytes,
    },
    Device {
        name: String,
        size: Bytes,
    },
}

impl Base {
    /// All that it could have, and what of that is free.
    pub fn room(&self) -> (Bytes, Bytes) {
        match self {
            Base::File { device_size, free, allocated, .. } => {
                let whole = Bytes(allocated.0.saturating_add(free.0));
                (whole, Bytes(whole.0.saturating_sub(device_size.0)))
            }
            Base::Volume { total, free, .. } => (*total, *free),
            Base::Device { size, .. } => (*size, Bytes(0)),
        }
    }

    pub fn size(&self) -> Bytes {
        match self {
            Base::File { device_size, .. } => *device_size,
            Base::Volume { size, in_books, .. } => *size.max(in_books),
            Base::Device { size, .. } => *size,
        }
    }

    /// So much, as such a device has it: volumes have whole extents.
    pub fn whole(&self, size: Bytes) -> Bytes {
        match self {
            Base::Volume { extent, .. } => size.extents_for(*extent).bytes(*extent),
            Base::File { .. } | Base::Device { .. } => size,
        }
    }

    /// The size it has once it holds this much: a file that is longer stays so, and volumes grow by extents.
    pub fn with(&self, size: Bytes) -> Bytes {
        match self {
            Base::File { length, offset, .. } => Bytes(size.0.saturating_add(offset.0)).max(*length),
            Base::Volume { size: now, .. } => self.whole(size).max(*now),
            Base::Device { size: now, .. } => *now,
        }
    }

    /// What there is for a pool by now, also where a file was truncated and its device has not looked again.
    pub fn present(&self) -> Bytes {
        match self {
            Base::File { device_size, length, offset, .. } => {
                Bytes(device_size.0.min(length.0.saturating_sub(offset.0)))
            }
            Base::Volume { size, .. } | Base::Device { size, .. } => *size,
        }
    }

    /// What it would take of the room that [`Base::room`] tells, to have this size.
    pub fn takes(&self, size: Bytes) -> Bytes {
        Bytes(self.whole(size).0.saturating_sub(self.size().0))
    }

    /// Whether one grows into what is free for the other, too. Two files with the same space free are taken to lie on
    /// one file system.
    pub fn shares_room_with(&self, other: &Base) -> bool {
        match (self, other) {
            (Base::Volume { name: one, .. }, Base::Volume { name: other, .. }) => one.vg == other.vg,
            (Base::File { free: one, .. }, Base::File { free: other, .. }) => one == other,
            _ => false,
        }
    }

    pub fn is_volume(&self) -> bool {
        matches!(self, Base::Volume { .. })
    }

    pub fn name(&self) -> String {
        match self {
            Base::File { path, .. } => path.clone(),
            Base::Volume { name, .. } => name.to_string(),
            Base::Device { name, .. } => format!("/dev/{name}"),
        }
    }
}

/// Looks at both devices under a pool.
pub fn under(live: &Live, lvm: &Looked<Lvm>) -> Ground {
    let base_of = |below: &Looked<Below>| below.clone().and_then(|below| base(&below, lvm));
    Ground { data: base_of(&live.data), metadata: base_of(&live.metadata) }
}

fn base(below: &Below, lvm: &Looked<Lvm>) -> Looked<Base> {
    let folder = Path::new("/sys/class/block").join(below.device.replace('/', "!"));
    let size = Sectors(looked(block::number(&folder.join("size")))?).bytes();
    if let Some(path) = &below.file {
        if let Some(path) = path.strip_suffix(" (deleted)") {
            return Ok(Base::File {
                device: below.device.clone(),
                path: path.to_owned(),
                length: size,
                device_size: size,
                offset: Bytes(0),
                limit: None,
                free: Bytes(0),
                allocated: size,
                read_only: false,
                deleted: true,
            });
        }
        let space = looked(file::space(Path::new(path)))?;
        let of_loop = |name: &str| looked(block::number(&folder.join("loop").join(name))).map(Bytes);
        return Ok(Base::File {
            device: below.device.clone(),
            path: path.clone(),
            length: Bytes(space.length),
            device_size: size,
            offset: of_loop("offset")?,
            limit: Some(of_loop("sizelimit")?).filter(|limit| limit.0 > 0),
            free: Bytes(space.free),
            allocated: Bytes(space.allocated),
            read_only: space.read_only,
            deleted: false,
        });
    }
    let text = |name: &str| Ok(looked(file::read(&folder.join(name)))?.unwrap_or_default().trim().to_owned());
    if !text("dm/uuid")?.starts_with("LVM-") {
        return Ok(Base::Device { name: below.device.clone(), size });
    }
    let lvm = lvm.as_ref().map_err(Clone::clone)?;
    let unknown = || Unseen(format!("LVM does not know the volume {}", below.device));
    let name = lvm_name(&text("dm/name")?).ok_or_else(unknown)?;
    let name = LvmName::parse(&name).map_err(Unseen)?;
    let row = lvm.lv(name.vg.as_str(), name.lv.as_str()).ok_or_else(unknown)?;
    let extent = Bytes(row.vg_extent_size);
    let group = lvm.group(&name.vg).ok_or_else(unknown)?;
    let (total, free) = (group.extents.bytes(extent), group.free.bytes(extent));
    Ok(Base::Volume { extent, size, in_books: Bytes(row.lv_size), total, free, name })
}
