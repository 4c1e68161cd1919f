//! `dmtool repair`: a pool that will not come up, or came up with a mark to be checked.

mod look;

use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::observe::metadata::Verdict;
use crate::observe::register::is_dockers_own;
use crate::observe::repair::{Repair, Stage};
use crate::observe::{Host, host};
use crate::plan::Plan;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::repair::{Expected, Facts, Request, Wanted, plan};
use crate::report::{json, repair as report};
use look::Memory;
use serde_json::Value;
use std::cell::RefCell;

/// Repair the metadata of a pool, and keep the old until you accept it
///
/// A pool that works and whose metadata is whole is left alone. One that is sick is taken down first; what uses it must
/// be stopped before. Its metadata is copied out and checked. Where there is damage, new metadata is made beside it,
/// dmtool shows what each volume had and has mapped, and asks anew before the new is put in place. The old is kept until
/// --accept; --undo puts it back, as long as nothing was written to the pool.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// Where the copies of the metadata go
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<String>,
    /// Give up the metadata from before the last repair
    #[arg(long, conflicts_with_all = ["undo", "backup_dir"])]
    accept: bool,
    /// Put the metadata from before the last repair back
    #[arg(long, conflicts_with = "backup_dir")]
    undo: bool,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let wanted = match (args.accept, args.undo) {
        (true, _) => Wanted::Accept,
        (_, true) => Wanted::Undo,
        _ => Wanted::Repair,
    };
    drive(&Mend::<false>::new(Request { pool: args.pool, wanted, backup_dir: args.backup_dir }), globals)
}

/// Puts a dump in the place of a pool's metadata.
///
/// # Errors
/// The problem to report and to end with.
pub fn restore(request: Request, globals: &Globals) -> Result<(), Problem> {
    drive(&Mend::<true>::new(request), globals)
}

/// A repair, or the restoring of a dump.
struct Mend<const RESTORES: bool> {
    request: Request,
    memory: RefCell<Memory>,
}

impl<const RESTORES: bool> Mend<RESTORES> {
    fn new(request: Request) -> Self {
        Mend { request, memory: RefCell::default() }
    }
}

impl<const RESTORES: bool> Verb for Mend<RESTORES> {
    type Facts = Facts;
    const NAME: &'static str = if RESTORES { "metadata restore" } else { "repair" };

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        let needs = Needs { thin_check: true, ..Needs::default() };
        preflight::check(Self::NAME, &host::abilities(), needs)
    }

    fn observe(&self, host: &mut Host) -> Facts {
        look::look(&self.request, &mut self.memory.borrow_mut(), host)
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        before.journal == now.journal && before.found == now.found && before.dump == now.dump
    }

    fn heading(&self) -> String {
        match self.request.wanted {
            Wanted::Accept => "Giving the old metadata up:".to_owned(),
            Wanted::Undo => "Putting the old metadata back:".to_owned(),
            Wanted::Repair => "Repair:".to_owned(),
            Wanted::Restore(_) => "Restoring the dump:".to_owned(),
        }
    }

    fn pool(&self, facts: &Facts) -> Value {
        self.request.chosen().find(&facts.ground.pools).map_or(Value::Null, json::pool)
    }

    fn picture(&self, facts: &Facts) -> Option<String> {
        let repair = facts.journal.as_ref().ok()?.as_ref()?;
        let shown = matches!(repair.stage, Stage::Built | Stage::Swapping) && self.request.wanted != Wanted::Accept;
        shown.then(|| report::picture(repair, &names(facts)))
    }

    fn more(&self, facts: &Facts) -> Option<(&'static str, Value)> {
        let repair = facts.journal.as_ref().ok()?.as_ref()?;
        Some(("repair", report::json(repair, &names(facts))))
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let Some(pool) = self.request.chosen().find(&facts.ground.pools) else { return String::new() };
        let name = &pool.name;
        let journal = facts.journal.as_ref().ok().and_then(Option::as_ref);
        match (&self.request.wanted, journal) {
            (Wanted::Accept, _) if changed => {
                format!("The old metadata of {name} is given up, and its copies are removed.")
            }
            (Wanted::Accept, _) => format!("No repair of {name} waits to be accepted."),
            (Wanted::Undo, _) => {
                format!("{name} has its old metadata again, as it was before the repair; the copy of it stays.")
            }
            (_, Some(repair)) if repair.stage == Stage::Swapped => {
                swapped(name, repair, &self.checks(facts), pool.live.is_some())
            }
            _ => self.whole(name, facts, changed, pool.live.is_some()),
        }
    }
}

