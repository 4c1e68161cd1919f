//! The plan of `dmtool setup`: a direct-lvm pool on the devices that the operator named.

use super::refusal::{Reasons, Refusal};
use super::sizing::{self, Layout, Room};
use super::step::Step;
use super::{Plan, Planned};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::device::{Device, Named, What};
use crate::observe::lvm::{Group, Lvm};
use crate::observe::pools::Pool;
use crate::observe::profile::{Autoextend, NEVER, Profile, path};
use crate::units::{Amount, Bytes, DataBlocks, Extents};

/// Docker's defaults for its own automation of this setup.
pub const DEFAULT: Autoextend = Autoextend { threshold: 80, percent: 20 };
pub const DEFAULT_CHUNK: Bytes = Bytes(512 * 1024);

/// What the operator asked for; absent is "not said": a default for a new pool, no wish for an existing one.
#[derive(Debug, Clone)]
pub struct Request {
    pub pool: LvmName,
    pub data: Amount,
    pub metadata: Amount,
    pub chunk: Option<Bytes>,
    pub threshold: Option<u64>,
    pub percent: Option<u64>,
    pub autoextend: bool,
    pub zero: bool,
    pub wipe: bool,
}

/// What the machine is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub devices: Vec<Named>,
    pub lvm: Looked<Lvm>,
    /// The pool of that name as it is now.
    pub pool: Looked<Option<Pool>>,
    /// The profile of the pool's own name.
    pub profile: Looked<Option<Profile>>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let message = format!("setup of {} is refused, nothing was changed", request.pool);
    let (lvm, pool, profile) = match (&facts.lvm, &facts.pool, &facts.profile) {
        (Ok(lvm), Ok(pool), Ok(profile)) => (lvm, pool, profile),
        (lvm, pool, profile) => {
            let unseen = [lvm.as_ref().err(), pool.as_ref().err(), profile.as_ref().err()];
            for why in unseen.into_iter().flatten() {
                reasons.add(format!("Could not look: {why}."));
            }
            reasons.settle(message)?;
            return Ok(Plan::default());
        }
    };
    let devices = devices(request, facts, lvm, &mut reasons);
    let group = lvm.group(&request.pool.vg);
    check_group(request, &devices, group.as_ref(), &mut reasons);
    let profile_step = profile_step(request, pool.as_ref(), profile.as_ref(), &mut reasons);
    let mut plan = Plan::default();
    match pool {
        Some(pool) => existing(request, &devices, pool, profile_step, &mut plan, &mut reasons),
        None => new(request, &devices, lvm, group.as_ref(), profile_step, &mut plan, &mut reasons),
    }
    reasons.settle(message)?;
    Ok(plan)
}

/// The named devices that are devices; every reason not to write on one of them is added.
fn devices<'a>(request: &Request, facts: &'a Facts, lvm: &Lvm, reasons: &mut Reasons) -> Vec<(&'a str, &'a Device)> {
    let mut found: Vec<(&str, &Device)> = Vec::new();
    for named in &facts.devices {
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
                check_device(request, given, device, lvm, reasons);
                found.push((given, device));
            }
        }
    }
    found
}

