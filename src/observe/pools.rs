//! The thin pools of this host, whoever made them: from the kernel alone, and joined with what LVM knows.

mod side;

pub use side::{LvmSide, is_overdue};

use super::lvm::{Lvm, PvRow, lvm_name};
use super::profile;
use super::register::{self, Record};
use super::thin::{Mode, PoolFigures, PoolStatus, PoolTable, Thin, parse_pool_status, parse_pool_table};
use super::{Looked, Unseen, looked};
use crate::names::{LvmName, layer_over, means, quoted};
use crate::sys::dm::{Ask, Control, Device, Entry};
use crate::sys::{block, file};
use crate::units::{Bytes, Sectors};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a pool stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A thin-pool volume of LVM.
    Lvm,
    /// Two files on loop devices under a bare table.
    Loop,
    /// A bare table on any other devices.
    Raw,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Lvm => "lvm",
            Kind::Loop => "loop",
            Kind::Raw => "raw",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// `VG/LV`, or the device-mapper name.
    pub name: String,
    pub kind: Kind,
    /// Absent for an inactive pool.
    pub live: Option<Live>,
    /// Absent for a bare pool, and where LVM was not asked.
    pub lvm: Option<LvmSide>,
    /// Where its node is there without the thin-pool target.
    pub broken: Option<Broken>,
    /// What the register says of a bare pool that is in it.
    pub record: Option<Looked<Record>>,
}

/// The node of a pool that has another table than a pool's, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub dm_name: String,
    /// `error` after `dmsetup wipe_table`, for one; none where no table is live.
    pub target: Option<String>,
}

/// What hung when it was asked before, and so is asked for its table alone, and whom to tell what is asked next.
pub struct Caution<'a> {
    /// Device-mapper names, with what was seen of them.
    pub silent: &'a BTreeMap<String, String>,
    pub tell: &'a mut dyn FnMut(&str),
}

/// A pool as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Live {
    /// The node with the thin-pool target.
    pub dm_name: String,
    pub major: u32,
    pub minor: u32,
    pub suspended: bool,
    pub inactive_table: bool,
    /// LVM's layer over it has no table: its activation was cut off on the way.
    pub layer_empty: bool,
    pub length: Sectors,
    pub table: Looked<PoolTable>,
    pub status: Looked<PoolStatus>,
    /// Active thin volumes.
    pub volumes: Looked<u64>,
    /// Those of them that the kernel has given up, by their device-mapper names.
    pub failed_volumes: Looked<Vec<String>>,
    /// The kernel's names of all that stands right on it: thin volumes, and LVM's layer over a pool.
    pub holders: Looked<Vec<String>>,
    /// The active thin volumes, as they were when the pool was looked at.
    #[serde(skip)]
    pub thin: Vec<Thin>,
    pub data: Looked<Below>,
    pub metadata: Looked<Below>,
}

/// A device right under a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Below {
    /// The kernel's name: dm-1, loop0, sda2.
    pub device: String,
    /// For a loop device, the file behind it.
    pub file: Option<String>,
}

impl Live {
    /// What a working pool says of itself; none where it has failed or could not be read.
    pub fn figures(&self) -> Option<&PoolFigures> {
        self.status.as_ref().ok()?.figures.as_ref()
    }

    /// The node of the device that its metadata is on.
    ///
    /// # Errors
    /// It could not be looked at.
    pub fn metadata_node(&self) -> Looked<PathBuf> {
        let below = self.metadata.as_ref().map_err(Clone::clone)?;
        Ok(Path::new("/dev").join(&below.device))
    }

    pub fn chunk(&self) -> Option<Bytes> {
        self.table.as_ref().ok().map(PoolTable::chunk_bytes)
    }
}

impl Pool {
    /// What the register says of it, where that could be read.
    pub fn recorded(&self) -> Option<&Record> {
        self.record.as_ref()?.as_ref().ok()
    }

    /// As [`Live::figures`]; none for a pool that is down, too.
    pub fn figures(&self) -> Option<&PoolFigures> {
        self.live.as_ref()?.figures()
    }

    pub fn mode(&self) -> Option<Mode> {
        Some(self.live.as_ref()?.status.as_ref().ok()?.mode)
    }

