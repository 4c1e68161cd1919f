//! The plans of `dmtool volume`: volumes of LVM's by its commands, bare ones by messages to their pool, the register first.

mod create;
mod mount;
pub mod orphans;
pub mod recycle;
mod remove;
mod snapshot;

pub use create::{FileSystem, Request as Create, create};
pub use mount::{Folder, Ground as MountGround, Place, Request as Mount, device, mount, unmount};
pub use remove::{Request as Remove, remove};
pub use snapshot::{Request as Snapshot, snapshot};

use super::Planned;
use super::activation::{self, Chosen, choose};
use super::bare::Known;
use super::refusal::{Reasons, Refusal};
use super::step::{OfVolume, Step};
use crate::names::{LvName, LvmName, means};
use crate::observe::Looked;
use crate::observe::consumers::Consumer;
use crate::observe::device::Above;
use crate::observe::lvm::{LvRow, Lvm};
use crate::observe::pools::{Kind, LvmSide, Pool};
use crate::observe::profile::NEVER;
use crate::observe::register::{Record, Volume, is_dockers_own};
use crate::observe::thin::Mode;
use crate::units::is_above;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub ground: activation::Facts,
    /// Who is configured for a pool.
    pub consumers: Looked<Vec<Consumer>>,
    /// What a run of ours began a snapshot of that was cut off.
    pub stilled: Looked<Vec<LvmName>>,
    /// The transaction ids that pools of LVM's are at, looked at after LVM's books: what was at work before them, and held
    /// LVM's lock, is over.
    pub told: BTreeMap<String, u64>,
    /// The thin ids that the pool of LVM's has in which a volume is to be made.
    pub ids: Option<Looked<BTreeSet<u64>>>,
}

/// Who keeps the books of a pool's volumes.
enum Of<'a> {
    Lvm(LvmName, &'a LvmSide),
    Register(&'a Record),
}

/// The pool that is meant.
///
/// # Errors
/// There is none, or it cannot be looked for.
fn the_pool<'a>(verb: &str, name: &str, facts: &'a Facts) -> Result<&'a Pool, Refusal> {
    let chosen = Chosen::One(name.to_owned());
    let pools = choose(verb, &chosen, &facts.ground.pools, &facts.ground.lvm)?;
    let none = || Refusal { message: format!("there is no pool {name} on this host"), reasons: Vec::new(), hint: None };
    pools.into_iter().next().ok_or_else(none)
}

/// Whose the volumes of a pool are to make and to remove; none, with the reasons, where they are not ours.
fn of<'a>(pool: &'a Pool, facts: &'a Facts, reasons: &mut Reasons) -> Option<Of<'a>> {
    let hint = |_: &str| "give your volumes a pool of their own: dmtool setup DEVICE --pool VG/LV".to_owned();
    others(pool, &facts.consumers, &facts.ground.running, &hint, reasons);
    match (&pool.lvm, LvmName::parse(&pool.name)) {
        (Some(side), Ok(name)) => Some(Of::Lvm(name, side)),
        _ if pool.kind == Kind::Lvm => {
            reasons.add(format!("LVM does not know {}.", pool.name));
            None
        }
        _ => registered(pool, facts.ground.known(pool), reasons).map(Of::Register),
    }
}

