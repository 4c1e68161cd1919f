//! Another table for a live pool, longer or with another word: loaded first and swapped in by one resume, so that its
//! users wait for milliseconds; and the way back, since a resume that fails leaves a pool suspended.

use crate::observe::pools;
use crate::observe::thin::{PoolTable, parse_pool_table};
use crate::sys::block;
use crate::sys::dm::{Ask, Control, Device, Target};
use crate::units::{Bytes, Sectors};
use anyhow::{Context, Result, bail};

/// The length of a table, and its words.
type Line<'a> = (Sectors, &'a PoolTable);

/// Swaps one table for another on the same devices.
///
/// # Errors
/// It did not take. The pool runs on with the one it had; where even that failed, the error says so.
pub fn swap(name: &str, from: Line<'_>, to: Line<'_>) -> Result<()> {
    let control = Control::open()?;
    let live = control.look(name, Ask::Table)?;
    if !is(&live, from) {
        bail!("{name} has another table by now than the one that was looked at");
    }
    // A load takes any length, and the resume that follows does not: the pool would stand still.
    let (length, table) = to;
    let sizes = sizes(&control, name, table)?;
    holds(&table.data_device, length)?;
    holds(&table.metadata_device, sizes.metadata)?;
    let outcome = control.load(name, &target(to)).and_then(|()| control.resume(name));
    let what = if from.0 == length { "the table" } else { "the size" };
    let Err(why) = outcome else { return Ok(()) };
    match back(&control, name, from) {
        Ok(()) => Err(why.context(format!("{name} runs on with {what} it had"))),
        Err(worse) => Err(worse.context(format!("{name} could not be brought back to {what} it had: {why:#}"))),
    }
}

fn target((length, table): Line<'_>) -> Target {
    Target { start: 0, length: length.0, kind: "thin-pool".to_owned(), params: table.params() }
}

/// What the pool's metadata knows it to have, also while it is suspended.
struct Sizes {
    data: Sectors,
    metadata: Sectors,
}

fn sizes(control: &Control, name: &str, table: &PoolTable) -> Result<Sizes> {
    let figures = pools::status_of(control, name)?.figures.with_context(|| format!("{name} has failed by now"))?;
    Ok(Sizes {
        data: figures.data_total.bytes(table.chunk_bytes()).whole_sectors(),
        metadata: figures.metadata_total.bytes().whole_sectors(),
    })
}

/// That a device has what is needed of it.
fn holds(number: &str, needed: Sectors) -> Result<()> {
    let (major, minor) = block::parse_dev(number)?;
    let device = block::kernel_name(major, minor).with_context(|| format!("device {number} is not in sysfs"))?;
    let size = Bytes(block::size(&format!("/dev/{device}"))?);
    if size.whole_sectors() < needed {
        bail!("/dev/{device} has {size}, and the pool needs {} of it", needed.bytes());
    }
    Ok(())
}

/// Whether this is the device's live table, however the kernel writes it.
fn is(device: &Device, (length, table): Line<'_>) -> bool {
    let [target] = device.targets.as_slice() else { return false };
    target.length == length.0 && parse_pool_table(&target.params).as_ref() == Ok(table)
}

/// The old table live, none waiting, the pool running.
fn back(control: &Control, name: &str, (from, table): Line<'_>) -> Result<()> {
    let now = control.look(name, Ask::Table)?;
    if now.inactive_table {
        control.clear(name)?;
    }
    // Grown by somebody else meanwhile, the pool takes no table that is shorter than its metadata knows it to be. Such
    // a table goes live before its resume fails, and then every resume fails.
    let length = match sizes(control, name, table) {
        Ok(known) if known.data > from => known.data,
        _ => from,
    };
    let fits = is(&now, (length, table));
    if !fits {
        control.load(name, &target((length, table)))?;
    }
    if now.suspended || !fits {
        control.resume(name)?;
    }
    let after = control.look(name, Ask::Table)?;
    if after.suspended || after.inactive_table {
        bail!("{name} is {}", if after.suspended { "suspended" } else { "left with a table that waits" });
    }
    Ok(())
}
