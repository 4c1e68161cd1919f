//! Whether what stands at the places of a record is what the record speaks of: the kernel takes any data device for
//! any metadata without a complaint.

use super::{FileThere, Standing, There};
use crate::observe::Looked;
use crate::observe::metadata::Head;
use crate::observe::pools::Live;
use crate::observe::register::{Place, Record};
use crate::units::{Bytes, Sectors};

impl Standing {
    /// Why what stands there is not what the record speaks of; nothing where it is.
    pub fn misfits(&self, record: &Record) -> Vec<String> {
        let standing = self;
        let mut reasons = self.misplaced(record);
        // What is not there has no first block.
        if matches!(standing.metadata, Ok(There::File(_) | There::Device(_))) {
            reasons.extend(match &standing.head {
                Ok(head) => wrong_head(record, head, standing),
                Err(why) => Some(format!("Could not look: {why}.")),
            });
        }
        reasons
    }

    /// As [`Standing::misfits`], whatever the metadata begins with.
    pub fn misplaced(&self, record: &Record) -> Vec<String> {
        let standing = self;
        let mut reasons = Vec::new();
        let places = [("metadata", &record.metadata, &standing.metadata), ("data", &record.data, &standing.data)];
        for (what, place, there) in places {
            match there {
                Ok(there) => {
                    let misfit = misfit(what, place, there).or_else(|| unfinished(place, record));
                    reasons.extend(misfit.or_else(|| held(place.path(), there)));
                }
                Err(why) => reasons.push(format!("Could not look: {why}.")),
            }
        }
        reasons
    }

    /// Why what stands at a place is not what the register says; nothing where it is, or where nothing stands there.
    pub fn another(place: &Place, there: &There) -> Option<String> {
        match (place, there) {
            (_, There::Missing) => None,
            // Made, and not known yet: nothing was ever written to it.
            (Place::File { inode: None, path, .. }, There::File(there)) => {
                (there.allocated.0 > 0).then(|| format!("{path} is in the register without its inode, and is no hole."))
            }
            _ => misfit("place", place, there),
        }
    }

    /// How long the pool was: as recorded, or as its metadata says where it grew since and the register missed it. The
    /// kernel refuses a table that is shorter than the pool.
    pub fn length(&self, record: &Record) -> Sectors {
        let in_metadata = match &self.head {
            Ok(Head::Of(found)) => found.data_total.bytes(found.chunk.bytes()).whole_sectors(),
            _ => Sectors(0),
        };
        record.table.length.max(in_metadata)
    }

    /// Whether a live pool stands on what the record speaks of.
    pub fn carries(&self, live: &Live) -> bool {
        let Ok(table) = &live.table else { return false };
        let number = |there: &Looked<There>| match there {
            Ok(There::File(file)) => file.loop_device.as_ref().map(|found| found.number),
            Ok(There::Device(device)) => Some(device.number),
            _ => None,
        };
        let is = |word: &str, there| number(there).is_some_and(|(major, minor)| word == format!("{major}:{minor}"));
        is(&table.data_device, &self.data) && is(&table.metadata_device, &self.metadata)
    }
}

/// A setup that has not come to its end yet.
fn unfinished(place: &Place, record: &Record) -> Option<String> {
    let unmade = matches!(place, Place::File { inode: None, .. });
    let name = &record.name;
    unmade.then(|| format!("{} was never finished: run dmtool setup --loop --pool {name} again.", place.path()))
}

/// What somebody else has by now, or nobody can write.
fn held(path: &str, there: &There) -> Option<String> {
    match there {
        There::File(file) if file.read_only => Some(format!("The file system of {path} is read-only.")),
        There::File(FileThere { loop_device: Some(found), .. }) if !found.free => {
            Some(format!("{path} is in use: something holds its loop device /dev/{}.", found.name))
        }
        There::Device(device) if !device.free => Some(format!("{path} is in use: something holds it.")),
        _ => None,
    }
}

fn misfit(what: &str, place: &Place, there: &There) -> Option<String> {
    let path = place.path();
    match (place, there) {
        (_, There::Missing) => Some(format!("The {what} of the pool, {path}, is not there.")),
        (_, There::Other(words)) => Some(format!("{path} is {words}.")),
        (Place::File { size, inode, filesystem, grows_to, .. }, There::File(there)) => {
            other_file(path, (*size, *inode, filesystem.as_deref(), *grows_to), there)
        }
        (Place::Device { size, dm_uuid, .. }, There::Device(there)) => {
            if dm_uuid != &there.dm_uuid {
                Some(format!("{path} is another device than the one in the register: its uuid is not the same."))
            } else if there.size < *size {
                Some(format!("{path} has {}, and the register says {size}.", there.size))
            } else {
                None
            }
        }
        (Place::File { .. }, There::Device(_)) => {
            Some(format!("{path} is a device, and the register has a file there."))
        }
        (Place::Device { .. }, There::File(_)) => {
            Some(format!("{path} is a file, and the register has a device there."))
        }
    }
}

fn other_file(
    path: &str,
    (size, inode, filesystem, grows_to): (Bytes, Option<u64>, Option<&str>, Option<Bytes>),
    there: &FileThere,
) -> Option<String> {
    let inode = inode?;
    if let Some(known) = filesystem
        && there.filesystem.as_deref() != Some(known)
    {
        let now = there.filesystem.as_deref().unwrap_or("one without a UUID");
        return Some(format!("{path} lies on another file system than the register says ({now}, not {known})."));
    }
    if inode != there.inode {
        let now = there.inode;
        return Some(format!("{path} is another file than the one in the register: its inode is {now}, not {inode}."));
    }
    // While a resize is on its way the file has the old length, or the new one.
    let fits = there.length == size || grows_to.is_some_and(|to| there.length == to);
    (!fits).then(|| format!("{path} has {} bytes, and the register says {}.", there.length.0, size.0))
}

fn wrong_head(record: &Record, head: &Head, standing: &Standing) -> Option<String> {
    let path = record.metadata.path();
    match head {
        Head::Foreign => Some(format!("{path} does not begin with a thin pool's superblock.")),
        // Of a pool that was never up, or whose first superblock did not reach the disk: the file of its data is a hole from
        // end to end, and nothing is known to be in it.
        Head::Blank => {
            let hole = |there: &Looked<There>| matches!(there, Ok(There::File(there)) if there.allocated.0 == 0);
            let never_used = record.transaction_id == 0 && record.free_id() == 0;
            let blank = never_used && hole(&standing.data);
            (!blank).then(|| format!("{path} begins with zeroes where a thin pool's superblock was."))
        }
        Head::Of(found) if found.chunk != record.table.words.chunk => Some(format!(
            "{path} is the metadata of a pool with chunks of {}, and the register says {}.",
            found.chunk.bytes(),
            record.chunk()
        )),
        Head::Of(found) if found.transaction_id < record.transaction_id => Some(format!(
            "{path} is at transaction {}, and the register has seen {}: it is older, or another pool's.",
            found.transaction_id, record.transaction_id
        )),
        Head::Of(_) => {
            let (needed, there) = (standing.length(record).bytes(), there_is(&standing.data)?);
            (needed > there)
                .then(|| format!("{} has {there}, and the pool's metadata speaks of {needed}.", record.data.path()))
        }
    }
}

fn there_is(there: &Looked<There>) -> Option<Bytes> {
    match there {
        Ok(There::File(file)) => Some(file.length),
        Ok(There::Device(device)) => Some(device.size),
        _ => None,
    }
}
