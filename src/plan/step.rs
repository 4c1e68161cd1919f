//! The steps that verbs are made of: plain data that says which command it stands for.

mod discards;
mod repair;
mod teardown;
mod volume;

use crate::names::{DmName, LvName, LvmName, VgName, quoted};
use crate::observe::moved::{self, Moved};
use crate::observe::register::{Place, Record, Volume};
use crate::observe::repair::{Repair, Stage};
use crate::observe::thin::PoolTable;
use crate::units::{Bytes, Extents, KIB, Sectors};
use std::path::PathBuf;

pub use discards::Discards;
pub use teardown::Teardown;
pub use volume::{OfVolume, UNFINISHED};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One of a teardown.
    Teardown(Teardown),
    /// One of a thin volume.
    Volume(OfVolume),
    /// One about discards.
    Discards(Discards),
    /// Takes every signature off a device, a partition table among them.
    WipeDevice { device: String, found: Vec<String> },
    /// Makes a volume group, and physical volumes of its devices.
    /// `extent` is said where lvm.conf has another than the usual one.
    CreateGroup { vg: VgName, devices: Vec<String>, extent: Option<Bytes> },
    /// Writes a profile with autoextension settings.
    WriteProfile { path: PathBuf, text: String, threshold: u64, percent: u64 },
    /// Makes data, metadata, spare and pool in one command, active and monitored.
    CreatePool { pool: LvmName, data: Extents, metadata: Bytes, chunk: Bytes, zero: bool, profile: String },
    /// Makes a plain volume, on some devices of its group or on any.
    CreateVolume { vg: VgName, lv: LvName, extents: Extents, devices: Vec<String> },
    /// Makes a pool of a data volume and a metadata volume.
    ConvertPool { pool: LvmName, metadata: LvName, chunk: Bytes, zero: bool },
    /// Names the profile in the pool's metadata; the live table keeps its low-water mark.
    AttachProfile { pool: LvmName, profile: String },
    /// Brings the profile's threshold into the live table as its low-water mark.
    Refresh { pool: LvmName },
    /// Has dmeventd watch the pool.
    Monitor { pool: LvmName },
    /// Has dmeventd no longer watch the pool; with the next one, it forgets its failures.
    Unmonitor { pool: LvmName },
    /// Brings the pool into the kernel.
    Activate { pool: LvmName, ignore_skip: bool },
    /// Takes the pool's volumes and then the pool out of the kernel.
    Deactivate { pool: LvmName, volumes: Vec<String> },
    /// Takes devices into a volume group.
    ExtendGroup { vg: VgName, devices: Vec<String> },
    /// Takes LVM's label off a disk that a run was cut off at: see [`crate::observe::taken`].
    RemoveLabel { device: String },
    /// Makes a pool's metadata so large, and the group's spare with it. With `keeps_watch`, dmeventd goes on watching the
    /// pool meanwhile; otherwise LVM takes the pool from it and gives it back.
    ExtendMetadata { pool: LvmName, to: Bytes, keeps_watch: bool },
    /// Makes a pool's data so large.
    ExtendData { pool: LvmName, to: Extents, bytes: Bytes, keeps_watch: bool },
    /// Makes a plain volume so large; it may be one that carries a bare pool at work.
    ExtendVolume { volume: LvmName, to: Extents, bytes: Bytes, carries: bool },
    /// Makes the file under a loop device longer; the new part is a hole.
    GrowFile { path: String, size: Bytes },
    /// Has a loop device look at the length of its file.
    SetCapacity { device: String },
    /// Loads a pool's table with another length, and swaps it in.
    SwapTable { dm_name: String, from: Sectors, to: Sectors, table: PoolTable },
    /// Writes what a bare pool is into the register, with a copy beside its files; `made` where its files are there by
    /// then, and known again from then on.
    Record { record: Box<Record>, made: bool },
    /// Makes a file for a loop device, a hole from end to end.
    MakeFile { path: String, size: Bytes },
    /// Puts a file on a loop device.
    Attach { path: String },
    /// Takes a file off its loop device.
    Detach { path: String },
    /// Has thin_check look at metadata before the kernel reads it, and clear its mark where there is no damage.
    CheckMetadata { name: DmName, place: Place },
    /// Makes a bare pool of what the register says.
    MakePool { record: Box<Record>, length: Sectors },
    /// Makes a thin volume in a bare pool, with the first number that is free from this one on, and its device.
    MakeThin { pool: DmName, volume: Volume },
    /// Makes a file system on a volume that is not handed out yet.
    MakeFileSystem { pool: DmName, device: DmName, fs: &'static str },
    /// Hands a volume out: the register says that it is complete.
    HandOut { pool: DmName, device: DmName },
    /// Makes a thin volume's device.
    MakeVolume { pool: DmName, device: DmName, thin_id: u64, size: Bytes },
    /// Takes a device out of the kernel.
    RemoveDevice { device: DmName },
    /// Has thin_check look at metadata that is down by then; what it finds decides what follows.
    Examine { pool: String, device: String },
    /// Writes down a repair before it begins, or anew.
    BeginRepair { repair: Box<Repair> },
    /// Copies metadata out as it was found.
    BackUpMetadata { repair: Box<Repair> },
    /// Makes new metadata beside the old, and has it checked; what comes out decides what follows.
    BuildMetadata { repair: Box<Repair> },
    /// Writes new metadata into a volume that nobody uses.
    FillVolume { volume: LvmName, from: String },
    /// Swaps a pool's metadata with another volume, in one commit of LVM's.
    SwapMetadata { pool: LvmName, with: LvName },
    /// Has LVM repair metadata into the group's spare, and swap the two.
    RepairBySpare { pool: LvmName },
    /// Sees that the metadata is, byte for byte, one of the copies.
    CompareMetadata { repair: Box<Repair>, with: String },
    /// Sees that what LVM's own repair made is what was shown, and copies that.
    AdoptMetadata { repair: Box<Repair> },
    /// Writes a copy over the metadata of a bare pool that is down.
    WriteMetadata { pool: String, place: Place, from: String },
    /// Writes down how far a repair is.
    NoteRepair { repair: Box<Repair>, stage: Stage },
    /// Removes a volume of LVM that is a copy of metadata.
    RemoveVolume { volume: LvmName, what: String },
    /// Forgets a repair, and removes its copies.
    EndRepair { repair: Box<Repair>, keeps_old: bool },
    /// Replaces a file of configuration, with a copy of the old one beside it.
    WriteConfig { path: String, old: Option<String>, text: String, backup: Option<String> },
    /// Has systemd stop units.
    StopService { units: &'static [&'static str] },
    /// Writes down that Docker's folder goes aside, and what brings it back.
    BeginMove { moved: Box<Moved> },
    /// Moves it.
    MoveFolder { moved: Box<Moved> },
    /// That is done.
    EndMove,
    /// Has systemd restart a service; what brings its old file back, and what is brought back where it does not come up.
    RestartService { service: &'static str, back: Option<String>, undo: Option<Box<Moved>> },
    /// Takes a hidden volume of a pool out of the kernel, where a killed command left it active by itself: LVM
    /// activates no pool over one that is.
    DeactivateComponent { vg: VgName, lv: String },
}

