//! What configures others: their files, and their services.

use crate::observe::docker::UNITS;
use crate::observe::mounts;
use crate::observe::moved::{self, Moved};
use crate::sys::exec::{self, Ended, Task};
use crate::sys::file;
use crate::sys::signal::Stop;
use anyhow::{Context, Result, anyhow, bail};
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
    if let Some(backup) = backup.map(Path::new).filter(|backup| !file::same(path, backup)) {
        file::keep_copy(path, backup)?;
    }
    file::replace(path, text, 0o644)
}

/// Has systemd restart a service and waits for it; where it does not come up, what was there before is brought back.
pub fn restart(service: &str, back: Option<&str>, undo: Option<&Moved>, stop: &Stop) -> Result<()> {
    // systemd counts starts that failed, and starts no more after some.
    let _ = systemctl(&["reset-failed", service], None);
    let why = match systemctl(&["restart", service], Some(stop))? {
        Some(ended) if ended.status == Some(0) => return Ok(()),
        Some(ended) => format!("{service} did not come up (see journalctl --unit {service}): {}", ended.said),
        None if stop.asked() => bail!("systemd goes on with the restart of {service}"),
        None => format!("{service} was not up within {} s", STARTS_WITHIN.as_secs()),
    };
    let Some(undo) = undo else {
        let back = back.map_or(String::new(), |back| {
            format!("; to go back: {back} && systemctl reset-failed {service} && systemctl restart {service}")
        });
        bail!("{why}{back}");
    };
    bail!("{why}; {}", bring_back(undo))
}

/// Writes down that a folder goes aside.
pub fn begin_move(moved: &Moved) -> Result<()> {
    file::replace_private(Path::new(moved::PATH), &moved.text_of_file()?)
}

/// Moves a folder aside that nothing is mounted in; where that fails, what was there before is brought back.
pub fn move_aside(undo: &Moved) -> Result<()> {
    let (from, to) = (Path::new(&undo.folder), Path::new(&undo.copy));
    let moved = match mounts::within(from)?.first() {
        Some(place) => Err(anyhow!("{place} is a mount of its own")),
        None => file::rename(from, to),
    };
    moved.map_err(|why| anyhow!("{why:#}; {}", bring_back(undo)))
}

/// The old folder and the old file, and the service as it was; says how that went.
fn bring_back(undo: &Moved) -> String {
    match brought_back(undo) {
        Err(why) => format!("and what was there before could not be brought back: {why:#}"),
        Ok(said) if !undo.ran => said,
        Ok(said) => match started(&UNITS) {
            Ok(()) => format!("{said}, and it runs as before"),
            Err(why) => format!("{said}, but it could not be started again: {why:#}"),
        },
    }
}

/// The folder is known by its number: only what was moved comes back. What was made in its place is kept apart.
fn brought_back(undo: &Moved) -> Result<String> {
    if exec::find("systemctl").is_some() {
        stop(&UNITS)?;
    }
    let (folder, copy) = (Path::new(&undo.folder), Path::new(&undo.copy));
    let is_it = |path| file::folder(path).map(|found| found.is_some_and(|found| found.inode == undo.inode));
    let mut said = format!("{} is as it was", undo.folder);
    if is_it(copy)? {
        said = format!("{} is back as it was", undo.folder);
        if folder.exists() {
            let free = |name: &String| Path::new(name).symlink_metadata().is_err();
            let mut names = (0..1000).map(|number| format!("{}.failed.{number}", undo.folder));
            let apart = names.find(free).context("every name for what is new is taken")?;
            file::rename(folder, Path::new(&apart))?;
            let _ = write!(said, " (what was made in its place is {apart})");
        }
        file::rename(copy, folder)?;
    } else if !is_it(folder)? {
        bail!("{} is neither there nor {}", undo.folder, undo.copy);
    }
    if let Some(path) = &undo.file {
        if file::read(Path::new(path))?.as_deref() != Some(undo.text.as_str()) {
            let _ = write!(said, ", {path} stays, since somebody has changed it");
        } else if let Some(backup) = &undo.backup {
            file::take_place(Path::new(backup), Path::new(path))?;
            let _ = write!(said, ", {path} too");
        } else {
            file::remove(Path::new(path))?;
            let _ = write!(said, ", {path} is gone again");
        }
    }
    file::remove(Path::new(moved::PATH))?;
    Ok(said)
}

fn started(units: &[&str]) -> Result<()> {
    let units = loaded(units)?;
    // systemd counts starts that failed, and starts no more after some.
    let words = |verb| std::iter::once(verb).chain(units.iter().copied()).collect::<Vec<_>>();
    let _ = systemctl(&words("reset-failed"), None);
    run(&words("start"))
}

/// Those of the units that this host has.
fn loaded<'a>(units: &[&'a str]) -> Result<Vec<&'a str>> {
    let mut found = Vec::new();
    for unit in units {
        let said = systemctl(&["show", "--property", "LoadState", "--value", unit], None)?;
        if said.is_some_and(|ended| ended.said == "loaded") {
            found.push(*unit);
        }
    }
    Ok(found)
}

/// Has systemd stop units and waits for that.
pub fn stop(units: &[&str]) -> Result<()> {
    let units = loaded(units)?;
    if units.is_empty() {
        return Ok(());
    }
    run(&std::iter::once("stop").chain(units).collect::<Vec<_>>())
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
