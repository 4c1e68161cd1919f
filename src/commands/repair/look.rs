//! What a repair must know.

use crate::commands::activation::look_with_dockers;
use crate::names::{dm_escape, means};
use crate::observe::lvm::Lvm;
use crate::observe::metadata::{self, Head, Open, Patience, Verdict, volumes};
use crate::observe::pools::{Live, Pool};
use crate::observe::register::State;
use crate::observe::repair::{self, FOLDER, Repair, Stage, copy_of, word_of};
use crate::observe::snapshot;
use crate::observe::thin::Mode;
use crate::observe::{Host, Looked, Unseen, consumers, device, host, looked, standing};
use crate::plan::activation;
use crate::plan::repair::{Copies, Expected, Facts, Found, Request, Rest, Room, Wanted};
use crate::sys::signal::Stop;
use crate::sys::{blocks, copy, exec, file};
use crate::units::Bytes;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

const TOOLS: [&str; 4] = ["thin_check", "thin_dump", "thin_repair", "thin_restore"];

/// What this run has seen before.
#[derive(Default)]
pub struct Memory {
    was_up: bool,
    /// A repair was on its way when this run began.
    had_journal: bool,
    /// The first block of the metadata, with the verdict on all of it: to have it checked again and again would take
    /// minutes each time.
    judged: Option<([u8; 4096], Option<Stage>, Verdict)>,
    /// Where the first look of this run found new metadata that an earlier run had made.
    left_built: OnceCell<Option<String>>,
    /// Of volumes that were up: their devices, and what is on them.
    pub file_systems: BTreeMap<String, String>,
    stop: Option<Stop>,
}

impl Memory {
    fn stop(&self) -> Looked<&Stop> {
        self.stop.as_ref().ok_or_else(|| Unseen("signals cannot be listened to".to_owned()))
    }
}

pub fn look(request: &Request, memory: &mut Memory, host: &mut Host) -> Facts {
    if memory.stop.is_none() {
        memory.stop = Stop::listen().ok();
    }
    let mut facts = blank(look_with_dockers(host, &request.chosen()));
    let pool = request.chosen().find(&facts.ground.pools).cloned();
    let Some(pool) = pool else { return facts };
    facts.journal = repair::read(&pool.name);
    let journal = facts.journal.as_ref().ok().and_then(Option::as_ref);
    memory.had_journal |= journal.is_some();
    let stage = journal.map(|repair| repair.stage);
    let built = journal.filter(|repair| repair.stage == Stage::Built).map(|repair| repair.new.clone());
    let left_built = memory.left_built.get_or_init(|| built.clone());
    facts.built_here = built.is_some() && built != *left_built;
    facts.ended = memory.had_journal && facts.journal == Ok(None);
    facts.room = room(request, &pool, journal);
    facts.expected = expected(&pool, &facts.ground);
    for volume in facts.expected.iter().flatten() {
        if let Some(Ok(Some(kind))) = device::signature(&volume.device) {
            memory.file_systems.insert(volume.device.clone(), kind);
        }
    }
    if let Wanted::Restore(path) = &request.wanted
        && (pool.live.is_none() || journal.is_some())
    {
        facts.dump = Some(volumes::of_dump(Path::new(path)));
    }
    if let Some(live) = &pool.live {
        memory.was_up = true;
        facts.containers = consumers::running_containers();
        if matches!(request.wanted, Wanted::Repair) && seems_well(&pool) {
            facts.found = Some(of_live(live, host, memory));
        }
        return facts;
    }
    facts.taken_down = memory.was_up;
    if pool.broken.is_some() || request.wanted == Wanted::Accept {
        return facts;
    }
    let open = open(&pool, &facts.ground);
    if request.wanted == Wanted::Undo && journal.is_none() {
        facts.ended |= is_undone(&pool, &facts.room, &open);
    }
    facts.copies = journal.map(|repair| open.as_ref().map_err(Clone::clone).and_then(|open| copies(repair, open)));
    // What LVM made itself is known by what it holds.
    if request.wanted != Wanted::Undo || journal.is_some_and(|repair| repair.by_spare) {
        let free = facts.room.as_ref().map_or(Bytes(0), |room| room.free);
        let restores = facts.dump.is_some();
        facts.found = Some(open.and_then(|open| found(&open, (free, restores), stage, memory)));
    }
    facts
}