/// A program that is configured for a pool keeps its own books of the volumes in it, and one that counts transactions
/// takes nobody else's.
pub fn others(
    pool: &Pool,
    consumers: &Looked<Vec<Consumer>>,
    running: &[(&'static str, String)],
    hint: &dyn Fn(&str) -> String,
    reasons: &mut Reasons,
) {
    let (name, names) = (&pool.name, pool.dm_names());
    if is_dockers_own(name) {
        reasons.add_with_hint(format!("{name} is Docker's own pool, and its volumes are Docker's."), hint("Docker"));
    }
    match consumers {
        Err(why) => reasons.add(format!("Whether a program is configured for {name} could not be looked at: {why}.")),
        Ok(consumers) => {
            for Consumer { name: who, file, .. } in consumers.iter().filter(|one| means(&one.pool, name, &names)) {
                let why = format!("{who} is configured for {name} ({file}), and its volumes are {who}'s.");
                reasons.add_with_hint(why, hint(who));
            }
        }
    }
    for (who, wants) in running.iter().filter(|(_, wants)| means(wants, name, &names)) {
        reasons.add_with_hint(format!("{who} runs and is configured for {wants}."), hint(who));
    }
    let own = pool.figures().map(|figures| figures.transaction_id);
    if let Some((own, known)) = own.zip(last_known_transaction(pool)).filter(|(own, known)| own > known) {
        reasons.add_with_hint(
            format!("{name} is at transaction {own}, and was at {known} as far as is known here: another program makes volumes in it."),
            format!("see what is in it: dmtool volume list {name}"),
        );
    }
}

/// What a pool counts where nobody else makes volumes in it: LVM's number; that of the register, since dmtool counts none.
fn last_known_transaction(pool: &Pool) -> Option<u64> {
    let of_lvm = pool.lvm.as_ref().and_then(|side| side.row.transaction_id.parse::<u64>().ok());
    of_lvm.or_else(|| pool.recorded().map(|record| record.transaction_id))
}

/// Whether a pool takes new volumes: it is up, it can be written to, and there is room.
fn takes(pool: &Pool, reasons: &mut Reasons) {
    let name = &pool.name;
    let Some(live) = &pool.live else {
        reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
        return;
    };
    let figures = live.figures();
    let works = live.status.as_ref().is_ok_and(|status| status.mode == Mode::Rw)
        && !live.suspended
        && figures.is_some_and(|figures| !figures.needs_check);
    let full = figures.is_some_and(|figures| figures.data_used >= figures.data_total);
    if full {
        reasons.add_with_hint(format!("{name} is full."), format!("make it larger: dmtool resize +20% {name}"));
    } else if !works {
        reasons.add_with_hint(format!("{name} does not take writes."), format!("see why: dmtool check {name}"));
    }
    let threshold = pool.lvm.as_ref().and_then(|side| side.autoextend.as_ref().ok()).map(|settings| settings.threshold);
    if let (Some(figures), Some(threshold)) = (figures, threshold.filter(|threshold| *threshold < NEVER && !full)) {
        // LVM makes no volume in a pool that it should have extended (its `pool_below_threshold`).
        if is_above(figures.data_used.0, figures.data_total.0, threshold) {
            reasons.add_with_hint(
                format!("{name} is fuller than {threshold}%, where it should have been extended: LVM makes nothing new in it."),
                format!("make it larger: dmtool resize +20% {name}"),
            );
        }
    }
}

/// Whether a pool lets its volumes change and go: a full one does.
fn changes(pool: &Pool, reasons: &mut Reasons) {
    let name = &pool.name;
    let Some(live) = &pool.live else {
        reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
        return;
    };
    let works = live.status.as_ref().is_ok_and(|status| matches!(status.mode, Mode::Rw | Mode::OutOfDataSpace));
    if !works || live.suspended {
        reasons.add_with_hint(format!("{name} takes no changes."), format!("see why: dmtool check {name}"));
    }
}

/// The record of a bare pool that stands where it says.
fn registered<'a>(pool: &Pool, known: Option<&'a Known>, reasons: &mut Reasons) -> Option<&'a Record> {
    let name = &pool.name;
    let Some(known) = known else {
        reasons.add_with_hint(
            format!("{name} is in no register, so nobody would know its volumes after a boot."),
            format!("have it remembered: dmtool activate {name} --remember"),
        );
        return None;
    };
    match (&known.record, &known.standing, &pool.live) {
        (Ok(record), Some(standing), Some(live)) if standing.carries(live) => return Some(record),
        (Ok(record), _, None) => return Some(record),
        (Ok(_), _, _) => reasons.add(format!("{name} is on other devices than the register says.")),
        (Err(why), _, _) => reasons.add(format!("Could not look: {why}.")),
    }
    None
}

/// The row of LVM's for a volume of a pool, by its name.
fn row<'a>(pool: &LvmName, lv: &str, facts: &'a Facts) -> Option<&'a LvRow> {
    facts.ground.lvm.as_ref().ok()?.lv(pool.vg.as_str(), lv)
}

/// Whether a row is of a thin volume in this pool.
fn is_in(row: &LvRow, pool: &LvmName) -> bool {
    row.segtype == "thin" && row.pool_lv == pool.lv.as_str() && row.vg_name == pool.vg.as_str()
}

