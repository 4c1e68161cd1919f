//! What a process inherits from whoever starts it, made its own: `sudo`, cron, a container or somebody with a grudge may
//! have put anything there. LVM's library alone obeys some thirty variables, among them where its configuration is and
//! which programs that names (lvm(8), ENVIRONMENT VARIABLES).

#![expect(unsafe_code, reason = "a process's environment is everybody's")]

use rustix::fs::Mode;

/// What says how to speak to a terminal. Nothing else of the environment is anybody's to decide.
const KEPT: [&str; 7] = ["TERM", "COLORTERM", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES"];

/// Files are as open as their makers ask for: a mask of 0 would have LVM's backups, which ask for everything, written by
/// everybody, and one of 077 keep a profile from those that read it.
const MASK: u32 = 0o022;

/// Drops all of the environment but what concerns the terminal, has programs looked for where root's are, and sets the
/// mask of new files. To be called before
/// anything else of this process.
pub fn leave() {
    let foreign: Vec<_> =
        std::env::vars_os().map(|(name, _)| name).filter(|name| !KEPT.iter().any(|kept| name == kept)).collect();
    for name in foreign {
        // SAFETY: this process has one thread so far, and nobody has a pointer into its environment.
        unsafe { std::env::remove_var(name) };
    }
    // What LVM starts looks for its programs there, and hands it on: dmeventd lives for long.
    // SAFETY: as before.
    unsafe { std::env::set_var("PATH", super::exec::PATH) };
    rustix::process::umask(Mode::from_raw_mode(MASK));
}
