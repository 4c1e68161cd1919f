//! The thin volumes that the kernel has on a pool.

use crate::observe::pools::Live;
use crate::observe::{Looked, Unseen, looked};
use crate::sys::dm::{Ask, Control};
use crate::units::{Bytes, Sectors};
use serde::Serialize;
use std::collections::BTreeSet;

/// A thin volume that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Active {
    pub dm_name: String,
    /// LVM made it.
    pub of_lvm: bool,
    pub thin_id: u64,
    pub size: Bytes,
    /// Absent where it has failed.
    pub mapped: Option<Bytes>,
    /// The end of the last chunk that was written, from the volume's beginning.
    pub highest: Option<Bytes>,
}

/// The thin volumes that stand on a live pool.
///
/// # Errors
/// device-mapper cannot be asked.
pub fn active_on(live: &Live) -> Looked<Vec<Active>> {
    let control = looked(Control::open())?;
    let holders: BTreeSet<&str> = live.holders.as_ref().map_err(Clone::clone)?.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for entry in looked(control.list())? {
        if !holders.contains(format!("dm-{}", entry.minor).as_str()) {
            continue;
        }
        let table = looked(control.look(&entry.name, Ask::Table))?;
        // LVM's own layer over a pool stands there too.
        let of_lvm = table.uuid.starts_with("LVM-");
        let [table] = table.targets.as_slice() else { continue };
        if table.kind != "thin" {
            continue;
        }
        let status = looked(control.look(&entry.name, Ask::Status))?;
        let status = status.targets.first().map(|target| target.params.as_str()).unwrap_or_default();
        found.push(Active { of_lvm, ..parse(&entry.name, table.length, &table.params, status)? });
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
        of_lvm: false,
        thin_id: id.ok_or_else(|| Unseen(format!("the kernel says no thin id of {dm_name}")))?,
        size: Sectors(length).bytes(),
        mapped: words.next().flatten().map(|sectors| Sectors(sectors).bytes()),
        highest: words.next().flatten().map(|sector| Sectors(sector.saturating_add(1)).bytes()),
    })
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
