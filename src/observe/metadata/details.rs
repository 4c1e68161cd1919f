//! What metadata says of its volumes, read from its own trees: of each its line, and where it ends. Of a live pool through
//! a metadata snapshot, whose block is a copy of the superblock (thin-provisioning.rst, "reserve_metadata_snap").
//!
//! thin_dump would say the same for the price of a process and of a text to take apart.

use super::node::{Node, Read, long};
use super::trees::{DEEPEST, DETAILS, MAPS_AT, VOLUMES_AT, is_whole};
use crate::observe::{Looked, Unseen, looked};
use crate::sys::blocks::Blocks;
use crate::units::DataBlocks;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

/// How often the metadata of a pool that is up is read anew where it was committed meanwhile, and after which pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What metadata says of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    pub mapped: DataBlocks,
    /// Of the pool, when it was made.
    pub transaction_id: u64,
}

/// The metadata of a pool, open.
pub struct Details {
    blocks: Box<dyn Read>,
    maps: u64,
    volumes: u64,
}

impl Details {
    /// Opens metadata with this block for its superblock: 0, or a snapshot's.
    ///
    /// # Errors
    /// It cannot be read, or that block is none.
    pub fn open(metadata: &Path, superblock: u64) -> Looked<Details> {
        // The kernel writes past what the page cache keeps of the device.
        Details::of(Box::new(looked(Blocks::open_direct(metadata))?), superblock)
    }

    /// As [`Details::open`], from these blocks.
    ///
    /// # Errors
    /// As [`Details::open`]'s.
    pub fn of(blocks: Box<dyn Read>, superblock: u64) -> Looked<Details> {
        let block = blocks.read(superblock)?;
        let roots = long(&block, MAPS_AT).zip(long(&block, VOLUMES_AT));
        let (maps, volumes) = roots
            .filter(|_| is_whole(&block) && long(&block, 32) == Some(super::MAGIC))
            .ok_or_else(|| Unseen(format!("block {superblock} of the metadata is no superblock")))?;
        Ok(Details { blocks, maps, volumes })
    }

    /// Every volume, by its thin id.
    ///
    /// # Errors
    /// A block cannot be read or is none of a tree.
    pub fn volumes(&self) -> Looked<BTreeMap<u64, Detail>> {
        let mut found = BTreeMap::new();
        self.walk(self.volumes, &mut |node| {
            if node.value_size != DETAILS {
                return false;
            }
            for ((id, mapped), (transaction_id, _)) in node.keys.iter().zip(&node.values).zip(&node.lines) {
                found.insert(*id, Detail { mapped: DataBlocks(*mapped), transaction_id: *transaction_id });
            }
            true
        })?;
        Ok(found)
    }

    /// The thin ids of a pool that is up, as it committed them last. No block of a committed state is written over before the
    /// next one is committed, which is a write of the superblock (dm-thin-metadata.c, `__commit_transaction`): what was
    /// read between two looks at the same superblock was all there at once. So that it costs no metadata snapshot.
    ///
    /// # Errors
    /// A block cannot be read, or the pool commits faster than its volumes are read.
    pub fn ids_of_a_live_pool(metadata: &Path) -> Looked<BTreeSet<u64>> {
        Details::committed(&|| Ok(Box::new(looked(Blocks::open_direct(metadata))?)))
    }

    fn committed(open: &dyn Fn() -> Looked<Box<dyn Read>>) -> Looked<BTreeSet<u64>> {
        let mut last = None;
        for _ in 0..TRIES {
            let blocks = open()?;
            let before = blocks.read(0)?;
            let found = Details::of(blocks, 0).and_then(|details| Ok((details.volumes()?, details.blocks.read(0)?)));
            match found {
                Ok((volumes, after)) if after == before => return Ok(volumes.into_keys().collect()),
                Ok(_) => {}
                Err(why) => last = Some(why),
            }
            std::thread::sleep(PAUSE);
        }
        Err(last.unwrap_or_else(|| Unseen("the pool commits faster than its volumes can be read".to_owned())))
    }

    /// Where each of these volumes ends, in its own chunks: the one behind the last that is mapped; none where nothing is.
    ///
    /// # Errors
    /// A block cannot be read or is none of a tree.
    pub fn ends(&self, wanted: &dyn Fn(u64) -> bool) -> Looked<BTreeMap<u64, DataBlocks>> {
        let mut roots = Vec::new();
        self.walk(self.maps, &mut |node| {
            roots.extend(node.keys.iter().copied().zip(node.values.iter().copied()).filter(|(id, _)| wanted(*id)));
            node.value_size == 8
        })?;
        let mut found = BTreeMap::new();
        for (id, root) in roots {
            if let Some(last) = self.last(root)? {
                found.insert(id, DataBlocks(last.saturating_add(1)));
            }
        }
        Ok(found)
    }

    /// The last key of a tree: down along its right edge.
    fn last(&self, root: u64) -> Looked<Option<u64>> {
        let mut number = root;
        for _ in 0..DEEPEST {
            let node = self.node(number)?;
            match (node.internal, node.values.last()) {
                (true, Some(below)) => number = *below,
                _ => return Ok(node.keys.last().copied()),
            }
        }
        Err(Unseen(format!("the tree at block {root} of the metadata has no end")))
    }

