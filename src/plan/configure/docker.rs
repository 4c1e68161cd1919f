//! The plan of `dmtool configure docker`.

use super::options::edited;
use super::{Around, Target, back, daemon_json, file, forgotten, pool_named, restartable, short, target_fits};
use crate::names::{LvmName, quoted};
use crate::observe::Looked;
use crate::observe::docker::{Docker, UNITS};
use crate::observe::metadata::Head;
use crate::observe::moved::{FORMAT, Moved};
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::Step;
use crate::plan::{Plan, Planned, activation, two_volumes};
use crate::units::{Bytes, parse_size};

/// Docker dropped its devicemapper driver in this version (its release notes of 25.0).
const DROPPED_IN: u32 = 25;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    pub restart: bool,
    /// What Docker has of another pool or driver goes aside.
    pub move_data: bool,
    pub base_size: Option<Bytes>,
    /// In percent.
    pub min_free_space: Option<u64>,
    pub discard: bool,
    /// Any other, with its key as Docker has it.
    pub options: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub around: Around,
    pub docker: Docker,
    /// What stands on the two volumes, where those are meant.
    pub volumes: Option<Volumes>,
}

/// The two volumes of a pool of Docker's own, as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volumes {
    /// Of the data volume, as tables have it.
    pub number: Option<String>,
    /// What the metadata volume begins with.
    pub head: Looked<Head>,
    /// The first signature on the data volume.
    pub signature: Looked<Option<String>>,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    plan_on(request, &target(request, facts)?, facts)
}

/// As [`plan`], with what may be made by steps before.
///
/// # Errors
/// As [`plan`]'s.
pub fn plan_on(request: &Request, target: &Target<'_>, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    match facts.around.file.as_ref() {
        Err(why) => reasons.add(format!("Could not look: {why}.")),
        Ok(found) => file(edited(request, target, found, facts), found, &mut plan, &mut reasons),
    }
    let moved = if request.move_data { aside(request, target, facts, &mut plan, &mut reasons) } else { None };
    if request.restart {
        restart(target, moved.clone(), facts, &mut plan, &mut reasons);
    }
    let moves = plan.steps.iter().any(|planned| !planned.already && matches!(planned.step, Step::MoveFolder { .. }));
    if request.move_data && (moved.is_some() || facts.docker.moved != Ok(None)) {
        plan.todo(Step::EndMove);
    }
    if !plan.nothing_to_do() {
        target_fits("Docker", target, &facts.around, &mut reasons);
        if let Target::Volumes { data, metadata, new: false } = target {
            volumes_fit(data, metadata, facts, &mut reasons);
        }
        if reasons.is_empty() {
            first_use(target, moves, facts, &mut reasons);
        }
        daemon(request, target, moves, facts, &mut plan, &mut reasons);
    }
    reasons.settle(format!("configure docker is refused for {}, nothing was changed", request.pool))?;
    Ok(plan)
}

