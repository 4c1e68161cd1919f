//! The plan of `dmtool resize`: any pool grows, never shrinks.

mod below;
mod lvm;
mod remember;
mod table;

use super::Plan;
use super::activation::{Chosen, choose, layer_first, run_on_first, watched_at_last};
use super::bare::Known;
use super::devices::{Usable, Wish, blank_extents, path_for_lvm, unlabel_step, usable};
use super::refusal::{Reasons, Refusal};
use super::sizing::{EXTENT, LARGEST_METADATA};
use super::step::Step;
use crate::names::{LvmName, means, quoted};
use crate::observe::Looked;
use crate::observe::device::{Device, Named};
use crate::observe::ground::Ground;
use crate::observe::left::Left;
use crate::observe::lvm::Lvm;
use crate::observe::pools::{Live, Pool};
use crate::observe::thin::{Mode, PoolFigures, PoolTable};
use crate::units::{Bytes, share_and_rest, share_of};

/// How much larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    To(Bytes),
    By(Bytes),
    /// Of the present size.
    ByPercent(u64),
    PercentOfGroup(u64),
    ByPercentOfFree(u64),
    /// All that is free, less the room for the metadata that goes with it.
    Max,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub chosen: Chosen,
    pub data: Option<Growth>,
    pub metadata: Option<Growth>,
    /// Whether devices are added: their facts are in [`Facts::added`].
    pub adds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pools: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    pub added: Vec<Named>,
    /// What a bare pool stands on.
    pub ground: Option<Ground>,
    pub left: Left,
    /// What the register says of a bare pool.
    pub known: Option<Known>,
}

/// What a request comes to: fixed by its first plan, since "+1G" means once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Targets {
    pub data: Option<Bytes>,
    pub metadata: Option<Bytes>,
    /// dmeventd watched the pool, and so must it afterwards.
    pub watched: bool,
}

impl Growth {
    /// Whether the same once more is more.
    fn adds_up(self) -> bool {
        matches!(self, Growth::By(_) | Growth::ByPercent(_) | Growth::ByPercentOfFree(_))
    }
}

impl Request {
    /// The command that comes to these sizes however often it is run, where the one that was typed would go beyond them.
    pub fn with_fixed(&self, pool: &str, fixed: Targets, devices: &[String]) -> Option<String> {
        if ![self.data, self.metadata].into_iter().flatten().any(Growth::adds_up) {
            return None;
        }
        let mut words = Vec::new();
        if self.data.is_some() {
            words.push(fixed.data?.0.to_string());
        }
        if self.metadata.is_some() {
            words.push(format!("--metadata {}", fixed.metadata?.0));
        }
        words.extend(devices.iter().map(|device| format!("--add-device {}", quoted(device))));
        Some(format!("dmtool resize {} {}", words.join(" "), quoted(pool)))
    }
}

/// What metadata a pool of this size should have: four times LVM's estimate of 64 bytes a chunk, and room for as much
/// again as is used now; no more than LVM can use.
pub fn metadata_for(data: Bytes, chunk: Bytes, used: Bytes) -> Bytes {
    let chunks = data.0.div_ceil(chunk.0.max(1));
    Bytes(chunks.saturating_mul(4 * 64).max(used.0.saturating_mul(2)).min(LARGEST_METADATA.0))
}

/// Plans; `fixed` are the sizes of an earlier plan of the same run.
///
/// # Errors
/// Why nothing is begun.
pub fn plan(request: &Request, facts: &Facts, fixed: Option<Targets>) -> Result<(Plan, Targets), Refusal> {
    let chosen = choose("resize", &request.chosen, &facts.pools, &facts.lvm);
    let pool = chosen.map_err(|why| other_volume(request, facts).unwrap_or(why))?.into_iter().next();
    let Some(pool) = pool else {
        return Err(Refusal { message: "there is no pool on this host".to_owned(), reasons: Vec::new(), hint: None });
    };
    let message = format!("resize of {} is refused, nothing was changed", pool.name);
    let mut reasons = Reasons::default();
    let state = well(pool, request, &facts.left, &mut reasons);
    let planned = match (state, &pool.lvm, LvmName::parse(&pool.name), &facts.lvm) {
        (Some(now), Some(side), Ok(name), Ok(known)) => {
            lvm::plan(request, facts, &now, (side, &name, known), fixed, &mut reasons).map(|(mut plan, targets)| {
                watched_at_last(&name, side, &facts.left, &mut plan);
                run_on_first(&name, &facts.left, &mut plan);
                layer_first(pool, &name, &mut plan);
                (plan, targets)
            })
        }
        (Some(now), None, ..) => table::plan(request, facts, &now, fixed, &mut reasons),
        _ => None,
    };
    reasons.settle(&message)?;
    planned.ok_or(Refusal {
        message,
        reasons: vec!["Its state could not be looked at.".to_owned()],
        hint: Some(format!("look at it: dmtool check {}", pool.name)),
    })
}

