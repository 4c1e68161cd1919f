//! What stands under a pool.

use super::code::Code;
use super::{Look, Outcome, mend};
use crate::names::quoted;
use crate::observe::register::{State, Volume};
use crate::observe::survey::Lower;
use crate::observe::thin::Discard;
use crate::units::{Bytes, SECTOR, Sectors};

/// More volumes than this make no command that anybody would read.
const MANY: usize = 8;

/// A bare pool that is up on other devices than its register says: the next boot brings it up on those.
pub(super) fn elsewhere(look: &Look<'_>) -> Outcome {
    let Some(found) = &look.seen.elsewhere else { return Ok(Vec::new()) };
    let found = found.as_ref().map_err(Clone::clone)?;
    let (Some(live), Some(record)) = (look.live(), look.seen.pool.recorded()) else { return Ok(Vec::new()) };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let name = quoted(look.name());
    let remember = format!("dmtool activate {name} --remember");
    if found.iter().all(|one| one.anew) {
        let files: Vec<&str> = found.iter().map(|one| one.recorded.as_str()).collect();
        let message = format!(
            "The pool is up on another file of the same name than the register knows ({}): it will not come back from a \
             boot. If what is up is right, the hint has it remembered.",
            files.join(", ")
        );
        return Ok(vec![look.finding(Code::RegisterMismatch, message, remember)]);
    }
    let on: Vec<String> = found
        .iter()
        .filter(|one| !one.anew)
        .map(|one| format!("{} on {}, not on {}", one.what, one.up, one.recorded))
        .collect();
    let message = format!(
        "The pool is up on other devices than the register says ({}): the next boot brings up those of the register, with \
         what was on them when they were last used, or nothing. If what is up is right, the hint has it remembered; if not, \
         write nothing to it, and see dmtool explain register-mismatch.",
        on.join("; ")
    );
    // The volumes that the register has are taken over while they are up: one by one, so that another pool is none of them.
    let down: Vec<&Volume> = record
        .volumes
        .iter()
        .filter(|volume| {
            volume.state == State::Ready && live.thin.iter().all(|up| up.dm_name != volume.device.as_str())
        })
        .collect();
    if down.len() > MANY {
        return Ok(vec![look.finding(Code::RegisterMismatch, message, "dmtool explain register-mismatch")]);
    }
    let pool = quoted(&live.dm_name);
    let mut parts: Vec<String> = down
        .iter()
        .map(|volume| {
            let (device, sectors) = (quoted(volume.device.as_str()), volume.size.whole_sectors().0);
            format!("dmsetup create {device} --table '0 {sectors} thin /dev/mapper/{pool} {}'", volume.thin_id)
        })
        .collect();
    let file = record.path().display().to_string();
    parts.push(format!("mv --no-clobber {} {}", quoted(&file), quoted(&format!("{file}.old"))));
    parts.push(remember);
    Ok(vec![look.finding(Code::RegisterMismatch, message, parts.join(" && "))])
}

/// The table against the data device, and against what the metadata knows the pool to have.
pub(super) fn too_small(look: &Look<'_>) -> Outcome {
    let Some(live) = look.live() else { return Ok(Vec::new()) };
    let table = live.table.as_ref().map_err(Clone::clone)?;
    let data = look.seen.data.as_ref().map_err(Clone::clone)?;
    let length = live.length.bytes();
    let name = mend::quoted(&live.dm_name);
    let metadata = look.seen.metadata.as_ref().map_err(Clone::clone)?;
    if let Some((lower, file, length)) = [data, metadata].into_iter().find_map(truncated) {
        let message = format!(
            "{file} behind /dev/{} has {length} and had {}: it was truncated under the pool, and what was beyond is lost. \
             Check the file systems on the pool once its length is back.",
            lower.device,
            had(lower)
        );
        return Ok(vec![look.finding(Code::DataDeviceTooSmall, message, regrow(look, lower, lower.size))]);
    }
    // What the kernel cannot use of a device anyway is not missed: it counts in whole chunks.
    let chunks = |size: Bytes| size.0.checked_div(table.chunk_bytes().0).unwrap_or(0);
    if chunks(data.size) < chunks(length) {
        let message = format!(
            "The pool's table is for {length} of data, and /dev/{} has {}: reads and writes beyond its end fail, and \
             the pool cannot be resumed.",
            data.device, data.size
        );
        return Ok(vec![look.finding(Code::DataDeviceTooSmall, message, regrow(look, data, length))]);
    }
    let figures = live.status.as_ref().map_err(Clone::clone)?.figures.as_ref();
    if let Some(total) = figures.map(|figures| figures.data_total).filter(|total| total.0 > chunks(length)) {
        let needed = total.bytes(table.chunk_bytes());
        let message = format!(
            "The pool's table is for {length} of data, and its metadata knows of {needed}: the kernel does not resume \
             it."
        );
        let hint = if needed <= data.size {
            table.swap_command(&name, Sectors(needed.0 / SECTOR))
        } else {
            regrow(look, data, needed)
        };
        return Ok(vec![look.finding(Code::DataDeviceTooSmall, message, hint)]);
    }
    let pending = look.seen.pending.as_ref().and_then(|pending| pending.as_ref().ok());
    if let Some(pending) =
        pending.filter(|pending| live.suspended && chunks(pending.length.bytes()) > chunks(data.size))
    {
        let message = format!(
            "A table for {} of data was loaded, and /dev/{} has {}: a resume with it was refused.",
            pending.length.bytes(),
            data.device,
            data.size
        );
        let hint = format!("dmsetup clear {name} && dmsetup resume {name}");
        return Ok(vec![look.finding(Code::DataDeviceTooSmall, message, hint)]);
    }
    Ok(Vec::new())
}

