//! What `volume list`, `show` and `orphans` look at: a pool, its metadata, and the books that others keep of its volumes.

use crate::commands::Globals;
use crate::commands::metadata::view::{self, View};
use crate::exit::{Kind, Problem};
use crate::names::means;
use crate::observe::lvm::{self, Lvm};
use crate::observe::owners::{self, Claims, Owner, OwnerKind};
use crate::observe::pools::{self, Kind as Of, Pool};
use crate::observe::volumes::{self, Inventory, Sources, Standing};
use crate::observe::{Host, Looked, looked, register};
use crate::plan::activation::{Chosen, choose};
use crate::sys::signal::Stop;

/// A pool with what it holds.
#[derive(Clone)]
pub struct Seen {
    pub pool: Pool,
    pub inventory: Inventory,
    pub claims: Vec<Looked<Claims>>,
}

/// Looks at the volumes of one pool.
///
/// # Errors
/// There is no such pool, it could not be looked for, or somebody asked for an end.
pub fn look(verb: &'static str, chosen: &Chosen, exact: bool, globals: &Globals) -> Result<Seen, Problem> {
    let stop =
        Stop::listen().map_err(|why| Problem::from_error(Kind::Refused, "signals cannot be listened to", &why))?;
    let mut host = Host::new(globals.lock_limit);
    let busy = exact.then(|| globals.voice.busy("counting what the volumes share"));
    let seen = seen_with(verb, chosen, exact.then_some(&stop), Books::AsFarAsNeeded, &mut host);
    drop(busy);
    seen?.ok_or_else(|| view::interrupted(verb))
}

/// How much is asked whose a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Books {
    /// LVM only where it may know more than is known already.
    AsFarAsNeeded,
    All,
}

/// As [`look`], everybody asked; none where somebody asked for an end while it was counted what volumes share.
///
/// # Errors
/// There is no such pool, or it could not be looked for.
pub fn seen(verb: &str, chosen: &Chosen, exact: Option<&Stop>, host: &mut Host) -> Result<Option<Seen>, Problem> {
    seen_with(verb, chosen, exact, Books::All, host)
}

fn seen_with(
    verb: &str,
    chosen: &Chosen,
    exact: Option<&Stop>,
    books: Books,
    host: &mut Host,
) -> Result<Option<Seen>, Problem> {
    let (mut pool, mut lvm) = find(verb, chosen, books, host)?;
    let active = pool.live.as_ref().map_or_else(|| Ok(Vec::new()), volumes::active_on);
    let view = view::view(&pool, lvm.as_ref(), host.lock_limit);
    let known = match known(view, active.as_deref().unwrap_or_default(), exact) {
        Ok(None) => return Ok(None),
        Ok(Some(known)) => Ok(known),
        Err(why) => Err(why),
    };
    // After the ids: each of them writes a volume down before it makes it.
    let claims = owners::of(&pool);
    let asked_before = lvm.is_some();
    if !asked_before
        && pool.kind == Of::Lvm
        && volumes::lvm_may_know(&pool, active.as_deref().unwrap_or_default(), &known, &claims)
    {
        (pool, lvm) = find(verb, chosen, Books::All, host)?;
    }
    let inventory = |lvm: Option<&Lvm>| {
        let (active, known) = (active.clone(), known.clone());
        volumes::inventory(Sources { pool: &pool, active, known, lvm, claims: &claims })
    };
    let mut found = inventory(lvm.as_ref());
    let is_lvms = |owner: &Owner| owner.kind == OwnerKind::Lvm;
    let doubtful = |volume: &volumes::Volume| match &volume.owner {
        None => true,
        Some(owner) => volume.standing == Standing::Missing && is_lvms(owner),
    };
    // Asked before the ids were read: what LVM has made since is no orphan, and what only it knows by now is not missing.
    if let Some(before) = lvm.filter(|_| asked_before && found.volumes.iter().any(doubtful)) {
        found = inventory(Some(&lvm::look(host).map_err(|why| view::unseen(&pool.name, &why))?));
        let is_new = |id: &str| before.lvs.iter().all(|row| row.lv_uuid != id);
        for volume in found.volumes.iter_mut().filter(|volume| volume.standing == Standing::Missing) {
            if volume.owner.as_ref().is_some_and(|owner| is_lvms(owner) && is_new(&owner.id)) {
                volume.standing = Standing::Inactive;
            }
        }
    }
    Ok(Some(Seen { pool, inventory: found, claims }))
}

/// Reads the metadata; it is released before anything is said.
pub fn known(view: Looked<View>, active: &[volumes::Active], exact: Option<&Stop>) -> Looked<Option<volumes::Known>> {
    let view = view?;
    let known = volumes::known((view.path(), view.superblock()?), active, exact);
    view.was_kept().and(known)
}

/// The pool that is meant. The kernel and the register know bare ones, and those that are up; LVM, which takes its time, is
/// asked where the pool is neither, or all books are wanted.
fn find(verb: &str, chosen: &Chosen, books: Books, host: &mut Host) -> Result<(Pool, Option<Lvm>), Problem> {
    let register = register::read();
    let active = looked(host.active_pools());
    let quick =
        active.clone().and_then(|active| Ok(pools::with_register(active, register.as_ref().map_err(Clone::clone)?)));
    if let Ok(pools) = &quick {
        let named: Vec<&Pool> = match chosen {
            Chosen::One(name) => pools.iter().filter(|pool| means(name, &pool.name, &pool.dm_names())).collect(),
            Chosen::Only | Chosen::All if pools::hinted().is_empty() => pools.iter().collect(),
            Chosen::Only | Chosen::All => Vec::new(),
        };
        if let [pool] = named[..]
            && (pool.kind != Of::Lvm || (pool.live.is_some() && books == Books::AsFarAsNeeded))
        {
            return Ok((pool.clone(), None));
        }
    }
    let lvm = lvm::look_if_installed(host);
    let pools = pools::all(active, &lvm, &register);
    let pool = choose(verb, chosen, &pools, &lvm).map_err(Problem::from)?.into_iter().next().cloned();
    let pool = pool.ok_or_else(|| Problem::new(Kind::Refused, "there is no pool on this host"))?;
    Ok((pool, lvm.ok()))
}

/// The one volume that is meant.
///
/// # Errors
/// None is, or several are.
pub fn the_volume<'a>(seen: &'a Seen, typed: &str) -> Result<&'a volumes::Volume, Problem> {
    let pool = &seen.pool.name;
    let found: Vec<&volumes::Volume> = seen.inventory.volumes.iter().filter(|volume| volume.is_meant(typed)).collect();
    match found[..] {
        [volume] => Ok(volume),
        [] if !seen.inventory.complete => {
            let mut problem = Problem::new(Kind::Refused, format!("no volume {typed} of {pool} could be seen"));
            problem.causes.clone_from(&seen.inventory.warnings);
            Err(problem.hint(format!("see how the pool is: dmtool check {pool}")))
        }
        [] => Err(Problem::new(Kind::Refused, format!("there is no volume {typed} in {pool}"))
            .hint(format!("list them: dmtool volume list {pool}"))),
        _ => {
            let ids: Vec<String> = found.iter().filter_map(|volume| Some(format!("id:{}", volume.thin_id?))).collect();
            Err(Problem::new(Kind::Refused, format!("{typed} may be each of {} in {pool}", ids.join(", ")))
                .hint("name it by its number"))
        }
    }
}
