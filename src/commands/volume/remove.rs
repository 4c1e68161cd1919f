//! `dmtool volume remove`.

use super::ground::{self, find};
use super::look::known;
use crate::commands::metadata::view;
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, Looked, host};
use crate::plan::Plan;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::{Facts, Remove as Request, remove};
use crate::report::json;
use serde_json::Value;
use std::collections::BTreeSet;

/// Remove thin volumes
///
/// What a volume holds alone is free in the pool at once; what it shares with a snapshot stays with that. One that is
/// mounted or otherwise in use is refused, and so is one of a program that keeps its own books, as Docker and containerd
/// do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The volumes: their names, or their numbers as id:7
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
    /// Hand their space on to what lies below the pool, too. A loop pool that passes discards down does so by itself
    #[arg(long)]
    discard: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let request = Request { pool: args.pool, volumes: args.volumes, discard: args.discard };
    drive(&Remove { request }, globals)
}

struct Remove {
    request: Request,
}

/// The facts of all volumes, and the thin ids that the pool has, where one was named by its id.
struct Ground {
    facts: Facts,
    ids: Option<Looked<BTreeSet<u64>>>,
}

impl Remove {
    fn names(&self) -> String {
        self.request.volumes.join(", ")
    }
}

impl Verb for Remove {
    type Facts = Ground;
    const NAME: &'static str = "volume remove";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Ground {
        let facts = ground::look(host);
        let by_id = self.request.volumes.iter().any(|typed| typed.starts_with("id:"));
        let pool = find(&facts, &self.request.pool).filter(|_| by_id);
        let ids = pool.map(|pool| {
            let view = view::view(pool, facts.ground.lvm.as_ref().ok(), host.lock_limit);
            let known = known(view, &[], None)?.unwrap_or_default();
            Ok(known.volumes.into_keys().collect())
        });
        Ground { facts, ids }
    }

    fn plan(&self, ground: &Ground) -> Result<Plan, Refusal> {
        remove(&self.request, &ground.facts, ground.ids.as_ref())
    }

    fn heading(&self) -> String {
        format!("This removes {} from {}:", self.names(), self.request.pool)
    }

    fn pool(&self, ground: &Ground) -> Value {
        find(&ground.facts, &self.request.pool).map_or(Value::Null, json::pool)
    }

    fn success(&self, _ground: &Ground, changed: bool) -> String {
        let (names, pool) = (self.names(), &self.request.pool);
        let several = self.request.volumes.len() > 1;
        match (changed, several) {
            (true, false) => format!("{names} is gone from {pool}."),
            (true, true) => format!("{names} are gone from {pool}."),
            (false, _) => format!("There is nothing to remove from {pool}."),
        }
    }
}
