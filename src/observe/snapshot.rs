//! The metadata snapshot of a live pool, reserved for a while to look at its metadata. One that is held outlives its
//! holder and a reboot, and the kernel does not say whose it is: so it stands in /var/lib/dmtool before it is reserved,
//! and the next run releases what a killed one left. One that is not ours is never released.

use super::metadata::{self, Patience, Verdict};
use super::pools::{Below, Live};
use super::thin::parse_pool_status;
use super::{Looked, Unseen, looked, taken};
use crate::names::{LvmName, layer_over, quoted};
use crate::sys::dm::{Ask, Control};
use crate::sys::file;
use crate::sys::lock::{self, Lock};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub const FOLDER: &str = "/var/lib/dmtool/snapshots";
const FORMAT: u64 = 1;

/// What is written before one is reserved, and again when its block is known.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    dmtool: u64,
    dm_name: String,
    /// Of the pool's device; empty for a bare pool of Docker's.
    uuid: String,
    transaction_id: u64,
    /// Absent until it is reserved.
    block: Option<u64>,
    /// The boot in which it was written, or in which all metadata was found whole since, the pool being down.
    #[serde(default)]
    boot: String,
}

/// A metadata snapshot that is ours; released when this goes.
pub struct Snapshot {
    dm_name: String,
    block: Option<u64>,
    _lock: Lock,
}

impl Snapshot {
    /// Reserves one.
    ///
    /// # Errors
    /// Somebody else holds one, or the pool takes no such message: it is read-only, has failed, or is suspended.
    pub fn reserve(live: &Live, patience: Duration) -> Looked<Snapshot> {
        let name = &live.dm_name;
        if live.suspended {
            return Err(Unseen(format!("{name} is suspended, so that no metadata snapshot of it can be made")));
        }
        // It is committed with what was written before, which waits, and cannot be killed, where that stands still.
        if let Some(still) = [&live.data, &live.metadata].into_iter().flatten().find_map(Below::suspended) {
            let hint = quoted(&still);
            return Err(Unseen(format!(
                "{still}, which carries {name}, is suspended, and a metadata snapshot would wait for it (to let it run: \
                 dmsetup resume {hint})"
            )));
        }
        let lock = lock(name, patience)?;
        release_left(name)?;
        let control = looked(Control::open())?;
        let before = state(&control, name)?;
        if let Some(block) = before.block {
            return Err(Unseen(format!(
                "somebody else holds a metadata snapshot of {name} (block {block}), and there can be only one"
            )));
        }
        if let Err(why) = note(&before) {
            // It may be there all the same, where only its folder could not be flushed.
            looked(file::remove(&path(name)))?;
            return Err(why);
        }
        if let Err(why) = control.message(name, "reserve_metadata_snap") {
            // Nothing is ours, where somebody was faster or the pool takes no such message.
            if state(&control, name)?.block.is_none() || format!("{why:#}").contains("EBUSY") {
                looked(file::remove(&path(name)))?;
            } else {
                // It was reserved all the same: released as this goes.
                drop(Snapshot { dm_name: name.clone(), block: None, _lock: lock });
            }
            return Err(Unseen(format!(
                "{why:#} (no metadata snapshot can be made of a pool that is read-only or has failed)"
            )));
        }
        let mut held = Snapshot { dm_name: name.clone(), block: None, _lock: lock };
        let now = state(&control, name)?;
        note(&now)?;
        held.block = now.block;
        Ok(held)
    }

    /// The block of the metadata that it begins with.
    ///
    /// # Errors
    /// It was gone before it could be looked at.
    pub fn block(&self) -> Looked<u64> {
        self.block.ok_or_else(|| Unseen(format!("the metadata snapshot of {} is gone", self.dm_name)))
    }

    /// Sees that it was there all the time: the kernel hands its blocks out again as soon as somebody releases it, and
    /// what was read then is nothing.
    ///
    /// # Errors
    /// It is gone, or could not be looked at.
    pub fn was_kept(&self) -> Looked<()> {
        let now = state(&looked(Control::open())?, &self.dm_name)?;
        if now.block.is_some() && now.block == self.block {
            return Ok(());
        }
        Err(Unseen(format!("somebody released the metadata snapshot of {} while it was read", self.dm_name)))
    }
}

/// Whose a metadata snapshot is that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// A dmtool that runs.
    Dmtool,
    /// A dmtool that was killed: the next look at the metadata releases it.
    Killed,
    Other,
}

/// Whose the snapshot is that a pool holds.
///
/// # Errors
/// Our note of it, or the pool, cannot be looked at.
pub fn holder(dm_name: &str) -> Looked<Holder> {
    let Some(left) = noted(dm_name)? else { return Ok(Holder::Other) };
    let now = state(&looked(Control::open())?, dm_name)?;
    if !left.is_of(&now) && !left.is_doubtful(&now)? {
        return Ok(Holder::Other);
    }
    let at_work = looked(lock::take_at(&lock_path(dm_name), Duration::ZERO, "metadata"))?.is_err();
    Ok(if at_work { Holder::Dmtool } else { Holder::Killed })
}