/// What Docker has goes aside where the pool makes it unreachable, or where a run that was cut off has begun that; what
/// brings it back. None where nothing needs to. The file is written before: where a boot comes between, Docker starts anew
/// beside what it has, and nothing is out of its place.
fn aside(
    request: &Request,
    target: &Target<'_>,
    facts: &Facts,
    plan: &mut Plan,
    reasons: &mut Reasons,
) -> Option<Moved> {
    let docker = &facts.docker;
    let (from, to) = (docker.root.clone(), docker.copy());
    let (folder, begun) = match (&docker.folder, &docker.moved) {
        (Ok(folder), Ok(begun)) => (folder, begun),
        (Err(why), _) | (_, Err(why)) => {
            reasons.add(format!("What Docker has in {from} could not be looked at: {why}."));
            return None;
        }
    };
    let is_its =
        |moved: &&Moved| moved.folder == from && [folder.inode, folder.copy_inode].contains(&Some(moved.inode));
    let begun = begun.as_ref().filter(is_its);
    let of_another = docker.left.as_ref().is_ok_and(|left| !left.is_empty())
        || (docker.base.as_ref().is_ok_and(Option::is_some) && !used(target, facts));
    let moved = match (begun, folder.inode) {
        (Some(begun), _) => carried_on(begun, fresh(facts, plan, begun.inode)),
        (None, Some(inode)) if of_another && !runs_on(target, facts) => fresh(facts, plan, inode),
        (None, _) => return None,
    };
    let boxed = Box::new(moved.clone());
    let begin = Step::BeginMove { moved: boxed.clone() };
    plan.steps.insert(0, Planned { already: begun == Some(&moved), ..Planned::todo(begin) });
    let step = Step::MoveFolder { moved: boxed };
    if folder.copy_inode == Some(moved.inode) {
        plan.already(step);
        return Some(moved);
    }
    if runs_on(target, facts) {
        // Docker was started on the pool beside what it had; that stays where it is.
        return None;
    }
    if let Some(why) = &folder.barred {
        reasons.add_with_hint(format!("{from} cannot be moved: {why}."), "empty it yourself, with Docker stopped");
    }
    if folder.copy_inode.is_some() {
        reasons.add_with_hint(
            format!("{to} is there already, so {from} cannot become that."),
            format!("give it another name: mv {0} {0}.old", quoted(&to)),
        );
    }
    if docker.daemon.is_some() && request.restart {
        plan.todo(Step::StopService { units: &UNITS });
    }
    plan.warnings.push(format!("what Docker has in {from} goes to {to}, volumes of containers with it"));
    plan.todo(step);
    Some(moved)
}

/// What a run that was cut off wrote down, where this one writes another file: the oldest copy is the one to go back to.
fn carried_on(begun: &Moved, fresh: Moved) -> Moved {
    let backup = if begun.file.is_some() { begun.backup.clone() } else { fresh.backup };
    match fresh.file {
        Some(file) => Moved { file: Some(file), text: fresh.text, backup, ..begun.clone() },
        None => begun.clone(),
    }
}

fn fresh(facts: &Facts, plan: &Plan, inode: u64) -> Moved {
    let docker = &facts.docker;
    let written = plan.steps.iter().filter(|planned| !planned.already).find_map(|planned| match &planned.step {
        Step::WriteConfig { path, text, backup, .. } => Some((path.clone(), text.clone(), backup.clone())),
        _ => None,
    });
    let (file, text, backup) = match written {
        Some((path, text, backup)) => (Some(path), text, backup),
        None => (None, String::new(), None),
    };
    Moved {
        dmtool: FORMAT,
        folder: docker.root.clone(),
        copy: docker.copy(),
        inode,
        file,
        text,
        backup,
        ran: docker.daemon.is_some(),
    }
}

/// Docker is restarted where it does not run on the pool, or was started before its file was changed.
fn restart(target: &Target<'_>, undo: Option<Moved>, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let (docker, around) = (&facts.docker, &facts.around);
    let is_older = docker.daemon.zip(around.age).is_some_and(|(daemon, age)| daemon.runs > age);
    let done = runs_on(target, facts) && !is_older && plan.nothing_to_do();
    if !done {
        if around.restarted {
            let why = match &docker.info {
                Some(Ok(info)) => format!(
                    "Docker was restarted, and runs with {} on {}.",
                    info.driver,
                    info.pool.as_deref().or(info.data.as_deref()).unwrap_or("no pool")
                ),
                Some(Err(why)) => format!("Docker was restarted, and could not be asked then: {why}."),
                None => "Docker was restarted, and does not run any more.".to_owned(),
            };
            let copy = docker.folder.as_ref().is_ok_and(|folder| folder.copy_inode.is_some());
            let had = if copy { format!("; what it had may be in {}", docker.copy()) } else { String::new() };
            return reasons.add_with_hint(why, format!("see what it says: journalctl --unit docker{had}"));
        }
        if let Some(Err(why)) = &docker.info {
            reasons.add_with_hint(
                format!("Docker runs, and could not be asked on what: {why}."),
                "see what it says: docker info",
            );
        }
        restartable("Docker", docker.unread_unit, around, reasons);
    }
    let back = back(around, plan);
    plan.put(Step::RestartService { service: "docker", back, undo: undo.map(Box::new) }, done);
}

