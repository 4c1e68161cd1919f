//! The plan of `dmtool configure containerd`.

use super::config_toml::{self, PLUGIN, Setting};
use super::{Around, Target, back, file, forgotten, pool_named, restartable, short, target_fits};
use crate::observe::config::ConfigFile;
use crate::observe::consumers::Snapshotter;
use crate::observe::containerd::Containerd;
use crate::plan::Plan;
use crate::plan::refusal::{Reasons, Refusal};
use crate::plan::step::Step;
use crate::units::{Bytes, GIB};

/// What every snapshot of an image begins with, where nothing is said.
const BASE_SIZE: Bytes = Bytes(10 * GIB);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub pool: String,
    pub restart: bool,
    /// Absent: what stands there, or 10 GiB.
    pub base_size: Option<Bytes>,
    pub discard: bool,
    /// The CRI plugin is to use it.
    pub default: bool,
    /// Any other, with its key as containerd has it.
    pub options: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub around: Around,
    pub containerd: Containerd,
}

/// # Errors
/// Every reason why nothing is begun.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan, Refusal> {
    plan_on(request, &pool_named("configure containerd", &request.pool, &facts.around.ground)?, facts)
}

/// As [`plan`], with a pool that may be made by steps before.
///
/// # Errors
/// As [`plan`]'s.
pub fn plan_on(request: &Request, target: &Target<'_>, facts: &Facts) -> Result<Plan, Refusal> {
    let mut reasons = Reasons::default();
    let mut plan = Plan::default();
    match (facts.around.file.as_ref(), target.dm_name()) {
        (Err(why), _) => reasons.add(format!("Could not look: {why}.")),
        (_, None) => reasons.add_with_hint(
            "containerd makes no pool of two volumes itself.",
            "give it a thin pool: dmtool setup DEVICE",
        ),
        (Ok(found), Some(pool)) => {
            file(edited(request, &pool, found), found, &mut plan, &mut reasons);
            overruled(&pool, facts, plan.nothing_to_do(), &mut reasons);
        }
    }
    if request.restart {
        restart(facts, &mut plan, &mut reasons);
    }
    if !plan.nothing_to_do() {
        target_fits("containerd", target, &facts.around, &mut reasons);
        if reasons.is_empty() {
            first_use(target, facts, &mut plan, &mut reasons);
        }
        daemon(request, facts, &mut plan, &mut reasons);
        plan.warnings.extend(forgotten(target));
    }
    reasons.settle(format!("configure containerd is refused for {}, nothing was changed", request.pool))?;
    Ok(plan)
}

fn edited(request: &Request, pool: &str, file: &ConfigFile) -> Result<Option<String>, String> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut put = |key: &str, value: String, unless_there: bool| {
        settings.retain(|known| known.key != key);
        settings.push(Setting { key: key.to_owned(), value, unless_there });
    };
    put("pool_name", pool.to_owned(), false);
    // Its default, by name: what lies there must stay with the pool.
    put("root_path", config_toml::default_root(file.text.as_deref().unwrap_or_default()), true);
    put("base_image_size", short(request.base_size.unwrap_or(BASE_SIZE)), request.base_size.is_none());
    if request.discard {
        put("discard_blocks", "true".to_owned(), false);
    }
    for (key, value) in &request.options {
        put(key, value.clone(), false);
    }
    config_toml::edited(file.text.as_deref(), &settings, request.default)
}

/// A file that is imported has the last word.
fn overruled(pool: &str, facts: &Facts, is_written: bool, reasons: &mut Reasons) {
    match &facts.containerd.said {
        Err(why) => reasons.add(format!("What containerd is configured for could not be looked at: {why}.")),
        Ok(Snapshotter { pool: said, import: Some(import), .. }) if !is_written || said.as_deref() != Some(pool) => reasons.add_with_hint(
            format!("{import}, which containerd imports, has settings of the devmapper snapshotter that take the place of these."),
            format!("take its section [plugins.\"{PLUGIN}\"] out of {import}"),
        ),
        Ok(_) => {}
    }
}

