//! Whether a pool that is up stands on what its record names. Of a file that is told by the file, since its loop device has
//! another number after each boot, and there may be two of them.

use crate::observe::pools::{Below, Live};
use crate::observe::register::{Place, Record};
use crate::observe::{Looked, looked};
use crate::sys::block::{self, Node};
use crate::sys::{file, loopdev};
use serde::Serialize;
use std::path::Path;

/// A device of a live pool that is another one than its record names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// "data" or "metadata".
    pub what: &'static str,
    /// What the record names.
    pub recorded: String,
    /// What the pool has.
    pub up: String,
    /// It has the name that is recorded, and is another file than the one that had it.
    pub anew: bool,
}

/// The devices of a live pool that are others than its record names. Nothing is read from them: one that stands still
/// would hold the reader.
///
/// # Errors
/// One of them could not be looked at.
pub fn elsewhere(record: &Record, live: &Live) -> Looked<Vec<Elsewhere>> {
    let table = live.table.as_ref().map_err(Clone::clone)?;
    let both = [
        ("metadata", &record.metadata, &table.metadata_device, &live.metadata),
        ("data", &record.data, &table.data_device, &live.data),
    ];
    let mut found = Vec::new();
    for (what, place, number, below) in both {
        let below = below.as_ref().map_err(Clone::clone)?;
        // A file that was deleted is a finding of its own.
        if below.file.as_ref().is_some_and(|file| file.ends_with(" (deleted)")) {
            continue;
        }
        let (same, anew) = match place {
            Place::File { path, inode, .. } => of_file(path, *inode, below)?,
            Place::Device { path, .. } => (has_number(path, number)?, false),
        };
        if !same || anew {
            let up = below.file.clone().unwrap_or_else(|| format!("/dev/{}", below.device));
            found.push(Elsewhere { what, recorded: place.path().to_owned(), up, anew });
        }
    }
    Ok(found)
}

/// Whether a device shows all of the file at this path, and whether that is another file than the record knows.
fn of_file(path: &str, inode: Option<u64>, below: &Below) -> Looked<(bool, bool)> {
    let Some(there) = looked(file::identity(Path::new(path)))? else { return Ok((false, false)) };
    let attached = looked(loopdev::attached())?.into_iter().find(|one| one.name == below.device);
    let same = attached.is_some_and(|one| one.whole && (one.device, one.inode) == (there.device, there.inode));
    Ok((same, same && inode.is_some_and(|inode| inode != there.inode)))
}

fn has_number(path: &str, number: &str) -> Looked<bool> {
    let node = looked(block::node(path))?;
    Ok(matches!(node, Node::Block { major, minor, .. } if number == format!("{major}:{minor}")))
}
