//! The plans of `dmtool volume mount` and `dmtool volume unmount`.

use super::{Facts, Of, again, bare_volume, changes, create_again, lvm_volume, of, stands_still, the_pool};
use crate::names::{LvmName, quoted};
use crate::observe::Looked;
use crate::observe::lvm::LvRow;
use crate::observe::mounts::Mount;
use crate::observe::register::{Record, State, Volume};
use crate::plan::Plan;
use crate::plan::bare::volume_step;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step, UNFINISHED};

#[derive(Debug, Clone)]
pub struct Request {
    pub pool: String,
    pub volume: String,
}

/// Where a volume is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Without symlinks, as the kernel has it.
    pub path: String,
    pub is: Folder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    Missing,
    /// A file, for one.
    Other,
    Empty,
    Used,
}

/// What the host says of a volume's device and of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// The number of its device; none where it is down.
    pub number: Option<(u32, u32)>,
    /// The first signature on it.
    pub signature: Option<Looked<Option<String>>>,
    pub mounts: Looked<Vec<Mount>>,
}

impl Ground {
    fn mounts(&self) -> Result<Vec<&Mount>, String> {
        let mounts = self.mounts.as_ref().map_err(|why| format!("Could not look: {why}."))?;
        Ok(mounts.iter().filter(|mount| self.number.is_some_and(|number| mount.device() == number)).collect())
    }
}

