//! Records of pools that are not in the register: of one that is up, and of the one that Docker's configuration tells of.

use super::metadata::{Head, believed};
use super::pools::{Kind, Live};
use super::register::{DOCKERS_LOW_WATER, FORMAT, Line, Place, Record, State, Volume, is_a_consumers};
use super::standing::{self, There, place_of};
use super::thin::PoolTable;
use super::volumes::active_on;
use super::{Looked, Unseen, consumers, looked};
use crate::names::DmName;
use crate::sys::{block, blocks, file};
use std::path::Path;

/// What a pool that is up is to be remembered as. What is known of volumes that are down stays; Docker and containerd
/// bring up their own themselves.
///
/// # Errors
/// It has failed, or nothing about a device under it outlives a boot.
pub fn record_of(name: &DmName, kind: Kind, live: &Live, known: Option<&Record>) -> Looked<Record> {
    let table = live.table.as_ref().map_err(Clone::clone)?;
    let figures = live.figures().ok_or_else(|| Unseen(format!("{name} has failed")))?;
    let place = |number: &str| match place_of(number)? {
        Some(place) => Ok(place),
        None => Err(Unseen(format!(
            "what {name} has as the device {number} could not be known again after a boot: a disk is by its serial number \
             or world wide name, a partition by its UUID, a file where the loop device shows all of it and it is there"
        ))),
    };
    Ok(Record {
        dmtool: FORMAT,
        name: name.clone(),
        kind,
        table: Line::new(live.length, table),
        transaction_id: figures.transaction_id,
        metadata: place(&table.metadata_device)?,
        data: place(&table.data_device)?,
        next_thin_id: known.map_or(0, |known| known.next_thin_id),
        remembered: known.is_none_or(|known| known.remembered),
        volumes: volumes_of(name, live, known)?,
    })
}

fn volumes_of(name: &DmName, live: &Live, known: Option<&Record>) -> Looked<Vec<Volume>> {
    let mut volumes = known.map_or_else(Vec::new, |known| known.volumes.clone());
    let prefix = format!("{name}-");
    for active in active_on(live)? {
        if is_a_consumers(name, &active.dm_name) {
            continue;
        }
        let device = DmName::new(&active.dm_name).map_err(Unseen)?;
        // Under another name or with another size by now: as it is counts.
        if let Some(known) = volumes.iter_mut().find(|volume| volume.thin_id == active.thin_id) {
            (known.device, known.size) = (device, active.size);
            continue;
        }
        let short = active.dm_name.strip_prefix(&prefix).unwrap_or(&active.dm_name);
        let taken = volumes.iter().any(|volume| volume.name == short);
        volumes.push(Volume {
            name: if taken { &active.dm_name } else { short }.to_owned(),
            device,
            thin_id: active.thin_id,
            size: active.size,
            origin: None,
            state: State::Ready,
            remembered: true,
        });
    }
    match twice(&volumes) {
        Some((first, second)) => Err(Unseen(format!(
            "{} is the name of the device of thin id {} in the register, and of thin id {}; give what is up another: \
             dmsetup rename {} NAME",
            first.device, first.thin_id, second.thin_id, first.device
        ))),
        None => Ok(volumes),
    }
}

/// Two that would have one device.
fn twice(volumes: &[Volume]) -> Option<(&Volume, &Volume)> {
    let pairs = volumes
        .iter()
        .enumerate()
        .flat_map(|(at, first)| volumes.iter().skip(at + 1).map(move |second| (first, second)));
    pairs.into_iter().find(|(first, second)| first.device == second.device)
}

/// The pool that Docker makes on the two devices of its configuration, where it has made it before, or with `files` on
/// those that it makes itself: Docker takes the pool down when it ends.
///
/// # Errors
/// The configuration, or a device that is there, cannot be looked at.
pub fn of_docker(files: bool) -> Looked<Option<Record>> {
    let files = || if files { consumers::docker_files() } else { Ok(None) };
    let Some(devices) = consumers::docker_devices()?.map_or_else(files, |found| Ok(Some(found)))? else {
        return Ok(None);
    };
    let Some(root) = looked(file::identity(Path::new(&devices.root)))? else { return Ok(None) };
    let place = |path: &str| -> Looked<Place> {
        match standing::device_at(path)? {
            There::Device(there) => {
                Ok(Place::Device { path: path.to_owned(), size: there.size, dm_uuid: there.dm_uuid })
            }
            _ => match standing::file_at(path)? {
                There::File(there) => Ok(Place::File {
                    path: standing::resolved(path),
                    size: there.length,
                    inode: Some(there.inode),
                    filesystem: there.filesystem,
                    grows_to: None,
                }),
                _ => Err(Unseen(format!("{path}, which Docker has its pool on, is neither a block device nor a file"))),
            },
        }
    };
    let (data, metadata) = (place(&devices.data)?, place(&devices.metadata)?);
    // What it lacks Docker's files tell.
    let superblock = match believed(&looked(blocks::head(Path::new(&devices.metadata)))?) {
        Head::Of(superblock) => Some(superblock),
        Head::Blank if consumers::docker_volumes()?.is_empty() => return Ok(None),
        Head::Blank | Head::Foreign => None,
    };
    let (major, minor) = block::split_device_number(root.device);
    let table = PoolTable {
        metadata_device: String::new(),
        data_device: String::new(),
        chunk: superblock.as_ref().map_or(devices.chunk.whole_sectors(), |superblock| superblock.chunk),
        low_water: DOCKERS_LOW_WATER,
        features: vec!["skip_block_zeroing".to_owned()],
    };
    Ok(Some(Record {
        dmtool: FORMAT,
        name: DmName::new(&format!("docker-{major}:{minor}-{}-pool", root.inode)).map_err(Unseen)?,
        kind: if data.is_file() { Kind::Loop } else { Kind::Raw },
        table: Line::new(data.size().whole_sectors(), &table),
        transaction_id: superblock.map_or(0, |superblock| superblock.transaction_id),
        metadata,
        data,
        volumes: Vec::new(),
        next_thin_id: 0,
        remembered: true,
    }))
}