/// What is known before a pool is looked at.
fn blank(ground: activation::Facts) -> Facts {
    let missing = TOOLS.into_iter().filter(|tool| exec::find(tool).is_none()).collect();
    let systems = host::systems();
    let others = host::thin_tools(&systems);
    let install =
        host::install(&systems, host::THIN_TOOLS, others).unwrap_or_else(|| format!("install the package {others}"));
    Facts {
        ground,
        journal: Ok(None),
        found: None,
        copies: None,
        room: Err(Unseen("no pool was found".to_owned())),
        missing,
        dump: None,
        expected: Ok(Vec::new()),
        containers: Vec::new(),
        taken_down: false,
        built_here: false,
        ended: false,
        install,
    }
}

/// Whether the kernel minds nothing about it.
fn seems_well(pool: &Pool) -> bool {
    pool.mode() == Some(Mode::Rw) && pool.figures().is_some_and(|figures| !figures.needs_check)
}

fn of_live(live: &Live, host: &Host, memory: &Memory) -> Looked<Found> {
    let verdict = to_its_end(snapshot::check(live, host.lock_limit, Patience::Until(memory.stop()?))?)?;
    Ok(Found { head: Head::Foreign, verdict, rest: None })
}

fn check(path: &Path, memory: &Memory) -> Looked<Verdict> {
    to_its_end(metadata::check(path, false, Patience::Until(memory.stop()?))?)
}

fn to_its_end(verdict: Verdict) -> Looked<Verdict> {
    match verdict {
        Verdict::Late => Err(Unseen("somebody asked for an end".to_owned())),
        verdict => Ok(verdict),
    }
}

/// The metadata of a pool that is down.
fn open(pool: &Pool, ground: &activation::Facts) -> Looked<Open> {
    if let Some(side) = &pool.lvm {
        let lvm: &Lvm = ground.lvm.as_ref().map_err(Clone::clone)?;
        return metadata::of_lvm(lvm, &side.row.vg_name, &side.row.metadata_lv);
    }
    let known = ground.known(pool).ok_or_else(|| Unseen(format!("{} is in no register", pool.name)))?;
    metadata::of_place(&known.record.as_ref().map_err(Clone::clone)?.metadata)
}

fn found(open: &Open, (free, restores): (Bytes, bool), stage: Option<Stage>, memory: &mut Memory) -> Looked<Found> {
    let path = open.path();
    let block = looked(blocks::head(path))?;
    let judged = memory
        .judged
        .as_ref()
        .filter(|(known, at, _)| *known == block && *at == stage)
        .map(|(.., verdict)| verdict.clone());
    let verdict = match judged {
        // What is there is of no importance where a dump replaces it.
        _ if restores => Verdict::Late,
        Some(verdict) => verdict,
        None => check(path, memory)?,
    };
    memory.judged = Some((block, stage, verdict.clone()));
    let size = Bytes(looked(copy::size(path))?);
    // To count what it holds takes as long as to copy it.
    let content = if free.0 / 2 > size.0 { size } else { Bytes(looked(copy::content(path))?) };
    let head = metadata::believed(&block);
    Ok(Found { head, verdict, rest: Some(Rest { contents: volumes::of(path), size, content }) })
}

fn copies(repair: &Repair, open: &Open) -> Looked<Copies> {
    if matches!(repair.stage, Stage::Begun | Stage::BackedUp) {
        return Ok(Copies::default());
    }
    let mut gone = Vec::new();
    let mut same = |path: &str| -> Looked<bool> {
        if looked(file::identity(Path::new(path)))?.is_none() {
            gone.push(path.to_owned());
            return Ok(false);
        }
        looked(copy::same(open.path(), Path::new(path)))
    };
    let (is_old, is_new) = (same(&repair.old)?, same(&repair.new)?);
    Ok(Copies { is_old, is_new, is_cut_off: copy::is_cut_off(&looked(blocks::head(open.path()))?), gone })
}

