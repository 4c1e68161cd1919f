//! What each finding means, what happens if nothing is done, and what to do: for `dmtool explain`, offline.

use super::code::Code;

/// The page of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// One line.
    pub title: &'static str,
    pub meaning: &'static str,
    pub otherwise: &'static str,
    pub remedy: &'static str,
}

const fn page(title: &'static str, meaning: &'static str, otherwise: &'static str, remedy: &'static str) -> Page {
    Page { title, meaning, otherwise, remedy }
}

/// The page of a code; there is one for each.
#[expect(clippy::too_many_lines, reason = "a table of texts")]
pub fn of(code: Code) -> Page {
    match code {
        Code::PoolInactive => page(
            "The pool is down",
            "LVM knows the pool, and the kernel has no device for it. After a boot this means that nobody activated it: its disks came late, the host has no automatic activation, or it was taken down by hand. Docker says \"Non existing device\" then. Or Docker or containerd is configured for a pool that neither the kernel nor LVM nor the register knows: somebody's script made it, and has not made it since the boot; or it is gone.",
            "Nothing on the pool can be used. Nothing is lost by waiting.",
            "dmtool activate POOL brings it back; with --wait SECONDS it waits for disks that come late. Have it run at every boot, before Docker or containerd. A pool that nobody knows has to be made again by what made it, on the same devices; once it is up, dmtool activate POOL --remember has dmtool bring it up at each boot. If it is gone for good, give them another: dmtool configure docker POOL, dmtool configure containerd POOL.",
        ),
        Code::ActivationSkipped => page(
            "The pool is down because it was told to be",
            "The pool carries LVM's flag to skip activation (the k among its attributes in lvs), which somebody set with lvchange --setactivationskip y. Snapshots are born with it, pools are not.",
            "It stays down at every boot, and what needs it fails.",
            "dmtool activate POOL, by name, brings it up this once. lvchange --setactivationskip n POOL takes the flag off for good; ask first who set it.",
        ),
        Code::VolumeGroupIncomplete => page(
            "A disk of the pool's volume group is missing",
            "LVM finds fewer physical volumes than the group has. A disk or its path is gone, a filter in lvm.conf hides it, or it is back and still marked as missing because the group was changed meanwhile. Or no disk of the group is there, and only LVM's backup tells of the pool; or the pool is up, and its disk has lost what LVM wrote on it. Or the disk is there and what LVM wrote of the group on it cannot be read: LVM flushes nothing between two writes of a change, so a power cut can lose the first on a disk with a cache that is lost.",
            "A pool that lies on the missing disk cannot be activated, or fails where it reads it. LVM refuses most changes of the group.",
            "Bring the disk back, then pvscan --cache. If LVM goes on calling it missing although it is there: vgextend --restoremissing VG DEVICE. Never vgreduce --removemissing --force a group with a thin pool: it takes the pool along. What cannot be read is written anew from LVM's backup, with the pool's data as it is: pvck --repair --file /etc/lvm/backup/VG DEVICE. If the disk is lost, restore from a backup. Where the group was given up on purpose, move /etc/lvm/backup/VG away.",
        ),
        Code::ComponentActive => page(
            "A hidden volume of the pool is active by itself",
            "The pool's data or metadata volume (POOL_tdata, POOL_tmeta) is active and the pool is not. An LVM command that was killed leaves it so, or somebody activated it to look at the metadata.",
            "LVM refuses to activate the pool over it, at every boot that finds it so.",
            "dmtool activate POOL takes the hidden volume down and brings the pool up. Look first that nobody is at work on it (thin_check, thin_dump).",
        ),
        Code::PoolSuspended => page(
            "The pool stands still",
            "The pool's device is suspended: every read and write waits. A resize does that for milliseconds; one that failed or was killed leaves it so. A table that waits to be swapped in may be the reason why the resume failed.",
            "Everything on the pool hangs, and so does what asks for it: lvs, Docker, df. Processes that wait cannot be killed.",
            "dmsetup resume NAME, where no table waits. Where one waits: dmsetup clear NAME first, so that the pool goes on with the table it had; then, for a pool of LVM, lvchange --refresh POOL, which loads the size that LVM has.",
        ),
        Code::InactiveTablePending => page(
            "A table was loaded and never swapped in",
            "device-mapper holds two tables for the pool: the live one, and one that the next resume takes. A resize that was killed between the two steps leaves it so; lvs does not show it.",
            "The next resume, whoever does it, swaps it in, and it may not fit any more.",
            "Compare the two: dmsetup table NAME and dmsetup table --inactive NAME. dmsetup resume NAME takes the new one, dmsetup clear NAME drops it.",
        ),
        Code::PoolClaimedTwice => page(
            "Docker and containerd are configured for one pool",
            "Docker's daemon.json and containerd's config.toml name the same pool. Each numbers its volumes in it by its own books, and knows nothing of the other's.",
            "The two come upon each other's numbers: one that takes back a volume which it had only begun deletes the other's, and neither sees what fills the pool.",
            "Stop the one that came last, and give it a pool of its own: dmtool setup DEVICE --pool VG/LV, then dmtool configure docker VG/LV, or dmtool configure containerd VG/LV. What it has in the old pool stays there until nobody needs it: dmtool volume list POOL.",
        ),
        Code::RegisterMismatch => page(
            "The pool is up on other devices than the register says",
            "dmtool brings up bare pools by its register (/var/lib/dmtool/pools). The pool has other files or devices under it now than its record there: they were copied or moved, and the pool was made on the new ones by hand.",
            "The next boot brings up what the register says: the old files, with what was in them before, under the same names. What is written until then is missing there. dmtool changes nothing in such a pool.",
            "If what is up is right: bring up the volumes of the register on it (dmsetup create DEVICE --table '0 SECTORS thin /dev/mapper/POOL ID'), so that they are taken over, move the record aside (mv /var/lib/dmtool/pools/POOL.json /var/lib/dmtool/pools/POOL.json.old), then dmtool activate POOL --remember. If the register is right: stop what uses the pool, dmsetup remove its volumes and then the pool, losetup --detach its loop devices, then dmtool activate POOL.",
        ),
        Code::ExtensionNotLive => page(
            "LVM has made the pool larger, and the kernel has not",
            "LVM writes the new size into its metadata, and then loads a longer table into the kernel. A command that was killed in between leaves the pool at its old size, and so does dmsetup clear, which drops the longer table.",
            "The pool fills up earlier than lvs says, and the next extension begins at the size that it does not have yet.",
            "lvchange --refresh POOL loads the table of LVM's size, while the pool is in use. dmtool resize does so as well.",
        ),
        Code::DataNearlyFull => page(
            "Data is filling up",
            "The pool has handed out more of its data blocks than the threshold of this check.",
            "A full pool stops writes for 60 seconds and then fails them; file systems on it are damaged, databases stop.",
            "Grow the pool: dmtool resize +20% POOL, or with a disk more: dmtool resize POOL --add-device DEVICE. Or free space: remove volumes and snapshots, run fstrim in the file systems on it. See whether it extends itself: dmtool autoextend POOL.",
        ),
        Code::MetadataNearlyFull => page(
            "Metadata is filling up",
            "The map of the pool's blocks has nearly used up its own space. Snapshots multiply it; small chunks on a large pool need much of it.",
            "A pool without room for metadata becomes read-only, however much data space there is. LVM refuses new volumes from 75% on.",
            "dmtool resize POOL --metadata +SIZE grows it while the pool is in use. The group needs twice that: the spare grows along. Removing snapshots helps too.",
        ),
        Code::DataFullQueueing => page(
            "Data is full, writes wait",
            "Every data block is handed out. Writes to new blocks wait for space, for 60 seconds by default (module parameter dm_thin_pool.no_space_timeout).",
            "After that time the waiting writes fail: file systems are damaged, what was written is lost.",
            "Extend at once (dmtool resize +20% POOL): within the time nothing is lost. If the group has no room, add a disk (dmtool resize POOL --add-device DEVICE), or free space by removing snapshots and running fstrim. The pool goes on by itself as soon as there is space.",
        ),
        Code::DataFullWritesLost => page(
            "Data is full, and writes were lost",
            "The pool was full for longer than it waits. It fails writes now although its table says to wait: the proof that the time ran out.",
            "Programs got errors, or lost what the page cache had promised them. It goes on until there is space.",
            "Extend the pool, or free space. Then unmount and check (fsck, xfs_repair) every file system on it that was written to, and restart what used them.",
        ),
        Code::DataFullError => page(
            "Data is full, writes fail",
            "Every data block is handed out, and the pool was made to fail writes at once (lvchange --errorwhenfull y).",
            "Every write to a new block fails until there is space.",
            "Extend the pool, or free space. Then check the file systems that got errors.",
        ),
        Code::MetadataFull => page(
            "Metadata is full",
            "There is no room in the map of the pool's blocks. The kernel made the pool read-only and kept the metadata whole (since Linux 4.18; older kernels ask for a check besides).",
            "All writes that need a new block fail.",
            "dmtool resize POOL --metadata +SIZE brings the pool back to writing, while it is up. Then check the file systems that got errors.",
        ),
        Code::NeedsCheck => page(
            "The metadata needs a check",
            "An operation on the metadata failed, a write error of its disk for one, and the kernel went back to what was committed before. It set the flag needs_check and made the pool read-only.",
            "The pool stays read-only, and ignores extensions, until its metadata was checked while it was down.",
            "Look at the disk under the metadata first (dmesg). Stop what uses the pool, then: dmtool deactivate POOL && dmtool activate POOL. On the way thin_check looks at the metadata and clears the flag where it finds no damage; LVM by itself does not have it cleared everywhere (not on Debian). If thin_check finds damage, the pool needs a repair. Then check the file systems.",
        ),
        Code::DataFullNeedsCheck => page(
            "Data is full and the metadata needs a check",
            "Two things at once. The kernel refuses to let the pool write until it was checked, and ignores an extension: the command succeeds, and nothing grows.",
            "Writes fail, and extending alone changes nothing.",
            "Take the pool down and up again as for needs-check, then extend it, then check the file systems.",
        ),
        Code::PoolFailed => page(
            "The pool has failed",
            "The kernel could neither read nor write the pool's metadata and has given the pool up. Its status is the one word Fail.",
            "Every read and write of every volume fails.",
            "Find out why: dmesg, and what the pool stands on. When that is well again, take the pool down and up (dmtool deactivate POOL && dmtool activate POOL): thin_check runs on the way. If it finds damage, the pool needs a repair; keep a copy of the metadata (thin_metadata_pack) before anything else.",
        ),
        Code::TargetError => page(
            "The pool's device is none of a thin pool",
            "The device that should carry the thin-pool target carries another one, mostly error, which dmsetup wipe_table and dmsetup remove --force put there; or it has no table at all.",
            "Every read and write fails. The pool itself, on its disks, is whole.",
            "On LVM, lvchange --refresh POOL loads the right table again. For a bare pool, load the table that it had: dmsetup load NAME --table '…' and dmsetup resume NAME.",
        ),
        Code::ActivationCheckFailed => page(
            "thin_check finds damage, and LVM refuses the pool",
            "LVM runs thin_check before it activates a pool, and it found something wrong with the metadata. A power cut on a disk that lies about its cache is a common reason.",
            "The pool stays down until its metadata is repaired. A pool that is up, found damaged by dmtool check --metadata, works but for what lies in the damaged part, and will not come back from the next boot.",
            "dmtool repair POOL copies the metadata, makes new metadata beside it, shows what each volume had and has, and keeps the old until dmtool repair POOL --accept. Check every file system before that. thin_check 1.0 and later is stricter than before about what older kernels wrote.",
        ),
        Code::ThinCheckMissing => page(
            "thin_check is not installed",
            "LVM runs thin_check at every activation of a pool. Without the tool it refuses, or says that the check is skipped and activates the pool as it is, by its version.",
            "At the next boot the pools of LVM do not come up, or come up damaged where they are, and are damaged further by each write.",
            "Install it: thin-provisioning-tools on Debian and SUSE, device-mapper-persistent-data on Fedora and RHEL. In an initramfs it must be there too.",
        ),
        Code::TransactionMismatch => page(
            "LVM and the pool disagree about what was done last",
            "Both count transactions, and the counts differ. Another program used the pool (Docker, by hand), LVM's metadata was restored from a backup, or a crash came between two steps.",
            "LVM refuses to activate the pool, or to make volumes in it.",
            "Do not force it. Where LVM is one ahead of a pool that is up, a command was killed while it made or removed a volume: that command run again, by dmtool volume, finishes it, and so does the next one there. With the pool down, dmtool repair POOL says which side knows which volumes, and prints the commands that give LVM the pool's number, for when the pool is right. If it was Docker's pool, LVM must make no volumes in it.",
        ),
        Code::PoolLayered => page(
            "LVM put a layer over the pool",
            "Once LVM makes a thin volume in a pool, VG-POOL becomes a layer and the thin-pool moves to VG-POOL-tpool. It stays so when the volume is removed.",
            "Nothing, where LVM alone uses the pool. Docker says \"is not a thin pool\", and containerd fails, where they were told to use it.",
            "Leave the pool to LVM and make another one for Docker or containerd.",
        ),
        Code::NotMonitored => page(
            "Nobody watches the pool",
            "dmeventd has no registration for the pool: monitoring was switched off, the pool was activated without it (in an initramfs, in a container), or dmeventd was restarted.",
            "The pool is not extended when it fills up, whatever its profile says, and nobody logs a warning.",
            "lvchange --monitor y POOL, then look again. See that dm-event.socket is enabled.",
        ),
        Code::ProfileNotLive => page(
            "The autoextend settings are not in the live table",
            "LVM writes the threshold into the kernel's table as the low-water mark, and does that only when it loads the table: attaching a profile does not, nor does editing the file.",
            "The kernel raises its event at another fill than the one that was asked for, or never; dmeventd then notices only at its next look.",
            "lvchange --refresh POOL loads the table anew, while the pool is in use.",
        ),
        Code::MetadataSnapshotHeld => page(
            "A metadata snapshot is held",
            "Somebody reserved a snapshot of the metadata to read it while the pool is in use: a backup, thin_ls, thin_dump. It survives its maker's death, and a reboot; the kernel does not say whose it is.",
            "Blocks of metadata that change are kept twice, so metadata fills up faster. Nobody else can reserve one.",
            "If nobody is reading: dmsetup message NAME 0 release_metadata_snap. After a power cut only once thin_check found all metadata whole while the pool was down (dmtool metadata check): to release one that was not written in full empties the pool.",
        ),
        Code::DataDeviceTooSmall => page(
            "The data device and the pool's table do not fit",
            "The table is longer than the device under it, or shorter than what the metadata knows. The device shrank (a truncated file, a replaced disk), or a table with a wrong length was loaded.",
            "What lies beyond the end cannot be read. The kernel refuses to resume the pool.",
            "Give the device its size back; never use --force. If a wrong table was loaded into a suspended pool: dmsetup clear NAME, or load the right length, then dmsetup resume NAME.",
        ),
        Code::PassdownOff => page(
            "Discards end at the pool",
            "The table lets discards through to the data device, and the kernel switched that off, since the device has none or its own granularity does not fit.",
            "Space that is freed returns to the pool. It does not return to the file or the disk below.",
            "Mostly nothing. lvchange --discards nopassdown POOL makes the table say what is so.",
        ),
        Code::PoolHalfBuilt => page(
            "A setup stopped before it made a pool",
            "There are two plain volumes, NAME and NAMEmeta, without anything on them, as the manual procedure leaves them before lvconvert.",
            "There is no pool, and what was to use it does not start.",
            "dmtool setup with the same words goes on where it stopped. If it is no setup, leave it alone.",
        ),
        Code::OldMetadataKept => page(
            "A repair kept the old metadata",
            "dmtool repair keeps a copy of the old metadata, and in a volume group the volume it was in; lvconvert --repair keeps the latter alone, as POOL_metaN.",
            "It takes up space in the group. Nothing else.",
            "Keep it until every file system on the pool was checked: it is the only way back. Then dmtool repair POOL --accept; what LVM's own repair kept is removed with lvremove.",
        ),
        Code::BackingFileMissing => page(
            "The file under a loop pool was deleted",
            "The loop device still holds the file, which has no name any more. Its contents are there as long as the device is.",
            "They are gone when the pool goes down, at the next boot at the latest.",
            "Copy them out first, while the pool is up and suspended (dd if=/dev/loopN of=FILE conv=sparse), then build the pool on the copy. Never run a script that makes the file anew.",
        ),
        Code::VolumeFailed => page(
            "A thin volume has failed",
            "The kernel answers every read and write of the volume with an error, mostly because its pool has failed, or because its part of the map cannot be read.",
            "What is on the volume cannot be used.",
            "Treat the pool first (pool-failed, needs-check). Then activate the volume anew and check its file system.",
        ),
        Code::MergePending => page(
            "A snapshot waits to be merged",
            "lvconvert --merge was run while the origin was in use, so it waits for the origin's next activation.",
            "The origin goes back to the snapshot's state at a boot that nobody connects with it.",
            "Unmount the origin and activate it anew, when it suits.",
        ),
        Code::AutoextendOff => page(
            "The pool does not extend itself",
            "Its threshold is 100%, which is LVM's default and means never; or its profile names a file that is gone.",
            "It fills up, and stays full until somebody extends it.",
            "dmtool autoextend POOL --threshold 80 --percent 20, if its group has room; watch it otherwise.",
        ),
        Code::AutoextendNoRoom => page(
            "There is no room for an extension",
            "The pool is to extend itself, and its group has less free than one step needs. LVM extends by all of a step or not at all. The documented defaults leave no room on a single disk.",
            "It fills up like a pool without autoextension.",
            "Add a disk (dmtool resize POOL --add-device DEVICE), or take a smaller step (dmtool autoextend POOL --percent N).",
        ),
        Code::DmeventdSilent => page(
            "dmeventd does not answer",
            "The daemon that extends pools is not there, or is there and does not answer its clients. lvs then says \"not monitored\", after waiting for it.",
            "No pool is extended, and no warning is logged.",
            "journalctl -u dm-event shows why. Where it is not running, lvchange --monitor y POOL starts it. Where another process holds its line, end that one. Where it hangs itself, end it (pkill --signal KILL --exact dmeventd), then vgchange --monitor y: what it watched is forgotten with it, all pools, RAID, mirrors and snapshots.",
        ),
        Code::ExtensionBackedOff => page(
            "dmeventd waits before it tries again",
            "An extension failed, mostly for lack of room. dmeventd tries again after twice the time each time, up to 42 minutes, also when there is room by now.",
            "The pool may be full before the next try.",
            "Monitor the pool anew, which makes it try at once: dmtool autoextend POOL --threshold N does that, and waits for the extension.",
        ),
        Code::CouldNotLook => page(
            "A check could not look",
            "Something that a check asks did not answer, or not in time: LVM, the kernel, a file. The finding says which check and why. Nobody knows whether all is well.",
            "What the check would have found goes unseen.",
            "Run it as root. See who holds LVM's lock, and what hangs (dmesg, ps with state D). Then check again.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_that_says_something() {
        let mut titles = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let page = of(*code);
            assert!(titles.insert(page.title), "{} has another's page", code.word());
            for part in [page.meaning, page.otherwise, page.remedy] {
                assert!(part.len() > 30 && part.ends_with('.'), "{}: {part}", code.word());
            }
        }
    }

    #[test]
    fn codes_are_found_by_their_words() {
        for code in Code::ALL {
            assert_eq!(Code::find(code.word()), Some(*code));
        }
        assert_eq!(Code::find("pool-inactiv"), None);
        assert_eq!(Code::ALL.len(), 38);
    }
}
