//! The plan of `dmtool volume create` on a bare pool: in the register first, then in the pool, then a device, then a
//! file system.

use super::Plan;
use super::activation::{Chosen, Facts, choose};
use super::bare::Known;
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use crate::names::DmName;
use crate::observe::Looked;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{Record, Volume, is_a_consumers};
use crate::observe::thin::Mode;
use crate::units::Bytes;

#[derive(Debug, Clone)]
pub struct Request {
    pub pool: String,
    pub name: String,
    pub size: Bytes,
    /// ext4 or xfs.
    pub fs: Option<&'static str>,
}

/// Thin ids have 24 bits (`MAX_DEV_ID` of the kernel's dm-thin.c).
const LARGEST_ID: u64 = (1 << 24) - 1;

/// Plans a volume; `signature` is what its device carries, where that is there already.
///
/// # Errors
/// Every reason why nothing is begun.
pub fn create(request: &Request, facts: &Facts, signature: Option<&Looked<Option<String>>>) -> Result<Plan, Refusal> {
    let chosen = Chosen::One(request.pool.clone());
    let pools = choose("volume create", &chosen, &facts.pools, &facts.lvm)?;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in pools {
        let device = DmName::new(&format!("{}-{}", pool.name, request.name));
        match (record(pool, facts.known(pool), &mut reasons), device) {
            (Some(record), Ok(device)) => {
                steps(request, facts, (record, device, signature), &mut plan, &mut reasons);
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
    facts: &Facts,
    (record, device, signature): (&Record, DmName, Option<&Looked<Option<String>>>),
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    let name = &request.name;
    if is_a_consumers(&record.name, device.as_str()) {
        reasons.add(format!("{device} is a name that Docker or containerd gives to its own volumes."));
    }
    let chunk = record.chunk().0.max(1);
    let size = Bytes(request.size.0.div_ceil(chunk).saturating_mul(chunk));
    let there = record.volumes.iter().find(|volume| volume.name == *name || volume.device == device);
    if let Some(there) = there.filter(|there| there.size != size) {
        reasons.add(format!("{name} is there already and has {}, not {size}.", there.size));
    }
    let thin_id = there.map_or_else(|| record.free_id(), |volume| volume.thin_id);
    if thin_id > LARGEST_ID {
        reasons.add(format!("{} has used all its thin ids.", record.name));
    }
    let volume =
        there.cloned().unwrap_or(Volume { name: name.clone(), device, thin_id, size, origin: None, pending: true });
    let begun = there.is_some();
    let made = there.is_some_and(|volume| !volume.pending);
    let with = |pending: bool| {
        let mut after = record.clone();
        after.volumes.retain(|known| known.thin_id != thin_id);
        after.volumes.push(Volume { pending, ..volume.clone() });
        after.next_thin_id = record.free_id().max(thin_id + 1);
        Step::Record { record: Box::new(after), made: false }
    };
    plan.put(with(true), begun);
    plan.put(Step::MakeThin { record: Box::new(record.clone()), volume: volume.clone(), begun }, made);
    let up = facts.above.iter().any(|above| above.dm_name == volume.device.as_str());
    plan.put(super::bare::volume_step(record, &volume), up);
    if let Some(fs) = request.fs {
        let step = Step::MakeFileSystem { device: volume.device.clone(), fs };
        match signature.filter(|_| up) {
            Some(Ok(Some(found))) if found == fs => plan.already(step),
            Some(Ok(Some(found))) => reasons.add(format!("{name} is there already and carries {found}, not {fs}.")),
            Some(Err(why)) => reasons.add(format!("Could not look: {why}.")),
            // What an operator made without a file system may hold bytes of any kind.
            Some(Ok(None)) if made => reasons.add(format!("{name} is there already, without a file system.")),
            Some(Ok(None)) | None => plan.todo(step),
        }
    }
    plan.put(with(false), made);
}
