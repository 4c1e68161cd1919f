//! A repair on its way: what the machine's own state does not tell stands in /var/lib/dmtool/repair/NAME.json, with the
//! copies of the old metadata and of the new beside it or where the operator wants them.

use super::metadata::{Superblock, volumes::Contents};
use super::register::Place;
use super::{Looked, Unseen, looked};
use crate::names::{LvName, dm_escape, quoted};
use crate::sys::file;
use crate::units::{Bytes, Extents};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub const FOLDER: &str = "/var/lib/dmtool/repair";
/// The version of the format.
pub const FORMAT: u64 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    pub dmtool: u64,
    /// `VG/LV`, or the name of a bare pool.
    pub pool: String,
    pub stage: Stage,
    pub source: Source,
    pub home: Home,
    /// Of the metadata's device, and so of both copies.
    #[serde(rename = "size_bytes")]
    pub size: Bytes,
    /// The copy of the metadata as it was found.
    pub old: String,
    /// What is to replace it.
    pub new: String,
    /// What thin_check said of the old.
    pub found: String,
    /// Its superblock, where that could be read.
    pub superblock: Option<Superblock>,
    /// What the old map holds, where that could be read.
    pub before: Option<Contents>,
    /// What the new one holds, once it is made, and its superblock.
    pub after: Option<Contents>,
    pub new_superblock: Option<Superblock>,
    /// LVM makes the new metadata itself, in the group's spare, and swaps the two.
    #[serde(default)]
    pub by_spare: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The old metadata is being copied.
    Begun,
    /// Its copy is whole.
    BackedUp,
    /// Both are there, and thin_check finds the new one clean.
    Built,
    /// The new one is being put in the old one's place.
    Swapping,
    /// It is there.
    Swapped,
    /// The old one is being put back.
    Undoing,
}

/// What the new metadata is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Source {
    /// What thin_repair finds in the old; the figures that stand in the superblock are for where that is damaged.
    Metadata { transaction_id: u64, chunk_sectors: u64, data_blocks: u64 },
    /// A dump.
    Dump {
        path: String,
        data_blocks: u64,
        /// CRC-32C of the file; absent where an older dmtool wrote this.
        #[serde(default)]
        sum: Option<u32>,
    },
}

/// Where the metadata is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Home {
    /// A hidden volume of LVM, which is swapped with another one.
    Volume {
        lv: String,
        extents: Extents,
        /// The volume with the new metadata, and after the swap with the old.
        other: LvName,
    },
    /// A file or a device that is written over.
    Place { place: Place },
}

impl Repair {
    pub fn path(&self) -> PathBuf {
        path_of(&self.pool)
    }

    /// Where its metadata is, for people.
    pub fn device(&self) -> String {
        match &self.home {
            Home::Volume { lv, .. } => {
                let vg = self.pool.split('/').next().unwrap_or_default();
                format!("/dev/mapper/{}", dm_escape(vg, lv))
            }
            Home::Place { place } => quoted(place.path()),
        }
    }

    /// The text of its file.
    ///
    /// # Errors
    /// None that it can have.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// The name of a pool as a file's: the slash of `VG/LV` is none of a file's. As in the name of its device, no two pools have
/// the same.
pub fn word_of(pool: &str) -> String {
    let word = pool.split_once('/').map_or_else(|| pool.to_owned(), |(vg, lv)| dm_escape(vg, lv));
    // LVM has no such names.
    word.replace('/', "_")
}

/// The path of a copy of a pool's metadata: `old` or `new`, of which a folder may have several.
pub fn copy_of(folder: &str, word: &str, number: u32, which: &str) -> String {
    let number = if number == 0 { String::new() } else { format!(".{number}") };
    format!("{folder}/{word}{number}.{which}")
}

/// Where a repair of this pool stands.
pub fn path_of(pool: &str) -> PathBuf {
    // A bare pool may be called vg-pool, which vg/pool would be too.
    let kind = if pool.contains('/') { "lvm" } else { "bare" };
    Path::new(FOLDER).join(format!("{kind}-{}.json", word_of(pool)))
}

/// The repair of a pool that was begun and not accepted yet.
///
/// # Errors
/// What is written of it cannot be read.
pub fn read(pool: &str) -> Looked<Option<Repair>> {
    let path = path_of(pool);
    let Some(text) = looked(file::read(&path))? else { return Ok(None) };
    let wrong = |why: String| Unseen(format!("{} tells of no repair: {why}", path.display()));
    parse(&text, pool).map(Some).map_err(wrong)
}

/// The repair of a pool from the text of its file.
///
/// # Errors
/// It is no such text.
pub fn parse(text: &str, pool: &str) -> Result<Repair, String> {
    let repair: Repair = serde_json::from_str(text).map_err(|why| why.to_string())?;
    if repair.dmtool != FORMAT || repair.pool != pool {
        return Err(format!("it is of {} in the format {}", repair.pool, repair.dmtool));
    }
    Ok(repair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_of_one_pool_alone() {
        let paths = ["a_b/c", "a/b_c", "a-b/c", "a/b-c", "a-b", "a_b"].map(path_of);
        for (at, path) in paths.iter().enumerate() {
            assert!(!paths[..at].contains(path), "{}", path.display());
        }
        assert_eq!(paths[0], Path::new("/var/lib/dmtool/repair/lvm-a_b-c.json"));
    }
}
