//! Plans from facts, compared whole.

use super::*;
use crate::observe::Unseen;
use crate::observe::device::{Device, Partition, What};
use crate::observe::lvm::{LvRow, PvRow};
use crate::observe::pools::{Kind, Live, LvmSide};
use crate::observe::profile::Profile;
use crate::observe::striping::Striping;
use crate::observe::thin::parse_pool_table;
use crate::sys::blkid::Signature;
use crate::units::{GIB, Sectors, parse_amount};

fn request() -> Request {
    Request {
        pool: LvmName::parse("docker/thinpool").expect("a name"),
        data: parse_amount("95%VG").expect("an amount"),
        metadata: parse_amount("1%VG").expect("an amount"),
        chunk: None,
        threshold: None,
        percent: None,
        autoextend: true,
        zero: false,
        wipe: false,
        adopt: false,
    }
}

fn device(path: &str, minor: u32) -> Device {
    Device {
        path: path.to_owned(),
        major: 98,
        minor,
        size: Bytes(4 * GIB),
        read_only: false,
        minimum_io: 512,
        optimal_io: 0,
        links: Vec::new(),
        uses: Ok(Vec::new()),
        partitions: Ok(Vec::new()),
        signatures: Ok(Vec::new()),
        free: Ok(true),
        begun: false,
    }
}

fn facts(devices: Vec<Device>) -> Facts {
    let named = |device: Device| Named { given: device.path.clone(), is: Ok(What::Device(Box::new(device))) };
    Facts {
        devices: devices.into_iter().map(named).collect(),
        lvm: Ok(Lvm::default()),
        metadata_device: None,
        halves: Vec::new(),
        pool: Ok(None),
        profile: Ok(Slot::default()),
        dmeventd: Ok(Dmeventd::NotRunning),
        names: Ok(BTreeSet::new()),
    }
}

fn blank() -> Facts {
    facts(vec![device("/dev/sdb", 16)])
}

fn pv(name: &str, minor: u64, vg: &str) -> PvRow {
    let in_group = !vg.is_empty();
    PvRow {
        pv_uuid: String::new(),
        pe_start: 1 << 20,
        pv_name: name.to_owned(),
        pv_major: 98,
        pv_minor: minor,
        pv_missing: String::new(),
        pv_in_use: String::new(),
        pv_pe_count: if in_group { 1023 } else { 0 },
        pv_pe_alloc_count: 0,
        vg_name: vg.to_owned(),
        vg_uuid: String::new(),
        vg_partial: String::new(),
        vg_exported: String::new(),
        vg_extent_size: if in_group { 4 << 20 } else { 0 },
        vg_extent_count: if in_group { 1023 } else { 0 },
        vg_free_count: if in_group { 1023 } else { 0 },
    }
}

fn lv(name: &str, segtype: &str) -> LvRow {
    let row = serde_json::json!({
        "vg_name": "docker", "lv_name": name, "lv_uuid": "", "lv_attr": "", "lv_layout": segtype, "lv_role": "",
        "lv_size": "4072669184", "segtype": segtype, "data_lv": "thinpool_tdata", "metadata_lv": "thinpool_tmeta",
        "pool_lv": "", "chunk_size": "524288", "zero": "", "discards": "passdown", "transaction_id": "0",
        "lv_profile": "docker-thinpool", "vg_profile": "", "seg_monitor": "monitored", "lv_active": "active",
        "lv_when_full": "queue", "lv_skip_activation": "", "devices": "", "vg_extent_size": "4194304",
        "vg_free_count": "32"
    });
    serde_json::from_value(row).expect("a row")
}

