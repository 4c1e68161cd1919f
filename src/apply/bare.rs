//! Bare pools and their volumes, made from what the register says of them.

use crate::names::DmName;
use crate::observe::register::{self, LARGEST_ID, Place, Record, State, Volume};
use crate::observe::standing::{self, There};
use crate::observe::{snapshot, volumes};
use crate::sys::dm::{Control, Target};
use crate::sys::{block, exec, file, loopdev};
use crate::units::{Bytes, SECTOR, Sectors};
use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;
use std::time::Duration;

/// Writes a record; where its files have just been made, with what they are to be known by.
pub fn record(record: &Record, made: bool) -> Result<()> {
    let mut record = record.clone();
    if made {
        for place in [&mut record.metadata, &mut record.data] {
            identify(place)?;
        }
    }
    // What could not be read again would take the place of a good one.
    register::check(&record, record.name.as_str()).map_err(|why| anyhow!("the register of {}: {why}", record.name))?;
    let text = record.text()?;
    // The copy first: where this is cut off, the register is what the next run finds behind. The folder of the files is
    // made with the first of them.
    if let Some(copy) = record.copy().filter(|copy| copy.parent().is_some_and(Path::is_dir)) {
        file::put(&copy, &text, 0o600)?;
    }
    file::replace_private(&record.path(), &text)
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
    // One that is on no loop device is Docker's, which brings its own.
    let held = match place {
        Place::File { path, .. } if loopdev::of(Path::new(path))?.is_none() => {
            Some(loopdev::hold(Path::new(path), true)?)
        }
        _ => None,
    };
    let node = match &held {
        Some(held) => held.path.clone(),
        None => {
            let ((major, minor), _) = device(place)?;
            let node = block::kernel_name(major, minor).context("the metadata device is not in sysfs")?;
            format!("/dev/{node}")
        }
    };
    exec::run("thin_check", &["-q", "--clear-needs-check-flag", &node])
        .with_context(|| format!("the metadata of {name} is damaged, or could not be checked"))?;
    // Unnoted, a snapshot of before is not released: that says so.
    let _ = snapshot::found_whole(name.as_str());
    Ok(())
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

/// As [`make_volume`]. A pool says of a message that it was done before it writes that down, and not that it could not
/// (dm-thin.c, `pool_message`): what the pool does not have then, and nobody was told of yet, is made anew.
pub fn bring_up(pool: &DmName, device: &DmName, thin_id: u64, size: Bytes) -> Result<()> {
    let made = make_volume(pool, device, thin_id, size);
    let is_lost = |why: &anyhow::Error| why.chain().any(|cause| cause.to_string().contains("ENODATA"));
    let Err(why) = made else { return Ok(()) };
    let record = register::read_of(pool)?;
    let new = |volume: &&Volume| volume.device == *device && volume.state == State::Made;
    let Some(volume) = record.volumes.iter().find(new).filter(|_| is_lost(&why)) else { return Err(why) };
    let Some(origin) = volume.origin else { return make_thin(pool, volume, None) };
    let origin = record.volumes.iter().find(|known| known.thin_id == origin).map(|known| known.device.clone());
    // What it was to be a snapshot of must still be known; it stands still meanwhile where it is up.
    let origin = origin.ok_or(why)?;
    let is_up = Control::open()?.list()?.iter().any(|entry| entry.name == origin.as_str());
    make_thin(pool, volume, is_up.then_some(&origin))
}

/// Makes a thin volume in the pool and its device; a snapshot of `origin` where that is up. A number that is taken is somebody's, whoever that is: the next one
/// is tried, and the register says each before the pool is asked, so that no number is handed out twice.
pub fn make_thin(pool: &DmName, volume: &Volume, origin: Option<&DmName>) -> Result<()> {
    let control = Control::open()?;
    let mut record = register::read_of(pool)?;
    record.volumes.retain(|known| known.device != volume.device);
    let mut volume = Volume { thin_id: volume.thin_id.max(record.free_id()), ..volume.clone() };
    loop {
        if volume.thin_id > LARGEST_ID {
            bail!("{pool} has used all its thin ids");
        }
        note(&mut record, &volume, State::Announced)?;
        let message = match volume.origin {
            None => format!("create_thin {}", volume.thin_id),
            Some(of) => format!("create_snap {} {of}", volume.thin_id),
        };
        if standing_still(&control, origin, || control.message(pool.as_str(), &message))? {
            break;
        }
        volume.thin_id += 1;
    }
    note(&mut record, &volume, State::Made)?;
    make_volume(pool, &volume.device, volume.thin_id, volume.size)
}

/// Does something while a volume stands still, what was written to it before down on its pool: the file system on it too.
fn standing_still<T>(control: &Control, volume: Option<&DmName>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(volume) = volume else { return act() };
    control.suspend(volume.as_str())?;
    let done = act();
    let_run(control, volume).with_context(|| format!("{volume} is left suspended"))?;
    done
}

/// How often a volume that stands still is told to run on where the kernel was short of something, and how long is waited
/// in between.
const RESUMES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(100);

fn let_run(control: &Control, volume: &DmName) -> Result<()> {
    for _ in 1..RESUMES {
        if control.resume(volume.as_str()).is_ok() {
            return Ok(());
        }
        std::thread::sleep(BETWEEN);
    }
    control.resume(volume.as_str())
}

fn note(record: &mut Record, volume: &Volume, state: State) -> Result<()> {
    record.volumes.retain(|known| known.device != volume.device);
    record.volumes.push(Volume { state, ..volume.clone() });
    record.next_thin_id = record.free_id();
    self::record(record, false)
}

/// The volume of the register behind a device, the device being that volume and no other.
fn volume_of(record: &Record, device: &DmName) -> Result<Volume> {
    let volume = record.volumes.iter().find(|volume| volume.device == *device);
    let volume = volume.with_context(|| format!("{device} is in no register"))?;
    if volumes::thin_id(device.as_str())? != Some(volume.thin_id) {
        bail!("{device} is not the volume {} of {}", volume.thin_id, record.name);
    }
    Ok(volume.clone())
}

/// Makes a file system on a volume that nobody was told of yet: what it carries is a run's that was cut off.
pub fn make_file_system(pool: &DmName, device: &DmName, fs: &str) -> Result<()> {
    let volume = volume_of(&register::read_of(pool)?, device)?;
    if volume.state != State::Made {
        bail!("{device} is in use by now");
    }
    let force = if fs == "xfs" { "-f" } else { "-F" };
    exec::run(&format!("mkfs.{fs}"), &["-q", force, &format!("/dev/mapper/{device}")]).map(drop)
}

/// Says in the register that a volume is complete.
pub fn hand_out(pool: &DmName, device: &DmName) -> Result<()> {
    let mut record = register::read_of(pool)?;
    let volume = volume_of(&record, device)?;
    note(&mut record, &volume, State::Ready)
}
