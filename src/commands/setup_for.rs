//! `dmtool setup --for`: a pool, and at once the configuration of what is to use it.

use super::Verb;
use super::configure::Configures;
use crate::observe::Host;
use crate::plan::Plan;
use crate::plan::configure::Target;
use crate::plan::refusal::Refusal;
use serde_json::Value;

/// A setup that says what it makes.
pub trait Makes: Verb {
    /// What a consumer gets, as it is or as it will be; none where that is to be looked at anew once the setup has done its
    /// part: a pool that is down tells nothing of who used it.
    fn makes<'a>(&self, facts: &'a Self::Facts) -> Option<Target<'a>>;
}

/// Both as one verb: nothing is made where the consumer would refuse it.
pub struct For<S, C> {
    pub setup: S,
    pub configure: C,
}

impl<S: Makes, C: Configures> Verb for For<S, C> {
    type Facts = (S::Facts, C::Facts);
    const NAME: &'static str = S::NAME;

    fn asks(&self) -> bool {
        self.setup.asks() || self.configure.asks()
    }

    fn preflight(&self) -> Result<(), Refusal> {
        self.setup.preflight()
    }

    fn observe(&self, host: &mut Host) -> Self::Facts {
        (self.setup.observe(host), self.configure.observe(host))
    }

    fn plan(&self, (made, used): &Self::Facts) -> Result<Plan, Refusal> {
        let first = self.setup.plan(made);
        let second = self.setup.makes(made).map(|target| self.configure.plan_on(&target, used)).transpose();
        match (first, second) {
            (Ok(mut plan), Ok(second)) => {
                let second = second.unwrap_or_default();
                // A pool that was down is looked at once it is up: what is configured then nobody was asked for yet.
                if !second.nothing_to_do() {
                    plan.question = plan.question.max(1);
                }
                plan.steps.extend(second.steps);
                plan.warnings.extend(second.warnings);
                Ok(plan)
            }
            (Err(mut refusal), second) => {
                refusal.reasons.extend(second.err().into_iter().flat_map(|other| other.reasons));
                Err(refusal)
            }
            (Ok(_), Err(refusal)) => Err(refusal),
        }
    }

    fn same_ground(&self, before: &Self::Facts, now: &Self::Facts) -> bool {
        self.setup.same_ground(&before.0, &now.0) && self.configure.same_ground(&before.1, &now.1)
    }

    fn heading(&self) -> String {
        self.setup.heading()
    }

    fn pool(&self, (made, _): &Self::Facts) -> Value {
        self.setup.pool(made)
    }

    fn picture(&self, (_, used): &Self::Facts) -> Option<String> {
        self.configure.picture(used)
    }

    fn more(&self, (_, used): &Self::Facts) -> Option<(&'static str, Value)> {
        self.configure.more(used)
    }

    fn success(&self, (made, used): &Self::Facts, changed: bool) -> String {
        format!("{}\n{}", self.setup.success(made, changed), self.configure.success(used, changed))
    }

    fn advice(&self, (made, used): &Self::Facts) -> Vec<String> {
        let mut advice = self.setup.advice(made);
        advice.extend(self.configure.advice(used));
        advice
    }
}
