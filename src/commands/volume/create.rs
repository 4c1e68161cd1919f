//! `dmtool volume create`: a thin volume with a name.

use super::ground::{self, find};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::pools::Pool;
use crate::observe::{Host, device, host};
use crate::plan::Plan;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::{Create as Request, Facts, FileSystem, create, dm_name, is_readable};
use crate::report::json;
use crate::sys::exec;
use crate::units::{Bytes, parse_size};
use serde_json::Value;

/// Make a thin volume
///
/// Its device is /dev/VG/NAME in a pool of LVM's, and /dev/mapper/POOL-NAME in a loop pool or a bare table. It takes no
/// space until it is written to, and comes back with its pool.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// What to call it
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,
    /// How large it looks, in whole extents of LVM's or whole chunks of a bare pool
    #[arg(value_name = "SIZE", value_parser = parse_volume_size)]
    size: Bytes,
    /// Make a file system on it
    #[arg(long, value_name = "TYPE", value_parser = ["ext4", "xfs"])]
    fs: Option<String>,
}

pub fn parse_name(text: &str) -> Result<String, String> {
    if text.starts_with("id:") {
        return Err(format!("'{text}' means the volume of a number"));
    }
    crate::names::DmName::new(text).map(|name| name.as_str().to_owned())
}

fn parse_volume_size(text: &str) -> Result<Bytes, String> {
    parse_size(text)
        .and_then(|size| if size.0 == 0 { Err(format!("'{text}' is no size for a volume")) } else { Ok(size) })
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let fs = match args.fs.as_deref() {
        Some("xfs") => Some("xfs"),
        Some(_) => Some("ext4"),
        None => None,
    };
    drive(&Create { request: Request { pool: args.pool, name: args.name, size: args.size, fs } }, globals)
}

struct Create {
    request: Request,
}

/// The facts of all volumes, and what a file system needs.
struct Ground {
    facts: Facts,
    fs: FileSystem,
}

impl Verb for Create {
    type Facts = Ground;
    const NAME: &'static str = "volume create";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Ground {
        let Request { pool, name, fs, .. } = &self.request;
        let facts = ground::look_before_one_is_made(host, pool);
        // What stands still would hold whoever reads it.
        let readable = |pool: &&Pool| fs.is_some() && is_readable(&dm_name(pool, name), pool, &facts);
        let device = find(&facts, pool).filter(readable).map(|pool| ground::device(pool, name));
        let signature = device.and_then(|device| device::signature(&device));
        let tool = self.request.fs.is_none_or(|fs| exec::find(&format!("mkfs.{fs}")).is_some());
        Ground { facts, fs: FileSystem { signature, tool, systems: host::systems() } }
    }

    fn plan(&self, ground: &Ground) -> Result<Plan, Refusal> {
        create(&self.request, &ground.facts, &ground.fs)
    }

    fn heading(&self) -> String {
        format!("The volume {} on {}:", self.request.name, self.request.pool)
    }

    fn pool(&self, ground: &Ground) -> Value {
        find(&ground.facts, &self.request.pool).map_or(Value::Null, json::pool)
    }

    fn success(&self, ground: &Ground, changed: bool) -> String {
        let what = if changed { "is ready" } else { "was there already, nothing was changed" };
        ground::sentence(&ground.facts, (&self.request.pool, &self.request.name), what)
    }
}
