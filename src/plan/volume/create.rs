//! The plan of `dmtool volume create`. On a bare pool: in the register first, then in the pool, then a device, then a file
//! system.

use super::{
    Facts, Of, again, dm_name, is_in, is_unmade, number_is_free, of, row, stands_still, takes, the_pool, told_again,
};
use crate::names::{DmName, LvName, LvmName};
use crate::observe::pools::{LvmSide, Pool};
use crate::observe::register::{LARGEST_ID, Record, State, Volume, is_a_consumers};
use crate::observe::{Looked, host};
use crate::plan::bare::{Around, volume_step};
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step, UNFINISHED};
use crate::plan::{Plan, Planned};
use crate::units::{Bytes, LARGEST_DEVICE};

#[derive(Debug, Clone)]
pub struct Request {
    pub pool: String,
    pub name: String,
    pub size: Bytes,
    /// ext4 or xfs.
    pub fs: Option<&'static str>,
}

/// What the host says of a new volume's file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// What the volume's device carries, where that is there already.
    pub signature: Option<Looked<Option<String>>>,
    /// The tool that makes it is installed.
    pub tool: bool,
    /// ID and ID_LIKE of /etc/os-release.
    pub systems: Vec<String>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn create(request: &Request, facts: &Facts, fs: &FileSystem) -> Result<Plan, Refusal> {
    let pool = the_pool("volume create", &request.pool, facts)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let of = of(pool, facts, &mut reasons);
    match of {
        Some(Of::Lvm(name, side)) => lvm(request, (&name, side, pool), facts, fs, &mut plan, &mut reasons),
        Some(Of::Register(record)) => match DmName::new(&format!("{}-{}", pool.name, request.name)) {
            Ok(device) => steps(request, facts.ground.around(), (record, device, fs), &mut plan, &mut reasons),
            Err(why) => reasons.add(why),
        },
        None => {}
    }
    // What it carries could not be looked at.
    if request.fs.is_some() {
        stands_still(&dm_name(pool, &request.name), facts, &mut reasons);
    }
    if let Some(kind) = request.fs.filter(|_| !fs.tool) {
        let package = if kind == "xfs" { "xfsprogs" } else { "e2fsprogs" };
        let hint = host::install(&fs.systems, package, package);
        reasons.add_with_hint(
            format!("mkfs.{kind} is not installed."),
            hint.map_or(format!("install the package {package}"), |command| format!("install it: {command}")),
        );
    }
    if !plan.nothing_to_do() {
        takes(pool, &mut reasons);
    }
    reasons.settle(format!("volume create of {} is refused, nothing was changed", request.name))?;
    Ok(plan)
}

/// In a pool of LVM's, where a volume carries a tag until its file system is made.
fn lvm(
    request: &Request,
    (pool, side, seen): (&LvmName, &LvmSide, &Pool),
    facts: &Facts,
    fs: &FileSystem,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let name = match LvName::new(&request.name) {
        Ok(lv) => LvmName { vg: pool.vg.clone(), lv },
        Err(why) => return reasons.add(format!("{why}.")),
    };
    let extent = side.row.vg_extent_size.max(1);
    let size = Bytes(request.size.0.div_ceil(extent).saturating_mul(extent));
    if size > LARGEST_DEVICE {
        reasons.add(format!("{} is larger than any device can be.", request.size));
    }
    let step = |step| Step::Volume(step);
    let create = OfVolume::Create { pool: pool.clone(), lv: name.lv.clone(), size, unfinished: request.fs.is_some() };
    let mkfs = request.fs.map(|fs| OfVolume::MakeFileSystem { volume: name.clone(), fs });
    let row = row(pool, name.lv.as_str(), facts);
    let unmade = row.is_some_and(|row| is_in(row, pool) && is_unmade(row, seen, facts));
    if row.is_none() || unmade {
        plan.steps.extend(told_again(pool, seen, facts));
    }
    plan.steps.extend(unmade.then(|| Planned::todo(step(OfVolume::Forget { volume: name.clone() }))));
    let Some(row) = row.filter(|_| !unmade) else {
        number_is_free(pool, row, seen, facts, reasons);
        plan.todo(step(create));
        plan.steps.extend(mkfs.into_iter().flat_map(|mkfs| {
            [Planned::todo(step(mkfs)), Planned::todo(step(OfVolume::Finish { volume: name.clone() }))]
        }));
        return;
    };
    if !is_in(row, pool) {
        return reasons.add(format!("{name} is there already, and is no thin volume of {pool}."));
    }
    if row.lv_size != size.0 {
        let found = Bytes(row.lv_size);
        reasons.add(format!("{name} is there already and has {found}, not {size}."));
        if row.has_tag(UNFINISHED) {
            reasons.add_hint(format!(
                "it is not complete; to have it with another size: dmtool volume remove {pool} {}",
                request.name
            ));
        }
    }
    plan.already(step(create));
    let up = row.is_up();
    plan.steps.extend((!up).then(|| Planned::todo(step(OfVolume::Activate { volume: name.clone() }))));
    if row.has_tag(UNFINISHED) {
        plan.steps.extend(mkfs.map(|mkfs| Planned::todo(step(mkfs))));
        plan.todo(step(OfVolume::Finish { volume: name }));
    } else if let (Some(kind), Some(mkfs)) = (request.fs, mkfs) {
        carries(&request.name, kind, fs.signature.as_ref(), step(mkfs), plan, reasons);
    }
}

