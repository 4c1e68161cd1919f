//! The plan of `dmtool volume recycle`: a pool without volumes, at transaction 0, as Docker takes one over.

use super::{changes, is_in, no_dependents};
use crate::names::{DmName, LvmName, layer_over, means};
use crate::observe::device::Above;
use crate::observe::lvm::LvRow;
use crate::observe::owners::{Claims, OwnerKind};
use crate::observe::pools::{Kind, LvmSide, Pool};
use crate::observe::register::{Record, is_dockers_own};
use crate::observe::volumes::{Inventory, Standing, Volume};
use crate::observe::{Looked, Unseen};
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::{OfVolume, Step};
use crate::plan::teardown::stop;
use crate::plan::{Plan, activation};
use crate::units::Bytes;

/// What stands in a pool, and who uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub ground: activation::Facts,
    pub pool: Pool,
    pub inventory: Inventory,
    pub claims: Vec<Looked<Claims>>,
    /// The daemons that run, whatever they are configured for.
    pub at_work: Vec<&'static str>,
    /// Of the pool: the kernel's, or the metadata's where it is down.
    pub transaction_id: Looked<u64>,
}

/// How many volumes a question names.
const NAMED: usize = 8;

/// # Errors
/// Every reason why nothing is begun.
pub fn recycle(facts: &Facts) -> Result<Plan, Refusal> {
    let pool = &facts.pool;
    let name = &pool.name;
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    users(facts, &mut reasons);
    if !facts.inventory.complete {
        let why = facts.inventory.warnings.first().cloned().unwrap_or_default();
        reasons.add(format!("Not all volumes of {name} could be seen: {why}."));
    }
    match (&facts.transaction_id, &pool.lvm, LvmName::parse(name)) {
        (Err(Unseen(why)), ..) => reasons.add(format!("Could not look: {why}.")),
        (Ok(own), Some(side), Ok(of)) => lvm(&of, side, *own, facts, &mut plan, &mut reasons),
        (Ok(own), ..) => bare(*own, facts, &mut plan, &mut reasons),
    }
    if facts.inventory.volumes.is_empty() && pool.figures().is_some_and(|figures| figures.data_used.0 > 0) {
        reasons.add_with_hint(
            format!("{name} counts chunks that no volume has."),
            format!("have its metadata repaired: dmtool repair {name}"),
        );
    }
    if !plan.nothing_to_do() {
        for Claims { who, recorded, .. } in facts.claims.iter().flatten() {
            plan.warnings.extend(recorded.then(|| books_stay(who, name)));
        }
    }
    reasons.settle(format!("volume recycle of {name} is refused, nothing was changed"))?;
    Ok(plan)
}

fn books_stay(who: &str, pool: &str) -> String {
    match who {
        "Docker" => format!(
            "what Docker has written down of its volumes stays in its folder, and does not fit the pool any more; to have it \
             moved aside: dmtool configure docker {pool} --move-data --restart"
        ),
        _ => format!("what {who} has written down of its volumes in {pool} stays, and does not fit the pool any more"),
    }
}

/// Nobody may be at work in a pool whose volumes go.
fn users(facts: &Facts, reasons: &mut Reasons) {
    let pool = &facts.pool;
    let (name, names) = (&pool.name, pool.dm_names());
    if is_dockers_own(name) {
        reasons.add(format!("{name} is Docker's own pool, which Docker makes anew at each start."));
    }
    for (who, wants) in facts.ground.running.iter().filter(|(_, wants)| means(wants, name, &names)) {
        reasons.add_with_hint(format!("{who} runs and is configured for {wants}."), stop(who));
    }
    for claims in &facts.claims {
        match claims {
            Ok(Claims { who, place, recorded: true, .. }) if facts.at_work.contains(who) => {
                reasons
                    .add_with_hint(format!("{who} runs and has a record of volumes in {name} ({place})."), stop(who));
            }
            Err(why) if !facts.at_work.is_empty() => {
                reasons.add(format!("Who uses {name} could not be looked at: {why}."));
            }
            Ok(_) | Err(_) => {}
        }
    }
    for above in above(facts) {
        match &above.uses {
            Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{} {used}.", above.dm_name))),
            Err(why) => reasons.add(format!("Whether {} is in use could not be looked at: {why}.", above.dm_name)),
        }
    }
}

fn above(facts: &Facts) -> impl Iterator<Item = &Above> {
    facts.ground.above.iter().filter(|above| above.pool == facts.pool.name)
}

