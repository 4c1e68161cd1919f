//! LVM killed while it makes a volume: its books are ahead of the pool then, and LVM itself may never make one there again.
//! dmtool finishes it.

use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// Runs an LVM command that is killed at a message to the pool, by its number among these; whether it came that far.
fn killed_at_message(command: &str, number: usize) {
    let trace = "strace -f -qq -o /run/trace -e trace=ioctl";
    sh("pgrep -x dmeventd >/dev/null || dmeventd");
    // Each run makes the same calls.
    sh(&format!("{trace} {command} >/dev/null 2>&1"));
    let name = command.split(" -n ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a name");
    sh(&format!("lvremove -qq -f vg/{name}"));
    let at = sh(&format!("grep -n DM_TARGET_MSG /run/trace | sed -n {number}p | cut -d: -f1"));
    try_sh(&format!("{trace} -e inject=ioctl:signal=KILL:when={at} {command} >/dev/null 2>&1"));
    assert!(sh("tail -n 3 /run/trace").contains("killed by SIGKILL"));
    sh("rm -rf /run/lock/lvm; udevadm settle");
}

fn pool() {
    sh(
        "vgcreate -qq -s 1m vg /dev/xvdi && lvcreate -qq --type thin-pool -L 200m --poolmetadatasize 4m -c 64k -n pool vg && \
        lvcreate -qq -V 64m -T vg/pool -n kept 2>/dev/null && \
        dd if=/dev/urandom of=/dev/vg/kept bs=64k count=16 oflag=direct status=none && md5sum < /dev/vg/kept > /run/sum",
    );
}

#[track_caller]
fn all_well() {
    assert_eq!(sh("md5sum < /dev/vg/kept"), sh("cat /run/sum"));
    let ids = "test $(dmsetup status vg-pool-tpool | cut -d' ' -f4) = $(lvs --noheadings -o transaction_id vg/pool)";
    assert!(try_sh(ids).0, "{} {}", sh("dmsetup status vg-pool-tpool"), sh("lvs -a -o+transaction_id vg"));
    assert!(!sh("dmsetup info -c --noheadings -o suspended").contains("Suspended"));
}

const CREATE: &str = "lvcreate -qq -V 48m -T vg/pool -n web";
const SNAPSHOT: &str = "lvcreate -qq -s -kn -n web vg/kept";

/// The first message makes the volume, the second tells the id of the transaction.
fn half_told(command: &str, words: &str, number: usize) {
    killed_at_message(command, number);
    // LVM is one ahead.
    let (status, value) = json("check");
    assert_eq!(status, 2, "{value:#}");
    assert!(value["findings"].to_string().contains("transaction-mismatch"), "{value:#}");
    dmtool(words).assert().success();
    all_well();
    dmtool(words).assert().success().stdout(contains("nothing was changed"));
    dmtool("volume remove vg/pool web --yes").assert().success();
    all_well();
}

#[test]
fn a_volume_that_the_pool_never_got() {
    in_kernel(|| {
        pool();
        half_told(CREATE, "volume create vg/pool web 48M", 1);
    });
}

#[test]
fn a_volume_that_the_pool_has_and_lvm_does_not_believe() {
    in_kernel(|| {
        pool();
        half_told(CREATE, "volume create vg/pool web 48M", 2);
        // Another one is made there, and the one that was cut off comes with it.
        killed_at_message(CREATE, 2);
        dmtool("volume create vg/pool other 16M").assert().success();
        all_well();
        sh("lvchange -qq -ay vg/web && test $(blockdev --getsize64 /dev/vg/web) = 50331648");
        dmtool("volume remove vg/pool web other --yes").assert().success();
        // Or it is removed.
        killed_at_message(CREATE, 2);
        dmtool("volume remove vg/pool web --yes").assert().success();
        all_well();
        assert_eq!(sh("lvs --noheadings -o lv_name vg"), "kept\n  pool");
    });
}

#[test]
fn a_snapshot_that_the_pool_has_and_lvm_does_not_believe() {
    in_kernel(|| {
        pool();
        for number in [1, 2] {
            // Its origin may stand still: whether on purpose, LVM's own command leaves nothing to tell.
            killed_at_message(SNAPSHOT, number);
            if sh("dmsetup info -c --noheadings -o suspended vg-kept").contains("Suspended") {
                dmtool("volume snapshot vg/pool kept web").assert().code(3).stderr(contains("vg/kept is suspended"));
                sh("lvchange -qq --refresh vg/kept");
            }
            if number == 2 {
                let (made, _, said) = try_sh("lvcreate -V 8m -T vg/pool -n other");
                assert!(!made && said.contains("Manual intervention may be required"), "{said}");
            }
            dmtool("volume snapshot vg/pool kept web").assert().success();
            all_well();
            assert_eq!(sh("md5sum < /dev/vg/web"), sh("cat /run/sum"));
            dmtool("volume remove vg/pool web --yes").assert().success();
            all_well();
        }
    });
}

/// dmtool writes down what it has stand still, so that the next run lets that run again, and nothing of somebody else's.
#[test]
fn an_origin_that_a_killed_dmtool_left_standing() {
    in_kernel(|| {
        pool();
        sh("pgrep -x dmeventd >/dev/null || dmeventd");
        let dmtool_path = env!("CARGO_BIN_EXE_dmtool");
        let words = "volume snapshot vg/pool kept web";
        let mut stood = 0;
        sh(&format!("strace -f -qq -o /run/trace -e trace=ioctl {dmtool_path} {words} >/dev/null 2>&1"));
        dmtool("volume remove vg/pool web --yes").assert().success();
        // The thread that suspends, and the numbers of its calls from there on.
        let thread = sh("awk '/DM_DEV_SUSPEND/ {print $1; exit}' /run/trace");
        let first: usize = sh(&format!(
            "grep ^{thread} /run/trace | grep -n 'DM_DEV_SUSPEND.*DM_SUSPEND_FLAG' | head -n 1 | cut -d: -f1"
        ))
        .parse()
        .expect("a suspension");
        for after in [1, 4, 7] {
            try_sh(&format!(
                "strace -f -qq -o /run/trace -e trace=ioctl -e inject=ioctl:signal=KILL:when={} {dmtool_path} {words} >/dev/null 2>&1",
                first + after
            ));
            stood += u32::from(sh("dmsetup info -c --noheadings -o suspended vg-kept").contains("Suspended"));
            dmtool(words).assert().success();
            all_well();
            assert_eq!(sh("md5sum < /dev/vg/web; ls /var/lib/dmtool | grep begun || true"), sh("cat /run/sum"));
            dmtool("volume remove vg/pool web --yes").assert().success();
        }
        assert!(stood > 0, "none of the kills met it");
        // Somebody else's purpose.
        sh("dmsetup suspend vg-kept");
        dmtool(words).assert().code(3).stderr(contains("vg/kept is suspended").and(contains("lvchange --refresh")));
        sh("dmsetup resume vg-kept");
    });
}
