//! The plan of `dmtool configure docker`: a pool into Docker's configuration.

pub mod daemon_json;

use super::Plan;
use super::activation::{self, Chosen};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use crate::names::{LvmName, dm_escape, layer_over, means, quoted};
use crate::observe::Looked;
use crate::observe::config::ConfigFile;
use crate::observe::consumers::Consumer;
use crate::observe::docker::Docker;
use crate::observe::lvm::LvRow;
use crate::observe::metadata::Head;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::is_dockers_own;
use crate::observe::thin::Mode;
use crate::units::{Bytes, GIB, MIB};
use std::time::Duration;

/// Docker dropped its devicemapper driver in this version (its release notes of 25.0).
const DROPPED_IN: u32 = 25;
/// From this version on Docker takes an empty file for an empty object; before that it does not start (seen: 20.10).
const TAKES_EMPTY: u32 = 23;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    pub restart: bool,
    pub base_size: Option<Bytes>,
    /// In percent.
    pub min_free_space: Option<u64>,
    pub discard: bool,
    /// Any other, with its key as Docker has it.
    pub options: Vec<(String, String)>,
}

impl Request {
    pub fn chosen(&self) -> Chosen {
        Chosen::One(self.pool.clone())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub ground: activation::Facts,
    pub file: Looked<ConfigFile>,
    /// How long ago the file was changed.
    pub age: Option<Duration>,
    /// It is the one that Docker reads.
    pub is_dockers: bool,
    pub docker: Docker,
    /// This run has seen another daemon before.
    pub restarted: bool,
    /// What stands on the two volumes, where those are meant.
    pub volumes: Option<Volumes>,
    /// Who is configured for a pool.
    pub consumers: Looked<Vec<Consumer>>,
    /// systemd is the one that starts services here.
    pub systemd: bool,
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

/// What Docker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    Pool(&'a Pool),
    /// The two devices of a pool of its own.
    Volumes {
        data: String,
        metadata: String,
    },
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    let target = target(request, facts)?;
    match facts.file.as_ref() {
        Err(why) => reasons.add(format!("Could not look: {why}.")),
        Ok(file) => match edited(request, &target, file, facts) {
            Err(why) => {
                let why = format!("{} is left alone: {why}.", file.path);
                reasons.add_with_hint(why, format!("mend it first: {}", mend(file)));
            }
            Ok(None) => plan.already(write(file, file.text.clone().unwrap_or_default())),
            Ok(Some(text)) => {
                barred(file, &mut reasons);
                plan.todo(write(file, text));
            }
        },
    }
    if request.restart {
        restart(&target, facts, &mut plan, &mut reasons);
    }
    if !plan.nothing_to_do() {
        pool(&target, facts, &mut reasons);
        daemon(request, &target, facts, &mut plan, &mut reasons);
    }
    reasons.settle(format!("configure docker is refused for {}, nothing was changed", request.pool))?;
    Ok(plan)
}

/// Docker is restarted where it does not run on the pool, or was started before its file was changed.
fn restart(target: &Target<'_>, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let docker = &facts.docker;
    let is_older = docker.daemon.zip(facts.age).is_some_and(|(daemon, age)| daemon.runs > age);
    let done = runs_on(target, facts) && !is_older && plan.nothing_to_do();
    if !done {
        if facts.restarted {
            let why = match &docker.info {
                Some(Ok(info)) => format!(
                    "Docker was restarted, and runs with {} on {}.",
                    info.driver,
                    info.pool.as_deref().or(info.data.as_deref()).unwrap_or("no pool")
                ),
                Some(Err(why)) => format!("Docker was restarted, and could not be asked then: {why}."),
                None => "Docker was restarted, and does not run any more.".to_owned(),
            };
            return reasons.add_with_hint(why, "see what it says: journalctl --unit docker");
        }
        if let Some(Err(why)) = &docker.info {
            reasons.add_with_hint(
                format!("Docker runs, and could not be asked on what: {why}."),
                "see what it says: docker info",
            );
        }
        if !facts.systemd {
            let why = "systemd does not run here, so Docker cannot be restarted by it.";
            reasons.add_with_hint(why, "leave --restart out, and start Docker yourself");
        }
        if docker.unread_unit {
            let why = "The unit of Docker was changed, and systemd has not read that yet.";
            reasons.add_with_hint(why, "have it read: systemctl daemon-reload");
        }
        if !facts.is_dockers {
            reasons.add("--restart goes with the file that Docker reads, /etc/docker/daemon.json, and with no other.");
        }
    }
    let back = facts.file.as_ref().ok().filter(|file| file.text.is_some() && !plan.nothing_to_do());
    let back = back.map(|file| format!("mv {} {}", quoted(&file.backup), quoted(&file.path)));
    plan.put(Step::RestartService { service: "docker", back }, done);
}

fn write(file: &ConfigFile, text: String) -> Step {
    let backup = file.text.is_some().then(|| file.backup.clone());
    Step::WriteConfig { path: file.path.clone(), old: file.text.clone(), text, backup }
}

/// The hint for a file that is malformed.
fn mend(file: &ConfigFile) -> String {
    match &file.text {
        Some(text) if text.trim().is_empty() => format!("rm {}", quoted(&file.path)),
        _ => format!("edit {}, or name another with --config", quoted(&file.path)),
    }
}

/// The text that the file is to have; none where it has it.
///
/// # Errors
/// It is malformed: Docker does not start with it, and nobody but its owner knows what was meant.
pub fn edited(
    request: &Request,
    target: &Target<'_>,
    file: &ConfigFile,
    facts: &Facts,
) -> Result<Option<String>, String> {
    let text = match file.text.as_deref() {
        Some(text) if text.trim().is_empty() => match facts.docker.version {
            Ok(Some(version)) if version < TAKES_EMPTY => {
                return Err(format!("it is empty, and Docker {version} does not start with an empty one"));
            }
            _ => None,
        },
        text => text,
    };
    daemon_json::edited(text, &options(request, target), &without(target))
}

/// Options that contradict the pool: those for another, and for one that Docker would make of a disk.
fn without(target: &Target<'_>) -> Vec<&'static str> {
    let mut found = vec![
        "dm.loopdatasize",
        "dm.loopmetadatasize",
        "dm.directlvm_device",
        "dm.directlvm_device_force",
        "dm.thinp_percent",
        "dm.thinp_metapercent",
        "dm.thinp_autoextend_threshold",
        "dm.thinp_autoextend_percent",
    ];
    match target {
        Target::Pool(_) => found.extend(["dm.datadev", "dm.metadatadev"]),
        Target::Volumes { .. } => found.push("dm.thinpooldev"),
    }
    found
}

fn options(request: &Request, target: &Target<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| match found.iter_mut().find(|(known, _)| known == key) {
        Some(known) if !daemon_json::adds_up(key) => known.1 = value,
        _ => found.push((key.to_owned(), value)),
    };
    match target {
        Target::Pool(pool) => {
            put("dm.thinpooldev", format!("/dev/mapper/{}", device(pool)));
            put("dm.use_deferred_removal", "true".to_owned());
            put("dm.use_deferred_deletion", "true".to_owned());
        }
        Target::Volumes { data, metadata } => {
            put("dm.datadev", data.clone());
            put("dm.metadatadev", metadata.clone());
        }
    }
    if let Some(size) = request.base_size {
        put("dm.basesize", short(size));
    }
    if let Some(percent) = request.min_free_space {
        put("dm.min_free_space", format!("{percent}%"));
    }
    if request.discard {
        put("dm.mountopt", "discard".to_owned());
        if matches!(target, Target::Pool(pool) if pool.kind == Kind::Loop) {
            put("dm.blkdiscard", "true".to_owned());
        }
    }
    for (key, value) in &request.options {
        put(key, value.clone());
    }
    found
}

/// A size as Docker writes it (units.RAMInBytes of its go-units: powers of 1024).
fn short(size: Bytes) -> String {
    match size.0 {
        bytes if bytes % GIB == 0 => format!("{}G", bytes / GIB),
        bytes if bytes % MIB == 0 => format!("{}M", bytes / MIB),
        bytes => bytes.to_string(),
    }
}

fn device(pool: &Pool) -> String {
    pool.live.as_ref().map_or_else(|| pool.name.clone(), |live| live.dm_name.clone())
}

/// The pool, or the two volumes, that are meant.
///
/// # Errors
/// There is neither.
pub fn target<'a>(request: &Request, facts: &'a Facts) -> Result<Target<'a>, Refusal> {
    if let Some((data, metadata)) = volumes(request, &facts.ground) {
        return Ok(Target::Volumes { data, metadata });
    }
    let pools = activation::choose("configure docker", &request.chosen(), &facts.ground.pools, &facts.ground.lvm)?;
    pools.first().map(|pool| Target::Pool(pool)).ok_or_else(|| Refusal {
        message: format!("there is no pool {} on this host", request.pool),
        reasons: Vec::new(),
        hint: Some("list the pools: dmtool status".to_owned()),
    })
}

