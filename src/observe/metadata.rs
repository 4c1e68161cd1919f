//! The metadata of a pool: its first block, and what thin_check says of all of it. That of a pool of LVM that is down is
//! read where it rests on its physical volumes, since LVM itself would have to activate it first.

pub mod details;
mod node;
mod open;
pub mod shares;
pub mod trees;
mod verdict;
pub mod volumes;

pub use node::{BLOCK, Read};
pub use open::{Open, of_lvm, of_place, stretches};
pub use verdict::{Patience, Verdict, check};

use super::lvm::Lvm;
use super::lvmconf::Value;
use super::pools::Pool;
use super::{Looked, Unseen, looked, profile};
use crate::sys::{blocks, exec};
use crate::units::{DataBlocks, MetaBlocks, Sectors};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long thin_check may take in a look that monitoring waits for.
const CHECK_LIMIT: Duration = Duration::from_secs(8);
/// `THIN_SUPERBLOCK_MAGIC` of the kernel's dm-thin-metadata.c.
const MAGIC: u64 = 27_022_010;

/// What the first block of the metadata says (struct thin_disk_superblock of dm-thin-metadata.c).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    pub transaction_id: u64,
    pub needs_check: bool,
    pub chunk: Sectors,
    /// What the pool had at its last commit, as all that follows.
    pub data_total: DataBlocks,
    pub data_used: DataBlocks,
    pub metadata_total: MetaBlocks,
    pub metadata_used: MetaBlocks,
}

/// What metadata begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Head {
    /// Zeroes: the kernel makes new metadata over it.
    Blank,
    /// No superblock, and no zeroes.
    Foreign,
    Of(Superblock),
}

/// Looks at the first block of metadata.
///
/// # Errors
/// It cannot be read.
pub fn head(path: &Path) -> Looked<Head> {
    Ok(head_of(&looked(blocks::head(path))?))
}

fn head_of(block: &[u8; 4096]) -> Head {
    match superblock(block) {
        Some(superblock) => Head::Of(superblock),
        None if block.iter().all(|byte| *byte == 0) => Head::Blank,
        None => Head::Foreign,
    }
}

/// What a first block says; one with a wrong sum is believed nothing.
pub fn believed(block: &[u8; 4096]) -> Head {
    match head_of(block) {
        Head::Of(_) if !trees::is_whole(block) => Head::Foreign,
        head => head,
    }
}

/// The metadata of a pool that is down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resting {
    /// Absent where the block is none.
    pub superblock: Option<Superblock>,
    pub verdict: Looked<Verdict>,
}

/// The tool that LVM runs before it activates a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Checker {
    Installed(PathBuf),
    Missing(String),
    /// LVM was told to activate pools unchecked.
    Off,
}

/// The checker by lvm.conf (`global/thin_check_executable`, empty for none).
///
/// # Errors
/// lvm.conf cannot be read.
pub fn checker() -> Looked<Checker> {
    let configured = match profile::global_setting("global/thin_check_executable")? {
        Some(Value::Text(path)) => Some(path),
        _ => None,
    };
    Ok(match configured.as_deref() {
        Some("") => Checker::Off,
        Some(path) if PathBuf::from(path).is_file() => Checker::Installed(PathBuf::from(path)),
        // What is built into LVM is thin_check, wherever the distribution puts it.
        Some(path) if !path.ends_with("/thin_check") => Checker::Missing(path.to_owned()),
        _ => exec::find("thin_check").map_or_else(|| Checker::Missing("thin_check".to_owned()), Checker::Installed),
    })
}

/// Looks at the metadata of a pool of LVM that is down, and has `judge` look at all of it.
///
/// # Errors
/// Its volumes are not all there, or lie otherwise than in plain stretches of extents.
pub fn resting(pool: &Pool, lvm: &Lvm, judge: impl FnOnce(&Path) -> Looked<Verdict>) -> Looked<Resting> {
    let side = pool.lvm.as_ref().ok_or_else(|| Unseen(format!("{} is not LVM's", pool.name)))?;
    let open = of_lvm(lvm, &side.row.vg_name, &side.row.metadata_lv)?;
    let superblock = match head(open.path())? {
        Head::Of(superblock) => Some(superblock),
        Head::Blank | Head::Foreign => None,
    };
    Ok(Resting { superblock, verdict: judge(open.path()) })
}

/// What LVM's own check would say before it activates a pool, for no longer than monitoring waits.
///
/// # Errors
/// The checker is not installed, or could not look.
pub fn as_lvm_does(checker: &Looked<Checker>, metadata: &Path) -> Looked<Verdict> {
    match checker {
        Ok(Checker::Installed(path)) => {
            options().and_then(|own| verdict::of(path, &own, metadata, Patience::Within(CHECK_LIMIT)))
        }
        Ok(Checker::Off) => Ok(Verdict::Clean),
        Ok(Checker::Missing(tool)) => Err(Unseen(format!("{tool} is not installed"))),
        Err(why) => Err(why.clone()),
    }
}

/// The operator's options for thin_check (`global/thin_check_options`), so that this look judges as LVM's activation does;
/// without those that change something, or keep it from saying what it finds.
fn options() -> Looked<Vec<String>> {
    let Some(Value::List(words)) = profile::global_setting("global/thin_check_options")? else { return Ok(Vec::new()) };
    let text = |word: Value| if let Value::Text(word) = word { Some(word) } else { None };
    let harmless =
        |word: &String| !["-q", "--quiet", "--auto-repair", "--clear-needs-check-flag"].contains(&word.as_str());
    Ok(words.into_iter().filter_map(text).filter(harmless).collect())
}

fn superblock(block: &[u8; 4096]) -> Option<Superblock> {
    let word = |at: usize| Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?));
    let flags = u32::from_le_bytes(block.get(4..8)?.try_into().ok()?);
    let chunk = u32::from_le_bytes(block.get(336..340)?.try_into().ok()?);
    // Its own number at 8, the magic at 32, the transaction at 48, the space maps of data and metadata (struct
    // disk_sm_root of dm-space-map-common.h: blocks, blocks in use) from 64 and 192 on.
    (word(8)? == 0 && word(32)? == MAGIC).then_some(())?;
    Some(Superblock {
        transaction_id: word(48)?,
        needs_check: flags & 1 == 1,
        chunk: Sectors(chunk.into()),
        data_total: DataBlocks(word(64)?),
        data_used: DataBlocks(word(72)?),
        metadata_total: MetaBlocks(word(192)?),
        metadata_used: MetaBlocks(word(200)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_and_what_is_none() {
        let mut block = [0; 4096];
        assert_eq!(superblock(&block), None);
        block[32..40].copy_from_slice(&MAGIC.to_le_bytes());
        (block[48], block[64], block[72], block[192], block[200], block[336]) = (7, 100, 3, 50, 9, 128);
        let expected = Superblock {
            transaction_id: 7,
            needs_check: false,
            chunk: Sectors(128),
            data_total: DataBlocks(100),
            data_used: DataBlocks(3),
            metadata_total: MetaBlocks(50),
            metadata_used: MetaBlocks(9),
        };
        assert_eq!(superblock(&block), Some(expected));
        block[4] = 1;
        assert_eq!(superblock(&block).map(|found| found.needs_check), Some(true));
        block[8] = 1;
        assert_eq!(superblock(&block), None, "another block's number");
    }
}