/// The pool, or the two volumes, that are meant.
///
/// # Errors
/// There is neither.
pub fn target<'a>(request: &Request, facts: &'a Facts) -> Result<Target<'a>, Refusal> {
    let ground = &facts.around.ground;
    if let Some((data, metadata)) = volumes(&request.pool, ground) {
        return Ok(Target::Volumes { data, metadata, new: false });
    }
    pool_named("configure docker", &request.pool, ground)
}

/// The devices of the volume `data` of the two-volume layout, and of `metadata` beside it, where those are meant.
pub fn volumes(name: &str, ground: &activation::Facts) -> Option<(String, String)> {
    let (data, metadata) = two_volumes::meant(name, ground.lvm.as_ref().ok()?)?;
    let path = |volume: &LvmName| format!("/dev/mapper/{}", volume.dm_name());
    Some((path(&data), path(&metadata)))
}

/// Both are up, and nobody's but Docker's.
fn volumes_fit(data: &str, metadata: &str, facts: &Facts, reasons: &mut Reasons) {
    let Ok(names) = &facts.around.ground.names else {
        return reasons.add("Whether the two volumes are up could not be looked at.");
    };
    for path in [data, metadata] {
        if !path.strip_prefix("/dev/mapper/").is_some_and(|name| names.contains(name)) {
            reasons.add_with_hint(format!("{path} is down."), format!("bring it up: lvchange --activate y {path}"));
        }
    }
    let Some(volumes) = facts.volumes.as_ref().filter(|_| reasons.is_empty()) else { return };
    match &volumes.head {
        Err(why) => reasons.add(format!("What {metadata} holds could not be looked at: {why}.")),
        Ok(Head::Foreign) => {
            let why = format!("{metadata} holds something that is no metadata of a pool: Docker would write over it.");
            reasons.add_with_hint(why, format!("look at it: blkid --probe {metadata}"));
        }
        // A pool of before: its first chunk may well look like a file system.
        Ok(Head::Of(_)) => {}
        Ok(Head::Blank) => match &volumes.signature {
            Ok(None) => {}
            Ok(Some(found)) => {
                let why = format!("{data} carries {found}: Docker would write over it.");
                reasons.add_with_hint(why, format!("if nobody needs it: wipefs --all {data}"));
            }
            Err(why) => reasons.add(format!("What {data} holds could not be looked at: {why}.")),
        },
    }
}

/// Whether somebody has written to it.
fn used(target: &Target<'_>, facts: &Facts) -> bool {
    match target {
        Target::Volumes { .. } => facts.volumes.as_ref().is_some_and(|volumes| matches!(volumes.head, Ok(Head::Of(_)))),
        _ => target.figures().is_some_and(|figures| figures.data_used.0 > 0 || figures.transaction_id > 0),
    }
}

/// Docker takes a pool for its first use only as it was made: no block used, transaction 0 (deviceset.go of its
/// devicemapper driver).
fn first_use(target: &Target<'_>, moved: bool, facts: &Facts, reasons: &mut Reasons) {
    let root = &facts.docker.root;
    let name = match target {
        Target::Pool(pool) => &pool.name,
        Target::NewPool { name, .. } | Target::Volumes { data: name, .. } => name,
    };
    // What has gone aside is of no pool here.
    let base = if moved { &Ok(None) } else { &facts.docker.base };
    match (base, used(target, facts)) {
        _ if runs_on(target, facts) => {}
        (Err(why), _) => reasons.add(format!("What Docker has in {root} could not be looked at: {why}.")),
        (Ok(Some(_)), false) => reasons.add_with_hint(
            format!(
                "{root}/devicemapper is of another pool: Docker would look for its volumes in {name}, which is new."
            ),
            "have what Docker has moved away: --move-data",
        ),
        (Ok(None), true) => reasons.add_with_hint(
            format!("{name} was used before, and Docker takes no such pool for its first use."),
            "give Docker a new pool: dmtool setup DEVICE",
        ),
        (Ok(_), _) => {}
    }
}

