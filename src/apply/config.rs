//! What configures others: their files, and their services.

use crate::sys::exec::{self, Task};
use crate::sys::file;
use crate::sys::signal::Stop;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Duration;

/// A service of Docker's size is up by then, or does not come up.
const STARTS_WITHIN: Duration = Duration::from_secs(300);

/// Replaces a file that still is as it was looked at, after a copy of it was kept.
pub fn write(path: &str, (old, text): (Option<&str>, &str), backup: Option<&str>) -> Result<()> {
    let path = Path::new(path);
    if file::read(path)?.as_deref() != old {
        bail!("somebody changed {} meanwhile, so it is left alone", path.display());
    }
    if let Some(backup) = backup {
        file::keep_copy(path, Path::new(backup))?;
    }
    file::replace(path, text, 0o644)
}

/// Has systemd restart a service and waits for it.
pub fn restart(service: &str, back: Option<&str>, stop: &Stop) -> Result<()> {
    let path = exec::find("systemctl").context("systemctl is not installed")?;
    let words = ["restart", service];
    let task = Task { path: &path, words: &words, out: None, limit: Some(STARTS_WITHIN), stop: Some(stop) };
    let back = back.map_or(String::new(), |back| format!("; to go back: {back} && systemctl restart {service}"));
    match task.run()? {
        Some(ended) if ended.status == Some(0) => Ok(()),
        Some(ended) => bail!("{service} did not come up (see journalctl --unit {service}): {}{back}", ended.said),
        None if stop.asked() => bail!("systemd goes on with the restart of {service}"),
        None => bail!("{service} was not up within {} s, and systemd goes on with it{back}", STARTS_WITHIN.as_secs()),
    }
}
