//! `dmtool teardown`: a pool taken down for good.

use super::activation::{is_bare, look};
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::names::{LvmName, means};
use crate::observe::device::Above;
use crate::observe::{Host, Looked, Unseen, config, consumers, device, host, metadata, profile, repair, teardown};
use crate::plan::Plan;
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::teardown::{Config, Facts, Meant, Request, meant, plan};
use crate::plan::two_volumes;
use crate::report::json;
use crate::sys::block::{self, Node};
use serde_json::Value;
use std::path::Path;

/// Remove a pool for good, with all that is in it
///
/// Takes down what stands on the pool, removes it, its volume group where nothing else is in it, the files of a loop
/// pool, its profile and its place in the register, and takes it out of the configuration of Docker and containerd.
/// Refused, by name, while something uses it. The data volume of the two-volume layout (vg-docker/data) stands for both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; or the data volume of the two-volume layout, as vg-docker/data
    #[arg(value_name = "POOL")]
    pool: String,
    /// Make its disks blank: LVM's label, and the first and the last MiB
    #[arg(long)]
    wipe_devices: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    drive(&Down { request: Request { pool: args.pool, wipe: args.wipe_devices } }, globals)
}

struct Down {
    request: Request,
}

impl Verb for Down {
    type Facts = Facts;
    const NAME: &'static str = "teardown";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        let bare = is_bare(&Chosen::One(self.request.pool.clone()));
        preflight::check(Self::NAME, &host::abilities(), Needs { lvm2: !bare, ..Needs::default() })
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let given = &self.request.pool;
        let ground = look(host);
        let pool = ground.pools.iter().flatten().find(|pool| means(given, &pool.name, &pool.dm_names()));
        let name = pool.map_or(given.as_str(), |pool| pool.name.as_str()).to_owned();
        let both = ground.lvm.as_ref().ok().and_then(|lvm| two_volumes::meant(given, lvm));
        let journal = teardown::read_named(&name);
        let begun = journal.as_ref().ok().and_then(|journal| Some(journal.as_ref()?.pool.clone()));
        let of_lvm = both.as_ref().map(|(data, _)| data.clone()).or(begun).or_else(|| LvmName::parse(&name).ok());
        let disks = journal.iter().flatten().flat_map(|journal| &journal.disks);
        let device = |volume: &LvmName| format!("/dev/mapper/{}", volume.dm_name());
        let number = |volume: &LvmName| match block::node(&device(volume)) {
            Ok(Node::Block { major, minor, .. }) => Some((volume.lv.to_string(), format!("{major}:{minor}"))),
            _ => None,
        };
        let content = both.as_ref().map(|(data, metadata)| {
            let unseen = || Err(Unseen(format!("{} is down", device(data))));
            let signature = device::signature(&device(data)).unwrap_or_else(unseen);
            (metadata::head(Path::new(&device(metadata))), signature)
        });
        Facts {
            configs: configs(),
            profile: of_lvm.as_ref().map_or(Ok(None), |name| profile::read(&name.dm_name())),
            disks: disks.map(|disk| (disk.clone(), teardown::edges(disk))).collect(),
            numbers: both.iter().flat_map(|(data, metadata)| [data, metadata]).filter_map(number).collect(),
            content,
            repair: repair::read(&name).map(|repair| repair.is_some()),
            journal,
            ground,
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        // What stands on another pool comes and goes as it likes.
        let above = |facts: &Facts| -> Vec<Above> {
            let Ok(Meant::Pool(pool)) = meant(&self.request, facts) else { return Vec::new() };
            facts.ground.above.iter().filter(|above| above.pool == pool.name).cloned().collect()
        };
        before.configs == now.configs && above(before) == above(now)
    }

    fn heading(&self) -> String {
        format!("Teardown of {}:", self.request.pool)
    }

    fn pool(&self, facts: &Facts) -> Value {
        match meant(&self.request, facts) {
            Ok(Meant::Pool(pool)) => json::pool(pool),
            _ => Value::Null,
        }
    }

    fn success(&self, _facts: &Facts, changed: bool) -> String {
        let pool = &self.request.pool;
        if changed { format!("{pool} is gone.") } else { format!("There is no {pool}: nothing to do.") }
    }
}

/// Docker and containerd, with what they are configured for.
fn configs() -> Vec<Config> {
    let one = |who, path, runs: Looked<bool>, pool: Looked<Option<String>>| match (runs, pool) {
        (Ok(runs), Ok(pool)) => Config { who, runs, pool, file: config::look(path), import: None },
        (runs, Err(why)) => Config { who, runs: runs.unwrap_or(true), pool: None, file: Err(why), import: None },
        (Err(why), _) => Config { who, runs: true, pool: None, file: Err(why), import: None },
    };
    let dockers = || {
        let data = || Ok(consumers::docker_devices()?.map(|devices| devices.data));
        consumers::docker_pool()?.map_or_else(data, |pool| Ok(Some(pool)))
    };
    let snapshotter = consumers::snapshotter(consumers::CONTAINERD);
    let import = snapshotter.as_ref().ok().and_then(|snapshotter| snapshotter.import.clone());
    let pool = snapshotter.map(|snapshotter| snapshotter.pool);
    vec![
        one("Docker", consumers::DOCKER, consumers::docker_runs(), dockers()),
        Config { import, ..one("containerd", consumers::CONTAINERD, consumers::containerd_runs(), pool) },
    ]
}
