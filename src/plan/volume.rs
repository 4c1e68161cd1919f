//! The plan of `dmtool volume create` on a bare pool: in the register first, then in the pool, then a device, then a
//! file system.

use super::activation::{Chosen, Facts, choose};
use super::bare::{Around, Known, volume_step};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use super::{Plan, Planned};
use crate::names::DmName;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{LARGEST_ID, Record, State, Volume, is_a_consumers};
use crate::observe::thin::Mode;
use crate::observe::{Looked, host};
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
    let chosen = Chosen::One(request.pool.clone());
    let pools = choose("volume create", &chosen, &facts.pools, &facts.lvm)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in pools {
        let device = DmName::new(&format!("{}-{}", pool.name, request.name));
        match (record(pool, facts.known(pool), &mut reasons), device) {
            (Some(record), Ok(device)) => {
                steps(request, facts.around(), (record, device, fs), &mut plan, &mut reasons);
            }
            (Some(_), Err(why)) => reasons.add(why),
            (None, _) => {}
        }
    }
    reasons.settle(format!("volume create of {} is refused, nothing was changed", request.name))?;
    Ok(plan)
}

/// The record of a pool that can take a volume.
fn record<'a>(pool: &Pool, known: Option<&'a Known>, reasons: &mut Reasons) -> Option<&'a Record> {
    let name = &pool.name;
    if pool.kind == Kind::Lvm {
        reasons.add_with_hint(
            format!("{name} is LVM's, whose volumes this version does not make."),
            format!("make it by LVM: lvcreate --virtualsize SIZE --name NAME --thinpool {name}"),
        );
        return None;
    }
    let Some(live) = &pool.live else {
        reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
        return None;
    };
    let works = live.status.as_ref().is_ok_and(|status| status.mode == Mode::Rw) && !live.suspended;
    if !works {
        reasons.add_with_hint(format!("{name} does not take writes."), format!("see why: dmtool check {name}"));
    }
    let Some(known) = known else {
        reasons.add_with_hint(
            format!("{name} is in no register, so nobody would know its volumes after a boot."),
            format!("have it remembered: dmtool activate {name} --remember"),
        );
        return None;
    };
    match (&known.record, &known.standing) {
        (Ok(record), Some(standing)) if standing.carries(live) => return Some(record),
        (Ok(_), _) => reasons.add(format!("{name} is on other devices than the register says.")),
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
    }
    None
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
    if let Some(kind) = request.fs.filter(|_| !fs.tool) {
        let package = if kind == "xfs" { "xfsprogs" } else { "e2fsprogs" };
        let hint = host::install(&fs.systems, package, package);
        reasons.add_with_hint(
            format!("mkfs.{kind} is not installed."),
            hint.map_or(format!("install the package {package}"), |command| format!("install it: {command}")),
        );
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
        match &fs.signature {
            _ if !ready => plan.todo(step),
            Some(Ok(Some(found))) if found == kind => plan.already(step),
            Some(Ok(Some(found))) => reasons.add(format!("{name} is there already and carries {found}, not {kind}.")),
            Some(Err(why)) => reasons.add(format!("Could not look: {why}.")),
            // What an operator made without a file system may hold bytes of any kind.
            Some(Ok(None)) => reasons.add(format!("{name} is there already, without a file system.")),
            // Its device is down: what it carries is looked at once it is up.
            None => {}
        }
    }
    plan.put(Step::HandOut { pool, device }, ready);
}
