//! What a repair does: copies metadata out, makes new metadata beside it, and puts that in its place. The record of the
//! repair is written before each step that the machine's own state would not tell of.

use crate::names::{LvmName, dm_escape};
use crate::observe::metadata::trees::{self, Figures};
use crate::observe::metadata::volumes::{self, Contents};
use crate::observe::metadata::{self, Head, Open, Patience, Verdict};
use crate::observe::register::Place;
use crate::observe::repair::{Home, Repair, Source, Stage};
use crate::observe::{Host, lvm};
use crate::sys::copy::{self, Tell};
use crate::sys::exec::{self, Task};
use crate::sys::loopdev;
use crate::sys::signal::Stop;
use crate::sys::{block, blocks, dump, file};
use crate::units::METADATA_BLOCK;
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};

pub fn write(repair: &Repair) -> Result<()> {
    file::replace_private(&repair.path(), &repair.text()?)
}

pub fn note(repair: &Repair, stage: Stage) -> Result<()> {
    write(&Repair { stage, ..repair.clone() })
}

/// The metadata where it is now.
fn open(host: &mut Host, repair: &Repair) -> Result<Open> {
    match &repair.home {
        Home::Volume { lv, .. } => {
            let name = LvmName::parse(&repair.pool).map_err(|why| anyhow!(why))?;
            let lvm = lvm::look(host)?;
            Ok(metadata::of_lvm(&lvm, name.vg.as_str(), lv)?)
        }
        Home::Place { place } => Ok(metadata::of_place(place)?),
    }
}

/// Copies the metadata out.
pub fn back_up(host: &mut Host, repair: &Repair, stop: &Stop, share: Tell<'_>) -> Result<()> {
    let open = open(host, repair)?;
    let old = Path::new(&repair.old);
    // One that a killed run left: the name was free when the record was written.
    file::remove(old)?;
    file::make_folder(old)?;
    whole(copy::out(open.path(), old, Some(stop), share)?)?;
    if !copy::same(open.path(), old)? {
        bail!("{} is not what it is a copy of: somebody writes to the metadata", old.display());
    }
    // From here on it is never written over.
    note(repair, Stage::BackedUp)
}

fn whole(is_whole: bool) -> Result<()> {
    if is_whole { Ok(()) } else { Err(anyhow!("somebody asked for an end")) }
}

/// Makes new metadata of a copy of the old, or of a dump, and has it checked.
pub fn build(repair: &Repair, stop: &Stop) -> Result<()> {
    let new = Path::new(&repair.new);
    file::remove(new)?;
    file::make(new, repair.size.0)?;
    built(repair, new, stop).inspect_err(|_| {
        // The next run makes one under another name, beside the copy of the old, which is kept.
        let _ = file::remove(new);
    })
}

fn built(repair: &Repair, new: &Path, stop: &Stop) -> Result<()> {
    let untouched = || format!("the pool is untouched, and a copy of its metadata is {}", repair.old);
    let after = make(repair, new, stop).with_context(untouched)?;
    let Head::Of(superblock) = metadata::head(new)? else { bail!("{} has no superblock", new.display()) };
    let made = Repair { stage: Stage::Built, after: Some(after), new_superblock: Some(superblock), ..repair.clone() };
    write(&made)
}

fn make(repair: &Repair, new: &Path, stop: &Stop) -> Result<Contents> {
    match &repair.source {
        Source::Metadata { transaction_id, chunk_sectors, data_blocks } => {
            let figures =
                Figures { transaction_id: *transaction_id, chunk_sectors: *chunk_sectors, data_blocks: *data_blocks };
            let by_itself = thin_repair(repair, new, figures, stop);
            by_itself.or_else(|why| led(repair, new, figures, stop).context(format!("{why:#}")))
        }
        Source::Dump { path, data_blocks, .. } => {
            let whole = PathBuf::from(format!("{}.xml", repair.new));
            file::remove(&whole)?;
            let done = dump::complete_file(Path::new(path), &whole, *data_blocks).and_then(|()| {
                run_onto("thin_restore", &["-i".to_owned(), whole.to_string_lossy().into_owned()], new, stop)
            });
            file::remove(&whole)?;
            done.and_then(|()| clean(new, stop))
        }
    }
}

/// thin_repair, with what a damaged superblock does not say.
fn thin_repair(repair: &Repair, new: &Path, figures: Figures, stop: &Stop) -> Result<Contents> {
    let from = loopdev::hold(Path::new(&repair.old), false)?;
    let mut words = vec!["-i".to_owned(), from.path.clone()];
    if repair.superblock.is_none() {
        let Figures { transaction_id, chunk_sectors, data_blocks } = figures;
        let figures =
            [("transaction-id", transaction_id), ("data-block-size", chunk_sectors), ("nr-data-blocks", data_blocks)];
        words.extend(figures.iter().flat_map(|(name, figure)| [format!("--{name}"), figure.to_string()]));
    }
    run_onto("thin_repair", &words, new, stop)?;
    not_empty(repair, clean(new, stop)?)
}

