//! The plan of `dmtool discards`: what a pool's table asks for, and what remembers it.

use super::activation::{Chosen, choose};
use super::bare::{Known, looked_at};
use super::refusal::{Reasons, Refusal};
use super::step::{Discards, Step};
use super::{Plan, Planned};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::discards::Chain;
use crate::observe::lvm::Lvm;
use crate::observe::pools::{Live, LvmSide, Pool};
use crate::observe::register::{Line, Record, is_dockers_own};
use crate::observe::thin::{Discard, Mode, PoolTable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    pub asked: Discard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pools: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    /// What the register says of the pool, where it is in it.
    pub known: Option<Known>,
    /// Where the pool is up.
    pub chain: Option<Looked<Chain>>,
}

/// What a pool is set to: by its table while it is up, by LVM or the register while it is down.
pub fn asked(pool: &Pool) -> Option<Discard> {
    match (&pool.live, &pool.lvm) {
        (Some(live), _) => live.table.as_ref().ok().map(PoolTable::discard),
        (None, Some(side)) => Discard::of_word(&side.row.discards),
        (None, None) => pool.recorded().map(|record| record.table.words.discard()),
    }
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let chosen = Chosen::One(request.pool.clone());
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    for pool in choose("discards", &chosen, &facts.pools, &facts.lvm)? {
        if let Some(live) = &pool.live {
            well(pool, live, &mut reasons);
        }
        let support = |discard: Discard| discard != Discard::Ignore;
        if pool.live.is_some() && asked(pool).is_some_and(|now| support(now) != support(request.asked)) {
            reasons.add_with_hint(
                format!(
                    "{} is up, and the kernel switches the ignoring of discards on and off only while it is down.",
                    pool.name
                ),
                format!("take it down first: dmtool deactivate {}", pool.name),
            );
        }
        match (&pool.lvm, LvmName::parse(&pool.name)) {
            (Some(side), Ok(name)) => of_lvm(request.asked, pool, side, name, &mut plan),
            _ => bare(request.asked, pool, facts.known.as_ref(), &mut plan, &mut reasons),
        }
    }
    reasons.settle(format!("discards of {} is refused, nothing was changed", request.pool))?;
    Ok(plan)
}

/// A table is loaded only into a pool that runs, and only such a one takes discards.
pub(super) fn well(pool: &Pool, live: &Live, reasons: &mut Reasons) {
    let marked = live.figures().is_some_and(|figures| figures.needs_check);
    let state = match &live.status {
        _ if live.suspended => "is suspended",
        Ok(status) if status.mode == Mode::Fail => "has failed",
        _ if marked => "is marked to be checked",
        Err(why) => return reasons.add(format!("Could not look: {why}.")),
        _ if live.inactive_table => "has a table that waits to be swapped in",
        Ok(_) => return,
    };
    reasons.add_with_hint(format!("{} {state}.", pool.name), format!("see what mends it: dmtool check {}", pool.name));
}

fn of_lvm(asked: Discard, pool: &Pool, side: &LvmSide, name: LvmName, plan: &mut Plan) {
    let written = Discard::of_word(&side.row.discards) == Some(asked);
    let step = Step::Discards(Discards::Lvm { pool: name.clone(), asked });
    plan.put(step, written);
    // Somebody else's table is live.
    let other = |live: &Live| live.table.as_ref().is_ok_and(|table| table.discard() != asked);
    if written && pool.live.as_ref().is_some_and(other) {
        plan.todo(Step::Refresh { pool: name });
    }
}

fn bare(asked: Discard, pool: &Pool, known: Option<&Known>, plan: &mut Plan, reasons: &mut Reasons) {
    let name = &pool.name;
    let before = plan.steps.len();
    let record = known.and_then(|known| recorded(pool, known, reasons));
    match (&pool.live, record) {
        (Some(live), _) => match &live.table {
            Ok(table) => {
                let (from, to) = (Box::new(table.clone()), Box::new(table.with_discard(asked)));
                let already = from == to;
                let (dm_name, length) = (live.dm_name.clone(), live.length);
                plan.put(Step::Discards(Discards::Swap { dm_name, length, from, to }), already);
            }
            Err(why) => reasons.add(format!("Could not look: {why}.")),
        },
        (None, None) if reasons.is_empty() => {
            let hint = format!("see what mends it: dmtool check {name}");
            reasons.add_with_hint(format!("{name} is in no register, and its device is no working pool."), hint);
        }
        (None, _) => {}
    }
    if let Some(record) = record {
        let after =
            Record { table: Line::new(record.table.length, &record.table.words.with_discard(asked)), ..record.clone() };
        let already = after == *record;
        plan.put(Step::Record { record: Box::new(after), made: false }, already);
    }
    let changes = plan.steps.iter().skip(before).any(|planned: &Planned| !planned.already);
    if is_dockers_own(name) && changes {
        // What is changed behind its back is undone with its next start, and nothing would say so.
        reasons.add_with_hint(
            format!("{name} is Docker's own pool: Docker makes its table anew at each start, always with passdown."),
            "have Docker use a pool that it does not make itself: dmtool configure docker POOL",
        );
    } else if known.is_none() && reasons.is_empty() {
        plan.warnings.push(format!(
            "{name} is in no register, so nothing remembers this once the pool was down; to have it remembered: dmtool \
             activate {name} --remember"
        ));
    }
}

/// The record of a pool, where it speaks of the devices that the pool is on.
fn recorded<'a>(pool: &Pool, known: &'a Known, reasons: &mut Reasons) -> Option<&'a Record> {
    let (record, standing) = looked_at(known, reasons)?;
    if record.is_unfinished() {
        let hint = "finish it: dmtool setup --loop";
        reasons.add_with_hint(format!("The files of {} are still to be made.", pool.name), hint);
        return None;
    }
    if pool.live.as_ref().is_some_and(|live| !standing.carries(live)) {
        reasons.add(format!("{} is on other devices than the register says.", pool.name));
        return None;
    }
    Some(record)
}
