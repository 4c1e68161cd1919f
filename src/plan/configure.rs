//! The plans of `dmtool configure`: a pool into the configuration of what uses it.

pub mod config_toml;
pub mod containerd;
pub mod daemon_json;
pub mod docker;
mod options;

use super::Plan;
use super::activation::{self, Chosen};
use super::refusal::{Reasons, Refusal};
use super::step::Step;
use crate::names::{LvmName, layer_over, means, quoted};
use crate::observe::Looked;
use crate::observe::config::ConfigFile;
use crate::observe::consumers::Consumer;
use crate::observe::pools::{Kind, Pool};
use crate::observe::register::is_dockers_own;
use crate::observe::thin::{Mode, PoolFigures};
use crate::units::{Bytes, GIB, MIB};
use std::time::Duration;

/// What is looked at for every consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    pub ground: activation::Facts,
    pub file: Looked<ConfigFile>,
    /// How long ago the file was changed.
    pub age: Option<Duration>,
    /// It is the one that the consumer reads.
    pub is_its_own: bool,
    /// This run has seen another daemon before.
    pub restarted: bool,
    /// Who is configured for a pool.
    pub consumers: Looked<Vec<Consumer>>,
    /// systemd is the one that starts services here.
    pub systemd: bool,
}

/// What a consumer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    Pool(&'a Pool),
    /// A pool that steps before make.
    NewPool {
        name: String,
        dm_name: String,
        kind: Kind,
    },
    /// The two devices of a pool of Docker's own; `new` where steps before make them.
    Volumes {
        data: String,
        metadata: String,
        new: bool,
    },
}

impl Target<'_> {
    /// The device-mapper name of the pool; none for two volumes.
    pub fn dm_name(&self) -> Option<String> {
        match self {
            Target::Pool(pool) => {
                let down = || LvmName::parse(&pool.name).map_or_else(|_| pool.name.clone(), |name| name.dm_name());
                Some(pool.live.as_ref().map_or_else(down, |live| live.dm_name.clone()))
            }
            Target::NewPool { dm_name, .. } => Some(dm_name.clone()),
            Target::Volumes { .. } => None,
        }
    }

    fn is_loop(&self) -> bool {
        let kind = match self {
            Target::Pool(pool) => Some(pool.kind),
            Target::NewPool { kind, .. } => Some(*kind),
            Target::Volumes { .. } => None,
        };
        kind == Some(Kind::Loop)
    }

    /// How much of the pool is in use, where it is there and up.
    fn figures(&self) -> Option<&PoolFigures> {
        match self {
            Target::Pool(pool) => pool.figures(),
            _ => None,
        }
    }
}

/// The pool that is meant.
///
/// # Errors
/// There is none of that name, or the pools could not be listed.
pub fn pool_named<'a>(verb: &str, name: &str, ground: &'a activation::Facts) -> Result<Target<'a>, Refusal> {
    let pools = activation::choose(verb, &Chosen::One(name.to_owned()), &ground.pools, &ground.lvm)?;
    pools.first().map(|pool| Target::Pool(pool)).ok_or_else(|| Refusal {
        message: format!("there is no pool {name} on this host"),
        reasons: Vec::new(),
        hint: Some("list the pools: dmtool status".to_owned()),
    })
}