fn room(request: &Request, pool: &Pool, journal: Option<&Repair>) -> Looked<Room> {
    let folder = standing::resolved(request.backup_dir.as_deref().unwrap_or(FOLDER));
    if !folder.starts_with('/') {
        let here = looked(file::here())?;
        return room_in(&standing::resolved(&here.join(&folder).to_string_lossy()), pool, journal);
    }
    room_in(&folder, pool, journal)
}

fn room_in(folder: &str, pool: &Pool, journal: Option<&Repair>) -> Looked<Room> {
    let found = standing::room(folder)?;
    let word = word_of(&pool.name);
    // Those of a run that was killed while it made them are made anew.
    let begun = journal.filter(|repair| repair.stage == Stage::Begun);
    // One that cannot be looked at may be there.
    let is_taken = |path: String| -> Looked<bool> {
        let ours = begun.is_some_and(|repair| repair.old == path || path.starts_with(&repair.new));
        Ok(!ours && looked(file::identity(Path::new(&path)))?.is_some())
    };
    let mut free = None;
    for number in 0..1000 {
        // What is made on the way is as little somebody's own.
        let mut taken = false;
        for which in ["old", "new", "new.xml", "new.led"] {
            taken |= is_taken(copy_of(folder, &word, number, which))?;
        }
        if !taken {
            free = Some(number);
            break;
        }
    }
    let number = free.ok_or_else(|| Unseen(format!("{folder} is full of copies")))?;
    let standing::Room { free, read_only, in_memory } = found;
    Ok(Room { folder: folder.to_owned(), free, read_only, in_memory, number })
}

/// Whether an earlier run put the old metadata back and forgot the repair: the copy of it stays.
fn is_undone(pool: &Pool, room: &Looked<Room>, open: &Looked<Open>) -> bool {
    let (Ok(room), Ok(open)) = (room, open) else { return false };
    let word = word_of(&pool.name);
    let copies = (0..room.number).map(|number| copy_of(&room.folder, &word, number, "old"));
    copies
        .into_iter()
        .any(|copy| Path::new(&copy).exists() && copy::same(open.path(), Path::new(&copy)).unwrap_or(false))
}

/// The volumes that somebody knows to be in the pool.
fn expected(pool: &Pool, ground: &activation::Facts) -> Looked<Vec<Expected>> {
    let mut found = Vec::new();
    if pool.lvm.is_some() {
        let lvm = ground.lvm.as_ref().map_err(Clone::clone)?;
        for row in &lvm.lvs {
            if pool.name != format!("{}/{}", row.vg_name, row.pool_lv) {
                continue;
            }
            let Ok(thin_id) = row.thin_id.parse() else { continue };
            let device = format!("/dev/mapper/{}", dm_escape(&row.vg_name, &row.lv_name));
            let name = format!("{}/{}", row.vg_name, row.lv_name);
            found.push(Expected { name, thin_id, device, transaction_id: None });
        }
    }
    if let Some(record) = &pool.record {
        let record = record.as_ref().map_err(Clone::clone)?;
        for volume in record.volumes.iter().filter(|volume| volume.state == State::Ready) {
            let device = format!("/dev/mapper/{}", volume.device);
            let (name, thin_id) = (volume.name.clone(), volume.thin_id);
            found.push(Expected { name, thin_id, device, transaction_id: None });
        }
    }
    let names = pool.dm_names();
    let dockers = consumers::consumers()?
        .into_iter()
        .any(|consumer| consumer.name == "Docker" && means(&consumer.pool, &pool.name, &names))
        || crate::observe::register::is_dockers_own(&pool.name);
    if dockers {
        for volume in consumers::docker_volumes()? {
            let (thin_id, transaction_id) = (volume.thin_id, volume.transaction_id);
            if found.iter().all(|volume| volume.thin_id != thin_id) {
                let name = format!("docker:{}", volume.short());
                // Docker brings them up itself, and mounts them.
                found.push(Expected { name, thin_id, device: String::new(), transaction_id });
            }
        }
    }
    found.sort_by_key(|volume| volume.thin_id);
    Ok(found)
}
