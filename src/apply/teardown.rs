//! What is taken down for good.

use crate::observe::Host;
use crate::observe::filter;
use crate::observe::teardown::{self, Disk, EDGE, Edges};
use crate::plan::step::Teardown;
use crate::sys::{block, file};
use anyhow::{Result, bail};
use std::path::Path;

/// Does a step of a teardown that is no command of LVM's by itself.
pub fn run(step: &Teardown, host: &mut Host) -> Result<()> {
    match step {
        Teardown::Begin { journal } => file::replace_private(&journal.path(), &journal.text()?),
        Teardown::End { journal } => file::remove(&journal.path()),
        Teardown::RemoveProfile { path } => file::remove(path),
        Teardown::RemoveFile { path } => file::remove(Path::new(path)),
        Teardown::BlankEdges { path } => block::blank_edges(Path::new(path), EDGE),
        Teardown::BlankDisk { disk } => blank(disk, host),
        Teardown::Forget { record } => {
            let copy = record.copy();
            copy.as_deref().map_or(Ok(()), file::remove)?;
            file::remove(&record.path())?;
            // Where somebody keeps more there, or it is a mount, it stays.
            if let Some(folder) = copy.as_deref().and_then(Path::parent) {
                file::remove_empty_folder(folder);
            }
            Ok(())
        }
        Teardown::RemoveVolumes { .. } | Teardown::RemoveGroup { .. } => bail!("LVM's own step came here"),
    }
}

/// LVM's label first, by LVM itself, which keeps lists of its own; the uuid that its metadata still tells is the proof
/// that this is the disk that is meant, until the zeros are there.
fn blank(disk: &Disk, host: &mut Host) -> Result<()> {
    let path = Path::new(&disk.path);
    if teardown::edges(disk)? == Edges::Other {
        bail!("{} is no longer the disk that was torn down", disk.path);
    }
    if block::has_label(path)? {
        let mut words = vec!["pvremove".to_owned(), "--yes".to_owned(), disk.path.clone()];
        words.extend(["--config".to_owned(), filter::config(host, "log/silent=1")?]);
        host.lvm.change(&words, host.lock_limit)?;
    }
    block::blank_edges(path, EDGE)
}
