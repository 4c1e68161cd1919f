//! The commands of hints: each can be typed as it stands, and stops at its first part that fails.

use super::Look;
pub use crate::names::quoted;
use crate::observe::device::Above;
use crate::observe::host;
use crate::observe::lvm::LvRow;
use crate::observe::survey::Lower;

/// More names than this make no command that anybody would read.
const NAMES: usize = 8;

/// Some names, and how many more there are.
pub fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Takes the pool down and brings it up again, its metadata checked on the way. What uses it must be stopped before:
/// the first part fails while something does.
pub fn reactivate(look: &Look<'_>) -> String {
    let bare: Vec<String> =
        look.seen.above.iter().filter(|above| !above.of_lvm).map(|above| quoted(&above.dm_name)).collect();
    let mut parts = Vec::new();
    let Some(side) = look.side() else {
        let Some(live) = look.live() else { return "dmtool explain target-error".to_owned() };
        if let Some(record) = look.seen.pool.recorded() {
            let known = |name: &String| record.volumes.iter().any(|volume| quoted(volume.device.as_str()) == *name);
            let strangers: Vec<String> = bare.into_iter().filter(|name| !known(name)).collect();
            parts.extend((!strangers.is_empty()).then(|| format!("dmsetup remove {}", strangers.join(" "))));
            let name = quoted(&live.dm_name);
            parts.push(format!("dmtool deactivate {name} && dmtool activate {name}"));
            return parts.join(" && ");
        }
        let Ok(table) = &live.table else { return "dmtool explain pool-failed".to_owned() };
        let goes = |lower: &Result<Lower, _>| {
            lower.as_ref().is_ok_and(|lower| lower.loop_device.as_ref().is_some_and(|device| device.autoclear))
        };
        if goes(&look.seen.data) || goes(&look.seen.metadata) {
            // Its loop devices go with the pool, and their numbers with them: no one line is right.
            return "dmtool explain pool-failed".to_owned();
        }
        let name = quoted(&live.dm_name);
        parts.extend((!bare.is_empty()).then(|| format!("dmsetup remove {}", bare.join(" "))));
        parts.push(format!("dmsetup remove {name}"));
        if let Ok(metadata) = &live.metadata {
            parts.push(format!("thin_check --clear-needs-check-flag /dev/{}", metadata.device));
        }
        parts.push(format!("dmsetup create {name} --table '0 {} thin-pool {}'", live.length.0, table.params()));
        return parts.join(" && ");
    };
    if !bare.is_empty() {
        parts.push(format!("dmsetup remove {}", bare.join(" ")));
    }
    let name = look.name();
    parts.push(format!("dmtool deactivate {name}"));
    // By dmtool, since not every LVM has the check clear the flag that asked for it.
    parts.push(format!("dmtool activate {name}"));
    let group = &side.row.vg_name;
    let volumes: Vec<String> = active_volumes(look).iter().map(|lv| format!("{group}/{}", lv.lv_name)).collect();
    if !volumes.is_empty() {
        parts.push(format!("lvchange --activate y {}", volumes.join(" ")));
    }
    parts.join(" && ")
}

/// LVM's thin volumes of the pool that are active.
fn active_volumes<'a>(look: &Look<'a>) -> Vec<&'a LvRow> {
    let (Some(side), Ok(Some(lvm))) = (look.side(), &look.survey.lvm) else { return Vec::new() };
    let of_pool =
        |row: &&LvRow| row.vg_name == side.row.vg_name && row.pool_lv == side.row.lv_name && row.lv_active == "active";
    lvm.lvs.iter().filter(of_pool).collect()
}

/// Which file systems are to be checked once the pool is well again, in a sentence.
pub fn to_check(look: &Look<'_>) -> String {
    let named = |above: &Above| match above.uses.as_ref().ok().and_then(|uses| uses.first()) {
        Some(used) => format!("{} ({used})", above.dm_name),
        None => above.dm_name.clone(),
    };
    let names: Vec<String> = look.seen.above.iter().map(named).collect();
    if names.is_empty() { String::new() } else { format!(" Check the file systems on {} afterwards.", list(&names)) }
}

/// What the pool stands on, in words.
pub fn devices(look: &Look<'_>) -> String {
    let (metadata, data) = match look.side() {
        Some(side) => (side.metadata_devices.join(", "), side.data_devices.join(", ")),
        None => {
            let name = |lower: &Result<Lower, _>| {
                lower.as_ref().map_or("unknown".to_owned(), |lower| format!("/dev/{}", lower.device))
            };
            (name(&look.seen.metadata), name(&look.seen.data))
        }
    };
    format!("metadata on {metadata}, data on {data}")
}

/// The command that installs a package, or its name.
pub fn install(look: &Look<'_>, debian: &str, others: &str) -> String {
    host::install(&look.survey.systems, debian, others)
        .unwrap_or_else(|| format!("install the package {others} (on Debian {debian})"))
}

/// Copies what a loop device still holds into a file of its old name, and puts the pool on that: while the deleted
/// file's last user is the loop device, the copy is made before anything is taken down.
pub fn rescue(look: &Look<'_>, lost: &[&Lower]) -> String {
    let explain = || "dmtool explain backing-file-missing".to_owned();
    let Some(live) = look.live() else { return explain() };
    let (Ok(table), Ok(data), Ok(metadata)) = (&live.table, &look.seen.data, &look.seen.metadata) else {
        return explain();
    };
    let name = quoted(&live.dm_name);
    let mut parts = Vec::new();
    let volumes: Vec<String> = look.seen.above.iter().map(|above| quoted(&above.dm_name)).collect();
    if !volumes.is_empty() {
        parts.push(format!("dmsetup remove {}", volumes.join(" ")));
    }
    parts.push(format!("dmsetup suspend {name}"));
    let mut names = Vec::new();
    for lower in lost {
        let Some(file) = lower.loop_device.as_ref().and_then(|device| device.file.as_ref()) else { return explain() };
        // Directly: the pool wrote past the page cache of its device.
        parts.push(format!(
            "dd if=/dev/{} of={} bs=1M iflag=direct conv=excl,sparse,fsync status=none",
            lower.device,
            quoted(file)
        ));
        names.push(format!("test ! -e {}", quoted(file)));
    }
    // Another file that has the name by now is somebody's.
    names.append(&mut parts);
    parts = names;
    parts.push(format!("dmsetup remove {name}"));
    let mut on = |lower: &Lower, number: &str| {
        let Some(device) = &lower.loop_device else { return number.to_owned() };
        let is_lost = lost.iter().any(|lost| lost.device == lower.device);
        if is_lost && !device.autoclear {
            parts.push(format!("losetup --detach /dev/{}", lower.device));
        }
        match &device.file {
            // Gone with its last user, or replaced.
            Some(file) if is_lost || device.autoclear => format!("$(losetup --find --show {})", quoted(file)),
            _ => number.to_owned(),
        }
    };
    let (metadata, data) = (on(metadata, &table.metadata_device), on(data, &table.data_device));
    let params = table.params_on(&metadata, &data);
    parts.push(format!("dmsetup create {name} --table \"0 {} thin-pool {params}\"", live.length.0));
    if look.seen.pool.recorded().is_some() {
        // The copy is another file to the register.
        parts.push(format!("dmtool activate {name} --remember && dmtool activate {name}"));
    }
    parts.join(" && ")
}
