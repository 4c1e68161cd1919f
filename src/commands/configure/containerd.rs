//! `dmtool configure containerd`: a pool into config.toml.

use super::{Configures, Memory, around, unless_unseen};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::names::LvmName;
use crate::observe::{Host, containerd, host, looked};
use crate::plan::Plan;
use crate::plan::configure::config_toml::{self, KNOWN};
use crate::plan::configure::containerd::{Facts, Request, plan_on};
use crate::plan::configure::{Target, pool_named};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use crate::sys::file;
use crate::units::{Bytes, parse_size};
use serde_json::Value;
use std::path::Path;

const FILE: &str = "/etc/containerd/config.toml";

/// Put a pool into containerd's config.toml
///
/// The table of the devmapper snapshotter gets the pool's name, a folder for its record, and the size that every image
/// begins with; comments and all other tables stay. A file that is malformed, or of another version than 2, is refused. So
/// is a pool that somebody else has volumes in: containerd looks at nothing but the pool's name. With --restart containerd
/// is restarted (containers run on meanwhile), and asked whether its snapshotter has the pool.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The file to change
    #[arg(long, value_name = "FILE", default_value = FILE)]
    config: String,
    /// Restart containerd, and see that its snapshotter has the pool
    #[arg(long)]
    restart: bool,
    /// Size that each image's volume has, and each container's (base_image_size) [default: 10G]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    base_size: Option<Bytes>,
    /// Have blocks discarded before a volume is removed (discard_blocks)
    #[arg(long)]
    discard: bool,
    /// Make it the snapshotter that Kubernetes gets (that of the CRI plugin)
    #[arg(long)]
    default: bool,
    /// Any other option of the snapshotter, as fs_type=xfs; may be given again
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    option: Vec<(String, String)>,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is no KEY=VALUE"))?;
    if key == "pool_name" {
        return Err("pool_name is what configure sets by POOL".to_owned());
    }
    let Some((_, is_flag)) = KNOWN.iter().find(|(known, _)| *known == key) else {
        let known: Vec<&str> = KNOWN.iter().map(|(known, _)| *known).collect();
        return Err(format!("containerd's devmapper snapshotter has no option {key}; it has {}", known.join(", ")));
    };
    match (key, value) {
        (_, "true" | "false") if *is_flag => {}
        _ if *is_flag => return Err(format!("{key} is true or false, not '{value}'")),
        ("fs_type", "ext4" | "xfs" | "ext2") => {}
        ("fs_type", _) => return Err(format!("fs_type is ext4, xfs or ext2, not '{value}'")),
        ("base_image_size", _) => drop(parse_size(value)?),
        ("root_path", path) if !path.starts_with('/') => return Err("root_path is a whole path".to_owned()),
        _ => {}
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let request = Request {
        pool: args.pool,
        restart: args.restart,
        base_size: args.base_size,
        discard: args.discard,
        default: args.default,
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
    /// containerd's own file, with nothing but the pool.
    pub fn plain(pool: String, restart: bool) -> Configure {
        let request = Request { pool, restart, base_size: None, discard: false, default: false, options: Vec::new() };
        Configure { request, file: FILE.to_owned(), memory: Memory::default() }
    }

    /// The snapshotter's folder as it is to be.
    fn root(&self, text: &str) -> String {
        let asked = self.request.options.iter().rev().find(|(key, _)| key == "root_path");
        let asked = asked.map(|(_, path)| path.clone());
        let there = || config_toml::setting(text, "root_path").filter(|path| !path.is_empty());
        asked.or_else(there).unwrap_or_else(|| config_toml::default_root(text))
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
    const NAME: &'static str = "configure containerd";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let text = looked(file::read(Path::new(&self.file))).map(Option::unwrap_or_default);
        let mut around = around(host, &self.file, FILE, false);
        let asked = &self.request.pool;
        let there = pool_named(Self::NAME, asked, &around.ground).ok().and_then(|target| target.dm_name());
        let of_new = || LvmName::parse(asked).map_or_else(|_| asked.clone(), |name| name.dm_name());
        let name = there.unwrap_or_else(of_new);
        let root = self.root(text.as_deref().unwrap_or_default());
        let containerd = containerd::look(&self.file, &root, &name, around.systemd);
        // Which folder was looked at, and whether anybody works in it, came from these.
        let seen = text.and(containerd.unseen.clone().map_or(Ok(()), Err));
        around.file = unless_unseen(around.file, seen);
        around.restarted = self.memory.restarted(containerd.daemon.map(|daemon| daemon.id));
        Facts { around, containerd }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        self.plan_on(&pool_named(Self::NAME, &self.request.pool, &facts.around.ground)?, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        let daemon = |facts: &Facts| facts.containerd.daemon.map(|daemon| daemon.id);
        before.around.file == now.around.file && daemon(before) == daemon(now)
    }

    fn heading(&self) -> String {
        format!("Configuration of containerd for {}:", self.request.pool)
    }

    fn pool(&self, facts: &Facts) -> Value {
        match pool_named(Self::NAME, &self.request.pool, &facts.around.ground) {
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
        if self.request.restart {
            return format!("containerd runs, and its snapshotter devmapper has {pool}, as {file} says.");
        }
        let start = if facts.around.systemd { ": systemctl restart containerd" } else { "" };
        format!("{file} names {pool}, from containerd's next start on{start}")
    }
}
