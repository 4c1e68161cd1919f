//! A pool or a volume of LVM's that stands still while LVM changes it. Where LVM is killed or fails on the way it leaves it so,
//! with the file systems on it, and nothing tells a later run from somebody who wants it to stand still: so it is written
//! down before.

use super::{Looked, Unseen, looked};
use crate::names::LvmName;
use crate::sys::file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FORMAT: u64 = 1;
const FOLDER: &str = "/var/lib/dmtool";
const PREFIX: &str = "begun-";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stilled {
    dmtool: u64,
    volume: LvmName,
}

/// Where a change of a volume is written down.
pub fn path_of(volume: &LvmName) -> PathBuf {
    Path::new(FOLDER).join(format!("{PREFIX}{}.json", volume.dm_name()))
}

/// The text to write down before a change of a volume.
pub fn text(volume: &LvmName) -> String {
    serde_json::json!(Stilled { dmtool: FORMAT, volume: volume.clone() }).to_string() + "\n"
}

/// The volumes of which a change was begun, and its end not written down.
///
/// # Errors
/// What is written of one cannot be read.
pub fn read() -> Looked<Vec<LvmName>> {
    let entries = match std::fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(Unseen(format!("{FOLDER}: {why}"))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|why| Unseen(format!("{FOLDER}: {why}")))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.extend(of(&entry.path())?);
        }
    }
    Ok(found)
}

fn of(path: &Path) -> Looked<Option<LvmName>> {
    let Some(text) = looked(file::read_roots(path))? else { return Ok(None) };
    let wrong = |why: String| Unseen(format!("{} tells of no volume: {why}", path.display()));
    let stilled: Stilled = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
    if stilled.dmtool != FORMAT {
        return Err(wrong(format!("its format is {}", stilled.dmtool)));
    }
    Ok(Some(stilled.volume))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let volume = LvmName::parse("vg/web").expect("a name");
        let read: Stilled = serde_json::from_str(&text(&volume)).expect("the text");
        assert_eq!(read, Stilled { dmtool: FORMAT, volume });
        assert!(serde_json::from_str::<Stilled>(r#"{"dmtool":1,"volume":"-x/../y"}"#).is_err());
    }
}
