//! `dmtool setup`: a production thin pool on a disk.

use super::configure;
use super::loop_pool::LoopPool;
use super::setup_for::{For, Makes};
use super::two_volumes::TwoVolumes;
use super::{Globals, Verb, drive};
use crate::exit::Problem;
use crate::names::{DmName, LvName, LvmName, VgName, dm_escape};
use crate::observe::pools::{self, Kind, Pool};
use crate::observe::profile::Autoextend;
use crate::observe::{Host, Looked, device, greet_running_dmeventd, host, looked, lvm, profile, standing};
use crate::plan::Plan;
use crate::plan::configure::Target;
use crate::plan::halves::metadata_name;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::setup::{Facts, Request, plan};
use crate::plan::{loop_pool, two_volumes};
use crate::report::{json, page};
use crate::units::{Amount, Bytes, GIB, KIB, parse_amount, parse_size};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// Make a thin pool on one or more disks
///
/// Makes a volume group on the devices, a thin pool in it, an autoextend profile that the kernel's table carries,
/// and has dmeventd watch it. Run again it finishes what an earlier run, or somebody by hand, left half-done, and
/// changes nothing where everything is done.
///
/// Everything on the devices is lost, so a device that is in use, belongs to a volume group, or carries any
/// signature is refused; --wipe covers signatures and unused partitions, nothing else.
///
/// With --loop there is no disk: two sparse files on loop devices carry the pool, which dmtool activate brings back
/// after a boot. Slower, and for testing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Disks or partitions for the pool
    #[arg(required_unless_present_any = ["adopt", "loop_pool"], value_name = "DEVICE")]
    devices: Vec<String>,
    /// Volume group and name of the pool; with --two-volumes a volume group,
    /// with --loop a name [default: docker/thinpool, vg-docker, or loop]
    #[arg(long, value_name = "VG/LV")]
    pool: Option<String>,
    /// Make the pool on two sparse files instead of on disks: for testing
    #[arg(long = "loop", conflicts_with_all = ["devices", "two_volumes", "adopt", "metadata_device", "wait",
        "autoextend_threshold", "autoextend_percent", "no_autoextend", "wipe"])]
    loop_pool: bool,
    /// Where --loop puts the files [default: /var/lib/dmtool/NAME]
    #[arg(long, value_name = "DIR", requires = "loop_pool")]
    dir: Option<String>,
    /// Make the volumes data and metadata for a pool of Docker's own instead
    #[arg(long, conflicts_with_all = ["adopt", "metadata_device", "chunk_size", "autoextend_threshold",
        "autoextend_percent", "no_autoextend", "zero"])]
    two_volumes: bool,
    /// Make the pool in the free space of this volume group instead of on disks
    #[arg(long, value_name = "VG", value_parser = VgName::new, conflicts_with_all = ["devices", "metadata_device", "wipe"])]
    adopt: Option<VgName>,
    /// A disk for the metadata alone, a faster one
    #[arg(long, value_name = "DEVICE")]
    metadata_device: Option<String>,
    /// Put it into the configuration of Docker or containerd, too, as dmtool configure does
    #[arg(long = "for", value_name = "CONSUMER")]
    consumer: Option<Consumer>,
    /// Restart Docker or containerd then, and see that it runs on the pool
    #[arg(long, requires = "consumer")]
    restart: bool,
    /// Wait this long for the devices to appear
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
    /// Size of the data: a share of the group or a size
    /// [default: 95%VG, or 100G with --loop]
    #[arg(long, value_name = "SIZE", value_parser = parse_amount)]
    data: Option<Amount>,
    /// Size of the metadata; the group's spare takes as much again
    /// [default: 1%VG, or 2G with --loop]
    #[arg(long, value_name = "SIZE", value_parser = parse_amount)]
    metadata: Option<Amount>,
    /// Size of a chunk, the pool's unit: a multiple of 64K up to 1G
    /// [default: 512K, or 64K with --loop]
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk)]
    chunk_size: Option<Bytes>,
    /// Extend the pool when it is this full, in percent, 50 to 100; 100 means never [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(50..=100))]
    autoextend_threshold: Option<u64>,
    /// Extend it by this share of its size, in percent [default: 20]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    autoextend_percent: Option<u64>,
    /// Do not extend the pool by itself (a threshold of 100)
    #[arg(long, conflicts_with_all = ["autoextend_threshold", "autoextend_percent"])]
    no_autoextend: bool,
    /// Zero each new chunk before it is used
    #[arg(long)]
    zero: bool,
    /// Take signatures and unused partitions off the devices
    #[arg(long)]
    wipe: bool,
}

/// Who is to use the pool.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Consumer {
    Docker,
    Containerd,
}

