//! Autoextension settings: a pool's profile under /etc/lvm/profile, and lvm.conf where no profile says anything.

use super::lvmconf::{self, Settings, Value};
use super::{Looked, Unseen, looked};
use crate::sys::{exec, file};
use crate::units::{Bytes, DataBlocks, share_of};
use serde::Serialize;
use std::path::{Path, PathBuf};

const THRESHOLD: &str = "activation/thin_pool_autoextend_threshold";
const PERCENT: &str = "activation/thin_pool_autoextend_percent";
/// A threshold of 100 is LVM's default and means: never (lvm.conf(5)).
pub const NEVER: u64 = 100;
const DEFAULT_PERCENT: u64 = 20;
/// "The minimum value is 50 (a smaller value is treated as 50)" (lvm.conf(5)).
const MINIMUM_THRESHOLD: u64 = 50;

/// When and by how much dmeventd extends a pool, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Autoextend {
    pub threshold: u64,
    pub percent: u64,
}

/// A profile's file as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    pub text: String,
    pub threshold: Option<u64>,
    pub percent: Option<u64>,
    /// Settings that are not about autoextension.
    pub others: Vec<String>,
}

/// What stands where a pool's own profile has its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slot {
    pub profile: Option<Profile>,
    /// Why none can be written there, as a sentence.
    pub barred: Option<String>,
}

/// Looks at the place of the profile of that name.
///
/// # Errors
/// As [`read`]'s.
pub fn slot(name: &str) -> Looked<Slot> {
    let barred = file::replaceable(&path(name)).err().map(|why| format!("{why:#}."));
    Ok(Slot { profile: read(name)?, barred })
}

/// Where the profile of that name is, by LVM's default (config/profile_dir in lvm.conf(5)).
pub fn path(name: &str) -> PathBuf {
    Path::new("/etc/lvm/profile").join(format!("{name}.profile"))
}

/// The profile of that name; `None` where there is no such file.
///
/// # Errors
/// The file is there and cannot be read or is no profile.
pub fn read(name: &str) -> Looked<Option<Profile>> {
    let path = path(name);
    let Some(text) = looked(file::read(&path))? else { return Ok(None) };
    parse(text).map(Some).map_err(|why| Unseen(format!("reading {}: {why}", path.display())))
}

/// A profile from the text of its file.
///
/// # Errors
/// A sentence with the line where it stops being one.
pub fn parse(text: String) -> Result<Profile, String> {
    let settings = lvmconf::parse(&text)?;
    Ok(Profile {
        threshold: number(&settings, THRESHOLD),
        percent: number(&settings, PERCENT),
        others: settings.into_keys().filter(|key| key != THRESHOLD && key != PERCENT).collect(),
        text,
    })
}

fn number(settings: &Settings, key: &str) -> Option<u64> {
    match settings.get(key) {
        Some(Value::Number(number)) => u64::try_from(*number).ok(),
        Some(Value::Text(text)) => text.parse().ok(),
        _ => None,
    }
}

/// What holds for a pool with this profile (or none), lvm.conf and LVM's defaults filling in.
///
/// # Errors
/// A configuration file is there and cannot be read.
pub fn effective(profile: Option<&str>) -> Looked<Autoextend> {
    let profile = match profile {
        Some(name) => read(name)?,
        None => None,
    };
    let (own_threshold, own_percent) = profile.map_or((None, None), |profile| (profile.threshold, profile.percent));
    let global = |key: &str, found: Option<u64>| match found {
        Some(value) => Ok(Some(value)),
        None => global_setting(key).map(|value| value.and_then(|value| number(&[(key.to_owned(), value)].into(), key))),
    };
    Ok(Autoextend {
        threshold: global(THRESHOLD, own_threshold)?.unwrap_or(NEVER).max(MINIMUM_THRESHOLD),
        percent: global(PERCENT, own_percent)?.unwrap_or(DEFAULT_PERCENT),
    })
}

/// One setting of lvmlocal.conf or lvm.conf, the first overruling the second (lvm.conf(5)).
///
/// # Errors
/// One of the files is there and cannot be read.
pub fn global_setting(key: &str) -> Looked<Option<Value>> {
    for path in ["/etc/lvm/lvmlocal.conf", "/etc/lvm/lvm.conf"] {
        let Some(text) = looked(file::read(Path::new(path)))? else { continue };
        let mut settings = lvmconf::parse(&text).map_err(|why| Unseen(format!("reading {path}: {why}")))?;
        if let Some(value) = settings.remove(key) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether LVM has dmeventd watch what it activates: that is installed, and not switched off (lvm.conf(5),
/// `activation/monitoring`). No where that cannot be read.
pub fn watches() -> bool {
    let off = |value: Option<Value>| value == Some(Value::Number(0));
    exec::find("dmeventd").is_some() && global_setting("activation/monitoring").is_ok_and(|value| !off(value))
}

/// The low-water mark that LVM puts into the table: the share above the threshold, in whole chunks (seen: 1553 for
/// 7768 chunks at 80 %). With a threshold of 100 it is 0.
pub fn low_water_for(data: Bytes, chunk: Bytes, threshold: u64) -> DataBlocks {
    let chunks = data.0.checked_div(chunk.0).unwrap_or(0);
    DataBlocks(share_of(chunks, NEVER.saturating_sub(threshold)))
}

/// LVM counts in sectors before it counts in chunks, so a chunk more or less is the same mark.
pub fn near(one: DataBlocks, other: DataBlocks) -> bool {
    one.0.abs_diff(other.0) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profile_is_one() {
        let profile = parse(include_str!("../../profiles/thinpool.profile").to_owned()).expect("a profile");
        assert_eq!((profile.threshold, profile.percent), (Some(80), Some(20)));
        assert!(profile.others.is_empty());
    }

    #[test]
    fn other_settings_are_told_apart() {
        let profile = parse("activation { thin_pool_autoextend_threshold = 70 }\nallocation { x = 1 }".to_owned());
        let profile = profile.expect("a profile");
        assert_eq!((profile.threshold, profile.percent), (Some(70), None));
        assert_eq!(profile.others, ["allocation/x"]);
    }
}
