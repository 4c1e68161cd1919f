//! Names of volume groups, logical volumes, pools and device-mapper devices: what is allowed, and how LVM
//! writes the first two as the last.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kernel's limit on a device-mapper name, its closing zero counted (DM_NAME_LEN in dm-ioctl.h).
const DM_NAME_LEN: usize = 128;
/// The longest layer that LVM hangs on a volume of a pool (`-tpool`, `_tdata`, `_tmeta`).
const LAYER: &str = "-tpool";

/// A volume group's name, valid by LVM's rules (lvm(8), VALID NAMES).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct VgName(String);

/// A logical volume's name, valid by LVM's rules (lvm(8), VALID NAMES) and not reserved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LvName(String);

/// A device-mapper name of our own making: characters that udev keeps as they are (libdm's `DM_STRING_MANGLING_AUTO`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DmName(String);

impl DmName {
    /// # Errors
    /// A sentence that says which rule the name breaks.
    pub fn new(name: &str) -> Result<DmName, String> {
        let shown = name.escape_debug();
        if name.is_empty() || name.starts_with('-') || [".", "..", "control"].contains(&name) {
            return Err(format!("'{shown}' is no name for a device"));
        }
        if name.len() >= DM_NAME_LEN {
            return Err(format!("'{shown}' is too long for a device: {} characters, at most 127", name.len()));
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "#+-.:=@_".contains(*c))) {
            Some(c) => Err(format!("'{shown}' is no name for a device: '{}' is not allowed in it", c.escape_debug())),
            None => Ok(DmName(name.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pool or volume of LVM: `VG/LV`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LvmName {
    pub vg: VgName,
    pub lv: LvName,
}

fn check_characters(what: &str, name: &str) -> Result<(), String> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Err(format!("a {what} needs a name"));
    }
    if name.len() >= DM_NAME_LEN {
        return Err(format!("'{shown}' is too long for a {what}: {} characters, at most 127", name.len()));
    }
    if name.starts_with('-') {
        return Err(format!("'{shown}' is no name for a {what}: it begins with a hyphen"));
    }
    if name == "." || name == ".." {
        return Err(format!("'{shown}' is no name for a {what}"));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "+_.-".contains(*c))) {
        Some(c) => Err(format!("'{shown}' is no name for a {what}: '{}' is not allowed in it", c.escape_debug())),
        None => Ok(()),
    }
}

impl VgName {
    /// # Errors
    /// A sentence that says which rule the name breaks.
    pub fn new(name: &str) -> Result<VgName, String> {
        check_characters("volume group", name)?;
        if name == "mapper" {
            // Its volumes would be at /dev/mapper/NAME, as every device is; vgcreate fails with it ("already exists").
            return Err("'mapper' is no name for a volume group: what is in /dev/mapper is no VG/LV".to_owned());
        }
        Ok(VgName(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LvName {
    /// # Errors
    /// A sentence that says which rule the name breaks.
    pub fn new(name: &str) -> Result<LvName, String> {
        const STARTS: [&str; 2] = ["snapshot", "pvmove"];
        const PARTS: [&str; 13] = [
            "_cdata", "_cmeta", "_corig", "_cvol", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata",
            "_tmeta", "_vdata", "_vorigin",
        ];
        check_characters("volume", name)?;
        if let Some(word) = STARTS.iter().find(|word| name.starts_with(**word)) {
            return Err(format!("'{name}' is no name for a volume: LVM keeps names that begin with {word} for itself"));
        }
        if let Some(word) = PARTS.iter().find(|word| name.contains(**word)) {
            return Err(format!("'{name}' is no name for a volume: LVM keeps names with {word} in them for itself"));
        }
        Ok(LvName(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VgName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LvmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vg, self.lv)
    }
}

impl<'de> Deserialize<'de> for LvName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LvName, D::Error> {
        LvName::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for LvmName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LvmName, D::Error> {
        LvmName::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for LvmName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl LvmName {
    /// Reads `VG/LV`, also as `/dev/VG/LV`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it; the whole name must fit the kernel's 127 characters, with
    /// the layer that LVM will hang on it.
    pub fn parse(text: &str) -> Result<LvmName, String> {
        let name = text.strip_prefix("/dev/").unwrap_or(text);
        let Some((vg, lv)) = name.split_once('/') else {
            return Err(format!("'{}' is not a pool's name: it has the form VG/LV", text.escape_debug()));
        };
        let name = LvmName { vg: VgName::new(vg)?, lv: LvName::new(lv)? };
        let longest = name.dm_name().len() + LAYER.len();
        if longest >= DM_NAME_LEN {
            return Err(format!(
                "'{name}' is too long: its device's name would have {longest} characters, at most 127"
            ));
        }
        Ok(name)
    }

    /// The name of its device under /dev/mapper, which is also the name of its profile.
    pub fn dm_name(&self) -> String {
        dm_escape(&self.vg.0, &self.lv.0)
    }
}

/// `VG` and `LV` as one device-mapper name: hyphens inside a name are doubled, a single one joins.
pub fn dm_escape(vg: &str, lv: &str) -> String {
    format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"))
}

/// The parts of an LVM device's name: volume group, volume, and the layer if there is one.
pub fn dm_split(name: &str) -> Option<(String, String, Option<String>)> {
    let mut parts = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '-' {
            parts.last_mut()?.push(c);
        } else if characters.next_if_eq(&'-').is_some() {
            parts.last_mut()?.push('-');
        } else {
            parts.push(String::new());
        }
    }
    let mut parts = parts.into_iter();
    let (vg, lv, layer) = (parts.next()?, parts.next()?, parts.next());
    (parts.next().is_none() && !vg.is_empty() && !lv.is_empty()).then_some((vg, lv, layer))
}

/// The name of LVM's layer over a pool, from the name of the pool below it (`VG-POOL-tpool`). A volume that is called
/// tpool has no layer for that.
pub fn layer_over(dm_name: &str) -> Option<&str> {
    let (.., layer) = dm_split(dm_name)?;
    dm_name.strip_suffix("-tpool").filter(|_| layer.as_deref() == Some("tpool"))
}

/// Whether what the operator typed for POOL means the pool with this name and these device names: `VG/LV`, a
/// device-mapper name, `/dev/VG/LV` or `/dev/mapper/NAME`.
pub fn means<N: AsRef<str>>(typed: &str, name: &str, dm_names: &[N]) -> bool {
    let bare = typed.strip_prefix("/dev/mapper/").or(typed.strip_prefix("/dev/")).unwrap_or(typed);
    bare == name || dm_names.iter().any(|known| known.as_ref() == bare)
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.+-=:%,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lvm_takes() {
        for name in ["docker", "vg-docker", "a--b", "0", "x+y_z.w", "a.", "..a"] {
            assert!(VgName::new(name).is_ok(), "{name}");
        }
        assert_eq!(LvmName::parse("/dev/vg/pool").expect("valid").to_string(), "vg/pool");
    }

    #[test]
    fn a_layer_and_a_volume_of_its_name() {
        assert_eq!(layer_over("docker-thinpool-tpool"), Some("docker-thinpool"));
        assert_eq!((layer_over("vg-tpool"), layer_over("vg-tpool-tpool")), (None, Some("vg-tpool")));
        assert_eq!((layer_over("vg-a--tpool"), layer_over("tpool")), (None, None));
    }

    #[test]
    fn names_of_devices() {
        for name in ["loop", "docker-253:17-1835016-pool", "a.b", "x@y=z#1"] {
            assert!(DmName::new(name).is_ok(), "{name}");
        }
        for name in ["", "-a", ".", "..", "control", "a/b", "a b", "ä", "a\n", &"x".repeat(128)] {
            assert!(DmName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_that_lvm_does_not_take() {
        let long = "x".repeat(200);
        for name in ["", " ", "a b", "-a", ".", "..", "../x", "a\"b", "a'b", "a\nb", "ä", "a/b", "a$b", long.as_str()]
        {
            assert!(VgName::new(name).is_err(), "{name:?}");
            assert!(LvName::new(name).is_err(), "{name:?}");
        }
        for name in ["snapshot1", "pvmove0", "x_tdata", "lvol0_pmspare", "a_rimage_0"] {
            assert!(LvName::new(name).is_err(), "{name}");
        }
        for name in ["docker", "docker/", "/thinpool", "a/b/c", "../a/b", "/dev/mapper/vg-pool", "mapper/pool"] {
            assert!(LvmName::parse(name).is_err(), "{name}");
        }
        let (vg, lv) = ("v".repeat(60), "l".repeat(61));
        assert!(LvmName::parse(&format!("{vg}/{lv}")).is_err(), "no room for the layer");
    }

    #[test]
    fn device_names_take_apart() {
        assert_eq!(
            dm_split("my--vg-thin--pool-tpool"),
            Some(("my-vg".into(), "thin-pool".into(), Some("tpool".into())))
        );
        assert_eq!(dm_split("docker-thinpool"), Some(("docker".into(), "thinpool".into(), None)));
        assert_eq!(dm_split("loop"), None);
        assert_eq!(dm_split("docker-253:17-1835016-pool"), None);
    }

    #[test]
    fn a_pool_answers_to_all_its_names() {
        let dm = ["docker-thinpool", "docker-thinpool-tpool"];
        for typed in ["docker/thinpool", "/dev/docker/thinpool", "docker-thinpool", "/dev/mapper/docker-thinpool-tpool"]
        {
            assert!(means(typed, "docker/thinpool", &dm), "{typed}");
        }
        assert!(!means("thinpool", "docker/thinpool", &dm));
    }

    proptest! {
        #[test]
        fn escaping_is_undone_by_splitting(vg in "[a-z0-9][a-z0-9-]{0,8}[a-z0-9]", lv in "[a-z0-9][a-z0-9-]{0,8}[a-z0-9]") {
            prop_assert_eq!(dm_split(&dm_escape(&vg, &lv)), Some((vg, lv, None)));
        }

        #[test]
        fn no_name_panics(name in ".*") {
            let _ = LvmName::parse(&name);
            let _ = dm_split(&name);
        }
    }
}
