//! What LVM's metadata tells of a pool and its group.

use super::code::{Code, Severity};
use super::mend::list;
use super::{Finding, Look, Outcome};
use crate::names::{layer_over, means, quoted};
use crate::observe::Unseen;
use crate::observe::lvm::{LvRow, Lvm};
use crate::observe::pools::{Kind, LvmSide, Unread};
use crate::observe::repair::Stage;
use crate::observe::survey::Survey;
use crate::observe::thin::Mode;
use crate::units::Bytes;

/// What LVM said, where it was asked and the pool is its own.
fn ours<'a>(look: &Look<'a>) -> Result<Option<(&'a Lvm, &'a LvRow)>, crate::observe::Unseen> {
    let lvm = look.survey.lvm.as_ref().map_err(Clone::clone);
    if look.seen.pool.kind != Kind::Lvm {
        return Ok(None);
    }
    Ok(lvm?.as_ref().zip(look.side().map(|side| &side.row)))
}

/// A physical volume of the pool's group is not there.
pub(super) fn group(look: &Look<'_>) -> Outcome {
    let lvm = look.survey.lvm.as_ref().map_err(Clone::clone)?;
    if look.seen.pool.kind == Kind::Lvm && look.live().is_some() && look.side().is_none() {
        let name = look.name();
        if lvm.is_none() {
            return Err(Unseen(format!("{name} is LVM's, and liblvm2cmd is not installed")));
        }
        let message =
            "The pool is up and LVM does not know it: the label or what LVM wrote of its group is gone from its \
                       disk, or LVM does not see that. It will not come back from a boot. Write nothing to the disk."
                .to_owned();
        return Ok(vec![look.finding(Code::VolumeGroupIncomplete, message, "dmtool explain volume-group-incomplete")]);
    }
    let Some((lvm, row)) = ours(look)? else { return Ok(Vec::new()) };
    let of_group = || lvm.pvs.iter().filter(|pv| pv.vg_name == row.vg_name);
    // Back, and kept out until somebody says so.
    let back: Vec<&str> =
        of_group().filter(|pv| !pv.pv_missing.is_empty() && pv.pv_major != 0).map(|pv| pv.pv_name.as_str()).collect();
    let gone: Vec<String> = of_group()
        .filter(|pv| !pv.pv_missing.is_empty() && pv.pv_major == 0)
        .map(|pv| match last_path(lvm, &pv.pv_uuid) {
            Some(path) => format!("{path} (uuid {})", pv.pv_uuid),
            None => format!("the one with the uuid {}", pv.pv_uuid),
        })
        .collect();
    if back.is_empty() && gone.is_empty() {
        return Ok(Vec::new());
    }
    let hurt = if look.side().is_some_and(LvmSide::is_partial) {
        "the pool lies on it in part"
    } else {
        "the pool does not lie on it"
    };
    let (message, hint) = if gone.is_empty() {
        (
            format!(
                "The volume group {} keeps out {}, which was missing and is back; {hurt}.",
                row.vg_name,
                back.join(", ")
            ),
            format!("vgextend --restoremissing {} {}", row.vg_name, back.join(" ")),
        )
    } else {
        (
            format!(
                "A physical volume of the volume group {} is missing: {}; {hurt}. Bring the disk back; never remove it \
                 from the group by force.",
                row.vg_name,
                list(&gone)
            ),
            format!("pvscan --cache && dmtool activate {}", look.name()),
        )
    };
    Ok(vec![look.finding(Code::VolumeGroupIncomplete, message, hint)])
}

