//! One file per verb: its arguments, its request, its call of [`drive`], the pipeline that every verb which can
//! change something passes through.

pub mod activate;
mod activation;
mod apart;
pub mod autoextend;
pub mod check;
pub mod completions;
pub mod configure;
pub mod deactivate;
pub mod discards;
pub mod explain;
pub mod last;
mod loop_pool;
pub mod metadata;
pub mod metrics;
pub mod repair;
pub mod resize;
pub mod setup;
mod setup_for;
pub mod status;
pub mod teardown;

mod two_volumes;
pub mod volume;
pub mod watch;

use crate::apply::{self, Applied, Status};
use crate::exit::{AGAIN, Kind, Problem};
use crate::observe::Host;
use crate::plan::Plan;
use crate::plan::refusal::Refusal;
use crate::plan::step::{Step, Teardown};
use crate::report::json::{self, Change};
use crate::report::{self, Voice};
use crate::sys::lock;
use crate::sys::signal::Stop;
use serde_json::Value;
use std::time::Duration;

/// After a plan was applied the facts are looked at and planned for again: what LVM or udev left open is done then,
/// and the plan that finds everything done is the proof. More rounds than this mean that something undoes it.
const ROUNDS: usize = 3;

/// What every verb is told by its global flags.
#[derive(Debug, Clone)]
pub struct Globals {
    pub voice: Voice,
    pub dry_run: bool,
    pub yes: bool,
    pub lock_limit: Duration,
}

/// A verb that can change things.
pub trait Verb {
    type Facts;
    const NAME: &'static str;

    /// Whether it asks before it begins.
    fn asks(&self) -> bool;
    /// What the host must have; looked at first, once.
    ///
    /// # Errors
    /// The refusal that names what is missing.
    fn preflight(&self) -> Result<(), Refusal>;
    fn observe(&self, host: &mut Host) -> Self::Facts;
    /// # Errors
    /// Every reason why nothing is begun.
    fn plan(&self, facts: &Self::Facts) -> Result<Plan, Refusal>;
    /// Whether what the operator said yes to is still what stands there; the plans are compared besides.
    fn same_ground(&self, _before: &Self::Facts, _now: &Self::Facts) -> bool {
        true
    }
    /// The command that goes on where this run stops, where the same one again would do more than is left to be done.
    fn goes_on_by(&self, _facts: &Self::Facts) -> Option<String> {
        None
    }
    /// The heading of its plan: "This makes the thin pool docker/thinpool:".
    fn heading(&self) -> String;
    /// The pool as JSON has it.
    fn pool(&self, facts: &Self::Facts) -> Value;
    /// What the operator must see before the plan that is asked for or carried out next: nothing mostly.
    fn picture(&self, _facts: &Self::Facts) -> Option<String> {
        None
    }
    /// More for its JSON: a name, and what it tells.
    fn more(&self, _facts: &Self::Facts) -> Option<(&'static str, Value)> {
        None
    }
    /// What is true now, in a sentence or more.
    fn success(&self, facts: &Self::Facts, changed: bool) -> String;
    /// What the operator should know about what is there now.
    fn advice(&self, _facts: &Self::Facts) -> Vec<String> {
        Vec::new()
    }
}

/// What a run came to.
struct Run<F> {
    steps: Vec<Applied>,
    warnings: Vec<String>,
    facts: Option<F>,
    ended: Result<(), Problem>,
}

/// The pipeline: facts, plan, dry run, question, apply, look again, report.
///
/// # Errors
/// The problem, reported already where the voice is JSON (see [`crate::exit::Problem`]).
pub fn drive<V: Verb>(verb: &V, globals: &Globals) -> Result<(), Problem> {
    let voice = globals.voice;
    let mut host = Host::new(globals.lock_limit);
    let run = run(verb, globals, &mut host);
    let changed = run.steps.iter().any(|step| step.status == Status::Done);
    let mut warnings = run.warnings;
    if let (Some(facts), Ok(()), false) = (&run.facts, &run.ended, globals.dry_run) {
        voice.say(&verb.success(facts, changed));
        warnings.extend(verb.advice(facts));
    }
    for warning in &warnings {
        voice.warn(warning);
    }
    if voice.json {
        voice.json(&json::change(&Change {
            command: V::NAME,
            dry_run: globals.dry_run,
            steps: &run.steps,
            warnings: &warnings,
            pool: run.facts.as_ref().map_or(Value::Null, |facts| verb.pool(facts)),
            more: run.facts.as_ref().and_then(|facts| verb.more(facts)),
            problem: run.ended.as_ref().err(),
        }));
    }
    run.ended
}

