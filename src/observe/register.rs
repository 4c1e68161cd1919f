//! The register of bare pools: nothing on a disk says which data device belongs to which metadata, nor what a bare
//! volume is called, so it stands in `/var/lib/dmtool/pools/NAME.json`, with a copy beside a pool's files.

use super::pools::Kind;
use super::thin::{PoolTable, parse_pool_table};
use super::{Looked, Unseen, looked, repair, snapshot, teardown};
use crate::names::DmName;
use crate::sys::{block, file};
use crate::units::{Bytes, DataBlocks, Sectors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub const FOLDER: &str = "/var/lib/dmtool/pools";
/// The folders in which dmtool keeps what it knows, has begun or copied: no place for the files of a pool.
pub const OWN_FOLDERS: [&str; 5] = [FOLDER, RECYCLE, repair::FOLDER, snapshot::FOLDER, teardown::FOLDER];
/// For what `volume recycle` has LVM write out.
pub const RECYCLE: &str = "/var/lib/dmtool/recycle";
/// Thin ids have 24 bits (`MAX_DEV_ID` of the kernel's dm-thin.c).
pub const LARGEST_ID: u64 = (1 << 24) - 1;
/// What stands in a table for the devices, whose numbers are others after each boot.
const METADATA: &str = "METADATA";
const DATA: &str = "DATA";
/// In chunks; the kernel sends an event when fewer are free.
pub const DOCKERS_LOW_WATER: DataBlocks = DataBlocks(32_768);
/// The version of the format.
pub const FORMAT: u64 = 1;

/// A bare pool as it must come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub dmtool: u64,
    pub name: DmName,
    pub kind: Kind,
    /// The whole line, with METADATA and DATA for the two devices.
    pub table: Line,
    /// When this was written; it never goes back.
    pub transaction_id: u64,
    pub metadata: Place,
    pub data: Place,
    pub volumes: Vec<Volume>,
    /// The thin id for the next volume; none is used twice.
    #[serde(default)]
    pub next_thin_id: u64,
    /// Somebody else made it, and may have books of his own of its volumes.
    #[serde(default)]
    pub remembered: bool,
}

/// What one of the two devices is, and how to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Place {
    /// A file for a loop device.
    File {
        path: String,
        #[serde(rename = "size_bytes")]
        size: Bytes,
        /// Absent until the file is made.
        inode: Option<u64>,
        /// The UUID of its file system; absent where that has none.
        filesystem: Option<String>,
        /// Written before the file is made longer.
        #[serde(rename = "grows_to_bytes")]
        grows_to: Option<Bytes>,
    },
    Device {
        /// A name that it has after each boot.
        path: String,
        #[serde(rename = "size_bytes")]
        size: Bytes,
        dm_uuid: Option<String>,
    },
}

/// A bare thin volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its device is POOL-NAME; one that was made otherwise has its own.
    pub name: String,
    pub device: DmName,
    pub thin_id: u64,
    #[serde(rename = "size_bytes")]
    pub size: Bytes,
    /// The thin id of the volume that it is a snapshot of.
    pub origin: Option<u64>,
    #[serde(default)]
    pub state: State,
    /// Somebody else made it.
    #[serde(default)]
    pub remembered: bool,
}

/// How far a volume is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its message is about to be sent: whether the pool has it, and whose its number is, is not known.
    Announced,
    /// The pool has it, and it is not handed out yet: a file system may be missing, or half there.
    Made,
    #[default]
    Ready,
}

/// A pool's table: its length and its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Line {
    pub length: Sectors,
    /// The words behind the devices; the devices in it are METADATA and DATA.
    pub words: PoolTable,
}

impl Line {
    pub fn new(length: Sectors, table: &PoolTable) -> Line {
        let words = PoolTable { metadata_device: METADATA.to_owned(), data_device: DATA.to_owned(), ..table.clone() };
        Line { length, words }
    }
}

impl From<Line> for String {
    fn from(line: Line) -> String {
        format!("0 {} thin-pool {}", line.length.0, line.words.params())
    }
}

impl TryFrom<String> for Line {
    type Error = String;

    fn try_from(text: String) -> Result<Line, String> {
        let wrong = || format!("'{}' is no table of a thin pool", text.escape_debug());
        let mut words = text.splitn(4, ' ');
        let (start, length, kind, params) = (words.next(), words.next(), words.next(), words.next());
        let length = length.and_then(|length| length.parse().ok()).ok_or_else(wrong)?;
        let params = params.filter(|_| start == Some("0") && kind == Some("thin-pool")).ok_or_else(wrong)?;
        let table = parse_pool_table(params).map_err(|why| why.0)?;
        let is_ours = table.metadata_device == METADATA && table.data_device == DATA && table.chunk.0 > 0;
        if is_ours { Ok(Line::new(Sectors(length), &table)) } else { Err(wrong()) }
    }
}

