//! device-mapper's ioctls, through the raw calls of the `devicemapper` crate: its own thin-pool type wants linear
//! devices underneath and refuses status words that real pools have.

use anyhow::{Context, Result, anyhow, bail};
use devicemapper::{DM, DevId, DeviceInfo, DmError, DmFlags, DmName, DmOptions, DmUdevFlags, DmUuid};
use serde::{Deserialize, Serialize};
use std::fs::File;

/// What the uuid of a device begins with that dmtool made.
pub const OURS: &str = "DMTOOL-";
/// As [`OURS`], of one that a process looks through; its number follows, as behind the name of that device.
const LOOK: &str = "DMTOOL-look-";
pub const LOOK_NAME: &str = "dmtool-look-";
/// udev looks for nothing on it.
const SILENCE: DmUdevFlags = DmUdevFlags::DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG
    .union(DmUdevFlags::DM_UDEV_DISABLE_DISK_RULES_FLAG)
    .union(DmUdevFlags::DM_UDEV_DISABLE_OTHER_RULES_FLAG);

/// One line of a table or of a status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub start: u64,
    pub length: u64,
    pub kind: String,
    pub params: String,
}

/// A device as DM_TABLE_STATUS tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    pub uuid: String,
    pub major: u32,
    pub minor: u32,
    pub suspended: bool,
    pub read_only: bool,
    pub live_table: bool,
    pub inactive_table: bool,
    pub open_count: i32,
    pub targets: Vec<Target>,
}

/// The name and number of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub major: u32,
    pub minor: u32,
}

/// The control node, open.
pub struct Control(DM);

/// What a DM_TABLE_STATUS shall tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Table,
    /// Status without a flush: a flush commits metadata and can hang on a sick pool.
    Status,
    /// The table that was loaded and not swapped in yet.
    Inactive,
}

/// A stretch of a device, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub device: (u32, u32),
    pub start: u64,
    pub length: u64,
}

impl Control {
    /// # Errors
    /// Not root, or no device-mapper in the kernel.
    pub fn open() -> Result<Control> {
        DM::new()
            .map(Control)
            .map_err(|why| plain(&why))
            .context("opening device-mapper's control node /dev/mapper/control")
    }