fn run<V: Verb>(verb: &V, globals: &Globals, host: &mut Host) -> Run<V::Facts> {
    let mut run = Run { steps: Vec::new(), warnings: Vec::new(), facts: None, ended: Ok(()) };
    run.ended = verb.preflight().map_err(Problem::from).and_then(|()| begin(verb, globals, host, &mut run));
    run
}

fn begin<V: Verb>(verb: &V, globals: &Globals, host: &mut Host, run: &mut Run<V::Facts>) -> Result<(), Problem> {
    let voice = globals.voice;
    let stop =
        Stop::listen().map_err(|why| Problem::from_error(Kind::Refused, "signals cannot be listened to", &why))?;
    let (facts, plan, lock) = if globals.dry_run || globals.yes || !verb.asks() {
        let lock = if globals.dry_run { None } else { Some(lock_for::<V>(globals)?) };
        let facts = verb.observe(host);
        let plan = planned(verb, &facts, &stop)?;
        (facts, plan, lock)
    } else {
        let before = verb.observe(host);
        let plan = planned(verb, &before, &stop)?;
        if plan.nothing_to_do() {
            (before, plan, None)
        } else {
            // Asked to end while it looked, it asks nothing back.
            if stop.asked() {
                return Err(interrupted::<V>());
            }
            ask(verb, &before, &plan, globals)?;
            let lock = lock_for::<V>(globals)?;
            let facts = verb.observe(host);
            if stop.asked() {
                return Err(interrupted::<V>());
            }
            if !verb.same_ground(&before, &facts) || verb.plan(&facts).as_ref() != Ok(&plan) {
                return Err(Problem::new(
                    Kind::Refused,
                    format!("{} stopped: something changed while the question stood", V::NAME),
                )
                .hint("run it again and look at the new plan"));
            }
            (facts, plan, Some(lock))
        }
    };
    run.warnings.clone_from(&plan.warnings);
    let left = plan.left.clone();
    if globals.dry_run {
        if let Some(picture) = verb.picture(&facts) {
            voice.say(&picture);
        }
        voice.plan(&plan, &verb.heading());
        run.steps = plan
            .steps
            .into_iter()
            .map(|planned| Applied {
                status: if planned.already { Status::Already } else { Status::Planned },
                step: planned.step,
            })
            .collect();
        run.facts = Some(facts);
        return unless_left::<V>(left, false);
    }
    let other = verb.goes_on_by(&facts);
    carry_out(verb, globals, host, &stop, run, facts, plan).map_err(|mut problem| {
        problem.causes.extend(left.iter().cloned());
        problem.go_on_by(other.as_deref())
    })?;
    if lock.is_some() {
        apply::tidy(host);
    }
    unless_left::<V>(left, run.steps.iter().any(|step| step.status == Status::Done))
}

/// The plan; what a look did not come to, since somebody asked for an end, is no reason against it.
fn planned<V: Verb>(verb: &V, facts: &V::Facts, stop: &Stop) -> Result<Plan, Problem> {
    verb.plan(facts).map_err(|refusal| if stop.asked() { interrupted::<V>() } else { Problem::from(refusal) })
}

fn interrupted<V: Verb>() -> Problem {
    Problem::new(Kind::Interrupted, format!("{} was interrupted, nothing was changed", V::NAME))
}