/// The disk of a pool's group is there, and LVM cannot read what is written of the group on it.
pub(super) fn unread(survey: &Survey) -> Vec<Finding> {
    let meant = |name: &str| survey.all || survey.unknown.iter().any(|asked| means(asked, name, &[""; 0]));
    // One that is up has a finding of its own.
    let seen = |name: &str| survey.pools.iter().any(|seen| seen.pool.name == name);
    let of = |group: &Unread| {
        let (vg, backup) = (group.vg.clone(), group.backup());
        let made = group.made.as_ref().map_or(String::new(), |made| format!(" of {made}"));
        let Some(device) = group.device.as_deref().map(quoted) else {
            let of = group.pools.iter().filter(|name| meant(name) && !seen(name));
            return of.map(|name| gone(name, &vg, &made, &backup)).collect();
        };
        let (why, hint) = if group.partial {
            ("other disks that it names are missing, too: bring them back first", "pvscan --cache".to_owned())
        } else {
            ("a power cut may have come between two of its writes", format!("pvck --repair --file {backup} {device}"))
        };
        let finding = move |name: &String| Finding {
            code: Code::VolumeGroupIncomplete,
            severity: Code::VolumeGroupIncomplete.severity(),
            pool: Some(name.clone()),
            message: format!(
                "LVM finds no volume group for {device}, which its backup{made} has in {vg} with {name}: {why}. What is on \
                 the pool is not touched by that. Write nothing to {device}, and do not remove its label."
            ),
            hint: Some(format!("{hint} && dmtool activate {name}")),
        };
        group.pools.iter().filter(|name| meant(name)).map(finding).collect::<Vec<_>>()
    };
    survey.unread.iter().flat_map(of).collect()
}

/// Nothing of a pool's group is there.
fn gone(name: &str, vg: &str, made: &str, backup: &str) -> Finding {
    Finding {
        code: Code::VolumeGroupIncomplete,
        severity: Code::VolumeGroupIncomplete.severity(),
        pool: Some(name.to_owned()),
        message: format!(
            "LVM's backup{made} tells of {name}, and no disk of its volume group {vg} is there: bring it back. Where the \
             group was given up on purpose, move {backup} away."
        ),
        hint: Some(format!("pvscan --cache && dmtool activate {name}")),
    }
}

/// Where LVM last saw a physical volume, as it says in its warning of one that is missing.
fn last_path<'a>(lvm: &'a Lvm, uuid: &str) -> Option<&'a str> {
    lvm.warnings.iter().find_map(|line| {
        let (_, rest) = line.split_once(uuid)?;
        Some(rest.split_once("last written to ")?.1.trim_end_matches([')', '.']))
    })
}

/// What a repair put aside: dmtool's own says so, and `POOL_metaN` is LVM's.
pub(super) fn old_metadata(look: &Look<'_>) -> Outcome {
    let name = look.name();
    if let Some(repair) = look.seen.repair.as_ref().map_err(Clone::clone)? {
        let (message, hint) = if repair.stage == Stage::Swapped {
            let message = format!(
                "A repair keeps the old metadata as {}, until every file system on the pool was checked.",
                repair.old
            );
            (message, format!("dmtool repair {} --accept", quoted(name)))
        } else {
            ("A repair has not come to its end.".to_owned(), format!("dmtool repair {}", quoted(name)))
        };
        return Ok(vec![look.finding(Code::OldMetadataKept, message, hint)]);
    }
    let Some((lvm, row)) = ours(look)? else { return Ok(Vec::new()) };
    let prefix = format!("{}_meta", row.lv_name);
    let is_old = |other: &&LvRow| {
        let number = other.lv_name.strip_prefix(&prefix);
        other.vg_name == row.vg_name
            && number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
    };
    let kept: Vec<String> =
        lvm.lvs.iter().filter(is_old).map(|old| format!("{}/{}", old.vg_name, old.lv_name)).collect();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let message = format!(
        "A repair kept the old metadata in {}. Keep it until every file system on the pool was checked.",
        kept.join(", ")
    );
    Ok(vec![look.finding(Code::OldMetadataKept, message, format!("lvremove {}", kept.join(" ")))])
}

/// A snapshot that goes back into its origin at the origin's next activation.
pub(super) fn merges(look: &Look<'_>) -> Outcome {
    let Some((lvm, row)) = ours(look)? else { return Ok(Vec::new()) };
    let merging =
        |other: &&LvRow| other.vg_name == row.vg_name && other.pool_lv == row.lv_name && other.lv_attr.starts_with('O');
    let found = lvm.lvs.iter().filter(merging).map(|origin| {
        let name = format!("{}/{}", origin.vg_name, origin.lv_name);
        let message = format!("A snapshot waits to be merged into {name}; that happens when {name} is activated anew.");
        look.finding(
            Code::MergePending,
            message,
            format!("lvchange --activate n {name} && lvchange --activate y {name}"),
        )
    });
    Ok(found.collect())
}

