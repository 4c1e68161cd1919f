//! `dmtool discards`: where discards end on their way down, and whether a pool hands them on.

use super::activation::known;
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::pools::{self, LvmSide};
use crate::observe::thin::Discard;
use crate::observe::{Host, discards, host, left, looked, lvm, register};
use crate::plan::Plan;
use crate::plan::activation::{Chosen, choose};
use crate::plan::discards::{Facts, Request, asked, plan};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::{discards as report, json};
use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::{Value, json};
use std::cell::Cell;

/// Show how far discards go, and change whether a pool hands them on
///
/// Without a mode it shows the way of a discard layer by layer, from the file systems on the pool's volumes through
/// the pool down to the disk or the file, with what each does. With one it changes what the pool does:
///
/// passdown gives freed chunks back to the pool and hands the discard on to what the pool stands on; no_passdown keeps
/// it to the pool; ignore has nothing come back at all. The first two are swapped while the pool is in use. The kernel
/// switches ignore on and off only while the pool is down. It turns passdown off by itself where the data device cannot
/// take it, and says so in the pool's status alone: that is looked at, and told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// What the pool is to do with discards
    #[arg(value_name = "MODE", value_parser = modes())]
    mode: Option<String>,
}

fn modes() -> PossibleValuesParser {
    let no_passdown = PossibleValue::new(Discard::NoPassdown.word()).alias(Discard::NoPassdown.by_lvm());
    let plain = |discard: Discard| PossibleValue::new(discard.word());
    PossibleValuesParser::new([plain(Discard::Ignore), no_passdown, plain(Discard::Passdown)])
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let mode = args.mode.as_deref().and_then(Discard::of_word);
    match mode {
        Some(asked) => {
            drive(&Change { request: Request { pool: args.pool, asked }, watched: Cell::new(false) }, globals)
        }
        None => show(&Chosen::One(args.pool), globals),
    }
}

fn show(chosen: &Chosen, globals: &Globals) -> Result<(), Problem> {
    let looked = preflight::check(Change::NAME, &host::abilities(), Needs::default()).and_then(|()| {
        let facts = look(&mut Host::new(globals.lock_limit), chosen);
        choose(Change::NAME, chosen, &facts.pools, &facts.lvm)?;
        Ok(facts)
    });
    let outcome = looked.map_err(Problem::from);
    match &outcome {
        Ok(facts) => tell(chosen, facts, globals),
        Err(problem) if globals.voice.json => globals.voice.json(&json::failure(Some(Change::NAME), problem)),
        Err(_) => {}
    }
    outcome.map(drop)
}

fn tell(chosen: &Chosen, facts: &Facts, globals: &Globals) {
    let Some(pool) = chosen.find(&facts.pools) else { return };
    globals.voice.answer(&report::text(pool, asked(pool), facts.chain.as_ref()));
    if globals.voice.json {
        let object = json::pool(pool);
        globals.voice.json(&json!({
            "dmtool": json::FORMAT, "command": Change::NAME, "changed": false, "dry_run": globals.dry_run,
            "steps": [], "warnings": [], "discard": object.get("discard"), "asked": asked(pool).map(Discard::word),
            "pool": object, "chain": report::chain(facts.chain.as_ref()),
        }));
    }
}

fn look(host: &mut Host, chosen: &Chosen) -> Facts {
    let active = looked(host.active_pools());
    let lvm = lvm::look_if_installed(host);
    let register = register::read();
    let pools = pools::all(active, &lvm, &register);
    let pool = chosen.find(&pools);
    let entry = pool.filter(|pool| pool.lvm.is_none()).and_then(|pool| {
        let entry = register.iter().flatten().find(|entry| entry.name == pool.name)?;
        Some(known(entry, std::slice::from_ref(pool)))
    });
    let chain = pool.and_then(|pool| pool.live.as_ref()).map(discards::chain);
    let left = pool.map(left::of).unwrap_or_default();
    Facts { known: entry, left, watched: false, chain, pools, lvm }
}

struct Change {
    request: Request,
    /// dmeventd watched the pool when this run began. LVM takes it away and says it again, and succeeds where that failed.
    watched: Cell<bool>,
}

impl Change {
    fn chosen(&self) -> Chosen {
        Chosen::One(self.request.pool.clone())
    }
}

impl Verb for Change {
    type Facts = Facts;
    const NAME: &'static str = "discards";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let mut facts = look(host, &self.chosen());
        let pool = self.chosen().find(&facts.pools).and_then(|pool| pool.lvm.as_ref());
        self.watched.set(self.watched.get() || pool.is_some_and(LvmSide::monitored));
        facts.watched = self.watched.get();
        facts
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn heading(&self) -> String {
        "Discards:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.chosen().find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn more(&self, facts: &Facts) -> Option<(&'static str, Value)> {
        Some(("chain", report::chain(facts.chain.as_ref())))
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let chosen = self.chosen();
        let Some(pool) = chosen.find(&facts.pools) else { return String::new() };
        let already = if changed { "" } else { " already, nothing was changed" };
        let down = match pool.live {
            None if changed => format!(" It is down: dmtool activate {} brings it up with that.", pool.name),
            _ => String::new(),
        };
        format!("{} is set to {}{already}.{down}", pool.name, self.request.asked.word())
    }

    fn advice(&self, facts: &Facts) -> Vec<String> {
        let why = facts.chain.as_ref().and_then(|chain| chain.as_ref().ok()?.kernels_reason());
        let told = |why: String| {
            format!(
                "the kernel keeps passdown off although {} asks for it: {why}; freed chunks come back to the pool alone",
                self.request.pool
            )
        };
        why.map(told).into_iter().collect()
    }
}
