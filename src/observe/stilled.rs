//! A volume of LVM's that stands still while LVM takes a snapshot of it. Where LVM is killed or fails on the way it leaves
//! it so, with the file system on it, and nothing tells a later run from somebody who wants it to stand still: so it is
//! written down before.

use super::{Looked, Unseen, looked};
use crate::names::LvmName;
use crate::sys::file;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FORMAT: u64 = 1;
pub const PATH: &str = "/var/lib/dmtool/snapshot-begun.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stilled {
    dmtool: u64,
    origin: LvmName,
}

/// The text to write down before a snapshot of a volume.
pub fn text(origin: &LvmName) -> String {
    serde_json::json!(Stilled { dmtool: FORMAT, origin: origin.clone() }).to_string() + "\n"
}

/// The volume that a snapshot was begun of, and its end not written down.
///
/// # Errors
/// What is written of it cannot be read.
pub fn read() -> Looked<Option<LvmName>> {
    let Some(text) = looked(file::read_roots(Path::new(PATH)))? else { return Ok(None) };
    let wrong = |why: String| Unseen(format!("{PATH} tells of no snapshot: {why}"));
    let stilled: Stilled = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
    if stilled.dmtool != FORMAT {
        return Err(wrong(format!("its format is {}", stilled.dmtool)));
    }
    Ok(Some(stilled.origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let origin = LvmName::parse("vg/web").expect("a name");
        let read: Stilled = serde_json::from_str(&text(&origin)).expect("the text");
        assert_eq!(read, Stilled { dmtool: FORMAT, origin });
        assert!(serde_json::from_str::<Stilled>(r#"{"dmtool":1,"origin":"-x/../y"}"#).is_err());
    }
}