/// LVM put a layer over the pool: what others are told to use is no thin-pool then.
pub(super) fn layered(look: &Look<'_>) -> Outcome {
    let Some((live, side)) = look.live().zip(look.side()) else { return Ok(Vec::new()) };
    let Some(outer) = layer_over(&live.dm_name) else { return Ok(Vec::new()) };
    let consumers = look.survey.consumers.as_ref().map_err(Clone::clone)?;
    let wanted = consumers.iter().find(|consumer| means(&consumer.pool, look.name(), &[outer]));
    let explain = "dmtool explain pool-layered";
    Ok(vec![match wanted {
        Some(consumer) => Finding {
            severity: Severity::Warning,
            ..look.finding(
                Code::PoolLayered,
                format!(
                    "{} is told to use {} ({}), and that is no thin-pool: LVM made volumes in it, and the thin-pool is \
                     {} below. Give it a pool of its own.",
                    consumer.name, consumer.pool, consumer.file, live.dm_name
                ),
                explain,
            )
        },
        None => look.finding(
            Code::PoolLayered,
            format!(
                "{outer} is LVM's layer over the thin-pool {}: the pool is for LVM's volumes, not for Docker or \
                 containerd (transaction id of LVM {}).",
                live.dm_name, side.row.transaction_id
            ),
            explain,
        ),
    }])
}

/// LVM's metadata has the pool larger than the kernel's table: a command was killed between the two, or the table that it
/// had loaded was dropped. What the kernel ignores for another reason has a finding of its own.
pub(super) fn extension(look: &Look<'_>) -> Outcome {
    let (Some(side), Some((live, table, figures))) = (look.side(), look.figures()?) else { return Ok(Vec::new()) };
    let works = look.seen.pool.mode().is_some_and(|mode| matches!(mode, Mode::Rw | Mode::OutOfDataSpace));
    let in_kernel = figures.data_total.bytes(table.chunk_bytes());
    let of_lvm = Bytes(side.row.lv_size - side.row.lv_size % table.chunk_bytes().0.max(1));
    if live.suspended || !works || figures.needs_check || in_kernel >= of_lvm {
        return Ok(Vec::new());
    }
    let message = format!(
        "LVM has {of_lvm} of data for the pool, and the kernel works with {in_kernel} of it: an extension did not come to \
         its end."
    );
    Ok(vec![look.finding(Code::ExtensionNotLive, message, format!("lvchange --refresh {}", look.name()))])
}

/// Volumes of a manual setup that stopped before its last step: `X` and `Xmeta`, plain both.
pub(super) fn half_built(survey: &Survey) -> Outcome {
    let Some(lvm) = survey.lvm.as_ref().map_err(Clone::clone)? else { return Ok(Vec::new()) };
    // Active and open by nobody (the sixth character of lv_attr, lvs(8)): what is on others cannot be looked at.
    let plain = |row: &&LvRow| {
        let unused = row.lv_active == "active" && row.lv_attr.chars().nth(5) != Some('o');
        unused && row.segtype == "linear" && row.lv_role.split(',').any(|word| word == "public")
    };
    let mut found = Vec::new();
    for data in lvm.lvs.iter().filter(plain) {
        let name = format!("{}/{}", data.vg_name, data.lv_name);
        if !survey.all && !survey.unknown.iter().any(|asked| means(asked, &name, &[""; 0])) {
            continue;
        }
        let is_half = |row: &&LvRow| {
            row.vg_name == data.vg_name
                && row.lv_name.strip_suffix("meta") == Some(&data.lv_name)
                && row.lv_size < data.lv_size
        };
        let Some(metadata) = lvm.lvs.iter().filter(plain).find(is_half) else { continue };
        // Somebody's data: a setup would refuse it too.
        if survey.signed.contains(&name) {
            continue;
        }
        found.push(Finding {
            code: Code::PoolHalfBuilt,
            severity: Code::PoolHalfBuilt.severity(),
            pool: Some(name.clone()),
            message: format!(
                "{name} and {}/{} look like a setup that stopped before it made a pool of them.",
                metadata.vg_name, metadata.lv_name
            ),
            hint: Some(format!("dmtool setup --adopt {} --pool {name} --yes", data.vg_name)),
        });
    }
    Ok(found)
}