/// In a pool of LVM's: LVM's own volumes by LVM, the others by messages, and then LVM's count, with the pool down, since LVM
/// activates none whose count is another than its own. Without a volume it comes up without the layer that Docker does not
/// take for a pool.
fn lvm(pool: &LvmName, side: &LvmSide, own: u64, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let rows: Vec<&LvRow> = facts.ground.lvm.iter().flat_map(|lvm| &lvm.lvs).filter(|row| is_in(row, pool)).collect();
    for row in &rows {
        match LvmName::parse(&format!("{}/{}", row.vg_name, row.lv_name)) {
            Ok(volume) => {
                no_dependents(row, pool, facts.ground.lvm.as_ref().ok(), reasons);
                let holds = format!("the volume {volume} ({})", Bytes(row.lv_size));
                plan.todo(Step::Volume(OfVolume::Remove { volume, holds }));
            }
            Err(why) => reasons.add(format!("{why}.")),
        }
    }
    let known = side.row.transaction_id.parse::<u64>().unwrap_or(0);
    let counted = known != 0 || !rows.is_empty();
    let Some(live) = &facts.pool.live else {
        // One that a run left down on its way.
        if own != 0 || !facts.inventory.volumes.is_empty() {
            let name = &facts.pool.name;
            reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
        } else {
            if counted {
                plan.todo(Step::Volume(OfVolume::ResetLvm { pool: pool.clone() }));
            }
            plan.todo(Step::Activate { pool: pool.clone(), ignore_skip: false });
        }
        return;
    };
    emptied(
        &live.dm_name,
        facts,
        &|volume| volume.owner.as_ref().is_some_and(|owner| owner.kind == OwnerKind::Lvm),
        plan,
        reasons,
    );
    if own != 0 || !rows.is_empty() {
        plan.todo(Step::Volume(OfVolume::ResetTransaction { pool: live.dm_name.clone() }));
    }
    if counted || layer_over(&live.dm_name).is_some() {
        plan.todo(Step::Deactivate { pool: pool.clone(), volumes: Vec::new() });
        if counted {
            plan.todo(Step::Volume(OfVolume::ResetLvm { pool: pool.clone() }));
        }
        plan.todo(Step::Activate { pool: pool.clone(), ignore_skip: false });
    }
    if !plan.nothing_to_do() {
        // Without it the pool would go with the last of LVM's volumes.
        activation::layer_first(&facts.pool, pool, plan);
        changes(&facts.pool, reasons);
    }
}

fn bare(own: u64, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let pool = &facts.pool;
    let Some(live) = &pool.live else { return changes(pool, reasons) };
    let record = match &pool.record {
        Some(Err(why)) => return reasons.add(format!("Could not look: {why}.")),
        Some(Ok(record)) => Some(record),
        None => None,
    };
    emptied(&live.dm_name, facts, &|_| false, plan, reasons);
    if let Some(record) = record.filter(|record| record.transaction_id != 0 || !record.volumes.is_empty()) {
        let next_thin_id = record.free_id();
        let after = Record { volumes: Vec::new(), next_thin_id, transaction_id: 0, ..record.clone() };
        plan.todo(Step::Record { record: Box::new(after), made: false });
    }
    if own != 0 {
        plan.todo(Step::Volume(OfVolume::ResetTransaction { pool: live.dm_name.clone() }));
    }
    if !plan.nothing_to_do() {
        if let Some(known) = facts.ground.known(pool)
            && !known.standing.as_ref().is_some_and(|standing| standing.carries(live))
        {
            reasons.add(format!("{} is on other devices than the register says.", pool.name));
        }
        changes(pool, reasons);
    }
}

/// Takes all volumes out of a pool but those that go by other means.
fn emptied(dm_name: &str, facts: &Facts, otherwise: &dyn Fn(&Volume) -> bool, plan: &mut Plan, reasons: &mut Reasons) {
    let volumes: Vec<&Volume> = facts.inventory.volumes.iter().filter(|volume| !otherwise(volume)).collect();
    for device in volumes.iter().filter_map(|volume| volume.device()) {
        match DmName::new(device) {
            Ok(device) => plan.todo(Step::RemoveDevice { device }),
            Err(why) => reasons.add(format!("{why}.")),
        }
    }
    let there = volumes.iter().filter(|volume| volume.standing != Standing::Missing);
    let ids: Vec<u64> = there.filter_map(|volume| volume.thin_id).collect();
    if !ids.is_empty() {
        let holds = holds(&facts.pool, &volumes);
        plan.todo(Step::Volume(OfVolume::Empty { pool: dm_name.to_owned(), ids, holds }));
    }
}

/// What is lost, by name as far as there are names.
fn holds(pool: &Pool, volumes: &[&Volume]) -> String {
    let mapped = volumes.iter().filter_map(|volume| volume.mapped).fold(0_u64, |sum, one| sum.saturating_add(one.0));
    let mut names: Vec<&str> = Vec::new();
    for volume in volumes {
        let owned = volume.owner.as_ref().and_then(|owner| owner.names.first()).map(String::as_str);
        let name = owned.unwrap_or(&volume.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let rest = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(NAMED);
    let count = volumes.len();
    let kind = if pool.kind == Kind::Lvm { "not LVM's " } else { "" };
    let noun = if count == 1 { "volume" } else { "volumes" };
    format!("{count} {noun} of {} {kind}({} mapped): {}{rest}", pool.name, Bytes(mapped), names.join(", "))
}