/// A setup by itself, or with the configuration of who is to use it.
fn drive_for<S: Makes>(
    setup: S,
    name: String,
    consumer: Option<Consumer>,
    restart: bool,
    globals: &Globals,
) -> Result<(), Problem> {
    match consumer {
        None => drive(&setup, globals),
        Some(Consumer::Docker) => drive(&For { setup, configure: configure::Docker::plain(name, restart) }, globals),
        Some(Consumer::Containerd) => {
            drive(&For { setup, configure: configure::Containerd::plain(name, restart) }, globals)
        }
    }
}

/// The documented shares of the group.
const DATA: Amount = Amount::PercentOfGroup(95);
const METADATA: Amount = Amount::PercentOfGroup(1);

/// Multiples of 64 KiB from 64 KiB to 1 GiB (lvmthin(7), "Chunk size").
fn parse_chunk(text: &str) -> Result<Bytes, String> {
    let chunk = parse_size(text)?;
    let smallest = 64 * KIB;
    if chunk.0.is_multiple_of(smallest) && (smallest..=GIB).contains(&chunk.0) {
        Ok(chunk)
    } else {
        Err(format!("'{text}' is no chunk size: it must be a multiple of 64K, from 64K to 1G"))
    }
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    let (consumer, restart) = (args.consumer, args.restart);
    let limit = Duration::from_secs(u64::from(args.wait));
    if args.two_volumes {
        let two = two_volumes(args).map_err(|why| super::usage(globals, "setup", why))?;
        device::wait_for(two.devices.iter(), limit);
        let data = format!("{}/{}", two.request.vg, two.request.data_lv);
        return drive_for(two, data, consumer, restart, globals);
    }
    if args.loop_pool {
        let pool = loop_pool(args).map_err(|why| super::usage(globals, "setup", why))?;
        let name = pool.request.name.to_string();
        return drive_for(pool, name, consumer, restart, globals);
    }
    let pool = pool_name(&args).map_err(|why| super::usage(globals, "setup", why))?;
    let setup = Setup {
        request: Request {
            pool,
            data: args.data.unwrap_or(DATA),
            metadata: args.metadata.unwrap_or(METADATA),
            chunk: args.chunk_size,
            threshold: args.autoextend_threshold,
            percent: args.autoextend_percent,
            autoextend: !args.no_autoextend,
            zero: args.zero,
            wipe: args.wipe,
            adopt: args.adopt.is_some(),
        },
        devices: args.devices,
        metadata_device: args.metadata_device,
    };
    device::wait_for(setup.devices.iter().chain(&setup.metadata_device), limit);
    let name = setup.request.pool.to_string();
    drive_for(setup, name, consumer, restart, globals)
}

/// docker/thinpool, or thinpool in the group that is adopted.
fn pool_name(args: &Args) -> Result<LvmName, String> {
    let Some(name) = &args.pool else {
        let vg = args.adopt.as_ref().map_or("docker", VgName::as_str);
        return LvmName::parse(&format!("{vg}/thinpool"));
    };
    let pool = LvmName::parse(name)?;
    match &args.adopt {
        Some(vg) if pool.vg != *vg => Err(format!("--pool {pool} is not in the volume group {vg} that --adopt names")),
        _ => Ok(pool),
    }
}

fn loop_pool(args: Args) -> Result<LoopPool, String> {
    let name = DmName::new(args.pool.as_deref().unwrap_or("loop"))?;
    let size = |what: &str, amount: Option<Amount>| match amount {
        None => Ok(None),
        Some(Amount::Bytes(bytes)) => Ok(Some(bytes)),
        Some(share) => Err(format!("--{what} {share} is a share of a volume group, and --loop has none: give a size")),
    };
    let plain = |dir: &String| dir.starts_with('/') && !dir.split('/').any(|part| part == "..");
    if args.dir.as_ref().is_some_and(|dir| !plain(dir)) {
        return Err("--dir needs a whole path, beginning with a slash, without ..".to_owned());
    }
    Ok(LoopPool {
        request: loop_pool::Request {
            dir: args.dir.map(|dir| standing::resolved(&dir)),
            data: size("data", args.data)?,
            metadata: size("metadata", args.metadata)?,
            chunk: args.chunk_size,
            zero: args.zero,
            name,
        },
    })
}

fn two_volumes(args: Args) -> Result<TwoVolumes, String> {
    Ok(TwoVolumes {
        request: two_volumes::Request {
            vg: VgName::new(args.pool.as_deref().unwrap_or("vg-docker"))?,
            data_lv: LvName::new("data")?,
            metadata_lv: LvName::new("metadata")?,
            data: args.data.unwrap_or(DATA),
            metadata: args.metadata.unwrap_or(METADATA),
            wipe: args.wipe,
        },
        devices: args.devices,
    })
}

struct Setup {
    request: Request,
    devices: Vec<String>,
    metadata_device: Option<String>,
}