/// A host on which setup was run.
fn done() -> Facts {
    let mut facts = blank();
    let row = lv("thinpool", "thin-pool");
    let live = Live {
        dm_name: "docker-thinpool".to_owned(),
        major: 254,
        minor: 2,
        suspended: false,
        inactive_table: false,
        layer_empty: false,
        length: Sectors(7_954_432),
        table: parse_pool_table("254:0 254:1 1024 1553 1 skip_block_zeroing"),
        status: Err(Unseen("not needed".to_owned())),
        volumes: Ok(0),
        failed_volumes: Ok(Vec::new()),
        holders: Ok(Vec::new()),
        thin: Vec::new(),
        data: Err(Unseen("not needed".to_owned())),
        metadata: Err(Unseen("not needed".to_owned())),
    };
    let side = LvmSide {
        row: row.clone(),
        autoextend: Ok(DEFAULT),
        profile_missing: false,
        data_devices: Vec::new(),
        metadata_devices: Vec::new(),
        metadata_size: Bytes(40 << 20),
        striping: Striping::NONE,
        active_components: Vec::new(),
    };
    facts.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdb", 16, "docker")], lvs: vec![row], ..Lvm::default() });
    facts.pool = Ok(Some(Pool {
        name: "docker/thinpool".to_owned(),
        kind: Kind::Lvm,
        live: Some(live),
        lvm: Some(side),
        broken: None,
        record: None,
    }));
    let profile = Profile { text: String::new(), threshold: Some(80), percent: Some(20), others: Vec::new() };
    facts.profile = Ok(Slot { profile: Some(profile), barred: None });
    facts
}

/// The plan as lines: `+` to be done, `=` done already.
fn lines(request: &Request, facts: &Facts) -> Vec<String> {
    let plan = plan(request, facts).expect("a plan");
    let line = |planned: &Planned| format!("{} {}", if planned.already { '=' } else { '+' }, planned.step.command());
    plan.steps.iter().map(line).collect()
}

fn reasons(request: &Request, facts: &Facts) -> Vec<String> {
    plan(request, facts).expect_err("a refusal").reasons
}

const CREATE: &str = "lvcreate --yes --type thin-pool --name thinpool --extents 971 --poolmetadatasize 40960k \
                      --chunksize 512k --zero n --metadataprofile docker-thinpool docker";
const PROFILE: &str = "write /etc/lvm/profile/docker-thinpool.profile (extend at 80% by 20%)";

#[test]
fn a_blank_disk() {
    let expected = ["+ vgcreate docker /dev/sdb".to_owned(), format!("+ {PROFILE}"), format!("+ {CREATE}")];
    assert_eq!(lines(&request(), &blank()), expected);
}

#[test]
fn everything_done() {
    let expected = [
        "= vgcreate docker /dev/sdb".to_owned(),
        format!("= {PROFILE}"),
        format!("= {CREATE}"),
        "= lvchange --metadataprofile docker-thinpool docker/thinpool".to_owned(),
        "= lvchange --refresh docker/thinpool".to_owned(),
        "= lvchange --monitor y docker/thinpool".to_owned(),
    ];
    assert_eq!(lines(&request(), &done()), expected);
}

#[test]
fn a_threshold_is_brought_down_to_the_table() {
    let lines = lines(&Request { threshold: Some(70), ..request() }, &done());
    let todo: Vec<&String> = lines.iter().filter(|line| line.starts_with('+')).collect();
    assert_eq!(
        todo,
        [
            "+ write /etc/lvm/profile/docker-thinpool.profile (extend at 70% by 20%)",
            "+ lvchange --refresh docker/thinpool"
        ]
    );
    let off = lines_todo(&Request { autoextend: false, ..request() }, &done());
    assert_eq!(
        off.first().map(String::as_str),
        Some("+ write /etc/lvm/profile/docker-thinpool.profile (extend at 100% by 20%)")
    );
}

fn lines_todo(request: &Request, facts: &Facts) -> Vec<String> {
    lines(request, facts).into_iter().filter(|line| line.starts_with('+')).collect()
}

