//! What this host has: the abilities that verbs need.

use super::{Looked, Unseen, looked};
use crate::sys::dm::Control;
use crate::sys::udev::{self, State};
use crate::sys::{exec, file, lvm2cmd};
use std::path::Path;

const TARGET: &str = "thin-pool";

/// What the host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    pub root: bool,
    /// device-mapper's control node can be opened.
    pub device_mapper: Looked<()>,
    /// The kernel knows the target, or has the module for it.
    pub thin_pool_target: bool,
    pub lvm2: bool,
    pub dmeventd: bool,
    pub thin_check: bool,
    /// udev is meant to be here, and nobody would answer who waits for it.
    pub udev_gone: bool,
    /// ID and ID_LIKE of /etc/os-release.
    pub systems: Vec<String>,
}

/// systemd is the one that starts services here (sd_booted(3)).
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Looks at all of it. The module of the target is loaded where it is there, as LVM would do at its first use.
pub fn abilities() -> Abilities {
    let root = is_root();
    let device_mapper = if root { looked(Control::open()) } else { Err(Unseen("not root".to_owned())) };
    let thin_pool_target = device_mapper.as_ref().is_ok_and(has_target);
    Abilities {
        root,
        thin_pool_target,
        device_mapper: device_mapper.map(drop),
        lvm2: lvm2cmd::is_installed(),
        dmeventd: exec::find("dmeventd").is_some(),
        thin_check: exec::find("thin_check").is_some(),
        udev_gone: udev::state() == State::Gone,
        systems: systems(),
    }
}

fn has_target(control: &Control) -> bool {
    let known = || control.target_names().is_ok_and(|names| names.iter().any(|name| name == TARGET));
    known() || (exec::run("modprobe", &["dm-thin-pool"]).is_ok() && known())
}

/// ID and ID_LIKE of /etc/os-release: what kind of system this is.
pub fn systems() -> Vec<String> {
    systems_of(&file::read(Path::new("/etc/os-release")).ok().flatten().unwrap_or_default())
}

/// As [`systems`], from the text of the file.
pub fn systems_of(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .map(str::to_owned)
        .collect()
}

/// Debian's package of thin_check and its like.
pub const THIN_TOOLS: &str = "thin-provisioning-tools";

/// The package of thin_check elsewhere.
pub fn thin_tools(systems: &[String]) -> &'static str {
    if systems.iter().any(|name| name.contains("suse")) { THIN_TOOLS } else { "device-mapper-persistent-data" }
}

/// The command that installs a package, where the kind of system is known.
pub fn install(systems: &[String], debian: &str, others: &str) -> Option<String> {
    let is = |names: &[&str]| systems.iter().any(|system| names.iter().any(|name| system.contains(name)));
    if is(&["suse"]) {
        Some(format!("zypper install {others}"))
    } else if is(&["rhel", "fedora", "centos"]) {
        Some(format!("dnf install {others}"))
    } else if is(&["debian", "ubuntu"]) {
        Some(format!("apt-get install {debian}"))
    } else {
        None
    }
}
