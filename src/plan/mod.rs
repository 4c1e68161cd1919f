//! Plans: from a request and facts to a list of steps, by pure functions. Nothing here can fail on the machine.

pub mod activation;
pub mod autoextend;
pub mod bare;
pub mod configure;
pub mod devices;
pub mod discards;
pub mod halves;
pub mod loop_pool;
pub mod preflight;
pub mod profile;
pub mod refusal;
pub mod repair;
pub mod resize;
pub mod setup;
pub mod sizing;
pub mod step;
pub mod teardown;
pub mod trim;
pub mod two_volumes;
pub mod volume;

use step::Step;

/// A step with what the facts say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub step: Step,
    /// It was done before this run.
    pub already: bool,
    /// What it is a part of, where a failure ends that part alone: one pool among all.
    pub part: Option<String>,
}

/// Whether this part, or what it is a part of, is among them: a volume `POOL: VOLUME` is one of its pool.
pub fn has_failed(part: &str, failed: impl Fn(&str) -> bool) -> bool {
    failed(part) || part.split_once(": ").is_some_and(|(whole, _)| failed(whole))
}

impl Planned {
    pub fn todo(step: Step) -> Planned {
        Planned { step, already: false, part: None }
    }
}

/// What a verb is about to do. The list that is printed is the list that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Planned>,
    /// What the operator should know before, and monitoring after: goes to `warnings` in JSON.
    pub warnings: Vec<String>,
    /// What was asked for and cannot be done, where the rest is done all the same: one pool must not keep the others
    /// of a host down at a boot.
    pub left: Vec<String>,
    /// A plan that follows from what an earlier one found, with more at stake, has a higher number: it is asked for anew.
    pub question: u8,
}

impl Plan {
    pub fn todo(&mut self, step: Step) {
        self.steps.push(Planned { step, already: false, part: None });
    }

    pub fn already(&mut self, step: Step) {
        self.steps.push(Planned { step, already: true, part: None });
    }

    pub fn put(&mut self, step: Step, already: bool) {
        self.steps.push(Planned { step, already, part: None });
    }

    pub fn nothing_to_do(&self) -> bool {
        self.steps.iter().all(|planned| planned.already)
    }
}