/// Has thin_check look at the maps of a pool that is up.
///
/// # Errors
/// No snapshot could be had, or thin_check could not look.
pub fn check(live: &Live, lock_limit: Duration, patience: Patience<'_>) -> Looked<Verdict> {
    let snapshot = Snapshot::reserve(live, lock_limit)?;
    let verdict = metadata::check(&live.metadata_node()?, true, patience);
    snapshot.was_kept()?;
    verdict
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(why) = release_left(&self.dm_name) {
            let kept = format!(
                "the metadata snapshot of {} could not be released ({why}): the next look at its metadata does",
                self.dm_name
            );
            UNRELEASED.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
    }
}

static UNRELEASED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What this run reserved and could not release, a sentence each, told once.
pub fn unreleased() -> Vec<String> {
    std::mem::take(&mut UNRELEASED.lock().unwrap_or_else(PoisonError::into_inner))
}

fn release_left(dm_name: &str) -> Looked<()> {
    let Some(left) = noted(dm_name)? else { return Ok(()) };
    let control = looked(Control::open())?;
    let now = state(&control, dm_name)?;
    if left.is_doubtful(&now)? {
        let name = layer_over(dm_name).unwrap_or(dm_name);
        return Err(Unseen(format!(
            "a metadata snapshot of {name} was being reserved when the host went down, and to release it would empty the \
             pool if it was not written in full: that thin_check sees while the pool is down (dmtool deactivate {name}, \
             dmtool metadata check {name})"
        )));
    }
    if left.is_of(&now) {
        looked(control.message(dm_name, "release_metadata_snap"))?;
    }
    looked(file::remove(&path(dm_name)))
}

impl Note {
    /// Whether it is of the snapshot that the pool holds now: not of another pool of that name, nor of one that somebody
    /// reserved after ours went. Killed right at the reservation, a run knows no block: then the pool must not have gone on.
    fn is_of(&self, now: &Note) -> bool {
        let same = match self.block {
            Some(_) => self.block == now.block,
            None => self.transaction_id == now.transaction_id,
        };
        now.block.is_some() && now.uuid == self.uuid && same
    }
}

impl Note {
    /// Whether the kernel may not count what is held. That a snapshot is held is written before that is
    /// (dm-thin-metadata.c, `__reserve_metadata_snap` and the commit after it). After a power cut in between, to release it
    /// gives up the pool's own maps (`__release_metadata_snap`). It counts where the message came back and the block was
    /// noted, where no power cut came since, and where all metadata was found whole since. LVM is no witness: it activates a
    /// pool unchecked where it finds no thin_check (seen).
    fn is_doubtful(&self, now: &Note) -> Looked<bool> {
        Ok(now.block.is_some() && now.uuid == self.uuid && self.block.is_none() && self.boot != taken::boot()?)
    }
}

/// Notes that thin_check found all metadata of this pool whole while it was down.
///
/// # Errors
/// What is noted of a snapshot of it cannot be read or written.
pub fn found_whole(pool: &str) -> Looked<()> {
    let dm_name = LvmName::parse(pool).map_or_else(|_| pool.to_owned(), |name| name.dm_name());
    for name in [format!("{dm_name}-tpool"), dm_name] {
        if let Some(left) = noted(&name)?.filter(|left| left.block.is_none()) {
            note(&Note { boot: taken::boot()?, ..left })?;
        }
    }
    Ok(())
}

fn noted(dm_name: &str) -> Looked<Option<Note>> {
    let path = path(dm_name);
    let Some(text) = looked(file::read(&path))? else { return Ok(None) };
    let note = serde_json::from_str(&text);
    note.map(Some).map_err(|why| Unseen(format!("{} says of no metadata snapshot: {why}", path.display())))
}

fn state(control: &Control, dm_name: &str) -> Looked<Note> {
    let device = looked(control.look(dm_name, Ask::Status))?;
    let words = device.targets.first().map(|target| target.params.as_str()).unwrap_or_default();
    let figures = parse_pool_status(words)?.figures.ok_or_else(|| Unseen(format!("{dm_name} has failed")))?;
    Ok(Note {
        dmtool: FORMAT,
        dm_name: dm_name.to_owned(),
        uuid: device.uuid,
        transaction_id: figures.transaction_id,
        block: figures.held_root,
        boot: taken::boot()?,
    })
}

fn note(note: &Note) -> Looked<()> {
    let text = serde_json::to_string_pretty(note).map_err(|why| Unseen(why.to_string()))? + "\n";
    looked(file::replace_private(&path(&note.dm_name), &text))
}

/// The kernel allows no slash in a name, and a leading dot is none of ours.
fn path(dm_name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("snapshot-{dm_name}.json"))
}

fn lock_path(dm_name: &str) -> PathBuf {
    PathBuf::from(format!("/run/dmtool-snapshot-{dm_name}.lock"))
}

fn lock(dm_name: &str, patience: Duration) -> Looked<Lock> {
    match looked(lock::take_at(&lock_path(dm_name), patience, "metadata"))? {
        Ok(lock) => Ok(lock),
        Err(lock::Held(holder)) => Err(Unseen(format!("{holder} reads the metadata of {dm_name}"))),
    }
}
