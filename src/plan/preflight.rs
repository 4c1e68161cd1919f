//! What any verb that changes a pool needs of the host.

use super::refusal::{Reasons, Refusal};
use crate::observe::host::{self, Abilities};

/// What a verb needs beyond root, device-mapper and the thin-pool target.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    pub lvm2: bool,
    pub dmeventd: bool,
    pub thin_check: bool,
}

/// # Errors
/// The refusal that names what is missing and the package or command that mends it.
pub fn check(verb: &str, has: &Abilities, needs: Needs) -> Result<(), Refusal> {
    let mut reasons = Reasons::default();
    let message = format!("dmtool {verb} cannot work on this host");
    if !has.root {
        reasons.add_with_hint("You are not root.", format!("run it as root: sudo dmtool {verb} …"));
        return reasons.settle(message);
    }
    if let Err(why) = &has.device_mapper {
        reasons.add_with_hint(
            format!("The kernel has no device-mapper, or does not let us use it ({why})."),
            "load it: modprobe dm-mod",
        );
        return reasons.settle(message);
    }
    if !has.thin_pool_target {
        reasons.add_with_hint(
            "The kernel has no thin-pool target and no module dm-thin-pool for it.",
            "load it: modprobe dm-thin-pool; where there is no such module, install the kernel's extra modules",
        );
    }
    let package = |debian: &'static str, others: &'static str| install(&has.systems, debian, others);
    if has.udev_gone {
        reasons.add_with_hint(
            "udev does not run although its socket /run/udev/control is there, and whoever makes or removes a device \
             waits for it without end.",
            "start it: systemctl restart systemd-udevd",
        );
    }
    if needs.lvm2 && !has.lvm2 {
        reasons.add_with_hint(
            "LVM's command library liblvm2cmd is not installed.",
            package("lvm2 liblvm2cmd2.03", "lvm2"),
        );
    }
    if needs.dmeventd && !has.dmeventd {
        reasons.add_with_hint(
            "dmeventd is not installed, so nothing would watch the pool and extend it.",
            package("dmeventd", "device-mapper-event"),
        );
    }
    if needs.thin_check && !has.thin_check {
        reasons.add_with_hint(
            "thin_check is not installed, and no thin pool is brought up without it.",
            package(host::THIN_TOOLS, host::thin_tools(&has.systems)),
        );
    }
    reasons.settle(message)
}

/// How to install a package, by the kind of system.
fn install(systems: &[String], debian: &str, others: &str) -> String {
    match host::install(systems, debian, others) {
        Some(command) => format!("install it: {command}"),
        None => format!("install the package {others} (on Debian {debian})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Unseen;

    fn complete() -> Abilities {
        Abilities {
            root: true,
            device_mapper: Ok(()),
            thin_pool_target: true,
            lvm2: true,
            dmeventd: true,
            thin_check: true,
            udev_gone: false,
            systems: vec!["debian".to_owned()],
        }
    }

    const ALL: Needs = Needs { lvm2: true, dmeventd: true, thin_check: true };

    #[test]
    fn a_complete_host_is_no_reason() {
        assert_eq!(check("setup", &complete(), ALL), Ok(()));
    }

    #[test]
    fn each_missing_thing_is_named_with_its_package() {
        let systems = |name: &str| vec![name.to_owned()];
        for (host, reason, hint) in [
            (Abilities { root: false, ..complete() }, "not root", "sudo"),
            (Abilities { device_mapper: Err(Unseen("no".into())), ..complete() }, "device-mapper", "modprobe dm-mod"),
            (Abilities { thin_pool_target: false, ..complete() }, "thin-pool target", "modprobe dm-thin-pool"),
            (Abilities { udev_gone: true, ..complete() }, "udev does not run", "systemctl restart systemd-udevd"),
            (Abilities { lvm2: false, ..complete() }, "liblvm2cmd", "apt-get install lvm2"),
            (
                Abilities { dmeventd: false, systems: systems("fedora"), ..complete() },
                "dmeventd",
                "device-mapper-event",
            ),
            (Abilities { thin_check: false, ..complete() }, "thin_check", "apt-get install thin-provisioning-tools"),
            (
                Abilities { thin_check: false, systems: systems("rhel"), ..complete() },
                "thin_check",
                "dnf install device-mapper-persistent-data",
            ),
            (
                Abilities { thin_check: false, systems: systems("opensuse"), ..complete() },
                "thin_check",
                "zypper install thin-provisioning-tools",
            ),
        ] {
            let refusal = check("setup", &host, ALL).expect_err(reason);
            assert!(refusal.reasons.iter().any(|text| text.contains(reason)), "{refusal:?}");
            assert!(refusal.hint.as_deref().is_some_and(|text| text.contains(hint)), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_not_needed_may_be_missing() {
        let host = Abilities { lvm2: false, dmeventd: false, thin_check: false, ..complete() };
        assert_eq!(check("status", &host, Needs::default()), Ok(()));
    }
}
