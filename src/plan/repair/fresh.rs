//! New metadata beside the old, and what follows where nothing has to be made.

use super::super::Plan;
use super::super::activation::components_down;
use super::super::refusal::Reasons;
use super::super::sizing::LARGEST_METADATA;
use super::super::step::Step;
use super::{Facts, Found, Request, Rest, Wanted, is_dockers_own, known, missing, of_lvm, swap};
use crate::names::{LvName, LvmName, dm_escape, dm_split};
use crate::observe::metadata::{Head, Superblock, Verdict};
use crate::observe::pools::{LvmSide, Pool};
use crate::observe::register::Place;
use crate::observe::repair::{FORMAT, Home, Repair, Source, Stage, copy_of, word_of};
use crate::units::{Bytes, Extents, MIB};

/// What is left free on a file system that copies go to.
const SPARE_ROOM: Bytes = Bytes(4 * MIB);

/// Where the metadata of a pool is, for people.
pub fn device(pool: &Pool) -> String {
    match (&pool.lvm, pool.recorded()) {
        (Some(side), _) => format!("/dev/mapper/{}", dm_escape(&side.row.vg_name, &side.row.metadata_lv)),
        (None, Some(record)) => record.metadata.path().to_owned(),
        (None, None) => format!("the metadata of {}", pool.name),
    }
}

/// Whether both copies have room; `content` is what one takes, where that is known.
pub fn room(facts: &Facts, content: Option<Bytes>, reasons: &mut Reasons) {
    match &facts.room {
        Ok(room) if room.read_only => reasons.add(format!("The file system of {} is read-only.", room.folder)),
        Ok(room) => {
            let needed = Bytes(content.map_or(0, |content| content.0.saturating_mul(2)).saturating_add(SPARE_ROOM.0));
            if room.free < needed {
                let why = format!(
                    "The copies of the metadata take up to {needed}, and {} has {} left.",
                    room.folder, room.free
                );
                reasons.add_with_hint(why, "have them elsewhere: --backup-dir DIR");
            }
        }
        Err(why) => reasons.add(format!("Could not look at where the copies go: {why}.")),
    }
}

/// Plans the copies, and the new metadata.
pub fn build(request: &Request, pool: &Pool, found: &Found, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    let tools: &[&str] = match request.wanted {
        Wanted::Restore(_) => &["thin_check", "thin_dump", "thin_restore"],
        _ => &["thin_check", "thin_dump", "thin_repair"],
    };
    missing(facts, tools, reasons);
    let Some(rest) = &found.rest else { return reasons.add(format!("{} was not looked at.", pool.name)) };
    room(facts, Some(rest.content), reasons);
    let home = match (&pool.lvm, known(pool, facts)) {
        (Some(side), _) => volume(pool, side, facts, plan, reasons),
        (None, Some(known)) => match (&known.record, &known.standing) {
            (Ok(record), Some(standing)) => {
                standing.misplaced(record).into_iter().for_each(|why| reasons.add(why));
                Some(Home::Place { place: record.metadata.clone() })
            }
            (Err(why), _) => {
                reasons.add(format!("Could not look: {why}."));
                None
            }
            _ => None,
        },
        (None, None) => {
            let why = format!("{} is in no register, so what its metadata is on is not known.", pool.name);
            reasons.add(why);
            None
        }
    };
    let shape = Shape::of(pool, facts);
    warn(request, pool, found, &shape, facts, plan);
    if let (Head::Of(superblock), Wanted::Repair) = (&found.head, &request.wanted)
        && shape.chunk_sectors != superblock.chunk.0
    {
        reasons.add(format!(
            "The metadata is of a pool with chunks of {}, and {} has {}: it is another pool's.",
            superblock.chunk.bytes(),
            pool.name,
            crate::units::Sectors(shape.chunk_sectors).bytes()
        ));
    }
    let source = match &request.wanted {
        Wanted::Restore(path) => dump(path, pool, &shape, facts, reasons),
        _ => Some(Source::Metadata {
            transaction_id: shape.transaction_id,
            chunk_sectors: shape.chunk_sectors,
            data_blocks: shape.data_blocks,
        }),
    };
    let (Some(home), Some(source), Ok(room)) = (home, source, &facts.room) else { return };
    let repair = repair(pool, found, rest, home, source, (&room.folder, room.number));
    plan.question = 1;
    plan.todo(Step::BeginRepair { repair: Box::new(repair.clone()) });
    plan.todo(Step::BackUpMetadata { repair: Box::new(repair.clone()) });
    plan.todo(Step::BuildMetadata { repair: Box::new(repair.clone()) });
    // What follows is asked for anew, with what was found.
    swap::steps(pool, &repair, facts, plan, reasons);
}

