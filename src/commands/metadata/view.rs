//! A pool's metadata, to be read: through a metadata snapshot where the pool is up, where it rests otherwise.

use crate::commands::Globals;
use crate::commands::activation::look_with_dockers;
use crate::exit::{DONE, Kind, Problem};
use crate::names::means;
use crate::observe::lvm::Lvm;
use crate::observe::metadata::{self, Open};
use crate::observe::pools::{self, Pool};
use crate::observe::snapshot::Snapshot;
use crate::observe::{Host, Looked, Unseen, looked, register};
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::report::json;
use crate::sys::blocks::Blocks;
use crate::sys::signal::Stop;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What these verbs have in common.
pub struct Work {
    pub pool: Pool,
    pub view: View,
    pub stop: Stop,
}

pub enum View {
    /// The snapshot of a pool that is up, on this device.
    Live { device: PathBuf, snapshot: Snapshot },
    /// With its first block, which each commit writes.
    Down { open: Open, first: Box<[u8; metadata::BLOCK]> },
}

impl View {
    pub fn path(&self) -> &Path {
        match self {
            View::Live { device, .. } => device,
            View::Down { open, .. } => open.path(),
        }
    }

    /// Sees that what was read was there all the time.
    ///
    /// # Errors
    /// Somebody released the snapshot meanwhile, or brought the pool up and had it write.
    pub fn was_kept(&self) -> Looked<()> {
        match self {
            View::Live { snapshot, .. } => snapshot.was_kept(),
            View::Down { open, first } => {
                let same = *first_block(open)? == **first;
                same.then_some(()).ok_or_else(|| Unseen("somebody wrote to it while it was read".to_owned()))
            }
        }
    }

    /// The block that it begins with.
    ///
    /// # Errors
    /// The snapshot is gone.
    pub fn superblock(&self) -> Looked<u64> {
        match self {
            View::Live { snapshot, .. } => snapshot.block(),
            View::Down { .. } => Ok(0),
        }
    }

    pub fn is_snapshot(&self) -> bool {
        matches!(self, View::Live { .. })
    }
}

/// Opens the metadata of the pool with this name.
///
/// # Errors
/// Why it cannot be read.
pub fn open(verb: &'static str, name: &str, globals: &Globals) -> Result<Work, Problem> {
    let needs = Needs { thin_check: true, ..Needs::default() };
    preflight::check(verb, &crate::observe::host::abilities(), needs)?;
    let stop =
        Stop::listen().map_err(|why| Problem::from_error(Kind::Refused, "signals cannot be listened to", &why))?;
    let (pool, lvm) = the_pool(name, globals)?;
    let view = view(&pool, lvm.as_ref(), globals.lock_limit).map_err(|why| unseen(&pool.name, &why))?;
    Ok(Work { pool, view, stop })
}

fn the_pool(name: &str, globals: &Globals) -> Result<(Pool, Option<Lvm>), Problem> {
    let mut host = Host::new(globals.lock_limit);
    let (pool, lvm) = find(name, &mut host).map_err(|why| unseen(name, &why))?;
    let pool = pool.ok_or_else(|| {
        Problem::new(Kind::Refused, format!("there is no pool {name} on this host"))
            .hint("list the pools: dmtool status; see whether one is missing: dmtool check")
    })?;
    Ok((pool, lvm))
}

/// Says what a run would do, and reserves nothing for it.
///
/// # Errors
/// There is no such pool, or it could not be looked for.
pub fn would(verb: &'static str, name: &str, (what, to): (&str, &str), globals: &Globals) -> Result<u8, Problem> {
    let (pool, _) = the_pool(name, globals)?;
    let by = if pool.live.is_some() { "\nthrough a metadata snapshot, which is released afterwards" } else { "" };
    globals.voice.say(&format!("This would {what} the metadata of {}{to}{by}.", pool.name));
    if globals.voice.json {
        globals.voice.json(&json::metadata_planned(verb, &pool));
    }
    Ok(DONE)
}

/// That the metadata could not be looked at, which is not that it is damaged.
pub fn unseen(pool: &str, why: &Unseen) -> Problem {
    let mut problem = Problem::new(Kind::Refused, format!("could not look at the metadata of {pool}"));
    problem.causes.push(why.0.clone());
    problem.hint(format!("see how the pool is: dmtool check {pool}"))
}

/// The kernel knows pools that are up; LVM, which takes its time, and Docker's configuration are asked only for one that is
/// down and in no register.
fn find(name: &str, host: &mut Host) -> Looked<(Option<Pool>, Option<Lvm>)> {
    let is_it = |pool: &Pool| means(name, &pool.name, &pool.dm_names());
    let pools = pools::with_register(looked(host.active_pools())?, &register::read()?);
    let known = |pool: &&Pool| is_it(pool) && (pool.live.is_some() || pool.record.is_some());
    if let Some(pool) = pools.iter().find(known) {
        return Ok((Some(pool.clone()), None));
    }
    let facts = look_with_dockers(host, &Chosen::One(name.to_owned()));
    let found = facts.pools?.into_iter().find(is_it);
    match (found, facts.lvm, facts.unread) {
        (Some(found), lvm, _) if found.record.is_some() || found.live.is_some() => Ok((Some(found), lvm.ok())),
        (Some(found), lvm, _) => Ok((Some(found), Some(lvm?))),
        // Nobody may say that it is not there who could not look everywhere.
        (None, _, Some(why)) => Err(why),
        (None, lvm, None) => lvm.map(|lvm| (None, Some(lvm))),
    }
}

/// A view of the metadata of this pool.
///
/// # Errors
/// Why it cannot be read.
pub fn view(pool: &Pool, lvm: Option<&Lvm>, lock_limit: Duration) -> Looked<View> {
    if let Some(live) = &pool.live {
        let snapshot = Snapshot::reserve(live, lock_limit)?;
        return Ok(View::Live { device: live.metadata_node()?, snapshot });
    }
    if let Some(record) = &pool.record {
        let record = record.as_ref().map_err(Clone::clone)?;
        return metadata::of_place(&record.metadata).and_then(down);
    }
    let lvm = lvm.ok_or_else(|| Unseen(format!("{} is not LVM's", pool.name)))?;
    let side = pool.lvm.as_ref().ok_or_else(|| Unseen(format!("{} has no working table", pool.name)))?;
    // What another host may be writing is not read here.
    if !side.row.vg_shared.is_empty() {
        return Err(Unseen(format!("the volume group of {} is shared with other hosts", pool.name)));
    }
    metadata::of_lvm(lvm, &side.row.vg_name, &side.row.metadata_lv).and_then(down)
}

fn down(open: Open) -> Looked<View> {
    let first = first_block(&open)?;
    Ok(View::Down { open, first })
}

/// As it is on the disk: what the kernel writes there does not pass through the page cache.
fn first_block(open: &Open) -> Looked<Box<[u8; metadata::BLOCK]>> {
    let path = open.path();
    let block = Blocks::open_direct(path).or_else(|_| Blocks::open(path)).and_then(|blocks| blocks.read(0));
    looked(block).map(Box::new)
}

/// The problem of a verb that speaks for itself, in JSON too.
///
/// # Errors
/// The same one.
pub fn told<T>(verb: &'static str, globals: &Globals, result: Result<T, Problem>) -> Result<T, Problem> {
    if let Err(problem) = &result
        && globals.voice.json
    {
        globals.voice.json(&json::failure(Some(verb), problem));
    }
    result
}

/// Somebody asked for an end.
pub fn interrupted(verb: &str) -> Problem {
    Problem::new(Kind::Interrupted, format!("{verb} was interrupted, nothing was changed"))
}