/// thin_repair 0.9 makes empty metadata where it finds no tree at all, and says that all went well (seen).
fn not_empty(repair: &Repair, made: Contents) -> Result<Contents> {
    let was_empty = repair.superblock.as_ref().is_some_and(|superblock| superblock.data_used.0 == 0);
    if made.volumes.is_empty() && !was_empty {
        bail!("thin_repair found no volume in it");
    }
    Ok(made)
}

/// thin_repair once more, led to the trees by a superblock of ours in a copy of the copy.
fn led(repair: &Repair, new: &Path, figures: Figures, stop: &Stop) -> Result<Contents> {
    let led = PathBuf::from(format!("{}.led", repair.new));
    file::remove(&led)?;
    let done = (|| {
        whole(copy::out(Path::new(&repair.old), &led, Some(stop), &mut |_, _| {})?)?;
        let roots = trees::find(&led)?;
        let block = trees::superblock_for(&blocks::head(&led)?, repair.size.0 / METADATA_BLOCK, roots, figures);
        blocks::write_head(&led, &block)?;
        file::remove(new)?;
        file::make(new, repair.size.0)?;
        let from = loopdev::hold(&led, false)?;
        run_onto("thin_repair", &["-i".to_owned(), from.path.clone()], new, stop)?;
        not_empty(repair, clean(new, stop)?)
    })();
    file::remove(&led)?;
    done
}

fn run_onto(tool: &str, words: &[String], new: &Path, stop: &Stop) -> Result<()> {
    let onto = loopdev::hold(new, true)?;
    let path = exec::find(tool).with_context(|| format!("{tool} is not installed"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["-o", &onto.path]).collect();
    let ended = Task { path: &path, words: &words, out: None, limit: None, stop: Some(stop) }.run()?;
    let ended = ended.context("somebody asked for an end")?;
    if ended.status != Some(0) {
        let how = ended.status.map_or("a signal ended it".to_owned(), |status| format!("status {status}"));
        bail!("{tool} could not make metadata of it ({how}): {}", ended.said);
    }
    Ok(())
}

/// What new metadata holds that thin_check finds clean.
fn clean(new: &Path, stop: &Stop) -> Result<Contents> {
    let onto = loopdev::hold(new, false)?;
    match metadata::check(Path::new(&onto.path), false, Patience::Until(stop))? {
        Verdict::Clean => {}
        Verdict::Late => bail!("somebody asked for an end"),
        Verdict::Damaged(said) | Verdict::Leaked(said) => bail!("what was made is not clean: {said}"),
    }
    let made = volumes::of(Path::new(&onto.path))?;
    drop(onto);
    // Written through the device, to be found in the file after a power cut.
    file::sync(new)?;
    Ok(made)
}

/// Sees that the metadata is what a copy holds.
pub fn compare(host: &mut Host, repair: &Repair, with: &str) -> Result<()> {
    let open = open(host, repair)?;
    if copy::same(open.path(), Path::new(with))? {
        return Ok(());
    }
    bail!("the metadata of {} is not what {with} holds", repair.pool)
}

pub fn fill(volume: &LvmName, from: &str, share: Tell<'_>) -> Result<()> {
    let device = format!("/dev/mapper/{}", dm_escape(volume.vg.as_str(), volume.lv.as_str()));
    copy::over(Path::new(from), Path::new(&device), share)
}

/// Sees that what LVM made is what was shown, and takes that for the copy of the new.
pub fn adopt(host: &mut Host, repair: &Repair, stop: &Stop) -> Result<()> {
    let open = open(host, repair)?;
    let held = volumes::of(open.path())?;
    let new = Path::new(&repair.new);
    file::remove(new)?;
    whole(copy::out(open.path(), new, Some(stop), &mut |_, _| {})?)?;
    if repair.after.as_ref().map(|after| &after.volumes) == Some(&held.volumes) {
        return Ok(());
    }
    // The next run shows that, and asks.
    write(&Repair { stage: Stage::Swapping, after: Some(held), ..repair.clone() })?;
    bail!("LVM made other metadata for {} than was shown; --undo puts the old back", repair.pool)
}

/// Writes a copy over metadata that is down.
pub fn write_over(place: &Place, from: &str, share: Tell<'_>) -> Result<()> {
    // A file that is on a loop device which something uses is the metadata of a pool that runs.
    let devices = match place {
        Place::File { path, .. } => loopdev::all_of(Path::new(path))?,
        Place::Device { .. } => Vec::new(),
    };
    let _held: Vec<_> = devices.iter().map(|found| block::exclusive(&found.name)).collect::<Result<_>>()?;
    copy::over(Path::new(from), Path::new(place.path()), share)
}

/// Forgets a repair. The record goes last: copies without one would be nobody's.
pub fn end(repair: &Repair, keeps_old: bool) -> Result<()> {
    file::remove(Path::new(&repair.new))?;
    if !keeps_old {
        file::remove(Path::new(&repair.old))?;
    }
    file::remove(&repair.path())
}
