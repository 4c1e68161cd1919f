//! Health: facts become findings, by a table of checks. Pure, as plans are.

pub mod below;
pub mod code;
mod configured;
pub mod growth;
pub mod lvm;
pub mod mend;
pub mod pages;
pub mod proof;
pub mod space;
pub mod state;

use crate::observe::Looked;
use crate::observe::pools::{Live, LvmSide};
use crate::observe::survey::{Seen, Survey};
use crate::observe::thin::{PoolFigures, PoolTable};
use code::{Code, Severity};
use serde::{Deserialize, Serialize};

/// From which use on data and metadata are a finding, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    pub warn: u64,
    pub crit: u64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { warn: 80, crit: 90 }
    }
}

/// Something that is not as it should be, or could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    /// None where it is about the whole host.
    pub pool: Option<String>,
    /// A sentence, with the pool's numbers in it.
    pub message: String,
    /// The command that mends it, as it can be typed.
    pub hint: Option<String>,
}

/// The worst of all findings, as the monitoring plugins count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Status {
    /// The exit status of `check` (monitoring-plugins.org, "Plugin Return Codes").
    pub fn exit(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::Warning => 1,
            Status::Critical => 2,
            Status::Unknown => 3,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::Unknown => "unknown",
        }
    }
}

/// What all findings come to. What could not be looked at is never ok, and never hides what is known to be critical.
pub fn status(findings: &[Finding]) -> Status {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Info) => Status::Ok,
        Some(Severity::Warning) => Status::Warning,
        Some(Severity::Unknown) => Status::Unknown,
        Some(Severity::Critical) => Status::Critical,
    }
}

/// One pool of a survey, as a check sees it.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub survey: &'a Survey,
    pub seen: &'a Seen,
    pub thresholds: Thresholds,
}