#[test]
fn what_an_earlier_run_left_is_finished() {
    // A physical volume without a group: its own signature is no reason.
    let mut pv_only = blank();
    pv_only.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdb", 16, "")], ..Lvm::default() });
    with_device(&mut pv_only, |device| device.signatures = Ok(vec![signature("LVM2_member", false)]));
    assert_eq!(lines(&request(), &pv_only).len(), 3);
    // The group alone.
    let mut group_only = blank();
    group_only.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdb", 16, "docker")], ..Lvm::default() });
    assert_eq!(lines_todo(&request(), &group_only), [format!("+ {PROFILE}"), format!("+ {CREATE}")]);
    // A pool without profile, mark, monitoring.
    let mut by_hand = done();
    by_hand.profile = Ok(Slot::default());
    if let Ok(Some(Pool { live: Some(live), lvm: Some(lvm), .. })) = &mut by_hand.pool {
        live.table = parse_pool_table("254:0 254:1 1024 0 1 skip_block_zeroing");
        lvm.row.lv_profile.clear();
        lvm.row.seg_monitor = "not monitored".to_owned();
        lvm.autoextend = Ok(Autoextend { threshold: NEVER, percent: 20 });
    }
    let expected = [
        format!("+ {PROFILE}"),
        "+ lvchange --metadataprofile docker-thinpool docker/thinpool".to_owned(),
        "+ lvchange --refresh docker/thinpool".to_owned(),
        "+ lvchange --monitor y docker/thinpool".to_owned(),
    ];
    assert_eq!(lines_todo(&request(), &by_hand), expected);
    // Its profile is attached, and the file of that is lost; what it says cannot be read is not taken for that.
    let attached = |settings: Looked<Autoextend>, missing: bool| {
        let mut facts = by_hand.clone();
        if let Ok(Some(Pool { lvm: Some(lvm), .. })) = &mut facts.pool {
            lvm.row.lv_profile = "docker-thinpool".to_owned();
            lvm.profile_missing = missing;
            lvm.autoextend = settings;
        }
        facts
    };
    let lost = attached(Ok(Autoextend { threshold: NEVER, percent: 20 }), true);
    assert_eq!(lines_todo(&request(), &lost), [&expected[0], &expected[2], &expected[3]].map(Clone::clone));
    let unseen = reasons(&request(), &attached(Err(Unseen("the look failed".to_owned())), false));
    assert!(unseen.concat().contains("the look failed"), "{unseen:?}");
    // A pool that is down.
    let mut inactive = done();
    if let Ok(Some(pool)) = &mut inactive.pool {
        pool.live = None;
    }
    assert_eq!(lines_todo(&request(), &inactive), ["+ lvchange --activate y docker/thinpool"]);
    // A part of it that a killed command left active.
    if let Ok(Some(Pool { lvm: Some(lvm), .. })) = &mut inactive.pool {
        lvm.active_components = vec!["thinpool_tmeta".to_owned()];
    }
    let expected = ["+ lvchange --activate n docker/thinpool_tmeta", "+ lvchange --activate y docker/thinpool"];
    assert_eq!(lines_todo(&request(), &inactive), expected);
}