/// Why a volume of LVM that was named is not resized: it is no pool.
fn other_volume(request: &Request, facts: &Facts) -> Option<Refusal> {
    let (Chosen::One(typed), Ok(lvm)) = (&request.chosen, &facts.lvm) else { return None };
    let (row, name) = lvm.lvs.iter().find_map(|row| {
        let name = LvmName::parse(&format!("{}/{}", row.vg_name, row.lv_name)).ok()?;
        means(typed, &name.to_string(), &[name.dm_name().as_str()]).then_some((row, name))
    })?;
    let (reason, hint) = if row.pool_lv.is_empty() {
        let reason = format!("It is a volume of LVM of the type {}, and no thin pool.", row.segtype);
        (reason, format!("list the pools: dmtool status; make the volume larger: lvextend --size SIZE {name}"))
    } else {
        let pool = format!("{}/{}", row.vg_name, row.pool_lv);
        let reason = format!("It is a thin volume in the pool {pool}.");
        (reason, format!("make its pool larger: dmtool resize SIZE {pool}; the volume: lvextend --size SIZE {name}"))
    };
    let message = format!("resize of {name} is refused, nothing was changed");
    Some(Refusal { message, reasons: vec![reason], hint: Some(hint) })
}

/// A pool that may be resized, as the kernel has it.
struct Now<'a> {
    live: &'a Live,
    table: &'a PoolTable,
    figures: &'a PoolFigures,
}

/// A pool that is down or sick is not touched: growth is ignored by the kernel then, or makes it worse.
fn well<'a>(pool: &'a Pool, request: &Request, left: &Left, reasons: &mut Reasons) -> Option<Now<'a>> {
    let name = &pool.name;
    let check = format!("see what mends it: dmtool check {name}");
    let Some(live) = &pool.live else {
        reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
        return None;
    };
    if live.suspended && !left.begun {
        reasons.add_with_hint(format!("{name} is suspended."), &*check);
    }
    if live.inactive_table && !left.begun && !left.may_be_replaced(live) {
        reasons.add_with_hint(format!("A table waits to be swapped into {}.", live.dm_name), &*check);
    }
    let (table, status) = match (&live.table, &live.status) {
        (Ok(table), Ok(status)) => (table, status),
        (Err(why), _) | (_, Err(why)) => {
            reasons.add_with_hint(format!("Could not look: {why}."), &*check);
            return None;
        }
    };
    let Some(figures) = &status.figures else {
        reasons.add_with_hint(format!("{name} has failed."), &*check);
        return None;
    };
    if figures.needs_check {
        reasons.add_with_hint(format!("{name} needs a check: the kernel ignores a resize until then."), &*check);
    } else if table.has("read_only") {
        let hint = format!("take the word read_only out of its table while it is down; see it: dmsetup table {name}");
        reasons.add_with_hint(format!("{name} is read-only, since its table says so."), hint);
    } else if status.mode == Mode::Ro && request.metadata.is_none() {
        reasons.add_with_hint(
            format!("{name} is read-only, since its metadata is full."),
            format!("grow that: dmtool resize {name} --metadata +100%"),
        );
    }
    Some(Now { live, table, figures })
}

/// Takes the devices that are added into the group of a volume; what the blank ones of them bring.
fn take_in(volume: &LvmName, facts: &Facts, lvm: &Lvm, plan: &mut Plan, reasons: &mut Reasons) -> Bytes {
    let wish = Wish { pool: volume, vg: &volume.vg, wipe: false, grows: true };
    let devices = usable(wish, &facts.added, lvm, reasons);
    let in_group =
        |device: &Device| lvm.pv_on(device.major, device.minor).is_some_and(|pv| pv.vg_name == volume.vg.as_str());
    let fresh: Vec<Usable<'_>> = devices.iter().copied().filter(|(_, device)| !in_group(device)).collect();
    for one in &devices {
        unlabel_step(one, lvm, plan);
        let step = Step::ExtendGroup { vg: volume.vg.clone(), devices: vec![path_for_lvm(one)] };
        plan.put(step, in_group(one.1));
    }
    let extent = lvm.group(&volume.vg).map_or(EXTENT, |group| group.extent);
    blank_extents(&fresh, extent).bytes(extent)
}

