//! `dmtool configure docker`: a pool into daemon.json.

use super::{Configures, Memory, around, unless_unseen};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::names::quoted;
use crate::observe::{Host, Unseen, consumers, device, docker, host, looked, metadata};
use crate::plan::Plan;
use crate::plan::configure::Target;
use crate::plan::configure::daemon_json::KNOWN;
use crate::plan::configure::docker::{Facts, Request, Volumes, plan_on, target, volumes};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use crate::sys::block::{self, Node};
use crate::sys::file;
use crate::units::{Bytes, parse_size};
use serde_json::Value;
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
    /// Move what Docker has of another pool or driver aside (/var/lib/docker.bk), and back if Docker does not come up
    #[arg(long)]
    move_data: bool,
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
        move_data: args.move_data,
        base_size: args.base_size,
        min_free_space: args.min_free_space,
        discard: args.discard,
        options: args.option,
    };
    drive(&Configure { request, file: args.config, memory: Memory::default() }, globals)
}

pub struct Configure {
    request: Request,
    file: String,
    memory: Memory,
}

impl Configure {
    /// Docker's own file, with nothing but the pool.
    pub fn plain(pool: String, restart: bool) -> Configure {
        let request = Request {
            pool,
            restart,
            move_data: false,
            base_size: None,
            min_free_space: None,
            discard: false,
            options: Vec::new(),
        };
        Configure { request, file: FILE.to_owned(), memory: Memory::default() }
    }
}

impl Configures for Configure {
    fn plan_on(&self, target: &Target<'_>, facts: &Facts) -> Result<Plan, Refusal> {
        let plan = plan_on(&self.request, target, facts)?;
        self.memory.keep(&plan);
        Ok(plan)
    }
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
        let text = looked(file::read(Path::new(&self.file)));
        let root = consumers::root_by(text.as_ref().ok().and_then(Option::as_deref).unwrap_or_default());
        let docker = docker::look(&root, host::has_systemd());
        let restarted = self.memory.restarted(docker.daemon.map(|daemon| daemon.id));
        let mut around = around(host, &self.file, FILE, restarted);
        // Which folder was looked at, and whether anybody works in it, came from these.
        let seen = text.and(docker.unseen.clone().map_or(Ok(()), Err));
        around.file = unless_unseen(around.file, seen);
        Facts {
            volumes: volumes(&self.request.pool, &around.ground).map(|(data, metadata)| look_at(&data, &metadata)),
            docker,
            around,
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        self.plan_on(&target(&self.request, facts)?, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        before.around.file == now.around.file
            && before.docker.daemon.map(|one| one.id) == now.docker.daemon.map(|one| one.id)
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
        self.memory.picture()
    }

    fn more(&self, _facts: &Facts) -> Option<(&'static str, Value)> {
        Some(self.memory.json())
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let file = &self.file;
        let pool = &self.request.pool;
        if !changed {
            return format!("{file} names {pool} already.");
        }
        let folder = facts.docker.folder.as_ref().ok();
        let moved =
            folder.filter(|folder| self.request.move_data && folder.copy_inode.is_some()).map(|_| facts.docker.copy());
        if self.request.restart {
            let gone = moved.map_or(String::new(), |copy| {
                format!("\nWhat it had before is in {copy}; once nobody needs that: rm -r {}", quoted(&copy))
            });
            return format!("Docker runs on {pool}, as {file} says.{gone}");
        }
        let start = if facts.around.systemd { ": systemctl start docker" } else { "" };
        let gone = moved.map_or(String::new(), |copy| {
            let root = &facts.docker.root;
            let (failed, root, copy) = (quoted(&format!("{root}.failed")), quoted(root), quoted(&copy));
            // Docker has made its folder anew by then.
            let mut back = format!("mv -T {root} {failed}; mv -T {copy} {root}");
            back.extend(self.memory.back().map(|file| format!("; {file}")));
            format!("\nWhat it had before is in {copy}; if it does not come up, stop it, and go back: {back}")
        });
        format!("{file} names {pool}, from Docker's next start on{start}{gone}")
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
