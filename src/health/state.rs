//! What state the kernel and LVM have the pool in (the rows of the state table in lvmthin(7) and of the kernel's
//! thin-provisioning.rst).

#![allow(clippy::unnecessary_wraps, reason = "all checks have one type")]

use super::code::Code;
use super::{Finding, Look, Outcome, growth, mend};
use crate::names::quoted;
use crate::observe::Unseen;
use crate::observe::host;
use crate::observe::left::Pending;
use crate::observe::metadata::{Checker, Superblock, Verdict};
use crate::observe::snapshot::Holder;
use crate::observe::standing::There;
use crate::observe::thin::{Mode, PoolFigures, PoolTable};
use crate::units::Bytes;

/// A pool that LVM knows and the kernel does not: the one reason that stands in the way.
pub(super) fn down(look: &Look<'_>) -> Outcome {
    let Some(side) = look.side().filter(|_| look.live().is_none() && look.seen.pool.broken.is_none()) else {
        return Ok(Vec::new());
    };
    if side.is_partial() {
        // The missing device is the finding.
        return Ok(Vec::new());
    }
    let activate = format!("dmtool activate {}", look.name());
    if !side.active_components.is_empty() {
        let message = format!(
            "The pool is down, and its hidden volume {} is active by itself, which locks it out: LVM activates no \
             pool over it.",
            side.active_components.join(", ")
        );
        return Ok(vec![look.finding(Code::ComponentActive, message, activate)]);
    }
    let resting = look.seen.resting.as_ref().and_then(|resting| resting.as_ref().ok());
    if let Some(Verdict::Damaged(said) | Verdict::Leaked(said)) =
        resting.and_then(|resting| resting.verdict.as_ref().ok())
    {
        let message = format!("The pool is down, and LVM will not activate it: thin_check finds damage ({said}).");
        let repair = format!("dmtool repair {}", look.name());
        return Ok(vec![look.finding(Code::ActivationCheckFailed, message, repair)]);
    }
    if let Some(found) = mismatch(look, resting.and_then(|resting| resting.superblock.as_ref())) {
        return Ok(vec![found]);
    }
    if !side.row.lv_skip_activation.is_empty() {
        let message = "The pool is down, since somebody set its flag to skip activation: it stays down at every boot \
                       (to take the flag off: lvchange --setactivationskip n).";
        return Ok(vec![look.finding(Code::ActivationSkipped, message, activate)]);
    }
    let message = format!(
        "The pool ({}) is down: LVM knows it, the kernel does not, and nothing on it can be used.",
        Bytes(side.row.lv_size)
    );
    // LVM activates nothing of a group that another host is to import.
    if !side.row.vg_exported.is_empty() {
        let message = format!("{message} Its group {} is exported.", side.row.vg_name);
        return Ok(vec![look.finding(
            Code::PoolInactive,
            message,
            format!("vgimport {} && {activate}", side.row.vg_name),
        )]);
    }
    Ok(vec![look.finding(Code::PoolInactive, message, activate)])
}

/// A pool of the register that the kernel does not have.
pub(super) fn bare_down(look: &Look<'_>) -> Outcome {
    let pool = &look.seen.pool;
    let Some(record) = &pool.record else { return Ok(Vec::new()) };
    // One that is up would not come back.
    let record = record.as_ref().map_err(Clone::clone)?;
    if pool.live.is_some() || pool.broken.is_some() {
        return Ok(Vec::new());
    }
    let Some(standing) = &look.seen.standing else {
        return Err(Unseen(format!("what {} stands on was not looked at", look.name())));
    };
    let misfits = standing.misfits(record);
    if misfits.is_empty() {
        let size = record.table.length.bytes();
        let message = format!("The pool ({size}) is down: the register knows it, the kernel does not.");
        return Ok(vec![look.finding(Code::PoolInactive, message, format!("dmtool activate {}", quoted(look.name())))]);
    }
    let missing = [(&record.data, &standing.data), (&record.metadata, &standing.metadata)]
        .iter()
        .any(|(place, there)| place.is_file() && **there == Ok(There::Missing));
    let code = if missing { Code::BackingFileMissing } else { Code::PoolInactive };
    let message = format!("The pool is down, and cannot be brought back: {}", misfits.join(" "));
    Ok(vec![look.finding(code, message, format!("dmtool explain {}", code.word()))])
}

fn mismatch(look: &Look<'_>, superblock: Option<&Superblock>) -> Option<Finding> {
    let own = superblock?.transaction_id;
    transactions(look, look.side()?.refuses(own)?, own)
}