#[test]
fn the_halves_of_a_manual_setup_are_converted() {
    let looked_at = |name: &str| {
        let path = format!("/dev/mapper/docker-{name}");
        Named { given: path.clone(), is: Ok(What::Device(Box::new(device(&path, 99)))) }
    };
    let mut group = blank();
    let free = PvRow { vg_free_count: 1023 - 971, pv_pe_alloc_count: 971, ..pv("/dev/sdb", 16, "docker") };
    let by_hand = LvRow { lv_profile: String::new(), ..lv("thinpool", "linear") };
    group.lvm = Ok(Lvm { pvs: vec![free.clone()], lvs: vec![by_hand], ..Lvm::default() });
    group.halves = vec![looked_at("thinpool")];
    // LVM was cut off while it zeroed what becomes the metadata: that has the profile, and its size.
    let mut cut_off = group.clone();
    let zeroed = LvRow { lv_size: 40 << 20, ..lv("thinpool", "linear") };
    let free = PvRow { vg_free_count: 1013, pv_pe_alloc_count: 10, ..free };
    cut_off.lvm = Ok(Lvm { pvs: vec![free], lvs: vec![zeroed], ..Lvm::default() });
    assert!(lines(&request(), &cut_off).contains(&"+ lvextend --extents 971 docker/thinpool".to_owned()));
    cut_off.halves = Vec::new();
    assert!(lines(&request(), &cut_off).contains(&"+ lvextend --extents 971 docker/thinpool".to_owned()));
    let expected = [
        "= vgcreate docker /dev/sdb".to_owned(),
        format!("+ {PROFILE}"),
        "= lvcreate --yes --wipesignatures y --name thinpool --extents 971 docker".to_owned(),
        "+ lvcreate --yes --wipesignatures y --name thinpoolmeta --extents 10 docker".to_owned(),
        "+ lvconvert --yes --zero n --chunksize 512k --thinpool docker/thinpool --poolmetadata docker/thinpoolmeta"
            .to_owned(),
        "+ lvchange --metadataprofile docker-thinpool docker/thinpool".to_owned(),
        "+ lvchange --refresh docker/thinpool".to_owned(),
    ];
    assert_eq!(lines(&request(), &group), expected);
    // A signature in it: somebody's data. Not active: nobody can tell.
    let mut theirs = Facts { halves: vec![looked_at("thinpool")], ..group.clone() };
    if let Some(Named { is: Ok(What::Device(device)), .. }) = theirs.halves.first_mut() {
        device.signatures = Ok(vec![signature("ext4", false)]);
    }
    assert!(reasons(&request(), &theirs).concat().contains("It is somebody's data."));
    let inactive = Facts { halves: Vec::new(), ..group };
    assert!(reasons(&request(), &inactive).concat().contains("could not be looked at: it is not active."));
}

fn with_device(facts: &mut Facts, change: impl FnOnce(&mut Device)) {
    if let Some(Named { is: Ok(What::Device(device)), .. }) = facts.devices.first_mut() {
        change(device);
    }
}

fn signature(kind: &str, partition_table: bool) -> Signature {
    Signature { kind: kind.to_owned(), label: None, uuid: None, partition_table, damaged: false }
}

#[test]
fn everything_that_protects_data_is_listed_at_once() {
    let mut facts = blank();
    with_device(&mut facts, |device| {
        device.read_only = true;
        device.uses = Ok(vec!["is mounted on /srv".to_owned()]);
        device.free = Ok(false);
        device.signatures = Ok(vec![signature("gpt", true), signature("ext4", false)]);
        device.partitions = Ok(vec![Partition {
            path: "/dev/sdb1".to_owned(),
            major: 98,
            minor: 17,
            size: Bytes(GIB),
            uses: vec!["is in use as swap".to_owned()],
            signatures: Ok(Vec::new()),
        }]);
    });
    let expected = [
        "/dev/sdb is read-only.",
        "/dev/sdb is mounted on /srv.",
        "/dev/sdb1, a partition of /dev/sdb, is in use as swap.",
        "/dev/sdb has a partition table (gpt: /dev/sdb1 1 GiB).",
        "/dev/sdb carries a signature: ext4.",
    ];
    assert_eq!(reasons(&request(), &facts), expected);
    // --wipe covers the signatures, never a use.
    assert_eq!(reasons(&Request { wipe: true, ..request() }, &facts), expected[..3]);
    // Nor another group, whether anything of it is up or not.
    let wiped = |row: PvRow| {
        let mut facts = Facts { lvm: Ok(Lvm { pvs: vec![row], ..Lvm::default() }), ..facts.clone() };
        with_device(&mut facts, |device| {
            *device = Device { read_only: false, uses: Ok(Vec::new()), free: Ok(true), ..device.clone() };
            device.partitions.iter_mut().flatten().for_each(|partition| partition.uses.clear());
        });
        plan(&Request { wipe: true, ..request() }, &facts).map_or_else(|refusal| refusal.reasons, |_| Vec::new())
    };
    let in_theirs = "/dev/sdb1, a partition of /dev/sdb, is a physical volume of the volume group theirs, which --wipe \
                     does not cover.";
    assert_eq!(wiped(pv("/dev/sdb1", 17, "theirs")), [in_theirs]);
    let stranded = wiped(PvRow { pv_in_use: "used".to_owned(), ..pv("/dev/sdb1", 17, "") });
    assert!(stranded.concat().starts_with("/dev/sdb1, a partition of /dev/sdb, is marked by LVM"), "{stranded:?}");
    assert_eq!(wiped(pv("/dev/sdb1", 17, "")), [""; 0]);
}

