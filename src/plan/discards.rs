//! The plan of `dmtool discards`: what a pool's table asks for, and what remembers it.

use super::activation::{Chosen, choose, layer_first, run_on_first, watched_at_last};
use super::bare::{Known, looked_at};
use super::refusal::{Reasons, Refusal};
use super::step::{Discards, Step};
use super::{Plan, Planned};
use crate::names::LvmName;
use crate::observe::Looked;
use crate::observe::discards::Chain;
use crate::observe::left::Left;
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
    pub left: Left,
    /// dmeventd watched it when this run began.
    pub watched: bool,
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
            well(pool, live, &facts.left, &mut reasons);
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
            (Some(side), Ok(name)) => {
                of_lvm(request.asked, pool, side, &name, &mut plan);
                if facts.watched && side.is_watched() == Some(false) {
                    plan.todo(Step::Monitor { pool: name.clone() });
                }
                watched_at_last(&name, side, &facts.left, &mut plan);
                run_on_first(&name, &facts.left, &mut plan);
                layer_first(pool, &name, &mut plan);
            }
            _ => bare(request.asked, pool, facts.known.as_ref(), &mut plan, &mut reasons),
        }
    }
    reasons.settle(format!("discards of {} is refused, nothing was changed", request.pool))?;
    Ok(plan)
}

/// A table is loaded only into a pool that runs, and only such a one takes discards.
pub(super) fn well(pool: &Pool, live: &Live, left: &Left, reasons: &mut Reasons) {
    let marked = live.figures().is_some_and(|figures| figures.needs_check);
    let state = match &live.status {
        _ if live.suspended && !left.begun => "is suspended",
        Ok(status) if status.mode == Mode::Fail => "has failed",
        _ if marked => "is marked to be checked",
        Err(why) => return reasons.add(format!("Could not look: {why}.")),
        _ if live.inactive_table && !left.begun && !left.may_be_replaced(live) => {
            "has a table that waits to be swapped in"
        }
        Ok(_) => return,
    };
    reasons.add_with_hint(format!("{} {state}.", pool.name), format!("see what mends it: dmtool check {}", pool.name));
}

fn of_lvm(asked: Discard, pool: &Pool, side: &LvmSide, name: &LvmName, plan: &mut Plan) {
    let written = Discard::of_word(&side.row.discards) == Some(asked);
    let step = Step::Discards(Discards::Lvm { pool: name.clone(), asked });
    plan.put(step, written);
    // Somebody else's table is live.
    let other = |live: &Live| live.table.as_ref().is_ok_and(|table| table.discard() != asked);
    if written && pool.live.as_ref().is_some_and(other) {
        plan.todo(Step::Refresh { pool: name.clone() });
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
        let hint = format!("finish it: dmtool setup --loop --pool {}", pool.name);
        reasons.add_with_hint(format!("The files of {} are still to be made.", pool.name), hint);
        return None;
    }
    if pool.live.as_ref().is_some_and(|live| !standing.carries(live)) {
        reasons.add(format!("{} is on other devices than the register says.", pool.name));
        return None;
    }
    Some(record)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::observe::Unseen;
    use crate::observe::pools::Kind;
    use crate::observe::thin::{parse_pool_status, parse_pool_table};
    use crate::units::Sectors;

    /// A bare pool that is up, with this status and the words behind its devices.
    pub fn pool(name: &str, status: &str, words: &str) -> Pool {
        let live = Live {
            dm_name: name.to_owned(),
            major: 254,
            minor: 0,
            suspended: false,
            inactive_table: false,
            layer_empty: false,
            length: Sectors(2_097_152),
            table: parse_pool_table(&format!("7:1 7:0 128 0 {words}")),
            status: parse_pool_status(status),
            volumes: Ok(0),
            failed_volumes: Ok(Vec::new()),
            holders: Ok(Vec::new()),
            thin: Vec::new(),
            data: Err(Unseen("not looked at".to_owned())),
            metadata: Err(Unseen("not looked at".to_owned())),
        };
        Pool { name: name.to_owned(), kind: Kind::Loop, live: Some(live), lvm: None, broken: None, record: None }
    }

    pub const WELL: &str = "0 100/16384 10/16384 - rw discard_passdown queue_if_no_space - 1024";

    fn planned(pool: Pool, asked: Discard) -> Result<Plan, Refusal> {
        let request = Request { pool: pool.name.clone(), asked };
        let facts = Facts {
            pools: Ok(vec![pool]),
            lvm: Ok(Lvm::default()),
            known: None,
            left: Left::default(),
            watched: false,
            chain: None,
        };
        plan(&request, &facts)
    }

    #[test]
    fn one_swap_and_a_warning_that_nobody_remembers_it() {
        let plan = planned(pool("p", WELL, "1 skip_block_zeroing"), Discard::NoPassdown).expect("a plan");
        let commands: Vec<String> = plan.steps.iter().map(|planned| planned.step.command()).collect();
        let line = "0 2097152 thin-pool 7:1 7:0 128 0 2 skip_block_zeroing no_discard_passdown";
        assert_eq!(commands, [format!("dmsetup load p --table '{line}' && dmsetup resume p")]);
        assert!(!plan.nothing_to_do() && plan.warnings[0].contains("nothing remembers this"));
        let again = planned(pool("p", WELL, "1 no_discard_passdown"), Discard::NoPassdown).expect("a plan");
        assert!(again.nothing_to_do());
    }

    #[test]
    fn pools_that_take_no_table() {
        let marked = WELL.replace("- 1024", "needs_check 1024");
        for (status, said) in
            [(marked.as_str(), "p is marked to be checked."), ("Fail", "p has failed."), ("0 x", "Could not look")]
        {
            let refusal = planned(pool("p", status, "0"), Discard::NoPassdown).expect_err(said);
            assert!(refusal.reasons[0].contains(said), "{refusal:?}");
        }
        let mut suspended = pool("p", WELL, "0");
        suspended.live.as_mut().expect("up").suspended = true;
        assert_eq!(planned(suspended, Discard::NoPassdown).expect_err("no").reasons, ["p is suspended."]);
        for (words, asked) in [("0", Discard::Ignore), ("1 ignore_discard", Discard::Passdown)] {
            let refusal = planned(pool("p", WELL, words), asked).expect_err("no");
            assert_eq!(refusal.hint.as_deref(), Some("take it down first: dmtool deactivate p"));
        }
    }

    #[test]
    fn dockers_own_only_where_nothing_changes() {
        let name = "docker-8:1-123-pool";
        assert!(planned(pool(name, WELL, "0"), Discard::Passdown).is_ok_and(|plan| plan.nothing_to_do()));
        let refusal = planned(pool(name, WELL, "0"), Discard::NoPassdown).expect_err("no");
        assert!(refusal.reasons[0].contains("Docker makes its table anew"), "{refusal:?}");
    }
}
