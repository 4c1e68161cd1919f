//! What changes the way of discards without LVM.

use super::swap::swap;
use crate::plan::step::Discards;
use anyhow::Result;

pub fn run(step: &Discards) -> Result<()> {
    match step {
        Discards::Swap { dm_name, length, from, to } => swap(dm_name, (*length, from), (*length, to)),
        // LVM's command.
        Discards::Lvm { .. } => Ok(()),
    }
}
