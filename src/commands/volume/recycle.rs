//! `dmtool volume recycle`: a used pool as new, for Docker's first use.

use super::look::{Seen, seen};
use crate::commands::activation;
use crate::commands::metadata::view;
use crate::commands::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::metadata::{self, Head};
use crate::observe::{Host, Looked, Unseen, consumers, host};
use crate::plan::Plan;
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::volume::recycle::{Facts, recycle};
use crate::report::json;
use serde_json::Value;

/// Remove everything from a pool, and have it count its transactions from 0 again
///
/// Docker takes over no pool with data in it or with a transaction id, and none that LVM has put a layer over: this makes
/// a used pool fit for its first use. All volumes go, whoever's they are; the pool keeps its size and its settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    drive(&Recycle { pool: args.pool }, globals)
}

struct Recycle {
    pool: String,
}

impl Recycle {
    fn look(&self, host: &mut Host) -> Result<Facts, Problem> {
        let seen = seen(Self::NAME, &Chosen::One(self.pool.clone()), None, host)?;
        let Seen { pool, inventory, claims } = seen.ok_or_else(|| view::interrupted(Self::NAME))?;
        let ground = activation::look(host);
        let down = || -> Looked<u64> {
            let lvm = ground.lvm.as_ref().map_err(Clone::clone)?;
            let open = match (&pool.lvm, &pool.record) {
                (Some(side), _) => metadata::of_lvm(lvm, &side.row.vg_name, &side.row.metadata_lv)?,
                (None, Some(record)) => metadata::of_place(&record.as_ref().map_err(Clone::clone)?.metadata)?,
                (None, None) => return Err(Unseen(format!("{} has no working table", pool.name))),
            };
            match metadata::head(open.path())? {
                Head::Of(superblock) => Ok(superblock.transaction_id),
                Head::Blank => Ok(0),
                Head::Foreign => Err(Unseen(format!("the metadata of {} has no superblock", pool.name))),
            }
        };
        let live = pool.live.as_ref().map(|live| {
            let figures = live.figures().map(|figures| figures.transaction_id);
            figures.ok_or_else(|| Unseen(format!("{} tells no transaction id: it has failed", pool.name)))
        });
        let transaction_id = live.unwrap_or_else(down);
        let daemons = consumers::Daemons::look().map_err(|why| view::unseen(&pool.name, &why))?;
        let at_work = daemons.at_work();
        Ok(Facts { ground, pool, inventory, claims, at_work, transaction_id })
    }
}

impl Verb for Recycle {
    type Facts = Result<Facts, Problem>;
    const NAME: &'static str = "volume recycle";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Self::Facts {
        self.look(host)
    }

    fn plan(&self, facts: &Self::Facts) -> Result<Plan, Refusal> {
        match facts {
            Ok(facts) => recycle(facts),
            Err(problem) => Err(Refusal::from(problem)),
        }
    }

    fn heading(&self) -> String {
        format!("This removes everything from {}:", self.pool)
    }

    fn pool(&self, facts: &Self::Facts) -> Value {
        facts.as_ref().map_or(Value::Null, |facts| json::pool(&facts.pool))
    }

    fn success(&self, _facts: &Self::Facts, changed: bool) -> String {
        let verb = if changed { "is" } else { "was already" };
        format!("{} {verb} as new: no volumes, no chunks in use, transaction 0.", self.pool)
    }
}
