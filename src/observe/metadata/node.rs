//! A node of one of metadata's trees: struct node_header of the kernel's persistent-data/dm-btree-internal.h, with its sum.

use crate::observe::{Looked, looked};
use crate::sys::blocks::Blocks;

/// `THIN_METADATA_BLOCK_SIZE`, in bytes.
pub const BLOCK: usize = 4096;
/// `BTREE_CSUM_XOR`.
const NODE_XOR: u32 = 121_107;
const INTERNAL: u32 = 1;

/// Where blocks come from: a device, a file, or memory.
pub trait Read {
    /// How many there are.
    fn count(&self) -> u64;

    /// # Errors
    /// It cannot be read.
    fn read(&self, number: u64) -> Looked<[u8; BLOCK]>;
}

impl Read for Blocks {
    fn count(&self) -> u64 {
        Blocks::count(self)
    }

    fn read(&self, number: u64) -> Looked<[u8; BLOCK]> {
        looked(Blocks::read(self, number))
    }
}

/// A node as it lies there.
pub struct Node {
    pub internal: bool,
    pub value_size: u32,
    pub keys: Vec<u64>,
    /// The first eight bytes of each.
    pub values: Vec<u64>,
    /// Transaction, and the later of creation and snapshot time, where it is a leaf with lines about volumes.
    pub lines: Vec<(u64, u32)>,
}

impl Node {
    /// What a block says; none where it is no whole node of this number.
    pub fn parse(block: &[u8; BLOCK], number: u64) -> Option<Node> {
        let (sum, flags) = (int(block, 0)?, int(block, 4)?);
        if sum != crc32c(block.get(4..)?) ^ NODE_XOR || long(block, 8)? != number {
            return None;
        }
        let (entries, most, value_size) = (int(block, 16)?, int(block, 20)?, int(block, 24)?);
        let (entries, most, size) =
            (usize::try_from(entries).ok()?, usize::try_from(most).ok()?, usize::try_from(value_size).ok()?);
        let end = size.checked_add(8).and_then(|both| most.checked_mul(both)?.checked_add(32))?;
        if entries > most || size < 8 || end > BLOCK {
            return None;
        }
        let value = |at: usize| 32 + 8 * most + at * size;
        let lines = if size == 24 { 0..entries } else { 0..0 };
        Some(Node {
            internal: flags & INTERNAL != 0,
            value_size,
            keys: (0..entries).map(|at| long(block, 32 + 8 * at)).collect::<Option<_>>()?,
            values: (0..entries).map(|at| long(block, value(at))).collect::<Option<_>>()?,
            lines: lines
                .map(|at| {
                    let of = value(at);
                    Some((long(block, of + 8)?, int(block, of + 16)?.max(int(block, of + 20)?)))
                })
                .collect::<Option<_>>()?,
        })
    }
}

pub fn int(block: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(block.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub fn long(block: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(block.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// As the kernel computes it for metadata (dm_bm_checksum): begun with ones, and not turned over at its end as
/// elsewhere.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !crc32c::crc32c(bytes)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_of_a_blank_superblock() {
        // 9 bytes "123456789" are the usual test; turned over here.
        assert_eq!(crc32c(b"123456789"), !0xe306_9283);
    }

    /// A node with these keys and values, its sum right.
    pub fn made(number: u64, internal: bool, size: usize, entries: &[(u64, Vec<u8>)]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let most = (BLOCK - 32) / (8 + size);
        block[4] = if internal { 1 } else { 2 };
        block[8..16].copy_from_slice(&number.to_le_bytes());
        block[16..20].copy_from_slice(&u32::try_from(entries.len()).expect("few").to_le_bytes());
        block[20..24].copy_from_slice(&u32::try_from(most).expect("few").to_le_bytes());
        block[24..28].copy_from_slice(&u32::try_from(size).expect("small").to_le_bytes());
        for (at, (key, value)) in entries.iter().enumerate() {
            block[32 + 8 * at..40 + 8 * at].copy_from_slice(&key.to_le_bytes());
            let of = 32 + 8 * most + at * size;
            block[of..of + value.len()].copy_from_slice(value);
        }
        let sum = crc32c(&block[4..]) ^ NODE_XOR;
        block[..4].copy_from_slice(&sum.to_le_bytes());
        block
    }

    #[test]
    fn a_node_and_what_is_none() {
        let mut line = 5_u64.to_le_bytes().to_vec();
        line.extend(7_u64.to_le_bytes());
        line.extend([1, 0, 0, 0, 3, 0, 0, 0]);
        let block = made(9, false, 24, &[(2, line)]);
        let node = Node::parse(&block, 9).expect("a node");
        assert_eq!((node.internal, node.keys, node.values, node.lines), (false, vec![2], vec![5], vec![(7, 3)]));
        assert!(Node::parse(&block, 8).is_none(), "another block's number");
        let mut torn = block;
        torn[4000] ^= 1;
        assert!(Node::parse(&torn, 9).is_none());
        assert!(Node::parse(&[0; BLOCK], 0).is_none());
        // Counts whose product is the largest number there is.
        let mut vast = [0; BLOCK];
        vast[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        vast[24..28].copy_from_slice(&(u32::MAX - 6).to_le_bytes());
        let sum = crc32c(&vast[4..]) ^ NODE_XOR;
        vast[..4].copy_from_slice(&sum.to_le_bytes());
        assert!(Node::parse(&vast, 0).is_none());
    }

    proptest! {
        /// A right sum over any head: counts and sizes that lie lead nowhere.
        #[test]
        fn no_block_panics(head in proptest::collection::vec(any::<u8>(), 28), number: u64) {
            let mut block = [0; BLOCK];
            block[..28].copy_from_slice(&head);
            block[8..16].copy_from_slice(&number.to_le_bytes());
            let sum = crc32c(&block[4..]) ^ NODE_XOR;
            block[..4].copy_from_slice(&sum.to_le_bytes());
            let _ = Node::parse(&block, number);
        }
    }
}
