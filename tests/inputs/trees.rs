//! Thin metadata as it lies on a device.

use super::expanded;
use dmtool::observe::metadata::details::Details;
use dmtool::observe::metadata::trees::{Figures, find_in, is_whole, superblock_for};
use dmtool::observe::metadata::{BLOCK, Head, Read, believed};
use dmtool::observe::{Looked, Unseen};

/// More than any tree here needs; each block is looked at several times.
const MOST: usize = 64;
/// XORed to the sums of a superblock and of a node (the kernel's dm-thin-metadata.c and dm-btree-spine.c).
const SUMS: (u32, u32) = (160_774, 121_107);

#[derive(Clone)]
struct Blocks(Vec<[u8; BLOCK]>);

impl Read for Blocks {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, number: u64) -> Looked<[u8; BLOCK]> {
        let block = usize::try_from(number).ok().and_then(|at| self.0.get(at));
        block.copied().ok_or_else(|| Unseen(format!("there is no block {number}")))
    }
}

/// Blocks; if the first byte says so, each gets its number and the sum that it must have.
pub fn trees(data: &[u8]) {
    let (choice, data) = data.split_first().unwrap_or((&0, data));
    let mut blocks = Blocks(expanded(data).chunks(BLOCK).take(MOST).map(whole).collect());
    if choice & 1 == 1 {
        for (number, block) in blocks.0.iter_mut().enumerate() {
            sum(block, number as u64);
        }
    }
    let Some(first) = blocks.0.first().copied() else { return };
    if let Head::Of(found) = believed(&first) {
        assert!(is_whole(&first) && u32::try_from(found.chunk.0).is_ok());
    }
    look(&blocks);
    // What is found in damaged metadata can be read with the superblock that is made for it, and is found again.
    let Ok(roots) = find_in(&blocks) else { return };
    let figures = Figures { transaction_id: 7, chunk_sectors: 128, data_blocks: 1000 };
    let made = superblock_for(&first, blocks.count(), roots, figures);
    blocks.0[0] = made;
    assert!(is_whole(&made) && matches!(believed(&made), Head::Of(_)));
    let again = find_in(&blocks).expect("the superblock leads to them");
    assert_eq!((again.maps, again.volumes), (roots.maps, roots.volumes));
    assert_eq!(superblock_for(&made, blocks.count(), again, figures), made);
    let details = Details::of(Box::new(blocks), 0).expect("a superblock");
    let volumes = details.volumes().expect("a whole tree");
    let ends = details.ends(&|_| true).expect("whole maps");
    for (id, detail) in &volumes {
        assert_eq!(detail.mapped.0 > 0, ends.contains_key(id), "volume {id}: {detail:?}, {ends:?}");
    }
}

fn look(blocks: &Blocks) {
    for at in 0..blocks.count() {
        let Ok(details) = Details::of(Box::new(blocks.clone()), at) else { continue };
        // As many lines as there is room for in blocks that are in no tree twice.
        let most = blocks.0.len() * BLOCK / 8;
        assert!(details.volumes().map_or(0, |found| found.len()) <= most);
        assert!(details.ends(&|_| true).map_or(0, |found| found.len()) <= most);
    }
}

fn whole(bytes: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..bytes.len()].copy_from_slice(bytes);
    block
}

fn sum(block: &mut [u8; BLOCK], number: u64) {
    let (at, salt) = if number == 0 { (8, SUMS.0) } else { (8, SUMS.1) };
    block[at..at + 8].copy_from_slice(&number.to_le_bytes());
    let sum = !crc32c::crc32c(&block[4..]) ^ salt;
    block[..4].copy_from_slice(&sum.to_le_bytes());
}
