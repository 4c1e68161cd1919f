//! The plans of `dmtool repair` and `dmtool metadata restore`: new metadata is made beside the old, and swapped in when
//! the operator has seen what becomes of each volume. The old metadata is kept until it is accepted.

mod finish;
mod fresh;
mod swap;
mod transactions;
mod up;

use super::activation::{self, Chosen};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use super::{Plan, bare};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::metadata::volumes::{Contents, Dump};
use crate::observe::metadata::{Head, Superblock, Verdict};
use crate::observe::pools::Pool;
use crate::observe::register::is_dockers_own;
use crate::observe::repair::{Home, Repair, Source, Stage};
use crate::units::Bytes;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    pub wanted: Wanted,
    pub backup_dir: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Repair,
    Accept,
    Undo,
    /// The dump in this file.
    Restore(String),
}

impl Request {
    pub fn verb(&self) -> &'static str {
        match self.wanted {
            Wanted::Restore(_) => "metadata restore",
            _ => "repair",
        }
    }

    pub fn chosen(&self) -> Chosen {
        Chosen::One(self.pool.clone())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub ground: activation::Facts,
    /// A repair that was begun and not accepted.
    pub journal: Looked<Option<Repair>>,
    /// What the metadata is like; absent where nothing is to be decided by it.
    pub found: Option<Looked<Found>>,
    /// How the metadata compares with the copies of the journal.
    pub copies: Option<Looked<Copies>>,
    pub room: Looked<Room>,
    /// Tools that are not installed.
    pub missing: Vec<&'static str>,
    pub dump: Option<Looked<Dump>>,
    pub expected: Looked<Vec<Expected>>,
    /// Containers that run, by name.
    pub containers: Vec<String>,
    /// This run has taken the pool down.
    pub taken_down: bool,
    /// The new metadata was made by this run.
    pub built_here: bool,
    /// This run has seen the end of a repair, or an earlier one put the old metadata back.
    pub ended: bool,
    /// The command that installs the thin tools.
    pub install: String,
}

/// Metadata, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub head: Head,
    pub verdict: Verdict,
    /// Absent for a pool that is up.
    pub rest: Option<Rest>,
}

/// What is looked at besides, of a pool that is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    pub contents: Looked<Contents>,
    pub size: Bytes,
    /// What a copy of it takes.
    pub content: Bytes,
}

/// Byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    pub is_old: bool,
    pub is_new: bool,
    /// It begins with the mark of a copy of ours that did not come to its end.
    pub is_cut_off: bool,
    /// The copies that are not where they were put.
    pub gone: Vec<String>,
}

/// Where the copies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub folder: String,
    pub free: Bytes,
    pub read_only: bool,
    pub in_memory: bool,
    /// The first number that no copy there has.
    pub number: u32,
}

