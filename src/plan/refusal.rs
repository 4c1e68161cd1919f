//! Why a verb does not begin: every reason at once, before the first write.

/// At least one reason, each a full sentence, and what to do about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was not done, as a sentence with the names in it.
    pub message: String,
    pub reasons: Vec<String>,
    pub hint: Option<String>,
}

/// Reasons as they are found; a hint of the first one that has one.
#[derive(Debug, Default)]
pub struct Reasons {
    reasons: Vec<String>,
    hint: Option<String>,
}

impl Reasons {
    /// The same reason twice says nothing more.
    pub fn add(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    pub fn add_with_hint(&mut self, reason: impl Into<String>, hint: impl Into<String>) {
        self.add(reason);
        self.add_hint(hint);
    }

    /// The first hint counts.
    pub fn add_hint(&mut self, hint: impl Into<String>) {
        self.hint.get_or_insert_with(|| hint.into());
    }

    /// Takes over those of a part of the whole.
    pub fn merge(&mut self, other: Reasons) {
        other.reasons.into_iter().for_each(|reason| self.add(reason));
        self.hint = self.hint.take().or(other.hint);
    }

    pub fn into_lines(self) -> Vec<String> {
        self.reasons
    }

    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// # Errors
    /// The refusal, where there is a reason for it.
    pub fn settle(&mut self, message: impl Into<String>) -> Result<(), Refusal> {
        if self.reasons.is_empty() {
            return Ok(());
        }
        Err(Refusal { message: message.into(), reasons: std::mem::take(&mut self.reasons), hint: self.hint.take() })
    }
}
