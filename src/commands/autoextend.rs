//! `dmtool autoextend`: whether a pool extends itself, when, and by how much.

use super::{Globals, Verb, apart, drive};
use crate::exit::Problem;
use crate::health::{Look, Thresholds, proof};
use crate::observe::pools::{self, Pool};
use crate::observe::profile::{self, NEVER};
use crate::observe::survey::{Depth, Survey};
use crate::observe::{Host, greet_dmeventd, host, left, looked, lvm};
use crate::plan::activation::Chosen;
use crate::plan::autoextend::{Facts, Request, meant, plan, waits};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::{Plan, step::Step};
use crate::report::{health as report, json};
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// dmeventd looks every ten seconds.
const EXTENDS_WITHIN: Duration = Duration::from_secs(30);

/// Show or change whether a pool extends itself, when, and by how much
///
/// Without an option it shows the five things that must hold for an extension to happen. With one it writes the
/// pool's profile, attaches it, brings it into the kernel's table, has dmeventd watch the pool, and looks whether all
/// of it took. Where dmeventd waits after failures, it is made to try again at once. --off sets the threshold to 100
/// and ends the watching.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL")]
    pool: Option<String>,
    /// Extend when data or metadata are fuller than this; 100 is never
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(50..=100))]
    threshold: Option<u64>,
    /// Extend by this share of the size at that time
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    percent: Option<u64>,
    /// Do not extend it any more
    #[arg(long, conflicts_with_all = ["threshold", "percent"])]
    off: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let chosen = Chosen::from_args(args.pool, false);
    if args.threshold.is_none() && args.percent.is_none() && !args.off {
        return show(&chosen, globals);
    }
    let off = args.off || args.threshold == Some(NEVER);
    let request = Request { chosen, threshold: args.threshold, percent: args.percent, off };
    drive(&Autoextend { request, kicked: Cell::new(false) }, globals)
}

fn show(chosen: &Chosen, globals: &Globals) -> Result<(), Problem> {
    let names = match chosen {
        Chosen::One(name) => vec![name.clone()],
        Chosen::Only | Chosen::All => Vec::new(),
    };
    let tell = |survey: &Survey| tell(chosen, survey);
    let told = apart::survey(&names, Depth::Quick, globals, |look| tell(&look()))
        .unwrap_or_else(|why| tell(&Survey::unseen(why)));
    let outcome = told.map_err(|(message, reasons, hint)| Problem::from(Refusal { message, reasons, hint }));
    match &outcome {
        Ok((text, pool)) if globals.voice.json => {
            globals.voice.answer(text);
            globals.voice.json(&json!({
                "dmtool": json::FORMAT, "command": "autoextend", "changed": false, "dry_run": globals.dry_run,
                "steps": [], "warnings": [], "pool": pool,
            }));
        }
        Ok((text, _)) => globals.voice.answer(text),
        Err(problem) if globals.voice.json => globals.voice.json(&json::failure(Some("autoextend"), problem)),
        Err(_) => {}
    }
    outcome.map(drop)
}

type Shown = Result<(String, Value), (String, Vec<String>, Option<String>)>;

fn tell(chosen: &Chosen, survey: &Survey) -> Shown {
    let pools = match (&survey.kernel, &survey.lvm) {
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        _ => Ok(survey.pools.iter().map(|seen| seen.pool.clone()).collect()),
    };
    let lvm = survey.lvm.clone().map(Option::unwrap_or_default);
    let refused = |refusal: Refusal| (refusal.message, refusal.reasons, refusal.hint);
    let (pool, ..) = meant(chosen, &pools, &lvm).map_err(refused)?;
    let seen = survey.pools.iter().find(|seen| seen.pool.name == pool.name);
    let look = seen.map(|seen| Look { survey, seen, thresholds: Thresholds::default() });
    let text = look.map(|look| report::proof(&pool.name, &proof::points(&look))).unwrap_or_default();
    Ok((text, json::pool(pool)))
}

struct Autoextend {
    request: Request,
    /// A plan of this run told dmeventd to try again.
    kicked: Cell<bool>,
}