/// The devices of the volume `data` of the two-volume layout, and of `metadata` beside it, where those are meant.
pub fn volumes(request: &Request, ground: &activation::Facts) -> Option<(String, String)> {
    let lvm = ground.lvm.as_ref().ok()?;
    let is_it = |row: &&LvRow| {
        let name = format!("{}/{}", row.vg_name, row.lv_name);
        row.lv_name == "data"
            && row.segtype == "linear"
            && means(&request.pool, &name, &[&dm_escape(&row.vg_name, &row.lv_name)])
    };
    let data = lvm.lvs.iter().find(is_it)?;
    let metadata = lvm.lv(&data.vg_name, "metadata").filter(|row| row.segtype == "linear")?;
    let path = |lv: &str| format!("/dev/mapper/{}", dm_escape(&data.vg_name, lv));
    Some((path(&data.lv_name), path(&metadata.lv_name)))
}

fn barred(file: &ConfigFile, reasons: &mut Reasons) {
    if let Some(why) = &file.barred {
        reasons.add_with_hint(
            why.clone(),
            format!("name the file itself with --config, or mend it: ls -ld {}", quoted(&file.path)),
        );
    }
}

/// What Docker, or the kernel under it, would refuse about the pool.
fn pool(target: &Target<'_>, facts: &Facts, reasons: &mut Reasons) {
    let pool = match target {
        Target::Volumes { data, metadata } => return volumes_fit(target, (data, metadata), facts, reasons),
        Target::Pool(pool) => pool,
    };
    let name = &pool.name;
    if is_dockers_own(name) {
        let why = format!("{name} is a pool that Docker makes itself, and takes down when it ends.");
        return reasons.add_with_hint(why, "name a pool of LVM's, or the volume data of the two-volume layout");
    }
    let Some(live) = &pool.live else {
        let why = format!("{name} is down, so that Docker would not find it.");
        return reasons.add_with_hint(why, format!("bring it up: dmtool activate {}", quoted(name)));
    };
    if let Some(outer) = layer_over(&live.dm_name) {
        reasons.add_with_hint(
            format!("LVM has volumes in {name}, so that {outer} is no thin-pool: Docker would refuse it."),
            "give Docker a pool of its own: dmtool setup DEVICE",
        );
    }
    if pool.mode() != Some(Mode::Rw) || pool.figures().is_none_or(|figures| figures.needs_check) {
        let hint = format!("see what mends it: dmtool check {}", quoted(name));
        reasons.add_with_hint(format!("{name} is not well."), hint);
    }
    if let Some(figures) = pool.figures() {
        let used = figures.data_used.0 > 0 || figures.transaction_id > 0;
        first_use(name, used, target, facts, reasons);
    }
    others(pool, facts, reasons);
}

