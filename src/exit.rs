//! How a run ends when it does not end well, and the exit status that scripts rely on.

use crate::plan::refusal::Refusal;
use serde::Serialize;

/// Done, or nothing to do.
pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const REFUSED: u8 = 3;
pub const INTERRUPTED: u8 = 130;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing was changed.
    Refused,
    /// It failed part-way.
    Failed,
    Usage,
    /// Stopped between two steps.
    Interrupted,
}

/// What goes on where most runs stop: the same command comes to the same end.
pub const AGAIN: &str = "run the same command again";

/// One sentence with the names in it, the causes below, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: Kind,
    pub message: String,
    pub causes: Vec<String>,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        Problem { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// An error of the wall: its first context becomes the message, the rest the causes.
    pub fn from_error(kind: Kind, message: impl Into<String>, error: &anyhow::Error) -> Problem {
        let causes = error.chain().flat_map(|cause| cause.to_string().lines().map(str::to_owned).collect::<Vec<_>>());
        Problem { causes: causes.collect(), ..Problem::new(kind, message) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Hints at this command, if any, where it hinted at the same one again.
    #[must_use]
    pub fn go_on_by(mut self, command: Option<&str>) -> Problem {
        if let (Some(hint), Some(command)) = (&mut self.hint, command) {
            *hint = hint.replace(AGAIN, &format!("run {command}"));
        }
        self
    }

    pub fn status(&self) -> u8 {
        match self.kind {
            Kind::Failed => FAILED,
            Kind::Usage => USAGE,
            Kind::Refused => REFUSED,
            Kind::Interrupted => INTERRUPTED,
        }
    }
}

impl From<&Problem> for Refusal {
    fn from(problem: &Problem) -> Refusal {
        let Problem { message, causes, hint, .. } = problem;
        Refusal { message: message.clone(), reasons: causes.clone(), hint: hint.clone() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem { kind: Kind::Refused, message: refusal.message, causes: refusal.reasons, hint: refusal.hint }
    }
}
