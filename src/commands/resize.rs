//! `dmtool resize`: any pool, larger, with its users at work.

use super::activation::known;
use super::{Globals, Verb, drive, usage};
use crate::exit::Problem;
use crate::observe::pools::{self, Live};
use crate::observe::{Host, device, ground, host, left, looked, lvm, register};
use crate::plan::Plan;
use crate::plan::activation::Chosen;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::resize::{Facts, Growth, Request, Targets, plan};
use crate::report::json;
use crate::units::{Bytes, parse_share, parse_size, percent};
use serde_json::Value;
use std::cell::Cell;

/// Make a pool larger, data or metadata, while it is in use
///
/// Works on every kind of pool: volumes of LVM are extended, files under loop devices are made longer, and a bare
/// table gets its new length in one swap. Metadata grows along where the new size needs it. A pool that has the size
/// already is left alone; one never shrinks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new size, such as 200GB, +10G, +20%, max, 95%VG or +100%FREE
    #[arg(value_name = "SIZE")]
    size: Option<String>,
    /// The pool; it may be left out where there is only one
    #[arg(value_name = "POOL")]
    pool: Option<String>,
    /// The new size of the metadata
    #[arg(long, value_name = "SIZE", value_parser = parse_growth)]
    metadata: Option<Growth>,
    /// Take this disk into the pool's volume group first; without a SIZE the pool takes all of it
    #[arg(long, value_name = "DEVICE")]
    add_device: Vec<String>,
}

/// Reads `200G`, `+10G`, `+20%`, `max`, `95%VG` or `+100%FREE`.
///
/// # Errors
/// A sentence that names the text.
pub fn parse_growth(text: &str) -> Result<Growth, String> {
    if text == "max" {
        return Ok(Growth::Max);
    }
    let (more, rest) = text.strip_prefix('+').map_or((false, text), |rest| (true, rest));
    let Some((number, of)) = rest.split_once('%') else {
        let size = parse_size(rest)?;
        return match (size, more) {
            (Bytes(0), _) => Err(format!("'{text}' is no size for a pool")),
            (size, true) => Ok(Growth::By(size)),
            (size, false) => Ok(Growth::To(size)),
        };
    };
    let share = parse_share(number).filter(|share| *share > 0);
    let of = of.to_ascii_uppercase();
    match (share, more, of.as_str()) {
        (Some(share @ 1..=10_000), true, "") => Ok(Growth::ByPercent(share)),
        (Some(share @ 1..=100), false, "VG") => Ok(Growth::PercentOfGroup(share)),
        (Some(share @ 1..=100), true, "FREE") => Ok(Growth::ByPercentOfFree(share)),
        _ => Err(format!("'{}' is not a size: use 200G, +10G, +20%, max, 95%VG or +100%FREE", text.escape_debug())),
    }
}

/// Whether a lone word was meant as a size: then what is wrong with it is said, otherwise it is the pool.
fn looks_like_size(word: &str) -> bool {
    let begins = |c: char| c.is_ascii_digit() || "+-.".contains(c);
    !word.contains('/') && (word.starts_with(begins) || word.ends_with('%'))
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let wrong = |why: String| usage(globals, "resize", why);
    let (size, pool) = match (args.size, args.pool) {
        (Some(word), None) if parse_growth(&word).is_err() && !looks_like_size(&word) => (None, Some(word)),
        words => words,
    };
    let data = size.as_deref().map(parse_growth).transpose().map_err(wrong)?;
    let adds = !args.add_device.is_empty();
    let data = match (data, args.metadata) {
        (None, None) if adds => Some(Growth::Max),
        (None, None) => return Err(wrong("resize needs a SIZE, --metadata SIZE or --add-device DEVICE".to_owned())),
        (data, _) => data,
    };
    if adds && pool.is_none() {
        return Err(wrong("resize --add-device needs the pool's name: it writes on a disk".to_owned()));
    }
    let request = Request { chosen: Chosen::from_args(pool, false), data, metadata: args.metadata, adds };
    drive(&Resize { request, devices: args.add_device, fixed: Cell::new(None) }, globals)
}

struct Resize {
    request: Request,
    devices: Vec<String>,
    /// What the request came to in this run's first plan.
    fixed: Cell<Option<Targets>>,
}

impl Verb for Resize {
    type Facts = Facts;
    const NAME: &'static str = "resize";

    fn asks(&self) -> bool {
        self.request.adds
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs::default())
    }

    fn observe(&self, host: &mut Host) -> Facts {
        host.named.clone_from(&self.devices);
        let active = looked(host.active_pools());
        let lvm = lvm::look_if_installed(host);
        let register = register::read();
        let pools = pools::all(active, &lvm, &register);
        let added = self.devices.iter().map(|given| device::look(given)).collect();
        let left = self.request.chosen.find(&pools).map(left::of).unwrap_or_default();
        let mut facts = Facts { pools, added, left, ground: None, known: None, lvm };
        let Some(pool) = self.request.chosen.find(&facts.pools).filter(|pool| pool.lvm.is_none()) else { return facts };
        let entry = register.iter().flatten().find(|entry| entry.name == pool.name);
        let known = entry.map(|entry| known(entry, std::slice::from_ref(pool)));
        let ground = pool.live.as_ref().map(|live| ground::under(live, &facts.lvm));
        (facts.ground, facts.known) = (ground, known);
        facts
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        let (plan, targets) = plan(&self.request, facts, self.fixed.get())?;
        self.fixed.set(Some(targets));
        Ok(plan)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        before.added == now.added
    }

    fn goes_on_by(&self, facts: &Facts) -> Option<String> {
        let pool = self.request.chosen.find(&facts.pools)?;
        self.request.with_fixed(&pool.name, self.fixed.get()?, &self.devices)
    }

    fn heading(&self) -> String {
        "Resize:".to_owned()
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.request.chosen.find(&facts.pools).map_or(Value::Null, json::pool)
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let Some(pool) = self.request.chosen.find(&facts.pools) else { return String::new() };
        let verb = if changed { "now has" } else { "has that already, nothing was changed:" };
        let chunk = pool.live.as_ref().and_then(Live::chunk);
        let Some((figures, chunk)) = pool.figures().zip(chunk) else {
            return format!("{} {verb} its new size.", pool.name);
        };
        format!(
            "{} {verb} {} of data ({:.1}% used) and {} of metadata ({:.1}% used).",
            pool.name,
            figures.data_total.bytes(chunk),
            percent(figures.data_used.0, figures.data_total.0),
            figures.metadata_total.bytes(),
            percent(figures.metadata_used.0, figures.metadata_total.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_size() {
        for (text, growth) in [
            ("200GB", Growth::To(Bytes(200 << 30))),
            ("+1.5g", Growth::By(Bytes(3 << 29))),
            ("+20%", Growth::ByPercent(20)),
            ("max", Growth::Max),
            ("95%VG", Growth::PercentOfGroup(95)),
            ("+100%free", Growth::ByPercentOfFree(100)),
        ] {
            assert_eq!(parse_growth(text), Ok(growth), "{text}");
        }
        for text in
            ["", "+", "0", "+0", "-1G", "20%", "+0%", "++5%", "101%VG", "+101%FREE", "+5%VG", "50%FREE", "1e9", "MAX"]
        {
            assert!(parse_growth(text).is_err(), "{text}");
        }
        assert!(
            looks_like_size("20X")
                && looks_like_size("+x")
                && looks_like_size("max%")
                && !looks_like_size("docker-253:17-pool")
        );
        assert!(!looks_like_size("0vg/pool"));
    }
}
