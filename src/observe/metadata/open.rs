//! The metadata of a pool that is down, open for reading alone: in each kind of place as a device, since the thin tools
//! read past the page cache and so take no file on tmpfs or overlayfs.

use crate::observe::lvm::Lvm;
use crate::observe::register::Place;
use crate::observe::{Looked, Unseen, looked};
use crate::sys::dm::{Control, Stretch};
use crate::sys::loopdev::{self, Held};
use crate::units::SECTOR;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Metadata to be read, for as long as this is kept.
pub struct Open {
    path: PathBuf,
    _kept: Kept,
}

enum Kept {
    /// A device over its stretches.
    Stretches {
        _device: File,
    },
    Loop {
        _device: Held,
    },
    Nothing,
}

impl Open {
    /// Where this process and those that it starts can read it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// That of a pool of LVM.
///
/// # Errors
/// Its volumes are not all there, or lie otherwise than in plain stretches of extents.
pub fn of_lvm(lvm: &Lvm, vg: &str, metadata_lv: &str) -> Looked<Open> {
    let control = looked(Control::open())?;
    let stretches = stretches(lvm, vg, metadata_lv)?;
    let device = looked(control.read_only(&stretches))?;
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), device.as_raw_fd()));
    Ok(Open { path, _kept: Kept::Stretches { _device: device } })
}

/// That of a bare pool.
///
/// # Errors
/// It is a file that cannot be shown as a device.
pub fn of_place(place: &Place) -> Looked<Open> {
    let Place::File { path, .. } = place else {
        return Ok(Open { path: PathBuf::from(place.path()), _kept: Kept::Nothing });
    };
    if let Some(found) = looked(loopdev::of(Path::new(path)))? {
        return Ok(Open { path: PathBuf::from(format!("/dev/{}", found.name)), _kept: Kept::Nothing });
    }
    let held = looked(loopdev::hold(Path::new(path), false))?;
    Ok(Open { path: PathBuf::from(&held.path), _kept: Kept::Loop { _device: held } })
}

/// Where a volume lies, from LVM's rows.
///
/// # Errors
/// Not all of it is there, or it lies otherwise than in plain stretches of extents.
pub fn stretches(lvm: &Lvm, vg: &str, lv: &str) -> Looked<Vec<Stretch>> {
    let wrong = || Unseen(format!("{vg}/{lv} does not lie in plain stretches of extents"));
    let row = lvm.lv(vg, lv).ok_or_else(wrong)?;
    if row.segtype != "linear" {
        return Err(wrong());
    }
    let mut found = Vec::new();
    for range in row.seg_pe_ranges.split_whitespace() {
        let (name, extents) = range.rsplit_once(':').ok_or_else(wrong)?;
        let (first, last) = extents.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (first, last) = (number(first)?, number(last)?);
        let pv = lvm.pvs.iter().find(|pv| pv.pv_name == name && pv.pv_missing.is_empty());
        let pv = pv.ok_or_else(|| Unseen(format!("{name} is not there")))?;
        let device = |number: u64| u32::try_from(number).map_err(|_| wrong());
        let start = first.checked_mul(row.vg_extent_size).and_then(|start| start.checked_add(pv.pe_start));
        let extents = last.checked_sub(first).and_then(|count| count.checked_add(1));
        let length = extents.and_then(|extents| extents.checked_mul(row.vg_extent_size));
        let (start, length) = start.zip(length).ok_or_else(wrong)?;
        found.push(Stretch {
            device: (device(pv.pv_major)?, device(pv.pv_minor)?),
            start: start / SECTOR,
            length: length / SECTOR,
        });
    }
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}
