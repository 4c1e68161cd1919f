//! The devices that a pool is given: every reason not to write on one, and the steps that take them into a group.

use super::Plan;
use super::refusal::Reasons;
use super::sizing::{self, Room};
use super::step::Step;
use crate::names::{LvmName, VgName};
use crate::observe::Looked;
use crate::observe::device::{Device, Named, Signature, What};
use crate::observe::lvm::{Group, Lvm, PvRow};
use crate::units::{Bytes, Extents};

/// A device as the operator typed it, and what it is.
pub type Usable<'a> = (&'a str, &'a Device);

/// What the devices are for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub pool: &'a LvmName,
    pub vg: &'a VgName,
    pub wipe: bool,
    /// For a pool that is there already, by a verb that knows no --wipe.
    pub grows: bool,
}

/// The named devices that are devices; every reason not to write on one of them is added.
pub fn usable<'a>(wish: Wish<'_>, named: &'a [Named], lvm: &Lvm, reasons: &mut Reasons) -> Vec<Usable<'a>> {
    let mut found: Vec<Usable> = Vec::new();
    for named in named {
        let given = named.given.as_str();
        match &named.is {
            Err(why) => reasons.add(format!("{given} could not be looked at: {why}.")),
            Ok(What::Missing) => reasons.add_with_hint(format!("{given} does not exist."), "list the disks: lsblk"),
            Ok(What::Other(what)) => {
                reasons.add_with_hint(format!("{given} is {what}, not a block device."), "list the disks: lsblk");
            }
            Ok(What::Device(device)) => {
                if let Some((first, _)) = found.iter().find(|(_, other)| other.path == device.path) {
                    reasons.add(format!("{given} is the same device as {first}."));
                    continue;
                }
                found.iter().filter_map(|other| overlap(other, &(given, device))).for_each(|why| reasons.add(why));
                check_device(wish, given, device, lvm, reasons);
                found.push((given, device));
            }
        }
    }
    found
}

/// A disk and a partition of it are not two devices.
fn overlap(one: &Usable<'_>, other: &Usable<'_>) -> Option<String> {
    let is_part = |(_, part): &Usable<'_>, (_, disk): &Usable<'_>| {
        disk.partitions.iter().flatten().any(|found| (found.major, found.minor) == (part.major, part.minor))
    };
    let (part, disk) = [(one, other), (other, one)].into_iter().find(|(part, disk)| is_part(part, disk))?;
    Some(format!("{} is a partition of {}.", part.0, disk.0))
}

fn check_device(wish: Wish<'_>, given: &str, device: &Device, lvm: &Lvm, reasons: &mut Reasons) {
    let pv = lvm.pv_on(device.major, device.minor);
    if pv.is_some_and(|pv| pv.vg_name == wish.vg.as_str()) {
        // Ours: what is on it is the pool that is being set up, or another volume that is left alone.
        return;
    }
    if let Some(pv) = pv.filter(|pv| !pv.vg_name.is_empty()) {
        return in_a_group(wish, (given, given), pv, reasons);
    }
    if pv.is_some_and(PvRow::is_stranded) && !device.begun {
        stranded((given, given), reasons);
    }
    if device.read_only {
        reasons.add(format!("{given} is read-only."));
    }
    match &device.uses {
        Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{given} {used}."))),
        Err(why) => reasons.add(format!("Whether {given} is in use could not be looked at: {why}.")),
    }
    let mut known_use = device.uses.as_ref().is_ok_and(|uses| !uses.is_empty());
    match &device.partitions {
        Ok(partitions) => {
            for partition in partitions {
                let path = partition.path.as_str();
                let called = format!("{path}, a partition of {given},");
                for used in &partition.uses {
                    known_use = true;
                    reasons.add(format!("{called} {used}."));
                }
                // Nothing uses the volumes of a group that is down; they are there all the same.
                match lvm.pv_on(partition.major, partition.minor) {
                    Some(pv) if !pv.vg_name.is_empty() => in_a_group(wish, (path, &called), pv, reasons),
                    Some(pv) if pv.is_stranded() => stranded((path, &called), reasons),
                    Some(_) => {}
                    None => passed_over(wish, (path, &called), &partition.signatures, reasons),
                }
            }
        }
        Err(why) => reasons.add(format!("The partitions of {given} could not be looked at: {why}.")),
    }
    match &device.free {
        Ok(true) => {}
        Ok(false) if known_use => {}
        Ok(false) => reasons.add(format!(
            "{given} is in use: the kernel does not give it to us alone (a mount in another namespace, for one)."
        )),
        Err(why) => reasons.add(format!("Whether {given} is in use could not be looked at: {why}.")),
    }
    if pv.is_none() {
        passed_over(wish, (given, given), &device.signatures, reasons);
    }
    check_signatures(wish, given, device, pv.is_some(), reasons);
}