    /// Every device, in the kernel's order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let devices = self.0.list_devices().map_err(|why| plain(&why)).context("listing device-mapper devices")?;
        Ok(devices
            .into_iter()
            .map(|(name, device, _)| Entry { name: name.to_string(), major: device.major, minor: device.minor })
            .collect())
    }

    /// The table or the status of one device.
    ///
    /// # Errors
    /// The kernel's, such as a device that is gone by now.
    pub fn look(&self, name: &str, ask: Ask) -> Result<Device> {
        let (what, flags) = match ask {
            Ask::Table => ("table", DmFlags::DM_STATUS_TABLE),
            Ask::Status => ("status", DmFlags::DM_NOFLUSH),
            Ask::Inactive => ("inactive table", DmFlags::DM_STATUS_TABLE | DmFlags::DM_QUERY_INACTIVE_TABLE),
        };
        let context = || format!("reading the {what} of {name}");
        let id = DmName::new(name).map_err(|why| plain(&why)).with_context(context)?;
        let (info, targets) = self
            .0
            .table_status(&DevId::Name(id), DmOptions::default().set_flags(flags))
            .map_err(|why| plain(&why))
            .with_context(context)?;
        Ok(device(name, &info, targets))
    }

    /// As [`Control::look`]; none where the device is not there. One that goes and comes back meanwhile is looked at again:
    /// Docker takes a container's down, and brings it up to discard what is on it.
    ///
    /// # Errors
    /// It is there, and cannot be looked at.
    pub fn look_if_there(&self, name: &str, ask: Ask) -> Result<Option<Device>> {
        let mut again = 0..5;
        loop {
            match self.look(name, ask) {
                Ok(device) => return Ok(Some(device)),
                Err(_) if self.list()?.iter().all(|entry| entry.name != name) => return Ok(None),
                Err(why) if again.next().is_none() => return Err(why),
                Err(_) => {}
            }
        }
    }

    /// Loads a table of one target; it waits to be swapped in.
    ///
    /// # Errors
    /// The kernel's: what the target's own check says is in its log.
    pub fn load(&self, name: &str, target: &Target) -> Result<()> {
        let line = (target.start, target.length, target.kind.clone(), target.params.clone());
        on(name, "loading a table into", |id| self.0.table_load(id, &[line], DmOptions::default()).map(drop))
    }

    /// Swaps in the table that waits, where there is one, and lets the device run. Without a flush and a freeze: the
    /// pool's volumes carry the file systems, and a full pool would be waited for without end.
    ///
    /// # Errors
    /// The kernel's; the device is suspended then.
    pub fn resume(&self, name: &str) -> Result<()> {
        let flags = DmFlags::DM_NOFLUSH | DmFlags::DM_SKIP_LOCKFS;
        on(name, "resuming", |id| self.0.device_suspend(id, DmOptions::default().set_flags(flags)).map(drop))
    }

    /// Has a device stand still: what was written to it is waited for, and a file system on it is frozen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn suspend(&self, name: &str) -> Result<()> {
        let flags = DmFlags::DM_SUSPEND;
        on(name, "suspending", |id| self.0.device_suspend(id, DmOptions::default().set_flags(flags)).map(drop))
    }

    /// Removes a thin volume from its pool; whether it was there.
    ///
    /// # Errors
    /// The kernel's, such as that its device is there.
    pub fn delete_thin(&self, pool: &str, thin_id: u64) -> Result<bool> {
        let context = || format!("deleting the volume {thin_id} of {pool}");
        let id = DmName::new(pool).map_err(|why| plain(&why)).with_context(context)?;
        match self.0.target_msg(&DevId::Name(id), None, &format!("delete {thin_id}")) {
            Ok(_) => self.wrote_down(pool).with_context(context).map(|()| true),
            Err(why) if why.to_string().contains("ENODATA") => Ok(false),
            Err(why) => Err(plain(&why)).with_context(context),
        }
    }

    /// A pool says that a message was done before it commits, and not that it could not: then it is read-only from there on,
    /// marked to be checked, and as it was before the message (dm-thin.c, `pool_message`, `abort_transaction`).
    fn wrote_down(&self, pool: &str) -> Result<()> {
        let device = self.look(pool, Ask::Status)?;
        let words = device.targets.first().map(|target| target.params.as_str()).unwrap_or_default();
        if words.split(' ').any(|word| ["ro", "needs_check", "Fail"].contains(&word)) {
            bail!("{pool} could not write that down");
        }
        Ok(())
    }

    /// Makes a device of one target and lets it run; one that fails on the way is taken away again. With `quiet` udev
    /// makes its node, and looks for nothing on it: a thin pool shows the bytes of its data device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(&self, name: &str, target: &Target, quiet: bool) -> Result<()> {
        let context = || format!("making the device {name}");
        let dm_name = DmName::new(name).map_err(|why| plain(&why)).with_context(context)?;
        let flags = if quiet { SILENCE } else { DmUdevFlags::empty() };
        let options = || DmOptions::default().set_udev_flags(flags);
        // A long name has no room for a mark of ours before it (DM_UUID_LEN in linux/dm-ioctl.h is 129).
        let uuid = format!("{OURS}{name}");
        let uuid = DmUuid::new(&uuid).ok();
        let id = DevId::Name(dm_name);
        // What a run left that was killed between the next call and the last.
        let left = self
            .look(name, Ask::Table)
            .is_ok_and(|left| left.uuid.starts_with(OURS) && !left.live_table && left.open_count == 0);
        if left {
            self.remove(name)?;
        }
        self.0.device_create(dm_name, uuid, options()).map_err(|why| plain(&why)).with_context(context)?;
        let line = (target.start, target.length, target.kind.clone(), target.params.clone());
        let made = self.0.table_load(&id, &[line], options()).and_then(|_| self.0.device_suspend(&id, options()));
        let Err(why) = made else { return Ok(()) };
        let why = Err(plain(&why)).with_context(context);
        match self.remove(name) {
            Ok(()) => why,
            Err(worse) => why.with_context(|| format!("the device {name} is left without a table ({worse:#})")),
        }
    }

    /// Takes a device out of the kernel.
    ///
    /// # Errors
    /// The kernel's, such as that it is in use.
    pub fn remove(&self, name: &str) -> Result<()> {
        on(name, "removing the device", |id| self.0.device_remove(id, DmOptions::default()).map(drop))
    }

    /// Says something to the target of a device (thin-provisioning.rst, "Pool messages"); whether it was new: what is
    /// there already (EEXIST) is no error here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn message(&self, name: &str, message: &str) -> Result<bool> {
        let context = || format!("saying '{message}' to {name}");
        let id = DmName::new(name).map_err(|why| plain(&why)).with_context(context)?;
        match self.0.target_msg(&DevId::Name(id), None, message) {
            Ok(_) => self.wrote_down(name).with_context(context).map(|()| true),
            Err(why) if why.to_string().contains("EEXIST") => Ok(false),
            Err(why) => Err(plain(&why)).with_context(context),
        }
    }

    /// Drops the table that waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self, name: &str) -> Result<()> {
        on(name, "clearing the waiting table of", |id| self.0.table_clear(id).map(drop))
    }

    /// A read-only device over these stretches, open, and gone when it is closed, however this process ends; one that is
    /// killed before it opened it leaves it ([`left_by_a_look`]).
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_only(&self, stretches: &[Stretch]) -> Result<File> {
        let process = std::process::id();
        let (name, uuid) = (format!("{LOOK_NAME}{process}"), format!("{LOOK}{process}"));
        let context = || format!("making the read-only device {name}");
        let name = DmName::new(&name).map_err(|why| plain(&why)).with_context(context)?;
        let uuid = DmUuid::new(&uuid).map_err(|why| plain(&why)).with_context(context)?;
        let id = DevId::Name(name);
        let quiet = DmUdevFlags::DM_UDEV_DISABLE_DM_RULES_FLAG | SILENCE;
        let options = |flags| DmOptions::default().set_flags(flags).set_udev_flags(quiet);
        let mut table = Vec::new();
        let mut at = 0_u64;
        for stretch in stretches {
            let (major, minor) = stretch.device;
            let params = format!("{major}:{minor} {}", stretch.start);
            table.push((at, stretch.length, "linear".to_owned(), params));
            at = at.checked_add(stretch.length).with_context(context)?;
        }
        // Left by a run that was killed between making it and opening it.
        let _ = self.0.device_remove(&id, options(DmFlags::DM_DEFERRED_REMOVE));
        let device = self.0.device_create(name, Some(uuid), options(DmFlags::DM_READONLY));
        let device = device.map_err(|why| plain(&why)).with_context(context)?.device();
        let opened = self
            .0
            .table_load(&id, &table, options(DmFlags::DM_READONLY))
            .and_then(|_| self.0.device_suspend(&id, options(DmFlags::empty())))
            .map_err(|why| plain(&why))
            .and_then(|_| {
                let node = super::block::kernel_name(device.major, device.minor).context("it is not in sysfs")?;
                Ok(File::open(format!("/dev/{node}"))?)
            })
            .with_context(context);
        let remove = || self.0.device_remove(&id, options(DmFlags::DM_DEFERRED_REMOVE));
        if let Err(why) = remove() {
            // Whoever is told that nothing was changed shall not find it.
            drop(opened);
            let _ = remove();
            return Err(plain(&why)).with_context(context);
        }
        opened
    }

    /// The targets that the kernel knows now; modules not loaded are not among them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn target_names(&self) -> Result<Vec<String>> {
        let versions = self.0.list_versions().map_err(|why| plain(&why)).context("listing device-mapper's targets")?;
        Ok(versions.into_iter().map(|(name, ..)| name).collect())
    }
}

