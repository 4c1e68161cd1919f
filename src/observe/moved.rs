//! Docker's folder that goes aside for another pool, written down before it does: where a run is cut off, the next one
//! knows what to bring back.

use super::{Looked, Unseen, looked};
use crate::sys::file;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub const FORMAT: u64 = 1;
pub const PATH: &str = "/var/lib/dmtool/docker-moved.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub dmtool: u64,
    /// The folder, and where it goes.
    pub folder: String,
    pub copy: String,
    /// Of the folder, under whichever name it is.
    pub inode: u64,
    /// The configuration that is written, its new text, and the copy of the old one; no copy where there was no file.
    pub file: Option<String>,
    pub text: String,
    pub backup: Option<String>,
    /// Docker ran.
    pub ran: bool,
}

impl Moved {
    /// The text of its file.
    ///
    /// # Errors
    /// None that it can have.
    pub fn text_of_file(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A move that was begun, and whose end was not written down.
///
/// # Errors
/// What is written of it cannot be read.
pub fn read() -> Looked<Option<Moved>> {
    let Some(text) = looked(file::read(Path::new(PATH)))? else { return Ok(None) };
    parse(&text).map(Some).map_err(|why| Unseen(format!("{PATH} tells of no move: {why}")))
}

/// A move from the text of its file.
///
/// # Errors
/// It is no such text.
pub fn parse(text: &str) -> Result<Moved, String> {
    let moved: Moved = serde_json::from_str(text).map_err(|why| why.to_string())?;
    if moved.dmtool != FORMAT {
        return Err(format!("its format is {}", moved.dmtool));
    }
    Ok(moved)
}
