//! A pool's metadata, to be read: through a metadata snapshot where the pool is up, where it rests otherwise.

use crate::commands::Globals;
use crate::exit::{Kind, Problem};
use crate::names::means;
use crate::observe::lvm::{self, Lvm};
use crate::observe::metadata::{self, Open};
use crate::observe::pools::{self, Pool};
use crate::observe::snapshot::Snapshot;
use crate::observe::{Host, Looked, Unseen, looked, register};
use crate::plan::preflight::{self, Needs};
use crate::report::json;
use crate::sys::signal::Stop;
use std::path::{Path, PathBuf};

/// What these verbs have in common.
pub struct Work {
    pub pool: Pool,
    pub view: View,
    pub stop: Stop,
}

pub enum View {
    /// The snapshot of a pool that is up, on this device.
    Live {
        device: PathBuf,
        _snapshot: Snapshot,
    },
    Down(Open),
}

impl View {
    pub fn path(&self) -> &Path {
        match self {
            View::Live { device, .. } => device,
            View::Down(open) => open.path(),
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
    let mut host = Host::new(globals.lock_limit);
    let (pool, lvm) = find(name, &mut host).map_err(|why| unseen(name, &why))?;
    let Some(pool) = pool else {
        let problem = Problem::new(Kind::Refused, format!("there is no pool {name} on this host"));
        return Err(problem.hint("list the pools: dmtool status"));
    };
    let view = view(&pool, lvm.as_ref(), globals).map_err(|why| unseen(&pool.name, &why))?;
    Ok(Work { pool, view, stop })
}

/// That the metadata could not be looked at, which is not that it is damaged.
pub fn unseen(pool: &str, why: &Unseen) -> Problem {
    let mut problem = Problem::new(Kind::Refused, format!("could not look at the metadata of {pool}"));
    problem.causes.push(why.0.clone());
    problem.hint(format!("see how the pool is: dmtool check {pool}"))
}

/// The kernel knows pools that are up; LVM, which takes its time, is asked only for one that is down and in no register.
fn find(name: &str, host: &mut Host) -> Looked<(Option<Pool>, Option<Lvm>)> {
    let is_it = |pool: &Pool| means(name, &pool.name, &pool.dm_names());
    let pools = pools::with_register(looked(host.active_pools())?, &register::read()?);
    let known = |pool: &&Pool| is_it(pool) && (pool.live.is_some() || pool.record.is_some());
    if let Some(pool) = pools.iter().find(known) {
        return Ok((Some(pool.clone()), None));
    }
    let lvm = lvm::look_if_installed(host)?;
    let found = pools::join(pools, &lvm).into_iter().find(is_it);
    Ok((found, Some(lvm)))
}

fn view(pool: &Pool, lvm: Option<&Lvm>, globals: &Globals) -> Looked<View> {
    if let Some(live) = &pool.live {
        let snapshot = Snapshot::reserve(live, globals.lock_limit)?;
        return Ok(View::Live { device: live.metadata_node()?, _snapshot: snapshot });
    }
    if let Some(record) = &pool.record {
        let record = record.as_ref().map_err(Clone::clone)?;
        return metadata::of_place(&record.metadata).map(View::Down);
    }
    let lvm = lvm.ok_or_else(|| Unseen(format!("{} is not LVM's", pool.name)))?;
    let side = pool.lvm.as_ref().ok_or_else(|| Unseen(format!("{} has no working table", pool.name)))?;
    // What another host may be writing is not read here.
    if !side.row.vg_shared.is_empty() {
        return Err(Unseen(format!("the volume group of {} is shared with other hosts", pool.name)));
    }
    metadata::of_lvm(lvm, &side.row.vg_name, &side.row.metadata_lv).map(View::Down)
}

/// The problem of a verb that speaks for itself, in JSON too.
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
