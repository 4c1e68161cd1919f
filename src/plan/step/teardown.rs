//! The steps of a teardown.

use crate::names::{LvmName, VgName, quoted};
use crate::observe::register::Record;
use crate::observe::teardown::{Disk, Journal};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teardown {
    /// Writes down what is torn down, and on which disks it was.
    Begin {
        journal: Box<Journal>,
    },
    /// Removes volumes of LVM, a pool with all that is in it; `holds` says what is lost.
    RemoveVolumes {
        volumes: Vec<LvmName>,
        holds: String,
    },
    /// Removes a volume group that is empty by then.
    RemoveGroup {
        vg: VgName,
    },
    RemoveProfile {
        path: PathBuf,
    },
    /// Takes LVM's label off a disk, and what else its first and its last MiB hold.
    BlankDisk {
        disk: Disk,
    },
    /// Removes a file that a loop pool lay in.
    RemoveFile {
        path: String,
    },
    /// Takes the first and the last MiB off a device that a bare pool lay on.
    BlankEdges {
        path: String,
    },
    /// Takes a pool out of the register, the copy beside its files first, and their folder where it is empty.
    Forget {
        record: Box<Record>,
    },
    /// All of it is done.
    End {
        journal: Box<Journal>,
    },
}

impl Teardown {
    pub fn word(&self) -> &'static str {
        match self {
            Teardown::Begin { .. } => "begin-teardown",
            Teardown::RemoveVolumes { .. } => "remove-volumes",
            Teardown::RemoveGroup { .. } => "remove-volume-group",
            Teardown::RemoveProfile { .. } => "remove-profile",
            Teardown::BlankDisk { .. } => "blank-disk",
            Teardown::RemoveFile { .. } => "remove-file",
            Teardown::BlankEdges { .. } => "blank-device",
            Teardown::Forget { .. } => "remove-from-register",
            Teardown::End { .. } => "end-teardown",
        }
    }

    /// The words of the LVM command that it is, where it is one.
    pub fn lvm_words(&self) -> Option<Vec<String>> {
        match self {
            Teardown::RemoveVolumes { volumes, .. } => {
                let mut line = vec!["lvremove".to_owned(), "--yes".to_owned()];
                line.extend(volumes.iter().map(ToString::to_string));
                Some(line)
            }
            // Without --yes: where somebody has made a volume in it by now, LVM asks, and is answered no.
            Teardown::RemoveGroup { vg } => Some(vec!["vgremove".to_owned(), vg.to_string()]),
            _ => None,
        }
    }

    /// The command it stands for.
    pub fn command(&self) -> String {
        match self {
            Teardown::Begin { journal } => format!("write {}", journal.path().display()),
            Teardown::RemoveVolumes { .. } | Teardown::RemoveGroup { .. } => {
                self.lvm_words().unwrap_or_default().join(" ")
            }
            Teardown::RemoveProfile { path } => format!("rm {}", path.display()),
            Teardown::BlankDisk { disk: Disk { path, .. } } => {
                format!("pvremove {0} && zero the first and the last MiB of {0}", quoted(path))
            }
            Teardown::RemoveFile { path } => format!("rm {}", quoted(path)),
            Teardown::BlankEdges { path } => format!("zero the first and the last MiB of {}", quoted(path)),
            Teardown::Forget { record } => {
                let copy = record.copy().map_or(String::new(), |copy| format!(" {}", copy.display()));
                format!("rm{copy} {}", record.path().display())
            }
            Teardown::End { journal } => format!("rm {}", journal.path().display()),
        }
    }

    /// What is lost by it, for the question.
    pub fn destroys(&self) -> Option<String> {
        match self {
            Teardown::RemoveVolumes { holds, .. } => Some(holds.clone()),
            Teardown::BlankDisk { disk: Disk { path, .. } } | Teardown::BlankEdges { path } => {
                Some(format!("what is left on {path}"))
            }
            Teardown::RemoveFile { path } => Some(format!("the file {path}")),
            _ => None,
        }
    }
}
