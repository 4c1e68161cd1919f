//! The metadata of a pool that is down: its first block, and of a pool of LVM what thin_check says of it, read where it
//! rests on its physical volumes. LVM itself would have to activate it first.

use super::lvm::Lvm;
use super::lvmconf::Value;
use super::pools::Pool;
use super::{Looked, Unseen, looked, profile};
use crate::sys::dm::{Control, Stretch};
use crate::sys::{exec, file};
use crate::units::{DataBlocks, SECTOR, Sectors};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long thin_check may take in a look that monitoring waits for.
const CHECK_LIMIT: Duration = Duration::from_secs(8);
/// `THIN_SUPERBLOCK_MAGIC` of the kernel's dm-thin-metadata.c.
const MAGIC: u64 = 27_022_010;

/// What the first block of the metadata says (struct thin_disk_superblock of dm-thin-metadata.c).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Superblock {
    pub transaction_id: u64,
    pub needs_check: bool,
    pub chunk: Sectors,
    /// What the pool had at its last commit.
    pub data_total: DataBlocks,
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
    let block = looked(file::head(path))?;
    Ok(match superblock(&block) {
        Some(superblock) => Head::Of(superblock),
        None if block.iter().all(|byte| *byte == 0) => Head::Blank,
        None => Head::Foreign,
    })
}

/// What thin_check says of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Verdict {
    Clean,
    /// With its words.
    Damaged(String),
    /// It would take longer than a look may.
    Late,
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

/// Looks at the metadata of a pool that is down.
///
/// # Errors
/// Its volumes are not all there, or lie otherwise than in plain stretches of extents.
pub fn resting(pool: &Pool, lvm: &Lvm, checker: &Looked<Checker>) -> Looked<Resting> {
    let side = pool.lvm.as_ref().ok_or_else(|| Unseen(format!("{} is not LVM's", pool.name)))?;
    let control = looked(Control::open())?;
    let stretches = stretches(lvm, &side.row.vg_name, &side.row.metadata_lv)?;
    let name = format!("dmtool-look-{}", std::process::id());
    let mut device = looked(control.read_only(&name, &stretches))?;
    let mut block = [0; 4096];
    looked(device.read_exact(&mut block).map_err(Into::into))?;
    let superblock = superblock(&block);
    let verdict = match checker {
        Ok(Checker::Installed(path)) => verdict(path, &device),
        Ok(Checker::Off) => Ok(Verdict::Clean),
        Ok(Checker::Missing(tool)) => Err(Unseen(format!("{tool} is not installed"))),
        Err(why) => Err(why.clone()),
    };
    Ok(Resting { superblock, verdict })
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

fn verdict(path: &Path, device: &File) -> Looked<Verdict> {
    let open = format!("/proc/{}/fd/{}", std::process::id(), device.as_raw_fd());
    let own = options()?;
    let words: Vec<&str> = own.iter().map(String::as_str).chain([open.as_str()]).collect();
    let ended = looked(exec::run_within(path, &words, CHECK_LIMIT))?;
    let Some(ended) = ended else { return Ok(Verdict::Late) };
    // What it says of itself on the way is not of interest; a path of ours is no path of the operator's.
    let said: Vec<&str> = ended.said.lines().filter(|line| !line.starts_with("examining")).map(str::trim).collect();
    match ended.status {
        Some(0) => Ok(Verdict::Clean),
        // 1, and 64 from version 1.0 on; anything else is not about the metadata.
        Some(1 | 64) => Ok(Verdict::Damaged(said.join("; "))),
        Some(status) => Err(Unseen(format!("{} ended with status {status}: {}", path.display(), said.join("; ")))),
        None => Err(Unseen(format!("{} was ended by a signal", path.display()))),
    }
}

/// Where a volume lies, from LVM's rows.
fn stretches(lvm: &Lvm, vg: &str, lv: &str) -> Looked<Vec<Stretch>> {
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
        found.push(Stretch {
            device: (device(pv.pv_major)?, device(pv.pv_minor)?),
            start: (pv.pe_start + first * row.vg_extent_size) / SECTOR,
            length: (last.saturating_sub(first) + 1) * row.vg_extent_size / SECTOR,
        });
    }
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

fn superblock(block: &[u8; 4096]) -> Option<Superblock> {
    let word = |at: usize| Some(u64::from_le_bytes(block.get(at..at + 8)?.try_into().ok()?));
    let flags = u32::from_le_bytes(block.get(4..8)?.try_into().ok()?);
    let chunk = u32::from_le_bytes(block.get(336..340)?.try_into().ok()?);
    // Its own number at 8, the magic at 32, the transaction at 48, the space map of the data from 64 on.
    (word(8)? == 0 && word(32)? == MAGIC).then_some(())?;
    Some(Superblock {
        transaction_id: word(48)?,
        needs_check: flags & 1 == 1,
        chunk: Sectors(chunk.into()),
        data_total: DataBlocks(word(64)?),
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
        (block[48], block[64], block[336]) = (7, 100, 128);
        let expected =
            Superblock { transaction_id: 7, needs_check: false, chunk: Sectors(128), data_total: DataBlocks(100) };
        assert_eq!(superblock(&block), Some(expected));
        block[4] = 1;
        assert_eq!(superblock(&block).map(|found| found.needs_check), Some(true));
        block[8] = 1;
        assert_eq!(superblock(&block), None, "another block's number");
    }
}
