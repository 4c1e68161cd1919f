//! The plan of `dmtool volume trim`: each mounted file system on a pool's volumes, told to hand on what is free in it.

use super::activation::{Chosen, choose};
use super::discards::well;
use super::refusal::{Reasons, Refusal};
use super::step::{Discards, Step};
use super::volume::{is_meant, others, the_one};
use super::{Plan, Planned};
use crate::names::quoted;
use crate::observe::Looked;
use crate::observe::consumers::Consumer;
use crate::observe::discards::{Chain, Trimmed};
use crate::observe::left::Left;
use crate::observe::lvm::Lvm;
use crate::observe::mounts::Mount;
use crate::observe::pools::Pool;
use crate::observe::thin::{Discard, Mode};
use crate::units::Bytes;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    /// By name, or as `id:7`; none means all that are mounted.
    pub volumes: Vec<String>,
}

/// A volume of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub thin_id: Option<u64>,
    /// Absent where it is down.
    pub dm_name: Option<String>,
    /// What it has in the pool; absent where it is down or has failed.
    pub mapped: Option<Bytes>,
    pub mount: Option<Mount>,
    /// It stands still, and would hold whoever trims it.
    pub suspended: bool,
    /// What its file system has in use, by its own count.
    pub in_use: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub pools: Looked<Vec<Pool>>,
    pub lvm: Looked<Lvm>,
    pub consumers: Looked<Vec<Consumer>>,
    /// Who runs and is configured for a pool.
    pub running: Vec<(&'static str, String)>,
    /// Where the pool is up.
    pub chain: Option<Looked<Chain>>,
    pub volumes: Looked<Vec<Target>>,
    /// What was done in this run already, by the place of the mount.
    pub trimmed: BTreeMap<String, Trimmed>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut reasons = Reasons::default();
    let chosen = Chosen::One(request.pool.clone());
    for pool in choose("volume trim", &chosen, &facts.pools, &facts.lvm)? {
        others(pool, &facts.consumers, &facts.running, &dockers_way(&pool.name), &mut reasons);
        takes_discards(pool, facts, &mut reasons);
        match &facts.volumes {
            Ok(volumes) => targets(request, pool, volumes, facts, &mut plan, &mut reasons),
            Err(why) => reasons.add(format!("Could not look: {why}.")),
        }
    }
    reasons.settle(format!("volume trim on {} is refused, nothing was changed", request.pool))?;
    Ok(plan)
}

/// What a program can do by itself about the space that it gave up.
fn dockers_way(pool: &str) -> impl Fn(&str) -> String {
    move |who| {
        let word = who.to_lowercase();
        format!("have {who} hand on what it deletes: dmtool configure {word} {pool} --discard")
    }
}

fn takes_discards(pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let name = &pool.name;
    let Some(live) = &pool.live else {
        return reasons.add_with_hint(format!("{name} is down."), format!("bring it up: dmtool activate {name}"));
    };
    well(pool, live, &Left::default(), reasons);
    // The kernel says that it was done, and does nothing.
    if pool.mode() == Some(Mode::Ro) {
        reasons.add_with_hint(format!("{name} is read-only."), format!("see why: dmtool check {name}"));
    }
    if let Some(Err(why)) = &facts.chain {
        reasons.add(format!("Could not look: {why}."));
    }
    if pool.figures().is_some_and(|figures| figures.discard == Discard::Ignore) {
        let hint = format!("take it down, then: dmtool discards {name} passdown");
        reasons.add_with_hint(format!("{name} ignores discards, so nothing would come back."), hint);
    }
}

fn targets(request: &Request, pool: &Pool, volumes: &[Target], facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let named = !request.volumes.is_empty();
    for volume in chosen(request, pool, volumes, reasons) {
        let name = &volume.name;
        let (Some(mount), Some(device), Some(live)) = (&volume.mount, &volume.dm_name, &pool.live) else {
            if named {
                let hint = format!("mount it: dmtool volume mount {} {} DIR", pool.name, quoted(name));
                reasons
                    .add_with_hint(format!("{name} is not mounted, so no file system says what is free in it."), hint);
            }
            continue;
        };
        if volume.suspended {
            let why = format!("{name} is suspended");
            if named {
                reasons.add_with_hint(format!("{why}."), format!("see what lets it run: dmtool check {}", pool.name));
            } else {
                plan.warnings.push(format!("{why}, and is left out; what lets it run: dmtool check {}", pool.name));
            }
            continue;
        }
        if mount.has("ro") {
            let why = format!("{name} is mounted read-only on {}", mount.place);
            if named {
                reasons.add(format!("{why}."));
            } else {
                plan.warnings.push(format!("{why}, and is left out"));
            }
            continue;
        }
        let (place, device, pool) = (mount.place.clone(), device.clone(), live.dm_name.clone());
        let step = Step::Discards(Discards::Trim { place, number: mount.number, volume: device, pool });
        let already = facts.trimmed.contains_key(&mount.place);
        // One that fails does not keep the others from it.
        plan.steps.push(Planned { step, already, part: Some(name.clone()) });
    }
}