/// Plans to write the file, or says why it is left alone; `edited` is the text that it is to have, none where it has it.
fn file(edited: Result<Option<String>, String>, file: &ConfigFile, plan: &mut Plan, reasons: &mut Reasons) {
    match edited {
        Err(why) => {
            let why = format!("{} is left alone: {why}.", file.path);
            reasons.add_with_hint(why, format!("mend it first: {}", mend(file)));
        }
        Ok(None) => plan.already(write(file, file.text.clone().unwrap_or_default())),
        Ok(Some(text)) => {
            if let Some(why) = &file.barred {
                reasons.add_with_hint(
                    why.clone(),
                    format!("name the file itself with --config, or mend it: ls -ld {}", quoted(&file.path)),
                );
            }
            plan.todo(write(file, text));
        }
    }
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

/// What makes the old file of this plan the present one again.
fn back(around: &Around, plan: &Plan) -> Option<String> {
    let file = around.file.as_ref().ok().filter(|file| file.text.is_some() && !plan.nothing_to_do())?;
    Some(format!("mv {} {}", quoted(&file.backup), quoted(&file.path)))
}

/// What stands in the way of a restart, whoever is restarted.
fn restartable(who: &str, unread_unit: bool, around: &Around, reasons: &mut Reasons) {
    if !around.systemd {
        let why = format!("systemd does not run here, so {who} cannot be restarted by it.");
        reasons.add_with_hint(why, format!("leave --restart out, and start {who} yourself"));
    }
    if unread_unit {
        let why = format!("The unit of {who} was changed, and systemd has not read that yet.");
        reasons.add_with_hint(why, "have it read: systemctl daemon-reload");
    }
    if !around.is_its_own {
        reasons.add(format!("--restart goes with the file that {who} reads by itself, and with no other."));
    }
}

/// What a consumer, or the kernel under it, would refuse about a pool that is there.
fn fits(who: &str, pool: &Pool, reasons: &mut Reasons) {
    let name = &pool.name;
    if is_dockers_own(name) {
        let why = format!("{name} is a pool that Docker makes itself, and takes down when it ends.");
        return reasons.add_with_hint(why, "name a pool of LVM's, or the volume data of the two-volume layout");
    }
    let Some(live) = &pool.live else {
        let why = format!("{name} is down, so that {who} would not find it.");
        return reasons.add_with_hint(why, format!("bring it up: dmtool activate {}", quoted(name)));
    };
    if let Some(outer) = layer_over(&live.dm_name) {
        reasons.add_with_hint(
            format!("LVM has volumes in {name}, so that {outer} is no thin-pool: {who} cannot use it."),
            format!("give {who} a pool of its own: dmtool setup DEVICE"),
        );
    }
    if pool.mode() != Some(Mode::Rw) || pool.figures().is_none_or(|figures| figures.needs_check) {
        let hint = format!("see what mends it: dmtool check {}", quoted(name));
        reasons.add_with_hint(format!("{name} is not well."), hint);
    }
}

/// What a consumer would refuse about what it gets, whoever makes that.
fn target_fits(who: &str, target: &Target<'_>, around: &Around, reasons: &mut Reasons) {
    match target {
        Target::Pool(pool) => {
            fits(who, pool, reasons);
            others(who, &pool.name, &pool.dm_names(), around, reasons);
        }
        Target::NewPool { name, dm_name, .. } => {
            others(who, name, std::slice::from_ref(dm_name), around, reasons);
        }
        Target::Volumes { .. } => {}
    }
}

/// Two that hand out thin ids of one pool destroy each other's volumes.
fn others(who: &str, pool: &str, dm_names: &[String], around: &Around, reasons: &mut Reasons) {
    let consumers = match &around.consumers {
        Ok(consumers) => consumers,
        Err(why) => {
            return reasons.add(format!("Who else is configured for {pool} could not be looked at: {why}."));
        }
    };
    for other in consumers.iter().filter(|one| one.name != who && means(&one.pool, pool, dm_names)) {
        reasons.add_with_hint(
            format!("{} is configured for {pool} ({}): two cannot share a pool.", other.name, other.file),
            format!("give {who} a pool of its own: dmtool setup DEVICE"),
        );
    }
}

/// A bare pool that nothing brings back.
fn forgotten(target: &Target<'_>) -> Option<String> {
    match target {
        Target::Pool(pool) if LvmName::parse(&pool.name).is_err() && pool.record.is_none() => Some(format!(
            "{0} is in no register, so nothing brings it back after a boot: dmtool activate {0} --remember",
            pool.name
        )),
        _ => None,
    }
}

/// A size as Go's programs write it (units.RAMInBytes of go-units: powers of 1024).
fn short(size: Bytes) -> String {
    match size.0 {
        bytes if bytes % GIB == 0 => format!("{}G", bytes / GIB),
        bytes if bytes % MIB == 0 => format!("{}M", bytes / MIB),
        bytes => bytes.to_string(),
    }
}
