//! The thin pools of this host, whoever made them: from the kernel alone, and joined with what LVM knows.

mod backup;
mod side;

pub use backup::{Unread, hinted, hinted_without_volumes, pools_in_backup, unread};
pub use side::{LvmSide, is_overdue};

use super::lvm::{Lvm, lvm_name};
use super::profile;
use super::register::{self, Record};
use super::striping::Striping;
use super::thin::{Mode, PoolFigures, PoolStatus, PoolTable, Thin, parse_pool_status, parse_pool_table};
use super::{Looked, Unseen, looked};
use crate::names::{LvmName, layer_over, means};
use crate::sys::dm::{Ask, Control, Device, Entry};
use crate::sys::{block, file};
use crate::units::{Bytes, Sectors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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

impl Below {
    /// Its name in device-mapper, where it is suspended: who asks the pool to write its metadata waits for it.
    pub fn suspended(&self) -> Option<String> {
        let folder = Path::new("/sys/class/block").join(self.device.replace('/', "!")).join("dm");
        let word = |name: &str| file::read(&folder.join(name)).ok().flatten().map(|text| text.trim().to_owned());
        word("suspended").filter(|word| word == "1").and_then(|_| word("name"))
    }
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

    /// Whether LVM's number of its transaction is another one than the kernel's.
    pub fn counts_otherwise(&self) -> bool {
        let of_lvm = self.lvm.as_ref().and_then(|side| side.row.transaction_id.parse::<u64>().ok());
        of_lvm.zip(self.figures()).is_some_and(|(of_lvm, figures)| of_lvm != figures.transaction_id)
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
        let silent = caution.silent.get(&entry.name);
        // The status of a volume hangs with its pool's; which pool that is, is not known yet.
        let ask = if caution.silent.is_empty() { Ask::Status } else { Ask::Table };
        // One that went between the listing and the look is no error; one that is there may be a pool.
        let Some(device) = control.look_if_there(&entry.name, ask)? else { continue };
        let entry = Entry { major: device.major, minor: device.minor, ..entry };
        let kernel = || format!("dm-{}", entry.minor);
        match device.targets.as_slice() {
            [target] if target.kind == "thin" => {
                let status = (ask == Ask::Status).then(|| target.params.clone());
                let of_lvm = device.uuid.starts_with("LVM-");
                let length = Sectors(target.length);
                thin.insert(
                    kernel(),
                    Thin { dm_name: entry.name, suspended: device.suspended, of_lvm, length, status },
                );
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

/// What a pool says of itself now.
///
/// # Errors
/// It cannot be asked, or is none.
pub fn status_of(control: &Control, name: &str) -> Looked<PoolStatus> {
    let device = looked(control.look(name, Ask::Status))?;
    let target = device.targets.first().ok_or_else(|| Unseen(format!("{name} has no table any more")))?;
    parse_pool_status(&target.params)
}

/// The transaction ids that pools of LVM's are at now, as far as they tell.
pub fn counted<'a>(pools: impl IntoIterator<Item = &'a Pool>) -> BTreeMap<String, u64> {
    let Ok(control) = Control::open() else { return BTreeMap::new() };
    let of_lvm = pools.into_iter().filter(|pool| pool.lvm.is_some());
    let told = of_lvm.filter_map(|pool| {
        let status = status_of(&control, &pool.live.as_ref()?.dm_name).ok()?;
        Some((pool.name.clone(), status.figures?.transaction_id))
    });
    told.collect()
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
            striping: lvm.lv(&row.vg_name, &row.data_lv).map_or(Striping::NONE, Striping::of),
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