/// A run that did what it could has not done all that was asked.
fn unless_left<V: Verb>(left: Vec<String>, changed: bool) -> Result<(), Problem> {
    if left.is_empty() {
        return Ok(());
    }
    let kind = if changed { Kind::Failed } else { Kind::Refused };
    let mut problem = Problem::new(kind, format!("{} could not be done for every pool", V::NAME));
    problem.causes = left;
    Err(problem.hint("see what mends them: dmtool check"))
}

/// Applies a plan and looks again until the plan finds everything done.
fn carry_out<V: Verb>(
    verb: &V,
    globals: &Globals,
    host: &mut Host,
    stop: &Stop,
    run: &mut Run<V::Facts>,
    facts: V::Facts,
    plan: Plan,
) -> Result<(), Problem> {
    let mut plan = plan;
    let mut facts = facts;
    let mut rounds = 0..=ROUNDS;
    while let Some(round) = rounds.next() {
        let progress = globals.voice.progress();
        let nothing = plan.nothing_to_do();
        let (applied, ended) = apply::apply(&plan, host, stop, &mut run.warnings, |event| progress.show(&event));
        let fresh = |applied: &Applied| round == 0 || applied.status != Status::Already;
        run.steps.extend(applied.into_iter().filter(fresh));
        if let Err(mut problem) = ended {
            run.facts = Some(verb.observe(host));
            if problem.kind == Kind::Refused && run.steps.iter().any(|applied| applied.status == Status::Done) {
                problem.kind = Kind::Failed;
            }
            return Err(problem);
        }
        if nothing {
            run.facts = Some(facts);
            return Ok(());
        }
        facts = verb.observe(host);
        let fresh_plan = verb.plan(&facts).map_err(|refusal| {
            let mut problem = Problem::from(refusal);
            if stop.asked() {
                problem.kind = Kind::Interrupted;
                problem.message = format!("{} was interrupted after its last step", V::NAME);
                return problem.hint(format!("{AGAIN}: it goes on here"));
            }
            problem.kind = Kind::Failed;
            // What a refusal begins with, that nothing was changed, is not so any more.
            if problem.causes.is_empty() {
                problem.causes.push(problem.message);
            }
            problem.message = format!("{} did its steps so far, and cannot go on", V::NAME);
            problem
        })?;
        if let Some(lost) = appeared(&fresh_plan) {
            run.facts = Some(facts);
            let problem = Problem::new(Kind::Failed, format!("{} did its steps, and by now {lost} is there", V::NAME));
            return Err(problem.hint(format!("somebody made it meanwhile; to remove that, too, {AGAIN}")));
        }
        if fresh_plan.question > plan.question && !fresh_plan.nothing_to_do() {
            further(verb, &facts, &fresh_plan, globals, run, host)?;
            rounds = 1..=ROUNDS;
        }
        plan = fresh_plan;
    }
    let left: Vec<&str> =
        plan.steps.iter().filter(|planned| !planned.already).map(|planned| planned.step.word()).collect();
    run.facts = Some(facts);
    Err(Problem::new(
        Kind::Failed,
        format!("{} did its steps, but {} still is not as it should be", V::NAME, left.join(", ")),
    )
    .hint("look at the pool with dmtool status POOL and at LVM's messages with journalctl -u dm-event"))
}

/// A volume or a pool that would go and that nobody was asked about: it was made while this ran.
fn appeared(plan: &Plan) -> Option<String> {
    let todo = plan.steps.iter().filter(|planned| !planned.already);
    let removes = |step: &Step| matches!(step, Step::Volume(_) | Step::Teardown(Teardown::RemoveVolumes { .. }));
    todo.filter(|planned| removes(&planned.step)).find_map(|planned| planned.step.destroys())
}

