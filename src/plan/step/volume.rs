//! The steps of thin volumes: LVM's by its commands, bare ones by messages to the pool.

use crate::names::{DmName, LvName, LvmName, quoted};
use crate::observe::register::{Volume, path_of};
use crate::units::Bytes;

/// Carried by a volume of LVM's until its file system is made.
pub const UNFINISHED: &str = "dmtool.unfinished";

/// How many thin ids a command shows.
const SHOWN: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfVolume {
    /// Makes a thin volume in a pool of LVM's; `unfinished` while its file system is missing.
    Create {
        pool: LvmName,
        lv: LvName,
        size: Bytes,
        unfinished: bool,
    },
    /// Makes a snapshot of one, active, and so after each boot.
    Snapshot {
        origin: LvmName,
        lv: LvName,
    },
    /// Makes a file system on one that nobody was told of yet.
    MakeFileSystem {
        volume: LvmName,
        fs: &'static str,
    },
    /// Says that one is complete.
    Finish {
        volume: LvmName,
    },
    /// Brings one up, also where it is to be skipped.
    Activate {
        volume: LvmName,
    },
    /// Lets a bare volume run again that a snapshot was being made of.
    Resume {
        device: DmName,
    },
    /// The same with one of LVM's, where it stands still; its snapshot is no longer one that was cut off.
    LetRun {
        volume: LvmName,
    },
    /// Makes a snapshot in a bare pool, with the first number that is free from this one on, and its device; the origin
    /// stands still meanwhile, where it is up.
    SnapThin {
        pool: DmName,
        volume: Volume,
        origin: Option<DmName>,
    },
    /// Mounts a volume; the file system on it is looked at first.
    Mount {
        device: String,
        place: String,
        is_snapshot: bool,
        kind: Option<String>,
    },
    Unmount {
        place: String,
    },
    /// Hands the chunks of a volume on to what lies below its pool.
    Discard {
        device: String,
    },
    /// Removes a thin volume of LVM's.
    Remove {
        volume: LvmName,
        holds: String,
    },
    /// Takes a new volume out of a pool that LVM could not finish to tell it of; it may not be there.
    TakeBack {
        pool: String,
        thin_id: u64,
        /// The pool's transaction id when that was seen: one that has gone on has been told the rest meanwhile.
        transaction_id: u64,
    },
    /// Takes a volume out of LVM's books that its pool never got.
    Forget {
        volume: LvmName,
    },
    /// Removes a thin volume from a bare pool, and then from the register.
    Delete {
        pool: DmName,
        volume: Volume,
        holds: String,
    },
    /// Removes volumes from a pool, whoever's they are.
    Empty {
        pool: String,
        ids: Vec<u64>,
        holds: String,
    },
    /// Has a pool count its transactions from 0 again.
    ResetTransaction {
        pool: String,
    },
    /// Has LVM count the transactions of a pool that is down from 0 again.
    ResetLvm {
        pool: LvmName,
    },
    /// Removes a thin volume that nobody keeps in his books.
    DeleteOrphan {
        pool: String,
        thin_id: u64,
        /// The pool's transaction id before its volumes were looked at: the number may be another volume's since.
        transaction_id: u64,
        holds: String,
    },
}

