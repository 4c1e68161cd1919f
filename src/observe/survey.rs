//! All that the checks look at, in one look: the kernel, LVM, dmeventd, what stands underneath and above. Each stage
//! may hang on a sick machine, so that a survey is run in a process that can be given up ([`crate::sys::apart`]) and
//! tells there how far it is.

use super::consumers::{self, Consumer};
use super::device::{self, Above};
use super::left::{Pending, pending};
use super::lvm::{self, LvRow, Lvm};
use super::metadata::{self, Checker, Head, Patience, Resting, Verdict};
use super::pools::{self, Below, Caution, Live, Pool, Unread};
use super::register;
use super::repair::{self, Repair};
use super::samples::{self, Sample, Samples};
use super::snapshot::{self, Holder};
use super::standing::{self, Elsewhere, Standing};
use super::thin::Mode;
use super::{Dmeventd, Host, Looked, Unseen, greet_dmeventd, host, looked};
use crate::names::{dm_escape, means};
use crate::sys::apart::Stage;
use crate::sys::signal::Stop;
use crate::sys::{blkid, block, file};
use crate::units::{Bytes, Sectors};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// How far a look at metadata goes.
#[derive(Clone, Copy)]
pub enum Depth<'a> {
    /// That of LVM's pools that are down, for as long as monitoring waits.
    Quick,
    /// That of every pool, for as long as it takes or until somebody asks for an end.
    Whole(&'a Stop),
}

/// How long one run of thin_check may take where all metadata is to be looked at: 16 GiB at the 5 MiB/s of a slow disk.
const WHOLE_LIMIT: Duration = Duration::from_secs(3600);

/// How long each stage may take that asks the kernel or a file, before it counts as hanging.
const STAGE_LIMIT: Duration = Duration::from_secs(4);

const KERNEL: &str = "asking device-mapper";
const DMEVENTD: &str = "greeting dmeventd";
const LVM: &str = "asking LVM";
const METADATA: &str = "reading metadata";
const AROUND: &str = "looking around the pools";

/// What hung in an earlier try, so that this one goes around it.
#[derive(Debug, Clone, Default)]
pub struct Avoid {
    silent: BTreeMap<String, String>,
    /// Pools whose metadata hung.
    metadata: BTreeMap<String, String>,
    stages: BTreeMap<String, String>,
}

impl Avoid {
    /// Takes in where a try hung or died; whether another one can get further.
    pub fn learn(&mut self, stage: &str, detail: &str, what: &str) -> bool {
        if stage == KERNEL && !detail.is_empty() {
            return self.silent.insert(detail.to_owned(), format!("{detail} {what}")).is_none();
        }
        if stage == METADATA && !detail.is_empty() {
            return self.metadata.insert(detail.to_owned(), format!("{stage} of {detail}: it {what}")).is_none();
        }
        stage != KERNEL && self.stages.insert(stage.to_owned(), format!("{stage}: it {what}")).is_none()
    }

    fn metadata(&self, pool: &str) -> Looked<()> {
        match self.metadata.get(pool) {
            Some(why) => Err(Unseen(why.clone())),
            None => self.stage(METADATA),
        }
    }

