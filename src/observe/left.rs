//! What a change of a pool that was cut off may have left in the kernel.

use super::pools::{Live, Pool};
use super::thin::{PoolTable, parse_pool_table};
use super::{Looked, Unseen, looked, profile, stilled};
use crate::names::LvmName;
use crate::sys::dm::{Ask, Control};
use crate::units::Sectors;
use serde::Serialize;

/// A table that was loaded and not swapped in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pending {
    pub length: Sectors,
    pub table: PoolTable,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Left {
    /// A change of this pool of LVM's was begun, and its end not written down.
    pub begun: bool,
    /// The volumes of which a change was begun, and its end not written down: a bare pool may stand on one.
    pub volumes: Vec<LvmName>,
    /// Of a bare pool: LVM swaps in a table that waits, where it ought to load another one (libdm-deptree.c).
    pub waiting: Option<Looked<Pending>>,
    /// Where one was, LVM has dmeventd watch what it changes.
    pub watches: bool,
}

/// What may be left of a pool that is up.
pub fn of(pool: &Pool) -> Left {
    let live = pool.live.as_ref();
    let volumes = stilled::read().unwrap_or_default();
    let begun = pool.lvm.is_some() && volumes.iter().any(|volume| volume.to_string() == pool.name);
    Left {
        begun,
        volumes,
        waiting: live.filter(|live| pool.lvm.is_none() && live.inactive_table).map(|live| pending(&live.dm_name)),
        watches: begun && profile::watches(),
    }
}

/// The table that waits for a device.
///
/// # Errors
/// It cannot be looked at, or is no pool's.
pub fn pending(name: &str) -> Looked<Pending> {
    let device = looked(Control::open().and_then(|control| control.look(name, Ask::Inactive)))?;
    match device.targets.as_slice() {
        [target] if target.kind == "thin-pool" => {
            Ok(Pending { length: Sectors(target.length), table: parse_pool_table(&target.params)? })
        }
        _ => Err(Unseen(format!("the table that waits for {name} is no thin pool's"))),
    }
}

impl Pending {
    /// Whether it is one of the same pool.
    pub fn is_of(&self, table: &PoolTable) -> bool {
        let of = |table: &PoolTable| (table.metadata_device.clone(), table.data_device.clone(), table.chunk);
        of(&self.table) == of(table)
    }
}

impl Left {
    /// Whether the table that waits is one that the next swap may take the place of: of the same pool, on the same devices, no
    /// shorter.
    pub fn may_be_replaced(&self, live: &Live) -> bool {
        let (Some(Ok(pending)), Ok(table)) = (&self.waiting, &live.table) else { return false };
        pending.is_of(table) && pending.length >= live.length
    }
}