    /// Hands over each leaf of a tree, until one is not what it should be. No block is in a tree twice.
    fn walk(&self, root: u64, take: &mut dyn FnMut(&Node) -> bool) -> Looked<()> {
        let (mut seen, mut todo) = (HashSet::new(), vec![root]);
        while let Some(number) = todo.pop() {
            let node = self.node(number)?;
            let fits = seen.insert(number) && (node.internal || take(&node));
            if !fits {
                return Err(no_node(number));
            }
            if node.internal {
                todo.extend(&node.values);
            }
        }
        Ok(())
    }

    fn node(&self, number: u64) -> Looked<Node> {
        Node::parse(&self.blocks.read(number)?, number).ok_or_else(|| no_node(number))
    }
}

fn no_node(number: u64) -> Unseen {
    Unseen(format!("block {number} of the metadata is damaged"))
}

#[cfg(test)]
mod tests {
    use super::super::node::{BLOCK, tests::made};
    use super::super::trees::{Figures, Roots, superblock_for};
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    impl Read for Vec<[u8; BLOCK]> {
        fn count(&self) -> u64 {
            self.len() as u64
        }

        fn read(&self, number: u64) -> Looked<[u8; BLOCK]> {
            let block = usize::try_from(number).ok().and_then(|at| self.get(at));
            block.copied().ok_or_else(|| Unseen(format!("reading block {number}")))
        }
    }

    fn line(mapped: u64, transaction: u64) -> Vec<u8> {
        [mapped.to_le_bytes(), transaction.to_le_bytes(), [0; 8]].concat()
    }

    fn long_of(value: u64) -> Vec<u8> {
        value.to_le_bytes().to_vec()
    }

    /// Volumes 1, 2 and 7; 7 has a map of two levels, 2 has an empty one.
    fn metadata() -> Vec<[u8; BLOCK]> {
        let figures = Figures { transaction_id: 5, chunk_sectors: 128, data_blocks: 100 };
        let leaf = |number: u64, size: usize, entries: &[(u64, Vec<u8>)]| made(number, false, size, entries);
        vec![
            superblock_for(&[0; BLOCK], 10, Roots::at(2, 1), figures),
            made(1, true, 8, &[(1, long_of(3)), (7, long_of(4))]),
            leaf(2, 8, &[(1, long_of(5)), (2, long_of(6)), (7, long_of(7))]),
            leaf(3, 24, &[(1, line(1, 0)), (2, line(0, 2))]),
            leaf(4, 24, &[(7, line(2, 4))]),
            leaf(5, 8, &[(0, long_of(9 << 24))]),
            leaf(6, 8, &[]),
            made(7, true, 8, &[(0, long_of(8)), (50, long_of(9))]),
            leaf(8, 8, &[(0, long_of(10 << 24))]),
            leaf(9, 8, &[(99, long_of(11 << 24))]),
        ]
    }

    fn of(blocks: Vec<[u8; BLOCK]>) -> Looked<Details> {
        Details::of(Box::new(blocks), 0)
    }

    #[test]
    fn volumes_and_where_they_end() {
        let details = of(metadata()).expect("metadata");
        let volumes = details.volumes().expect("volumes");
        let figures: Vec<_> = volumes.iter().map(|(id, one)| (*id, one.mapped.0, one.transaction_id)).collect();
        assert_eq!(figures, [(1, 1, 0), (2, 0, 2), (7, 2, 4)]);
        let ends = details.ends(&|id| id != 1).expect("ends");
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(7, DataBlocks(100))]);
    }

    /// Metadata of which each look at the superblock is another one, so often.
    struct Busy {
        blocks: Vec<[u8; BLOCK]>,
        commits: Rc<Cell<u8>>,
    }

    impl Read for Busy {
        fn count(&self) -> u64 {
            self.blocks.count()
        }

        fn read(&self, number: u64) -> Looked<[u8; BLOCK]> {
            let mut block = self.blocks.read(number)?;
            if number == 0 && self.commits.get() > 0 {
                self.commits.set(self.commits.get() - 1);
                // Of the uuid, which nobody sets, so that the sum does not hold either.
                block[16] ^= self.commits.get();
            }
            Ok(block)
        }
    }

    #[test]
    fn a_pool_that_commits_meanwhile_is_read_anew() {
        for commits in [0, 1, 2, 5, 9] {
            let left = Rc::new(Cell::new(commits));
            let open =
                || -> Looked<Box<dyn Read>> { Ok(Box::new(Busy { blocks: metadata(), commits: Rc::clone(&left) })) };
            let ids = Details::committed(&open).expect("ids");
            assert_eq!(ids.into_iter().collect::<Vec<_>>(), [1, 2, 7]);
            assert_eq!(left.get(), 0, "{commits} commits were seen");
        }
    }

    #[test]
    fn damage_is_said() {
        assert!(Details::of(Box::new(metadata()), 1).is_err(), "a node is no superblock");
        for at in [1, 4] {
            let mut blocks = metadata();
            blocks[at][3000] ^= 1;
            assert_eq!(of(blocks).expect("a superblock").volumes(), Err(no_node(at as u64)));
        }
        let mut loops = metadata();
        loops[1] = made(1, true, 8, &[(1, long_of(1))]);
        assert!(of(loops).expect("a superblock").volumes().is_err());
        let mut swapped = metadata();
        swapped[1] = made(1, true, 8, &[(1, long_of(5))]);
        assert!(of(swapped).expect("a superblock").volumes().is_err(), "a map is no list of volumes");
    }
}