/// What the daemon itself would refuse.
fn daemon(request: &Request, target: &Target<'_>, moved: bool, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let docker = &facts.docker;
    match &docker.version {
        Ok(Some(version)) if *version >= DROPPED_IN => reasons.add_with_hint(
            format!("Docker {version} is installed, and Docker dropped its devicemapper driver in {DROPPED_IN}."),
            "use containerd's devmapper snapshotter, or an older Docker",
        ),
        Ok(Some(_)) => {}
        Ok(None) if request.restart => reasons.add("Docker is not installed, so it cannot be restarted."),
        Ok(None) => {
            plan.warnings.push("Docker is not installed; before version 25 it has the driver for this".to_owned());
        }
        Err(why) => reasons.add(format!("Which Docker this is could not be looked at: {why}.")),
    }
    if docker.daemon.is_some() && !request.restart {
        let why = if runs_on(target, facts) {
            "Docker runs, and reads its file when it starts."
        } else {
            "Docker runs: what it has now is out of its reach from its next start on."
        };
        reasons.add_with_hint(why, "stop it: systemctl stop docker.socket docker; or have it restarted: --restart");
    }
    match &docker.told {
        Ok(told) => {
            for told in told {
                reasons.add_with_hint(
                    format!(
                        "{} has {} already: Docker does not start with an option that is given twice.",
                        told.place, told.option
                    ),
                    format!("take it out of {}", told.place),
                );
            }
        }
        Err(why) => reasons.add(format!("What Docker is told on its command line could not be looked at: {why}.")),
    }
    match &docker.left {
        Ok(left) if !left.is_empty() && !moved => plan.warnings.push(format!(
            "images and containers that Docker keeps in {} with {} are not seen with devicemapper; they stay on the disk (--move-data moves them aside)",
            docker.root,
            left.join(", ")
        )),
        Ok(_) => {}
        Err(why) => reasons.add(format!("What Docker has in {} could not be looked at: {why}.", docker.root)),
    }
    let size = base_size(plan);
    if let (Some(asked), Ok(Some(base))) = (size, &docker.base)
        && asked < *base
        && !moved
    {
        let why = format!(
            "Docker's base volume has {base} already, and Docker does not start with a smaller size, as {asked} is."
        );
        let hint = match request.base_size {
            Some(_) => "leave --base-size out".to_owned(),
            None => format!("give it that size: --base-size {}", short(*base)),
        };
        reasons.add_with_hint(why, hint);
    }
    plan.warnings.extend(forgotten(target));
}

/// The size of the base volume that the file is to name; none where it names none.
fn base_size(plan: &Plan) -> Option<Bytes> {
    plan.steps.iter().find_map(|planned| match &planned.step {
        Step::WriteConfig { text, .. } => parse_size(&daemon_json::option(text, "dm.basesize")?).ok(),
        _ => None,
    })
}

/// Docker says that it runs on this. Of a pool of its own it repeats what it was told, so the pool's table is looked at.
fn runs_on(target: &Target<'_>, facts: &Facts) -> bool {
    let Some(Ok(info)) = &facts.docker.info else { return false };
    info.driver == "devicemapper"
        && match target {
            Target::NewPool { .. } | Target::Volumes { new: true, .. } => false,
            Target::Pool(_) => info.pool == target.dm_name() && info.data.is_none(),
            Target::Volumes { .. } => {
                let number = facts.volumes.as_ref().and_then(|volumes| volumes.number.as_ref());
                let pools = facts.around.ground.pools.iter().flatten();
                let its = pools.filter(|pool| Some(&pool.name) == info.pool.as_ref());
                let tables = its.filter_map(|pool| pool.live.as_ref()?.table.as_ref().ok());
                number.is_some() && tables.into_iter().any(|table| Some(&table.data_device) == number)
            }
        }
}
