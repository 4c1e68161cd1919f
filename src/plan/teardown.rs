//! The plan of `dmtool teardown`: a pool taken down for good, the outermost first: who is configured for it, what stands on
//! it, the pool, what it lies on, and what is written of it.

mod bare;
mod lvm;

use super::Plan;
use super::activation;
use super::configure::{config_toml, daemon_json};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use super::two_volumes;
use crate::names::{LvmName, means};
use crate::observe::config::ConfigFile;
use crate::observe::device::Above;
use crate::observe::metadata::Head;
use crate::observe::pools::{Kind, Pool};
use crate::observe::profile::Profile;
use crate::observe::register::is_dockers_own;
use crate::observe::teardown::{Disk, Edges, Journal};
use crate::observe::{Looked, Unseen};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    /// The disks are to be blank.
    pub wipe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub ground: activation::Facts,
    pub configs: Vec<Config>,
    /// What stands of a pool of LVM beside LVM: its profile, and a teardown that was begun.
    pub profile: Looked<Option<Profile>>,
    pub journal: Looked<Option<Journal>>,
    /// What the disks of that are like.
    pub disks: Vec<(Disk, Looked<Edges>)>,
    /// The numbers of the two volumes, as tables have them, where those are meant.
    pub numbers: Vec<(String, String)>,
    /// What the metadata volume of the two begins with, and the first signature on the data volume.
    pub content: Option<(Looked<Head>, Looked<Option<String>>)>,
    /// A repair of the pool was begun, and is not accepted.
    pub repair: Looked<bool>,
}

/// A consumer's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub who: &'static str,
    pub runs: bool,
    /// The pool, or the data device of its own, that it is configured for.
    pub pool: Option<String>,
    pub file: Looked<ConfigFile>,
    /// The file that says so, where it is one that this file imports.
    pub import: Option<String>,
}

/// What is torn down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant<'a> {
    Pool(&'a Pool),
    /// The two volumes of a pool of Docker's own, by the name of the first.
    Volumes(LvmName, LvmName),
    /// What a teardown that was cut off left.
    Rest(&'a Journal),
    Nothing,
}

/// What the name means here.
///
/// # Errors
/// It could not be looked at.
pub fn meant<'a>(request: &Request, facts: &'a Facts) -> Looked<Meant<'a>> {
    let ground = &facts.ground;
    let pools = ground.pools.as_ref().map_err(Clone::clone)?;
    let lvm = ground.lvm.as_ref().map_err(Clone::clone)?;
    let named = |pool: &&Pool| means(&request.pool, &pool.name, &pool.dm_names());
    let found: Vec<&Pool> = pools.iter().filter(named).collect();
    let both = two_volumes::meant(&request.pool, lvm);
    match (found.as_slice(), both) {
        ([], Some((data, metadata))) => return Ok(Meant::Volumes(data, metadata)),
        ([pool], None) => return Ok(Meant::Pool(pool)),
        ([], None) => {}
        (several, both) => {
            let mut names: Vec<String> = several.iter().map(|pool| pool.name.clone()).collect();
            names.extend(both.map(|(data, _)| data.to_string()));
            return Err(Unseen(format!("{} may be each of {}", request.pool, names.join(", "))));
        }
    }
    let journal = facts.journal.as_ref().map_err(Clone::clone)?;
    Ok(journal.as_ref().map_or(Meant::Nothing, Meant::Rest))
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    match meant(request, facts) {
        Err(why) => reasons.add_with_hint(format!("Could not look: {why}."), "look at the pools: dmtool status"),
        Ok(Meant::Pool(pool)) => {
            of_pool(pool, facts, &mut reasons);
            running(pool, facts, &mut reasons);
            configuration(&pool.name, &pool.dm_names(), facts, &mut plan, &mut reasons);
            let above = above(&pool.name, facts, &mut plan, &mut reasons);
            match (pool.kind, LvmName::parse(&pool.name)) {
                (Kind::Lvm, Ok(name)) => lvm::pool(request, &name, pool, facts, &mut plan, &mut reasons),
                _ => bare::pool(request, pool, &above, facts, &mut plan, &mut reasons),
            }
        }
        Ok(Meant::Volumes(data, metadata)) => {
            configuration(&data.to_string(), &[data.dm_name()], facts, &mut plan, &mut reasons);
            lvm::volumes(request, (&data, &metadata), facts, &mut plan, &mut reasons);
        }
        Ok(Meant::Rest(journal)) => {
            let (name, dm_name) = (journal.pool.to_string(), journal.pool.dm_name());
            configuration(&name, &[dm_name], facts, &mut plan, &mut reasons);
            lvm::rest(request, journal, facts, &mut plan, &mut reasons);
        }
        Ok(Meant::Nothing) => no_other(request, facts, &mut reasons),
    }
    reasons.settle(format!("teardown of {} is refused, nothing was changed", request.pool))?;
    Ok(plan)
}

/// A name that is another thing's is no pool that is gone.
fn no_other(request: &Request, facts: &Facts, reasons: &mut Reasons) {
    let name = &request.pool;
    let bare = name.strip_prefix("/dev/mapper/").unwrap_or(name);
    let is_volume = LvmName::parse(name).is_ok_and(|name| {
        facts.ground.lvm.as_ref().is_ok_and(|lvm| lvm.lv(name.vg.as_str(), name.lv.as_str()).is_some())
    });
    match &facts.ground.names {
        Err(why) => reasons.add(format!("Could not look: {why}.")),
        Ok(names) if is_volume || names.contains(bare) => {
            reasons.add_with_hint(format!("{name} is no thin pool."), "list the pools: dmtool status");
        }
        Ok(_) => lost_group(name, facts, reasons),
    }
}

