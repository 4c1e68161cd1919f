//! `dmtool configure docker`: a pool into daemon.json.

use crate::commands::{Globals, Verb, activation, drive};
use crate::exit::Problem;
use crate::observe::{Host, Unseen, config, consumers, device, docker, host, metadata};
use crate::plan::Plan;
use crate::plan::configure::daemon_json::KNOWN;
use crate::plan::configure::{Facts, Request, Target, Volumes, edited, plan, target, volumes};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use crate::sys::block::{self, Node};
use crate::sys::file;
use crate::units::{Bytes, parse_size};
use serde_json::Value;
use similar::TextDiff;
use std::cell::RefCell;
use std::path::Path;

const FILE: &str = "/etc/docker/daemon.json";

/// Put a pool into Docker's daemon.json
///
/// The other keys and storage options of the file keep their values and their places; a malformed file is refused. So is
/// what Docker itself would refuse later: a pool that is not as it was made, for Docker's first use of it; a pool that
/// LVM has volumes in; options that stand on Docker's command line as well; Docker 25 and newer, which have no driver for
/// it. Docker must be stopped, or is restarted with --restart, and then asked whether it runs on the pool.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; or the data volume of the two-volume layout, as vg-docker/data
    #[arg(value_name = "POOL")]
    pool: String,
    /// The file to change
    #[arg(long, value_name = "FILE", default_value = FILE)]
    config: String,
    /// Restart Docker, and see that it runs on the pool
    #[arg(long)]
    restart: bool,
    /// Size of the volume that each container gets (dm.basesize)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    base_size: Option<Bytes>,
    /// Share of the pool that must be free for a new volume, in percent (dm.min_free_space)
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=99))]
    min_free_space: Option<u64>,
    /// Give space that containers free back to the pool (dm.mountopt=discard, and dm.blkdiscard on a loop pool)
    #[arg(long)]
    discard: bool,
    /// Any other storage option, as dm.fs=ext4; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    option: Vec<(String, String)>,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is no KEY=VALUE"))?;
    let name = key.strip_prefix("dm.").unwrap_or(key);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
        return Err(format!("'{key}' is no option of Docker's devicemapper driver, as dm.fs"));
    }
    if ["thinpooldev", "datadev", "metadatadev"].contains(&name) {
        return Err(format!("dm.{name} is what configure sets by POOL"));
    }
    let key = format!("dm.{name}");
    if !KNOWN.contains(&key.as_str()) {
        return Err(format!("Docker's devicemapper driver has no option {key}; it has {}", KNOWN.join(", ")));
    }
    Ok((key, value.to_owned()))
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let request = Request {
        pool: args.pool,
        restart: args.restart,
        base_size: args.base_size,
        min_free_space: args.min_free_space,
        discard: args.discard,
        options: args.option,
    };
    let seen = RefCell::default();
    drive(&Configure { request, file: args.config, diff: RefCell::default(), seen }, globals)
}

struct Configure {
    request: Request,
    file: String,
    /// What this run changes in the file.
    diff: RefCell<Option<String>>,
    /// The daemon that ran at this run's first look; 0 for none.
    seen: RefCell<Option<u32>>,
}

impl Verb for Configure {
    type Facts = Facts;
    const NAME: &'static str = "configure docker";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let ground = activation::look(host);
        let systemd = Path::new("/run/systemd/system").is_dir();
        let text = file::read(Path::new(&self.file)).ok().flatten();
        let docker = docker::look(&consumers::root_by(&text.unwrap_or_default()), systemd);
        let daemon = docker.daemon.map_or(0, |daemon| daemon.id);
        let restarted = *self.seen.borrow_mut().get_or_insert(daemon) != daemon;
        let facts = Facts {
            volumes: volumes(&self.request, &ground).map(|(data, metadata)| look_at(&data, &metadata)),
            ground,
            docker,
            // Last: nothing that takes its time stands between this look and the write.
            file: config::look(&self.file),
            age: file::age(Path::new(&self.file)),
            is_dockers: self.file == FILE,
            restarted,
            consumers: consumers::consumers(),
            systemd,
        };
        if let Some(diff) = diff(&self.request, &facts) {
            self.diff.borrow_mut().get_or_insert(diff);
        }
        facts
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        before.file == now.file && before.docker.daemon.map(|one| one.id) == now.docker.daemon.map(|one| one.id)
    }

    fn heading(&self) -> String {
        format!("Configuration of Docker for {}:", self.request.pool)
    }

    fn pool(&self, facts: &Facts) -> Value {
        match target(&self.request, facts) {
            Ok(Target::Pool(pool)) => json::pool(pool),
            _ => Value::Null,
        }
    }

    fn picture(&self, _facts: &Facts) -> Option<String> {
        // A tab is one of the characters that reach no terminal raw.
        self.diff.borrow().as_ref().map(|diff| diff.replace('\t', "    "))
    }

    fn more(&self, _facts: &Facts) -> Option<(&'static str, Value)> {
        Some(("diff", self.diff.borrow().clone().map_or(Value::Null, Value::from)))
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let file = &self.file;
        let pool = &self.request.pool;
        if !changed {
            return format!("{file} names {pool} already.");
        }
        if self.request.restart {
            return format!("Docker runs on {pool}, as {file} says.");
        }
        let start = if facts.systemd { ": systemctl start docker" } else { "" };
        format!("{file} names {pool}, from Docker's next start on{start}")
    }
}

fn look_at(data: &str, metadata: &str) -> Volumes {
    let number = match block::node(data) {
        Ok(Node::Block { major, minor, .. }) => Some(format!("{major}:{minor}")),
        _ => None,
    };
    let signature = device::signature(data).unwrap_or_else(|| Err(Unseen(format!("{data} is no block device"))));
    Volumes { number, head: metadata::head(Path::new(metadata)), signature }
}

fn diff(request: &Request, facts: &Facts) -> Option<String> {
    let file = facts.file.as_ref().ok()?;
    let after = edited(request, &target(request, facts).ok()?, file, facts).ok()??;
    let before = file.text.clone().unwrap_or_default();
    let diff = TextDiff::from_lines(before.as_str(), after.as_str());
    let header = (format!("{} as it is", file.path), format!("{} as it will be", file.path));
    Some(diff.unified_diff().header(&header.0, &header.1).to_string().trim_end().to_owned())
}