/// LVM compares only where it made volumes itself: its number is 0 for a pool that another program manages.
fn transactions(look: &Look<'_>, of_lvm: u64, own: u64) -> Option<Finding> {
    if of_lvm == 0 || of_lvm == own {
        return None;
    }
    let ahead = if own > of_lvm { "the pool is ahead" } else { "LVM is ahead" };
    let cut_off = look.live().is_some() && own.checked_add(1) == Some(of_lvm);
    let then = if cut_off { "a command that made or removed a volume was cut off" } else { "so LVM refuses it" };
    let message = format!("The pool's transaction id is {own}, LVM expects {of_lvm} ({ahead}), {then}.");
    // What repair prints of a pool that is down is the way out; one that is up works.
    let hint = match look.live() {
        None => format!("dmtool repair {}", look.name()),
        Some(_) => "dmtool explain transaction-mismatch".to_owned(),
    };
    Some(look.finding(Code::TransactionMismatch, message, hint))
}

/// Whether the metadata of a pool that is down could be looked at.
pub(super) fn resting(look: &Look<'_>) -> Outcome {
    match &look.seen.resting {
        // That thin_check is missing is a finding of its own.
        Some(Ok(resting)) if !matches!(look.survey.checker, Ok(Checker::Missing(_))) => {
            match resting.verdict.as_ref().map_err(Clone::clone)? {
                Verdict::Late => Err(Unseen("thin_check did not end in time".to_owned())),
                Verdict::Clean | Verdict::Leaked(_) | Verdict::Damaged(_) => Ok(Vec::new()),
            }
        }
        Some(Err(why)) => Err(why.clone()),
        _ => Ok(Vec::new()),
    }
}

/// What a whole look at the metadata of a pool that is up, or of a bare one that is down, has found.
pub(super) fn maps(look: &Look<'_>) -> Outcome {
    let Some(verdict) = &look.seen.maps else { return Ok(Vec::new()) };
    let message = match verdict.as_ref().map_err(Clone::clone)? {
        Verdict::Clean => return Ok(Vec::new()),
        Verdict::Late => return Err(Unseen("thin_check did not end in time".to_owned())),
        Verdict::Damaged(said) if look.live().is_some() => format!(
            "thin_check finds damage in the maps of the pool while it is up ({said}): what lies in that part cannot be \
             read."
        ),
        Verdict::Leaked(said) if look.live().is_some() => format!(
            "thin_check finds blocks counted that nothing uses ({said}): nothing is lost, and LVM will not bring the \
             pool up again."
        ),
        Verdict::Damaged(said) => format!("The pool is down, and thin_check finds damage in its metadata ({said})."),
        Verdict::Leaked(said) => {
            format!("The pool is down, and its metadata counts blocks that nothing uses ({said}).")
        }
    };
    Ok(vec![look.finding(Code::ActivationCheckFailed, message, format!("dmtool repair {}", quoted(look.name())))])
}

/// LVM runs thin_check before it activates a pool. Without it 2.03.16 says "Check is skipped" and activates (seen); others
/// refuse.
pub(super) fn checker(look: &Look<'_>) -> Outcome {
    if look.side().is_none() {
        return Ok(Vec::new());
    }
    let Checker::Missing(tool) = look.survey.checker.as_ref().map_err(Clone::clone)? else { return Ok(Vec::new()) };
    let message = format!(
        "{tool} is not installed: {} LVM activates this pool unchecked, whether it is damaged or not, or refuses to, by its \
         version.",
        if look.live().is_some() { "after the next boot" } else { "now" }
    );
    Ok(vec![look.finding(
        Code::ThinCheckMissing,
        message,
        mend::install(look, host::THIN_TOOLS, host::thin_tools(&look.survey.systems)),
    )])
}

/// The node is there with another target.
pub(super) fn target(look: &Look<'_>) -> Outcome {
    let Some(broken) = &look.seen.pool.broken else { return Ok(Vec::new()) };
    let target = match broken.target.as_deref() {
        Some("error") => "the target error, which fails every read and write".to_owned(),
        Some(other) => format!("the target {other}"),
        None => "no live table".to_owned(),
    };
    let message = format!("{} has {target}, in place of the thin-pool target.", broken.dm_name);
    let hint = match look.side() {
        Some(_) => format!("lvchange --refresh {}", look.name()),
        None => "dmtool explain target-error".to_owned(),
    };
    Ok(vec![look.finding(Code::TargetError, message, hint)])
}

