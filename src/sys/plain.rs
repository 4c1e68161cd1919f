//! Plain files of somebody else's, read whole, but never more of them than anybody keeps there.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A plain file, open for reading.
pub struct Plain {
    file: File,
    path: PathBuf,
}

impl Plain {
    /// Opens it; `None` where there is none.
    ///
    /// # Errors
    /// It is there and may not be read, or is no plain file.
    pub fn open(path: &Path) -> Result<Option<Plain>> {
        let context = || format!("reading {}", path.display());
        // A pipe would hold whoever opens it otherwise.
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).with_context(context)?;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            // A link to nothing is there.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => return Ok(None),
            Err(why) => return Err(why).with_context(context),
        };
        if !file.metadata().with_context(context)?.is_file() {
            bail!("{} is no plain file", path.display());
        }
        Ok(Some(Plain { file, path: path.to_owned() }))
    }

    /// Its first bytes, as many as there are up to this many.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn first(&self, count: u64) -> Result<Vec<u8>> {
        let context = || format!("reading {}", self.path.display());
        let mut bytes = Vec::new();
        (&self.file).rewind().with_context(context)?;
        (&self.file).take(count).read_to_end(&mut bytes).with_context(context)?;
        Ok(bytes)
    }

    /// All of it.
    ///
    /// # Errors
    /// It cannot be read, or has more bytes than `limit`.
    pub fn whole(&self, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.first(limit.saturating_add(1))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            bail!("{} has more than {limit} bytes, which nobody keeps there", self.path.display());
        }
        Ok(bytes)
    }
}

/// The text of a plain file of at most `limit` bytes; `None` where there is none.
///
/// # Errors
/// It is there and cannot be read, is no plain file, too large, or no UTF-8.
pub fn text(path: &Path, limit: u64) -> Result<Option<String>> {
    let Some(file) = Plain::open(path)? else { return Ok(None) };
    let text = String::from_utf8(file.whole(limit)?);
    text.map(Some).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_or_too_large_is_said_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        assert_eq!(text(&path, 4).expect("nothing"), None);
        std::fs::write(&path, "four").expect("a file");
        assert_eq!(text(&path, 4).expect("a text").as_deref(), Some("four"));
        assert!(text(&path, 3).expect_err("too large").to_string().contains("more than 3 bytes"));
        assert!(text(folder.path(), 4).expect_err("a folder").to_string().contains("no plain file"));
        std::fs::write(&path, [0xff]).expect("a file");
        assert!(text(&path, 4).is_err(), "no UTF-8");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).expect("a link");
        assert!(text(&link, 4).is_err(), "a link to nothing");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("a pipe");
        assert!(text(&pipe, 4).expect_err("a pipe").to_string().contains("no plain file"));
    }
}
