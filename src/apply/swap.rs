//! Another length for a live pool's table: loaded first and swapped in by one resume, so that its users wait for
//! milliseconds; and the way back, since a resume that fails leaves a pool suspended.

use crate::observe::thin::{PoolTable, parse_pool_table};
use crate::sys::block;
use crate::sys::dm::{Ask, Control, Device, Target};
use crate::units::{Bytes, Sectors};
use anyhow::{Context, Result, bail};

/// Swaps in the table with its new length, all its other words as they were.
///
/// # Errors
/// It did not take. The pool runs with its old table then; where even that failed, the error says so.
pub fn swap(name: &str, (from, to): (Sectors, Sectors), table: &PoolTable) -> Result<()> {
    let control = Control::open()?;
    let target =
        |length: Sectors| Target { start: 0, length: length.0, kind: "thin-pool".to_owned(), params: table.params() };
    let (old, new) = (target(from), target(to));
    let live = control.look(name, Ask::Table)?;
    if !is(&live, from, table) {
        bail!("{name} has another table by now than the one that was looked at");
    }
    // A load takes any length, and the resume that follows does not: the pool would stand still.
    let (major, minor) = block::parse_dev(&table.data_device)?;
    let device = block::kernel_name(major, minor).context("the data device is not in sysfs")?;
    let size = block::size(&format!("/dev/{device}"))?;
    if Bytes(size).whole_sectors() < to {
        bail!("/dev/{device} has {size} bytes, which is less than the new table of {} sectors", to.0);
    }
    let outcome = control.load(name, &new).and_then(|()| control.resume(name));
    let Err(why) = outcome else { return Ok(()) };
    match back(&control, name, &old, table) {
        Ok(()) => Err(why.context(format!("{name} runs on with its old table"))),
        Err(worse) => Err(worse.context(format!("{name} could not be brought back to its old table: {why:#}"))),
    }
}

/// Whether this is the device's live table, however the kernel writes it.
fn is(device: &Device, length: Sectors, table: &PoolTable) -> bool {
    let [target] = device.targets.as_slice() else { return false };
    target.length == length.0 && parse_pool_table(&target.params).as_ref() == Ok(table)
}

/// The old table live, none waiting, the pool running.
fn back(control: &Control, name: &str, old: &Target, table: &PoolTable) -> Result<()> {
    let now = control.look(name, Ask::Table)?;
    if now.inactive_table {
        control.clear(name)?;
    }
    // A table that is too short for the pool goes live before its resume fails.
    let is_old = is(&now, Sectors(old.length), table);
    if !is_old {
        control.load(name, old)?;
    }
    if now.suspended || !is_old {
        control.resume(name)?;
    }
    let after = control.look(name, Ask::Table)?;
    if after.suspended || after.inactive_table {
        bail!("{name} is {}", if after.suspended { "suspended" } else { "left with a table that waits" });
    }
    Ok(())
}
