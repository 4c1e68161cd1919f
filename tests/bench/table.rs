//! The figures: each row is one thing done by dmtool and by others, in turns, and the table of all is what README shows.

use std::process::{Command, Stdio};
use std::time::Instant;

/// What stands for the same in one of the columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// What the documentation of Docker and LVM has an operator do.
    Documented,
    /// The fewest commands of lvm2, dmsetup, losetup and the thin tools that come to the same.
    ByHand,
    /// What Docker does by itself.
    Docker,
}

/// Somebody else's way.
pub struct Other {
    pub column: Column,
    /// What it is, as the table shows it.
    pub what: &'static str,
    pub seconds: f64,
    /// What the ratio may be at most.
    pub limit: f64,
}

/// One thing that is done, and how long it takes.
pub struct Row {
    pub what: String,
    /// In seconds.
    pub ours: f64,
    pub others: Vec<Other>,
}

/// No bound.
pub const ANY: f64 = f64::INFINITY;

/// Another way as it is measured: its column, its name, its command, and its bound.
pub type Way<'a> = (Column, &'static str, &'a str, f64);

/// Runs all ways in turns, and takes the median of each. `ready` makes the state that each run starts from.
pub fn compare(what: &str, runs: usize, ours: &str, ways: &[Way<'_>], mut ready: impl FnMut()) -> Row {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); ways.len() + 1];
    for _ in 0..runs {
        for (at, command) in std::iter::once(ours).chain(ways.iter().map(|way| way.2)).enumerate() {
            ready();
            times[at].push(time(command));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let others = ways.iter().zip(&medians[1..]).map(|((column, what, _, limit), seconds)| Other {
        column: *column,
        what,
        seconds: *seconds,
        limit: *limit,
    });
    told(Row { what: what.to_owned(), ours: medians[0], others: others.collect() })
}

/// Says a row as soon as it is there, since the table takes half an hour.
pub fn told(row: Row) -> Row {
    for Other { what, seconds, limit, .. } in &row.others {
        let ratio = row.ours / seconds;
        let bound = if limit.is_finite() { format!(" (at most {limit:.2})") } else { String::new() };
        let over = if ratio > *limit { "   OVER" } else { "" };
        let (ours, theirs) = (row.ours * 1e3, seconds * 1e3);
        println!("{:<44} {ours:>8.1} ms / {theirs:>8.1} ms = {ratio:.2}{bound}, {what}{over}", row.what);
    }
    row
}

/// Prints the table of README; whether all bounds are held.
pub fn print(nothing: f64, rows: &[Row]) -> bool {
    println!("\n| | dmtool | documented procedure | by hand | Docker itself |\n| --- | --- | --- | --- | --- |");
    for row in rows {
        let cell = |column: Column| {
            let of = |other: &Other| format!("{:.2} ({})", row.ours / other.seconds, other.what);
            row.others.iter().filter(|other| other.column == column).map(of).collect::<Vec<_>>().join(", ")
        };
        let cells = [Column::Documented, Column::ByHand, Column::Docker].map(cell).join(" | ");
        println!("| {} | {:.0} ms | {cells} |", row.what, row.ours * 1e3);
    }
    println!("| a process that does nothing | | | {:.0} ms (`/bin/true`) | |", nothing * 1e3);
    rows.iter().all(|row| row.others.iter().all(|other| row.ours / other.seconds <= other.limit))
}

/// Wall time of one command in seconds; a failure ends the benchmark.
pub fn time(line: &str) -> f64 {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().expect("starting a command");
    let took = start.elapsed().as_secs_f64();
    assert!(status.success(), "{line}: {status}");
    took
}

pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A script of several commands, as an operator would keep it.
pub fn script(name: &str, text: &str) -> String {
    let path = format!("/run/{name}");
    std::fs::write(&path, format!("#!/bin/sh\nset -e\n{text}\n")).expect("a script");
    crate::harness::sh(&format!("chmod +x {path}"));
    path
}