/// Suspended, or a table that waits to be swapped in, or both.
pub(super) fn tables(look: &Look<'_>) -> Outcome {
    let Some(live) = look.live() else { return Ok(Vec::new()) };
    let name = mend::quoted(&live.dm_name);
    let mut found = Vec::new();
    if live.layer_empty {
        let message = format!("LVM's layer over {} has no table: its activation was cut off on the way.", look.name());
        let hint = format!("dmtool activate {}", quoted(look.name()));
        found.push(look.finding(Code::InactiveTablePending, message, hint));
    }
    if live.suspended {
        let waiting =
            if live.inactive_table { " A table that waits to be swapped in is dropped by the hint." } else { "" };
        let message = format!(
            "{} is suspended: reads and writes of its volumes stand still until it is resumed.{waiting}",
            live.dm_name
        );
        let mut steps: Vec<String> = live.inactive_table.then(|| format!("dmsetup clear {name}")).into_iter().collect();
        // What it stands on first: to run on, the pool writes there.
        steps.extend(below(look).map(|device| format!("dmsetup resume {}", mend::quoted(device))));
        steps.push(format!("dmsetup resume {name}"));
        // What waited was LVM's own extension mostly, which its metadata has already.
        let of_lvm = look.side().filter(|_| live.inactive_table);
        steps.extend(of_lvm.map(|_| format!("lvchange --refresh {}", look.name())));
        found.push(look.finding(Code::PoolSuspended, message, steps.join(" && ")));
    } else if let Some(pending) = &look.seen.pending {
        let (what, hint) = match pending {
            Ok(pending) if is_growth(look, pending) => (
                format!("it makes the pool larger ({} now, {} then)", live.length.bytes(), pending.length.bytes()),
                format!("dmsetup resume {name}"),
            ),
            Ok(pending) => (
                format!("it does not fit this pool ({}, on {})", pending.length.bytes(), pending.table.data_device),
                format!("dmsetup clear {name}"),
            ),
            Err(why) => (format!("it could not be read ({why})"), format!("dmsetup clear {name}")),
        };
        let message = format!(
            "A table was loaded into {} and never swapped in, by a command that did not end; {what}. The next resume \
             would take it.",
            live.dm_name
        );
        found.push(look.finding(Code::InactiveTablePending, message, hint));
    }
    Ok(found)
}

/// The same pool, longer, and no longer than its data device.
fn is_growth(look: &Look<'_>, pending: &Pending) -> bool {
    let Some(live) = look.live() else { return false };
    let (Ok(table), Ok(data)) = (&live.table, &look.seen.data) else { return false };
    pending.is_of(table) && pending.length >= live.length && pending.length.bytes() <= data.size
}

/// The devices right under a pool that are suspended.
fn below<'a>(look: &Look<'a>) -> impl Iterator<Item = &'a str> {
    let seen = look.seen;
    [&seen.data, &seen.metadata].into_iter().filter_map(|lower| lower.as_ref().ok()?.suspended.as_deref())
}

/// Volumes that are suspended, and what the pool stands on.
pub(super) fn around(look: &Look<'_>) -> Outcome {
    let Some(live) = look.live().filter(|live| !live.suspended) else { return Ok(Vec::new()) };
    let still = |device: &str, what: &str| {
        let message = format!("{device}, {what} the pool, is suspended: reads and writes of it stand still.");
        look.finding(Code::PoolSuspended, message, format!("dmsetup resume {}", mend::quoted(device)))
    };
    let volumes = live.thin.iter().filter(|volume| volume.suspended);
    let volumes = volumes.map(|volume| still(&volume.dm_name, "a volume in"));
    Ok(below(look).map(|device| still(device, "which carries")).chain(volumes).collect())
}

