//! Metadata as bytes: copied out with its holes, compared, and put back so that a copy that was cut off is taken by
//! nobody for metadata.

use super::signal::Stop;
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A block of thin-pool metadata (`THIN_METADATA_BLOCK_SIZE` of the kernel's dm-thin-metadata.h, in bytes).
const BLOCK: usize = 4096;
const PIECE: usize = 1 << 20;
/// What stands in the place of a superblock while metadata is written over.
const MARK: &[u8] = b"dmtool writes metadata here: finish it with dmtool repair";

/// Told how many bytes are done, of how many.
pub type Tell<'a> = &'a mut dyn FnMut(u64, u64);

/// The size of a file or a device, in bytes.
///
/// # Errors
/// It cannot be opened.
pub fn size(path: &Path) -> Result<u64> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.seek(SeekFrom::End(0)).with_context(|| format!("reading the size of {}", path.display()))
}

/// How many bytes of a file or a device are in blocks that hold something, which is what a copy with holes takes.
///
/// # Errors
/// It cannot be read.
pub fn content(path: &Path) -> Result<u64> {
    let mut found = 0;
    each_piece(path, &mut |_, piece| {
        found += piece.chunks(BLOCK).filter(|block| !is_blank(block)).map(|block| block.len() as u64).sum::<u64>();
        Ok(true)
    })?;
    Ok(found)
}

/// Copies a file or a device into a new file of root's, holes left out. Whether it came to its end: somebody may have
/// asked us to stop.
///
/// # Errors
/// It cannot be read or written; what was written is gone by then. A file that is there already is left alone.
pub fn out(from: &Path, to: &Path, stop: Option<&Stop>, tell: Tell<'_>) -> Result<bool> {
    let context = || format!("copying {} to {}", from.display(), to.display());
    let total = size(from)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).with_context(context)?;
    let copied = copy(from, &file, total, stop, tell).and_then(|whole| {
        file.sync_all()?;
        File::open(to.parent().context("a folder")?)?.sync_all()?;
        Ok(whole)
    });
    if !matches!(copied, Ok(true)) {
        let _ = std::fs::remove_file(to);
    }
    copied.with_context(context)
}

fn copy(from: &Path, to: &File, total: u64, stop: Option<&Stop>, tell: Tell<'_>) -> Result<bool> {
    to.set_len(total)?;
    each_piece(from, &mut |at, piece| {
        let mut start = at;
        for block in piece.chunks(BLOCK) {
            if !is_blank(block) {
                to.write_all_at(block, start)?;
            }
            start += block.len() as u64;
        }
        tell(start, total);
        Ok(!stop.is_some_and(Stop::asked))
    })
}

/// Writes a file over metadata that nobody uses. First its superblock is made one that neither the kernel nor a tool
/// takes for any (zeroes would be taken for new metadata), and it is written last: where this is cut off, nothing reads
/// a mixture of old and new.
///
/// # Errors
/// It is in use, of another size, or cannot be written.
pub fn over(from: &Path, to: &Path, tell: Tell<'_>) -> Result<()> {
    let context = || format!("writing {} over {}", from.display(), to.display());
    let total = size(from)?;
    if size(to)? != total {
        bail!("{} has not the {total} bytes of {}", to.display(), from.display());
    }
    if total < BLOCK as u64 {
        bail!("{} has {total} bytes, and a superblock has {BLOCK}", from.display());
    }
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).with_context(context)?;
    let is_file = to.is_file();
    let target = OpenOptions::new()
        .read(true)
        .write(true)
        // Of a device: nobody else has it, or gets it meanwhile. On a file the flag would mean another thing.
        .custom_flags(if is_file { 0 } else { exclusive })
        .open(to)
        .with_context(context)?;
    let mut mark = [0; BLOCK];
    mark.iter_mut().zip(MARK).for_each(|(byte, word)| *byte = *word);
    target.write_all_at(&mark, 0).with_context(context)?;
    target.sync_all().with_context(context)?;
    let mut there = vec![0; PIECE];
    let mut head = [0; BLOCK];
    let written = each_piece(from, &mut |at, piece| {
        let there = there.get_mut(..piece.len()).context("a piece")?;
        target.read_exact_at(there, at)?;
        let mut start = at;
        for (block, old) in piece.chunks(BLOCK).zip(there.chunks(BLOCK)) {
            if start == 0 {
                head = <[u8; BLOCK]>::try_from(block)?;
            } else if block != old {
                target.write_all_at(block, start)?;
            }
            start += block.len() as u64;
        }
        tell(start, total);
        Ok(true)
    });
    written.with_context(context)?;
    target.sync_all().with_context(context)?;
    target.write_all_at(&head, 0).with_context(context)?;
    target.sync_all().with_context(context)
}