/// A loop device whose file is shorter than it was when the device last looked.
fn truncated(lower: &Lower) -> Option<(&Lower, &str, Bytes)> {
    let device = lower.loop_device.as_ref().filter(|device| !device.deleted)?;
    let length = device.length.filter(|length| *length < had(lower))?;
    Some((lower, device.file.as_deref()?, length))
}

/// What a file must have for its loop device to be whole.
fn had(lower: &Lower) -> Bytes {
    let offset = lower.loop_device.as_ref().map_or(0, |device| device.offset.0);
    Bytes(lower.size.0.saturating_add(offset))
}

/// Gives a data device its length back. Growing a file again costs nothing; what was cut off is lost either way.
fn regrow(look: &Look<'_>, data: &Lower, length: Bytes) -> String {
    let device = data.loop_device.as_ref().filter(|device| !device.deleted);
    let loop_file = device.and_then(|device| Some((device.file.as_ref()?, device.offset)));
    let resume = look
        .live()
        .filter(|live| live.suspended)
        .map_or(String::new(), |live| format!(" && dmsetup resume {}", mend::quoted(&live.dm_name)));
    match loop_file {
        Some((file, offset)) => format!(
            "truncate --size {} {} && losetup --set-capacity /dev/{}{resume}",
            length.0.saturating_add(offset.0),
            mend::quoted(file),
            data.device
        ),
        None => "dmtool explain data-device-too-small".to_owned(),
    }
}

/// Loop devices whose file was deleted or taken away under them.
pub(super) fn backing_files(look: &Look<'_>) -> Outcome {
    if look.live().is_none() {
        return Ok(Vec::new());
    }
    let mut lost: Vec<&Lower> = Vec::new();
    let mut said = Vec::new();
    for (what, lower) in [("data", &look.seen.data), ("metadata", &look.seen.metadata)] {
        let lower = lower.as_ref().map_err(Clone::clone)?;
        match &lower.loop_device {
            Some(device) if device.deleted => {
                let file = device.file.as_deref().unwrap_or("its file");
                said.push(format!("The {what} file {file} behind /dev/{} was deleted.", lower.device));
                lost.push(lower);
            }
            Some(device) if device.file.is_none() => {
                said.push(format!("/dev/{} under the {what} has no file any more.", lower.device));
                lost.push(lower);
            }
            _ => {}
        }
    }
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    said.push(
        "What it holds is there while the pool is up, and gone once it is down: copy it out before anything else."
            .to_owned(),
    );
    Ok(vec![look.finding(Code::BackingFileMissing, said.join(" "), mend::rescue(look, &lost))])
}

/// The table lets discards through to the data device, and the kernel does not.
pub(super) fn passdown(look: &Look<'_>) -> Outcome {
    let Some((live, table, figures)) = look.figures()? else { return Ok(Vec::new()) };
    if table.has("no_discard_passdown") || table.has("ignore_discard") || figures.discard == Discard::Passdown {
        return Ok(Vec::new());
    }
    let message = "Discards are not passed down, although the table says so: the data device cannot take them. Freed \
                   space returns to the pool, not to what lies below.";
    let hint = match look.side() {
        Some(_) => format!("lvchange --discards nopassdown {}", look.name()),
        None => {
            let mut told = table.clone();
            told.features.push("no_discard_passdown".to_owned());
            told.swap_command(&mend::quoted(&live.dm_name), live.length)
        }
    };
    Ok(vec![look.finding(Code::PassdownOff, message, hint)])
}
