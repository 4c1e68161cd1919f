//! containerd's databases: the devices and the snapshots of its devmapper snapshotter, and its images.

use super::{claims, expanded};
use dmtool::observe::owners::bolt::{Bucket, Db, Entry};
use dmtool::observe::owners::containerd;
use std::path::Path;

/// One file that is taken for all three. If the first byte says so, its meta pages get the sums that they must have.
pub fn containerd_db(data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    let mut bytes = expanded(data);
    if choice & 1 == 1 {
        sums(&mut bytes);
    }
    if let Ok(mut db) = Db::new(&bytes) {
        let root = db.at(&[]).unwrap_or_default().unwrap_or_default();
        for (_, entry) in root.into_iter().take(8) {
            if let Entry::Bucket(bucket) = entry {
                let _ = inside(&mut db, bucket, 0);
            }
        }
    }
    let file = || Ok(Some(bytes.clone()));
    let (pool, metadata, meta) = (Path::new("/pool.db"), Path::new("/metadata.db"), Path::new("/meta.db"));
    if let Ok(found) = containerd::of("pool", (pool, &bytes), (metadata, file()), (meta, file())) {
        claims::all(found);
    }
}

/// What was handed over lies in the file, and not more often than there is room for it.
fn inside<'a>(db: &mut Db<'a>, bucket: Bucket<'a>, depth: usize) -> Result<usize, &'static str> {
    let mut count = 0;
    for (_, entry) in db.entries(bucket)? {
        count += 1;
        match entry {
            Entry::Bucket(bucket) if depth < 8 => count += inside(db, bucket, depth + 1)?,
            _ => {}
        }
    }
    Ok(count)
}

/// FNV-1a over each meta page: behind the head of the page stand 56 bytes, and then their sum.
fn sums(bytes: &mut [u8]) {
    let size = bytes.get(24..28).and_then(|size| size.try_into().ok()).map_or(0, u32::from_ne_bytes);
    for start in [0, usize::try_from(size).unwrap_or(0)] {
        let Some(meta) = start.checked_add(80).and_then(|end| bytes.get_mut(start + 16..end)) else { continue };
        let (head, sum) = meta.split_at_mut(56);
        let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        sum.copy_from_slice(&head.iter().fold(0xcbf2_9ce4_8422_2325, add).to_ne_bytes());
    }
}