/// What the operator should know before saying yes.
fn warn(request: &Request, pool: &Pool, found: &Found, shape: &Shape, facts: &Facts, plan: &mut Plan) {
    if let Err(why) = &facts.expected {
        plan.warnings.push(format!("which volumes should be in {} could not be looked at: {why}", pool.name));
    }
    if let Ok(room) = &facts.room
        && room.in_memory
    {
        plan.warnings.push(format!("{} is in memory: the copies there are gone with the next boot", room.folder));
    }
    // LVM keeps count itself.
    if request.wanted == Wanted::Repair && pool.lvm.is_none() && !matches!(found.head, Head::Of(_)) {
        plan.warnings.push(format!(
            "the superblock of {} is damaged: its transaction id is taken to be {}, the highest that is known elsewhere",
            pool.name, shape.transaction_id
        ));
    }
}

fn repair(pool: &Pool, found: &Found, rest: &Rest, home: Home, source: Source, to: (&str, u32)) -> Repair {
    let (folder, number) = to;
    let word = word_of(&pool.name);
    Repair {
        dmtool: FORMAT,
        pool: pool.name.clone(),
        stage: Stage::Begun,
        source,
        home,
        size: rest.size,
        old: copy_of(folder, &word, number, "old"),
        new: copy_of(folder, &word, number, "new"),
        found: match &found.verdict {
            Verdict::Damaged(said) | Verdict::Leaked(said) => said.clone(),
            Verdict::Clean | Verdict::Late => String::new(),
        },
        superblock: match &found.head {
            Head::Of(superblock) => Some(superblock.clone()),
            Head::Blank | Head::Foreign => None,
        },
        before: rest.contents.as_ref().ok().cloned(),
        after: None,
        new_superblock: None,
        by_spare: false,
    }
}

/// What stands in a superblock, from elsewhere.
struct Shape {
    transaction_id: u64,
    chunk_sectors: u64,
    data_blocks: u64,
}

impl Shape {
    fn of(pool: &Pool, facts: &Facts) -> Shape {
        if let Some(side) = &pool.lvm {
            let chunk = side.row.chunk_size.max(1);
            return Shape {
                transaction_id: side.row.transaction_id.parse().unwrap_or(0),
                chunk_sectors: Bytes(chunk).whole_sectors().0,
                data_blocks: side.row.lv_size / chunk,
            };
        }
        pool.recorded().map_or(Shape { transaction_id: 0, chunk_sectors: 1, data_blocks: 0 }, |record| {
            let chunk = record.table.words.chunk.0.max(1);
            let made = facts.expected.iter().flatten().filter_map(|volume| volume.transaction_id);
            Shape {
                // Docker takes a volume for lost that was made in a later transaction than the pool's.
                transaction_id: made.fold(record.transaction_id, u64::max),
                chunk_sectors: chunk,
                data_blocks: record.table.length.0 / chunk,
            }
        })
    }
}

