//! What `activate` and `deactivate` share: their facts, and how they speak of the pools they mean.

use crate::names::{DmName, means};
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::{self, Entry, Record};
use crate::observe::{
    Dmeventd, Host, Looked, Unseen, consumers, device, greet_dmeventd, looked, lvm, pools, profile, remember, standing,
};
use crate::plan::activation::{Chosen, Facts};
use crate::plan::bare::Known;

pub fn look(host: &mut Host) -> Facts {
    look_with(host, None)
}

/// As [`look`], with the pool that Docker's configuration tells of where the register does not know that; that on Docker's
/// own files only where it is named, since Docker brings it up itself and takes its loop devices down with it.
pub fn look_with_dockers(host: &mut Host, chosen: &Chosen) -> Facts {
    look_with(host, Some(remember::of_docker(matches!(chosen, Chosen::One(_)))))
}

fn look_with(host: &mut Host, dockers: Option<Looked<Option<Record>>>) -> Facts {
    let active = looked(host.active_pools());
    let above = active.as_ref().map(|active| device::above(active)).unwrap_or_default();
    // One that does not answer is not asked, nor told anything.
    host.dmeventd = active.as_deref().map_or(Ok(Dmeventd::NotRunning), greet_dmeventd);
    let lvm = lvm::look_if_installed(host);
    let mut register = register::read();
    let unread = dockers.as_ref().and_then(|dockers| dockers.as_ref().err().cloned());
    if let (Ok(register), Some(Ok(Some(record)))) = (&mut register, dockers)
        && register.iter().all(|entry| entry.name != record.name.as_str())
    {
        register.push(Entry { name: record.name.as_str().to_owned(), record: Ok(record) });
    }
    let known = register.iter().flatten().map(|entry| known(entry, active.as_deref().unwrap_or_default())).collect();
    let bare = active.clone().and_then(|active| {
        let pools = pools::with_register(active, register.as_ref().map_err(Clone::clone)?);
        Ok(pools.into_iter().filter(|pool| pool.kind != Kind::Lvm).collect())
    });
    let pools = pools::all(active, &lvm, &register);
    let consumers::Running { pools: mut running, hidden, unseen } = consumers::running();
    // Docker's own pools have Docker's name.
    if consumers::docker_runs().is_ok_and(|runs| runs) {
        let dockers = |pool: &&Pool| register::is_dockers_own(&pool.name);
        running.extend(pools.iter().flatten().filter(dockers).map(|pool| ("Docker", pool.name.clone())));
    }
    let names = device::dm_names();
    Facts {
        pools,
        bare,
        lvm,
        above,
        names,
        running,
        hidden,
        unseen,
        known,
        remembered: None,
        unread,
        watched: profile::watches(),
    }
}

/// What the register says of a pool, and what stands there.
pub fn known(entry: &Entry, active: &[Pool]) -> Known {
    let standing = entry.record.as_ref().ok().map(standing::look);
    let pool = active.iter().find(|pool| pool.name == entry.name);
    let fresh = pool.and_then(|pool| fresh(pool, entry.record.as_ref().ok()));
    Known { name: entry.name.clone(), record: entry.record.clone(), standing, fresh }
}

/// What a pool that is up is to be remembered as.
fn fresh(pool: &Pool, known: Option<&Record>) -> Option<Looked<Record>> {
    let live = pool.live.as_ref()?;
    Some(DmName::new(&pool.name).map_err(Unseen).and_then(|name| remember::record_of(&name, pool.kind, live, known)))
}

/// What the pool that is meant is to be remembered as: a bare one that is up.
pub fn remembered(chosen: &Chosen, facts: &Facts) -> Looked<Record> {
    let pool = meant(chosen, facts).into_iter().next().ok_or_else(|| Unseen("no pool was found".to_owned()))?;
    if pool.lvm.is_some() {
        return Err(Unseen("LVM remembers its pools itself".to_owned()));
    }
    fresh(pool, pool.recorded()).unwrap_or_else(|| Err(Unseen("it is down".to_owned())))
}

/// Whether no pool of LVM can be meant, so that a host without LVM can do it.
pub fn is_bare(chosen: &Chosen) -> bool {
    match chosen {
        Chosen::One(name) => {
            register::read().is_ok_and(|known| known.iter().any(|entry| means(name, &entry.name, &[""; 0])))
        }
        Chosen::Only | Chosen::All => !lvm::is_installed() && register::read().is_ok_and(|known| !known.is_empty()),
    }
}

/// The pools that are meant.
pub fn meant<'a>(chosen: &Chosen, facts: &'a Facts) -> Vec<&'a Pool> {
    let is_meant = |pool: &&Pool| match chosen {
        Chosen::One(name) => means(name, &pool.name, &pool.dm_names()),
        Chosen::Only | Chosen::All => true,
    };
    facts.seen().iter().filter(is_meant).collect()
}

/// A line for each pool that was meant.
pub fn sentence(chosen: &Chosen, facts: &Facts, what: &str) -> String {
    let pools = meant(chosen, facts);
    if pools.is_empty() {
        return "no pools here".to_owned();
    }
    let down = |pool: &Pool| if pool.live.is_some() { "is active" } else { "is inactive" };
    let several = pools.len() > 1;
    let line = |pool: &&Pool| format!("{} {}.", pool.name, if several { down(pool) } else { what });
    pools.iter().map(line).collect::<Vec<_>>().join("\n")
}