/// A volume that is meant.
struct Meant {
    /// Its node.
    device: String,
    /// What brings it up.
    up: Step,
    is_snapshot: bool,
    complete: bool,
    /// The command that goes on with one that is not.
    again: String,
    dm_name: String,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn mount(request: &Request, place: &Place, facts: &Facts, ground: &Ground) -> Result<Plan, Refusal> {
    let pool = the_pool("volume mount", &request.pool, facts)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let of = of(pool, facts, &mut reasons);
    if let Some(volume) = of.and_then(|of| meant(request, &of, facts, &mut reasons)) {
        plan.put(volume.up, ground.number.is_some());
        let step = Step::Volume(OfVolume::Mount {
            device: volume.device,
            place: place.path.clone(),
            is_snapshot: volume.is_snapshot,
            kind: ground.signature.clone().and_then(Result::ok).flatten(),
        });
        match ground.mounts() {
            Err(why) => reasons.add(why),
            Ok(mounts) if mounts.iter().any(|mount| mount.place == place.path) => plan.already(step),
            Ok(mounts) => {
                elsewhere(request, &mounts, &mut reasons);
                free(place, ground, &mut plan, &mut reasons);
                mountable(request, ground, (volume.complete, volume.again), &mut reasons);
                stands_still(&volume.dm_name, facts, &mut reasons);
                plan.todo(step);
            }
        }
    }
    if !plan.nothing_to_do() {
        changes(pool, &mut reasons);
    }
    reasons.settle(format!("volume mount of {} is refused, nothing was changed", request.volume))?;
    Ok(plan)
}

/// # Errors
/// Every reason why nothing is begun.
pub fn unmount(request: &Request, facts: &Facts, ground: &Ground) -> Result<Plan, Refusal> {
    let pool = the_pool("volume unmount", &request.pool, facts)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let of = of(pool, facts, &mut reasons);
    if let Some(volume) = of.and_then(|of| meant(request, &of, facts, &mut reasons)) {
        stands_still(&volume.dm_name, facts, &mut reasons);
        match ground.mounts() {
            Err(why) => reasons.add(why),
            // The last one covers the others.
            Ok(mounts) => {
                for mount in mounts.iter().rev() {
                    let over = ground.mounts.iter().flatten().rfind(|other| other.place == mount.place);
                    if let Some(over) = over.filter(|over| !mounts.contains(over)) {
                        reasons.add(format!("{} is mounted over it on {}.", over.source, over.place));
                    }
                    plan.todo(Step::Volume(OfVolume::Unmount { place: mount.place.clone() }));
                }
            }
        }
    }
    reasons.settle(format!("volume unmount of {} is refused, nothing was changed", request.volume))?;
    Ok(plan)
}

/// The node of the volume that is meant, and the name of its device.
pub fn device(request: &Request, facts: &Facts) -> Option<(String, String)> {
    let mut reasons = Reasons::default();
    let pool = the_pool("volume mount", &request.pool, facts).ok()?;
    let of = of(pool, facts, &mut reasons)?;
    meant(request, &of, facts, &mut reasons).map(|volume| (volume.device, volume.dm_name))
}

fn meant(request: &Request, of: &Of<'_>, facts: &Facts, reasons: &mut Reasons) -> Option<Meant> {
    let (pool, typed) = (&request.pool, &request.volume);
    let found = match of {
        Of::Lvm(name, _) => {
            lvm_volume(name, typed, facts).map(|found| found.map(|(row, volume)| lvm(request, row, volume)))
        }
        Of::Register(record) => bare_volume(record, typed).map(|found| found.map(|volume| bare(record, volume))),
    };
    match found {
        Err(why) => reasons.add(why),
        Ok(None) => reasons.add_with_hint(
            format!("There is no volume {typed} in {pool}."),
            format!("list them: dmtool volume list {pool}"),
        ),
        Ok(Some(meant)) => return Some(meant),
    }
    None
}

fn lvm(request: &Request, row: &LvRow, volume: LvmName) -> Meant {
    Meant {
        again: create_again(&request.pool, &request.volume),
        dm_name: volume.dm_name(),
        device: format!("/dev/{volume}"),
        up: Step::Volume(OfVolume::Activate { volume }),
        is_snapshot: !row.origin.is_empty(),
        complete: !row.has_tag(UNFINISHED),
    }
}

fn bare(record: &Record, volume: &Volume) -> Meant {
    Meant {
        again: again(record, volume),
        dm_name: volume.device.to_string(),
        device: format!("/dev/mapper/{}", volume.device),
        up: volume_step(record, volume),
        is_snapshot: volume.origin.is_some(),
        complete: volume.state == State::Ready,
    }
}

fn elsewhere(request: &Request, mounts: &[&Mount], reasons: &mut Reasons) {
    let Request { pool, volume } = request;
    for mount in mounts {
        reasons.add_with_hint(
            format!("{volume} is mounted on {}.", mount.place),
            format!("take it from there first: dmtool volume unmount {pool} {volume}"),
        );
    }
}

/// Nothing is mounted over what somebody sees there now, unless it is a folder.
fn free(place: &Place, ground: &Ground, plan: &mut Plan, reasons: &mut Reasons) {
    let path = &place.path;
    let taken = ground.mounts.iter().flatten().find(|mount| mount.place == *path);
    if let Some(mount) = taken {
        reasons.add(format!("{} is mounted on {path}.", mount.source));
    }
    match place.is {
        Folder::Missing => {
            reasons.add_with_hint(format!("{path} is not there."), format!("make it: mkdir -p {}", quoted(path)));
        }
        Folder::Other => reasons.add(format!("{path} is no folder.")),
        Folder::Used if taken.is_none() => {
            plan.warnings
                .push(format!("{path} is not empty, and what is in it cannot be seen while the volume is there"));
        }
        Folder::Used | Folder::Empty => {}
    }
}

fn mountable(request: &Request, ground: &Ground, (complete, again): (bool, String), reasons: &mut Reasons) {
    let Request { pool, volume } = request;
    if !complete {
        reasons.add_with_hint(format!("{volume} is not complete: a run that made it was cut off."), again);
        return;
    }
    match &ground.signature {
        Some(Ok(None)) => reasons.add_with_hint(
            format!("{volume} carries no file system."),
            format!("make one: mkfs.ext4 on the device that dmtool volume show {pool} {volume} tells"),
        ),
        Some(Err(why)) => reasons.add(format!("Could not look: {why}.")),
        // What a volume carries that is down is seen once it is up.
        Some(Ok(Some(_))) | None => {}
    }
}