fn check_device(request: &Request, given: &str, device: &Device, lvm: &Lvm, reasons: &mut Reasons) {
    let pv = lvm.pv_on(device.major, device.minor);
    if pv.is_some_and(|pv| pv.vg_name == request.pool.vg.as_str()) {
        // Ours: what is on it is the pool that is being set up, or another volume that is left alone.
        return;
    }
    if let Some(pv) = pv.filter(|pv| !pv.vg_name.is_empty()) {
        reasons.add_with_hint(
            format!("{given} is a physical volume of the volume group {}, which --wipe does not cover.", pv.vg_name),
            format!("to use what is free in that group: dmtool setup --adopt {}", pv.vg_name),
        );
        return;
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
                for used in &partition.uses {
                    known_use = true;
                    reasons.add(format!("{}, a partition of {given}, {used}.", partition.path));
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
    check_signatures(request, given, device, pv.is_some(), reasons);
}

/// A PV that LVM knows and that is in no group is a half-done setup; any other signature is somebody's.
fn check_signatures(request: &Request, given: &str, device: &Device, known_pv: bool, reasons: &mut Reasons) {
    let signatures = match &device.signatures {
        Ok(signatures) => signatures,
        Err(why) => {
            reasons.add(format!("What is on {given} could not be looked at: {why}."));
            return;
        }
    };
    if request.wipe {
        return;
    }
    let hint = "if nothing on it is needed any more, add --wipe";
    for signature in signatures.iter().filter(|signature| !(known_pv && signature.kind == "LVM2_member")) {
        if signature.partition_table {
            let partitions = device.partitions.as_deref().unwrap_or_default();
            let list: Vec<String> = partitions.iter().map(|part| format!("{} {}", part.path, part.size)).collect();
            let list = if list.is_empty() { "no partitions".to_owned() } else { list.join(", ") };
            reasons.add_with_hint(format!("{given} has a partition table ({}: {list}).", signature.kind), hint);
        } else {
            let label = signature.label.as_ref().map_or(String::new(), |label| format!(" '{}'", label.escape_debug()));
            reasons.add_with_hint(format!("{given} carries a signature: {}{label}.", signature.kind), hint);
        }
    }
}

/// A group is ours when it contains the given devices.
fn check_group(request: &Request, devices: &[(&str, &Device)], group: Option<&Group>, reasons: &mut Reasons) {
    let vg = &request.pool.vg;
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
                format!("to grow the pool by a disk: dmtool resize {} --add-device {given}", request.pool),
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

/// The profile that the pool shall carry: its step, and whether it stands like that already.
fn profile_step(
    request: &Request,
    pool: Option<&Pool>,
    profile: Option<&Profile>,
    reasons: &mut Reasons,
) -> (Planned, Autoextend) {
    let threshold = if request.autoextend { request.threshold } else { Some(NEVER) };
    // Where nothing was asked, an existing pool keeps what its profile says.
    let kept = pool
        .and_then(|pool| pool.lvm.as_ref())
        .filter(|lvm| lvm.profile().is_some())
        .and_then(|lvm| lvm.autoextend.as_ref().ok())
        .copied()
        .unwrap_or(DEFAULT);
    let wanted =
        Autoextend { threshold: threshold.unwrap_or(kept.threshold), percent: request.percent.unwrap_or(kept.percent) };
    let path = path(&request.pool.dm_name());
    let stands = profile
        .is_some_and(|profile| (profile.threshold, profile.percent) == (Some(wanted.threshold), Some(wanted.percent)));
    if let Some(profile) = profile.filter(|profile| !stands && !profile.others.is_empty()) {
        reasons.add_with_hint(
            format!(
                "The profile {} also sets {}, so dmtool does not rewrite it.",
                path.display(),
                profile.others.join(", ")
            ),
            format!(
                "edit it by hand: thin_pool_autoextend_threshold={}, thin_pool_autoextend_percent={}",
                wanted.threshold, wanted.percent
            ),
        );
    }
    let text = include_str!("../../profiles/thinpool.profile")
        .replace("threshold=80", &format!("threshold={}", wanted.threshold))
        .replace("percent=20", &format!("percent={}", wanted.percent));
    let step = Step::WriteProfile { path, text, threshold: wanted.threshold, percent: wanted.percent };
    (Planned { step, already: stands }, wanted)
}

fn group_step(request: &Request, devices: &[(&str, &Device)]) -> Step {
    // LVM knows a device by its own name and by udev's; another symlink is nothing to it.
    let usable = |given: &str, device: &Device| {
        let plain = given.chars().all(|c| c.is_ascii_alphanumeric() || "/_.+-=:@".contains(c));
        if plain && device.links.iter().any(|link| link == given) { given.to_owned() } else { device.path.clone() }
    };
    Step::CreateGroup {
        vg: request.pool.vg.clone(),
        devices: devices.iter().map(|(given, device)| usable(given, device)).collect(),
    }
}

/// No pool yet: from the blank disk, or from wherever an earlier run stopped.
fn new(
    request: &Request,
    devices: &[(&str, &Device)],
    lvm: &Lvm,
    group: Option<&Group>,
    (profile, _): (Planned, Autoextend),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    if let Some(row) = lvm.lv(request.pool.vg.as_str(), request.pool.lv.as_str()) {
        reasons.add(format!("{} exists already and is no thin pool ({}).", request.pool, row.lv_layout));
    }
    let room = match group {
        Some(group) => Room {
            extent: group.extent,
            total: group.extents,
            free: group.free,
            spare: spare_of(lvm, request.pool.vg.as_str()).whole_extents(group.extent),
        },
        None => {
            let extents = devices
                .iter()
                .map(|(_, device)| sizing::extents_on(device.size, device.minimum_io, device.optimal_io).0)
                .sum();
            Room { extent: sizing::EXTENT, total: Extents(extents), free: Extents(extents), spare: Extents(0) }
        }
    };
    if reasons.is_empty() && devices.is_empty() {
        reasons.add("No device was named.");
    }
    let layout = match sizing::lay_out(room, request.data, request.metadata) {
        Ok(layout) => layout,
        Err(why) if devices.is_empty() => {
            // The devices have their own reasons; their size adds nothing.
            let _ = why;
            return;
        }
        Err(why) => {
            let names: Vec<&str> = devices.iter().map(|(given, _)| *given).collect();
            reasons.add(format!("{}: {why}", names.join(", ")));
            return;
        }
    };
    for (given, device) in devices {
        wipe_step(request, given, device, lvm, plan);
    }
    plan.put(group_step(request, devices), group.is_some());
    plan.steps.push(profile);
    plan.todo(create_step(request, room, layout));
}

fn wipe_step(request: &Request, given: &str, device: &Device, lvm: &Lvm, plan: &mut Plan) {
    let signatures = device.signatures.as_deref().unwrap_or_default();
    let is_pv = lvm.pv_on(device.major, device.minor).is_some();
    let found: Vec<String> = signatures
        .iter()
        .filter(|signature| !(is_pv && signature.kind == "LVM2_member"))
        .map(|signature| {
            if signature.partition_table {
                let partitions = device.partitions.as_deref().unwrap_or_default();
                let list: Vec<String> = partitions.iter().map(|part| format!("{} {}", part.path, part.size)).collect();
                format!("{} partition table with {}", signature.kind, list.join(", "))
            } else {
                signature.kind.clone()
            }
        })
        .collect();
    if request.wipe && !found.is_empty() {
        plan.todo(Step::WipeDevice { device: given.to_owned(), found });
    }
}

fn create_step(request: &Request, room: Room, layout: Layout) -> Step {
    Step::CreatePool {
        pool: request.pool.clone(),
        data: layout.data,
        metadata: layout.metadata.bytes(room.extent),
        chunk: request.chunk.unwrap_or(DEFAULT_CHUNK),
        zero: request.zero,
        profile: request.pool.dm_name(),
    }
}

/// The size of the group's spare metadata volume.
fn spare_of(lvm: &Lvm, vg: &str) -> Bytes {
    let is_spare = |role: &str| role.split(',').any(|word| word == "spare");
    let spare = lvm.lvs.iter().find(|row| row.vg_name == vg && is_spare(&row.lv_role));
    Bytes(spare.map_or(0, |row| row.lv_size))
}

/// The pool is there: profile, monitoring and activation are brought to what is asked, its make-up is not touched.
fn existing(
    request: &Request,
    devices: &[(&str, &Device)],
    pool: &Pool,
    (profile, wanted): (Planned, Autoextend),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let Some(lvm) = &pool.lvm else {
        reasons.add(format!("{} exists, but LVM does not know it.", pool.name));
        return;
    };
    let chunk = Bytes(lvm.row.chunk_size);
    if let Some(asked) = request.chunk.filter(|asked| *asked != chunk) {
        reasons.add(format!("{} has chunks of {chunk}, which cannot be changed to {asked}.", pool.name));
    }
    if request.zero && lvm.row.zero.is_empty() {
        reasons.add_with_hint(
            format!("{} does not zero new chunks, and setup does not change that.", pool.name),
            format!("change it by hand: lvchange --zero y {}", pool.name),
        );
    }
    let name = request.pool.dm_name();
    let carried = lvm.row.lv_profile == name;
    plan.already(group_step(request, devices));
    plan.steps.push(profile);
    plan.already(Step::CreatePool {
        pool: request.pool.clone(),
        data: Extents(lvm.row.lv_size / lvm.row.vg_extent_size.max(1)),
        metadata: lvm.metadata_size,
        chunk,
        zero: !lvm.row.zero.is_empty(),
        profile: name.clone(),
    });
    plan.put(Step::AttachProfile { pool: request.pool.clone(), profile: name }, carried);
    let Some(live) = &pool.live else {
        plan.todo(Step::Activate { pool: request.pool.clone() });
        return;
    };
    let low_water = live.table.as_ref().map(|table| table.low_water);
    let due = low_water_for(live.length.bytes(), chunk, wanted.threshold);
    plan.put(Step::Refresh { pool: request.pool.clone() }, low_water.is_ok_and(|now| near(now, due)));
    plan.put(Step::Monitor { pool: request.pool.clone() }, lvm.monitored());
}

/// The low-water mark that LVM puts into the table: the share above the threshold, in whole chunks (seen: 1553 for
/// 7768 chunks at 80 %). With a threshold of 100 it is 0.
fn low_water_for(data: Bytes, chunk: Bytes, threshold: u64) -> DataBlocks {
    let chunks = data.0.checked_div(chunk.0).unwrap_or(0);
    DataBlocks(chunks * NEVER.saturating_sub(threshold) / 100)
}

/// LVM counts in sectors before it counts in chunks, so a chunk more or less is the same mark.
fn near(one: DataBlocks, other: DataBlocks) -> bool {
    one.0.abs_diff(other.0) <= 1
}
