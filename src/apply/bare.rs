//! Bare pools and their volumes, made from what the register says of them.

use crate::names::DmName;
use crate::observe::register::{Place, Record, Volume};
use crate::observe::standing::{self, There};
use crate::sys::dm::{Ask, Control, Target};
use crate::sys::{block, exec, file, loopdev};
use crate::units::{Bytes, SECTOR, Sectors};
use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;

/// Writes a record; where its files have just been made, with what they are to be known by.
pub fn record(record: &Record, made: bool) -> Result<()> {
    let mut record = record.clone();
    if made {
        for place in [&mut record.metadata, &mut record.data] {
            identify(place)?;
        }
    }
    let text = record.text()?;
    file::replace_private(&record.path(), &text)?;
    // The folder of the files is made with the first of them.
    match record.copy().filter(|copy| copy.parent().is_some_and(Path::is_dir)) {
        Some(copy) => file::put(&copy, &text, 0o600),
        None => Ok(()),
    }
}

fn identify(place: &mut Place) -> Result<()> {
    let Place::File { path, inode, filesystem, .. } = place else { return Ok(()) };
    match standing::file_at(path)? {
        There::File(there) => {
            *inode = Some(there.inode);
            *filesystem = there.filesystem;
            Ok(())
        }
        _ => bail!("{path} is no file"),
    }
}

/// The number of the device of a place, and its size in bytes.
fn device(place: &Place) -> Result<((u32, u32), u64)> {
    let path = match place {
        Place::Device { path, .. } => path.clone(),
        Place::File { path, .. } => {
            let found = loopdev::of(Path::new(path))?.with_context(|| format!("{path} is on no loop device"))?;
            format!("/dev/{}", found.name)
        }
    };
    match block::node(&path)? {
        block::Node::Block { major, minor, .. } => Ok(((major, minor), block::size(&path)?)),
        _ => bail!("{path} is no block device"),
    }
}

/// thin_check, as LVM runs it before it activates a pool.
pub fn check(name: &DmName, place: &Place) -> Result<()> {
    let ((major, minor), _) = device(place)?;
    let node = block::kernel_name(major, minor).context("the metadata device is not in sysfs")?;
    exec::run("thin_check", &["-q", "--clear-needs-check-flag", &format!("/dev/{node}")])
        .map(drop)
        .with_context(|| format!("the metadata of {name} is damaged, or could not be checked"))
}

/// Makes the pool.
pub fn make_pool(record: &Record, length: Sectors) -> Result<()> {
    let number = |(major, minor): (u32, u32)| format!("{major}:{minor}");
    let ((metadata, _), (data, size)) = (device(&record.metadata)?, device(&record.data)?);
    if size / SECTOR < length.0 {
        bail!("the data device of {} has {size} bytes, which is less than {} sectors", record.name, length.0);
    }
    let params = record.table.words.params_on(&number(metadata), &number(data));
    let target = Target { start: 0, length: length.0, kind: "thin-pool".to_owned(), params };
    Control::open()?.create(record.name.as_str(), &target, true)
}

/// Makes the device of a thin volume.
pub fn make_volume(pool: &DmName, device: &DmName, thin_id: u64, size: Bytes) -> Result<()> {
    let control = Control::open()?;
    let entry = control.list()?.into_iter().find(|entry| entry.name == pool.as_str());
    let entry = entry.ok_or_else(|| anyhow!("{pool} is not active"))?;
    let target = Target {
        start: 0,
        length: size.whole_sectors().0,
        kind: "thin".to_owned(),
        params: format!("{}:{} {thin_id}", entry.major, entry.minor),
    };
    control.create(device.as_str(), &target, false)
}

/// Makes a thin volume in the pool. An id that is taken is ours only where an earlier run may have taken it, and nothing
/// was written to it; otherwise it is somebody's, and the register notes that it is not to be had.
pub fn make_thin(record: &Record, volume: &Volume, begun: bool) -> Result<()> {
    let (pool, id) = (&record.name, volume.thin_id);
    let control = Control::open()?;
    if control.message(pool.as_str(), &format!("create_thin {id}"))? || (begun && is_empty(&control, pool, volume)?) {
        return Ok(());
    }
    let mut without = record.clone();
    without.volumes.retain(|known| known.thin_id != id);
    without.next_thin_id = without.free_id().max(id + 1);
    self::record(&without, false)?;
    bail!("{pool} has a volume with the thin id {id} that no register knows, so {} gets the next one", volume.name)
}

fn is_empty(control: &Control, pool: &DmName, volume: &Volume) -> Result<bool> {
    let there = control.list()?.iter().any(|entry| entry.name == volume.device.as_str());
    if !there {
        make_volume(pool, &volume.device, volume.thin_id, volume.size)?;
    }
    let status = control.look(volume.device.as_str(), Ask::Status);
    if !there {
        control.remove(volume.device.as_str())?;
    }
    let status = status?;
    Ok(status.targets.first().is_some_and(|target| target.params.split_whitespace().next() == Some("0")))
}
