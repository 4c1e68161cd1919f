//! Whether a pool will be extended when it fills up: five things must hold at once (dmeventd(8), lvmthin(7)).

use super::code::{Code, Severity};
use super::growth::{metadata_extensions, metadata_room};
use super::{Finding, Look, Outcome, mend};
use crate::observe::Looked;
use crate::observe::pools::{LvmSide, is_overdue};
use crate::observe::profile::{Autoextend, NEVER, low_water_for, near};
use crate::observe::thin::{Mode, PoolFigures};
use crate::observe::{Dmeventd, WATCH_ANEW};
use crate::units::{Bytes, is_above, reaches, share_and_rest};

/// The settings of a pool that extends itself: LVM's, and it is meant to.
fn settings<'a>(look: &Look<'a>) -> Looked<Option<(&'a LvmSide, Autoextend)>> {
    let Some(side) = look.side().filter(|_| look.live().is_some()) else { return Ok(None) };
    side.autoextend.as_ref().map(|settings| Some((side, *settings))).map_err(Clone::clone)
}

/// dmeventd is there, answers, and watches this pool.
pub(super) fn monitoring(look: &Look<'_>) -> Outcome {
    let Some((side, _)) = settings(look)? else { return Ok(Vec::new()) };
    if side.is_off_on_purpose() {
        return Ok(Vec::new());
    }
    let monitor = format!("lvchange --monitor y {}", look.name());
    let nobody = "nobody extends the pool or warns of it when it fills up";
    let silent = |message: String, hint: String| look.finding(Code::DmeventdSilent, message, hint);
    let unwatched = |why: &str| {
        look.finding(Code::NotMonitored, format!("dmeventd does not watch the pool{why}: {nobody}."), &*monitor)
    };
    Ok(match look.survey.dmeventd.as_ref().map_err(Clone::clone)? {
        Dmeventd::Answers if side.monitored() => Vec::new(),
        Dmeventd::Answers => vec![unwatched("")],
        Dmeventd::NotInstalled => vec![
            silent(
                format!("dmeventd is not installed: {nobody}."),
                mend::install(look, "dmeventd", "device-mapper-event"),
            ),
            unwatched(", since it is not installed"),
        ],
        Dmeventd::NotRunning => {
            vec![
                silent(format!("dmeventd is not running: {nobody}."), monitor.clone()),
                unwatched(", since it is not running"),
            ]
        }
        Dmeventd::Silent(why) => {
            vec![silent(format!("dmeventd does not answer ({why}): {nobody}."), WATCH_ANEW.to_owned())]
        }
        Dmeventd::Held(holder) => vec![silent(
            format!("dmeventd cannot be asked, since {holder} holds the line to it: {nobody} while it does."),
            "dmtool explain dmeventd-silent".to_owned(),
        )],
    })
}

/// The low-water mark in the live table is what the profile says.
pub(super) fn profile(look: &Look<'_>) -> Outcome {
    let Some((side, settings)) = settings(look)? else { return Ok(Vec::new()) };
    let Some(live) = look.live() else { return Ok(Vec::new()) };
    let table = live.table.as_ref().map_err(Clone::clone)?;
    let due = low_water_for(live.length.bytes(), Bytes(side.row.chunk_size), settings.threshold);
    if near(table.low_water, due) {
        return Ok(Vec::new());
    }
    let message = format!(
        "The live table does not have the pool's autoextend settings: its low-water mark is {} chunks, and a threshold \
         of {}% makes {}. The kernel tells dmeventd too late, or too early, that the pool fills up.",
        table.low_water.0, settings.threshold, due.0
    );
    Ok(vec![look.finding(Code::ProfileNotLive, message, format!("lvchange --refresh {}", look.name()))])
}