/// A pool whose group LVM cannot find is not gone.
fn lost_group(name: &str, facts: &Facts, reasons: &mut Reasons) {
    let (Ok(lvm), Ok(pool)) = (&facts.ground.lvm, LvmName::parse(name)) else { return };
    if lvm.group(&pool.vg).is_some() {
        return;
    }
    for row in lvm.stranded() {
        let why = format!("{} is part of a volume group that LVM cannot find: {name} may be on it.", row.pv_name);
        reasons.add_with_hint(why, "see whether it is, and how it comes back: dmtool check");
    }
}

fn of_pool(pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let name = &pool.name;
    if is_dockers_own(name) {
        reasons.add_with_hint(
            format!("{name} is Docker's own pool, which Docker takes down when it ends."),
            "stop Docker, and tear down what the pool lies on: dmtool teardown vg-docker/data",
        );
    }
    if pool.live.as_ref().is_some_and(|live| live.suspended) {
        reasons.add_with_hint(format!("{name} is suspended."), format!("see what brings it back: dmtool check {name}"));
    }
    if pool.broken.is_some() {
        let hint = format!("see what mends it: dmtool check {name}");
        reasons.add_with_hint(format!("{name} is no working pool, and what stands on it is not known."), hint);
    }
    match &facts.repair {
        Ok(false) => {}
        Ok(true) => reasons.add_with_hint(
            format!("A repair of {name} is not accepted yet, and its copies of the metadata are kept."),
            format!("dmtool repair {name} --accept"),
        ),
        Err(why) => reasons.add(format!("Could not look: {why}.")),
    }
}

/// How a consumer is stopped.
pub(super) fn stop(who: &str) -> String {
    let units = if who == "Docker" { "docker.socket docker" } else { "containerd" };
    format!("stop it: systemctl stop {units}")
}

/// A consumer holds no device of its pool while it has nothing to do, and may have the pool on its command line.
fn running(pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let names = pool.dm_names();
    for (who, wants) in facts.ground.running.iter().filter(|(_, wants)| means(wants, &pool.name, &names)) {
        reasons.add_with_hint(format!("{who} runs and is configured for {wants}."), stop(who));
    }
    for (who, why) in &facts.ground.hidden {
        let why = format!("{who} runs, and whether it is configured for {} could not be looked at: {why}.", pool.name);
        reasons.add_with_hint(why, stop(who));
    }
}

/// Who is configured for the pool, and runs, uses it; of the others its name is taken out of their files.
fn configuration(name: &str, dm_names: &[String], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    for config in &facts.configs {
        let file = match &config.file {
            Ok(file) => file,
            Err(why) => {
                reasons.add(format!("What {} is configured for could not be looked at: {why}.", config.who));
                continue;
            }
        };
        if !config.pool.as_ref().is_some_and(|pool| means(pool, name, dm_names)) {
            continue;
        }
        if config.runs {
            let path = config.import.as_ref().unwrap_or(&file.path);
            let why = format!("{} runs and is configured for {name} ({path}).", config.who);
            reasons.add_with_hint(why, stop(config.who));
        }
        if let Some(why) = &file.barred {
            reasons.add(why.clone());
            continue;
        }
        if let Some(import) = &config.import {
            let why = format!("{} is configured for {name} by {import}, which dmtool does not rewrite.", config.who);
            reasons.add_with_hint(why, format!("take its section of the devmapper snapshotter out of {import}"));
            continue;
        }
        let text = file.text.as_deref().unwrap_or_default();
        let without =
            if config.who == "Docker" { daemon_json::without_pool(text) } else { config_toml::without_pool(text) };
        match without {
            Ok(None) => {}
            Ok(Some(after)) => {
                plan.warnings.push(format!("what {} keeps of {name} in its own folder stays there", config.who));
                plan.todo(Step::WriteConfig {
                    path: file.path.clone(),
                    old: file.text.clone(),
                    text: after,
                    backup: Some(file.backup.clone()),
                });
            }
            Err(why) => reasons.add(format!("{} is left alone: {why}.", file.path)),
        }
    }
}

/// What stands on a pool: in use, that is a reason; otherwise, what is not LVM's is taken down by itself.
fn above<'a>(pool: &str, facts: &'a Facts, plan: &mut Plan, reasons: &mut Reasons) -> Vec<&'a Above> {
    let found: Vec<&Above> = facts.ground.above.iter().filter(|above| above.pool == pool).collect();
    for above in &found {
        match &above.uses {
            Ok(uses) => uses.iter().for_each(|used| reasons.add(format!("{} {used}.", above.dm_name))),
            Err(why) => reasons.add(format!("Whether {} is in use could not be looked at: {why}.", above.dm_name)),
        }
    }
    for above in found.iter().filter(|above| !above.of_lvm) {
        match crate::names::DmName::new(&above.dm_name) {
            Ok(device) => plan.todo(Step::RemoveDevice { device }),
            Err(why) => reasons.add(format!("{why}.")),
        }
    }
    found
}
