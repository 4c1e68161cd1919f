//! The JSON of every verb: the contract that scripts rely on.

use crate::apply::Applied;
use crate::exit::Problem;
use crate::health::code::{Code, Severity};
use crate::health::pages::{self, Page};
use crate::health::{self, Finding};
use crate::observe::Looked;
use crate::observe::pools::{Below, Kind, LvmSide, Pool};
use crate::observe::profile::NEVER;
use crate::observe::register::{Place, Record};
use crate::observe::survey::Survey;
use crate::observe::thin::{Mode, PoolFigures, PoolTable};
use crate::observe::volumes::{Inventory, Volume};
use crate::plan::volume::orphans::Orphans;
use crate::units::{Bytes, percent};
use serde_json::{Value, json};

/// The version of the format.
pub const FORMAT: u64 = 1;

/// The object of a verb that can change things.
pub struct Change<'a> {
    pub command: &'a str,
    pub dry_run: bool,
    pub steps: &'a [Applied],
    pub warnings: &'a [String],
    pub pool: Value,
    pub more: Option<(&'static str, Value)>,
    pub problem: Option<&'a Problem>,
}

pub fn change(change: &Change<'_>) -> Value {
    use crate::apply::Status;
    let changed = change.steps.iter().any(|step| matches!(step.status, Status::Done | Status::Planned));
    let steps: Vec<Value> = change
        .steps
        .iter()
        .map(
            |applied| json!({"step": applied.step.word(), "command": applied.step.command(), "status": applied.status}),
        )
        .collect();
    let mut object = json!({
        "dmtool": FORMAT,
        "command": change.command,
        "changed": changed,
        "dry_run": change.dry_run,
        "steps": steps,
        "warnings": change.warnings,
        "pool": change.pool,
    });
    if let Some((name, value)) = &change.more
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert((*name).to_owned(), value.clone());
    }
    if let Some(problem) = change.problem
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("error".to_owned(), json!(problem));
    }
    object
}

/// The object of a verb that only looks, and of one that did not get as far as its own.
pub fn failure(command: Option<&str>, problem: &Problem) -> Value {
    json!({"dmtool": FORMAT, "command": command, "changed": false, "error": problem})
}

/// The object of `status`. Warnings (LVM could not be asked, for one) are there only where there are any.
pub fn status(pools: &[Pool], warnings: &[String]) -> Value {
    let mut object =
        json!({"dmtool": FORMAT, "command": "status", "pools": pools.iter().map(pool).collect::<Vec<_>>()});
    if let Some(fields) = object.as_object_mut().filter(|_| !warnings.is_empty()) {
        fields.insert("warnings".to_owned(), json!(warnings));
    }
    object
}

/// The object of `volume list`.
pub fn volumes(pool: &Pool, inventory: &Inventory) -> Value {
    let volumes: Vec<Value> = inventory.volumes.iter().map(|volume| one_volume(pool, volume)).collect();
    let mut object = json!({
        "dmtool": FORMAT,
        "command": "volume list",
        "complete": inventory.complete,
        "volumes": volumes,
    });
    if let Some(fields) = object.as_object_mut().filter(|_| !inventory.warnings.is_empty()) {
        fields.insert("warnings".to_owned(), json!(inventory.warnings));
    }
    object
}

/// The object of `volume show`.
pub fn volume(pool: &Pool, volume: &Volume, uses: Option<&Looked<Vec<String>>>) -> Value {
    let uses = uses.and_then(|uses| uses.as_ref().ok());
    json!({
        "dmtool": FORMAT,
        "command": "volume show",
        "volume": one_volume(pool, volume),
        "device": volume.device().map(|device| format!("/dev/mapper/{device}")),
        "uses": uses,
    })
}

/// The object of `volume orphans`; with doubts, nothing of it is removed.
pub fn orphans(of: &Pool, inventory: &Inventory, found: &Orphans<'_>, doubts: &[String]) -> Value {
    json!({
        "dmtool": FORMAT,
        "command": "volume orphans",
        "changed": false,
        "complete": inventory.complete,
        "removable": inventory.complete && doubts.is_empty(),
        "warnings": inventory.warnings.iter().chain(doubts).collect::<Vec<_>>(),
        "pool": pool(of),
        "orphans": orphans_of(of, found),
    })
}

