//! Facts: what the machine is like now, as plain data. What could not be read is absent with its reason
//! ([`Looked`]), never empty: "no volumes" and "could not ask" are different things.

pub mod config;
pub mod consumers;
pub mod containerd;
pub mod content;
pub mod device;
pub mod discards;
pub mod docker;
pub mod filter;
pub mod ground;
pub mod host;
pub mod left;
pub mod lvm;
pub mod lvmconf;
pub mod metadata;
pub mod mounts;
pub mod moved;
pub mod owners;
pub mod pools;
pub mod profile;
pub mod register;
pub mod remember;
pub mod repair;
pub mod samples;
pub mod snapshot;
pub mod stack;
pub mod standing;
pub mod stilled;
pub mod striping;
pub mod survey;
pub mod taken;
pub mod teardown;
pub mod thin;
pub mod volumes;

use crate::sys::dmeventd::{self, Answer};
use crate::sys::{exec, file};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Why something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unseen(pub String);

/// A fact, or why it is none.
pub type Looked<T> = Result<T, Unseen>;

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unseen {}

/// An error of the wall as the reason for an absent fact.
///
/// # Errors
/// The same one, as a sentence.
pub fn looked<T>(result: anyhow::Result<T>) -> Looked<T> {
    result.map_err(|why| Unseen(format!("{why:#}")))
}

/// What udev's database says of a block device (/run/udev/data, as systemd and eudev write it).
fn udev_entry(major: u32, minor: u32) -> Looked<Option<String>> {
    // A serial number may be anything.
    let bytes = looked(file::read_bytes(Path::new(&format!("/run/udev/data/b{major}:{minor}"))))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The symlinks that udev keeps for a block device, with /dev in front.
fn udev_links(major: u32, minor: u32) -> Vec<String> {
    links_of(&udev_entry(major, minor).ok().flatten().unwrap_or_default())
}

/// The symlinks of an entry of udev's database.
pub fn links_of(entry: &str) -> Vec<String> {
    entry.lines().filter_map(|line| line.strip_prefix("S:")).map(|link| format!("/dev/{link}")).collect()
}

/// Ends a dmeventd that hangs, and has LVM start another. What the old one watched is forgotten with it, in all groups: pools,
/// and RAID, mirrors and snapshots besides.
pub const WATCH_ANEW: &str = "pkill --signal KILL --exact dmeventd; vgchange --monitor y";

/// How the daemon is that watches pools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Dmeventd {
    Answers,
    /// With the reason to say so.
    Silent(String),
    /// Another process holds the line to it, so that nobody else can ask.
    Held(String),
    NotRunning,
    NotInstalled,
}

/// How long dmeventd may take for a greeting.
const GREETING: Duration = Duration::from_secs(2);
/// As long where nothing goes on without it, and the machine is busy with what was just made.
const NEEDED: Duration = Duration::from_secs(6);

/// How dmeventd is, where there is a pool that it could watch.
///
/// # Errors
/// Its fifos cannot be used.
pub fn greet_dmeventd(active: &[pools::Pool]) -> Looked<Dmeventd> {
    if active.iter().all(|pool| pool.kind != pools::Kind::Lvm) {
        return Ok(Dmeventd::NotRunning);
    }
    greet(GREETING)
}

/// As [`greet_dmeventd`], also where it runs without a pool to watch: it is about to get one.
///
/// # Errors
/// Its fifos cannot be used.
pub fn greet_running_dmeventd(active: &[pools::Pool]) -> Looked<Dmeventd> {
    match greet_dmeventd(active) {
        Ok(Dmeventd::NotRunning) if looked(exec::words_of(&["dmeventd"]))?.is_some() => greet(NEEDED),
        Ok(Dmeventd::Silent(_)) => greet(NEEDED),
        greeted => greeted,
    }
}

fn greet(limit: Duration) -> Looked<Dmeventd> {
    if exec::find("dmeventd").is_none() {
        return Ok(Dmeventd::NotInstalled);
    }
    Ok(match looked(dmeventd::greet(limit))? {
        Answer::Yes => Dmeventd::Answers,
        Answer::No(why) => Dmeventd::Silent(why),
        Answer::Held(holder) => Dmeventd::Held(holder),
        Answer::NotRunning => Dmeventd::NotRunning,
    })
}

/// The machine as far as one run has opened it.
pub struct Host {
    pub lvm: crate::sys::lvm2cmd::Lvm,
    /// How long to wait for somebody else's lock.
    pub lock_limit: std::time::Duration,
    /// Devices that the operator named: LVM may look at them although udev does not know them as physical volumes,
    /// or not yet.
    pub named: Vec<String>,
    /// The kernel's names of what stands on thin pools: no physical volumes, and never to be touched.
    pub above_pools: BTreeSet<String>,
    /// How dmeventd is: LVM asks it which pools it watches, unless it is known not to answer.
    pub dmeventd: Looked<Dmeventd>,
    /// What came of the trims of this run, by their places: nothing on the machine tells it afterwards.
    pub trimmed: BTreeMap<String, discards::Trimmed>,
    /// Whether udev has been waited for: once is enough, since what this run makes it knows itself.
    udev_settled: bool,
}

impl Host {
    pub fn new(lock_limit: std::time::Duration) -> Host {
        Host {
            lvm: crate::sys::lvm2cmd::Lvm::default(),
            lock_limit,
            named: Vec::new(),
            above_pools: BTreeSet::new(),
            dmeventd: Ok(Dmeventd::Answers),
            trimmed: BTreeMap::new(),
            udev_settled: false,
        }
    }
    /// Every active pool; what stands on them is left out of all that LVM is let see from then on.
    ///
    /// # Errors
    /// device-mapper cannot be asked.
    pub fn active_pools(&mut self) -> anyhow::Result<Vec<pools::Pool>> {
        self.active_pools_with(&mut pools::Caution { silent: &BTreeMap::new(), tell: &mut |_| {} })
    }

    /// As [`Host::active_pools`], around devices that hang.
    ///
    /// # Errors
    /// device-mapper cannot be asked.
    pub fn active_pools_with(&mut self, caution: &mut pools::Caution<'_>) -> anyhow::Result<Vec<pools::Pool>> {
        let active = pools::active(&crate::sys::dm::Control::open()?, caution)?;
        for holders in active.iter().filter_map(|pool| pool.live.as_ref()?.holders.as_ref().ok()) {
            self.above_pools.extend(holders.iter().cloned());
        }
        Ok(active)
    }
}