impl Autoextend {
    fn look(&self, host: &mut Host) -> Facts {
        let active = looked(host.active_pools());
        let dmeventd = active.as_ref().map_err(Clone::clone).and_then(|active| greet_dmeventd(active));
        // One that does not answer LVM would take for one that does not watch.
        host.dmeventd.clone_from(&dmeventd);
        let lvm = lvm::look(host);
        let pools = pools::joined(active, &lvm);
        let pool = self.request.chosen.find(&pools);
        let own = pool.and_then(|pool| crate::names::LvmName::parse(&pool.name).ok()).map(|name| name.dm_name());
        let carried = pool.and_then(|pool| pool.lvm.as_ref()?.profile()).filter(|name| Some(*name) != own.as_deref());
        let profile = own.as_deref().map_or_else(|| Ok(profile::Slot::default()), profile::slot);
        let carried = carried.map_or(Ok(None), profile::read);
        let left = pool.map(left::of).unwrap_or_default();
        Facts { profile, carried, pools, lvm, dmeventd, left, kicked: self.kicked.get() }
    }

    fn still_waits(&self, facts: &Facts) -> bool {
        let settings = |pool: &Pool| pool.lvm.as_ref().and_then(|side| side.autoextend.clone().ok());
        self.request.chosen.find(&facts.pools).is_some_and(|pool| {
            pool.lvm.as_ref().zip(settings(pool)).is_some_and(|(side, settings)| waits(pool, side, settings))
        })
    }
}

impl Verb for Autoextend {
    type Facts = Facts;
    const NAME: &'static str = "autoextend";

    fn asks(&self) -> bool {
        false
    }

    fn preflight(&self) -> Result<(), Refusal> {
        let needs = Needs { lvm2: true, dmeventd: !self.request.off, ..Needs::default() };
        preflight::check(Self::NAME, &host::abilities(), needs)
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let deadline = Instant::now() + EXTENDS_WITHIN;
        loop {
            let facts = self.look(host);
            if !self.kicked.get() || !self.still_waits(&facts) || Instant::now() >= deadline {
                return facts;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        let plan = plan(&self.request, facts)?;
        let kicks = |planned: &crate::plan::Planned| matches!(planned.step, Step::Unmonitor { .. }) && !planned.already;
        if !self.request.off && plan.steps.iter().any(kicks) {
            self.kicked.set(true);
        }
        Ok(plan)
    }

    fn heading(&self) -> String {
        "Autoextension:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.request.chosen.find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let Some((pool, side)) =
            self.request.chosen.find(&facts.pools).and_then(|pool| Some((pool, pool.lvm.as_ref()?)))
        else {
            return String::new();
        };
        let already = if changed { "" } else { " already, nothing was changed" };
        match &side.autoextend {
            Ok(settings) if settings.threshold >= NEVER => format!("{} does not extend itself{already}.", pool.name),
            Ok(settings) => {
                format!("{} extends itself at {}% by {}%{already}.", pool.name, settings.threshold, settings.percent)
            }
            Err(why) => format!("{}: its settings could not be read back: {why}", pool.name),
        }
    }

    fn advice(&self, facts: &Facts) -> Vec<String> {
        let mut advice = Vec::new();
        let Some((pool, side)) =
            self.request.chosen.find(&facts.pools).and_then(|pool| Some((pool, pool.lvm.as_ref()?)))
        else {
            return advice;
        };
        if self.kicked.get() && self.still_waits(facts) {
            advice.push(format!(
                "an extension of {} is due, dmeventd was made to try again, and has not made it within {} s: see \
                 journalctl -u dm-event",
                pool.name,
                EXTENDS_WITHIN.as_secs()
            ));
        }
        let lacks =
            |lvm: &lvm::Lvm| lvm.pvs.iter().any(|pv| pv.vg_name == side.row.vg_name && !pv.pv_missing.is_empty());
        if facts.lvm.as_ref().is_ok_and(lacks) {
            advice.push(format!(
                "a physical volume of {} is missing, and until it is back LVM extends nothing there: dmtool explain \
                 volume-group-incomplete",
                side.row.vg_name
            ));
        }
        if let Ok(settings) = &side.autoextend
            && settings.threshold < NEVER
            && side.extensions_left(pool.figures(), *settings) == 0
        {
            advice.push(format!(
                "{} has no room for an extension of {}: add a disk (dmtool resize {} --add-device DEVICE)",
                side.row.vg_name, pool.name, pool.name
            ));
        }
        advice
    }
}