    /// The device-mapper names that the operator may use for it.
    pub fn dm_names(&self) -> Vec<String> {
        let live = self.live.as_ref().map(|live| live.dm_name.as_str());
        let broken = self.broken.as_ref().map(|broken| broken.dm_name.as_str());
        let up = live.or(broken).into_iter().flat_map(|name| [name, layer_over(name).unwrap_or(name)]);
        let mut names: Vec<String> = up.map(str::to_owned).collect();
        // One of LVM's has its name while it is down, too.
        names.extend(LvmName::parse(&self.name).ok().map(|name| name.dm_name()));
        names
    }
}

/// Every pool that is active, from device-mapper and sysfs alone, without a flush.
///
/// # Errors
/// device-mapper cannot be asked at all.
pub fn active(control: &Control, caution: &mut Caution<'_>) -> anyhow::Result<Vec<Pool>> {
    let mut pools = Vec::new();
    let mut thin = BTreeMap::new();
    let mut others = Vec::new();
    for entry in control.list()? {
        (caution.tell)(&entry.name);
        let kernel = || format!("dm-{}", entry.minor);
        let silent = caution.silent.get(&entry.name);
        // The status of a volume hangs with its pool's; which pool that is, is not known yet.
        let ask = if caution.silent.is_empty() { Ask::Status } else { Ask::Table };
        // A device that went between the listing and the look is no error.
        let Ok(device) = control.look(&entry.name, ask) else { continue };
        match device.targets.as_slice() {
            [target] if target.kind == "thin" => {
                let status = (ask == Ask::Status).then(|| target.params.clone());
                let of_lvm = device.uuid.starts_with("LVM-");
                let length = Sectors(target.length);
                thin.insert(kernel(), Thin { dm_name: entry.name, of_lvm, length, status });
            }
            [target] if target.kind == "thin-pool" => {
                let status = match silent {
                    Some(why) => Err(Unseen(why.clone())),
                    None if ask == Ask::Table => status_of(control, &entry.name),
                    None => parse_pool_status(&target.params),
                };
                pools.push(named(live(control, &entry, &device, target.length, status), &device.uuid));
            }
            targets => others.push((entry, device.uuid.clone(), targets.first().map(|target| target.kind.clone()))),
        }
    }
    let empty = |name: &str| others.iter().any(|(entry, _, target)| entry.name == name && target.is_none());
    for live in pools.iter_mut().filter_map(|pool| pool.live.as_mut()) {
        live.layer_empty = layer_over(&live.dm_name).is_some_and(empty);
    }
    pools.extend(others.into_iter().filter_map(|(entry, uuid, target)| broken(entry, &uuid, target, &thin)));
    for live in pools.iter_mut().filter_map(|pool| pool.live.as_mut()) {
        let Ok(holders) = &live.holders else { continue };
        live.failed_volumes = match caution.silent.values().next() {
            Some(why) => Err(Unseen(format!("not asked, since {why}"))),
            None => Ok(of(holders, &thin)
                .filter(|volume| volume.has_failed())
                .map(|volume| volume.dm_name.clone())
                .collect()),
        };
        live.thin = of(holders, &thin).cloned().collect();
        live.volumes = Ok(live.thin.len() as u64);
    }
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(pools)
}

fn live(control: &Control, entry: &Entry, device: &Device, length: u64, status: Looked<PoolStatus>) -> Live {
    let table = table_of(control, &entry.name);
    let below = |device: fn(&PoolTable) -> &str| match &table {
        Ok(table) => looked(below(device(table))),
        Err(why) => Err(why.clone()),
    };
    let holders = looked(block::entries(&block::sysfs(entry.major, entry.minor).join("holders")));
    Live {
        dm_name: entry.name.clone(),
        major: entry.major,
        minor: entry.minor,
        suspended: device.suspended,
        inactive_table: device.inactive_table,
        layer_empty: false,
        length: Sectors(length),
        data: below(|table| &table.data_device),
        metadata: below(|table| &table.metadata_device),
        table,
        status,
        volumes: holders.as_ref().map(|_| 0).map_err(Clone::clone),
        failed_volumes: Ok(Vec::new()),
        holders,
        thin: Vec::new(),
    }
}