/// A whole label of LVM's that LVM does not tell of: the volume of a group of another host or of a cluster (lvmsystemid(7),
/// lvmlockd(8)), one that a filter or the devices file hides, or a second path to one.
fn passed_over(
    wish: Wish<'_>,
    (path, called): (&str, &str),
    signatures: &Looked<Vec<Signature>>,
    reasons: &mut Reasons,
) {
    let covered = if wish.grows { "" } else { ", which --wipe does not cover" };
    match signatures {
        Ok(found) if found.iter().any(Signature::is_a_label_of_lvm) => reasons.add_with_hint(
            format!("{called} is a physical volume that LVM passes over, as it does those of other hosts{covered}."),
            format!(
                "see whose it is: pvs --all --foreign --shared --options +vg_systemid {path}; where nobody needs what is \
                 on it: wipefs --all --types LVM2_member {path}"
            ),
        ),
        // Of the device itself check_signatures says that.
        Err(why) if path != called => reasons.add(format!("What is on {path} could not be looked at: {why}.")),
        Ok(_) | Err(_) => {}
    }
}

/// A physical volume, and what it is called in a sentence: all that its group holds would go with it.
fn in_a_group(wish: Wish<'_>, (path, called): (&str, &str), pv: &PvRow, reasons: &mut Reasons) {
    let vg = &pv.vg_name;
    let (covered, hint) = if wish.grows {
        ("", format!("add another disk; or free this one: pvmove {path} && vgreduce {vg} {path}"))
    } else {
        (", which --wipe does not cover", format!("to use what is free in that group: dmtool setup --adopt {vg}"))
    };
    reasons.add_with_hint(format!("{called} is a physical volume of the volume group {vg}{covered}."), hint);
}

fn stranded((path, called): (&str, &str), reasons: &mut Reasons) {
    reasons.add_with_hint(
        format!("{called} is marked by LVM as part of a volume group whose metadata is not there."),
        format!(
            "see whether a pool is missing with it: dmtool check; bring back the other disks of that group; where \
             there are none, and nobody misses what is on it: pvremove --force --force --yes {path}"
        ),
    );
}

/// The step that takes off the label of a disk that a run of ours was cut off at, where it has one.
pub fn unlabel_step(one: &Usable<'_>, lvm: &Lvm, plan: &mut Plan) {
    let (_, device) = one;
    if device.begun && lvm.pv_on(device.major, device.minor).is_some_and(PvRow::is_stranded) {
        plan.todo(Step::RemoveLabel { device: path_for_lvm(one) });
    }
}

/// A PV that LVM knows and that is in no group is a half-done setup; any other signature is somebody's.
fn check_signatures(wish: Wish<'_>, given: &str, device: &Device, known_pv: bool, reasons: &mut Reasons) {
    let signatures = match &device.signatures {
        Ok(signatures) => signatures,
        Err(why) => {
            reasons.add(format!("What is on {given} could not be looked at: {why}."));
            return;
        }
    };
    if wish.wipe {
        return;
    }
    let hint = if wish.grows {
        format!("if nothing on it is needed any more: wipefs --all {given}")
    } else {
        "if nothing on it is needed any more, add --wipe".to_owned()
    };
    // A whole label of LVM's is told of by now.
    let is_told = |signature: &Signature| signature.is_a_label_of_lvm() || known_pv && signature.kind == "LVM2_member";
    for signature in signatures.iter().filter(|signature| !is_told(signature)) {
        if signature.partition_table {
            let list = partitions_of(device);
            reasons.add_with_hint(format!("{given} has a partition table ({}: {list}).", signature.kind), &*hint);
        } else {
            let label = signature.label.as_ref().map_or(String::new(), |label| format!(" '{}'", label.escape_debug()));
            reasons.add_with_hint(format!("{given} carries a signature: {}{label}.", signature.kind), &*hint);
        }
    }
}