/// The volumes that are meant, each once.
fn chosen<'a>(request: &Request, pool: &Pool, volumes: &'a [Target], reasons: &mut Reasons) -> Vec<&'a Target> {
    if request.volumes.is_empty() {
        return volumes.iter().collect();
    }
    let mut found: Vec<&Target> = Vec::new();
    for word in &request.volumes {
        let is_it = |one: &&Target| is_meant(word, &one.name, one.dm_name.as_deref().unwrap_or_default(), one.thin_id);
        let fit = volumes.iter().filter(is_it).map(|one| (one, one.thin_id)).collect();
        match the_one(word, &pool.name, fit) {
            Err(why) => reasons.add(why),
            Ok(Some(volume)) if found.contains(&volume) => {}
            Ok(Some(volume)) => found.push(volume),
            Ok(None) => reasons.add_with_hint(
                format!("There is no volume {word} on {}.", pool.name),
                format!("list them: dmtool volume list {}", pool.name),
            ),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::discards::tests::{WELL, pool};
    use super::*;

    fn facts(pool: Pool, consumers: Vec<Consumer>) -> Facts {
        let mount = |options: &str| Mount {
            number: (254, 3),
            of_source: None,
            source: "/dev/mapper/p-web".to_owned(),
            root: "/".to_owned(),
            place: "/srv/a b".to_owned(),
            kind: "ext4".to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        };
        let target = |name: &str, thin_id, mount| Target {
            name: name.to_owned(),
            thin_id: Some(thin_id),
            dm_name: Some(format!("p-{name}")),
            mapped: Some(Bytes(1 << 20)),
            mount,
            suspended: false,
            in_use: None,
        };
        let volumes =
            vec![target("web", 0, Some(mount("rw"))), target("old", 1, Some(mount("ro"))), target("idle", 7, None)];
        Facts {
            pools: Ok(vec![pool]),
            lvm: Ok(Lvm::default()),
            running: Vec::new(),
            consumers: Ok(consumers),
            chain: None,
            volumes: Ok(volumes),
            trimmed: BTreeMap::new(),
        }
    }

    fn planned(words: &[&str], facts: &Facts) -> Result<Plan, Refusal> {
        let volumes = words.iter().map(|word| (*word).to_owned()).collect();
        plan(&Request { pool: "p".to_owned(), volumes }, facts)
    }

    #[test]
    fn the_mounted_ones_or_those_that_are_named() {
        let facts = facts(pool("p", WELL, "0"), Vec::new());
        let all = planned(&[], &facts).expect("a plan");
        let commands: Vec<String> = all.steps.iter().map(|planned| planned.step.command()).collect();
        assert_eq!(commands, ["sync --file-system '/srv/a b' && fstrim '/srv/a b'"]);
        assert!(all.warnings[0].contains("old is mounted read-only on /srv/a b, and is left out"));
        assert_eq!(planned(&["web", "id:0"], &facts).expect("a plan").steps.len(), 1, "once");
        let refusal = planned(&["id:7", "old", "none", "id:x"], &facts).expect_err("no");
        assert_eq!(refusal.reasons.len(), 4, "{refusal:?}");
    }

    #[test]
    fn pools_of_others_and_pools_that_take_none() {
        let ignores = WELL.replace("discard_passdown", "ignore_discard");
        let read_only = WELL.replace(" rw ", " ro ");
        for (status, said) in [(ignores, "ignores discards"), (read_only, "is read-only")] {
            let refusal = planned(&[], &facts(pool("p", &status, "0"), Vec::new())).expect_err(said);
            assert!(refusal.reasons[0].contains(said), "{refusal:?}");
        }
        let full = WELL.replace(" rw ", " out_of_data_space ");
        assert!(planned(&[], &facts(pool("p", &full, "0"), Vec::new())).is_ok(), "it helps there");
        let pool_of_docker = "/dev/mapper/p".to_owned();
        let docker = Consumer { name: "Docker", file: "daemon.json".to_owned(), pool: pool_of_docker, makes_it: false };
        let refusal = planned(&[], &facts(pool("p", WELL, "0"), vec![docker])).expect_err("no");
        assert!(refusal.reasons[0].starts_with("Docker is configured for p"), "{refusal:?}");
    }
}
