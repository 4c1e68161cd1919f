//! LVM's count of a pool's transactions, set to 0. No command of LVM's does that: its metadata is written out, changed in
//! this one figure, and read in again, as lvmthin(7) has it for a count that does not fit ("Metadata check and repair").

use crate::names::LvmName;
use crate::observe::register::RECYCLE as FOLDER;
use crate::observe::{Host, filter};
use crate::sys::lvm2cmd::lock_file;
use crate::sys::{block, file};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Sets the count that LVM keeps of a pool that is down, and without volumes, to 0. Where another command holds LVM's lock
/// all of it is begun anew: what that one changes would be undone.
pub fn reset(pool: &LvmName, host: &mut Host) -> Result<()> {
    let deadline = Instant::now() + host.lock_limit;
    loop {
        let outcome = try_to(pool, host);
        let locked = outcome.as_ref().err().and_then(lock_file);
        if locked.is_none() || Instant::now() >= deadline {
            return outcome;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Takes away what a run wrote out and could not take away.
pub fn tidy() {
    let paths =
        block::entries(Path::new(FOLDER)).unwrap_or_default().into_iter().map(|name| Path::new(FOLDER).join(name));
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "vg")) {
        let _ = file::remove(&path);
    }
    file::remove_empty_folder(Path::new(FOLDER));
}

fn try_to(pool: &LvmName, host: &mut Host) -> Result<()> {
    let file = PathBuf::from(FOLDER).join(format!("{}.vg", pool.vg));
    let before = written_out(pool, &file, host)?;
    let after = without_count(&before, pool.lv.as_str())
        .with_context(|| format!("LVM's metadata of {} says no transaction id of {}", pool.vg, pool.lv))?;
    // What somebody changed meanwhile would be undone.
    if seqno(&written_out(pool, &file, host)?) != seqno(&before) {
        bail!("somebody changed the volume group {} at the same time", pool.vg);
    }
    file::put(&file, &after, 0o600)?;
    let name = file.display().to_string();
    change(&["vgcfgrestore", "--force", "--yes", "--file", &name, pool.vg.as_str()], host)?;
    file::remove(&file)
}

/// LVM's metadata of the group as text.
fn written_out(pool: &LvmName, file: &Path, host: &mut Host) -> Result<String> {
    file::make_folder(file)?;
    change(&["vgcfgbackup", "--file", &file.display().to_string(), pool.vg.as_str()], host)?;
    file::read(file)?.with_context(|| format!("vgcfgbackup made no {}", file.display()))
}

fn change(words: &[&str], host: &mut Host) -> Result<()> {
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.extend(["--config".to_owned(), filter::config(host, "log/silent=1")?]);
    host.lvm.change(&words, Duration::ZERO).map(drop)
}

fn seqno(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.trim().strip_prefix("seqno = "))
}

/// The text with the pool's count at 0. LVM writes each section's head and end on a line of its own.
fn without_count(text: &str, lv: &str) -> Option<String> {
    let mut sections: Vec<&str> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    let mut found = false;
    for line in text.lines() {
        let word = line.trim();
        if let Some(name) = word.strip_suffix(" {") {
            sections.push(name);
        } else if word == "}" {
            sections.pop();
        }
        let is_it = matches!(sections.as_slice(), [_, "logical_volumes", name, "segment1"] if *name == lv)
            && word.starts_with("transaction_id = ");
        found |= is_it;
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        lines.push(if is_it { format!("{indent}transaction_id = 0") } else { line.to_owned() });
    }
    found.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vg {\n\tseqno = 7\n\tlogical_volumes {\n\n\t\ttp {\n\t\t\tid = \"x\"\n\n\t\t\tsegment1 {\n\t\t\t\ttransaction_id = 4\n\t\t\t\tdiscards = \"passdown\"\n\t\t\t}\n\t\t}\n\n\t\ttp2 {\n\t\t\tsegment1 {\n\t\t\t\ttransaction_id = 9\n\t\t\t}\n\t\t}\n\t}\n}\n";

    #[test]
    fn one_figure_is_changed() {
        let after = without_count(TEXT, "tp").expect("a pool");
        assert_eq!(after, TEXT.replace("transaction_id = 4", "transaction_id = 0"));
        assert_eq!(without_count(TEXT, "tp3"), None);
        assert_eq!(without_count("", "tp"), None);
        assert_eq!(seqno(TEXT), Some("7"));
    }
}