/// A volume that should be in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub name: String,
    pub thin_id: u64,
    /// Its device, once it is up.
    pub device: String,
    /// Of the pool, when Docker made it.
    pub transaction_id: Option<u64>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let pools = facts.ground.choose(request.verb(), &request.chosen())?;
    let Some(pool) = pools.first() else { return Ok(Plan::default()) };
    let refused = |reason: String, hint: String| Refusal {
        message: format!("{} of {} is refused, nothing was changed", request.verb(), pool.name),
        reasons: vec![reason],
        hint: Some(hint),
    };
    let look = || format!("see how the pool is: dmtool check {}", pool.name);
    let journal = facts.journal.as_ref().map_err(|why| refused(format!("Could not look: {why}."), look()))?;
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    match (&request.wanted, journal) {
        (Wanted::Accept, None) => {}
        (Wanted::Accept, Some(repair)) => finish::accept(pool, repair, facts, &mut plan, &mut reasons),
        (Wanted::Undo, None) if facts.ended => {}
        (Wanted::Undo, None) => {
            let why = format!("No repair of {} waits to be undone.", pool.name);
            return Err(refused(why, look()));
        }
        (_, Some(repair))
            if request.wanted == Wanted::Undo
                || (repair.stage == Stage::Undoing && (!is_stale(facts) || is_as_shown(repair, pool, facts))) =>
        {
            finish::undo(pool, repair, facts, &mut plan, &mut reasons);
        }
        (_, Some(repair)) if let Some((why, hint)) = halted(request, repair, pool, facts) => {
            reasons.add_with_hint(why, hint);
        }
        (_, Some(repair))
            if is_at_hand(repair, pool, facts, &request.wanted) || is_made_by_lvm(repair, pool, facts) =>
        {
            swap::swap(pool, repair, facts, &mut plan, &mut reasons);
        }
        (_, Some(repair)) if repair.stage == Stage::Swapped => {
            if let Some(refusal) =
                facts.clean().and_then(|(head, found)| transactions::disagree(pool, head, found, facts))
            {
                return Err(refusal);
            }
            finish::repaired(request, pool, repair, facts, &mut reasons);
        }
        _ => begin(request, pool, facts, &mut plan, &mut reasons)?,
    }
    if is_dockers_own(&pool.name) && request.wanted != Wanted::Accept && !plan.nothing_to_do() {
        let runs = facts.ground.running.iter().any(|(who, wants)| *who == "Docker" && *wants == pool.name);
        if runs && pool.live.is_none() {
            let why = format!("Docker runs, and brings {} up by itself.", pool.name);
            reasons.add_with_hint(why, "stop it: systemctl stop docker.socket docker");
        }
    }
    reasons.settle(format!("{} of {} is refused, nothing was changed", request.verb(), pool.name))?;
    Ok(plan)
}

/// Whether a dump is another than the one that the new metadata is made of; one that is gone by now is not asked for.
fn is_other(asked: &str, repair: &Repair, facts: &Facts) -> bool {
    match (&repair.source, &facts.dump) {
        (Source::Dump { path, sum, .. }, Some(Ok(dump))) => asked != path || sum.is_some_and(|sum| sum != dump.sum),
        (Source::Dump { path, .. }, _) => asked != path,
        (Source::Metadata { .. }, _) => true,
    }
}

/// Whether LVM's own repair did its part: it keeps the old metadata as that volume, and what it made may be, byte for byte,
/// other than our copy.
fn is_made_by_lvm(repair: &Repair, pool: &Pool, facts: &Facts) -> bool {
    let Home::Volume { other, .. } = &repair.home else { return false };
    let (Ok(lvm), Some(name)) = (&facts.ground.lvm, of_lvm(pool)) else { return false };
    pool.live.is_none()
        && repair.by_spare
        && matches!(repair.stage, Stage::Swapping | Stage::Undoing)
        && facts.compared().is_some_and(|copies| !copies.is_old)
        && lvm.lv(name.vg.as_str(), other.as_str()).is_some()
}

/// Whether a pool with such metadata has what was shown, and so was not used since as far as its map tells.
fn is_as_shown(repair: &Repair, pool: &Pool, facts: &Facts) -> bool {
    let found = facts.found.as_ref().and_then(|found| found.as_ref().ok()?.rest.as_ref()?.contents.as_ref().ok());
    let same = |(found, after): (&Contents, &Contents)| {
        (found.transaction_id, &found.volumes) == (after.transaction_id, &after.volumes)
    };
    is_made_by_lvm(repair, pool, facts) && found.zip(repair.after.as_ref()).is_some_and(same)
}

