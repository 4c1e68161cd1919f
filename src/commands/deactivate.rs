//! `dmtool deactivate`: pools out of the kernel, when nothing uses them.

use super::activation::{is_bare, look, sentence};
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, host};
use crate::plan::Plan;
use crate::plan::activation::{Chosen, Facts, deactivate};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use serde_json::Value;

/// Take a pool and its volumes out of the kernel
///
/// Refused, by name, while something uses the pool. Its data stays; dmtool activate brings it back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL", conflicts_with = "all")]
    pool: Option<String>,
    /// Every pool of this host
    #[arg(long)]
    all: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    drive(&Deactivate { chosen: Chosen::from_args(args.pool, args.all) }, globals)
}

struct Deactivate {
    chosen: Chosen,
}

impl Verb for Deactivate {
    type Facts = Facts;
    const NAME: &'static str = "deactivate";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        let needs = Needs { lvm2: !is_bare(&self.chosen), ..Needs::default() };
        preflight::check(Self::NAME, &host::abilities(), needs)
    }

    fn observe(&self, host: &mut Host) -> Facts {
        look(host)
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        deactivate(&self.chosen, facts)
    }

    fn heading(&self) -> String {
        "Deactivation:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.chosen.find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        sentence(&self.chosen, facts, if changed { "is inactive" } else { "was inactive already" })
    }
}
