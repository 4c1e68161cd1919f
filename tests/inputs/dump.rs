//! thin_dump's XML.

use super::text;
use dmtool::observe::metadata::volumes::{Contents, read};
use dmtool::sys::dump::complete;
use std::fmt::Write;

pub fn dump(data: &[u8]) {
    let text = text(data);
    let mut completed = Vec::new();
    complete(text.as_bytes(), &mut completed, 77).expect("in memory");
    assert!(completed.len().abs_diff(text.len()) <= 1);
    let found = match read(text.as_bytes()) {
        Err(why) => return assert!(!why.is_empty()),
        Ok(found) => found,
    };
    let plain = written(&found);
    assert_eq!(read(plain.as_bytes()).as_ref(), Ok(&found), "{plain}");
    // With the figure that a live pool's dump leaves out, and all else as it was.
    let with = read(&*completed).expect("it was a dump before");
    assert!(with.data_total == found.data_total || found.data_total.is_none());
    assert_eq!(Contents { data_total: found.data_total, ..with }, found);
    let mut completed = Vec::new();
    complete(plain.as_bytes(), &mut completed, 77).expect("in memory");
    let total = read(&*completed).expect("a dump").data_total.expect("it is put in");
    assert_eq!(total.0, found.data_total.map_or(77, |total| total.0));
}

/// As thin_dump writes it.
fn written(found: &Contents) -> String {
    let total = found.data_total.map_or(0, |total| total.0);
    let mut text = format!(
        "<superblock uuid=\"\" time=\"0\" transaction=\"{}\" flags=\"0\" version=\"2\" data_block_size=\"{}\" nr_data_blocks=\"{total}\">\n",
        found.transaction_id, found.chunk.0
    );
    for (id, mapped) in &found.volumes {
        let _ = writeln!(
            text,
            "  <device dev_id=\"{id}\" mapped_blocks=\"{}\" transaction=\"0\" creation_time=\"0\" snap_time=\"0\">\n  </device>",
            mapped.0
        );
    }
    text + "</superblock>\n"
}