/// Each with what it is.
pub fn orphans_of(of: &Pool, found: &Orphans<'_>) -> Value {
    let one = |(what, volume): (&str, &Volume)| {
        let mut object = one_volume(of, volume);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("is".to_owned(), json!(what));
        }
        object
    };
    super::volumes::kinds(found).into_iter().map(one).collect()
}

fn one_volume(pool: &Pool, volume: &Volume) -> Value {
    json!({
        "name": volume.name,
        "pool": pool.name,
        "thin_id": volume.thin_id,
        "active": volume.device().is_some(),
        "state": super::volumes::state(volume),
        "size_bytes": volume.size,
        "mapped_bytes": volume.mapped,
        "exclusive_bytes": volume.shares.map(|shares| shares.exclusive),
        "shared_bytes": volume.shares.map(|shares| shares.shared),
        "highest_mapped_bytes": volume.highest,
        "transaction_id": volume.transaction_id,
        "origin": volume.origin,
        "owner": volume.owner,
    })
}

/// The object of `metadata check`.
pub fn metadata_check(
    of: &Pool,
    status: &str,
    marks: Option<(u64, bool)>,
    through_snapshot: bool,
    said: Option<&String>,
) -> Value {
    json!({
        "dmtool": FORMAT,
        "command": "metadata check",
        "changed": false,
        "pool": pool(of),
        "status": status,
        "through_snapshot": through_snapshot,
        "needs_check": marks.map(|(_, needs_check)| needs_check),
        "transaction_id": marks.map(|(transaction, _)| transaction),
        "said": said,
    })
}

/// The object of `metadata check` and `metadata dump` with `--dry-run`.
pub fn metadata_planned(command: &str, of: &Pool) -> Value {
    json!({"dmtool": FORMAT, "command": command, "changed": false, "dry_run": true, "pool": pool(of)})
}

/// The object of `metadata dump`.
pub fn metadata_dump(of: &Pool, file: &std::path::Path) -> Value {
    json!({"dmtool": FORMAT, "command": "metadata dump", "changed": false, "pool": pool(of), "file": file})
}

/// The object of `check`.
pub fn check(survey: &Survey, findings: &[Finding], status: health::Status) -> Value {
    json!({
        "dmtool": FORMAT,
        "command": "check",
        "status": status,
        "findings": findings,
        "pools": survey.pools.iter().map(|seen| pool(&seen.pool)).collect::<Vec<_>>(),
    })
}

/// The object of `status -x`: the pools that are not well, and why.
pub fn sick(survey: &Survey, findings: &[Finding]) -> Value {
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    let named = |name: &str| bad.iter().any(|finding| finding.pool.as_deref() == Some(name));
    let pools: Vec<Value> =
        survey.pools.iter().filter(|seen| named(&seen.pool.name)).map(|seen| pool(&seen.pool)).collect();
    json!({"dmtool": FORMAT, "command": "status", "pools": pools, "findings": bad})
}

/// The object of `explain` without a code.
pub fn codes() -> Value {
    let one = |code: &Code| json!({"code": code, "severity": code.severity(), "title": pages::of(*code).title});
    json!({"dmtool": FORMAT, "command": "explain", "codes": Code::ALL.iter().map(one).collect::<Vec<_>>()})
}

/// The object of `explain` with a code.
pub fn page(code: Code, page: &Page) -> Value {
    json!({
        "dmtool": FORMAT,
        "command": "explain",
        "code": code,
        "severity": code.severity(),
        "title": page.title,
        "meaning": page.meaning,
        "otherwise": page.otherwise,
        "remedy": page.remedy,
    })
}