/// The volume with a pool's metadata, and a name for the other one.
fn volume(pool: &Pool, side: &LvmSide, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) -> Option<Home> {
    let (Ok(lvm), Some(name)) = (&facts.ground.lvm, of_lvm(pool)) else {
        reasons.add(format!("LVM could not be asked about {}.", pool.name));
        return None;
    };
    if side.is_partial() {
        reasons.add(format!("A device of the volume group {} is missing.", name.vg));
    }
    if !side.row.vg_shared.is_empty() || !side.row.vg_exported.is_empty() {
        reasons.add(format!("The volume group {} is shared with other hosts, or exported.", name.vg));
    }
    let Some(row) = lvm.lv(name.vg.as_str(), &side.row.metadata_lv) else {
        reasons.add(format!("LVM does not say where the metadata of {name} lies."));
        return None;
    };
    components_down(side, &name.vg, plan);
    // As LVM's own repair counts.
    let prefix = format!("{}_meta", name.lv);
    let rows = lvm.lvs.iter().filter(|row| row.vg_name == name.vg.as_str());
    let taken = rows.filter_map(|row| row.lv_name.strip_prefix(&prefix)?.parse::<u32>().ok()).max();
    let number = taken.map_or(0, |taken| taken.saturating_add(1));
    let other = LvName::new(&format!("{prefix}{number}")).ok();
    if other.is_none() {
        reasons.add(format!("No name is free for a second metadata volume of {name}."));
    }
    Some(Home::Volume {
        lv: side.row.metadata_lv.clone(),
        extents: Bytes(row.lv_size).extents_for(Bytes(row.vg_extent_size)),
        other: other?,
    })
}

/// A dump, where it is of this pool.
fn dump(path: &str, pool: &Pool, shape: &Shape, facts: &Facts, reasons: &mut Reasons) -> Option<Source> {
    let (contents, sum) = match &facts.dump {
        Some(Ok(dump)) => (&dump.contents, dump.sum),
        Some(Err(why)) => {
            reasons.add(format!("{why}."));
            return None;
        }
        None => return None,
    };
    if contents.chunk.0 != shape.chunk_sectors {
        reasons.add(format!(
            "{path} is of a pool with chunks of {}, and {} has {}: it is another pool's.",
            contents.chunk.bytes(),
            pool.name,
            crate::units::Sectors(shape.chunk_sectors).bytes()
        ));
    } else if let Some(blocks) = contents.data_total.filter(|blocks| blocks.0 > shape.data_blocks) {
        let chunk = contents.chunk.bytes();
        reasons.add(format!(
            "{path} is of a pool with {} of data, and {} has {}: it is another pool's.",
            blocks.bytes(chunk),
            pool.name,
            crate::units::DataBlocks(shape.data_blocks).bytes(chunk)
        ));
    }
    if pool.lvm.is_none() && contents.transaction_id < shape.transaction_id {
        reasons.add(format!(
            "{path} is of transaction {}, and the pool has been at {}: it would not be brought up.",
            contents.transaction_id, shape.transaction_id
        ));
    }
    if shape.transaction_id != 0 && pool.lvm.is_some() && contents.transaction_id != shape.transaction_id {
        reasons.add(format!(
            "{path} is of transaction {}, and LVM expects {}: it would not bring the pool up.",
            contents.transaction_id, shape.transaction_id
        ));
    }
    Some(Source::Dump { path: path.to_owned(), data_blocks: shape.data_blocks, sum: Some(sum) })
}

