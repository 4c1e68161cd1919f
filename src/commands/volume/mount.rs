//! `dmtool volume mount` and `dmtool volume unmount`.

use super::ground::{self, find};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, device, host, looked, mounts};
use crate::plan::Plan;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::{self as plan, Facts, Folder, MountGround, Place};
use crate::report::json;
use crate::sys::{block, file};
use serde_json::Value;
use std::path::Path;

/// Mount a thin volume
///
/// It is brought up first where it is down. A snapshot of an xfs is mounted beside its origin, too. Nothing is written to
/// fstab.
#[derive(Debug, clap::Args)]
pub struct MountArgs {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The volume: its name, or its number as id:7
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Where: a folder that is there
    #[arg(value_name = "DIR")]
    place: String,
}

/// Unmount a thin volume, wherever it is mounted
///
/// Its device stays.
#[derive(Debug, clap::Args)]
pub struct UnmountArgs {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The volume: its name, or its number as id:7
    #[arg(value_name = "VOLUME")]
    volume: String,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: MountArgs, globals: &Globals) -> Result<(), Problem> {
    drive(&Mount { request: plan::Mount { pool: args.pool, volume: args.volume }, place: args.place }, globals)
}

/// # Errors
/// The problem to report and to end with.
pub fn undo(args: UnmountArgs, globals: &Globals) -> Result<(), Problem> {
    drive(&Unmount { request: plan::Mount { pool: args.pool, volume: args.volume } }, globals)
}

struct Mount {
    request: plan::Mount,
    place: String,
}

struct Unmount {
    request: plan::Mount,
}

/// The facts of all volumes, and those of the one device.
struct Ground {
    facts: Facts,
    of_device: MountGround,
    place: Place,
}

fn look(request: &plan::Mount, place: &str, host: &mut Host) -> Ground {
    let facts = ground::look(host);
    let (node, dm_name) = plan::device(request, &facts).unzip();
    let number = node.as_deref().map_or(Ok(None), |node| match looked(block::node(node))? {
        block::Node::Block { major, minor, .. } => Ok(Some((major, minor))),
        _ => Ok(None),
    });
    let there = number.as_ref().is_ok_and(Option::is_some);
    // What stands still would hold whoever reads it.
    let both = dm_name.zip(find(&facts, &request.pool));
    let readable = there && both.is_some_and(|(dm_name, pool)| plan::is_readable(&dm_name, pool, &facts));
    let signature = node.filter(|_| readable).and_then(|node| device::signature(&node));
    // Without its number nobody knows what of them is its own.
    let (number, mounts) = match number {
        Ok(number) => (number, mounts::read()),
        Err(why) => (None, Err(why)),
    };
    let of_device = MountGround { number, signature, mounts };
    Ground { facts, of_device, place: folder(place) }
}

fn folder(path: &str) -> Place {
    let Some(real) = looked(file::real(Path::new(path))).ok().flatten() else {
        return Place { path: path.to_owned(), is: Folder::Missing };
    };
    let is = match block::entries(&real) {
        Ok(entries) if entries.is_empty() => Folder::Empty,
        Ok(_) if real.is_dir() => Folder::Used,
        _ => Folder::Other,
    };
    Place { path: real.display().to_string(), is }
}

impl Verb for Mount {
    type Facts = Ground;
    const NAME: &'static str = "volume mount";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Ground {
        look(&self.request, &self.place, host)
    }

    fn plan(&self, ground: &Ground) -> Result<Plan, Refusal> {
        plan::mount(&self.request, &ground.place, &ground.facts, &ground.of_device)
    }

    fn heading(&self) -> String {
        format!("Mounting {} of {} on {}:", self.request.volume, self.request.pool, self.place)
    }

    fn pool(&self, ground: &Ground) -> Value {
        find(&ground.facts, &self.request.pool).map_or(Value::Null, json::pool)
    }

    fn success(&self, ground: &Ground, changed: bool) -> String {
        let verb = if changed { "is mounted on" } else { "was mounted already on" };
        format!("{} {verb} {}.", self.request.volume, ground.place.path)
    }
}

impl Verb for Unmount {
    type Facts = Ground;
    const NAME: &'static str = "volume unmount";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Ground {
        look(&self.request, "/", host)
    }

    fn plan(&self, ground: &Ground) -> Result<Plan, Refusal> {
        plan::unmount(&self.request, &ground.facts, &ground.of_device)
    }

    fn heading(&self) -> String {
        format!("Unmounting {} of {}:", self.request.volume, self.request.pool)
    }

    fn pool(&self, ground: &Ground) -> Value {
        find(&ground.facts, &self.request.pool).map_or(Value::Null, json::pool)
    }

    fn success(&self, _ground: &Ground, changed: bool) -> String {
        let what = if changed { "is unmounted" } else { "is not mounted, nothing was changed" };
        format!("{} {what}.", self.request.volume)
    }
}
