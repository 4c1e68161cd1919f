//! The thin volumes that the kernel has on a pool.

use crate::observe::pools::Live;
use crate::observe::thin::Thin;
use crate::observe::{Looked, Unseen, looked};
use crate::sys::dm::{Ask, Control};
use crate::units::{Bytes, Sectors};
use serde::Serialize;

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
    live.holders.as_ref().map_err(Clone::clone)?;
    let mut found = Vec::new();
    for Thin { dm_name, of_lvm, length, status, .. } in &live.thin {
        let look = |ask| -> Looked<Option<String>> {
            let device = looked(control.look_if_there(dm_name, ask))?;
            match device.and_then(|device| device.targets.into_iter().next()) {
                Some(target) if target.kind == "thin" => Ok(Some(target.params)),
                Some(target) => Err(Unseen(format!("{dm_name} was a thin volume, and is a {} by now", target.kind))),
                None => Ok(None),
            }
        };
        // One that went since the pool was looked at, or is made anew and has no table yet.
        let Some(table) = look(Ask::Table)? else { continue };
        let Some(status) = status.clone().map_or_else(|| look(Ask::Status), |status| Ok(Some(status)))? else {
            continue;
        };
        found.push(Active { of_lvm: *of_lvm, ..parse_volume(dm_name, *length, &table, &status)? });
    }
    found.sort_by_key(|volume| volume.thin_id);
    Ok(found)
}

/// The number of a thin volume in its pool; none where the device is no thin volume, or gone.
///
/// # Errors
/// It cannot be looked at.
pub fn thin_id(dm_name: &str) -> Looked<Option<u64>> {
    let device = looked(Control::open().and_then(|control| control.look_if_there(dm_name, Ask::Table)))?;
    let target = device.and_then(|device| device.targets.into_iter().next()).filter(|target| target.kind == "thin");
    Ok(target.and_then(|target| target.params.split_whitespace().nth(1)?.parse().ok()))
}

/// `<pool dev> <dev id> [<external origin dev>]`, and `<nr mapped sectors> <highest mapped sector>` (a hyphen where
/// nothing is mapped) or `Fail` (thin-provisioning.rst).
///
/// # Errors
/// The table has no thin id.
pub fn parse_volume(dm_name: &str, length: Sectors, table: &str, status: &str) -> Looked<Active> {
    let id = table.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    let mut words = status.split_whitespace().map(|word| word.parse::<u64>().ok());
    let mapped = words.next().flatten();
    let highest = words.next().flatten().filter(|_| mapped.is_some());
    Ok(Active {
        dm_name: dm_name.to_owned(),
        of_lvm: false,
        thin_id: id.ok_or_else(|| Unseen(format!("the kernel says no thin id of {dm_name}")))?,
        size: length.bytes(),
        mapped: mapped.map(|sectors| Sectors(sectors).bytes()),
        highest: highest.map(|sector| Sectors(sector.saturating_add(1)).bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_volume() {
        let volume = parse_volume("loop-web", Sectors(2048), "254:0 7", "128 255").expect("a volume");
        assert_eq!((volume.thin_id, volume.size), (7, Bytes(1 << 20)));
        assert_eq!((volume.mapped, volume.highest), (Some(Bytes(65536)), Some(Bytes(131_072))));
        let blank = parse_volume("v", Sectors(8), "254:0 0 254:9", "0 -").expect("a volume");
        assert_eq!((blank.mapped, blank.highest), (Some(Bytes(0)), None));
        assert_eq!(parse_volume("v", Sectors(8), "254:0 0", "Fail").map(|volume| volume.mapped), Ok(None));
        assert!(parse_volume("v", Sectors(8), "254:0", "0 -").is_err());
        assert_eq!(parse_volume("v", Sectors(8), "254:0 0", "Fail 255").map(|volume| volume.highest), Ok(None));
    }
}
