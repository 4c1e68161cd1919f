//! A file of configuration that somebody else reads too: as it is, and whether it can be replaced.

use super::{Looked, Unseen};
use crate::sys::file;
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigFile {
    pub path: String,
    /// Absent where there is none.
    pub text: Option<String>,
    /// Why it cannot be replaced, as a sentence.
    pub barred: Option<String>,
    /// A name for a copy of it that nobody has.
    pub backup: String,
}

/// Looks at a file of configuration.
///
/// # Errors
/// It cannot be looked at, or every name for its copy is taken.
pub fn look(path: &str) -> Looked<ConfigFile> {
    let name = |number: u32| match number {
        0 => format!("{path}.before-dmtool"),
        number => format!("{path}.before-dmtool.{number}"),
    };
    // A copy that a run kept which was cut off then is as good as another.
    let is_free = |number: &u32| {
        let copy = name(*number);
        Path::new(&copy).symlink_metadata().is_err() || file::same(Path::new(&copy), Path::new(path))
    };
    let free = (0..1000).find(is_free).ok_or_else(|| Unseen(format!("every name for a copy of {path} is taken")))?;
    let backup = name(free);
    let found = ConfigFile { path: path.to_owned(), text: None, barred: None, backup };
    let barred = match file::replaceable(Path::new(path)) {
        Ok(()) => None,
        Err(why) => Some(format!("{why:#}.")),
    };
    if barred.is_some() {
        // What cannot be replaced is not taken apart either: it may be a directory, or lead elsewhere.
        return Ok(ConfigFile { barred, ..found });
    }
    let text = super::looked(file::read(Path::new(path)))?;
    Ok(ConfigFile { text, ..found })
}
