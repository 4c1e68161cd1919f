//! Pools as people read them: a line each, or a page of one.

use super::json::mode_word;
use super::table::{self, Column};
use crate::observe::Looked;
use crate::observe::pools::{Kind, Live, Pool};
use crate::observe::profile::NEVER;
use crate::observe::stack::Floor;
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
    let figures = pool.figures();
    let size = live
        .map(|live| live.length.bytes())
        .or(pool.lvm.as_ref().map(|lvm| Bytes(lvm.row.lv_size)))
        .or(pool.recorded().map(|record| record.table.length.bytes()));
    vec![
        pool.name.clone(),
        pool.kind.word().to_owned(),
        state(pool),
        size.map_or_else(absent, |size| size.to_string().replace(' ', "")),
        figures.map_or_else(absent, |figures| format!("{:.1}%", percent(figures.data_used.0, figures.data_total.0))),
        figures.map_or_else(absent, |figures| {
            format!("{:.1}%", percent(figures.metadata_used.0, figures.metadata_total.0))
        }),
        live.and_then(|live| live.volumes.as_ref().ok()).map_or_else(absent, ToString::to_string),
    ]
}

/// One word for the state, the gravest first.
pub fn state(pool: &Pool) -> String {
    if pool.broken.is_some() {
        return "error".to_owned();
    }
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

/// What stands under a pool, and what stands on it.
pub type Stack = (Looked<Floor>, Looked<Vec<String>>);

/// How many volumes a page names.
const NAMED: usize = 8;

/// The page of one pool.
pub fn page(pool: &Pool, stack: Option<&Stack>) -> String {
    let mut lines = Lines::default();
    lines.put("pool", &pool.name);
    lines.put("kind", kind_sentence(pool.kind));
    lines.put("state", &state_sentence(pool));
    if let Some(live) = &pool.live {
        live_lines(live, &mut lines);
    } else if let Some(lvm) = &pool.lvm {
        lines.put("data", &format!("{}, chunks of {}", Bytes(lvm.row.lv_size), Bytes(lvm.row.chunk_size)));
        lines.put("metadata", &lvm.metadata_size.to_string());
    } else if let Some(record) = pool.recorded() {
        lines.put("data", &format!("{}, chunks of {}", record.table.length.bytes(), record.chunk()));
        lines.put("metadata", &record.metadata.size().to_string());
        lines.put("volumes", &format!("{} in the register", record.volumes.len()));
        lines.put("data on", record.data.path());
        lines.put("metadata on", record.metadata.path());
    }
    if let Some(lvm) = &pool.lvm {
        match &lvm.autoextend {
            Ok(settings) if settings.threshold >= NEVER => lines.put("autoextend", "off"),
            Ok(settings) => {
                let profile = lvm.profile().map_or("no profile".to_owned(), |name| format!("profile {name}"));
                let monitored = match lvm.is_watched() {
                    Some(true) => "monitored",
                    Some(false) => "NOT monitored",
                    None => "dmeventd does not answer",
                };
                lines.put(
                    "autoextend",
                    &format!("at {}% by {}%, {profile}, {monitored}", settings.threshold, settings.percent),
                );
                let free = Bytes(lvm.row.vg_free_count.saturating_mul(lvm.row.vg_extent_size));
                let room = match lvm.extensions_left(pool.figures(), *settings) {
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
    if let Some(stack) = stack {
        stack_lines(stack, &mut lines);
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
    let figures = live.figures();
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
}

/// The tree of devices under a pool, as lsblk draws it, and the volumes on it by name.
fn stack_lines((under, above): &Stack, lines: &mut Lines) {
    match above {
        Ok(names) if names.is_empty() => {}
        Ok(names) => {
            let more = names.len().saturating_sub(NAMED);
            let mut text = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("\n");
            if more > 0 {
                let _ = write!(text, "\nand {more} more");
            }
            lines.put("carries", &text);
        }
        Err(why) => lines.put("carries", &format!("could not look: {why}")),
    }
    match under {
        Ok(floor) => {
            let mut drawn = String::new();
            draw(floor, "", "", &mut drawn);
            lines.put("stands on", drawn.trim_end());
        }
        Err(why) => lines.put("stands on", &format!("could not look: {why}")),
    }
}

fn draw(floor: &Floor, first: &str, rest: &str, drawn: &mut String) {
    let file = floor.file.as_ref().map_or(String::new(), |file| format!(" ({file})"));
    let _ = writeln!(drawn, "{first}{}{file}", floor.name);
    for (at, below) in floor.on.iter().enumerate() {
        let last = at + 1 == floor.on.len();
        let (branch, indent) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        draw(below, &format!("{rest}{branch}"), &format!("{rest}{indent}"), drawn);
    }
}

/// `name: value` lines with the values in one column.
#[derive(Default)]
pub struct Lines(String);

impl Lines {
    /// Further lines of the value stand under its first.
    pub fn put(&mut self, name: &str, value: &str) {
        let value = value.replace('\n', &format!("\n{:14}", ""));
        let _ = writeln!(self.0, "{:>12}  {value}", format!("{name}:"));
    }

    pub fn text(&self) -> String {
        self.0.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_drawn_as_lsblk_does() {
        let floor = |name: &str, on: Vec<Floor>| Floor { name: name.to_owned(), file: None, on };
        let disk = || vec![floor("/dev/sdb", Vec::new())];
        let under = floor("pool", vec![floor("pool_tmeta", disk()), floor("pool_tdata", disk())]);
        let names: Vec<String> = (0..10).map(|at| format!("v{at}")).collect();
        let mut lines = Lines::default();
        stack_lines(&(Ok(under), Ok(names)), &mut lines);
        let drawn = lines.0;
        let tree = "  stands on:  pool\n              ├─pool_tmeta\n              │ └─/dev/sdb\n              └─pool_tdata\n                └─/dev/sdb\n";
        assert!(drawn.ends_with(tree), "{drawn}");
        assert!(drawn.starts_with("    carries:  v0\n              v1\n"), "{drawn}");
        assert!(drawn.contains("v7\n              and 2 more\n"), "{drawn}");
    }
}