/// Makes metadata larger that is full, while the pool is down: as large again, as far as it may.
pub fn grow(pool: &Pool, facts: &Facts, superblock: Option<&Superblock>, plan: &mut Plan, reasons: &mut Reasons) {
    let now = match (superblock, pool.figures()) {
        (Some(superblock), _) => superblock.metadata_total.bytes(),
        (None, Some(figures)) => figures.metadata_total.bytes(),
        (None, None) => return,
    };
    let to = Bytes(now.0.saturating_mul(2).min(LARGEST_METADATA.0).max(now.0));
    if let (Some(side), Some(name)) = (&pool.lvm, of_lvm(pool)) {
        return grow_volume(side, name, to, facts, plan, reasons);
    }
    let Some(record) = pool.recorded() else { return };
    let size = record.metadata.size();
    if size >= to {
        return;
    }
    let mut after = record.clone();
    match &mut after.metadata {
        Place::File { path, size, .. } => {
            let path = path.clone();
            *size = to;
            let mut before = record.clone();
            if let Place::File { grows_to, .. } = &mut before.metadata {
                *grows_to = Some(to);
            }
            if !is_dockers_own(&pool.name) {
                plan.todo(Step::Record { record: Box::new(before), made: false });
            }
            plan.todo(Step::GrowFile { path, size: to });
        }
        Place::Device { path, size, .. } => {
            let volume = path.strip_prefix("/dev/mapper/").and_then(dm_split);
            let name = volume.and_then(|(vg, lv, layer)| {
                layer.is_none().then(|| LvmName::parse(&format!("{vg}/{lv}")).ok()).flatten()
            });
            let row =
                name.as_ref().and_then(|name| facts.ground.lvm.as_ref().ok()?.lv(name.vg.as_str(), name.lv.as_str()));
            let (Some(name), Some(row)) = (name, row) else {
                plan.warnings.push(format!(
                    "the metadata of {} is full, and {path} is as large as it is: the pool will be read-only until volumes are removed",
                    pool.name
                ));
                return;
            };
            let extent = Bytes(row.vg_extent_size);
            let extents = to.extents_for(extent);
            let more = extents.0.saturating_sub(Bytes(row.lv_size).extents_for(extent).0);
            if more > row.vg_free_count {
                reasons.add(format!(
                    "The metadata of {} is full, and the group {} has no room for {} more.",
                    pool.name,
                    name.vg,
                    Extents(more).bytes(extent)
                ));
            }
            *size = extents.bytes(extent);
            plan.todo(Step::ExtendVolume { volume: name, to: extents, bytes: *size, carries: false });
        }
    }
    // What Docker finds when it starts is what counts.
    if !is_dockers_own(&pool.name) {
        plan.todo(Step::Record { record: Box::new(after), made: false });
    }
}

fn grow_volume(side: &LvmSide, name: LvmName, to: Bytes, facts: &Facts, plan: &mut Plan, reasons: &mut Reasons) {
    if side.metadata_size >= to {
        return;
    }
    let extent = Bytes(side.row.vg_extent_size);
    let more = to.extents_for(extent).0.saturating_sub(side.metadata_size.extents_for(extent).0);
    let spare = facts.ground.lvm.as_ref().map_or(Bytes(0), |lvm| lvm.spare(name.vg.as_str()));
    let of_spare = to.extents_for(extent).0.saturating_sub(spare.extents_for(extent).0);
    let of_spare = if spare.0 == 0 { 0 } else { of_spare };
    let short = more.saturating_add(of_spare).saturating_sub(side.row.vg_free_count);
    if short > 0 {
        let why = format!(
            "The metadata of {name} is full, and to make it {to} the group {} needs {} more than the {} it has free.",
            name.vg,
            Extents(short).bytes(extent),
            Extents(side.row.vg_free_count).bytes(extent)
        );
        reasons.add_with_hint(why, format!("add a disk to the group: vgextend {} DEVICE", name.vg));
    }
    plan.todo(Step::ExtendMetadata { pool: name, to, keeps_watch: false });
}

/// What brings a pool up again that is up still: for showing, since the plan is made anew when it is down.
pub fn bring_back(pool: &Pool, plan: &mut Plan) {
    if let Some(name) = of_lvm(pool) {
        plan.todo(Step::Activate { pool: name, ignore_skip: false });
        return;
    }
    let Some(record) = pool.recorded() else { return };
    for place in [&record.metadata, &record.data] {
        if let Place::File { path, .. } = place {
            plan.todo(Step::Attach { path: path.clone() });
        }
    }
    plan.todo(Step::CheckMetadata { name: record.name.clone(), place: record.metadata.clone() });
    plan.todo(Step::MakePool { record: Box::new(record.clone()), length: record.table.length });
    for volume in &record.volumes {
        plan.todo(super::bare::volume_step(record, volume));
    }
}
