//! The XML of thin_dump, with the figure that it leaves out for a live pool: thin_restore takes no mapping then ("beyond end
//! of data device (68 >= 0)", seen with 0.9).

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Copies a dump, and says in it how many chunks of data the pool has, where it does not say.
///
/// # Errors
/// It cannot be read or written.
pub fn complete(from: impl Read, mut to: impl Write, data_blocks: u64) -> Result<()> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    // What comes first is the element superblock; a dump without a '>' is none, and copied as it is.
    let mut head = Vec::new();
    from.by_ref().take(4096).read_until(b'>', &mut head).context("reading a dump")?;
    let head = match String::from_utf8(head) {
        Ok(text) => text.replacen("nr_data_blocks=\"0\"", &format!("nr_data_blocks=\"{data_blocks}\""), 1).into_bytes(),
        Err(why) => why.into_bytes(),
    };
    to.write_all(&head)
        .and_then(|()| std::io::copy(&mut from, &mut to))
        .and_then(|_| to.flush())
        .context("writing a dump")
}

/// As [`complete`], from a file into a new one.
///
/// # Errors
/// As [`complete`]'s.
pub fn complete_file(from: &Path, to: &Path, data_blocks: u64) -> Result<()> {
    let context = || format!("copying {} to {}", from.display(), to.display());
    let source = File::open(from).with_context(context)?;
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).with_context(context)?;
    complete(source, target, data_blocks).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_put_in_once() {
        let dump = "<superblock uuid=\"\" nr_data_blocks=\"0\">\n<device/>nr_data_blocks=\"0\"";
        let mut done = Vec::new();
        complete(dump.as_bytes(), &mut done, 7).expect("copied");
        assert_eq!(done, dump.replacen("\"0\"", "\"7\"", 1).into_bytes());
        for other in ["", "x", "<superblock nr_data_blocks=\"5\">"] {
            let mut done = Vec::new();
            complete(other.as_bytes(), &mut done, 7).expect("copied");
            assert_eq!(done, other.as_bytes());
        }
    }
}