/// A POOL. What only a live pool knows is null for one that is down, and so is what could not be read.
pub fn pool(pool: &Pool) -> Value {
    let live = pool.live.as_ref();
    let lvm = pool.lvm.as_ref();
    let table = live.and_then(|live| live.table.as_ref().ok());
    let figures = pool.figures();
    // What the register says of a bare pool that is down.
    let record = pool.recorded().filter(|_| live.is_none());
    let chunk =
        table.map(PoolTable::chunk_bytes).or(lvm.map(|lvm| Bytes(lvm.row.chunk_size))).or(record.map(Record::chunk));
    let usage = |total: Option<Bytes>, used: Option<Bytes>| {
        let share = total.zip(used).map(|(total, used)| percent(used.0, total.0));
        json!({"total_bytes": total, "used_bytes": used, "percent": share})
    };
    let data_total = figures
        .zip(chunk)
        .map(|(figures, chunk)| figures.data_total.bytes(chunk))
        .or(lvm.map(|lvm| Bytes(lvm.row.lv_size)))
        .or(record.map(|record| record.table.length.bytes()));
    let data_used = figures.zip(chunk).map(|(figures, chunk)| figures.data_used.bytes(chunk));
    let metadata_total = figures
        .map(|figures| figures.metadata_total.bytes())
        .or(lvm.map(|lvm| lvm.metadata_size))
        .or(record.map(|record| record.metadata.size()));
    let lower =
        |below: fn(&crate::observe::pools::Live) -> &Looked<Below>| live.and_then(|live| below(live).as_ref().ok());
    let (data, metadata) = (lower(|live| &live.data), lower(|live| &live.metadata));
    let devices = |ours: Option<&Below>, theirs: fn(&LvmSide) -> &Vec<String>| match (lvm, ours) {
        (Some(lvm), _) => json!(theirs(lvm)),
        (None, Some(below)) if pool.kind != Kind::Lvm => json!([format!("/dev/{}", below.device)]),
        _ => Value::Null,
    };
    let place = |place: fn(&Record) -> &Place| record.map(place);
    json!({
        "name": pool.name,
        "kind": pool.kind,
        "dm_name": live.map(|live| &live.dm_name),
        "active": live.is_some(),
        "suspended": live.map(|live| live.suspended),
        "mode": pool.mode(),
        "needs_check": figures.map(|figures| figures.needs_check),
        "transaction_id": figures.map(|figures| figures.transaction_id)
            .or(lvm.and_then(|lvm| lvm.row.transaction_id.parse().ok())),
        "chunk_bytes": chunk,
        "zero": table.map(|table| !table.has("skip_block_zeroing"))
            .or(lvm.map(|lvm| !lvm.row.zero.is_empty()))
            .or(record.map(|record| !record.table.words.has("skip_block_zeroing"))),
        "data": usage(data_total, data_used),
        "metadata": usage(metadata_total, figures.map(|figures| figures.metadata_used.bytes())),
        "discard": figures.map(|figures| json!(figures.discard)).or(lvm.and_then(discard_by_lvm)),
        "when_full": table.map(|table| if table.has("error_if_no_space") { "error" } else { "queue" })
            .or(lvm.map(|lvm| lvm.row.lv_when_full.as_str()).filter(|word| !word.is_empty())),
        "volumes": live.and_then(|live| live.volumes.as_ref().ok()),
        "autoextend": lvm.and_then(|lvm| autoextend(lvm, pool.figures())),
        "data_devices": devices(data, |lvm| &lvm.data_devices),
        "metadata_devices": devices(metadata, |lvm| &lvm.metadata_devices),
        "data_file": file(data, place(|record| &record.data)),
        "metadata_file": file(metadata, place(|record| &record.metadata)),
    })
}

fn file(below: Option<&Below>, place: Option<&Place>) -> Option<String> {
    match (below, place) {
        (Some(below), _) => below.file.clone(),
        (None, Some(Place::File { path, .. })) => Some(path.clone()),
        _ => None,
    }
}

fn discard_by_lvm(lvm: &LvmSide) -> Option<Value> {
    match lvm.row.discards.as_str() {
        "passdown" => Some(json!("passdown")),
        "nopassdown" => Some(json!("no_passdown")),
        "ignore" => Some(json!("ignore")),
        _ => None,
    }
}

fn autoextend(lvm: &LvmSide, figures: Option<&PoolFigures>) -> Option<Value> {
    let settings = *lvm.autoextend.as_ref().ok()?;
    Some(json!({
        "enabled": settings.threshold < NEVER,
        "threshold": settings.threshold,
        "percent": settings.percent,
        "profile": lvm.profile(),
        "monitored": lvm.is_watched(),
        "free_bytes": lvm.row.vg_free_count.saturating_mul(lvm.row.vg_extent_size),
        "extensions_left": lvm.extensions_left(figures, settings),
    }))
}

/// `rw`, `ro` …, as people and JSON read it.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Rw => "rw",
        Mode::Ro => "ro",
        Mode::OutOfDataSpace => "out_of_data_space",
        Mode::Fail => "fail",
    }
}