/// Takes back the half of a message that LVM could not tell whole. LVM writes a new volume into its books with a transaction
/// id that is one ahead of the pool's, tells the pool of it, and then of the id. Killed before the first, no activation
/// brings the volume up. Killed between the two while it makes a snapshot, LVM fails at every further volume there ("Manual
/// intervention may be required", seen with 2.03.16), since the pool has the number already. The pool is at the old id, so
/// nobody has written to the volume yet, and without it LVM's next command tells all of it again.
fn told_again(name: &LvmName, pool: &Pool, facts: &Facts) -> Option<Planned> {
    let rows = facts.ground.lvm.iter().flat_map(|lvm| &lvm.lvs);
    let unmade = rows.filter(|row| is_in(row, name)).find(|row| is_unmade(row, pool, facts))?;
    let thin_id = unmade.thin_id.parse().ok()?;
    let transaction_id = unmade.transaction_id.parse().ok()?;
    let pool = pool.live.as_ref()?.dm_name.clone();
    Some(Planned::todo(Step::Volume(OfVolume::TakeBack { pool, thin_id, transaction_id })))
}

/// Whether LVM has a volume in its books that its pool has not got, or not yet by the books: see [`told_again`].
fn is_unmade(row: &LvRow, pool: &Pool, facts: &Facts) -> bool {
    let of_lvm = pool.lvm.as_ref().and_then(|side| side.row.transaction_id.parse::<u64>().ok());
    let (Some(of_lvm), Ok(begun)) = (of_lvm, row.transaction_id.parse::<u64>()) else { return false };
    !row.is_up() && facts.told.get(&pool.name) == Some(&begun) && begun.checked_add(1) == Some(of_lvm)
}

/// Refuses a volume that LVM would not make but find: it gives the number behind the highest in its own books, and takes the
/// pool's word that there is one already for its own message of before (libdm-deptree.c, EEXIST). What somebody made by
/// messages to the pool would be the new volume.
fn number_is_free(name: &LvmName, forgotten: Option<&LvRow>, pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let Some(ids) = facts.ids.as_ref().filter(|_| pool.live.is_some()) else { return };
    let number = |row: &LvRow| row.thin_id.parse::<u64>().ok();
    let rows = facts.ground.lvm.iter().flat_map(|lvm| &lvm.lvs).filter(|row| is_in(row, name));
    let known: Vec<u64> = rows.filter(|row| Some(*row) != forgotten).filter_map(number).collect();
    let next = known.iter().max().map_or(1, |highest| highest.saturating_add(1));
    match ids {
        Err(why) => reasons.add(format!("Which thin ids {name} has could not be looked at: {why}.")),
        // It is taken back from the pool before.
        Ok(_) if forgotten.and_then(number) == Some(next) => {}
        Ok(ids) if ids.contains(&next) => reasons.add_with_hint(
            format!("{name} has a thin id {next} that LVM does not know, and LVM would hand it out as the new volume."),
            format!("see what is in it, and whose: dmtool volume list {name}"),
        ),
        Ok(_) => {}
    }
}

/// LVM removes with a volume what depends on it, such as a snapshot of the older kind, or a volume of another pool that
/// begins as this one.
fn no_dependents(of: &LvRow, pool: &LvmName, lvm: Option<&Lvm>, reasons: &mut Reasons) {
    let rows = lvm.into_iter().flat_map(|lvm| &lvm.lvs);
    let depends = |row: &&LvRow| row.vg_name == of.vg_name && row.origin == of.lv_name && !is_in(row, pool);
    for row in rows.filter(depends) {
        let (vg, lv) = (&row.vg_name, &row.lv_name);
        reasons.add_with_hint(
            format!("{vg}/{lv} depends on {vg}/{}, and would go with it.", of.lv_name),
            format!("if it is not needed: lvremove {vg}/{lv}"),
        );
    }
}

/// What the operator calls a volume: its name, its device, `VG/LV`, or its number as `id:7`.
pub fn is_meant(typed: &str, name: &str, device: &str, id: Option<u64>) -> bool {
    match typed.strip_prefix("id:") {
        Some(number) => number.parse().ok().is_some_and(|number: u64| id == Some(number)),
        None => {
            typed == name
                || typed.strip_prefix("/dev/mapper/").unwrap_or(typed) == device
                || LvmName::parse(typed).is_ok_and(|volume| volume.dm_name() == device)
        }
    }
}