impl Setup {
    /// The volumes that a manual setup leaves before it converts them, where there are such.
    fn halves(&self, lvm: &lvm::Lvm) -> Vec<device::Named> {
        let vg = self.request.pool.vg.as_str();
        [self.request.pool.lv.to_string(), metadata_name(&self.request.pool)]
            .iter()
            .filter(|name| lvm.lv(vg, name).is_some_and(|row| row.segtype != "thin-pool"))
            .map(|name| device::look(&format!("/dev/mapper/{}", dm_escape(vg, name))))
            .collect()
    }

    fn find(&self, active: Looked<Vec<Pool>>, lvm: &Looked<lvm::Lvm>) -> Looked<Option<Pool>> {
        let name = self.request.pool.to_string();
        Ok(pools::joined(active, lvm)?.into_iter().find(|pool| pool.name == name))
    }
}

impl Verb for Setup {
    type Facts = Facts;
    const NAME: &'static str = "setup";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        let needs = Needs { lvm2: true, dmeventd: true, thin_check: true };
        preflight::check(Self::NAME, &host::abilities(), needs)
    }

    fn observe(&self, host: &mut Host) -> Facts {
        host.named = self.devices.iter().chain(&self.metadata_device).cloned().collect();
        let devices: Vec<_> = self.devices.iter().map(|given| device::look(given)).collect();
        let active = looked(host.active_pools());
        let dmeventd = active.as_ref().map_err(Clone::clone).and_then(|active| greet_running_dmeventd(active));
        // One that does not answer LVM would take for one that does not watch.
        host.dmeventd.clone_from(&dmeventd);
        let lvm = lvm::look_before_a_group_is_made(host);
        Facts {
            dmeventd,
            pool: self.find(active, &lvm),
            devices,
            metadata_device: self.metadata_device.as_deref().map(device::look),
            halves: lvm.as_ref().map(|lvm| self.halves(lvm)).unwrap_or_default(),
            lvm,
            profile: profile::slot(&self.request.pool.dm_name()),
            names: device::dm_names(),
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    /// A pool in use changes its figures all the time; the devices must not.
    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        (&before.devices, &before.metadata_device, &before.halves) == (&now.devices, &now.metadata_device, &now.halves)
    }

    fn heading(&self) -> String {
        if self.request.adopt {
            return format!("Setup of the thin pool {} in what is free of its group:", self.request.pool);
        }
        format!("Setup of the thin pool {} on {}:", self.request.pool, self.devices.join(", "))
    }

    fn pool(&self, facts: &Facts) -> Value {
        match &facts.pool {
            Ok(Some(pool)) => json::pool(pool),
            _ => Value::Null,
        }
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let Ok(Some(pool)) = &facts.pool else { return String::new() };
        let verb = if changed { "is ready" } else { "was set up already, nothing was changed" };
        let size = pool.live.as_ref().map_or(Bytes(0), |live| live.length.bytes());
        let state = match page::state(pool).as_str() {
            "ok" => "active".to_owned(),
            sick => format!("but its state is {sick}"),
        };
        let mut text = format!("{} {verb}: {size}, {state}, monitored", pool.name);
        if let Some(Ok(settings)) = pool.lvm.as_ref().map(|lvm| &lvm.autoextend) {
            if settings.threshold >= profile::NEVER {
                text.push_str(", not extended by itself");
            } else {
                let _ = write!(text, ", extended at {}% by {}%", settings.threshold, settings.percent);
            }
        }
        text + "."
    }

    fn advice(&self, facts: &Facts) -> Vec<String> {
        let Ok(Some(pool @ Pool { lvm: Some(lvm), name, .. })) = &facts.pool else { return Vec::new() };
        let vg = &lvm.row.vg_name;
        let mut advice = Vec::new();
        // LVM makes it last, so that a command cut off has none; and it has no command to make one later.
        if facts.lvm.as_ref().is_ok_and(|known| known.spare(vg) == Bytes(0)) {
            advice.push(format!(
                "{vg} has no spare metadata volume, which lvconvert --repair would need: dmtool repair {name} makes do \
                 without"
            ));
        }
        let full = |settings: &Autoextend| {
            settings.threshold < profile::NEVER && lvm.extensions_left(pool.figures(), *settings) == 0
        };
        if lvm.autoextend.as_ref().is_ok_and(full) {
            advice.push(format!(
                "{vg} has no room for an extension of {name}: add a disk when it fills up \
                 (dmtool resize {name} --add-device DEV), or make it smaller from the start (--data 75%VG)"
            ));
        }
        advice
    }
}

impl Makes for Setup {
    fn makes<'a>(&self, facts: &'a Facts) -> Option<Target<'a>> {
        let name = &self.request.pool;
        match facts.pool.as_ref().ok()? {
            Some(pool) => pool.live.is_some().then_some(Target::Pool(pool)),
            None => Some(Target::NewPool { name: name.to_string(), dm_name: name.dm_name(), kind: Kind::Lvm }),
        }
    }
}