impl<const RESTORES: bool> Mend<RESTORES> {
    /// Nothing was to be replaced.
    fn whole(&self, name: &str, facts: &Facts, changed: bool, up: bool) -> String {
        if !changed {
            let mut lines = vec![format!("The metadata of {name} is whole: there is nothing to repair.")];
            lines.extend((!up).then(|| format!("The pool is down; to bring it up: {}", activation(name))));
            return lines.join("\n");
        }
        let leaked = facts.found.as_ref().is_some_and(|found| {
            found.as_ref().is_ok_and(|found| matches!(found.verdict, Verdict::Leaked(_) | Verdict::Damaged(_)))
        });
        if !leaked && !up && is_dockers_own(name) {
            return format!("The metadata of {name} is whole. To bring the pool up: {}", activation(name));
        }
        if leaked || !up {
            return format!("{name} is as it was.");
        }
        let mut lines = vec![format!("The metadata of {name} is whole, and the pool is up again.")];
        let checks = self.checks(facts);
        if !checks.is_empty() {
            lines.push("Writes may have failed before: check the file systems before they are used:".to_owned());
            lines.extend(checks.into_iter().map(|check| format!("  {check}")));
        }
        lines.join("\n")
    }

    /// The commands that check the file systems of the volumes.
    fn checks(&self, facts: &Facts) -> Vec<String> {
        let memory = self.memory.borrow();
        let lvm = self.request.chosen().find(&facts.ground.pools).is_some_and(|pool| pool.lvm.is_some());
        let Ok(expected) = &facts.expected else { return Vec::new() };
        expected.iter().filter_map(|volume| check(volume, &memory, lvm)).collect()
    }
}

fn check(volume: &Expected, memory: &Memory, lvm: bool) -> Option<String> {
    let device = &volume.device;
    let tool = match memory.file_systems.get(device).map(String::as_str) {
        Some("ext2" | "ext3" | "ext4") => "e2fsck -f -p",
        Some("xfs") => "xfs_repair",
        Some("btrfs") => "btrfs check",
        Some("swap" | "LVM2_member" | "crypto_LUKS") => return None,
        Some(_) => "fsck -f",
        // It is down, so that what is on it is not known.
        None => "e2fsck -f -p (or xfs_repair)",
    };
    if device.is_empty() {
        return None;
    }
    let up = if lvm { format!("lvchange --activate y {} && ", volume.name) } else { String::new() };
    Some(format!("{up}{tool} {device}"))
}

fn names(facts: &Facts) -> Vec<(String, u64)> {
    facts.expected.iter().flatten().map(|volume| (volume.name.clone(), volume.thin_id)).collect()
}

/// What brings a pool up: its own pool Docker makes when it starts.
fn activation(name: &str) -> String {
    if is_dockers_own(name) {
        return "systemctl start docker".to_owned();
    }
    format!("dmtool activate {name}")
}

fn swapped(name: &str, repair: &Repair, checks: &[String], up: bool) -> String {
    let mut lines = vec![format!("{name} has new metadata; the old is kept as {}. Next:", repair.old)];
    if !up {
        lines.push(format!("  {}", activation(name)));
    }
    lines.extend(checks.iter().map(|check| format!("  {check}")));
    lines.push(format!("  dmtool repair {name} --accept    when all is well: it gives the old metadata up"));
    if !up {
        lines.push(format!("  dmtool repair {name} --undo      instead, before anything is written: back to the old"));
    }
    lines.join("\n")
}
