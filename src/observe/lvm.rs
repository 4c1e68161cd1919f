//! What LVM says: physical volumes with their groups, and logical volumes, as rows of its JSON reports.
//!
//! Every command is given a filter that admits physical volumes and what the operator named, nothing else: with
//! bare thin devices on a sick pool around, LVM would wait for them for ever.

use super::lvmconf::Value as Setting;
use super::{Dmeventd, Host, Looked, Unseen, filter, profile};
use crate::names::{VgName, dm_split};
use crate::sys::lock;
use crate::sys::lvm2cmd::{LvmError, lock_file};
use crate::units::{Bytes, Extents};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long LVM may take for a report. On a quiet host it takes a tenth of a second.
pub const READ_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PvRow {
    pub pv_name: String,
    #[serde(deserialize_with = "figure")]
    pub pv_major: u64,
    #[serde(deserialize_with = "figure")]
    pub pv_minor: u64,
    pub pv_missing: String,
    /// "used" where LVM has marked it as part of a group, whether it finds that or not.
    #[serde(default)]
    pub pv_in_use: String,
    #[serde(default)]
    pub pv_uuid: String,
    /// Where its first extent begins, in bytes.
    #[serde(default, deserialize_with = "figure")]
    pub pe_start: u64,
    #[serde(deserialize_with = "figure")]
    pub pv_pe_count: u64,
    #[serde(deserialize_with = "figure")]
    pub pv_pe_alloc_count: u64,
    /// Empty where the volume belongs to no group, as all that follows.
    #[serde(default)]
    pub vg_name: String,
    #[serde(default)]
    pub vg_uuid: String,
    #[serde(default)]
    pub vg_partial: String,
    #[serde(default)]
    pub vg_exported: String,
    #[serde(default, deserialize_with = "figure")]
    pub vg_extent_size: u64,
    #[serde(default, deserialize_with = "figure")]
    pub vg_extent_count: u64,
    /// Those that LVM gives to volumes: none of a disk that is not to be used for that (pvchange(8), `--allocatable`).
    #[serde(default, deserialize_with = "figure")]
    pub vg_free_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LvRow {
    pub vg_name: String,
    /// Hidden ones without LVM's brackets.
    #[serde(deserialize_with = "unbracketed")]
    pub lv_name: String,
    pub lv_uuid: String,
    pub lv_attr: String,
    pub lv_layout: String,
    pub lv_role: String,
    #[serde(deserialize_with = "figure")]
    pub lv_size: u64,
    pub segtype: String,
    #[serde(default)]
    pub lv_tags: String,
    /// Of a part of another volume, that.
    #[serde(default, deserialize_with = "unbracketed")]
    pub lv_parent: String,
    /// Of a snapshot.
    #[serde(default, deserialize_with = "unbracketed")]
    pub origin: String,
    #[serde(deserialize_with = "unbracketed")]
    pub data_lv: String,
    #[serde(deserialize_with = "unbracketed")]
    pub metadata_lv: String,
    #[serde(deserialize_with = "unbracketed")]
    pub pool_lv: String,
    #[serde(deserialize_with = "figure")]
    pub chunk_size: u64,
    pub zero: String,
    pub discards: String,
    pub transaction_id: String,
    /// Of a thin volume; empty elsewhere.
    #[serde(default)]
    pub thin_id: String,
    pub lv_profile: String,
    pub vg_profile: String,
    /// Empty where dmeventd was not to be asked.
    #[serde(default)]
    pub seg_monitor: String,
    pub lv_active: String,
    /// "live table present", or "unknown" (seen) where the device has none yet: LVM calls it active all the same.
    #[serde(default)]
    pub lv_live_table: String,
    pub lv_when_full: String,
    pub lv_skip_activation: String,
    pub devices: String,
    /// Of the last segment, which an extension goes on: the devices side by side, copies among them.
    #[serde(default, deserialize_with = "figure")]
    pub stripes: u64,
    /// The extents of each segment, as `/dev/sda:0-9 /dev/sdb:7-8`.
    #[serde(default)]
    pub seg_pe_ranges: String,
    #[serde(default)]
    pub vg_partial: String,
    /// Other hosts may have it active.
    #[serde(default)]
    pub vg_shared: String,
    #[serde(default)]
    pub vg_exported: String,
    #[serde(deserialize_with = "figure")]
    pub vg_extent_size: u64,
    #[serde(deserialize_with = "figure")]
    pub vg_free_count: u64,
}

impl LvRow {
    /// Whether its device can be used. One without a table is what a run leaves that was killed on the way; activating
    /// it is what gives it one.
    pub fn is_up(&self) -> bool {
        self.lv_active == "active" && self.lv_live_table != "unknown"
    }

    pub fn has_tag(&self, tag: &str) -> bool {
        self.lv_tags.split(',').any(|found| found == tag)
    }
}

/// One look at all that LVM knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lvm {
    pub pvs: Vec<PvRow>,
    pub lvs: Vec<LvRow>,
    /// What LVM warned of while it looked.
    pub warnings: Vec<String>,
    /// New groups get other extents than those of 4 MiB, where nobody says otherwise (lvm.conf(5),
    /// `allocation/physical_extent_size`): see [`look_before_a_group_is_made`].
    pub other_extents: bool,
}

