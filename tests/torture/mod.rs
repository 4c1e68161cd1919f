//! Being cut off, on purpose: what dmtool leaves wherever it is killed, the kernel crashes or the power goes is what the
//! same command ends well, and nobody's bytes are lost by it.
//!
//! The matrix comes from the commands themselves: one undisturbed run of a case under strace tells each call of it that
//! changes something, and in which step of its plan; each of these calls is a place to be cut off at.
#![allow(dead_code)]

pub mod cases;
pub mod crash;
pub mod dice;
pub mod disk;
pub mod ground;
pub mod kill;
pub mod power;
pub mod race;
pub mod state;
pub mod trace;
pub mod writer;

pub use dice::Dice;
use std::fmt;

/// What can be tried.
pub const KINDS: [&str; 8] =
    ["kills", "crashes", "power cuts", "faults", "looks that failed", "faults of the disk", "races", "inputs"];

/// What was tried, and what went wrong.
#[derive(Debug, Default)]
pub struct Tally {
    /// By kind: see [`KINDS`].
    pub tried: std::collections::BTreeMap<String, u64>,
    pub wrong: Vec<String>,
}

impl Tally {
    /// One that says of each kind how often it was tried, also where that is never.
    pub fn of_all_kinds() -> Tally {
        Tally { tried: KINDS.iter().map(|kind| ((*kind).to_owned(), 0)).collect(), ..Tally::default() }
    }

    pub fn tried(&mut self, what: &str) {
        self.tried_so_often(what, 1);
    }

    pub fn tried_so_often(&mut self, what: &str, count: u64) {
        *self.tried.entry(what.to_owned()).or_default() += count;
    }

    pub fn note(&mut self, ended: Result<(), String>) {
        self.wrong.extend(ended.err());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<String> = self.tried.iter().map(|(what, count)| format!("{count} {what}")).collect();
        write!(f, "{}; {} went wrong", tried.join(", "), self.wrong.len())?;
        self.wrong.iter().try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}