impl<'a> Look<'a> {
    pub fn name(&self) -> &'a str {
        &self.seen.pool.name
    }

    pub fn live(&self) -> Option<&'a Live> {
        self.seen.pool.live.as_ref()
    }

    pub fn side(&self) -> Option<&'a LvmSide> {
        self.seen.pool.lvm.as_ref()
    }

    /// The kernel's figures of a pool that has any: none while it is down or failed.
    ///
    /// # Errors
    /// They could not be read.
    pub fn figures(&self) -> Looked<Option<(&'a Live, &'a PoolTable, &'a PoolFigures)>> {
        let Some(live) = self.live() else { return Ok(None) };
        let table = live.table.as_ref().map_err(Clone::clone)?;
        let status = live.status.as_ref().map_err(Clone::clone)?;
        Ok(status.figures.as_ref().map(|figures| (live, table, figures)))
    }

    pub fn finding(&self, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding {
            code,
            severity: code.severity(),
            pool: Some(self.name().to_owned()),
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

type Outcome = Looked<Vec<Finding>>;

/// One question about a pool; what it may answer, and the function that answers.
pub struct Check {
    pub codes: &'static [Code],
    pub look: fn(&Look<'_>) -> Outcome,
}

/// Every question that is asked of every pool. "Could not look" is an answer of its own.
pub const CHECKS: &[Check] = &[
    Check {
        codes: &[
            Code::PoolInactive,
            Code::ActivationSkipped,
            Code::ComponentActive,
            Code::ActivationCheckFailed,
            Code::TransactionMismatch,
        ],
        look: state::down,
    },
    Check { codes: &[Code::PoolInactive, Code::BackingFileMissing], look: state::bare_down },
    Check { codes: &[Code::ActivationCheckFailed], look: state::resting },
    Check { codes: &[Code::ActivationCheckFailed], look: state::maps },
    Check { codes: &[Code::ThinCheckMissing], look: state::checker },
    Check { codes: &[Code::TargetError], look: state::target },
    Check { codes: &[Code::PoolSuspended, Code::InactiveTablePending], look: state::tables },
    Check {
        codes: &[
            Code::DataFullQueueing,
            Code::DataFullWritesLost,
            Code::DataFullError,
            Code::MetadataFull,
            Code::NeedsCheck,
            Code::DataFullNeedsCheck,
            Code::PoolFailed,
        ],
        look: state::mode,
    },
    Check { codes: &[Code::VolumeFailed], look: state::volumes },
    Check { codes: &[Code::PoolSuspended], look: state::around },
    Check { codes: &[Code::TransactionMismatch], look: state::transaction },
    Check { codes: &[Code::MetadataSnapshotHeld], look: state::metadata_snapshot },
    Check { codes: &[Code::DataNearlyFull], look: space::data },
    Check { codes: &[Code::MetadataNearlyFull], look: space::metadata },
    Check { codes: &[Code::DataDeviceTooSmall], look: below::too_small },
    Check { codes: &[Code::BackingFileMissing], look: below::backing_files },
    Check { codes: &[Code::RegisterMismatch], look: below::elsewhere },
    Check { codes: &[Code::PassdownOff], look: below::passdown },
    Check { codes: &[Code::VolumeGroupIncomplete], look: lvm::group },
    Check { codes: &[Code::OldMetadataKept], look: lvm::old_metadata },
    Check { codes: &[Code::MergePending], look: lvm::merges },
    Check { codes: &[Code::PoolLayered], look: lvm::layered },
    Check { codes: &[Code::DmeventdSilent, Code::NotMonitored], look: proof::monitoring },
    Check { codes: &[Code::ProfileNotLive], look: proof::profile },
    Check { codes: &[Code::ExtensionNotLive], look: lvm::extension },
    Check { codes: &[Code::AutoextendOff, Code::AutoextendNoRoom, Code::ExtensionBackedOff], look: proof::extension },
];

/// All findings, the gravest first.
pub fn findings(survey: &Survey, thresholds: Thresholds) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut unseen = Unlooked::default();
    if let Err(why) = &survey.kernel {
        unseen.add(None, "every check", &why.0);
    }
    if let (Err(why), Ok(())) = (&survey.register, &survey.kernel) {
        unseen.add(None, "bare pools that are down", &why.0);
    }
    for name in survey.nowhere() {
        found.push(Finding {
            code: Code::CouldNotLook,
            severity: Severity::Unknown,
            pool: Some(name.clone()),
            message: format!("There is no pool {name} on this host{}.", elsewhere(survey)),
            hint: Some("dmtool status".to_owned()),
        });
    }
    found.extend(lvm::unread(survey));
    for seen in &survey.pools {
        let look = Look { survey, seen, thresholds };
        for check in CHECKS {
            match (check.look)(&look) {
                Ok(findings) => found.extend(findings),
                Err(why) => unseen.add(Some(look.name()), &words(check.codes), &why.0),
            }
        }
    }
    if survey.kernel.is_ok() {
        match lvm::half_built(survey) {
            Ok(findings) => found.extend(findings),
            Err(why) => unseen.add(None, "pools that are down, pool-half-built", &why.0),
        }
        match configured::consumers(survey) {
            Ok(findings) => found.extend(findings),
            Err(why) => unseen.add(None, "pools of Docker and containerd, pool-claimed-twice", &why.0),
        }
    }
    found.extend(unseen.findings(survey));
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn words(codes: &[Code]) -> String {
    codes.iter().map(|code| code.word()).collect::<Vec<_>>().join(", ")
}

/// A pool that is down is known to LVM alone.
fn elsewhere(survey: &Survey) -> String {
    match &survey.lvm {
        Ok(_) => String::new(),
        Err(why) => format!(", as far as can be seen without LVM ({why})"),
    }
}

/// Checks that could not look, those with the same reason together.
#[derive(Default)]
struct Unlooked(Vec<(Option<String>, Vec<String>, String)>);

impl Unlooked {
    fn add(&mut self, pool: Option<&str>, check: &str, why: &str) {
        let same = self.0.iter_mut().find(|(of, _, reason)| of.as_deref() == pool && reason == why);
        match same {
            Some((_, checks, _)) => checks.push(check.to_owned()),
            None => self.0.push((pool.map(str::to_owned), vec![check.to_owned()], why.to_owned())),
        }
    }

    fn findings(self, survey: &Survey) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(|(pool, checks, why)| {
            let reason = why.trim_end_matches('.');
            let hint = match (survey.root, &survey.kernel) {
                (false, _) => "sudo dmtool check",
                (true, Err(_)) => "modprobe dm-mod",
                (true, Ok(())) if why.contains("LVM") => "lvs --all",
                (true, Ok(())) => "dmesg",
            };
            Finding {
                code: Code::CouldNotLook,
                severity: Severity::Unknown,
                pool,
                message: format!("Could not look for {}: {reason}.", checks.join(", ")),
                hint: Some(hint.to_owned()),
            }
        })
    }
}

/// Whether a finding can be the trace of a command that is at work right now, so that a second look must confirm it.
pub fn may_pass(finding: &Finding) -> bool {
    const PASSING: [Code; 15] = [
        Code::VolumeGroupIncomplete,
        Code::BackingFileMissing,
        Code::MetadataSnapshotHeld,
        Code::PoolSuspended,
        Code::InactiveTablePending,
        Code::TransactionMismatch,
        Code::ComponentActive,
        Code::PoolHalfBuilt,
        Code::ProfileNotLive,
        Code::NotMonitored,
        Code::DataDeviceTooSmall,
        Code::TargetError,
        Code::ActivationCheckFailed,
        Code::ExtensionNotLive,
        Code::RegisterMismatch,
    ];
    PASSING.contains(&finding.code)
}

/// What the second look found, without what passes of a pool with which the first one found nothing amiss. What lasts may
/// have another code in each of them, or could not be looked at in the first.
pub fn confirmed(first: &[Finding], second: Vec<Finding>) -> Vec<Finding> {
    let unseen = |one: &Finding| matches!(one.code, Code::CouldNotLook | Code::DmeventdSilent);
    let amiss =
        |finding: &Finding| first.iter().any(|one| one.pool == finding.pool || (one.pool.is_none() && unseen(one)));
    second.into_iter().filter(|finding| !may_pass(finding) || amiss(finding)).collect()
}

#[cfg(test)]
mod tests;
