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
use crate::observe::pools::{Kind, Pool};
use crate::observe::thin::Mode;
use crate::units::{Bytes, GIB, MIB};

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
    pub docker: Docker,
    /// Who is configured for a pool.
    pub consumers: Looked<Vec<Consumer>>,
    /// systemd is the one that starts services here.
    pub systemd: bool,
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
    let message = format!("configure docker is refused for {}, nothing was changed", request.pool);
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
                pool(&target, facts, &mut reasons);
                daemon(request, &target, facts, &mut plan, &mut reasons);
                plan.todo(write(file, text));
            }
        },
    }
    if request.restart {
        if !facts.systemd {
            reasons.add_with_hint(
                "systemd does not run here, so Docker cannot be restarted by it.",
                "start Docker yourself",
            );
        }
        plan.put(Step::RestartService { service: "docker" }, runs_on(&target, facts) && plan.nothing_to_do());
    }
    reasons.settle(message)?;
    Ok(plan)
}

fn write(file: &ConfigFile, text: String) -> Step {
    let backup = file.text.is_some().then(|| file.backup.clone());
    Step::WriteConfig { path: file.path.clone(), text, backup }
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
    daemon_json::edited(text, &options(request, target), without(target))
}

/// Options that contradict the pool.
fn without(target: &Target<'_>) -> &'static [&'static str] {
    match target {
        Target::Pool(_) => &["dm.datadev", "dm.metadatadev", "dm.loopdatasize", "dm.loopmetadatasize"],
        Target::Volumes { .. } => &["dm.thinpooldev", "dm.loopdatasize", "dm.loopmetadatasize"],
    }
}

fn options(request: &Request, target: &Target<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| match found.iter_mut().find(|(known, _)| known == key) {
        Some(known) => known.1 = value,
        None => found.push((key.to_owned(), value)),
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
    if let Some(found) = volumes(request, facts) {
        return Ok(found);
    }
    let pools = activation::choose("configure docker", &request.chosen(), &facts.ground.pools, &facts.ground.lvm)?;
    pools.first().map(|pool| Target::Pool(pool)).ok_or_else(|| Refusal {
        message: format!("there is no pool {} on this host", request.pool),
        reasons: Vec::new(),
        hint: Some("list the pools: dmtool status".to_owned()),
    })
}

/// The data volume of the two-volume layout, with the volume `metadata` beside it.
fn volumes<'a>(request: &Request, facts: &Facts) -> Option<Target<'a>> {
    let lvm = facts.ground.lvm.as_ref().ok()?;
    let is_it = |row: &&crate::observe::lvm::LvRow| {
        let name = format!("{}/{}", row.vg_name, row.lv_name);
        row.segtype == "linear" && means(&request.pool, &name, &[&dm_escape(&row.vg_name, &row.lv_name)])
    };
    let data = lvm.lvs.iter().find(is_it)?;
    let metadata =
        lvm.lv(&data.vg_name, "metadata").filter(|row| row.segtype == "linear" && row.lv_name != data.lv_name)?;
    let path = |lv: &str| format!("/dev/mapper/{}", dm_escape(&data.vg_name, lv));
    Some(Target::Volumes { data: path(&data.lv_name), metadata: path(&metadata.lv_name) })
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
    match target {
        Target::Volumes { .. } => volumes_are_up(target, facts, reasons),
        Target::Pool(pool) => {
            let name = &pool.name;
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
                reasons.add_with_hint(
                    format!("{name} is not well."),
                    format!("see what mends it: dmtool check {}", quoted(name)),
                );
            }
            first_use(pool, facts, reasons);
            others(pool, facts, reasons);
        }
    }
}

fn volumes_are_up(target: &Target<'_>, facts: &Facts, reasons: &mut Reasons) {
    let Target::Volumes { data, metadata } = target else { return };
    let Ok(names) = &facts.ground.names else {
        return reasons.add("Whether the two volumes are up could not be looked at.");
    };
    for path in [data, metadata] {
        if !path.strip_prefix("/dev/mapper/").is_some_and(|name| names.contains(name)) {
            reasons.add_with_hint(format!("{path} is down."), format!("bring it up: lvchange --activate y {path}"));
        }
    }
}

/// Docker takes a pool for its first use only as it was made: no block used, transaction 0 (deviceset.go of its
/// devicemapper driver).
fn first_use(pool: &Pool, facts: &Facts, reasons: &mut Reasons) {
    let Some(figures) = pool.figures() else { return };
    let used = figures.data_used.0 > 0 || figures.transaction_id > 0;
    match &facts.docker.has_base {
        Err(why) => reasons.add(format!("What Docker has in {} could not be looked at: {why}.", facts.docker.root)),
        Ok(true) if !used => reasons.add_with_hint(
            format!(
                "{0}/devicemapper is of another pool: Docker would look for its volumes in {1}, which is new.",
                facts.docker.root, pool.name
            ),
            format!("with Docker stopped, move it away: mv {0}/devicemapper {0}/devicemapper.old", facts.docker.root),
        ),
        Ok(false) if used => reasons.add_with_hint(
            format!(
                "{} was used before ({} blocks of data, transaction {}), and Docker takes no such pool for its first use.",
                pool.name, figures.data_used.0, figures.transaction_id
            ),
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
    if docker.runs && !request.restart {
        reasons.add_with_hint(
            "Docker runs: what it has now would be out of its reach after its next start.",
            "stop it: systemctl stop docker.socket docker; or have it restarted: --restart",
        );
    }
    match &docker.told {
        Ok(told) => {
            for told in told {
                reasons.add_with_hint(
                    format!(
                        "{} has {} already: Docker does not start with an option that is given twice.",
                        told.place, told.option
                    ),
                    format!("take it out there: {}", quoted(&told.place)),
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
    if matches!(target, Target::Pool(pool) if LvmName::parse(&pool.name).is_err() && pool.record.is_none()) {
        plan.warnings.push(format!(
            "{} is in no register, so nothing brings it back after a boot: dmtool activate {} --remember",
            request.pool, request.pool
        ));
    }
}

/// Docker says that it runs on this.
fn runs_on(target: &Target<'_>, facts: &Facts) -> bool {
    let Some(Ok(info)) = &facts.docker.info else { return false };
    info.driver == "devicemapper"
        && match target {
            Target::Pool(pool) => info.pool.as_deref() == Some(device(pool).as_str()) && info.data.is_none(),
            Target::Volumes { data, .. } => info.data.as_ref() == Some(data),
        }
}
