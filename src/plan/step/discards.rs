//! The steps about discards.

use crate::names::{LvmName, quoted};
use crate::observe::thin::{Discard, PoolTable};
use crate::units::Sectors;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discards {
    /// Has LVM write down what a pool does with discards, and load a table that says so where the pool is up.
    Lvm { pool: LvmName, asked: Discard },
    /// Swaps another table of the same length into a bare pool that is up.
    Swap { dm_name: String, length: Sectors, from: Box<PoolTable>, to: Box<PoolTable> },
    /// Has the file system with this number, mounted there, hand on what is free in it; the device-mapper names of its
    /// volume and of the pool.
    Trim { place: String, number: (u32, u32), volume: String, pool: String },
}

impl Discards {
    pub fn word(&self) -> &'static str {
        match self {
            Discards::Lvm { .. } => "set-discards",
            Discards::Swap { .. } => "swap-table",
            Discards::Trim { .. } => "trim",
        }
    }

    /// The words of the LVM command that it is, where it is one.
    pub fn lvm_words(&self) -> Option<Vec<String>> {
        let Discards::Lvm { pool, asked } = self else { return None };
        let words = ["lvchange", "--discards", asked.by_lvm()].map(str::to_owned);
        Some(words.into_iter().chain([pool.to_string()]).collect())
    }

    /// The command it stands for.
    pub fn command(&self) -> String {
        match self {
            Discards::Lvm { .. } => self.lvm_words().unwrap_or_default().join(" "),
            Discards::Swap { dm_name, length, to, .. } => to.swap_command(dm_name, *length),
            Discards::Trim { place, .. } => format!("sync --file-system {0} && fstrim {0}", quoted(place)),
        }
    }
}