/// It is switched on, has room, and dmeventd acts.
pub(super) fn extension(look: &Look<'_>) -> Outcome {
    let Some((side, settings)) = settings(look)? else { return Ok(Vec::new()) };
    if settings.threshold >= NEVER {
        let missing = side.profile().filter(|_| side.profile_missing);
        let message = match missing {
            Some(name) => {
                format!("The pool does not extend itself: its profile {name} is attached, and its file is gone.")
            }
            None => "The pool does not extend itself: its threshold is 100%.".to_owned(),
        };
        let hint = format!("dmtool autoextend {} --threshold 80 --percent 20", look.name());
        return Ok(vec![look.finding(Code::AutoextendOff, message, hint)]);
    }
    let Some((_, _, figures)) = look.figures()? else { return Ok(Vec::new()) };
    let needed = side.next_step(figures, settings).0;
    let free = side.row.vg_free_count;
    let (used, total) = (figures.metadata_used.0, figures.metadata_total.0);
    let metadata_due = is_above(used, total, settings.threshold);
    let metadata_needed = metadata_step(side, settings);
    let metadata_room = match &look.survey.lvm {
        Ok(Some(lvm)) => {
            metadata_room(lvm, &side.row.vg_name, side.metadata_size, Bytes(side.row.vg_extent_size), free)
        }
        _ => free,
    };
    let (no_data, no_metadata) = (needed > free, metadata_needed > metadata_room);
    if settings.percent == 0 || no_data || (no_metadata && metadata_due) {
        return Ok(vec![no_room(look, side, settings, (needed, no_data), (metadata_needed, metadata_room))]);
    }
    Ok(backed_off(look, side, settings, figures).into_iter().collect())
}

fn no_room(
    look: &Look<'_>,
    side: &LvmSide,
    settings: Autoextend,
    (needed, no_data): (u64, bool),
    (metadata_needed, metadata_room): (u64, u64),
) -> Finding {
    let extent = Bytes(side.row.vg_extent_size);
    let size = |extents: u64| Bytes(extents.saturating_mul(extent.0));
    let free = size(side.row.vg_free_count);
    let message = if settings.percent == 0 {
        format!("The pool is to be extended by 0% at {}%, and LVM refuses that.", settings.threshold)
    } else if no_data {
        format!(
            "There is no room for the next extension: {}% more data needs {}, and {} has {free} free.",
            settings.percent,
            size(needed),
            side.row.vg_name
        )
    } else {
        format!(
            "There is no room for the next extension of the metadata: it needs {} and as much for the spare, and {} \
             has {free} free, room for {}.",
            size(metadata_needed),
            side.row.vg_name,
            size(metadata_room)
        )
    };
    let hint = if settings.percent == 0 {
        format!("dmtool autoextend {} --percent 20", look.name())
    } else {
        format!("dmtool resize {} --add-device DEVICE", look.name())
    };
    let found = look.finding(Code::AutoextendNoRoom, message, hint);
    let reached = due(look, settings.threshold);
    Finding { severity: if reached || settings.percent == 0 { Severity::Warning } else { Severity::Info }, ..found }
}

/// Data or metadata have reached this share.
fn due(look: &Look<'_>, threshold: u64) -> bool {
    let Ok(Some((_, _, figures))) = look.figures() else { return false };
    reaches(figures.data_used.0, figures.data_total.0, threshold)
        || reaches(figures.metadata_used.0, figures.metadata_total.0, threshold)
}

/// LVM adds one percent to a step of the metadata, for what the kernel takes on a resize.
fn metadata_step(side: &LvmSide, settings: Autoextend) -> u64 {
    let size = side.metadata_size.whole_extents(Bytes(side.row.vg_extent_size)).0;
    share_and_rest(size, settings.percent.saturating_add(1))
}

/// All is there for an extension that is due, and it did not happen.
fn backed_off(look: &Look<'_>, side: &LvmSide, settings: Autoextend, figures: &PoolFigures) -> Option<Finding> {
    let acts = look.survey.dmeventd == Ok(Dmeventd::Answers) && side.monitored();
    let mode = look.live()?.status.as_ref().ok()?.mode;
    if !acts || !matches!(mode, Mode::Rw | Mode::OutOfDataSpace) || !is_overdue(figures, settings.threshold) {
        return None;
    }
    let message = format!(
        "An extension is due (from {}% on) and {} has room for it, and dmeventd has not made it: after failures it \
         waits up to 42 minutes before it tries again. (Where the threshold was passed in the last ten seconds, it may \
         just be about to.)",
        settings.threshold, side.row.vg_name
    );
    let hint =
        format!("dmtool autoextend {} --threshold {} --percent {}", look.name(), settings.threshold, settings.percent);
    Some(look.finding(Code::ExtensionBackedOff, message, hint))
}

/// How it stands, in a line for people.
pub fn sentence(look: &Look<'_>) -> Option<String> {
    let (side, settings) = settings(look).ok()??;
    if settings.threshold >= NEVER {
        return Some("does not extend itself".to_owned());
    }
    let figures = look.seen.pool.figures();
    let count = side.extensions_left(figures, settings);
    let until = side.extends_until(figures, settings);
    let room = match count {
        0 => "no extension possible".to_owned(),
        1 => format!("one more extension, until {until}"),
        count => format!("{count} more extensions, until {until}"),
    };
    Some(format!("extends at {}% by {}%: {room}", settings.threshold, settings.percent))
}

