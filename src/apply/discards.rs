//! What is done about discards without LVM.

use super::swap::swap;
use crate::observe::discards::Trimmed;
use crate::observe::{Host, pools};
use crate::plan::step::Discards;
use crate::sys::dm::{Ask, Control};
use crate::sys::trim::FileSystem;
use crate::units::{Bytes, DataBlocks, Sectors};
use anyhow::{Context, Result, bail};

pub fn run(step: &Discards, host: &mut Host) -> Result<()> {
    match step {
        Discards::Swap { dm_name, length, from, to } => swap(dm_name, (*length, from), (*length, to)),
        Discards::Trim { place, number, volume, pool } => {
            let trimmed = trim(&FileSystem::open(place, *number)?, volume, pool)?;
            host.trimmed.insert(place.clone(), trimmed);
            Ok(())
        }
        Discards::Lvm { .. } => bail!("'{}' is LVM's to run", step.command()),
    }
}

fn trim(there: &FileSystem, volume: &str, pool: &str) -> Result<Trimmed> {
    let control = Control::open()?;
    // What is written first takes chunks of its own, and what is deleted and still waits would be left.
    there.write_out()?;
    let (before, pool_used) = (mapped(&control, volume)?, used(&control, pool)?);
    let handed_on = Bytes(there.trim()?);
    let after = mapped(&control, volume)?;
    Ok(Trimmed { handed_on, unmapped: Bytes(before.0.saturating_sub(after.0)), pool_used })
}

fn status(control: &Control, name: &str) -> Result<String> {
    let device = control.look(name, Ask::Status)?;
    device.targets.first().map(|target| target.params.clone()).with_context(|| format!("{name} has no table any more"))
}

/// What a volume has in its pool.
fn mapped(control: &Control, name: &str) -> Result<Bytes> {
    let words = status(control, name)?;
    let sectors = words.split_whitespace().next().and_then(|word| word.parse().ok());
    sectors.map(|sectors| Sectors(sectors).bytes()).with_context(|| format!("{name} has failed by now"))
}

fn used(control: &Control, name: &str) -> Result<DataBlocks> {
    let figures = pools::status_of(control, name)?.figures;
    figures.map(|figures| figures.data_used).with_context(|| format!("{name} has failed by now"))
}