#[test]
fn what_could_not_be_looked_at_is_never_fine() {
    let unseen = || Unseen("the look failed".to_owned());
    let changes: [fn(&mut Device, Unseen); 4] = [
        |device, why| device.uses = Err(why),
        |device, why| device.partitions = Err(why),
        |device, why| device.signatures = Err(why),
        |device, why| device.free = Err(why),
    ];
    for change in changes {
        let mut facts = blank();
        with_device(&mut facts, |device| change(device, unseen()));
        let reasons = reasons(&Request { wipe: true, ..request() }, &facts);
        assert!(reasons.iter().any(|reason| reason.contains("the look failed")), "{reasons:?}");
    }
    for facts in [
        Facts { lvm: Err(unseen()), ..blank() },
        Facts { pool: Err(unseen()), ..blank() },
        Facts { profile: Err(unseen()), ..blank() },
    ] {
        assert_eq!(reasons(&request(), &facts), ["Could not look: the look failed."]);
    }
}

#[test]
fn groups_of_others_are_left_alone() {
    let wipe = Request { wipe: true, ..request() };
    let mut theirs = blank();
    theirs.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdb", 16, "srv")], ..Lvm::default() });
    assert_eq!(
        reasons(&wipe, &theirs),
        ["/dev/sdb is a physical volume of the volume group srv, which --wipe does not cover."]
    );
    let mut taken = blank();
    taken.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdc", 32, "docker")], ..Lvm::default() });
    assert_eq!(reasons(&wipe, &taken), ["The volume group docker exists already, on /dev/sdc."]);
    let mut partial = done();
    partial
        .devices
        .push(Named { given: "/dev/sdc".to_owned(), is: Ok(What::Device(Box::new(device("/dev/sdc", 32)))) });
    assert_eq!(reasons(&request(), &partial), ["/dev/sdc is not in the volume group docker, which is on /dev/sdb."]);
}

#[test]
fn wiping_is_a_step_that_says_what_is_lost() {
    let mut facts = blank();
    // Nor what LVM has a label on and passes over, whosever it is; a damaged label is nobody's.
    let passed_over = |on_the_disk: bool, damaged: bool| {
        let mut facts = blank();
        let label = Signature { damaged, ..signature("LVM2_member", false) };
        with_device(&mut facts, |device| {
            let (disk, part) = if on_the_disk { (vec![label.clone()], vec![]) } else { (vec![], vec![label.clone()]) };
            let partition = Partition {
                path: "/dev/sdb1".to_owned(),
                major: 98,
                minor: 17,
                size: Bytes(GIB),
                uses: Vec::new(),
                signatures: Ok(part),
            };
            (device.signatures, device.partitions) = (Ok(disk), Ok(vec![partition]));
        });
        plan(&Request { wipe: true, ..request() }, &facts).map_or_else(|refusal| refusal.reasons, |_| Vec::new())
    };
    for (on_the_disk, called) in [(true, "/dev/sdb"), (false, "/dev/sdb1, a partition of /dev/sdb,")] {
        assert!(
            passed_over(on_the_disk, false)
                .concat()
                .starts_with(&format!("{called} is a physical volume that LVM passes over"))
        );
        assert_eq!(passed_over(on_the_disk, true), Vec::<String>::new());
    }
    with_device(&mut facts, |device| device.signatures = Ok(vec![signature("xfs", false)]));
    let request = Request { wipe: true, ..request() };
    assert_eq!(lines(&request, &facts).first().map(String::as_str), Some("+ wipefs --all /dev/sdb"));
    let plan = plan(&request, &facts).expect("a plan");
    assert_eq!(plan.steps.first().and_then(|planned| planned.step.destroys()), Some("xfs on /dev/sdb".to_owned()));
}

