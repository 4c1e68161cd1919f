//! `dmtool activate`: pools back into the kernel, at every boot.

use super::activation::{look, sentence};
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::{Host, device, host};
use crate::plan::Plan;
use crate::plan::activation::{Chosen, Facts, activate};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use serde_json::Value;
use std::time::Duration;

/// Bring a pool back into the kernel, after a reboot for one
///
/// A pool that is active already is success, so this is safe at every boot. A pool with the flag to skip activation
/// is activated when it is named, and left down by --all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL", conflicts_with = "all")]
    pool: Option<String>,
    /// Every pool of this host
    #[arg(long)]
    all: bool,
    /// Wait this long for the pool's volume group to be found
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let limit = Duration::from_secs(u64::from(args.wait));
    drive(&Activate { chosen: Chosen::from_args(args.pool, args.all), limit }, globals)
}

struct Activate {
    chosen: Chosen,
    limit: Duration,
}

impl Verb for Activate {
    type Facts = Facts;
    const NAME: &'static str = "activate";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs { lvm2: true, thin_check: true, ..Needs::default() })
    }

    fn observe(&self, host: &mut Host) -> Facts {
        device::until(self.limit, || {
            let facts = look(host);
            let found =
                activate(&self.chosen, &facts).is_ok() && facts.pools.as_ref().is_ok_and(|pools| !pools.is_empty());
            (facts, found)
        })
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        activate(&self.chosen, facts)
    }

    fn heading(&self) -> String {
        "Activation:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.chosen.find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        sentence(&self.chosen, facts, if changed { "is active" } else { "was active already" })
    }
}