/// Why a swap that was cut off is not to be gone on with, nor anything else begun, and the next command.
fn halted(request: &Request, repair: &Repair, pool: &Pool, facts: &Facts) -> Option<(String, String)> {
    let name = &pool.name;
    match (lost(repair, facts), &request.wanted) {
        (Some((new, true)), _) if !is_made_by_lvm(repair, pool, facts) => Some((
            format!("{new} is gone, the new metadata of {name} that was on its way into place."),
            format!("bring that file back; or put the old metadata in place first: dmtool repair {name} --undo"),
        )),
        (None, Wanted::Restore(asked)) if repair.stage == Stage::Swapping && is_other(asked, repair, facts) => Some((
            format!("Other new metadata of {name} is on its way into place."),
            format!("go on with that: dmtool repair {name}; or back: dmtool repair {name} --undo"),
        )),
        _ => None,
    }
}

/// The copy that was being put in place, where it is gone and not there: nobody can go on with that. And whether the
/// metadata was cut off half-written, so that the copy of the old is all that is left.
fn lost<'a>(repair: &'a Repair, facts: &Facts) -> Option<(&'a str, bool)> {
    let copies = facts.compared().filter(|_| repair.stage == Stage::Swapping)?;
    let is_lost = !copies.is_new && copies.gone.contains(&repair.new);
    is_lost.then(|| (repair.new.as_str(), copies.is_cut_off && !copies.gone.contains(&repair.old)))
}

/// Whether the metadata is none that an earlier run knew: somebody changed it since.
fn is_stale(facts: &Facts) -> bool {
    facts.compared().is_some_and(|copies| !copies.is_known())
}

impl Copies {
    fn is_known(&self) -> bool {
        self.is_old || self.is_new || self.is_cut_off
    }
}

impl Facts {
    /// How the metadata compares with the copies, where that could be looked at.
    fn compared(&self) -> Option<&Copies> {
        self.copies.as_ref()?.as_ref().ok()
    }

    /// The metadata, where it was found clean.
    fn clean(&self) -> Option<(&Superblock, &Found)> {
        match self.found.as_ref()?.as_ref().ok()? {
            found @ Found { head: Head::Of(superblock), verdict: Verdict::Clean, .. } => Some((superblock, found)),
            _ => None,
        }
    }
}

/// Whether the copies of an earlier step are of the metadata that is there now: then it goes on, and otherwise begins
/// anew.
fn is_at_hand(repair: &Repair, pool: &Pool, facts: &Facts, wanted: &Wanted) -> bool {
    let same_source = match (wanted, &repair.source) {
        // What was made of a dump by an earlier run is made anew: the file may be another by now.
        (Wanted::Restore(asked), Source::Dump { path, .. }) => {
            asked == path && (repair.stage == Stage::Swapping || facts.built_here)
        }
        (Wanted::Restore(_), Source::Metadata { .. }) => false,
        (_, Source::Dump { .. }) => repair.stage == Stage::Swapping,
        (_, Source::Metadata { .. }) => true,
    };
    let copies = facts.compared();
    pool.live.is_none()
        && match repair.stage {
            Stage::Built => same_source && copies.is_some_and(|copies| copies.is_old),
            // What is neither, nor a copy that was cut off, somebody else put there since.
            Stage::Swapping => same_source && copies.is_some_and(Copies::is_known) && lost(repair, facts).is_none(),
            Stage::Begun | Stage::BackedUp | Stage::Swapped | Stage::Undoing => false,
        }
}