/// A volume group, put together from the rows of its physical volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    pub pvs: Vec<&'a PvRow>,
    pub extent: Bytes,
    pub extents: Extents,
    pub free: Extents,
}

fn figure<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    // A missing device has the number -1; nothing else of what is read here can be negative or empty.
    if text.is_empty() || text == "-1" {
        return Ok(0);
    }
    text.parse().map_err(|_| serde::de::Error::custom(format!("'{text}' is no number")))
}

fn unbracketed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.trim_start_matches('[').trim_end_matches(']').to_owned())
}

const VG_FIELDS: &str =
    "vg_name,vg_uuid,vg_partial,vg_shared,vg_exported,vg_profile,vg_extent_size,vg_extent_count,vg_free_count";
const PV_FIELDS: &str =
    "pv_name,pv_uuid,pv_major,pv_minor,pv_missing,pv_in_use,pv_allocatable,pe_start,pv_pe_count,pv_pe_alloc_count";
const LV_FIELDS: &str = "lv_name,lv_uuid,lv_attr,lv_layout,lv_role,lv_size,lv_tags,origin,lv_parent,data_lv,metadata_lv,pool_lv,lv_profile,\
                         lv_active,lv_live_table,lv_when_full,lv_skip_activation";
const SEGMENT_FIELDS: &str =
    "lv_name,segtype,chunk_size,zero,discards,transaction_id,thin_id,devices,stripes,seg_pe_ranges";

impl PvRow {
    /// In use by a group that LVM finds nowhere: what is left of a broken one, or of a command that was cut off while it
    /// took a disk in.
    pub fn is_stranded(&self) -> bool {
        self.pv_in_use == "used" && self.vg_name.is_empty()
    }
}

impl Lvm {
    /// The physical volumes whose group LVM finds nowhere.
    pub fn stranded(&self) -> impl Iterator<Item = &PvRow> {
        self.pvs.iter().filter(|row| row.is_stranded())
    }

    /// The group of that name.
    pub fn group(&self, name: &VgName) -> Option<Group<'_>> {
        let pvs: Vec<&PvRow> = self.pvs.iter().filter(|row| row.vg_name == name.as_str()).collect();
        let first = pvs.first()?;
        Some(Group {
            extent: Bytes(first.vg_extent_size),
            extents: Extents(first.vg_extent_count),
            free: Extents(first.vg_free_count),
            pvs,
        })
    }

    /// The row of a physical volume on the device with that number.
    pub fn pv_on(&self, major: u32, minor: u32) -> Option<&PvRow> {
        self.pvs.iter().find(|row| row.pv_major == u64::from(major) && row.pv_minor == u64::from(minor))
    }

    /// The size of a group's spare metadata volume; 0 where it has none.
    pub fn spare(&self, vg: &str) -> Bytes {
        let is_spare = |row: &&LvRow| row.vg_name == vg && row.lv_role.split(',').any(|word| word == "spare");
        Bytes(self.lvs.iter().find(is_spare).map_or(0, |row| row.lv_size))
    }

    /// The first row of a logical volume (one with several segments has several).
    pub fn lv(&self, vg: &str, lv: &str) -> Option<&LvRow> {
        self.lvs.iter().find(|row| row.vg_name == vg && row.lv_name == lv)
    }
}

