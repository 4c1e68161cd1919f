//! The commands that the steps of a repair stand for.

use super::Step;
use crate::names::quoted;
use crate::observe::repair::{Source, Stage};

impl Step {
    /// As [`Step::command`], of the steps of a repair that are no commands of LVM's.
    pub(super) fn of_repair(&self) -> Option<String> {
        Some(match self {
            Step::Examine { device, .. } => format!("thin_check {}", quoted(device)),
            Step::BeginRepair { repair } => format!("write {}", repair.path().display()),
            Step::BackUpMetadata { repair } => {
                format!("dd if={} of={} bs=1M conv=sparse,fsync", repair.device(), quoted(&repair.old))
            }
            Step::BuildMetadata { repair } => {
                let new = quoted(&repair.new);
                let build = match &repair.source {
                    Source::Metadata { .. } => format!("thin_repair -i {} -o {new}", quoted(&repair.old)),
                    Source::Dump { path, .. } => format!("thin_restore -i {} -o {new}", quoted(path)),
                };
                format!("truncate --size {} {new} && {build} && thin_check {new}", repair.size.0)
            }
            Step::FillVolume { volume, from } => {
                format!("dd if={} of=/dev/{volume} bs=1M conv=fsync", quoted(from))
            }
            Step::CompareMetadata { repair, with } => format!("cmp {} {}", quoted(with), repair.device()),
            Step::AdoptMetadata { repair } => {
                format!("dd if={} of={} bs=1M conv=sparse,fsync", repair.device(), quoted(&repair.new))
            }
            Step::WriteMetadata { place, from, .. } => {
                format!("dd if={} of={} bs=1M conv=notrunc,fsync", quoted(from), quoted(place.path()))
            }
            Step::NoteRepair { repair, stage } => {
                let what = match stage {
                    Stage::Undoing => "the old metadata is being put back",
                    Stage::Swapping => "the new metadata is being put in place",
                    Stage::Begun | Stage::BackedUp | Stage::Built | Stage::Swapped => "the new metadata is in place",
                };
                format!("write {} ({what})", repair.path().display())
            }
            Step::EndRepair { repair, keeps_old } => {
                let old = if *keeps_old { String::new() } else { format!(" {}", quoted(&repair.old)) };
                format!("rm{old} {} {}", quoted(&repair.new), repair.path().display())
            }
            _ => return None,
        })
    }
}
