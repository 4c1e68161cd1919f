//! The executor: walks a plan step by step, stops between two steps on a signal and after a failure.

mod bare;
mod config;
mod discards;
mod metadata;
mod recount;
mod still;
mod swap;
mod teardown;
mod volume;

use crate::exit::{AGAIN, Kind, Problem};
use crate::names::LvmName;
use crate::observe::{Host, device, filter, lvm, moved, profile, stilled, taken};
use crate::plan::step::{OfVolume, Step};
use crate::plan::{Plan, has_failed};
use crate::sys::copy::Tell;
use crate::sys::dm::Control;
use crate::sys::lvm2cmd::{LvmError, NotBegun, lock_file};
use crate::sys::signal::Stop;
use crate::sys::udev::{Stalled, Watch};
use crate::sys::{block, exec, file, lock, loopdev};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Done,
    Already,
    Planned,
    Failed,
    NotRun,
}

/// A step with what became of it.
#[derive(Debug, Clone)]
pub struct Applied {
    pub step: Step,
    pub status: Status,
}

/// Told to whoever shows progress.
pub enum Event<'a> {
    Begins(&'a Step),
    /// So much of it is done, of so much.
    Share(u64, u64),
    Ended(&'a Step, Status),
}

/// Applies a plan. What LVM warned of on the way is added to `warnings`.
///
/// # Errors
/// The step that failed, or that somebody asked for an end. What was done is in the list either way.
pub fn apply(
    plan: &Plan,
    host: &mut Host,
    stop: &Stop,
    warnings: &mut Vec<String>,
    mut tell: impl FnMut(Event<'_>),
) -> (Vec<Applied>, Result<(), Problem>) {
    let mut applied: Vec<Applied> = Vec::new();
    let mut ended = Ok(());
    let mut failures: BTreeMap<&str, Problem> = BTreeMap::new();
    let watch = (!plan.nothing_to_do()).then(Watch::begin);
    for planned in &plan.steps {
        let step = &planned.step;
        let status = if planned.already {
            Status::Already
        } else if ended.is_err()
            || planned.part.as_deref().is_some_and(|part| has_failed(part, |part| failures.contains_key(part)))
        {
            Status::NotRun
        } else if stop.asked() {
            ended = Err(interrupted(&applied));
            Status::NotRun
        } else {
            tell(Event::Begins(step));
            let done = run(step, host, stop, warnings, &mut |done, of| tell(Event::Share(done, of)));
            match unless_stalled(done, watch.as_ref()) {
                Ok(()) => Status::Done,
                Err(error) => {
                    let mut problem = failed(step, &applied, &error);
                    // One that ends early when it is asked to, and says so.
                    if stop.asked() {
                        problem.kind = Kind::Interrupted;
                    }
                    match planned.part.as_deref() {
                        Some(part) => drop(failures.insert(part, problem)),
                        None => ended = Err(problem),
                    }
                    Status::Failed
                }
            }
        };
        tell(Event::Ended(step, status));
        applied.push(Applied { step: step.clone(), status });
        if step.decides() && status == Status::Done {
            break;
        }
    }
    (applied, ended.and_then(|()| together(failures)))
}

/// Takes away what killed runs left in the kernel, of ours and without a live table: it would hold what it was to stand
/// on. To be called by who holds dmtool's lock: another's may be on its way.
pub fn sweep() {
    let Ok(control) = Control::open() else { return };
    for name in device::left_nodes(&control).unwrap_or_default() {
        // What cannot be removed is in somebody's way, who says so.
        let _ = control.remove(&name);
    }
}

/// Takes away what was written down for a run that did not come to take it away itself. To be called by who holds dmtool's
/// lock, after its own run.
pub fn tidy(host: &mut Host) {
    // A boot ends whatever stood still.
    for over in stilled::of_other_boots().unwrap_or_default() {
        let _ = file::remove(&over);
    }
    recount::tidy();
    if taken::is_over(|| lvm::look(host)) {
        // Where it stays, the next run finds it again.
        let _ = file::remove(Path::new(taken::PATH));
    }
}

/// What was done while udev stood still is not known to be done: nodes and links may be missing.
fn unless_stalled(done: Result<()>, watch: Option<&Watch>) -> Result<()> {
    match (done, watch.and_then(Watch::stalled)) {
        (done, None) => done,
        (Ok(()), Some(stalled)) => Err(stalled.into()),
        (Err(why), Some(stalled)) => Err(why.context(stalled)),
    }
}

/// What went wrong with the parts of a plan, as one problem.
fn together(failures: BTreeMap<&str, Problem>) -> Result<(), Problem> {
    let mut failures = failures.into_values();
    let Some(mut problem) = failures.next() else { return Ok(()) };
    for other in failures {
        problem.causes.push(other.message);
        problem.causes.extend(other.causes);
    }
    Err(problem)
}

/// The one match from a step to the wall.
#[expect(clippy::too_many_lines, reason = "one match over all steps")]
fn run(step: &Step, host: &mut Host, stop: &Stop, warnings: &mut Vec<String>, share: Tell<'_>) -> Result<()> {
    match step {
        Step::WipeDevice { device, .. } => exec::run("wipefs", &["--all", device]).map(drop),
        Step::WriteProfile { path, text, .. } => file::replace(path, text, 0o644),
        Step::GrowFile { path, size } => file::grow(Path::new(path), size.0),
        Step::SetCapacity { device } => block::set_capacity(&format!("/dev/{device}")),
        Step::SwapTable { dm_name, from, to, table } => swap::swap(dm_name, (*from, table), (*to, table)),
        Step::Record { record, made } => bare::record(record, *made),
        Step::MakeFile { path, size } => file::make(Path::new(path), size.0),
        Step::Attach { path } => loopdev::attach(Path::new(path)).map(drop),
        Step::Detach { path } => loopdev::detach(Path::new(path)),
        Step::CheckMetadata { name, place } => bare::check(name, place),
        Step::MakePool { record, length } => bare::make_pool(record, *length),
        Step::MakeVolume { pool, device, thin_id, size } => bare::bring_up(pool, device, *thin_id, *size),
        Step::MakeThin { pool, volume } => bare::make_thin(pool, volume, None),
        Step::MakeFileSystem { pool, device, fs } => bare::make_file_system(pool, device, fs),
        Step::HandOut { pool, device } => bare::hand_out(pool, device),
        Step::RemoveDevice { device } => Control::open()?.remove(device.as_str()),
        // The look that follows is the examination: it is a fact of the next plan.
        Step::Examine { .. } => Ok(()),
        Step::BeginRepair { repair } => metadata::write(repair),
        Step::BackUpMetadata { repair } => metadata::back_up(host, repair, stop, share),
        Step::BuildMetadata { repair } => metadata::build(repair, stop),
        Step::FillVolume { volume, from } => metadata::fill(volume, from, share),
        Step::CompareMetadata { repair, with } => metadata::compare(host, repair, with),
        Step::AdoptMetadata { repair } => metadata::adopt(host, repair, stop),
        Step::WriteMetadata { place, from, .. } => metadata::write_over(place, from, share),
        Step::NoteRepair { repair, stage } => metadata::note(repair, *stage),
        Step::EndRepair { repair, keeps_old } => metadata::end(repair, *keeps_old),
        Step::WriteConfig { path, old, text, backup } => config::write(path, (old.as_deref(), text), backup.as_deref()),
        Step::StopService { units } => config::stop(units),
        Step::BeginMove { moved } => config::begin_move(moved),
        Step::MoveFolder { moved } => config::move_aside(moved),
        Step::EndMove => file::remove(Path::new(moved::PATH)),
        Step::RestartService { service, back, undo } => {
            config::restart(service, back.as_deref(), undo.as_deref(), stop)
        }
        Step::Teardown(part) if part.lvm_words().is_none() => teardown::run(part, host),
        Step::Volume(part) if part.lvm_words().is_none() => volume::run(part, host),
        Step::Discards(part) if part.lvm_words().is_none() => discards::run(part, host),
        Step::Teardown(_)
        | Step::Volume(_)
        | Step::Discards(_)
        | Step::CreateGroup { .. }
        | Step::ExtendGroup { .. }
        | Step::RemoveLabel { .. }
        | Step::ExtendMetadata { .. }
        | Step::ExtendData { .. }
        | Step::ExtendVolume { .. }
        | Step::CreatePool { .. }
        | Step::CreateVolume { .. }
        | Step::ConvertPool { .. }
        | Step::AttachProfile { .. }
        | Step::Refresh { .. }
        | Step::Monitor { .. }
        | Step::Unmonitor { .. }
        | Step::Activate { .. }
        | Step::Deactivate { .. }
        | Step::SwapMetadata { .. }
        | Step::RepairBySpare { .. }
        | Step::RemoveVolume { .. }
        | Step::DeactivateComponent { .. } => {
            let mut words = step.lvm_words().unwrap_or_default();
            // Silent: a question of LVM's is answered no, never read from our standard input.
            let mut settings = "log/silent=1".to_owned();
            if matches!(step, Step::Activate { .. }) {
                settings.push_str(&clearing()?);
            }
            // As when dmeventd extends by itself: this command says nothing to it.
            if let Step::ExtendMetadata { keeps_watch: true, .. } | Step::ExtendData { keeps_watch: true, .. } = step {
                settings.push_str(" activation/monitoring=0");
            }
            words.extend(["--config".to_owned(), filter::config(host, &settings)?]);
            if let Step::CreateGroup { devices, .. } | Step::ExtendGroup { devices, .. } = step {
                note_taken(devices)?;
            }
            let before = still::suspended()?;
            // Where it cannot be written down the pool grows all the same.
            if let Some(pool) = step.stills() {
                let _ = stilled::text(pool).map(|text| file::replace_private(&stilled::path_of(pool), &text));
            }
            let changed = match step {
                Step::Volume(OfVolume::Snapshot { origin, .. }) => volume::snapshot(origin, &words, host),
                _ => host.lvm.change(&words, host.lock_limit),
            };
            let reply = match changed {
                Ok(reply) => reply,
                Err(why) => {
                    // Where somebody has LVM's lock, LVM has stilled nothing, and what stands still may be that one's.
                    let locked = lock_file(&why);
                    if locked.is_some_and(|file| labels(step) && !is_a_groups(file)) {
                        let _ = file::remove(Path::new(taken::PATH));
                    }
                    let run_on = if locked.is_some() { Ok(()) } else { still::run_on(&before, host) };
                    return Err(match run_on {
                        Ok(()) => {
                            // What an earlier run left standing stands still after this one, too.
                            let runs = |pool: &&LvmName| volume::stands_still(pool).is_ok_and(|still| !still);
                            let _ = step.stills().filter(runs).map(|pool| file::remove(&stilled::path_of(pool)));
                            why
                        }
                        Err(worse) => why.context(format!("{worse:#}")),
                    });
                }
            };
            for over in step.ends() {
                let _ = file::remove(&stilled::path_of(over));
            }
            if let Step::CreateGroup { .. } | Step::ExtendGroup { .. } = step {
                file::remove(Path::new(taken::PATH))?;
            }
            for warning in reply.warnings.iter().map(|line| lvm::bare_warning(line).to_owned()) {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            Ok(())
        }
    }
}

/// Writes down which disks LVM is about to take into a group.
fn note_taken(devices: &[String]) -> Result<()> {
    let disks = devices.iter().map(|path| taken::disk_at(path)).collect::<Result<Vec<_>, _>>()?;
    file::replace_private(Path::new(taken::PATH), &taken::Taken::new(taken::boot()?, disks).text_of_file()?)
}

/// Has thin_check clear the flag needs_check where it finds no damage, as lvm.conf(5) documents for LVM's default: Debian
/// builds it without (seen), and such a pool would come back read-only each time. An operator's own options stand.
fn clearing() -> Result<String> {
    let own = profile::global_setting("global/thin_check_options")?;
    let ours = r#" global/thin_check_options=["-q","--clear-needs-check-flag"]"#;
    Ok(if own.is_some() { String::new() } else { ours.to_owned() })
}

/// Whether LVM gives a disk its label by it, which it does before it takes the group's lock, and before it looks whether it
/// could write the group down (vgextend; the second seen).
fn labels(step: &Step) -> bool {
    matches!(step, Step::CreateGroup { .. } | Step::ExtendGroup { .. })
}

/// Whether one of LVM's lock files is that of a group.
fn is_a_groups(lock_file: &str) -> bool {
    lock_file.contains("/V_")
}

fn done_before(applied: &[Applied]) -> Option<String> {
    let done: Vec<&str> =
        applied.iter().filter(|applied| applied.status == Status::Done).map(|applied| applied.step.word()).collect();
    (!done.is_empty()).then(|| format!("done before it: {}", done.join(", ")))
}

fn failed(step: &Step, applied: &[Applied], error: &anyhow::Error) -> Problem {
    let mut problem = Problem::from_error(Kind::Failed, format!("the step '{}' failed", step.command()), error);
    let done = done_before(applied);
    if let Some(file) = lock_file(error) {
        let holder = lock::holder_of(file).unwrap_or_else(|| "another LVM command".to_owned());
        problem.causes.insert(0, format!("{holder} holds LVM's lock {file}"));
        if done.is_none() && !(labels(step) && is_a_groups(file)) {
            problem.kind = Kind::Refused;
        }
    }
    if let Some(why) = error.downcast_ref::<LvmError>().and_then(LvmError::not_begun) {
        if done.is_none() && !labels(step) {
            problem.kind = Kind::Refused;
        }
        problem.causes.extend(done);
        return problem.hint(match why {
            NotBegun::CannotArchive => "have the file system of /etc/lvm take writes: mount -o remount,rw /",
            NotBegun::Incomplete => "see which disk is missing, and what to do: dmtool explain volume-group-incomplete",
        });
    }
    problem.causes.extend(done);
    if error.downcast_ref::<Stalled>().is_some() {
        return problem.hint(format!("see what udev is at: systemctl status systemd-udevd; then {AGAIN}"));
    }
    if let Step::MakeVolume { pool, .. } = step
        && problem.causes.iter().any(|cause| cause.contains("ENODATA"))
    {
        return problem.hint(format!(
            "the pool does not have it any more; see whose it was, and forget it: dmtool volume orphans {pool}"
        ));
    }
    if let Step::CheckMetadata { name, .. } = step {
        return problem.hint(format!("see what is damaged, and what to do: dmtool metadata check {name}"));
    }
    problem.hint(format!("{AGAIN}: it goes on where this run stopped"))
}

fn interrupted(applied: &[Applied]) -> Problem {
    let mut problem = Problem::new(Kind::Interrupted, "stopped by a signal between two steps");
    problem.causes.extend(done_before(applied));
    problem.hint(format!("{AGAIN}: it goes on where this run stopped"))
}