/// containerd is restarted where it does not have the pool, or was started before its file was changed.
fn restart(facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let (containerd, around) = (&facts.containerd, &facts.around);
    let is_older = containerd.daemon.zip(around.age).is_none_or(|(daemon, age)| daemon.runs > age);
    let done = matches!(containerd.plugin, Some(Ok(Ok(())))) && !is_older && plan.nothing_to_do();
    if !done {
        if around.restarted {
            let why = match &containerd.plugin {
                Some(Ok(Err(why))) => format!("containerd was restarted, and its snapshotter says: {why}."),
                Some(Err(why)) => format!("containerd was restarted, and could not be asked then: {why}."),
                _ => "containerd was restarted, and does not run with the pool.".to_owned(),
            };
            return reasons.add_with_hint(why, "see what it says: journalctl --unit containerd");
        }
        restartable("containerd", containerd.unread_unit, around, reasons);
    }
    let back = back(around, plan);
    plan.put(Step::RestartService { service: "containerd", back, undo: None }, done);
}

/// containerd knows the thin ids of a pool by its own record alone: with another's volumes in it, it makes its own among
/// them.
fn first_use(target: &Target<'_>, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let record = match &facts.containerd.record {
        Ok(record) => record,
        Err(why) => return reasons.add(format!("What containerd has of the pool could not be looked at: {why}.")),
    };
    let name = target.dm_name().unwrap_or_default();
    let figures = target.figures();
    let used = figures.is_some_and(|figures| figures.data_used.0 > 0);
    if figures.is_some_and(|figures| figures.transaction_id > 0) {
        // containerd's own stays 0.
        reasons.add_with_hint(
            format!("{name} was used by Docker or LVM, as its transaction id says."),
            "give containerd a pool of its own: dmtool setup DEVICE",
        );
    } else if used && !record.there {
        reasons.add_with_hint(
            format!("{name} was used before, and containerd has no record of it in {}.", record.path),
            "give containerd a new pool: dmtool setup DEVICE",
        );
    } else if !used && record.there && !matches!(target, Target::Volumes { .. }) {
        plan.warnings.push(format!(
            "{} is there already, and nothing is in {name}: where containerd says \"failed to activate\", stop it and \
             move that file and the metadata.db beside it away",
            record.path
        ));
    }
}

/// What the daemon itself would refuse, or fail with later.
fn daemon(request: &Request, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let containerd = &facts.containerd;
    if !containerd.installed {
        if request.restart {
            reasons.add("containerd is not installed, so it cannot be restarted.");
        } else {
            plan.warnings.push("containerd is not installed".to_owned());
        }
    }
    let text = facts.around.file.as_ref().ok().and_then(|file| file.text.as_deref()).unwrap_or_default();
    let asked =
        |key: &str| request.options.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.clone());
    let of = |key: &str| asked(key).or_else(|| config_toml::setting(text, key)).filter(|value| !value.is_empty());
    let fs = of("fs_type").unwrap_or_else(|| "ext4".to_owned());
    let discards = request.discard || config_toml::is_on(text, "discard_blocks");
    let mut tools = vec![("dmsetup".to_owned(), "dmsetup"), (format!("mkfs.{fs}"), package_of(&fs))];
    if discards {
        tools.push(("blkdiscard".to_owned(), "util-linux"));
    }
    for (tool, package) in tools.iter().filter(|(tool, _)| containerd.missing.contains(tool)) {
        reasons.add_with_hint(
            format!("containerd runs {tool}, which is not installed."),
            format!("install the package {package}"),
        );
    }
    if containerd.daemon.is_some() && !request.restart {
        plan.warnings.push("containerd runs, and reads its file when it starts: --restart has it restarted".to_owned());
    }
    if request.default {
        plan.warnings.push(
            "images that Kubernetes has pulled with another snapshotter are pulled again with this one".to_owned(),
        );
    }
}

fn package_of(fs: &str) -> &'static str {
    if fs == "xfs" { "xfsprogs" } else { "e2fsprogs" }
}
