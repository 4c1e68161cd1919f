//! What LVM's own backups of its metadata tell: pools that are not active, and groups that LVM cannot read.

use crate::names::{LvmName, quoted};
use crate::observe::lvm::{Lvm, PvRow};
use crate::sys::{block, file};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Where LVM keeps its last copy of each group's metadata, under the group's name (vgcfgbackup(8)).
const BACKUP: &str = "/etc/lvm/backup";

/// The pools that LVM's backups of its metadata tell of, as `VG/LV`: a hint that LVM may know more pools than
/// are active, at no cost of asking it.
pub fn hinted() -> BTreeSet<String> {
    let folder = Path::new(BACKUP);
    let mut found = BTreeSet::new();
    for name in block::entries(folder).unwrap_or_default() {
        let text = file::read(&folder.join(&name)).ok().flatten().unwrap_or_default();
        if text.contains("\"thin-pool\"") {
            found.extend(pools_in_backup(&text));
        }
    }
    found
}

/// A group with thin pools that LVM finds nowhere: no disk of it is there; or one is marked as its own, and what is written
/// of it there was cut off, or is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    pub device: Option<String>,
    pub vg: String,
    pub pools: Vec<String>,
    /// When the backup was made, as it says itself.
    pub made: Option<String>,
    /// Other disks that it names are not there either.
    pub partial: bool,
}

impl Unread {
    /// LVM's own copy of what was written of the group.
    pub fn backup(&self) -> String {
        quoted(&format!("{BACKUP}/{}", self.vg))
    }
}

/// Those that LVM's backups tell of.
pub fn unread(lvm: &Lvm) -> Vec<Unread> {
    let stranded: Vec<&PvRow> = lvm.stranded().filter(|row| !row.pv_uuid.is_empty()).collect();
    let mut found = Vec::new();
    for vg in block::entries(Path::new(BACKUP)).unwrap_or_default() {
        // Mostly LVM knows them all, and nothing is read.
        if lvm.pvs.iter().any(|row| row.vg_name == vg) {
            continue;
        }
        let text = file::read(&Path::new(BACKUP).join(&vg)).ok().flatten().unwrap_or_default();
        let mut pools = pools_in_backup(&text);
        pools.retain(|name| LvmName::parse(name).is_ok_and(|name| name.vg.as_str() == vg));
        if pools.is_empty() {
            continue;
        }
        let disks = disks_in_backup(&text);
        let group = |device: Option<String>| Unread {
            device,
            vg: vg.clone(),
            pools: pools.clone(),
            made: made(&text),
            partial: !disks.iter().all(|id| lvm.pvs.iter().any(|row| row.pv_uuid == *id)),
        };
        let before = found.len();
        let is_of_it = |row: &&&PvRow| disks.contains(&row.pv_uuid.as_str());
        found.extend(stranded.iter().filter(is_of_it).map(|row| group(Some(row.pv_name.clone()))));
        // One that LVM is not to look at is there all the same.
        if found.len() == before && !disks.iter().any(|id| is_there(id)) {
            found.push(group(None));
        }
    }
    found
}

/// Whether udev knows a disk with this id of LVM's.
fn is_there(id: &str) -> bool {
    Path::new("/dev/disk/by-id").join(format!("lvm-pv-uuid-{id}")).exists()
}

/// When a backup was made: LVM writes that behind the number of seconds.
fn made(backup: &str) -> Option<String> {
    let line = backup.lines().find_map(|line| line.trim().strip_prefix("creation_time = "))?;
    Some(line.split_once("# ")?.1.trim().to_owned())
}

/// The ids of the physical volumes of a backup.
fn disks_in_backup(text: &str) -> Vec<&str> {
    let mut within = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        match line {
            "physical_volumes {" => within = true,
            "logical_volumes {" => within = false,
            _ => found.extend(line.strip_prefix("id = \"").and_then(|id| id.strip_suffix('"')).filter(|_| within)),
        }
    }
    found
}

/// Whether LVM's backup of this group's metadata tells of this pool, and of no thin volume in the group.
pub fn hinted_without_volumes(pool: &LvmName) -> bool {
    let path = Path::new(BACKUP).join(pool.vg.as_str());
    let text = file::read(&path).ok().flatten().unwrap_or_default();
    has_pool_alone(&text, &pool.to_string())
}

fn has_pool_alone(backup: &str, pool: &str) -> bool {
    pools_in_backup(backup).iter().any(|found| found == pool) && !backup.contains("type = \"thin\"")
}

/// The pools of a backup. LVM writes it with each section's head and end on a line of its own, so that this needs no
/// parser: `status` pays for it on each run.
pub fn pools_in_backup(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut sections: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            sections.push(name);
        } else if line == "}" {
            sections.pop();
        } else if line == "type = \"thin-pool\""
            && let [vg, "logical_volumes", lv, ..] = sections.as_slice()
        {
            found.push(format!("{vg}/{lv}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_hints_at_its_pools() {
        let text = "contents = \"x\"\ndocker {\n\tlogical_volumes {\n\n\t\tthinpool {\n\t\t\tsegment1 {\n\t\t\t\ttype = \"thin-pool\"\n\
                    \t\t\t}\n\t\t}\n\t\tv1 {\n\t\t\tsegment1 {\n\t\t\t\ttype = \"thin\"\n\t\t\t}\n\t\t}\n\t}\n}\n";
        assert_eq!(pools_in_backup(text), ["docker/thinpool"]);
        assert!(pools_in_backup("garbage {").is_empty());
        let disks = "creation_time = 1764410712\t# Sun Nov 29 10:05:12 2026\n\ndocker {\n\tid = \"vg\"\n\tphysical_volumes {\n\n\t\tpv0 {\n\
                     \t\t\tid = \"one\"\n\t\t}\n\t\tpv1 {\n\t\t\tid = \"two\"\n\t\t}\n\t}\n\tlogical_volumes {\n\t\tv {\n\t\t\tid = \"lv\"\n";
        assert_eq!(disks_in_backup(disks), ["one", "two"]);
        assert_eq!(made(disks).as_deref(), Some("Sun Nov 29 10:05:12 2026"));
        assert_eq!(made(text), None);
        assert!(!has_pool_alone(text, "docker/thinpool"), "v1 is a thin volume");
        let alone = text.replace("\"thin\"", "\"linear\"");
        assert!(has_pool_alone(&alone, "docker/thinpool") && !has_pool_alone(&alone, "docker/other"));
    }
}