/// Of a device that a process looks through: whether that has ended and left it. None of any other.
pub fn left_by_a_look(device: &Device) -> Option<bool> {
    let process: u32 = device.uuid.strip_prefix(LOOK)?.parse().ok()?;
    Some(device.open_count == 0 && !std::path::Path::new(&format!("/proc/{process}")).exists())
}

/// The kernel's word for what went wrong; the crate puts its own headers around it.
fn plain(error: &DmError) -> anyhow::Error {
    match error {
        DmError::Core(core) => match std::error::Error::source(core) {
            Some(source) => anyhow!("{source}"),
            None => anyhow!("{core}"),
        },
        DmError::Dm(..) => anyhow!("{error}"),
    }
}

fn on(name: &str, what: &str, act: impl FnOnce(&DevId<'_>) -> devicemapper::DmResult<()>) -> Result<()> {
    let context = || format!("{what} {name}");
    let id = DmName::new(name).map_err(|why| plain(&why)).with_context(context)?;
    act(&DevId::Name(id)).map_err(|why| plain(&why)).with_context(context)
}

fn device(name: &str, info: &DeviceInfo, targets: Vec<(u64, u64, String, String)>) -> Device {
    let flags = info.flags();
    Device {
        name: name.to_owned(),
        uuid: info.uuid().map(ToString::to_string).unwrap_or_default(),
        major: info.device().major,
        minor: info.device().minor,
        suspended: flags.contains(DmFlags::DM_SUSPEND),
        read_only: flags.contains(DmFlags::DM_READONLY),
        live_table: flags.contains(DmFlags::DM_ACTIVE_PRESENT),
        inactive_table: flags.contains(DmFlags::DM_INACTIVE_PRESENT),
        open_count: info.open_count(),
        targets: targets
            .into_iter()
            .map(|(start, length, kind, params)| Target { start, length, kind, params })
            .collect(),
    }
}