/// Whether a first block is the mark of a copy that was cut off.
pub fn is_cut_off(head: &[u8]) -> bool {
    head.starts_with(MARK)
}

/// Whether both hold the same bytes, and as many.
///
/// # Errors
/// One cannot be read.
pub fn same(one: &Path, other: &Path) -> Result<bool> {
    let theirs = File::open(other).with_context(|| format!("opening {}", other.display()))?;
    let length = size(other)?;
    if size(one)? != length {
        return Ok(false);
    }
    let mut there = vec![0; PIECE];
    each_piece(one, &mut |at, piece| {
        let common = usize::try_from(length.saturating_sub(at).min(piece.len() as u64))?;
        let there = there.get_mut(..common).context("a piece")?;
        theirs.read_exact_at(there, at).with_context(|| format!("reading {}", other.display()))?;
        Ok(piece.get(..common) == Some(&*there))
    })
}

/// Hands over the bytes piece by piece, until the answer is no; whether it never was.
fn each_piece(path: &Path, take: &mut dyn FnMut(u64, &[u8]) -> Result<bool>) -> Result<bool> {
    let context = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let mut filled = 0;
        while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why).with_context(context),
            }
        }
        let read = piece.get(..filled).unwrap_or_default();
        if read.is_empty() {
            return Ok(true);
        }
        if !take(at, read)? {
            return Ok(false);
        }
        at += filled as u64;
    }
}

fn is_blank(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Writes a text of any length into a new file of root's, in one step: it has its name when all of it is there.
///
/// # Errors
/// It cannot be written, or a file of that name is there: then that is left alone.
pub fn into_new(path: &Path, write: impl FnOnce(&File) -> Result<bool>) -> Result<bool> {
    let context = || format!("writing {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = super::file::temporary(folder, path).with_context(context)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).with_context(context)?;
    let written = write(&file).and_then(|whole| {
        if whole {
            file.sync_all()?;
            // Not over a file that came meanwhile, as a rename would.
            std::fs::hard_link(&temporary, path).or_else(|why| match path.symlink_metadata() {
                // A file system without links.
                Err(_) => std::fs::rename(&temporary, path),
                Ok(_) => Err(why),
            })?;
        }
        Ok(whole)
    });
    let _ = std::fs::remove_file(&temporary);
    let whole = written.with_context(context)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn out_and_over_and_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut bytes = vec![0; 3 * PIECE + BLOCK];
        bytes[..3].copy_from_slice(b"abc");
        bytes[PIECE + 17] = 7;
        bytes[3 * PIECE + BLOCK - 1] = 9;
        std::fs::write(path("old"), &bytes).expect("old");
        assert_eq!(content(&path("old")).expect("content"), 3 * BLOCK as u64);
        let mut last = 0;
        assert!(out(&path("old"), &path("copy"), None, &mut |done, _| last = done).expect("a copy"));
        assert_eq!(last, bytes.len() as u64);
        assert!(same(&path("old"), &path("copy")).expect("compared"));
        assert!(out(&path("old"), &path("copy"), None, &mut |_, _| {}).is_err(), "one that is there is left alone");
        bytes[2 * PIECE] = 1;
        bytes[0] = b'x';
        std::fs::write(path("new"), &bytes).expect("new");
        assert!(!same(&path("new"), &path("copy")).expect("compared"));
        over(&path("new"), &path("old"), &mut |_, _| {}).expect("over");
        assert_eq!(std::fs::read(path("old")).expect("old"), bytes);
        std::fs::write(path("short"), b"x").expect("short");
        assert!(over(&path("short"), &path("old"), &mut |_, _| {}).is_err());
        std::fs::write(path("as short"), b"y").expect("as short");
        assert!(over(&path("short"), &path("as short"), &mut |_, _| {}).is_err(), "no superblock");
        assert_eq!(std::fs::read(path("as short")).expect("as short"), b"y");
        assert_eq!(std::fs::read(path("old")).expect("old"), bytes);
    }

    #[test]
    fn a_new_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dump");
        let fails = into_new(&path, |_| bail!("full"));
        assert!(fails.is_err() && std::fs::read_dir(folder.path()).expect("entries").count() == 0);
        assert!(into_new(&path, |mut file| Ok(file.write_all(b"x").map(|()| true)?)).expect("written"));
        assert!(into_new(&path, |_| Ok(true)).is_err(), "there already");
        assert_eq!(std::fs::read(&path).expect("read"), b"x");
        // What a killed run left goes; a process of that number there never is (PID_MAX_LIMIT is 4194304).
        let left = folder.path().join(".other.dmtool-4999999");
        std::fs::write(&left, b"half").expect("left");
        crate::sys::file::put(&folder.path().join("other"), "whole", 0o600).expect("put");
        let names = std::fs::read_dir(folder.path()).expect("entries").count();
        assert!(!left.exists() && names == 2, "{names}");
    }
}