/// One of the things that must hold for an extension to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub what: &'static str,
    pub holds: bool,
    pub how: String,
}

/// All of them, in the order in which an extension needs them.
pub fn points(look: &Look<'_>) -> Vec<Point> {
    let point = |what, holds, how: String| Point { what, holds, how };
    let Some(side) = look.side() else { return Vec::new() };
    let settings = match &side.autoextend {
        Ok(settings) => *settings,
        Err(why) => return vec![point("settings", false, format!("could not look: {why}"))],
    };
    let profile = side.profile().map_or("lvm.conf, no profile".to_owned(), |name| format!("profile {name}"));
    let on = settings.threshold < NEVER;
    let threshold = if on {
        format!("at {}% by {}% ({profile})", settings.threshold, settings.percent)
    } else {
        format!("100%, which is never ({profile})")
    };
    let mut points = vec![point("threshold", on && settings.percent > 0, threshold)];
    let Some(live) = look.live() else {
        points.push(point("active", false, "the pool is down".to_owned()));
        return points;
    };
    let (answers, how) = match &look.survey.dmeventd {
        Ok(Dmeventd::Answers) => (true, "answers".to_owned()),
        Ok(Dmeventd::Silent(why)) => (false, format!("does not answer: {why}")),
        Ok(Dmeventd::Held(holder)) => (false, format!("cannot be asked: {holder} holds the line to it")),
        Ok(Dmeventd::NotRunning) => (false, "is not running".to_owned()),
        Ok(Dmeventd::NotInstalled) => (false, "is not installed".to_owned()),
        Err(why) => (false, format!("could not look: {why}")),
    };
    points.push(point("dmeventd", answers, how));
    let watched = answers && side.monitored();
    points.push(point("monitored", watched, if watched { "yes" } else { "no" }.to_owned()));
    let due = low_water_for(live.length.bytes(), Bytes(side.row.chunk_size), settings.threshold);
    points.push(match &live.table {
        Ok(table) => {
            let fits = near(table.low_water, due);
            let wanted = if fits { String::new() } else { format!(", and the threshold makes {}", due.0) };
            point("live table", fits, format!("low-water mark of {} chunks{wanted}", table.low_water.0))
        }
        Err(why) => point("live table", false, format!("could not look: {why}")),
    });
    points.push(room(look, side, settings));
    let backed_off =
        look.figures().ok().flatten().and_then(|(.., figures)| backed_off(look, side, settings, figures)).filter(
            |_| extension(look).is_ok_and(|found| found.iter().any(|one| one.code == Code::ExtensionBackedOff)),
        );
    if on && backed_off.is_some() {
        points.push(point("at work", false, "an extension is due and dmeventd waits after failures".to_owned()));
    }
    points
}

fn room(look: &Look<'_>, side: &LvmSide, settings: Autoextend) -> Point {
    let free = Bytes(side.row.vg_free_count.saturating_mul(side.row.vg_extent_size));
    let step = match look.figures() {
        Ok(Some((.., figures))) => side.next_step(figures, settings).0,
        _ => 0,
    };
    let step = Bytes(step.saturating_mul(side.row.vg_extent_size));
    let of = &side.row.vg_name;
    let figures = look.seen.pool.figures();
    let until = side.extends_until(figures, settings);
    let (holds, data) = match side.extensions_left(figures, settings) {
        0 => (false, format!("none: the next extension takes {step}, {of} has {free} free")),
        1 => (true, format!("one more extension, until {until} ({free} free in {of})")),
        count => (true, format!("{count} more extensions, until {until} ({free} free in {of})")),
    };
    let how = match &look.survey.lvm {
        Ok(Some(lvm)) if holds => {
            let extent = Bytes(side.row.vg_extent_size.max(1));
            let extents = |bytes: Bytes| bytes.whole_extents(extent).0;
            let (metadata, spare) = (extents(side.metadata_size), extents(lvm.spare(of)));
            match metadata_extensions(metadata, spare, side.row.vg_free_count, settings.percent) {
                0 => format!("{data}; of the metadata none"),
                count => format!("{data}; or of the metadata {count}"),
            }
        }
        _ => data,
    };
    Point { what: "room", holds, how }
}
