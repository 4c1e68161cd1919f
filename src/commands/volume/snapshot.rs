//! `dmtool volume snapshot`: a volume that begins as another one is now.

use super::ground::{self, find};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, host};
use crate::plan::Plan;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::{Facts, Snapshot as Request, snapshot};
use crate::report::json;
use serde_json::Value;

/// Make a snapshot of a thin volume
///
/// It begins as the volume is now, and both are written to independently from then on; what they have in common takes
/// space once. The volume stands still meanwhile, and a file system on it is whole in the snapshot. The snapshot is
/// active, and so it is after each boot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The volume: its name, or its number as id:7
    #[arg(value_name = "ORIGIN")]
    origin: String,
    /// What to call the snapshot
    #[arg(value_name = "NAME", value_parser = super::create::parse_name)]
    name: String,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    drive(&Snapshot { request: Request { pool: args.pool, origin: args.origin, name: args.name } }, globals)
}

struct Snapshot {
    request: Request,
}

impl Verb for Snapshot {
    type Facts = Facts;
    const NAME: &'static str = "volume snapshot";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        ground::look_before_one_is_made(host, &self.request.pool)
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        snapshot(&self.request, facts)
    }

    fn heading(&self) -> String {
        format!("The snapshot {} of {} on {}:", self.request.name, self.request.origin, self.request.pool)
    }

    fn pool(&self, facts: &Facts) -> Value {
        find(facts, &self.request.pool).map_or(Value::Null, json::pool)
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let what = if changed { "is ready" } else { "was there already, nothing was changed" };
        ground::sentence(facts, (&self.request.pool, &self.request.name), what)
    }
}