/// Whether a volume that is there already carries the file system that is asked for.
fn carries(
    name: &str,
    kind: &str,
    signature: Option<&Looked<Option<String>>>,
    step: Step,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    match signature {
        Some(Ok(Some(found))) if found == kind => plan.already(step),
        Some(Ok(Some(found))) => reasons.add(format!("{name} is there already and carries {found}, not {kind}.")),
        Some(Err(why)) => reasons.add(format!("Could not look: {why}.")),
        // What an operator made without a file system may hold bytes of any kind.
        Some(Ok(None)) => reasons.add(format!("{name} is there already, without a file system.")),
        // Its device is down: what it carries is looked at once it is up.
        None => {}
    }
}

fn steps(
    request: &Request,
    around: Around<'_>,
    (record, device, fs): (&Record, DmName, &FileSystem),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let name = &request.name;
    if is_a_consumers(&record.name, device.as_str()) {
        reasons.add(format!("{device} is a name that Docker or containerd gives to its own volumes."));
    }
    let chunk = record.chunk().0.max(1);
    let size = Bytes(request.size.0.div_ceil(chunk).saturating_mul(chunk));
    if size > LARGEST_DEVICE {
        reasons.add(format!("{} is larger than any device can be.", request.size));
    }
    let there = record.volumes.iter().find(|volume| volume.name == *name || volume.device == device);
    let (pool, mkfs) = (record.name.clone(), |device: &DmName| request.fs.map(|fs| file_system(record, device, fs)));
    match there {
        // What it holds is its origin's.
        Some(volume) if volume.state == State::Made && volume.origin.is_some() => {
            reasons.add_with_hint(format!("{name} is a snapshot that is not complete."), again(record, volume));
        }
        Some(volume) if volume.state != State::Announced => match around.is_up(&pool, volume) {
            Ok(up) => goes_on(request, (record, volume, up, size), fs, plan, reasons),
            Err(why) => reasons.add(why),
        },
        // Whose number an announced one has is not known: it gets another.
        _ => {
            around.name_is_free(device.as_str()).unwrap_or_else(|why| reasons.add(why));
            let (thin_id, state) = (record.free_id(), State::Announced);
            if thin_id > LARGEST_ID {
                reasons.add(format!("{pool} has used all its thin ids."));
            }
            let (name, device_of) = (name.clone(), device.clone());
            let volume = Volume { name, device: device_of, thin_id, size, origin: None, state, remembered: false };
            plan.todo(Step::MakeThin { pool: pool.clone(), volume });
            plan.steps.extend(mkfs(&device).map(Planned::todo));
            plan.todo(Step::HandOut { pool, device });
        }
    }
}

fn file_system(record: &Record, device: &DmName, fs: &'static str) -> Step {
    Step::MakeFileSystem { pool: record.name.clone(), device: device.clone(), fs }
}

/// A volume that the pool has: made by a run that was cut off, or complete.
fn goes_on(
    request: &Request,
    (record, volume, up, size): (&Record, &Volume, bool, Bytes),
    fs: &FileSystem,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let (name, pool, device) = (&request.name, record.name.clone(), volume.device.clone());
    let mut volume = volume.clone();
    let ready = volume.state == State::Ready;
    if volume.size != size && ready {
        reasons.add(format!("{name} is there already and has {}, not {size}.", volume.size));
    }
    let other_size = volume.size != size && !ready;
    if other_size {
        // Nobody was told of it yet.
        volume.size = size;
        let mut after = record.clone();
        after.volumes.retain(|known| known.thin_id != volume.thin_id);
        after.volumes.push(volume.clone());
        plan.steps.extend(up.then(|| Planned::todo(Step::RemoveDevice { device: device.clone() })));
        plan.todo(Step::Record { record: Box::new(after), made: false });
    }
    plan.put(volume_step(record, &volume), up && !other_size);
    if let Some(kind) = request.fs {
        let step = file_system(record, &device, kind);
        if ready {
            carries(name, kind, fs.signature.as_ref(), step, plan, reasons);
        } else {
            plan.todo(step);
        }
    }
    plan.put(Step::HandOut { pool, device }, ready);
}