    fn stage(&self, name: &str) -> Looked<()> {
        match self.stages.get(name) {
            Some(why) => Err(Unseen(why.clone())),
            // LVM would hang on the same device, and for longer.
            None if name != DMEVENTD && name != AROUND => match self.silent.values().next() {
                Some(why) => Err(Unseen(format!("not asked, since {why}"))),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// How long a stage may take.
pub fn limit(stage: &str, lock_limit: Duration, depth: Depth<'_>) -> Duration {
    match (stage, depth) {
        (LVM, _) => lock_limit + lvm::READ_LIMIT + STAGE_LIMIT,
        // thin_check has a limit of its own for each pool that is down.
        (METADATA, Depth::Quick) => Duration::from_secs(60),
        // It runs once more where it finds something.
        (METADATA, Depth::Whole(_)) => 2 * WHOLE_LIMIT + lock_limit + STAGE_LIMIT,
        _ => STAGE_LIMIT,
    }
}

/// The whole look.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    /// Those that were meant.
    pub pools: Vec<Seen>,
    /// Names that no pool answers to.
    pub unknown: Vec<String>,
    /// Why the pools cannot be listed at all.
    pub kernel: Looked<()>,
    /// Why bare pools that are down cannot be listed.
    pub register: Looked<()>,
    /// None where LVM is not on this host.
    pub lvm: Looked<Option<Lvm>>,
    pub dmeventd: Looked<Dmeventd>,
    pub checker: Looked<Checker>,
    pub consumers: Looked<Vec<Consumer>>,
    /// Plain volumes that look like half of a pool and hold something: somebody's data.
    pub signed: BTreeSet<String>,
    /// Groups with pools that LVM cannot read.
    pub unread: Vec<Unread>,
    /// ID and ID_LIKE of /etc/os-release.
    pub systems: Vec<String>,
    /// Whether all pools were meant.
    pub all: bool,
    /// Whether this was looked at by root.
    pub root: bool,
}

/// A pool with what the checks need besides.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    pub pool: Pool,
    /// The transaction id of one of LVM's after LVM was asked, where LVM's is not what it was before.
    pub counted: Option<u64>,
    pub data: Looked<Lower>,
    pub metadata: Looked<Lower>,
    /// The table that waits for a resume.
    pub pending: Option<Looked<Pending>>,
    /// What stands where the register says that a bare pool's devices are, while it is down.
    pub standing: Option<Standing>,
    /// Where one that is up stands on other devices than the register says.
    pub elsewhere: Option<Looked<Vec<Elsewhere>>>,
    /// The metadata of an LVM pool that is down and could be activated.
    pub resting: Option<Looked<Resting>>,
    /// What thin_check says of a pool that is up, or of a bare one that is down, where that was asked for.
    pub maps: Option<Looked<Verdict>>,
    /// Whose the metadata snapshot is that is held.
    pub snapshot: Option<Looked<Holder>>,
    /// What stands on a sick pool, with its uses.
    pub above: Vec<Above>,
    /// A repair of it that was begun, and neither accepted nor undone.
    pub repair: Looked<Option<Repair>>,
    /// How full it is now, and was at the last look.
    pub now: Option<Sample>,
    pub before: Option<Sample>,
}

/// A device right under a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lower {
    pub device: String,
    pub size: Bytes,
    /// Its name in device-mapper, where it is suspended.
    pub suspended: Option<String>,
    pub loop_device: Option<LoopDevice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoopDevice {
    /// Without the kernel's mark that it is deleted; none where the device has no file at all.
    pub file: Option<String>,
    pub deleted: bool,
    /// Of the file, which the device does not follow by itself; none where it could not be found.
    pub length: Option<Bytes>,
    /// Where in the file the device begins.
    pub offset: Bytes,
    /// It goes with its last user.
    pub autoclear: bool,
}

/// Looks at everything, around what hung before.
pub fn look(host: &mut Host, names: &[String], depth: Depth<'_>, avoid: &Avoid, stage: &mut Stage) -> Survey {
    stage.begins(KERNEL);
    let active = looked(
        host.active_pools_with(&mut Caution { silent: &avoid.silent, tell: &mut |device: &str| stage.at(device) }),
    );
    let kernel = active.as_ref().map(|_| ()).map_err(Clone::clone);
    let active = active.unwrap_or_default();
    stage.begins(DMEVENTD);
    let dmeventd = avoid.stage(DMEVENTD).and_then(|()| greet_dmeventd(&active));
    host.dmeventd.clone_from(&dmeventd);
    stage.begins(LVM);
    let lvm = kernel.clone().and_then(|()| avoid.stage(LVM)).and_then(|()| ask_lvm(host));
    let pools = match &lvm {
        Ok(Some(lvm)) => pools::join(active, lvm),
        _ => active,
    };
    // LVM's books may have waited for a command at work, which the kernel had not been told of when it was asked.
    let counted = pools::counted(pools.iter().filter(|pool| pool.counts_otherwise()));
    let register = register::read();
    let pools = pools::with_register(pools, register.as_deref().unwrap_or_default());
    let (pools, unknown) = pools::choose(pools, names);
    let checker = metadata::checker();
    let mut checked = Vec::new();
    for pool in &pools {
        stage.begins(METADATA);
        stage.at(&pool.name);
        checked.push((rest(pool, &lvm, &checker, depth, avoid), maps(pool, depth, host.lock_limit, avoid)));
    }
    stage.begins(AROUND);
    let old = samples::read().unwrap_or_default();
    let seen = pools.into_iter().zip(checked).map(|(pool, checked)| {
        let counted = counted.get(&pool.name).copied();
        Seen { counted, ..around(pool, checked, avoid, &old) }
    });
    let seen: Vec<Seen> = seen.collect();
    if kernel.is_ok() && avoid.silent.is_empty() {
        let mut new: Samples = if names.is_empty() { Samples::new() } else { old.clone() };
        new.extend(seen.iter().filter_map(|seen| Some((seen.pool.name.clone(), seen.now?))));
        // A look that cannot leave a sample is a good look all the same; the next one says no time.
        let _ = samples::leave(&old, new);
    }
    // What hung around the pools before is not asked again.
    let around = avoid.stage(AROUND);
    let known = lvm.as_ref().ok().and_then(Option::as_ref).filter(|_| around.is_ok());
    let signed = known.map(signed).unwrap_or_default();
    Survey {
        signed,
        unread: known.map(pools::unread).unwrap_or_default(),
        pools: seen,
        unknown,
        register: register.map(drop),
        kernel,
        lvm,
        dmeventd,
        checker,
        consumers: around.and_then(|()| consumers::consumers()),
        systems: host::systems(),
        all: names.is_empty(),
        root: host::is_root(),
    }
}

fn ask_lvm(host: &mut Host) -> Looked<Option<Lvm>> {
    if lvm::is_installed() { lvm::look(host).map(Some) } else { Ok(None) }
}

fn rest(
    pool: &Pool,
    lvm: &Looked<Option<Lvm>>,
    checker: &Looked<Checker>,
    depth: Depth<'_>,
    avoid: &Avoid,
) -> Option<Looked<Resting>> {
    let side = pool.lvm.as_ref()?;
    let Ok(Some(lvm)) = lvm else { return None };
    // Another host may be writing what would be read here.
    let elsewhere = !side.row.vg_shared.is_empty() || !side.row.vg_exported.is_empty();
    let up = pool.live.is_some() || pool.broken.is_some() || !side.active_components.is_empty();
    if up || side.is_partial() {
        return None;
    }
    let reachable = avoid.metadata(&pool.name);
    match depth {
        Depth::Quick if elsewhere => None,
        Depth::Whole(_) if elsewhere => {
            let vg = &side.row.vg_name;
            Some(Err(Unseen(format!("the volume group {vg} is shared with other hosts, or exported"))))
        }
        Depth::Quick => {
            Some(reachable.and_then(|()| metadata::resting(pool, lvm, |path| metadata::as_lvm_does(checker, path))))
        }
        // What LVM was told to pass over is looked at here.
        Depth::Whole(stop) => Some(reachable.and_then(|()| not_asked(stop)).and_then(|()| {
            metadata::resting(pool, lvm, |path| metadata::check(path, false, Patience::AtMost(WHOLE_LIMIT, stop)))
        })),
    }
}

/// Whoever asked for an end gets no further look.
fn not_asked(stop: &Stop) -> Looked<()> {
    if stop.asked() { Err(Unseen("somebody asked for an end".to_owned())) } else { Ok(()) }
}

fn maps(pool: &Pool, depth: Depth<'_>, lock_limit: Duration, avoid: &Avoid) -> Option<Looked<Verdict>> {
    let Depth::Whole(stop) = depth else { return None };
    let reachable = avoid.metadata(&pool.name).and_then(|()| not_asked(stop));
    let patience = Patience::AtMost(WHOLE_LIMIT, stop);
    if let Some(live) = &pool.live {
        return Some(reachable.and_then(|()| snapshot::check(live, lock_limit, patience)));
    }
    let record = pool.record.as_ref().filter(|_| pool.broken.is_none())?;
    Some(reachable.and_then(|()| {
        let open = metadata::of_place(&record.as_ref().map_err(Clone::clone)?.metadata)?;
        metadata::check(open.path(), false, patience)
    }))
}

type Checked = (Option<Looked<Resting>>, Option<Looked<Verdict>>);

fn around(pool: Pool, (resting, maps): Checked, avoid: &Avoid, old: &Samples) -> Seen {
    let down = || Err(Unseen(format!("{} is down", pool.name)));
    let live = pool.live.as_ref();
    let reachable = avoid.stage(AROUND);
    let under = |below: fn(&Live) -> &Looked<Below>| match live {
        Some(live) => reachable.clone().and_then(|()| below(live).clone()).and_then(|below| lower(&below)),
        None => down(),
    };
    let (data, metadata) = (under(|live| &live.data), under(|live| &live.metadata));
    let loses_its_file = |lower: &Looked<Lower>| {
        lower.as_ref().is_ok_and(|lower| lower.loop_device.as_ref().is_some_and(|device| device.deleted))
    };
    let sick = loses_its_file(&data)
        || loses_its_file(&metadata)
        || live.is_some_and(|live| {
            !live.status.as_ref().is_ok_and(|status| status.mode == Mode::Rw)
                || live.figures().is_some_and(|figures| figures.needs_check)
                || live.failed_volumes.as_ref().is_ok_and(|failed| !failed.is_empty())
        });
    // Their names are what is asked for: whether one is open for a moment only makes no difference.
    let above = if sick && reachable.is_ok() {
        device::above_within(std::slice::from_ref(&pool), Duration::ZERO)
    } else {
        Vec::new()
    };
    Seen {
        counted: None,
        data,
        metadata,
        pending: live.filter(|live| live.inactive_table).map(|live| pending(&live.dm_name)),
        resting,
        maps,
        snapshot: live
            .filter(|live| live.figures().is_some_and(|figures| figures.held_root.is_some()))
            .map(|live| reachable.clone().and_then(|()| snapshot::holder(&live.dm_name))),
        elsewhere: live
            .zip(pool.recorded())
            .map(|(live, record)| reachable.clone().and_then(|()| standing::elsewhere(record, live))),
        standing: if live.is_none() && reachable.is_ok() { pool.recorded().map(standing::look) } else { None },
        above,
        now: live.and_then(sample),
        repair: repair::read(&pool.name),
        before: old.get(&pool.name).copied(),
        pool,
    }
}

/// Volumes `X` beside an `Xmeta`, one of which is active and begins with something: lvcreate has them begin with zeroes.
fn signed(lvm: &Lvm) -> BTreeSet<String> {
    let is_somebodys = |row: &LvRow| {
        let path = format!("/dev/mapper/{}", dm_escape(&row.vg_name, &row.lv_name));
        let is_blank = || metadata::head(Path::new(&path)).is_ok_and(|head| head == Head::Blank);
        let unsigned = || blkid::signatures(&path).is_ok_and(|signatures| signatures.is_empty());
        row.lv_active == "active" && !(is_blank() && unsigned())
    };
    let mut found = BTreeSet::new();
    for row in lvm.lvs.iter().filter(|row| row.segtype == "linear") {
        let half = lvm.lv(&row.vg_name, &format!("{}meta", row.lv_name));
        if half.is_some_and(|half| is_somebodys(row) || is_somebodys(half)) {
            found.insert(format!("{}/{}", row.vg_name, row.lv_name));
        }
    }
    found
}

fn lower(below: &Below) -> Looked<Lower> {
    let folder = std::path::Path::new("/sys/class/block").join(below.device.replace('/', "!"));
    let size = Sectors(looked(block::number(&folder.join("size")))?).bytes();
    let loop_device = below.device.starts_with("loop").then(|| {
        let path = below.file.as_deref();
        let deleted = path.and_then(|path| path.strip_suffix(" (deleted)"));
        let autoclear = file::read(&folder.join("loop/autoclear")).ok().flatten();
        let length = |path: &str| {
            let path = std::path::Path::new(path);
            // A loop device may stand on another block device, which has no length as a file has.
            file::is_plain(path).ok().filter(|plain| *plain)?;
            Some(Bytes(file::space(path).ok()?.length))
        };
        LoopDevice {
            file: deleted.or(path).map(str::to_owned),
            length: path.and_then(length),
            offset: Bytes(block::number(&folder.join("loop/offset")).unwrap_or(0)),
            deleted: deleted.is_some(),
            autoclear: autoclear.is_some_and(|text| text.trim() == "1"),
        }
    });
    Ok(Lower { device: below.device.clone(), size, suspended: below.suspended(), loop_device })
}

fn sample(live: &Live) -> Option<Sample> {
    let (figures, chunk) = (live.figures()?, live.chunk()?);
    Some(Sample {
        seconds: samples::now(),
        used: figures.data_used.bytes(chunk),
        total: figures.data_total.bytes(chunk),
    })
}

impl Survey {
    /// The names that no pool answers to, and none that LVM cannot read.
    pub fn nowhere(&self) -> impl Iterator<Item = &String> {
        let unread = || self.unread.iter().flat_map(|group| &group.pools);
        self.unknown.iter().filter(move |name| !unread().any(|pool| means(name, pool, &[""; 0])))
    }

    /// Takes what an earlier look found in all metadata, which a quick one does not look at again.
    pub fn keep_maps(&mut self, earlier: Survey) {
        for before in earlier.pools {
            let Some(now) = self.pools.iter_mut().find(|seen| seen.pool.name == before.pool.name) else { continue };
            let is_down = now.pool.live.is_none();
            if is_down == before.pool.live.is_none() {
                now.maps = before.maps;
            }
            if is_down && before.resting.is_some() {
                now.resting = before.resting;
            }
        }
    }

    /// Nothing could be seen, for this reason.
    pub fn unseen(why: Unseen) -> Survey {
        Survey {
            pools: Vec::new(),
            unknown: Vec::new(),
            kernel: Err(why.clone()),
            register: Err(why.clone()),
            lvm: Err(why.clone()),
            dmeventd: Err(why.clone()),
            checker: Err(why.clone()),
            consumers: Err(why),
            signed: BTreeSet::new(),
            unread: Vec::new(),
            systems: Vec::new(),
            all: true,
            root: host::is_root(),
        }
    }
}