impl Place {
    pub fn path(&self) -> &str {
        match self {
            Place::File { path, .. } | Place::Device { path, .. } => path,
        }
    }

    pub fn size(&self) -> Bytes {
        match self {
            Place::File { size, .. } | Place::Device { size, .. } => *size,
        }
    }

    pub fn is_file(&self) -> bool {
        matches!(self, Place::File { .. })
    }
}

impl Record {
    /// Whether its files are still being made.
    pub fn is_unfinished(&self) -> bool {
        let unmade = |place: &Place| matches!(place, Place::File { inode: None, .. });
        unmade(&self.data) || unmade(&self.metadata)
    }

    /// A thin id that no volume of the register has or had.
    pub fn free_id(&self) -> u64 {
        let above = self.volumes.iter().map(|volume| volume.thin_id.saturating_add(1));
        above.fold(self.next_thin_id, u64::max)
    }

    pub fn chunk(&self) -> Bytes {
        self.table.words.chunk_bytes()
    }

    /// Where it is written.
    pub fn path(&self) -> PathBuf {
        path_of(&self.name)
    }

    /// Its copy beside the files of the pool.
    pub fn copy(&self) -> Option<PathBuf> {
        let Place::File { path, .. } = &self.data else { return None };
        // No name that anybody else gives a file.
        Some(Path::new(path).parent()?.join(format!("dmtool-register-{}.json", self.name)))
    }

    /// The text of its file.
    ///
    /// # Errors
    /// None that a record can have.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Whether Docker makes and takes down this pool itself: its name has the form `docker-MAJ:MIN-INODE-pool`. One of LVM's
/// has a slash in it.
pub fn is_dockers_own(pool: &str) -> bool {
    pool.starts_with("docker-") && pool.ends_with("-pool") && !pool.contains('/')
}

/// Docker's pool carries nothing but Docker's devices, and containerd names its own (`POOL-snap-N`).
pub fn is_a_consumers(pool: &DmName, device: &str) -> bool {
    let snap = device.strip_prefix(pool.as_str()).and_then(|rest| rest.strip_prefix("-snap-"));
    is_dockers_own(pool.as_str()) || snap.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Where the record of a pool stands.
pub fn path_of(name: &DmName) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.json"))
}

/// What the register says of a pool, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub name: String,
    pub record: Looked<Record>,
}

/// The pool whose record a file of this name is; none where it is another file.
pub fn name_of(file: &str) -> Option<&str> {
    // One that a killed run left half-written ends with the number of that run.
    file.strip_suffix(".json")
}

/// Every pool in the register. One whose record cannot be read is among them.
///
/// # Errors
/// The folder cannot be read.
pub fn read() -> Looked<Vec<Entry>> {
    let mut found = Vec::new();
    for file in looked(block::entries(Path::new(FOLDER)))? {
        let Some(name) = name_of(&file) else { continue };
        let record = read_one(&Path::new(FOLDER).join(&file), name);
        found.push(Entry { name: name.to_owned(), record });
    }
    Ok(found)
}

/// The record of one pool.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn read_of(name: &DmName) -> Looked<Record> {
    read_one(&path_of(name), name.as_str())
}

fn read_one(path: &Path, name: &str) -> Looked<Record> {
    let wrong = |why: String| Unseen(format!("{} is no record of a pool: {why}", path.display()));
    // It decides what is attached, and where file systems are made.
    let text = looked(file::read_roots(path))?.ok_or_else(|| wrong("there is none".to_owned()))?;
    parse(&text, name).map_err(wrong)
}

/// The record of the pool of this name, from the text of its file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str, name: &str) -> Result<Record, String> {
    let record: Record = serde_json::from_str(text).map_err(|why| why.to_string())?;
    check(&record, name)?;
    Ok(record)
}