/// The device of a place, as a shell finds it between double quotes.
fn at(place: &Place) -> String {
    match place {
        Place::File { path, .. } => format!("$(losetup -nO NAME -j {})", quoted(path)),
        Place::Device { path, .. } => path.clone(),
    }
}

impl Step {
    /// What it is called in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Teardown(step) => step.word(),
            Step::Volume(step) => step.word(),
            Step::Discards(step) => step.word(),
            Step::WipeDevice { .. } => "wipe-device",
            Step::CreateGroup { .. } => "create-volume-group",
            Step::WriteProfile { .. } => "write-profile",
            Step::CreatePool { .. } => "create-pool",
            Step::CreateVolume { .. } => "create-volume",
            Step::ConvertPool { .. } => "convert-to-pool",
            Step::AttachProfile { .. } => "attach-profile",
            Step::Refresh { .. } => "refresh-table",
            Step::Monitor { .. } => "monitor",
            Step::Unmonitor { .. } => "stop-monitoring",
            Step::Activate { .. } => "activate",
            Step::Deactivate { .. } => "deactivate",
            Step::DeactivateComponent { .. } => "deactivate-component",
            Step::ExtendGroup { .. } => "extend-volume-group",
            Step::RemoveLabel { .. } => "remove-label",
            Step::ExtendMetadata { .. } => "extend-metadata",
            Step::ExtendData { .. } => "extend-data",
            Step::ExtendVolume { .. } => "extend-volume",
            Step::GrowFile { .. } => "grow-file",
            Step::SetCapacity { .. } => "set-capacity",
            Step::SwapTable { .. } => "swap-table",
            Step::Record { .. } => "write-register",
            Step::MakeFile { .. } => "make-file",
            Step::Attach { .. } => "attach-file",
            Step::Detach { .. } => "detach-file",
            Step::CheckMetadata { .. } => "check-metadata",
            Step::MakePool { .. } => "make-pool",
            Step::MakeThin { .. } => "make-thin-volume",
            Step::HandOut { .. } => "hand-out-volume",
            Step::MakeFileSystem { .. } => "make-file-system",
            Step::MakeVolume { .. } => "make-device",
            Step::RemoveDevice { .. } => "remove-device",
            Step::Examine { .. } => "examine-metadata",
            Step::BeginRepair { .. } => "begin-repair",
            Step::BackUpMetadata { .. } => "back-up-metadata",
            Step::BuildMetadata { .. } => "build-metadata",
            Step::FillVolume { .. } => "fill-volume",
            Step::SwapMetadata { .. } => "swap-metadata",
            Step::RepairBySpare { .. } => "repair-by-spare",
            Step::CompareMetadata { .. } => "compare-metadata",
            Step::AdoptMetadata { .. } => "adopt-metadata",
            Step::WriteMetadata { .. } => "write-metadata",
            Step::NoteRepair { .. } => "note-repair",
            Step::RemoveVolume { .. } => "remove-volume",
            Step::EndRepair { .. } => "end-repair",
            Step::WriteConfig { .. } => "write-configuration",
            Step::StopService { .. } => "stop-service",
            Step::BeginMove { .. } => "begin-move",
            Step::MoveFolder { .. } => "move-folder",
            Step::EndMove => "end-move",
            Step::RestartService { .. } => "restart-service",
        }
    }

    /// The words of the LVM command that it is, where it is one.
    #[expect(clippy::too_many_lines, reason = "one of the two matches over all steps")]
    pub fn lvm_words(&self) -> Option<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Some(match self {
            Step::WipeDevice { .. }
            | Step::WriteProfile { .. }
            | Step::GrowFile { .. }
            | Step::SetCapacity { .. }
            | Step::SwapTable { .. }
            | Step::Record { .. }
            | Step::MakeFile { .. }
            | Step::Attach { .. }
            | Step::Detach { .. }
            | Step::CheckMetadata { .. }
            | Step::MakePool { .. }
            | Step::MakeThin { .. }
            | Step::HandOut { .. }
            | Step::MakeFileSystem { .. }
            | Step::MakeVolume { .. }
            | Step::Examine { .. }
            | Step::BeginRepair { .. }
            | Step::BackUpMetadata { .. }
            | Step::BuildMetadata { .. }
            | Step::FillVolume { .. }
            | Step::CompareMetadata { .. }
            | Step::AdoptMetadata { .. }
            | Step::WriteMetadata { .. }
            | Step::NoteRepair { .. }
            | Step::EndRepair { .. }
            | Step::WriteConfig { .. }
            | Step::StopService { .. }
            | Step::BeginMove { .. }
            | Step::MoveFolder { .. }
            | Step::EndMove
            | Step::RestartService { .. }
            | Step::RemoveDevice { .. } => return None,
            Step::Teardown(step) => return step.lvm_words(),
            Step::Volume(step) => return step.lvm_words(),
            Step::Discards(step) => return step.lvm_words(),
            Step::SwapMetadata { pool, with } => words(&[
                // Yes to the swap: both are inactive, and the pool keeps what it had as that volume.
                "lvconvert",
                "--yes",
                "--thinpool",
                &pool.to_string(),
                "--poolmetadata",
                &format!("{}/{with}", pool.vg),
            ]),
            Step::RepairBySpare { pool } => words(&["lvconvert", "--yes", "--repair", &pool.to_string()]),
            Step::RemoveVolume { volume, .. } => words(&["lvremove", "--yes", &volume.to_string()]),
            Step::RemoveLabel { device } => words(&["pvremove", "--force", "--force", "--yes", device]),
            Step::ExtendGroup { vg, devices } => {
                let mut line = words(&["vgextend", vg.as_str()]);
                line.extend(devices.iter().cloned());
                line
            }
            Step::ExtendMetadata { pool, to, .. } => {
                words(&["lvextend", "--poolmetadatasize", &format!("{}k", to.0 / KIB), &pool.to_string()])
            }
            Step::ExtendData { pool, to, .. } => {
                words(&["lvextend", "--extents", &to.0.to_string(), &pool.to_string()])
            }
            Step::ExtendVolume { volume, to, .. } => {
                words(&["lvextend", "--extents", &to.0.to_string(), &volume.to_string()])
            }
            Step::CreateGroup { vg, devices, extent } => {
                let mut line = words(&["vgcreate"]);
                line.extend(
                    extent.iter().flat_map(|extent| words(&["--physicalextentsize", &format!("{}k", extent.0 / KIB)])),
                );
                line.push(vg.to_string());
                line.extend(devices.iter().cloned());
                line
            }
            Step::CreatePool { pool, data, metadata, chunk, zero, profile } => words(&[
                // Yes to wiping what the free extents of the group still hold: they are nobody's.
                "lvcreate",
                "--yes",
                "--type",
                "thin-pool",
                "--name",
                pool.lv.as_str(),
                "--extents",
                &data.0.to_string(),
                "--poolmetadatasize",
                &format!("{}k", metadata.0 / KIB),
                "--chunksize",
                &format!("{}k", chunk.0 / KIB),
                "--zero",
                if *zero { "y" } else { "n" },
                "--metadataprofile",
                profile,
                pool.vg.as_str(),
            ]),
            Step::CreateVolume { vg, lv, extents, devices } => {
                let count = extents.0.to_string();
                // Yes to wiping what the free extents of the group still hold: they are nobody's.
                let mut line = words(&["lvcreate", "--yes", "--wipesignatures", "y", "--name", lv.as_str()]);
                line.extend(words(&["--extents", &count, vg.as_str()]));
                line.extend(devices.iter().cloned());
                line
            }
            Step::ConvertPool { pool, metadata, chunk, zero } => words(&[
                // Yes to what was looked at before: both volumes carry no signature.
                "lvconvert",
                "--yes",
                "--zero",
                if *zero { "y" } else { "n" },
                "--chunksize",
                &format!("{}k", chunk.0 / KIB),
                "--thinpool",
                &pool.to_string(),
                "--poolmetadata",
                &format!("{}/{metadata}", pool.vg),
            ]),
            Step::AttachProfile { pool, profile } => {
                words(&["lvchange", "--metadataprofile", profile, &pool.to_string()])
            }
            Step::Refresh { pool } => words(&["lvchange", "--refresh", &pool.to_string()]),
            Step::Unmonitor { pool } => words(&["lvchange", "--monitor", "n", &pool.to_string()]),
            Step::Monitor { pool } => words(&["lvchange", "--monitor", "y", &pool.to_string()]),
            Step::DeactivateComponent { vg, lv } => words(&["lvchange", "--activate", "n", &format!("{vg}/{lv}")]),
            Step::Activate { pool, ignore_skip } => {
                let mut line = words(&["lvchange", "--activate", "y"]);
                line.extend(ignore_skip.then(|| "--ignoreactivationskip".to_owned()));
                line.push(pool.to_string());
                line
            }
            Step::Deactivate { pool, volumes } => {
                let mut line = words(&["lvchange", "--activate", "n"]);
                line.extend(volumes.iter().map(|volume| format!("{}/{volume}", pool.vg)));
                line.push(pool.to_string());
                line
            }
        })
    }

    /// The pool that LVM has stand still while it does this, or the volume under a bare one.
    pub fn stills(&self) -> Option<&LvmName> {
        match self {
            Step::ExtendVolume { volume, carries: true, .. } => Some(volume),
            Step::ExtendMetadata { pool, .. }
            | Step::ExtendData { pool, .. }
            | Step::Refresh { pool }
            | Step::Discards(Discards::Lvm { pool, .. }) => Some(pool),
            _ => None,
        }
    }

    /// The volumes of which no change is left to be ended once this is done.
    pub fn ends(&self) -> Vec<&LvmName> {
        match self {
            Step::Deactivate { pool, .. } => vec![pool],
            Step::Teardown(Teardown::RemoveVolumes { volumes, .. }) => volumes.iter().collect(),
            _ => self.stills().into_iter().collect(),
        }
    }

    /// The command it stands for, as an operator would type it.
    pub fn command(&self) -> String {
        match self {
            Step::Teardown(step) => step.command(),
            Step::Volume(step) => step.command(),
            Step::Discards(step) => step.command(),
            Step::WipeDevice { device, .. } => format!("wipefs --all {device}"),
            Step::WriteProfile { path, threshold, percent, .. } => {
                format!("write {} (extend at {threshold}% by {percent}%)", path.display())
            }
            Step::GrowFile { path, size } => format!("truncate --size {} {}", size.0, quoted(path)),
            Step::MakeFile { path, size } => {
                let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
                format!("install -d -m 700 {} && truncate --size {} {}", quoted(folder), size.0, quoted(path))
            }
            Step::SetCapacity { device } => format!("losetup --set-capacity /dev/{device}"),
            Step::SwapTable { dm_name, to, table, .. } => table.swap_command(dm_name, *to),
            Step::Record { record, made } => {
                let what = if *made { ", how its files are known again" } else { "" };
                let copy = record.copy().map_or(String::new(), |copy| format!(", a copy as {}", copy.display()));
                format!("write {}{copy}{what}", record.path().display())
            }
            Step::Attach { path } => format!("losetup --find --nooverlap --direct-io=on {}", quoted(path)),
            Step::Detach { path } => format!("losetup --detach $(losetup -nO NAME -j {})", quoted(path)),
            Step::CheckMetadata { place, .. } => {
                format!("thin_check -q --clear-needs-check-flag {}", quoted(place.path()))
            }
            Step::MakePool { record, length } => {
                let params = record.table.words.params_on(&at(&record.metadata), &at(&record.data));
                format!("dmsetup create {} --table \"0 {} thin-pool {params}\"", record.name, length.0)
            }
            Step::MakeVolume { pool, device, thin_id, size } => {
                let sectors = size.whole_sectors().0;
                format!("dmsetup create {device} --table '0 {sectors} thin /dev/mapper/{pool} {thin_id}'")
            }
            Step::MakeThin { pool, volume } => {
                let Volume { device, thin_id, size, .. } = volume;
                format!(
                    "dmsetup message {pool} 0 'create_thin {thin_id}' && dmsetup create {device} --table '0 {} thin \
                     /dev/mapper/{pool} {thin_id}'",
                    size.whole_sectors().0
                )
            }
            Step::MakeFileSystem { device, fs, .. } => format!("mkfs.{fs} -q /dev/mapper/{device}"),
            Step::HandOut { pool, device } => {
                format!("write {} ({device} is complete)", crate::observe::register::path_of(pool).display())
            }
            Step::RemoveDevice { device } => format!("dmsetup remove {device}"),
            Step::WriteConfig { path, backup: None, .. } => format!("write {}", quoted(path)),
            Step::WriteConfig { path, backup: Some(backup), .. } => {
                format!("cp --archive {0} {1} && write {0}", quoted(path), quoted(backup))
            }
            Step::StopService { units } => format!("systemctl stop {}", units.join(" ")),
            Step::BeginMove { .. } => format!("write {}", moved::PATH),
            Step::MoveFolder { moved } => format!("mv {} {}", quoted(&moved.folder), quoted(&moved.copy)),
            Step::EndMove => format!("rm {}", moved::PATH),
            Step::RestartService { service, .. } => format!("systemctl restart {service}"),
            _ => self.of_repair().unwrap_or_else(|| self.lvm_words().unwrap_or_default().join(" ")),
        }
    }

    /// Whether the steps behind it wait for what it finds: the plan is made anew.
    pub fn decides(&self) -> bool {
        matches!(self, Step::Examine { .. } | Step::BuildMetadata { .. })
    }

    /// What is lost by it, for the question.
    pub fn destroys(&self) -> Option<String> {
        match self {
            Step::Teardown(step) => step.destroys(),
            Step::Volume(step) => step.destroys(),
            Step::WipeDevice { device, found } => Some(format!("{} on {device}", found.join(", "))),
            Step::CreateGroup { devices, .. } | Step::ExtendGroup { devices, .. } => {
                Some(format!("everything on {}", devices.join(", ")))
            }
            Step::ConvertPool { pool, metadata, .. } => Some(format!("what {pool} and {}/{metadata} hold", pool.vg)),
            Step::WriteMetadata { pool, .. } => {
                Some(format!("the metadata of {pool} where it lies (its copy is kept)"))
            }
            Step::RemoveVolume { what, .. } => Some(what.clone()),
            Step::EndRepair { repair, keeps_old: false } => {
                Some(format!("the copies of the metadata of {}", repair.pool))
            }
            _ => None,
        }
    }
}