/// Asks LVM for everything, in one command and so with one scan of the devices. Whether pools are monitored LVM asks
/// dmeventd, which it starts where there is none, and takes for "no" that it does not answer.
///
/// # Errors
/// LVM is not there, is late, or says something that is no report.
pub fn look(host: &mut Host) -> Looked<Lvm> {
    let leave_dmeventd = host.dmeventd != Ok(Dmeventd::Answers);
    let segment = if leave_dmeventd { SEGMENT_FIELDS.to_owned() } else { format!("{SEGMENT_FIELDS},seg_monitor") };
    let parts = [("vg", VG_FIELDS), ("pv", PV_FIELDS), ("lv", LV_FIELDS), ("seg", &*segment), ("pvseg", "pv_name")];
    let mut line = vec!["fullreport".to_owned(), "--all".to_owned()];
    for (part, fields) in parts {
        line.extend(["--configreport", part, "-o", fields].map(str::to_owned));
    }
    line.extend(["--reportformat", "json", "--units", "b", "--nosuffix"].map(str::to_owned));
    if !host.udev_settled {
        filter::wait_for_udev();
        host.udev_settled = true;
    }
    line.push("--config".to_owned());
    // Hints are left alone by a look: ours would be made under our filter, and the operator's lvs would trust them.
    line.push(filter::config(host, "devices/hints=\"none\"")?);
    let deadline = Instant::now() + host.lock_limit;
    let reply = loop {
        match host.lvm.read(&line, READ_LIMIT) {
            Err(why) if Instant::now() < deadline && lock_file(&why).is_some() => {
                std::thread::sleep(Duration::from_millis(100));
            }
            answer => break answer.map_err(|why| unseen(&why))?,
        }
    };
    let (report, said): (Vec<String>, Vec<String>) = reply.printed.into_iter().partition(|line| is_of_report(line));
    let mut lvm = parse_full_report(&report.join("\n"))?;
    if matches!(host.dmeventd, Ok(Dmeventd::NotRunning | Dmeventd::NotInstalled)) {
        for row in lvm.lvs.iter_mut().filter(|row| row.segtype == "thin-pool") {
            "not monitored".clone_into(&mut row.seg_monitor);
        }
    }
    // Each is told as a warning, and once: LVM looks twice where it finds something wrong.
    for line in reply.warnings.iter().chain(&said).map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let line = bare_warning(line);
        if !lvm.warnings.iter().any(|told| told == line) {
            lvm.warnings.push(line.to_owned());
        }
    }
    Ok(lvm)
}

/// As [`look`], for a group that is to be made.
///
/// # Errors
/// As [`look`]'s, or lvm.conf cannot be read.
pub fn look_before_a_group_is_made(host: &mut Host) -> Looked<Lvm> {
    let lvm = look(host)?;
    // In KiB.
    let size = profile::global_setting("allocation/physical_extent_size")?;
    Ok(Lvm { other_extents: size.is_some_and(|size| size != Setting::Number(4096)), ..lvm })
}

/// What LVM warns of, which is told as a warning anyway.
pub fn bare_warning(line: &str) -> &str {
    line.strip_prefix("WARNING: ").unwrap_or(line)
}

/// Some of what LVM has to say comes between the lines of the report (seen: "See vgck --updatemetadata …").
pub fn is_of_report(line: &str) -> bool {
    line.trim_start().starts_with(['{', '}', '[', ']', '"', ','])
}

/// Why LVM gave no report, without the long command that asked for it.
fn unseen(why: &anyhow::Error) -> Unseen {
    let Some(error) = why.downcast_ref::<LvmError>() else { return Unseen(format!("{why:#}")) };
    if let Some(file) = error.lock_file() {
        let holder = lock::holder_of(file).unwrap_or_else(|| "another LVM command".to_owned());
        return Unseen(format!("{holder} holds LVM's lock {file}"));
    }
    let said: Vec<&str> = error.reply.errors.iter().map(|line| line.trim()).collect();
    Unseen(format!("LVM gave no report: {}", said.join("; ")))
}

