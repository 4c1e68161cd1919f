//! What a finding is called. Scripts and runbooks rely on these words; each has its page in `pages`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; leaves the result ok.
    Info,
    Warning,
    /// A check could not look, so nobody knows.
    Unknown,
    Critical,
}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
            Severity::Critical => "critical",
        }
    }
}

macro_rules! codes {
    ($($name:ident $word:literal $severity:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($name,)* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            pub fn word(self) -> &'static str {
                match self { $(Code::$name => $word,)* }
            }

            /// How bad it is as a rule; thresholds and circumstances may say otherwise.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    PoolInactive "pool-inactive" Critical,
    ActivationSkipped "activation-skipped" Critical,
    VolumeGroupIncomplete "volume-group-incomplete" Critical,
    ComponentActive "component-active" Critical,
    PoolSuspended "pool-suspended" Critical,
    DataFullQueueing "data-full-queueing" Critical,
    DataFullWritesLost "data-full-writes-lost" Critical,
    DataFullError "data-full-error" Critical,
    MetadataFull "metadata-full" Critical,
    NeedsCheck "needs-check" Critical,
    DataFullNeedsCheck "data-full-needs-check" Critical,
    PoolFailed "pool-failed" Critical,
    TargetError "target-error" Critical,
    ActivationCheckFailed "activation-check-failed" Critical,
    ThinCheckMissing "thin-check-missing" Critical,
    TransactionMismatch "transaction-mismatch" Critical,
    DataDeviceTooSmall "data-device-too-small" Critical,
    BackingFileMissing "backing-file-missing" Critical,
    VolumeFailed "volume-failed" Critical,
    PoolClaimedTwice "pool-claimed-twice" Critical,
    DataNearlyFull "data-nearly-full" Warning,
    MetadataNearlyFull "metadata-nearly-full" Warning,
    InactiveTablePending "inactive-table-pending" Warning,
    NotMonitored "not-monitored" Warning,
    ProfileNotLive "profile-not-live" Warning,
    MetadataSnapshotHeld "metadata-snapshot-held" Warning,
    PoolHalfBuilt "pool-half-built" Warning,
    DmeventdSilent "dmeventd-silent" Warning,
    ExtensionBackedOff "extension-backed-off" Warning,
    ExtensionNotLive "extension-not-live" Warning,
    RegisterMismatch "register-mismatch" Warning,
    PoolLayered "pool-layered" Info,
    PassdownOff "passdown-off" Info,
    OldMetadataKept "old-metadata-kept" Info,
    MergePending "merge-pending" Info,
    AutoextendOff "autoextend-off" Info,
    AutoextendNoRoom "autoextend-no-room" Info,
    CouldNotLook "could-not-look" Unknown,
}

impl Code {
    pub fn find(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.word() == word)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'a> Deserialize<'a> for Code {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Code, D::Error> {
        let word = String::deserialize(deserializer)?;
        Code::find(&word).ok_or_else(|| D::Error::custom(format!("there is no code {word}")))
    }
}