/// What one side of a pool (data or metadata) is asked to become, in the pool's own unit.
fn target(growth: Growth, now: u64, room: &Room, unit: u64) -> u64 {
    let up = |bytes: Bytes| bytes.0.div_ceil(unit.max(1));
    match growth {
        Growth::To(bytes) => up(bytes),
        Growth::By(bytes) => now.saturating_add(up(bytes)),
        Growth::ByPercent(percent) => now.saturating_add(share_and_rest(now, percent)),
        Growth::PercentOfGroup(percent) => share_of(room.total, percent),
        Growth::ByPercentOfFree(percent) => now.saturating_add(share_of(room.free, percent)),
        Growth::Max => now.saturating_add(room.free),
    }
}

/// What there is to grow into.
struct Room {
    total: u64,
    free: u64,
}

fn smaller(what: &str, asked: Bytes, now: Bytes, reasons: &mut Reasons) {
    reasons.add(format!("{what} has {now} and cannot shrink to {asked}: no thin pool can."));
}

/// The largest value from `low` to `low + room` that still fits: what fits is closed downwards.
fn largest(low: u64, room: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (low, low.saturating_add(room));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_the_pools_own_unit() {
        let room = Room { total: 1000, free: 100 };
        for (growth, extents) in [
            (Growth::To(Bytes(41)), 11),
            (Growth::By(Bytes(4)), 51),
            (Growth::By(Bytes(5)), 52),
            (Growth::ByPercent(1), 51),
            (Growth::ByPercent(20), 60),
            (Growth::PercentOfGroup(95), 950),
            (Growth::ByPercentOfFree(50), 100),
            (Growth::Max, 150),
        ] {
            assert_eq!(target(growth, 50, &room, 4), extents, "{growth:?}");
        }
        assert_eq!(target(Growth::By(Bytes(u64::MAX)), u64::MAX, &room, 1), u64::MAX);
    }

    #[test]
    fn what_adds_up_goes_on_by_the_size_that_it_came_to() {
        let fixed = Targets { data: Some(Bytes(2 << 30)), metadata: Some(Bytes(8 << 20)), watched: true };
        let by = Some(Growth::By(Bytes(1 << 20)));
        for (data, metadata, devices, command) in [
            (by, None, vec![], Some("dmtool resize 2147483648 vg/pool")),
            (Some(Growth::ByPercent(20)), None, vec![], Some("dmtool resize 2147483648 vg/pool")),
            (None, Some(Growth::ByPercentOfFree(5)), vec![], Some("dmtool resize --metadata 8388608 vg/pool")),
            (
                Some(Growth::Max),
                by,
                vec!["/dev/sdc".to_owned()],
                Some("dmtool resize 2147483648 --metadata 8388608 --add-device /dev/sdc vg/pool"),
            ),
            (Some(Growth::Max), Some(Growth::To(Bytes(1))), vec![], None),
            (Some(Growth::PercentOfGroup(95)), None, vec![], None),
        ] {
            let request = Request { chosen: Chosen::Only, data, metadata, adds: false };
            assert_eq!(request.with_fixed("vg/pool", fixed, &devices).as_deref(), command, "{data:?} {metadata:?}");
        }
    }

    #[test]
    fn the_largest_that_fits() {
        assert_eq!(largest(10, 100, |value| value <= 57), 57);
        assert_eq!(largest(10, 100, |_| true), 110);
        assert_eq!(largest(10, 100, |value| value <= 10), 10);
    }

    #[test]
    fn metadata_grows_with_the_data() {
        let chunk = Bytes(64 << 10);
        assert_eq!(metadata_for(Bytes(1 << 30), chunk, Bytes(0)), Bytes(4 << 20));
        assert_eq!(metadata_for(Bytes(1 << 30), chunk, Bytes(3 << 20)), Bytes(6 << 20));
        assert_eq!(metadata_for(Bytes(1 << 60), chunk, Bytes(0)), LARGEST_METADATA);
    }
}