/// Each entry of the report is one group (or the volumes without one): its own fields go into all of its rows.
///
/// # Errors
/// It is no report, or a field of it is missing or something else.
pub fn parse_full_report(text: &str) -> Looked<Lvm> {
    let wrong = |why: String| Unseen(format!("reading LVM's report: {why}"));
    let report: FullReport = serde_json::from_str(text).map_err(|why| wrong(why.to_string()))?;
    let mut lvm = Lvm::default();
    for entry in report.report {
        let mut group = entry.vg.into_iter().next().unwrap_or_default();
        if let Some(free) = count(&group, "vg_free_count") {
            let free = free.saturating_sub(withheld(&entry.pv));
            group.insert("vg_free_count".to_owned(), Value::String(free.to_string()));
        }
        for pv in entry.pv {
            let row = group.clone().into_iter().chain(pv).collect();
            lvm.pvs.push(serde_json::from_value(Value::Object(row)).map_err(|why| wrong(why.to_string()))?);
        }
        let name = |row: &Row| row.get("lv_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut by_name: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
        for segment in &entry.seg {
            by_name.entry(name(segment)).or_default().push(segment);
        }
        for lv in entry.lv {
            let segments = by_name.remove(&name(&lv)).unwrap_or_default();
            let all = |field: &str, between: &str| {
                let values: Vec<&str> = segments.iter().filter_map(|segment| segment.get(field)?.as_str()).collect();
                Value::String(values.join(between))
            };
            let (devices, ranges) = (all("devices", ","), all("seg_pe_ranges", " "));
            let first = segments.first().map(|segment| (*segment).clone()).unwrap_or_default();
            let stripes = segments.last().and_then(|segment| segment.get("stripes").cloned());
            let mut row: Row = group.clone().into_iter().chain(first).chain(lv).collect();
            row.extend(stripes.map(|stripes| ("stripes".to_owned(), stripes)));
            row.insert("devices".to_owned(), devices);
            row.insert("seg_pe_ranges".to_owned(), ranges);
            lvm.lvs.push(serde_json::from_value(Value::Object(row)).map_err(|why| wrong(why.to_string()))?);
        }
    }
    Ok(lvm)
}

type Row = serde_json::Map<String, Value>;

fn count(row: &Row, field: &str) -> Option<u64> {
    row.get(field)?.as_str()?.parse().ok()
}

/// The free extents on disks that LVM is not to take any of: LVM counts them as free all the same (seen).
fn withheld(pvs: &[Row]) -> u64 {
    let is_withheld = |pv: &&Row| pv.get("pv_allocatable").and_then(Value::as_str).is_some_and(str::is_empty);
    let free = |pv: &Row| Some(count(pv, "pv_pe_count")?.saturating_sub(count(pv, "pv_pe_alloc_count")?));
    pvs.iter().filter(is_withheld).filter_map(free).fold(0, u64::saturating_add)
}

#[derive(Deserialize)]
struct FullReport {
    report: Vec<ReportEntry>,
}

#[derive(Deserialize)]
struct ReportEntry {
    #[serde(default)]
    vg: Vec<Row>,
    pv: Vec<Row>,
    #[serde(default)]
    lv: Vec<Row>,
    #[serde(default)]
    seg: Vec<Row>,
}

/// Whether LVM is not on this host at all: then it has no pools, which is no failure to look.
pub fn is_installed() -> bool {
    crate::sys::lvm2cmd::is_installed()
}

/// As [`look`]; nothing on a host without LVM, which has bare pools at most.
///
/// # Errors
/// LVM is there and cannot be asked.
pub fn look_if_installed(host: &mut Host) -> Looked<Lvm> {
    if is_installed() { look(host) } else { Ok(Lvm::default()) }
}

/// The volume group and volume behind an LVM device's name, its layer dropped.
pub fn lvm_name(dm_name: &str) -> Option<String> {
    dm_split(dm_name).map(|(vg, lv, _)| format!("{vg}/{lv}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"report":[{
        "vg":[{"vg_name":"docker","vg_uuid":"u","vg_partial":"partial","vg_exported":"","vg_profile":"",
               "vg_extent_size":"4194304","vg_extent_count":"1023","vg_free_count":"32"}],
        "pv":[{"pv_name":"/dev/xvdf","pv_major":"98","pv_minor":"16","pv_missing":"","pv_pe_count":"1023","pv_pe_alloc_count":"991"},
              {"pv_name":"[unknown]","pv_major":"-1","pv_minor":"-1","pv_missing":"missing","pv_pe_count":"0","pv_pe_alloc_count":"0"}],
        "lv":[{"lv_name":"thinpool","lv_uuid":"l","lv_attr":"twi-a-t---","lv_layout":"thin,pool","lv_role":"private",
               "lv_size":"4072669184","data_lv":"[thinpool_tdata]","metadata_lv":"[thinpool_tmeta]","pool_lv":"",
               "lv_profile":"docker-thinpool","lv_active":"active","lv_when_full":"queue","lv_skip_activation":""},
              {"lv_name":"[thinpool_tdata]","lv_uuid":"d","lv_attr":"Twi-ao----","lv_layout":"linear",
               "lv_role":"private","lv_size":"4072669184","data_lv":"","metadata_lv":"","pool_lv":"",
               "lv_profile":"","lv_active":"active","lv_when_full":"","lv_skip_activation":""}],
        "pvseg":[],
        "seg":[{"lv_name":"thinpool","segtype":"thin-pool","chunk_size":"524288","zero":"","discards":"passdown",
                "transaction_id":"0","seg_monitor":"monitored","devices":"thinpool_tdata(0)"},
               {"lv_name":"[thinpool_tdata]","segtype":"linear","chunk_size":"0","zero":"unknown","discards":"",
                "transaction_id":"","seg_monitor":"","devices":"/dev/xvdf(10)"},
               {"lv_name":"[thinpool_tdata]","segtype":"linear","chunk_size":"0","zero":"unknown","discards":"",
                "transaction_id":"","seg_monitor":"","devices":"/dev/xvdg(0)"}]},
        {"pv":[{"pv_name":"/dev/xvdh","pv_major":"98","pv_minor":"48","pv_missing":"","pv_pe_count":"0","pv_pe_alloc_count":"0"}],"pvseg":[]}]}"#;

    #[test]
    fn a_report_becomes_rows() {
        let lvm = parse_full_report(REPORT).expect("rows");
        let group = lvm.group(&VgName::new("docker").expect("a name")).expect("the group");
        assert_eq!((group.extents, group.free, group.pvs.len()), (Extents(1023), Extents(32), 2));
        let orphan = lvm.pv_on(98, 48).expect("the volume without a group");
        assert_eq!((orphan.vg_name.as_str(), orphan.vg_extent_count), ("", 0));
        assert!(lvm.pv_on(98, 32).is_none());
        let pool = lvm.lv("docker", "thinpool").expect("the pool");
        assert_eq!(
            (pool.segtype.as_str(), pool.chunk_size, pool.data_lv.as_str()),
            ("thin-pool", 524_288, "thinpool_tdata")
        );
        let data = lvm.lv("docker", "thinpool_tdata").expect("its data");
        assert_eq!((data.devices.as_str(), data.vg_free_count), ("/dev/xvdf(10),/dev/xvdg(0)", 32));
    }

    #[test]
    fn what_a_disk_withholds_is_not_free() {
        let free = |allocatable: &str| {
            let report = REPORT.replace(r#""pv_pe_count":"1023","#, &format!(r#""pv_pe_count":"1023",{allocatable}"#));
            let lvm = parse_full_report(&report).expect("rows");
            let group = lvm.group(&VgName::new("docker").expect("a name")).expect("the group").free;
            assert_eq!(lvm.lv("docker", "thinpool").expect("the pool").vg_free_count, group.0);
            group
        };
        assert_eq!(free(r#""pv_allocatable":"allocatable","#), Extents(32));
        assert_eq!(free(r#""pv_allocatable":"","#), Extents(0));
    }

    #[test]
    fn a_report_without_its_parts_is_no_empty_report() {
        for text in [
            "",
            "{}",
            r#"{"report":[{}]}"#,
            r#"{"report":[{"pv":[{"pv_name":"x"}]}]}"#,
            r#"{"report":[{"pv":[],"lv":[{"lv_name":"x"}]}]}"#,
        ] {
            assert!(parse_full_report(text).is_err(), "{text}");
        }
        assert_eq!(parse_full_report(r#"{"report":[{"pv":[],"pvseg":[]}]}"#), Ok(Lvm::default()));
        assert_eq!(parse_full_report(r#"{"report":[]}"#), Ok(Lvm::default()));
    }
}