/// A node that was a pool: LVM says so in its uuid, and of a bare one the thin volumes that still stand on it tell.
fn broken(entry: Entry, uuid: &str, target: Option<String>, thin: &BTreeMap<String, Thin>) -> Option<Pool> {
    let of_lvm = uuid.starts_with("LVM-") && uuid.ends_with("-tpool");
    let carries_volumes = || {
        let holders = block::entries(&block::sysfs(entry.major, entry.minor).join("holders")).unwrap_or_default();
        !holders.is_empty() && holders.iter().all(|holder| thin.contains_key(holder))
    };
    let suspect = target.as_deref().is_none_or(|kind| kind == "error");
    let is_pool = of_lvm || (suspect && carries_volumes());
    if !is_pool {
        return None;
    }
    let (name, kind) = match lvm_name(&entry.name).filter(|_| of_lvm) {
        Some(name) => (name, Kind::Lvm),
        None => (entry.name.clone(), Kind::Raw),
    };
    let broken = Broken { dm_name: entry.name, target };
    Some(Pool { name, kind, live: None, lvm: None, broken: Some(broken), record: None })
}

fn status_of(control: &Control, name: &str) -> Looked<PoolStatus> {
    let device = looked(control.look(name, Ask::Status))?;
    let target = device.targets.first().ok_or_else(|| Unseen(format!("{name} has no table any more")))?;
    parse_pool_status(&target.params)
}

fn table_of(control: &Control, name: &str) -> Looked<PoolTable> {
    let device = looked(control.look(name, Ask::Table))?;
    let target = device.targets.first().ok_or_else(|| Unseen(format!("{name} has no table any more")))?;
    parse_pool_table(&target.params)
}

fn named(live: Live, uuid: &str) -> Pool {
    let on_loop = |below: &Looked<Below>| below.as_ref().is_ok_and(|below| below.device.starts_with("loop"));
    let lvm = if uuid.starts_with("LVM-") { lvm_name(&live.dm_name) } else { None };
    let (name, kind) = match lvm {
        Some(name) => (name, Kind::Lvm),
        None if on_loop(&live.data) && on_loop(&live.metadata) => (live.dm_name.clone(), Kind::Loop),
        None => (live.dm_name.clone(), Kind::Raw),
    };
    Pool { name, kind, live: Some(live), lvm: None, broken: None, record: None }
}

fn below(number: &str) -> anyhow::Result<Below> {
    let (major, minor) = block::parse_dev(number)?;
    let device =
        block::kernel_name(major, minor).ok_or_else(|| anyhow::anyhow!("no device has the number {number}"))?;
    let file = if device.starts_with("loop") {
        file::read(&block::sysfs(major, minor).join("loop/backing_file"))?
    } else {
        None
    };
    Ok(Below { device, file: file.map(|path| path.trim_end_matches('\n').to_owned()) })
}

/// Each active thin volume holds its pool; LVM's own layer above the pool does too, and is none.
fn of<'a>(holders: &'a [String], thin: &'a BTreeMap<String, Thin>) -> impl Iterator<Item = &'a Thin> {
    holders.iter().filter_map(|holder| thin.get(holder))
}

/// Joins what LVM knows to the active pools, and adds those that are inactive.
pub fn join(mut pools: Vec<Pool>, lvm: &Lvm) -> Vec<Pool> {
    for row in lvm.lvs.iter().filter(|row| row.segtype == "thin-pool") {
        let name = format!("{}/{}", row.vg_name, row.lv_name);
        let attached = [&row.lv_profile, &row.vg_profile].into_iter().find(|name| !name.is_empty());
        let side = LvmSide {
            autoextend: profile::effective(attached.map(String::as_str)),
            profile_missing: attached.is_some_and(|name| profile::read(name) == Ok(None)),
            data_devices: devices_of(lvm, &row.vg_name, &row.data_lv),
            metadata_devices: devices_of(lvm, &row.vg_name, &row.metadata_lv),
            active_components: [&row.data_lv, &row.metadata_lv]
                .into_iter()
                .filter(|lv| lvm.lv(&row.vg_name, lv).is_some_and(|row| row.lv_active == "active"))
                .cloned()
                .collect(),
            metadata_size: Bytes(lvm.lv(&row.vg_name, &row.metadata_lv).map_or(0, |row| row.lv_size)),
            row: row.clone(),
        };
        match pools.iter_mut().find(|pool| pool.kind == Kind::Lvm && pool.name == name) {
            Some(pool) => pool.lvm = Some(side),
            None => pools.push(Pool { name, kind: Kind::Lvm, live: None, lvm: Some(side), broken: None, record: None }),
        }
    }
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    pools
}

