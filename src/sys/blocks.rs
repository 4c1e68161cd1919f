//! Files and devices in blocks of 4 KiB, as metadata lies in them.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::path::Path;

/// The first bytes of a file or a device.
///
/// # Errors
/// It cannot be read, or is shorter.
pub fn head(path: &Path) -> Result<[u8; 4096]> {
    use std::io::Read;
    let mut block = [0; 4096];
    let mut file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.read_exact(&mut block).with_context(|| format!("reading {}", path.display()))?;
    Ok(block)
}

/// A file or a device in blocks of 4 KiB.
pub struct Blocks {
    file: File,
    count: u64,
}

impl Blocks {
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Blocks> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Blocks { file, count: super::copy::size(path)? / 4096 })
    }

    /// As [`Blocks::open`], past the page cache: what the kernel itself writes to a device does not pass through it.
    ///
    /// # Errors
    /// It cannot be opened so.
    pub fn open_direct(path: &Path) -> Result<Blocks> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        let file = options.open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Blocks { file, count: super::copy::size(path)? / 4096 })
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// # Errors
    /// It cannot be read.
    pub fn read(&self, number: u64) -> Result<[u8; 4096]> {
        let mut block = Aligned([0; 4096]);
        let at = number.checked_mul(4096).with_context(|| format!("there is no block {number}"))?;
        std::os::unix::fs::FileExt::read_exact_at(&self.file, &mut block.0, at)
            .with_context(|| format!("reading block {number}"))?;
        Ok(block.0)
    }
}

/// As reads past the page cache want it.
#[repr(align(4096))]
struct Aligned([u8; 4096]);

const _: () = assert!(align_of::<Aligned>() == 4096 && size_of::<Aligned>() == 4096);

/// Writes the first block of a file, down to its disk.
///
/// # Errors
/// It cannot be written.
pub fn write_head(path: &Path, block: &[u8; 4096]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let file = OpenOptions::new().write(true).open(path).with_context(context)?;
    std::os::unix::fs::FileExt::write_all_at(&file, block, 0).with_context(context)?;
    file.sync_all().with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_what_is_behind_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metadata");
        std::fs::write(&path, [[1; 4096], [2; 4096]].concat()).expect("a file");
        write_head(&path, &[3; 4096]).expect("written");
        assert_eq!(head(&path).expect("a head"), [3; 4096]);
        // Not every file system reads past the page cache.
        for blocks in [Blocks::open(&path).ok(), Blocks::open_direct(&path).ok()].into_iter().flatten() {
            assert_eq!(blocks.count(), 2);
            assert_eq!(blocks.read(1).expect("a block"), [2; 4096]);
            assert!(blocks.read(2).is_err() && blocks.read(u64::MAX).is_err());
        }
    }
}