/// Both are up, and nobody's but Docker's.
fn volumes_fit(target: &Target<'_>, (data, metadata): (&str, &str), facts: &Facts, reasons: &mut Reasons) {
    let Ok(names) = &facts.ground.names else {
        return reasons.add("Whether the two volumes are up could not be looked at.");
    };
    for path in [data, metadata] {
        if !path.strip_prefix("/dev/mapper/").is_some_and(|name| names.contains(name)) {
            reasons.add_with_hint(format!("{path} is down."), format!("bring it up: lvchange --activate y {path}"));
        }
    }
    let Some(volumes) = facts.volumes.as_ref().filter(|_| reasons.is_empty()) else { return };
    match &volumes.head {
        Err(why) => return reasons.add(format!("What {metadata} holds could not be looked at: {why}.")),
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
    let used = matches!(volumes.head, Ok(Head::Of(_)));
    first_use(data, used, target, facts, reasons);
}

/// Docker takes a pool for its first use only as it was made: no block used, transaction 0 (deviceset.go of its
/// devicemapper driver).
fn first_use(name: &str, used: bool, target: &Target<'_>, facts: &Facts, reasons: &mut Reasons) {
    let root = &facts.docker.root;
    match &facts.docker.base {
        _ if runs_on(target, facts) => {}
        Err(why) => reasons.add(format!("What Docker has in {root} could not be looked at: {why}.")),
        Ok(Some(_)) if !used => reasons.add_with_hint(
            format!(
                "{root}/devicemapper is of another pool: Docker would look for its volumes in {name}, which is new."
            ),
            format!("with Docker stopped, move what Docker has away: mv {0} {0}.old", quoted(root)),
        ),
        Ok(None) if used => reasons.add_with_hint(
            format!("{name} was used before, and Docker takes no such pool for its first use."),
            "give Docker a new pool: dmtool setup DEVICE",
        ),
        Ok(_) => {}
    }
}

/// Two that hand out thin ids of one pool destroy each other's volumes.
fn others(pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let consumers = match &facts.consumers {
        Ok(consumers) => consumers,
        Err(why) => {
            return reasons.add(format!("Who else is configured for {} could not be looked at: {why}.", pool.name));
        }
    };
    let names = pool.dm_names();
    for other in consumers.iter().filter(|one| one.name != "Docker" && means(&one.pool, &pool.name, &names)) {
        reasons.add_with_hint(
            format!("{} is configured for {} ({}): two cannot share a pool.", other.name, pool.name, other.file),
            "give Docker a pool of its own: dmtool setup DEVICE",
        );
    }
}

/// What the daemon itself would refuse.
fn daemon(request: &Request, target: &Target<'_>, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
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
        Ok(left) if !left.is_empty() => plan.warnings.push(format!(
            "images and containers that Docker keeps in {} with {} are not seen with devicemapper; they stay on the disk",
            docker.root,
            left.join(", ")
        )),
        Ok(_) => {}
        Err(why) => reasons.add(format!("What Docker has in {} could not be looked at: {why}.", docker.root)),
    }
    if let (Some(asked), Ok(Some(base))) = (request.base_size, &docker.base)
        && asked < *base
    {
        let why = format!("Docker's base volume has {base} already, and Docker does not start with a smaller size.");
        reasons.add_with_hint(why, "leave --base-size out");
    }
    if matches!(target, Target::Pool(pool) if LvmName::parse(&pool.name).is_err() && pool.record.is_none()) {
        plan.warnings.push(format!(
            "{0} is in no register, so nothing brings it back after a boot: dmtool activate {0} --remember",
            request.pool
        ));
    }
}

/// Docker says that it runs on this. Of a pool of its own it repeats what it was told, so the pool's table is looked at.
fn runs_on(target: &Target<'_>, facts: &Facts) -> bool {
    let Some(Ok(info)) = &facts.docker.info else { return false };
    info.driver == "devicemapper"
        && match target {
            Target::Pool(pool) => info.pool.as_deref() == Some(device(pool).as_str()) && info.data.is_none(),
            Target::Volumes { .. } => {
                let number = facts.volumes.as_ref().and_then(|volumes| volumes.number.as_ref());
                let pools = facts.ground.pools.iter().flatten();
                let its = pools.filter(|pool| Some(&pool.name) == info.pool.as_ref());
                let tables = its.filter_map(|pool| pool.live.as_ref()?.table.as_ref().ok());
                number.is_some() && tables.into_iter().any(|table| Some(&table.data_device) == number)
            }
        }
}