#[test]
fn a_physical_volume_of_the_group_is_never_wiped() {
    // wipefs would take LVM's label too, and with it every volume in the group.
    let mut facts = blank();
    facts.lvm = Ok(Lvm { pvs: vec![pv("/dev/sdb", 16, "docker")], ..Lvm::default() });
    with_device(&mut facts, |device| {
        device.signatures = Ok(vec![signature("LVM2_member", false), signature("xfs", false)]);
    });
    let lines = lines(&Request { wipe: true, ..request() }, &facts);
    assert!(lines.iter().all(|line| !line.contains("wipefs")), "{lines:?}");
}

#[test]
fn a_profile_with_other_settings_is_not_rewritten() {
    let mut facts = done();
    if let Ok(Slot { profile: Some(profile), .. }) = &mut facts.profile {
        profile.others = vec!["allocation/thin_pool_zero".to_owned()];
    }
    assert_eq!(plan(&request(), &facts).map(|plan| plan.nothing_to_do()), Ok(true));
    let reasons = reasons(&Request { threshold: Some(70), ..request() }, &facts);
    assert!(reasons.iter().any(|reason| reason.contains("also sets allocation/thin_pool_zero")), "{reasons:?}");
}

/// Found by a write that failed inside vgextend: LVM refuses such a disk, and dmtool failed in the middle.
#[test]
fn a_disk_that_lvm_marked_for_a_group_that_is_nowhere() {
    let mut facts = blank();
    let mut pv = pv("/dev/sdb", 16, "");
    pv.pv_in_use = "used".to_owned();
    facts.lvm = Ok(Lvm { pvs: vec![pv], ..Lvm::default() });
    let refused = reasons(&Request { wipe: true, ..request() }, &facts);
    assert_eq!(refused, ["/dev/sdb is marked by LVM as part of a volume group whose metadata is not there."]);
    // Written down by a run of ours before LVM marked it.
    if let Ok(What::Device(device)) = &mut facts.devices[0].is {
        device.begun = true;
    }
    assert_eq!(lines(&request(), &facts)[0], "+ pvremove --force --force --yes /dev/sdb");
}

/// Found by a failed ioctl inside lvcreate: each run after it failed in the middle.
#[test]
fn a_device_that_lvm_left_is_said_before_the_first_write() {
    let left = Facts { names: Ok(["docker-thinpool".to_owned()].into()), ..blank() };
    let refusal = plan(&request(), &left).expect_err("a refusal");
    assert_eq!(refusal.reasons, ["The device docker-thinpool is in the kernel, and LVM knows no volume of that name."]);
    assert!(refusal.hint.is_some_and(|hint| hint.ends_with("dmsetup remove docker-thinpool")));
    let up = Facts { names: Ok(["docker-thinpool".to_owned()].into()), ..done() };
    assert_eq!(plan(&request(), &up).map(|plan| plan.nothing_to_do()), Ok(true));
}

#[test]
fn a_profile_that_cannot_be_written_is_said_before_the_first_write() {
    let barred = |mut facts: Facts| {
        if let Ok(slot) = &mut facts.profile {
            slot.barred = Some("it is a symlink, so it is left alone.".to_owned());
        }
        facts
    };
    assert_eq!(reasons(&request(), &barred(blank())), ["it is a symlink, so it is left alone."]);
    // Where it stands as it should, nothing is written.
    assert_eq!(plan(&request(), &barred(done())).map(|plan| plan.nothing_to_do()), Ok(true));
}