/// What the kernel lets the pool do.
pub(super) fn mode(look: &Look<'_>) -> Outcome {
    let Some(live) = look.live() else { return Ok(Vec::new()) };
    let status = live.status.as_ref().map_err(Clone::clone)?;
    if status.mode == Mode::Fail {
        let message = format!(
            "The pool has failed: its metadata could not be read or written, and every read and write of its volumes \
             fails. Look first at what it stands on ({}).",
            mend::devices(look)
        );
        return Ok(vec![look.finding(Code::PoolFailed, message, mend::reactivate(look))]);
    }
    let Some((_, table, figures)) = look.figures()? else { return Ok(Vec::new()) };
    let is_full = figures.data_used >= figures.data_total;
    let found = match status.mode {
        // A failed operation takes a full pool from its mode to read-only (seen on Linux 6.1).
        Mode::Ro | Mode::Rw if is_full && figures.needs_check => full(look, table, figures),
        Mode::OutOfDataSpace => full(look, table, figures),
        Mode::Ro | Mode::Rw if figures.needs_check => look.finding(
            Code::NeedsCheck,
            format!(
                "An operation on the metadata failed: the pool is read-only until it was down and its metadata was \
                 checked.{}",
                mend::to_check(look)
            ),
            mend::reactivate(look),
        ),
        // Told by its table to be read-only, it is what was asked for.
        Mode::Ro if !table.has("read_only") => look.finding(
            Code::MetadataFull,
            format!(
                "Metadata is full ({} of {} used): the pool is read-only, and new blocks cannot be handed out.{}",
                figures.metadata_used.bytes(),
                figures.metadata_total.bytes(),
                mend::to_check(look)
            ),
            growth::metadata(look),
        ),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![found])
}

/// Out of data space: what becomes of writes.
fn full(look: &Look<'_>, table: &PoolTable, figures: &PoolFigures) -> Finding {
    let total = figures.data_total.bytes(table.chunk_bytes());
    if figures.needs_check {
        let message = format!(
            "Data is full ({total}) and the metadata needs a check: the kernel ignores an extension until the pool was \
             down and checked."
        );
        let hint = format!("{} && {}", mend::reactivate(look), growth::data(look));
        return look.finding(Code::DataFullNeedsCheck, message, hint);
    }
    let (code, message) = if table.has("error_if_no_space") {
        (
            Code::DataFullError,
            format!("Data is full ({total}): writes to new blocks fail at once.{}", mend::to_check(look)),
        )
    } else if figures.error_if_no_space {
        // The table does not say so: the kernel put it there when the time was over.
        (
            Code::DataFullWritesLost,
            format!(
                "Data is full ({total}) and the time to wait for space is over: writes failed and were lost.{}",
                mend::to_check(look)
            ),
        )
    } else {
        (
            Code::DataFullQueueing,
            format!(
                "Data is full ({total}): writes wait for space, by default for 60 s; after that they fail and are lost."
            ),
        )
    };
    look.finding(code, message, growth::data(look))
}

/// Thin volumes that the kernel has given up.
pub(super) fn volumes(look: &Look<'_>) -> Outcome {
    let Some(live) = look.live() else { return Ok(Vec::new()) };
    let failed = live.failed_volumes.as_ref().map_err(Clone::clone)?;
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let message = format!("The kernel has given up {}: every read and write fails.", mend::list(failed));
    Ok(vec![look.finding(Code::VolumeFailed, message, mend::reactivate(look))])
}

/// LVM's count of transactions against the kernel's.
pub(super) fn transaction(look: &Look<'_>) -> Outcome {
    let (Some(side), Some((_, _, figures))) = (look.side(), look.figures()?) else { return Ok(Vec::new()) };
    let of_lvm = side.row.transaction_id.parse().unwrap_or(0);
    let own = figures.transaction_id;
    if (own..=look.seen.counted.unwrap_or(own)).contains(&of_lvm) {
        return Ok(Vec::new());
    }
    Ok(transactions(look, of_lvm, figures.transaction_id).into_iter().collect())
}

/// A metadata snapshot that somebody reserved.
pub(super) fn metadata_snapshot(look: &Look<'_>) -> Outcome {
    let Some((live, _, figures)) = look.figures()? else { return Ok(Vec::new()) };
    let Some(root) = figures.held_root else { return Ok(Vec::new()) };
    let (whose, hint) = match &look.seen.snapshot {
        // One of ours may be released only by who knows when it was reserved.
        Some(Err(why)) => return Err(why.clone()),
        Some(Ok(Holder::Dmtool)) => return Ok(Vec::new()),
        Some(Ok(Holder::Killed)) => {
            ("a dmtool was killed while it read the metadata", format!("dmtool metadata check {}", quoted(look.name())))
        }
        Some(Ok(Holder::Other)) | None => (
            "a backup or thin_ls is at work, or was killed (after a power cut see dmtool explain metadata-snapshot-held first)",
            format!("dmsetup message {} 0 release_metadata_snap", mend::quoted(&live.dm_name)),
        ),
    };
    let message = format!("A metadata snapshot is held (block {root}): {whose}; meanwhile metadata is used up faster.");
    Ok(vec![look.finding(Code::MetadataSnapshotHeld, message, hint)])
}
