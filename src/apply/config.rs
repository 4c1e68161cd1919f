//! What configures others: their files, and their services.

use crate::plan::step::Undo;
use crate::sys::exec::{self, Ended, Task};
use crate::sys::file;
use crate::sys::signal::Stop;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
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

/// Has systemd restart a service and waits for it; where it does not come up, what was there before is brought back.
pub fn restart(service: &str, back: Option<&str>, undo: Option<&Undo>, stop: &Stop) -> Result<()> {
    let why = match systemctl(&["restart", service], Some(stop))? {
        Some(ended) if ended.status == Some(0) => return Ok(()),
        Some(ended) => format!("{service} did not come up (see journalctl --unit {service}): {}", ended.said),
        None if stop.asked() => bail!("systemd goes on with the restart of {service}"),
        None => format!("{service} was not up within {} s", STARTS_WITHIN.as_secs()),
    };
    let Some(undo) = undo else {
        let back = back.map_or(String::new(), |back| format!("; to go back: {back} && systemctl restart {service}"));
        bail!("{why}{back}");
    };
    let said = match bring_back(undo) {
        Ok(said) => said,
        Err(error) => bail!("{why}; and what was there before could not be brought back: {error:#}"),
    };
    bail!("{why}; {said}")
}

/// The old folder and the old file, and the service as it was. What the service has made in the meantime is kept apart.
fn bring_back(undo: &Undo) -> Result<String> {
    stop(undo.units)?;
    let folder = Path::new(&undo.folder);
    let mut said = format!("{} is back as it was", undo.folder);
    if folder.exists() {
        let free = |name: &String| Path::new(name).symlink_metadata().is_err();
        let names = (0..1000).map(|number| format!("{}.failed.{number}", undo.folder));
        let apart = names.into_iter().find(free).context("every name for what is new is taken")?;
        file::rename(folder, Path::new(&apart))?;
        let _ = write!(said, " (what was made in its place is {apart})");
    }
    file::rename(Path::new(&undo.copy), folder)?;
    match (&undo.file, &undo.backup) {
        (Some(path), Some(backup)) => {
            file::take_place(Path::new(backup), Path::new(path))?;
            let _ = write!(said, ", {path} too");
        }
        (Some(path), None) => {
            file::remove(Path::new(path))?;
            let _ = write!(said, ", {path} is gone again");
        }
        (None, _) => {}
    }
    if undo.ran {
        // systemd counts starts that failed, and starts no more after some.
        let mut words = vec!["reset-failed"];
        words.extend(undo.units);
        let _ = systemctl(&words, None);
        let mut words = vec!["start"];
        words.extend(undo.units);
        run(&words).context("it could not be started again")?;
        said.push_str(", and it runs as before");
    }
    Ok(said)
}

/// Has systemd stop units and waits for that.
pub fn stop(units: &[&str]) -> Result<()> {
    let mut words = vec!["stop"];
    words.extend(units);
    run(&words)
}

fn run(words: &[&str]) -> Result<()> {
    match systemctl(words, None)? {
        Some(ended) if ended.status == Some(0) => Ok(()),
        Some(ended) => bail!("systemctl {}: {}", words.join(" "), ended.said),
        None => bail!("systemctl {} did not end within {} s", words.join(" "), STARTS_WITHIN.as_secs()),
    }
}

fn systemctl(words: &[&str], stop: Option<&Stop>) -> Result<Option<Ended>> {
    let path = exec::find("systemctl").context("systemctl is not installed")?;
    Task { path: &path, words, out: None, limit: Some(STARTS_WITHIN), stop }.run()
}