/// Nothing is at hand: what the metadata is like decides.
fn begin(request: &Request, pool: &Pool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) -> Result<(), Refusal> {
    let restores = matches!(request.wanted, Wanted::Restore(_));
    if let Some(broken) = &pool.broken {
        let target = broken.target.as_deref().unwrap_or("no");
        let why = format!("{} has {target} table in place of a pool's, and must go first.", broken.dm_name);
        reasons.add_with_hint(why, format!("see what mends it: dmtool check {}", pool.name));
        return Ok(());
    }
    if pool.live.is_some() {
        if restores {
            let why = format!("{} is up: metadata is restored only into a pool that is down.", pool.name);
            reasons.add_with_hint(why, format!("take it down: dmtool deactivate {}", pool.name));
        } else {
            up::look(pool, facts, plan, reasons);
        }
        return Ok(());
    }
    let found = match &facts.found {
        Some(Ok(found)) => found,
        Some(Err(why)) => {
            reasons.add(format!("Could not look at the metadata of {}: {why}.", pool.name));
            return Ok(());
        }
        None => {
            reasons.add(format!("The metadata of {} was not looked at.", pool.name));
            return Ok(());
        }
    };
    match (&found.head, &found.verdict) {
        // With volumes that somebody knows it was wiped: what the first block said is known, or found.
        (Head::Blank, _) if !restores && !facts.expected.as_ref().is_ok_and(|volumes| !volumes.is_empty()) => {
            reasons.add(format!("The metadata of {} is blank: the pool was never used, or it was wiped.", pool.name));
            reasons.add_hint(format!("put a dump in its place: dmtool metadata restore {} FILE", pool.name));
        }
        (Head::Of(superblock), Verdict::Clean) if !restores => {
            if let Some(refusal) = transactions::disagree(pool, superblock, found, facts) {
                return Err(refusal);
            }
            if superblock.needs_check || facts.taken_down {
                mend(request, pool, superblock, facts, plan, reasons);
            }
            // What an earlier run began and somebody else has mended is forgotten; its copy stays.
            if let Ok(Some(left)) = &facts.journal {
                plan.question = 1;
                plan.todo(Step::EndRepair { repair: Box::new(left.clone()), keeps_old: true });
            }
        }
        _ => fresh::build(request, pool, found, facts, plan, reasons),
    }
    Ok(())
}

fn is_full(pool: &Pool) -> bool {
    // What the kernel keeps back for itself (dm-thin.c, METADATA_LOW_WATER: at most 4 MiB) counts as full.
    pool.figures().is_some_and(|figures| {
        let low = figures.metadata_low_water.map_or(0, |low| low.0);
        figures.metadata_used.0.saturating_add(low) >= figures.metadata_total.0
    })
}

/// A pool that is down, its metadata whole and marked to be checked, or taken down by this run: it grows where it is
/// full, and comes up, its mark taken off on the way.
fn mend(
    request: &Request,
    pool: &Pool,
    superblock: &Superblock,
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) {
    plan.question = 1;
    // As the kernel does: an eighth of it, at most 4 MiB, is what it keeps back.
    let kept = (superblock.metadata_total.0 / 8).min(1024);
    if superblock.needs_check && superblock.metadata_used.0.saturating_add(kept) >= superblock.metadata_total.0 {
        fresh::grow(pool, facts, Some(superblock), plan, reasons);
    }
    if let (true, Some(record)) = (is_dockers_own(&pool.name), pool.recorded()) {
        // Docker brings it up, on loop devices that go with it.
        plan.todo(Step::CheckMetadata { name: record.name.clone(), place: record.metadata.clone() });
        return;
    }
    match activation::activate(&request.chosen(), &facts.ground) {
        Ok(up) => {
            plan.steps.extend(up.steps);
            plan.warnings.extend(up.warnings);
        }
        Err(refusal) => refusal.reasons.into_iter().for_each(|reason| reasons.add(reason)),
    }
}

/// Refuses where a tool is not installed.
fn missing(facts: &Facts, needed: &[&str], reasons: &mut Reasons) {
    let missing: Vec<&str> = needed.iter().filter(|tool| facts.missing.contains(tool)).copied().collect();
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        reasons.add_with_hint(format!("{} {verb} not installed.", missing.join(", ")), facts.install.clone());
    }
}

/// The name of a pool of LVM.
fn of_lvm(pool: &Pool) -> Option<LvmName> {
    pool.lvm.as_ref().and_then(|_| LvmName::parse(&pool.name).ok())
}

/// What the register says of a bare pool, with what stands there.
fn known<'a>(pool: &Pool, facts: &'a Facts) -> Option<&'a bare::Known> {
    facts.ground.known(pool)
}
