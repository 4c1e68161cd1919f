//! Thin volumes: what LVM's commands do not do by themselves.

use super::{bare, recount, still};
use crate::names::{DmName, LvmName};
use crate::observe::register::{self, Volume};
use crate::observe::{Host, filter, lvm, pools, stilled};
use crate::plan::step::{OfVolume, UNFINISHED};
use crate::sys::dm::{Ask, Control, Device};
use crate::sys::lvm2cmd::{Reply, lock_file};
use crate::sys::{blkid, exec, file};
use anyhow::{Context, Result, bail};

pub fn run(step: &OfVolume, host: &mut Host) -> Result<()> {
    match step {
        OfVolume::MakeFileSystem { volume, fs } => make_file_system(volume, fs, host),
        OfVolume::LetRun { volume } => let_run(volume, host),
        OfVolume::Resume { device } => Control::open()?.resume(device.as_str()),
        OfVolume::SnapThin { pool, volume, origin } => bare::make_thin(pool, volume, origin.as_ref()),
        OfVolume::Discard { device } => exec::run("blkdiscard", &[device]).map(drop),
        OfVolume::Mount { device, place, is_snapshot, .. } => mount(device, place, *is_snapshot),
        OfVolume::Unmount { place } => exec::run("umount", &[place]).map(drop),
        OfVolume::Delete { pool, volume, .. } => delete(pool, volume),
        OfVolume::TakeBack { pool, thin_id, transaction_id }
        | OfVolume::DeleteOrphan { pool, thin_id, transaction_id, .. } => {
            let control = Control::open()?;
            let now = transaction(&control, pool)?;
            if now != *transaction_id {
                bail!(
                    "{pool} has gone on from transaction {transaction_id} to {now} since it was looked at: thin id \
                     {thin_id} may be in use by now"
                );
            }
            control.delete_thin(pool, *thin_id).map(drop)
        }
        OfVolume::Empty { pool, ids, .. } => {
            let control = Control::open()?;
            ids.iter().try_for_each(|id| control.delete_thin(pool, *id).map(drop))
        }
        OfVolume::ResetTransaction { pool } => reset_transaction(pool),
        OfVolume::ResetLvm { pool } => recount::reset(pool, host),
        OfVolume::Create { .. }
        | OfVolume::Snapshot { .. }
        | OfVolume::Finish { .. }
        | OfVolume::Activate { .. }
        | OfVolume::Forget { .. }
        | OfVolume::Remove { .. } => bail!("'{}' is LVM's to run", step.command()),
    }
}

/// Makes a file system on a volume that nobody was told of yet: what it carries is a run's that was cut off.
fn make_file_system(volume: &LvmName, fs: &str, host: &mut Host) -> Result<()> {
    let lvm = lvm::look(host)?;
    let row = lvm.lv(volume.vg.as_str(), volume.lv.as_str());
    if !row.is_some_and(|row| row.has_tag(UNFINISHED)) {
        bail!("{volume} is in use by now");
    }
    let force = if fs == "xfs" { "-f" } else { "-F" };
    exec::run(&format!("mkfs.{fs}"), &["-q", force, &format!("/dev/{volume}")]).map(drop)
}

/// A snapshot of an xfs has the UUID of its origin, and is not mounted beside that without being told so (xfs(5)).
fn mount(device: &str, place: &str, is_snapshot: bool) -> Result<()> {
    let signature = blkid::signatures(device)?.into_iter().next();
    let kind = signature.with_context(|| format!("{device} carries no file system"))?.kind;
    let mut words = vec!["-t", kind.as_str()];
    words.extend((is_snapshot && kind == "xfs").then_some(["-o", "nouuid"]).into_iter().flatten());
    words.extend([device, place]);
    exec::run("mount", &words).map(drop)
}

/// The number is read when all else is done: LVM has counted on until then.
fn reset_transaction(pool: &str) -> Result<()> {
    let control = Control::open()?;
    let now = transaction(&control, pool)?;
    if now != 0 {
        control.message(pool, &format!("set_transaction_id {now} 0"))?;
    }
    Ok(())
}

fn transaction(control: &Control, pool: &str) -> Result<u64> {
    let figures = pools::status_of(control, pool)?.figures;
    Ok(figures.with_context(|| format!("{pool} has failed"))?.transaction_id)
}

/// Removes a volume from its pool, and then from the register: no number is used twice, so that one that is gone from the
/// pool already was removed by a run that was cut off.
fn delete(pool: &DmName, volume: &Volume) -> Result<()> {
    let mut record = register::read_of(pool)?;
    Control::open()?.delete_thin(pool.as_str(), volume.thin_id)?;
    record.next_thin_id = record.free_id();
    record.volumes.retain(|known| known.thin_id != volume.thin_id);
    bare::record(&record, false)
}

/// Has LVM take a snapshot of a volume. Where that fails, the volume runs on; where we are killed, the next run knows.
pub fn snapshot(origin: &LvmName, words: &[String], host: &mut Host) -> Result<Reply> {
    file::replace_private(&stilled::path_of(origin), &stilled::text(origin)?)?;
    let taken = host.lvm.change(words, host.lock_limit);
    if taken.as_ref().err().and_then(lock_file).is_some() {
        // LVM has stilled nothing, and what stands still may be the other one's.
        file::remove(&stilled::path_of(origin))?;
        return taken;
    }
    let_run(origin, host).with_context(|| format!("{origin} is left suspended"))?;
    taken
}

fn let_run(origin: &LvmName, host: &mut Host) -> Result<()> {
    if to_resume(origin)? {
        let config = filter::config(host, "log/silent=1")?;
        still::refresh(&origin.to_string(), &config, host)?;
    }
    file::remove(&stilled::path_of(origin))
}

/// The devices of a volume and its parts, where it is a pool, that stand still or have a table that waits.
fn standing(control: &Control, volume: &LvmName) -> Result<Vec<Device>> {
    let whole = volume.to_string();
    let of_it = |name: &str| still::volume_of(name).is_some_and(|volume| volume == whole);
    let mut found = Vec::new();
    for entry in control.list()?.iter().filter(|entry| of_it(&entry.name)) {
        let device = control.look(&entry.name, Ask::Table)?;
        found.extend(Some(device).filter(|device| device.suspended || device.inactive_table));
    }
    Ok(found)
}

/// Whether one of them does.
pub fn stands_still(volume: &LvmName) -> Result<bool> {
    Ok(!standing(&Control::open()?, volume)?.is_empty())
}

/// Drops the tables that wait: LVM loads those that belong to what stands in its books by now, and a resume would swap in one
/// that what lies below is too small for. Whether there is something for LVM to resume.
fn to_resume(volume: &LvmName) -> Result<bool> {
    let control = Control::open()?;
    let found = standing(&control, volume)?;
    found.iter().filter(|device| device.inactive_table).try_for_each(|device| control.clear(&device.name))?;
    Ok(!found.is_empty())
}