/// The one that is meant among those that a word fits, with their numbers: the name of one may be the device of another.
///
/// # Errors
/// A sentence, where several are.
pub fn the_one<T>(typed: &str, pool: &str, found: Vec<(T, Option<u64>)>) -> Result<Option<T>, String> {
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().filter_map(|(_, id)| Some(format!("id:{}", (*id)?))).collect();
        return Err(format!("{typed} may be each of {} in {pool}: name it by its number.", ids.join(", ")));
    }
    Ok(found.into_iter().next().map(|(one, _)| one))
}

/// The volume of LVM's in this pool that is meant.
///
/// # Errors
/// As [`the_one`]'s.
fn lvm_volume<'a>(pool: &LvmName, typed: &str, facts: &'a Facts) -> Result<Option<(&'a LvRow, LvmName)>, String> {
    let rows = facts.ground.lvm.iter().flat_map(|lvm| &lvm.lvs).filter(|row| is_in(row, pool));
    let named = rows.filter_map(|row| Some((row, LvmName::parse(&format!("{}/{}", row.vg_name, row.lv_name)).ok()?)));
    let id = |row: &LvRow| row.thin_id.parse().ok();
    let fit = named.filter(|(row, name)| is_meant(typed, &row.lv_name, &name.dm_name(), id(row)));
    the_one(typed, &pool.to_string(), fit.map(|(row, name)| ((row, name), id(row))).collect())
}

/// The volume of the register that is meant.
///
/// # Errors
/// As [`the_one`]'s.
fn bare_volume<'a>(record: &'a Record, typed: &str) -> Result<Option<&'a Volume>, String> {
    let fits = |volume: &&Volume| is_meant(typed, &volume.name, volume.device.as_str(), Some(volume.thin_id));
    let fit = record.volumes.iter().filter(fits).map(|volume| (volume, Some(volume.thin_id)));
    the_one(typed, record.name.as_str(), fit.collect())
}

/// Whether a volume stands still: whoever reads its device, by this name, waits for as long as it does.
fn is_still<'a>(dm_name: &str, facts: &'a Facts) -> Option<&'a Above> {
    above(dm_name, facts).filter(|above| above.suspended)
}

/// Nothing is begun that would wait.
fn stands_still(dm_name: &str, facts: &Facts, reasons: &mut Reasons) {
    if let Some(above) = is_still(dm_name, facts) {
        let hint = format!("see what lets it run: dmtool check {}", above.pool);
        reasons.add_with_hint(format!("{dm_name} is suspended."), hint);
    }
}

/// Whether the device of this name may be read: neither it nor the pool stands still.
pub fn is_readable(dm_name: &str, pool: &Pool, facts: &Facts) -> bool {
    !pool.live.as_ref().is_some_and(|live| live.suspended) && is_still(dm_name, facts).is_none()
}

/// The command that goes on with a bare volume that is not complete.
fn again(record: &Record, volume: &Volume) -> String {
    let pool = record.name.as_str();
    let Some(origin) = volume.origin else { return create_again(pool, &volume.name) };
    let known = record.volumes.iter().find(|one| one.thin_id == origin);
    let origin = known.map_or_else(|| format!("id:{origin}"), |one| one.name.clone());
    format!("run it again: dmtool volume snapshot {pool} {origin} {}", volume.name)
}

fn create_again(pool: &str, volume: &str) -> String {
    format!("run it again: dmtool volume create {pool} {volume} SIZE --fs TYPE")
}

/// The name of the device of a volume that dmtool makes.
pub fn dm_name(pool: &Pool, volume: &str) -> String {
    match (LvmName::parse(&pool.name), LvName::new(volume)) {
        (Ok(of), Ok(lv)) => LvmName { vg: of.vg, lv }.dm_name(),
        _ => format!("{}-{volume}", pool.name),
    }
}

/// What stands on the pool under this name.
fn above<'a>(device: &str, facts: &'a Facts) -> Option<&'a Above> {
    facts.ground.above.iter().find(|above| above.dm_name == device)
}
