//! The register of bare pools, and whether what stands somewhere is what a record speaks of.

use super::{assert_plain, reports, text};
use dmtool::observe::metadata::{Head, Superblock};
use dmtool::observe::register::{LARGEST_ID, Place, Record, is_a_consumers, parse};
use dmtool::observe::standing::{DeviceThere, FileThere, Standing, There};
use dmtool::report::clean;
use dmtool::units::{Bytes, DataBlocks, MetaBlocks};

/// The record of the pool of the name that it says itself.
pub fn register(data: &[u8]) {
    let text = text(data);
    let name = serde_json::from_str::<serde_json::Value>(&text).ok();
    let name = name.as_ref().and_then(|record| record["name"].as_str()).unwrap_or("loop");
    let record = match parse(&text, name) {
        Err(why) => return assert_plain(&clean(&why)),
        Ok(record) => record,
    };
    assert_eq!(parse(&record.text().expect("a text"), name).as_ref(), Ok(&record));
    assert!(parse(&text, "another").is_err() || name == "another");
    let id = record.free_id();
    assert!(record.volumes.iter().all(|volume| volume.thin_id < id && volume.thin_id <= LARGEST_ID));
    let file = format!("{name}.json");
    assert!(record.path().ends_with(&file) && record.path().starts_with(dmtool::observe::register::FOLDER));
    if let Some(copy) = record.copy() {
        assert_eq!(copy.parent(), std::path::Path::new(record.data.path()).parent());
    }
    for volume in &record.volumes {
        let _ = is_a_consumers(&record.name, volume.device.as_str());
    }
    standing(&record);
    let mut pool = reports::bare(name);
    pool.kind = record.kind;
    pool.record = Some(Ok(record));
    reports::all(&reports::survey(vec![pool], dmtool::observe::lvm::Lvm::default(), None));
}

/// What the record speaks of fits, unless it was never made or is too short for the pool; what is missing does not.
fn standing(record: &Record) {
    let there = |place: &Place| match place {
        Place::File { size, inode, filesystem, .. } => There::File(FileThere {
            inode: inode.unwrap_or(1),
            filesystem: filesystem.clone(),
            length: *size,
            allocated: Bytes(4096),
            read_only: false,
            loop_device: None,
        }),
        Place::Device { size, dm_uuid, .. } => {
            There::Device(DeviceThere { number: (7, 0), size: *size, dm_uuid: dm_uuid.clone(), free: true })
        }
    };
    let head = Head::Of(Superblock {
        transaction_id: record.transaction_id,
        needs_check: false,
        chunk: record.table.words.chunk,
        data_total: DataBlocks(0),
        data_used: DataBlocks(0),
        metadata_total: MetaBlocks(0),
        metadata_used: MetaBlocks(0),
    });
    let (data, metadata) = (there(&record.data), there(&record.metadata));
    for (place, there) in [(&record.data, &data), (&record.metadata, &metadata)] {
        assert!(Standing::another(place, &There::Missing).is_none());
        let unknown = matches!(place, Place::File { inode: None, .. });
        assert_eq!(Standing::another(place, there).is_some(), unknown);
    }
    let good = Standing { metadata: Ok(metadata.clone()), data: Ok(data), head: Ok(head) };
    let short = good.length(record).bytes() > record.data.size();
    assert_eq!(good.misfits(record).is_empty(), !record.is_unfinished() && !short, "{:?}", good.misfits(record));
    let gone = Standing { data: Ok(There::Missing), ..good.clone() };
    let foreign = Standing { head: Ok(Head::Foreign), ..good };
    for wrong in [gone, foreign] {
        assert!(!wrong.misfits(record).is_empty());
        wrong.misfits(record).iter().for_each(|why| assert_plain(&clean(why)));
    }
}
