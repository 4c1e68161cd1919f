//! Which volumes metadata knows, and how much each has mapped: from thin_dump's XML.

use crate::observe::{Looked, Unseen, looked};
use crate::sys::exec::{self, Task};
use crate::sys::file;
use crate::units::{DataBlocks, Sectors};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What a map holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    pub transaction_id: u64,
    pub chunk: Sectors,
    /// Absent where the map does not say: one of a live pool does not.
    pub data_total: Option<DataBlocks>,
    /// Thin ids, with what each has mapped. What two share is counted for both.
    pub volumes: BTreeMap<u64, DataBlocks>,
}

/// Has thin_dump tell of metadata that nobody writes to, its mappings left out.
///
/// # Errors
/// thin_dump is not installed, or it cannot read the list of volumes.
pub fn of(metadata: &Path) -> Looked<Contents> {
    let path = exec::find("thin_dump").ok_or_else(|| Unseen("thin_dump is not installed".to_owned()))?;
    let metadata = metadata.to_string_lossy();
    let task = Task { path: &path, words: &["--skip-mappings", &metadata], out: None, limit: None, stop: None };
    let ended = looked(task.run())?.ok_or_else(|| Unseen("thin_dump was ended".to_owned()))?;
    if ended.status != Some(0) {
        return Err(Unseen(format!("thin_dump: {}", ended.said.lines().last().unwrap_or_default())));
    }
    read(ended.said.as_bytes()).map_err(Unseen)
}

/// A dump in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    pub contents: Contents,
    /// CRC-32C of all its bytes: another dump under the same name is another.
    pub sum: u32,
}

/// What a dump in a file tells.
///
/// # Errors
/// It cannot be read, or is no dump of a thin pool from its beginning to its end.
pub fn of_dump(path: &Path) -> Looked<Dump> {
    let mut file = Summed { inner: looked(file::open(path))?.into_inner(), sum: 0 };
    let contents = read(BufReader::new(&mut file));
    let contents =
        contents.map_err(|why| Unseen(format!("{} is no dump of a thin pool's metadata: {why}", path.display())))?;
    Ok(Dump { contents, sum: file.sum })
}

/// Counts a sum over what is read through it.
struct Summed<R> {
    inner: R,
    sum: u32,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sum = crc32c::crc32c_append(self.sum, buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// What a dump tells.
///
/// # Errors
/// It is no dump of a thin pool from its beginning to its end.
pub fn read(text: impl BufRead) -> Result<Contents, String> {
    let mut reader = Reader::from_reader(text);
    let mut buffer = Vec::new();
    let mut contents: Option<Contents> = None;
    let mut whole = false;
    loop {
        let event = reader.read_event_into(&mut buffer).map_err(|why| why.to_string())?;
        match event {
            Event::Start(element) | Event::Empty(element) => take(&element, &mut contents)?,
            Event::End(element) if element.name().as_ref() == "superblock" => whole = true,
            Event::Eof => break,
            _ => {}
        }
        buffer.clear();
    }
    match contents {
        Some(contents) if whole => Ok(contents),
        Some(_) => Err("it ends in the middle".to_owned()),
        None => Err("it has no superblock".to_owned()),
    }
}

fn take(element: &BytesStart<'_>, contents: &mut Option<Contents>) -> Result<(), String> {
    match (element.name().as_ref(), contents.as_mut()) {
        ("superblock", None) => {
            *contents = Some(Contents {
                transaction_id: number(element, "transaction")?,
                chunk: Sectors(number(element, "data_block_size")?),
                data_total: Some(number(element, "nr_data_blocks")?).filter(|blocks| *blocks > 0).map(DataBlocks),
                volumes: BTreeMap::new(),
            });
        }
        ("device", Some(contents)) => {
            let mapped = DataBlocks(number(element, "mapped_blocks")?);
            if contents.volumes.insert(number(element, "dev_id")?, mapped).is_some() {
                return Err("it has a volume twice".to_owned());
            }
        }
        ("range_mapping" | "single_mapping" | "def" | "ref", Some(_)) => {}
        (name, _) => return Err(format!("it has the element '{}'", name.escape_debug())),
    }
    Ok(())
}

fn number(element: &BytesStart<'_>, name: &str) -> Result<u64, String> {
    let wrong = || format!("its {} has no {name}", element.name().as_ref());
    let attribute = element.try_get_attribute(name).map_err(|why| why.to_string())?.ok_or_else(wrong)?;
    attribute.value.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"<superblock uuid="" time="0" transaction="2" flags="0" version="2" data_block_size="128" nr_data_blocks="16384">
  <device dev_id="1" mapped_blocks="1352" transaction="0" creation_time="0" snap_time="0">
    <range_mapping origin_begin="0" data_begin="0" length="744" time="0"/>
    <single_mapping origin_block="992" data_block="992" time="0"/>
  </device>
  <device dev_id="7" mapped_blocks="0" transaction="1" creation_time="0" snap_time="0">
  </device>
</superblock>
"#;

    #[test]
    fn a_dump() {
        let contents = read(DUMP.as_bytes()).expect("a dump");
        assert_eq!((contents.transaction_id, contents.chunk), (2, Sectors(128)));
        assert_eq!(contents.data_total, Some(DataBlocks(16384)));
        assert_eq!(contents.volumes.into_iter().collect::<Vec<_>>(), [(1, DataBlocks(1352)), (7, DataBlocks(0))]);
        let live = read(DUMP.replace("16384", "0").as_bytes()).expect("a dump of a live pool");
        assert_eq!(live.data_total, None);
    }

    #[test]
    fn what_is_no_dump() {
        let cut = DUMP.get(..300).expect("its beginning");
        for text in [
            "",
            "x",
            "<a/>",
            "<device dev_id=\"1\" mapped_blocks=\"1\"/>",
            cut,
            &DUMP.replace("transaction=\"2\" ", ""),
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        for (from, to) in [("dev_id=\"7\"", "dev_id=\"1\""), ("1352", "-1"), ("single_mapping", "script")] {
            assert!(read(DUMP.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