/// Whether a record can be read again.
///
/// # Errors
/// What is wrong with it.
pub fn check(record: &Record, name: &str) -> Result<(), String> {
    if record.dmtool != FORMAT {
        return Err(format!("its format is {}, not {FORMAT}", record.dmtool));
    }
    DmName::new(record.name.as_str())?;
    if record.name.as_str() != name {
        return Err(format!("it is of {}", record.name));
    }
    for place in [&record.data, &record.metadata] {
        if !place.path().starts_with('/') {
            return Err(format!("'{}' is no whole path", place.path().escape_debug()));
        }
    }
    if record.kind == Kind::Lvm {
        return Err("pools of LVM are LVM's to remember".to_owned());
    }
    if record.data.path() == record.metadata.path() {
        return Err(format!("data and metadata are both {}", record.data.path()));
    }
    let mut seen = BTreeSet::new();
    for volume in &record.volumes {
        DmName::new(volume.device.as_str())?;
        DmName::new(&volume.name)?;
        if volume.thin_id > LARGEST_ID {
            return Err(format!("{} is no thin id", volume.thin_id));
        }
        let words = [volume.thin_id.to_string(), format!("device {}", volume.device), format!("name {}", volume.name)];
        for word in words {
            if !seen.insert(word.clone()) {
                return Err(format!("two volumes have the {word}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
        "dmtool": 1, "name": "loop", "kind": "loop",
        "table": "0 209715200 thin-pool METADATA DATA 128 32768 1 skip_block_zeroing",
        "transaction_id": 3,
        "metadata": {"is": "file", "path": "/d/metadata", "size_bytes": 2147483648, "inode": 13, "filesystem": null, "grows_to_bytes": null},
        "data": {"is": "device", "path": "/dev/mapper/vg-data", "size_bytes": 107374182400, "dm_uuid": "LVM-x"},
        "volumes": [{"name": "web", "device": "loop-web", "thin_id": 1, "size_bytes": 1073741824, "origin": null}]
    }"#;

    #[test]
    fn a_record_and_back() {
        let record: Record = serde_json::from_str(TEXT).expect("a record");
        check(&record, "loop").expect("a good one");
        assert_eq!((record.table.length, record.chunk()), (Sectors(209_715_200), Bytes(65536)));
        let text = record.text().expect("text");
        assert!(text.contains("0 209715200 thin-pool METADATA DATA 128 32768 1 skip_block_zeroing"));
        assert_eq!(serde_json::from_str::<Record>(&text).expect("again"), record);
        assert_eq!(record.path(), Path::new("/var/lib/dmtool/pools/loop.json"));
        assert!(!record.is_unfinished() && record.copy().is_none());
    }

    #[test]
    fn two_of_a_kind_and_numbers_beyond_measure() {
        let record: Record = serde_json::from_str(TEXT).expect("a record");
        let volume = |name: &str, device: &str, thin_id: u64| {
            let mut twice = record.clone();
            let device = DmName::new(device).expect("a name");
            let first = twice.volumes[0].clone();
            twice.volumes.push(Volume { name: name.to_owned(), device, thin_id, ..first });
            check(&twice, "loop")
        };
        assert_eq!(volume("db", "loop-db", 2), Ok(()));
        for (name, device, id) in [
            ("web", "loop-db", 2),
            ("db", "loop-web", 2),
            ("db", "loop-db", 1),
            ("db", "loop-db", u64::MAX),
            ("a\nb", "loop-db", 2),
        ] {
            assert!(volume(name, device, id).is_err(), "{name} {device} {id}");
        }
        assert!(check(&Record { kind: Kind::Lvm, ..record.clone() }, "loop").is_err());
        assert!(check(&Record { data: record.metadata.clone(), ..record }, "loop").is_err());
    }

    #[test]
    fn a_pool_whose_name_begins_with_a_dot_is_found_again() {
        let name = DmName::new(".x").expect("a name");
        let path = path_of(&name);
        assert_eq!(path.file_name().and_then(|file| name_of(file.to_str()?)), Some(".x"));
        assert_eq!(name_of(".loop.json.dmtool-123"), None, "half-written");
    }

    #[test]
    fn what_is_no_record() {
        for (from, to) in [
            ("METADATA DATA", "7:0 7:1"),
            ("METADATA DATA 128", "METADATA DATA 0"),
            ("0 209715200 thin-pool", "8 209715200 thin-pool"),
            ("0 209715200 thin-pool", "0 209715200 linear"),
            ("\"inode\": 13", "\"inode\": -1"),
        ] {
            assert!(serde_json::from_str::<Record>(&TEXT.replace(from, to)).is_err(), "{to}");
        }
        for (from, to) in [
            ("\"dmtool\": 1", "\"dmtool\": 2"),
            ("/d/metadata", "d"),
            ("loop-web", "../x"),
            ("\"name\": \"loop\"", "\"name\": \"a/b\""),
        ] {
            let record: Record = serde_json::from_str(&TEXT.replace(from, to)).expect("its form is right");
            assert!(check(&record, "loop").is_err(), "{to}");
        }
        let record: Record = serde_json::from_str(TEXT).expect("a record");
        assert!(check(&record, "other").is_err());
    }
}
