//! Thin volumes: those that the kernel has on a pool, and those that LVM or the register knows besides.

use super::lvm::Lvm;
use super::pools::{Live, Pool};
use super::register::State;
use super::{Looked, Unseen, looked};
use crate::names::dm_escape;
use crate::sys::dm::{Ask, Control};
use crate::sys::file;
use crate::units::{Bytes, Sectors};
use serde::Serialize;
use std::path::Path;

/// A thin volume that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Active {
    pub dm_name: String,
    pub thin_id: u64,
    pub size: Bytes,
    /// Absent where it has failed.
    pub mapped: Option<Bytes>,
    /// The end of the last chunk that was written, from the volume's beginning.
    pub highest: Option<Bytes>,
}

/// A volume by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    pub name: String,
    pub pool: String,
    pub thin_id: Option<u64>,
    pub size: Bytes,
    pub active: Option<Active>,
    pub origin: Option<String>,
    /// Who made it, where that is known.
    pub owner: Option<&'static str>,
}

/// The thin volumes that stand on a live pool.
///
/// # Errors
/// device-mapper cannot be asked.
pub fn active_on(live: &Live) -> Looked<Vec<Active>> {
    let control = looked(Control::open())?;
    let mut found = Vec::new();
    for holder in live.holders.as_ref().map_err(Clone::clone)? {
        let folder = Path::new("/sys/class/block").join(holder);
        let dm_name = looked(file::read(&folder.join("dm/name")))?.unwrap_or_default().trim().to_owned();
        let table = looked(control.look(&dm_name, Ask::Table))?;
        let status = looked(control.look(&dm_name, Ask::Status))?;
        let ([table], [status]) = (table.targets.as_slice(), status.targets.as_slice()) else { continue };
        // LVM's own layer over a pool stands there too.
        if table.kind == "thin" {
            found.push(parse(&dm_name, table.length, &table.params, &status.params)?);
        }
    }
    found.sort_by_key(|volume| volume.thin_id);
    Ok(found)
}

/// The number of a thin volume in its pool; none where the device is no thin volume.
pub fn thin_id(dm_name: &str) -> Option<u64> {
    let device = Control::open().and_then(|control| control.look(dm_name, Ask::Table)).ok()?;
    let target = device.targets.first().filter(|target| target.kind == "thin")?;
    target.params.split_whitespace().nth(1)?.parse().ok()
}

/// `<pool dev> <dev id> [<external origin dev>]`, and `<nr mapped sectors> <highest mapped sector>` (a hyphen where
/// nothing is mapped) or `Fail` (thin-provisioning.rst).
fn parse(dm_name: &str, length: u64, table: &str, status: &str) -> Looked<Active> {
    let id = table.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let mut words = status.split_whitespace().map(|word| word.parse::<u64>().ok());
    Ok(Active {
        dm_name: dm_name.to_owned(),
        thin_id: id.ok_or_else(|| Unseen(format!("the kernel says no thin id of {dm_name}")))?,
        size: Sectors(length).bytes(),
        mapped: words.next().flatten().map(|sectors| Sectors(sectors).bytes()),
        highest: words.next().flatten().map(|sector| Sectors(sector.saturating_add(1)).bytes()),
    })
}

/// All volumes of a pool that have a name: the active ones, and those that LVM or the register knows.
///
/// # Errors
/// device-mapper cannot be asked, or the record of the pool cannot be read.
pub fn of(pool: &Pool, lvm: &Lvm) -> Looked<Vec<Known>> {
    let mut active = pool.live.as_ref().map_or_else(|| Ok(Vec::new()), active_on)?;
    let mut take = |is_it: &dyn Fn(&Active) -> bool| active.iter().position(is_it).map(|at| active.remove(at));
    let mut found = Vec::new();
    for row in lvm.lvs.iter().filter(|row| row.segtype == "thin" && is_on(row, pool)) {
        let active = take(&|active| active.dm_name == dm_escape(&row.vg_name, &row.lv_name));
        found.push(Known {
            name: row.lv_name.clone(),
            pool: pool.name.clone(),
            thin_id: active.as_ref().map(|active| active.thin_id),
            size: Bytes(row.lv_size),
            active,
            origin: None,
            owner: Some("lvm"),
        });
    }
    if let Some(record) = &pool.record {
        let record = record.as_ref().map_err(Clone::clone)?;
        let name =
            |id: u64| record.volumes.iter().find(|volume| volume.thin_id == id).map(|volume| volume.name.clone());
        for volume in record.volumes.iter().filter(|volume| volume.state == State::Ready) {
            found.push(Known {
                name: volume.name.clone(),
                pool: pool.name.clone(),
                thin_id: Some(volume.thin_id),
                size: volume.size,
                active: take(&|active| active.thin_id == volume.thin_id),
                origin: volume.origin.and_then(name),
                owner: (!volume.remembered).then_some("dmtool"),
            });
        }
    }
    for active in active {
        found.push(Known {
            name: active.dm_name.clone(),
            pool: pool.name.clone(),
            thin_id: Some(active.thin_id),
            size: active.size,
            active: Some(active),
            origin: None,
            owner: None,
        });
    }
    Ok(found)
}

fn is_on(row: &super::lvm::LvRow, pool: &Pool) -> bool {
    pool.lvm.is_some() && pool.name == format!("{}/{}", row.vg_name, row.pool_lv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_volume() {
        let volume = parse("loop-web", 2048, "254:0 7", "128 255").expect("a volume");
        assert_eq!((volume.thin_id, volume.size), (7, Bytes(1 << 20)));
        assert_eq!((volume.mapped, volume.highest), (Some(Bytes(65536)), Some(Bytes(131_072))));
        let blank = parse("v", 8, "254:0 0 254:9", "0 -").expect("a volume");
        assert_eq!((blank.mapped, blank.highest), (Some(Bytes(0)), None));
        assert_eq!(parse("v", 8, "254:0 0", "Fail").map(|volume| volume.mapped), Ok(None));
        assert!(parse("v", 8, "254:0", "0 -").is_err());
    }
}