/// What was found on the way leads to a plan with more at stake.
fn further<V: Verb>(
    verb: &V,
    facts: &V::Facts,
    plan: &Plan,
    globals: &Globals,
    run: &mut Run<V::Facts>,
    host: &mut Host,
) -> Result<(), Problem> {
    run.warnings.extend(plan.warnings.iter().cloned());
    if globals.yes || !verb.asks() {
        if let Some(picture) = verb.picture(facts) {
            globals.voice.say(&picture);
        }
        return Ok(());
    }
    ask(verb, facts, plan, globals).map_err(|mut problem| {
        if problem.kind == Kind::Refused {
            problem.kind = Kind::Failed;
            problem.message = format!("{} stopped before the second part of its plan", V::NAME);
        }
        problem.hint(format!("{AGAIN}: it goes on here"))
    })?;
    let now = verb.observe(host);
    if verb.same_ground(facts, &now) && verb.plan(&now).as_ref() == Ok(plan) {
        return Ok(());
    }
    let message = format!("{} stopped: something changed while the question stood", V::NAME);
    Err(Problem::new(Kind::Failed, message).hint("run it again and look at the new plan"))
}

fn ask<V: Verb>(verb: &V, facts: &V::Facts, plan: &Plan, globals: &Globals) -> Result<(), Problem> {
    let refused = |message: String| Problem::new(Kind::Refused, message);
    if globals.voice.json || !report::can_ask() {
        return Err(refused(format!("{} needs a yes, and there is no terminal to ask on", V::NAME))
            .hint("look at the plan with --dry-run, then run it with --yes"));
    }
    if let Some(picture) = verb.picture(facts) {
        globals.voice.say(&picture);
    }
    globals.voice.plan(plan, &verb.heading());
    for warning in &plan.warnings {
        globals.voice.warn(warning);
    }
    let lost: Vec<String> =
        plan.steps.iter().filter(|planned| !planned.already).filter_map(|planned| planned.step.destroys()).collect();
    let question =
        if lost.is_empty() { "Go on?".to_owned() } else { format!("This destroys {}. Go on?", lost.join(" and ")) };
    match globals.voice.confirm(&question) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(format!("{} was not confirmed, nothing was changed", V::NAME))),
        Err(why) if why.kind() == std::io::ErrorKind::Interrupted => Err(interrupted::<V>()),
        Err(why) => Err(refused(format!("{} could not be confirmed: {why}", V::NAME))),
    }
}

/// Words that clap could not see were wrong, said in JSON too where that was asked for.
fn usage(globals: &Globals, verb: &str, why: String) -> Problem {
    let problem = Problem::new(Kind::Usage, why).hint(format!("see dmtool {verb} --help"));
    if globals.voice.json {
        globals.voice.json(&json::failure(Some(verb), &problem));
    }
    problem
}

fn lock_for<V: Verb>(globals: &Globals) -> Result<lock::Lock, Problem> {
    match lock::take(globals.lock_limit, V::NAME) {
        Ok(Ok(lock)) => {
            apply::sweep();
            Ok(lock)
        }
        Ok(Err(lock::Held(holder))) => Err(Problem::new(
            Kind::Refused,
            format!("{} waited {} s in vain for {holder}", V::NAME, globals.lock_limit.as_secs()),
        )
        .hint("wait for it to end, or give more time with --lock-timeout SECONDS")),
        Err(why) => Err(Problem::from_error(Kind::Refused, "dmtool's lock cannot be taken", &why)
            .hint(format!("see what is there, and whether its file system takes writes: ls -l {}", lock::PATH))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::LvmName;
    use crate::plan::step::OfVolume;

    #[test]
    fn what_was_made_meanwhile_is_nobody_s_to_remove() {
        let name = LvmName::parse("docker/thinpool").expect("a name");
        let pool = Teardown::RemoveVolumes { volumes: vec![name.clone()], holds: "docker/thinpool".to_owned() };
        let volume = OfVolume::Remove { volume: name, holds: "the volume docker/web".to_owned() };
        let disk = Teardown::RemoveFile { path: "/srv/data".to_owned() };
        for (step, lost) in [
            (Step::Teardown(pool), Some("docker/thinpool")),
            (Step::Volume(volume), Some("the volume docker/web")),
            // What was asked about at the beginning comes in a later round, too.
            (Step::Teardown(disk), None),
        ] {
            let mut plan = Plan::default();
            plan.put(step.clone(), true);
            assert_eq!(appeared(&plan), None);
            plan.todo(step);
            assert_eq!(appeared(&plan).as_deref(), lost);
        }
    }
}