impl OfVolume {
    pub fn word(&self) -> &'static str {
        match self {
            OfVolume::Create { .. } => "create-volume",
            OfVolume::Snapshot { .. } | OfVolume::SnapThin { .. } => "make-snapshot",
            OfVolume::MakeFileSystem { .. } => "make-file-system",
            OfVolume::Finish { .. } => "hand-out-volume",
            OfVolume::Activate { .. } => "activate",
            OfVolume::Resume { .. } | OfVolume::LetRun { .. } => "resume",
            OfVolume::Mount { .. } => "mount",
            OfVolume::Unmount { .. } => "unmount",
            OfVolume::Discard { .. } => "discard",
            OfVolume::Remove { .. } | OfVolume::Delete { .. } => "remove-volume",
            OfVolume::TakeBack { .. } => "take-back-volume",
            OfVolume::Forget { .. } => "forget-volume",
            OfVolume::Empty { .. } => "remove-volumes",
            OfVolume::ResetTransaction { .. } => "reset-transaction",
            OfVolume::ResetLvm { .. } => "reset-transaction-of-lvm",
            OfVolume::DeleteOrphan { .. } => "remove-orphan",
        }
    }

    /// The words of the LVM command that it is, where it is one.
    pub fn lvm_words(&self) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        match self {
            OfVolume::Create { pool, lv, size, unfinished } => {
                let size = format!("{}b", size.0);
                let mut line = words(&["lvcreate", "--type", "thin", "--name", lv.as_str(), "--virtualsize", &size])?;
                line.extend(unfinished.then(|| words(&["--addtag", UNFINISHED])).flatten().into_iter().flatten());
                line.extend(words(&["--thinpool", &pool.to_string()])?);
                Some(line)
            }
            OfVolume::Snapshot { origin, lv } => {
                let origin = origin.to_string();
                words(&["lvcreate", "--snapshot", "--setactivationskip", "n", "--name", lv.as_str(), &origin])
            }
            OfVolume::Finish { volume } => words(&["lvchange", "--deltag", UNFINISHED, &volume.to_string()]),
            OfVolume::Activate { volume } => {
                words(&["lvchange", "--activate", "y", "--ignoreactivationskip", &volume.to_string()])
            }
            OfVolume::Remove { volume, .. } | OfVolume::Forget { volume } => {
                words(&["lvremove", "--yes", &volume.to_string()])
            }
            _ => None,
        }
    }

    /// The command it stands for.
    pub fn command(&self) -> String {
        match self {
            OfVolume::MakeFileSystem { volume, fs } => format!("mkfs.{fs} -q /dev/{volume}"),
            OfVolume::Resume { device } => format!("dmsetup resume {device}"),
            OfVolume::LetRun { volume } => format!("lvchange --refresh {volume}"),
            OfVolume::SnapThin { pool, volume, origin } => {
                let Volume { device, thin_id, size, origin: of, .. } = volume;
                let message = format!("dmsetup message {pool} 0 'create_snap {thin_id} {}'", of.unwrap_or_default());
                let message = match origin {
                    Some(origin) => format!("dmsetup suspend {origin} && {message} && dmsetup resume {origin}"),
                    None => message,
                };
                let sectors = size.whole_sectors().0;
                format!("{message} && dmsetup create {device} --table '0 {sectors} thin /dev/mapper/{pool} {thin_id}'")
            }
            OfVolume::Mount { device, place, is_snapshot, kind } => match (is_snapshot, kind.as_deref()) {
                (true, Some("xfs")) => format!("mount -o nouuid {device} {}", quoted(place)),
                (true, None) => format!("mount {device} {} (with -o nouuid for xfs)", quoted(place)),
                _ => format!("mount {device} {}", quoted(place)),
            },
            OfVolume::Unmount { place } => format!("umount {}", quoted(place)),
            OfVolume::Discard { device } => format!("blkdiscard {}", quoted(device)),
            OfVolume::Delete { pool, volume, .. } => {
                let register = path_of(pool);
                format!("dmsetup message {pool} 0 'delete {}' && write {}", volume.thin_id, register.display())
            }
            OfVolume::Empty { pool, ids, .. } => {
                let mut words: Vec<String> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
                words.extend((ids.len() > SHOWN).then(|| format!("… ({} in all)", ids.len())));
                format!("for id in {}; do dmsetup message {pool} 0 \"delete $id\"; done", words.join(" "))
            }
            OfVolume::ResetTransaction { pool } => format!("dmsetup message {pool} 0 'set_transaction_id CURRENT 0'"),
            OfVolume::ResetLvm { pool } => format!(
                "vgcfgbackup --file FILE {0} && edit FILE (transaction_id = 0 for {1}) && vgcfgrestore --force --file FILE {0}",
                pool.vg, pool.lv
            ),
            OfVolume::TakeBack { pool, thin_id, .. } | OfVolume::DeleteOrphan { pool, thin_id, .. } => {
                format!("dmsetup message {pool} 0 'delete {thin_id}'")
            }
            _ => self.lvm_words().unwrap_or_default().join(" "),
        }
    }

    /// What is lost by it, for the question.
    pub fn destroys(&self) -> Option<String> {
        match self {
            OfVolume::Empty { holds, .. }
            | OfVolume::Remove { holds, .. }
            | OfVolume::Delete { holds, .. }
            | OfVolume::DeleteOrphan { holds, .. } => Some(holds.clone()),
            _ => None,
        }
    }
}