/// The partitions of a disk with their sizes, for people.
fn partitions_of(device: &Device) -> String {
    let partitions = device.partitions.as_deref().unwrap_or_default();
    let list: Vec<String> = partitions.iter().map(|part| format!("{} {}", part.path, part.size)).collect();
    if list.is_empty() { "no partitions".to_owned() } else { list.join(", ") }
}

/// A group is ours when it contains the given devices.
pub fn check_group(wish: Wish<'_>, devices: &[Usable<'_>], group: Option<&Group<'_>>, reasons: &mut Reasons) {
    let vg = wish.vg;
    let Some(group) = group else { return };
    let on = |device: &Device| {
        let number = (u64::from(device.major), u64::from(device.minor));
        group.pvs.iter().any(|pv| (pv.pv_major, pv.pv_minor) == number)
    };
    let members: Vec<&str> = group.pvs.iter().map(|pv| pv.pv_name.as_str()).collect();
    if !devices.is_empty() && !devices.iter().any(|(_, device)| on(device)) {
        reasons.add_with_hint(
            format!("The volume group {vg} exists already, on {}.", members.join(", ")),
            format!("choose another name (--pool NAME/thinpool), or use the space in it: dmtool setup --adopt {vg}"),
        );
    } else {
        for (given, _) in devices.iter().filter(|(_, device)| !on(device)) {
            reasons.add_with_hint(
                format!("{given} is not in the volume group {vg}, which is on {}.", members.join(", ")),
                format!("to grow the pool by a disk: dmtool resize {} --add-device {given}", wish.pool),
            );
        }
    }
    if group.pvs.iter().any(|pv| !pv.pv_missing.is_empty() || !pv.vg_partial.is_empty()) {
        reasons.add(format!("The volume group {vg} is incomplete: a physical volume of it is missing."));
    }
    if group.pvs.iter().any(|pv| !pv.vg_exported.is_empty()) {
        reasons.add_with_hint(format!("The volume group {vg} is exported."), format!("import it: vgimport {vg}"));
    }
}

/// How LVM is told a device: by its own name or one of udev's; another symlink is nothing to it.
pub fn path_for_lvm((given, device): &Usable<'_>) -> String {
    let plain = given.chars().all(|c| c.is_ascii_alphanumeric() || "/_.+-=:@".contains(c));
    if plain && device.links.iter().any(|link| link == given) { (*given).to_owned() } else { device.path.clone() }
}

/// The step that makes the group. Where it would get other extents than those that sizes are reckoned in, it says which.
pub fn group_step(vg: &VgName, devices: &[Usable<'_>], other_extents: bool) -> Step {
    let extent = other_extents.then_some(sizing::EXTENT);
    Step::CreateGroup { vg: vg.clone(), devices: devices.iter().map(path_for_lvm).collect(), extent }
}

/// The step that takes off what --wipe covers, where there is any of it.
pub fn wipe_step(wish: Wish<'_>, (given, device): &Usable<'_>, lvm: &Lvm, plan: &mut Plan) {
    let pv = lvm.pv_on(device.major, device.minor);
    // wipefs takes LVM's label too: on a member of the group it would take every volume with it.
    if !wish.wipe || pv.is_some_and(|pv| !pv.vg_name.is_empty()) {
        return;
    }
    let signatures = device.signatures.as_deref().unwrap_or_default();
    let found: Vec<String> = signatures
        .iter()
        .filter(|signature| !(pv.is_some() && signature.kind == "LVM2_member"))
        .map(|signature| {
            if signature.partition_table {
                format!("{} partition table with {}", signature.kind, partitions_of(device))
            } else {
                signature.kind.clone()
            }
        })
        .collect();
    if !found.is_empty() {
        plan.todo(Step::WipeDevice { device: (*given).to_owned(), found });
    }
}

/// The extents of this size that LVM will find on devices that are in no group yet.
pub fn blank_extents(devices: &[Usable<'_>], extent: Bytes) -> Extents {
    let on =
        |(_, device): &Usable<'_>| sizing::extents_on(device.size, (device.minimum_io, device.optimal_io), extent).0;
    Extents(devices.iter().map(on).fold(0, u64::saturating_add))
}

/// The room in the group, or in the one that is about to be made of the devices.
pub fn room(devices: &[Usable<'_>], group: Option<&Group<'_>>, spare: Extents) -> Room {
    match group {
        Some(group) => Room { extent: group.extent, total: group.extents, free: group.free, spare },
        None => {
            let count = blank_extents(devices, sizing::EXTENT);
            Room { extent: sizing::EXTENT, total: count, free: count, spare }
        }
    }
}
