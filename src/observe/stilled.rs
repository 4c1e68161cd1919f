//! A pool or a volume of LVM's that stands still while LVM changes it. Where LVM is killed or fails on the way it leaves it so,
//! with the file systems on it, and nothing tells a later run from somebody who wants it to stand still: so it is written
//! down before.

use super::{Looked, Unseen, looked, taken};
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
    /// The boot in which it was written: the next one ends whatever stands still.
    boot: String,
}

/// Where a change of a volume is written down.
pub fn path_of(volume: &LvmName) -> PathBuf {
    Path::new(FOLDER).join(format!("{PREFIX}{}.json", volume.dm_name()))
}

/// The text to write down before a change of a volume.
///
/// # Errors
/// The boot that this is cannot be looked at.
pub fn text(volume: &LvmName) -> Looked<String> {
    let stilled = Stilled { dmtool: FORMAT, volume: volume.clone(), boot: taken::boot()? };
    Ok(serde_json::json!(stilled).to_string() + "\n")
}

/// The volumes of which a change was begun in this boot, and its end not written down.
///
/// # Errors
/// What is written of one cannot be read.
pub fn read() -> Looked<Vec<LvmName>> {
    let boot = taken::boot()?;
    Ok(all()?.into_iter().filter(|(_, stilled)| stilled.boot == boot).map(|(_, stilled)| stilled.volume).collect())
}

/// The files that tell of a change that an earlier boot ended.
///
/// # Errors
/// As [`read`]'s.
pub fn of_other_boots() -> Looked<Vec<PathBuf>> {
    let boot = taken::boot()?;
    Ok(all()?.into_iter().filter(|(_, stilled)| stilled.boot != boot).map(|(path, _)| path).collect())
}

fn all() -> Looked<Vec<(PathBuf, Stilled)>> {
    let entries = match std::fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(Unseen(format!("{FOLDER}: {why}"))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|why| Unseen(format!("{FOLDER}: {why}")))?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.extend(of(&entry.path())?.map(|stilled| (entry.path(), stilled)));
        }
    }
    Ok(found)
}

fn of(path: &Path) -> Looked<Option<Stilled>> {
    let Some(text) = looked(file::read_roots(path))? else { return Ok(None) };
    let wrong = |why: String| Unseen(format!("{} tells of no volume: {why}", path.display()));
    let stilled: Stilled = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
    if stilled.dmtool != FORMAT {
        return Err(wrong(format!("its format is {}", stilled.dmtool)));
    }
    Ok(Some(stilled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let volume = LvmName::parse("vg/web").expect("a name");
        let text = text(&volume).expect("a boot");
        let read: Stilled = serde_json::from_str(&text).expect("the text");
        assert_eq!(read, Stilled { dmtool: FORMAT, volume, boot: taken::boot().expect("a boot") });
        assert!(serde_json::from_str::<Stilled>(r#"{"dmtool":1,"volume":"-x/../y","boot":""}"#).is_err());
    }
}
