//! A teardown of what stands on LVM, written down before it begins: once the group is gone, nothing else says which disks
//! it had.

use super::{Looked, Unseen, looked};
use crate::names::LvmName;
use crate::sys::{blkid, block, file};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub const FORMAT: u64 = 1;
pub const FOLDER: &str = "/var/lib/dmtool/teardown";
/// LVM's label and the text of its metadata lie in there (pvcreate(8): the first extent begins at 1 MiB).
pub const EDGE: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub dmtool: u64,
    pub pool: LvmName,
    /// Its volumes, and their LVM uuids.
    pub volumes: Vec<(LvmName, String)>,
    /// Nothing else is in the group, so that it goes too.
    pub group_goes: bool,
    /// The disks are to be blank.
    pub wipe: bool,
    pub disks: Vec<Disk>,
}

/// A physical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub path: String,
    pub uuid: String,
}

/// What the first and the last MiB of a disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edges {
    Blank,
    /// LVM's label or metadata with its uuid is still there.
    Ours,
    Other,
}

impl Journal {
    pub fn path(&self) -> PathBuf {
        path_of(&self.pool)
    }

    /// The text of its file.
    ///
    /// # Errors
    /// None that it can have.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Where a teardown of this pool stands.
pub fn path_of(pool: &LvmName) -> PathBuf {
    Path::new(FOLDER).join(format!("{}.json", pool.dm_name()))
}

/// The device name of the pool whose teardown stands in a file of this name; none where it is another's file.
pub fn name_of(file: &str) -> Option<&str> {
    // One that a killed run left half-written ends with the number of that run.
    file.strip_suffix(".json")
}

/// The teardown of a pool, by one of its names, that was begun and did not come to its end.
///
/// # Errors
/// What is written of it cannot be read.
pub fn read_named(given: &str) -> Looked<Option<Journal>> {
    for name in looked(block::entries(Path::new(FOLDER)))? {
        let path = Path::new(FOLDER).join(&name);
        let Some(stem) = name_of(&name) else { continue };
        let parsed = LvmName::parse(given).map(|name| name.dm_name());
        if given.strip_prefix("/dev/mapper/").unwrap_or(given) != stem && parsed.as_deref() != Ok(stem) {
            continue;
        }
        let Some(text) = looked(file::read(&path))? else { continue };
        let wrong = |why: String| Unseen(format!("{} tells of no teardown: {why}", path.display()));
        return parse(&text, stem).map(Some).map_err(wrong);
    }
    Ok(None)
}

/// The teardown of the pool with this device name, from the text of its file.
///
/// # Errors
/// It is no such text.
pub fn parse(text: &str, dm_name: &str) -> Result<Journal, String> {
    let journal: Journal = serde_json::from_str(text).map_err(|why| why.to_string())?;
    if journal.dmtool != FORMAT || journal.pool.dm_name() != dm_name {
        return Err(format!("it is of {} in the format {}", journal.pool, journal.dmtool));
    }
    Ok(journal)
}

/// Looks at a disk that was a physical volume with that uuid.
///
/// # Errors
/// It cannot be read.
pub fn edges(disk: &Disk) -> Looked<Edges> {
    let (head, tail) = looked(block::edges(Path::new(&disk.path), EDGE))?;
    let plain = disk.uuid.replace('-', "");
    let has = |text: &str| !text.is_empty() && head.windows(text.len()).any(|found| found == text.as_bytes());
    // What LVM left in the first MiB outlives its label, and a new owner's own signature does not write over all of it.
    if !looked(block::has_label(Path::new(&disk.path)))? && !looked(blkid::signatures(&disk.path))?.is_empty() {
        return Ok(Edges::Other);
    }
    Ok(if head.iter().chain(&tail).all(|byte| *byte == 0) {
        Edges::Blank
    } else if has(&disk.uuid) || has(&plain) {
        Edges::Ours
    } else {
        Edges::Other
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_name_begins_with_a_dot_is_found_again() {
        let pool = LvmName::parse(".vg/pool").expect("a name");
        assert_eq!(path_of(&pool).file_name().and_then(|file| name_of(file.to_str()?)), Some(".vg-pool"));
        assert_eq!(name_of(".vg-pool.json.dmtool-123"), None, "half-written");
    }
}
