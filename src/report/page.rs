//! Pools as people read them: a line each, or a page of one.

use super::json::mode_word;
use super::table::{self, Column};
use crate::observe::pools::{Kind, Live, Pool};
use crate::observe::profile::NEVER;
use crate::observe::thin::Mode;
use crate::units::{Bytes, percent};
use std::fmt::Write;

const COLUMNS: [Column; 7] = [
    Column { heading: "POOL", right: false },
    Column { heading: "KIND", right: false },
    Column { heading: "STATE", right: false },
    Column { heading: "SIZE", right: true },
    Column { heading: "DATA", right: true },
    Column { heading: "META", right: true },
    Column { heading: "VOLUMES", right: true },
];

/// All pools, a line each.
pub fn list(pools: &[Pool]) -> String {
    let rows: Vec<Vec<String>> = pools.iter().map(row).collect();
    table::lines(&COLUMNS, &rows)
}

fn row(pool: &Pool) -> Vec<String> {
    let absent = || "-".to_owned();
    let live = pool.live.as_ref();
    let figures = live.and_then(|live| live.status.as_ref().ok()?.figures.as_ref());
    let size = live.map(|live| live.length.bytes()).or(pool.lvm.as_ref().map(|lvm| Bytes(lvm.row.lv_size)));
    vec![
        pool.name.clone(),
        kind_word(pool.kind).to_owned(),
        state(pool),
        size.map_or_else(absent, |size| size.to_string().replace(' ', "")),
        figures.map_or_else(absent, |figures| format!("{:.1}%", percent(figures.data_used.0, figures.data_total.0))),
        figures.map_or_else(absent, |figures| {
            format!("{:.1}%", percent(figures.metadata_used.0, figures.metadata_total.0))
        }),
        live.and_then(|live| live.volumes.as_ref().ok()).map_or_else(absent, ToString::to_string),
    ]
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Lvm => "lvm",
        Kind::Loop => "loop",
        Kind::Raw => "raw",
    }
}

/// One word for the state, the gravest first.
pub fn state(pool: &Pool) -> String {
    let Some(live) = &pool.live else { return "inactive".to_owned() };
    if live.suspended {
        return "suspended".to_owned();
    }
    let Ok(status) = &live.status else { return "unknown".to_owned() };
    match (status.mode, &status.figures) {
        (Mode::Fail, _) => "failed".to_owned(),
        (_, Some(figures)) if figures.needs_check => "needs-check".to_owned(),
        (Mode::OutOfDataSpace, _) => "full".to_owned(),
        (Mode::Ro, _) => "read-only".to_owned(),
        (Mode::Rw, _) => "ok".to_owned(),
    }
}

/// The page of one pool.
pub fn page(pool: &Pool) -> String {
    let mut lines = Lines::default();
    lines.put("pool", &pool.name);
    lines.put("kind", kind_sentence(pool.kind));
    lines.put("state", &state_sentence(pool));
    if let Some(live) = &pool.live {
        live_lines(live, &mut lines);
    } else if let Some(lvm) = &pool.lvm {
        lines.put("data", &format!("{}, chunks of {}", Bytes(lvm.row.lv_size), Bytes(lvm.row.chunk_size)));
        lines.put("metadata", &lvm.metadata_size.to_string());
    }
    if let Some(lvm) = &pool.lvm {
        match &lvm.autoextend {
            Ok(settings) if settings.threshold >= NEVER => lines.put("autoextend", "off"),
            Ok(settings) => {
                let profile = lvm.profile().map_or("no profile".to_owned(), |name| format!("profile {name}"));
                let monitored = if lvm.monitored() { "monitored" } else { "NOT monitored" };
                lines.put(
                    "autoextend",
                    &format!("at {}% by {}%, {profile}, {monitored}", settings.threshold, settings.percent),
                );
                let free = Bytes(lvm.row.vg_free_count.saturating_mul(lvm.row.vg_extent_size));
                let room = match lvm.extensions_left(*settings) {
                    0 => format!("no extension: {free} free in {}", lvm.row.vg_name),
                    1 => format!("one extension: {free} free in {}", lvm.row.vg_name),
                    count => format!("{count} extensions: {free} free in {}", lvm.row.vg_name),
                };
                lines.put("room for", &room);
            }
            Err(why) => lines.put("autoextend", &format!("could not look: {why}")),
        }
        lines.put("data on", &lvm.data_devices.join(", "));
        lines.put("metadata on", &lvm.metadata_devices.join(", "));
    }
    lines.0.trim_end().to_owned()
}

fn kind_sentence(kind: Kind) -> &'static str {
    match kind {
        Kind::Lvm => "lvm, a thin-pool volume of LVM",
        Kind::Loop => "loop, two files on loop devices: for testing",
        Kind::Raw => "raw, a bare device-mapper table",
    }
}

fn state_sentence(pool: &Pool) -> String {
    let word = state(pool);
    let mode = pool.mode().map_or(String::new(), |mode| format!(" ({})", mode_word(mode)));
    let why = pool.live.as_ref().and_then(|live| live.status.as_ref().err());
    why.map_or(format!("{word}{mode}"), |why| format!("{word}: {why}"))
}

fn live_lines(live: &Live, lines: &mut Lines) {
    let figures = live.status.as_ref().ok().and_then(|status| status.figures.as_ref());
    match (&live.table, figures) {
        (Ok(table), Some(figures)) => {
            let chunk = table.chunk_bytes();
            let (used, total) = (figures.data_used.bytes(chunk), figures.data_total.bytes(chunk));
            let share = percent(used.0, total.0);
            lines.put("data", &format!("{used} of {total} used ({share:.1}%), chunks of {chunk}"));
            let (used, total) = (figures.metadata_used.bytes(), figures.metadata_total.bytes());
            lines.put("metadata", &format!("{used} of {total} used ({:.1}%)", percent(used.0, total.0)));
        }
        (Err(why), _) => lines.put("data", &format!("could not look: {why}")),
        (Ok(table), None) => {
            lines.put("data", &format!("{}, chunks of {}", live.length.bytes(), table.chunk_bytes()));
        }
    }
    match &live.volumes {
        Ok(count) => lines.put("volumes", &format!("{count} active")),
        Err(why) => lines.put("volumes", &format!("could not look: {why}")),
    }
    if let Ok(table) = &live.table {
        let full = if table.has("error_if_no_space") {
            "writes fail at once"
        } else {
            "writes wait for space for 60 s, then fail"
        };
        lines.put("when full", full);
        lines.put("new chunks", if table.has("skip_block_zeroing") { "are not zeroed" } else { "are zeroed" });
    }
    if let Some(figures) = figures {
        lines.put("transaction", &figures.transaction_id.to_string());
    }
    lines.put("device", &format!("/dev/mapper/{} ({}:{})", live.dm_name, live.major, live.minor));
    for (what, below) in [("data under", &live.data), ("meta under", &live.metadata)] {
        match below {
            Ok(below) => {
                let file = below.file.as_ref().map_or(String::new(), |file| format!(" on {file}"));
                lines.put(what, &format!("/dev/{}{file}", below.device));
            }
            Err(why) => lines.put(what, &format!("could not look: {why}")),
        }
    }
}

/// `name: value` lines with the values in one column.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{:>12}  {value}", format!("{name}:"));
    }
}
