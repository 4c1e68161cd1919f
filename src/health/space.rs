//! How full a pool is.

use super::code::{Code, Severity};
use super::{Finding, Look, Outcome, growth};
use crate::observe::samples::seconds_to_full;
use crate::observe::thin::Mode;
use crate::units::{Bytes, percent, reaches};

/// Data, while there is still room.
pub(super) fn data(look: &Look<'_>) -> Outcome {
    let Some((live, table, figures)) = look.figures()? else { return Ok(Vec::new()) };
    // Out of space, and says so elsewhere.
    if live.status.as_ref().is_ok_and(|status| status.mode == Mode::OutOfDataSpace) {
        return Ok(Vec::new());
    }
    let chunk = table.chunk_bytes();
    let (used, total) = (figures.data_used.bytes(chunk), figures.data_total.bytes(chunk));
    let when = soon(look).map_or(String::new(), |when| format!(" {when}"));
    Ok(over(look, Code::DataNearlyFull, "Data", (used, total), &when, growth::data).into_iter().collect())
}

/// Metadata, while there is still room.
pub(super) fn metadata(look: &Look<'_>) -> Outcome {
    let Some((live, table, figures)) = look.figures()? else { return Ok(Vec::new()) };
    let full = live.status.as_ref().is_ok_and(|status| status.mode == Mode::Ro);
    if full && !figures.needs_check && !table.has("read_only") {
        return Ok(Vec::new());
    }
    let (used, total) = (figures.metadata_used.bytes(), figures.metadata_total.bytes());
    Ok(over(look, Code::MetadataNearlyFull, "Metadata", (used, total), "", growth::metadata).into_iter().collect())
}

fn over(
    look: &Look<'_>,
    code: Code,
    what: &str,
    (used, total): (Bytes, Bytes),
    more: &str,
    mend: fn(&Look<'_>) -> String,
) -> Option<Finding> {
    let severity = if reaches(used.0, total.0, look.thresholds.crit) {
        Severity::Critical
    } else if reaches(used.0, total.0, look.thresholds.warn) {
        Severity::Warning
    } else {
        return None;
    };
    let message = format!("{what} is {:.1}% full ({used} of {total}).{more}", percent(used.0, total.0));
    let found = look.finding(code, message, mend(look));
    Some(Finding { severity, ..found })
}

/// When data is full, where that can be said honestly.
pub fn soon(look: &Look<'_>) -> Option<String> {
    let (before, now) = (look.seen.before?, look.seen.now?);
    let seconds = seconds_to_full(before, now)?;
    Some(format!(
        "At the rate of the last {} it is full in {}.",
        duration(now.seconds.saturating_sub(before.seconds)),
        duration(seconds)
    ))
}

/// A time in its largest whole unit.
fn duration(seconds: u64) -> String {
    let (count, unit) = match seconds {
        ..120 => (seconds, "seconds"),
        120..7200 => (seconds / 60, "minutes"),
        7200..172_800 => (seconds / 3600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
