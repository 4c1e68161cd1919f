//! `dmtool volume orphans`: volumes without an owner, and owners without a volume.

use super::look::{Seen, seen};
use crate::commands::metadata::view::{self, told};
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, consumers, host, owners};
use crate::plan::Plan;
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::orphans::{Facts, doubts, orphans, remove};
use crate::report::{json, volumes as report};
use serde_json::Value;

/// Find thin ids that are in nobody's books, and entries in books whose volume is gone
///
/// The pool's metadata is compared with what LVM, the register, Docker and containerd have written down. With --remove
/// the first are deleted, and the entries of LVM and the register go; those of Docker and containerd are theirs. Nothing
/// is removed while some of these books could not be read, or while Docker is in the middle of a transaction.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// Remove them
    #[arg(long)]
    remove: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    if args.remove {
        return drive(&Remove { pool: args.pool }, globals);
    }
    let facts = told(Remove::NAME, globals, facts(&args.pool, &mut Host::new(globals.lock_limit)))?;
    let found = orphans(&facts);
    let doubts = doubts(&facts, &found);
    for warning in facts.inventory.warnings.iter().chain(&doubts) {
        globals.voice.warn(warning);
    }
    if globals.voice.json {
        globals.voice.json(&json::orphans(&facts.pool, &facts.inventory, &found, &doubts));
    } else {
        globals.voice.answer(&report::orphans(&facts.pool.name, &facts.inventory, &found));
    }
    Ok(())
}

fn facts(pool: &str, host: &mut Host) -> Result<Facts, Problem> {
    let seen = seen(Remove::NAME, &Chosen::One(pool.to_owned()), None, host)?;
    let Seen { pool, inventory, claims } = seen.ok_or_else(|| view::interrupted(Remove::NAME))?;
    let daemons = consumers::Daemons::look().map_err(|why| view::unseen(&pool.name, &why))?;
    let at_work = daemons.at_work();
    Ok(Facts { pool, inventory, claims, strayed: owners::strayed(), at_work })
}

struct Remove {
    pool: String,
}

impl Verb for Remove {
    type Facts = Result<Facts, Problem>;
    const NAME: &'static str = "volume orphans";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Self::Facts {
        facts(&self.pool, host)
    }

    fn plan(&self, facts: &Self::Facts) -> Result<Plan, Refusal> {
        match facts {
            Ok(facts) => remove(facts),
            Err(problem) => Err(Refusal::from(problem)),
        }
    }

    fn heading(&self) -> String {
        format!("This removes from {} what has no owner, and entries without a volume:", self.pool)
    }

    fn pool(&self, facts: &Self::Facts) -> Value {
        facts.as_ref().map_or(Value::Null, |facts| json::pool(&facts.pool))
    }

    fn more(&self, facts: &Self::Facts) -> Option<(&'static str, Value)> {
        facts.as_ref().ok().map(|facts| ("orphans", json::orphans_of(&facts.pool, &orphans(facts))))
    }

    fn success(&self, _facts: &Self::Facts, changed: bool) -> String {
        if changed {
            format!("What had no owner is gone from {}.", self.pool)
        } else {
            format!("There is nothing without an owner to remove from {}.", self.pool)
        }
    }
}