/// Both sides together, where both could be asked.
///
/// # Errors
/// The first of them that could not.
pub fn joined(active: Looked<Vec<Pool>>, lvm: &Looked<Lvm>) -> Looked<Vec<Pool>> {
    Ok(join(active?, lvm.as_ref().map_err(Clone::clone)?))
}

/// All pools that are up or known: the kernel's, LVM's and the register's.
///
/// # Errors
/// The first of them that could not be asked.
pub fn all(active: Looked<Vec<Pool>>, lvm: &Looked<Lvm>, register: &Looked<Vec<register::Entry>>) -> Looked<Vec<Pool>> {
    Ok(with_register(joined(active, lvm)?, register.as_ref().map_err(Clone::clone)?))
}

/// Joins the register to the pools, and adds those of it that are down.
pub fn with_register(mut pools: Vec<Pool>, register: &[register::Entry]) -> Vec<Pool> {
    for register::Entry { name, record } in register {
        let is_it = |pool: &&mut Pool| pool.kind != Kind::Lvm && pool.name == *name;
        if let Some(pool) = pools.iter_mut().find(is_it) {
            pool.record = Some(record.clone());
            continue;
        }
        let kind = record.as_ref().map_or(Kind::Raw, |record| record.kind);
        let record = Some(record.clone());
        pools.push(Pool { name: name.clone(), kind, live: None, lvm: None, broken: None, record });
    }
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    pools
}

/// The pools that were named, in that order, and the names that none answers to; all pools where none was named.
pub fn choose(mut pools: Vec<Pool>, names: &[String]) -> (Vec<Pool>, Vec<String>) {
    if names.is_empty() {
        return (pools, Vec::new());
    }
    let (mut chosen, mut unknown): (Vec<Pool>, Vec<String>) = (Vec::new(), Vec::new());
    for name in names {
        let is_meant = |pool: &Pool| means(name, &pool.name, &pool.dm_names());
        match pools.iter().position(is_meant) {
            Some(at) => chosen.push(pools.remove(at)),
            None if chosen.iter().any(is_meant) => {}
            None => unknown.push(name.clone()),
        }
    }
    (chosen, unknown)
}

/// The physical volumes under a logical volume: rows say `/dev/sda(0),/dev/sdb(17)`.
fn devices_of(lvm: &Lvm, vg: &str, lv: &str) -> Vec<String> {
    let mut devices: Vec<String> = lvm
        .lvs
        .iter()
        .filter(|row| row.vg_name == vg && row.lv_name == lv)
        .flat_map(|row| row.devices.split(','))
        .filter_map(|device| device.rsplit_once('(').map(|(name, _)| name.to_owned()))
        .collect();
    devices.sort();
    devices.dedup();
    devices
}

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

/// A group with thin pools that LVM finds nowhere, although this disk is marked as its own: what is written of it there
/// was cut off, or is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    pub device: String,
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
    let stranded: Vec<&PvRow> = lvm.pvs.iter().filter(|row| row.is_stranded() && !row.pv_uuid.is_empty()).collect();
    let mut found = Vec::new();
    // Mostly there is none, and nothing is read.
    if stranded.is_empty() {
        return found;
    }
    for vg in block::entries(Path::new(BACKUP)).unwrap_or_default() {
        let text = file::read(&Path::new(BACKUP).join(&vg)).ok().flatten().unwrap_or_default();
        let mut pools = pools_in_backup(&text);
        pools.retain(|name| LvmName::parse(name).is_ok_and(|name| name.vg.as_str() == vg));
        let is_there = |row: &&&PvRow| !pools.is_empty() && text.contains(&format!("id = \"{}\"", row.pv_uuid));
        found.extend(stranded.iter().filter(is_there).map(|row| Unread {
            device: row.pv_name.clone(),
            vg: vg.clone(),
            pools: pools.clone(),
            made: made(&text),
            partial: !disks_in_backup(&text).iter().all(|id| lvm.pvs.iter().any(|row| row.pv_uuid == *id)),
        }));
    }
    found
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
