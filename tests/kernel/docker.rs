//! Debian's Docker 20.10 on pools that dmtool made.

use crate::harness::metadata::{Metadata, Part};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;

/// Starts dockerd with its data on the second disk and waits until it answers.
pub fn start_docker(options: &str) {
    sh("mkdir -p /sys/fs/cgroup && mount -t tmpfs cgroup /sys/fs/cgroup && \
        for c in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do \
        mkdir -p /sys/fs/cgroup/$c && mount -t cgroup -o $c $c /sys/fs/cgroup/$c || true; done");
    sh(
        "blkid /dev/xvdg >/dev/null || mkfs.ext4 -q /dev/xvdg; mkdir -p /var/lib/docker && mount /dev/xvdg /var/lib/docker",
    );
    sh(&format!(
        "/usr/sbin/dockerd --storage-driver devicemapper {options} --storage-opt dm.use_deferred_removal=true \
         --storage-opt dm.use_deferred_deletion=true --iptables=false --bridge=none >/run/dockerd.log 2>&1 &"
    ));
    let mut tries = 0;
    wait_until("dockerd answers", || {
        tries += 1;
        let (up, ..) = try_sh("/usr/bin/docker info >/dev/null 2>&1");
        assert!(up || tries < 600, "{}", sh("tail -n 20 /run/dockerd.log"));
        up
    });
}

pub fn import_busybox() {
    std::fs::create_dir_all("/run/image/bin").expect("the image's folder");
    std::fs::write("/run/image/bin/work", WORK).expect("the writer's script");
    sh(
        "cp /bin/busybox /run/image/bin && for name in sh dd md5sum cat mkdir; do ln -sf busybox /run/image/bin/$name; done && \
        tar -C /run/image -c . | /usr/bin/docker import - busy >/dev/null",
    );
}

/// An orderly end of dockerd, as a power-off would bring.
pub fn stop_docker() {
    sh("pkill -x dockerd; while pgrep -x dockerd >/dev/null; do sleep 0.1; done; sync");
    // What it started may end after it.
    unmount("/var/lib/docker");
}

/// Writes files over and over, each with its sum, and verifies one of before each time, until it is told to stop; then
/// it verifies them all. A line for each round.
const WORK: &str = r#"
trap 'over=1' TERM
mkdir /files && cd /files || exit 9
round=0
while [ -z "$over" ]; do
    name=$(( round % 32 ))
    dd if=/dev/urandom of=$name bs=64k count=8 conv=fsync 2>/dev/null || { echo "cannot write"; exit 1; }
    md5sum $name > $name.sum || exit 2
    before=$(( round * 7 % 32 ))
    [ ! -e $before.sum ] || md5sum -c $before.sum >/dev/null || { echo "bad: $before"; exit 3; }
    round=$(( round + 1 ))
    echo "round $round"
done
for sum in *.sum; do
    md5sum -c $sum >/dev/null || { echo "bad: $sum"; exit 4; }
done
echo "all good"
"#;

const ON_TWO_VOLUMES: &str =
    "--storage-opt dm.datadev=/dev/mapper/vg--docker-data --storage-opt dm.metadatadev=/dev/mapper/vg--docker-metadata";
const ON_LOOP_FILES: &str = "--storage-opt dm.loopdatasize=2G --storage-opt dm.loopmetadatasize=64M";

pub const ON_THE_POOL: &str = "--storage-opt dm.thinpooldev=/dev/mapper/docker-thinpool";

#[test]
fn runs_a_container_before_and_after_a_reboot() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --yes").assert().success();
            start_docker(ON_THE_POOL);
            let info = sh("/usr/bin/docker info 2>/dev/null");
            assert!(info.contains("Storage Driver: devicemapper"), "{info}");
            assert!(info.contains("Pool Name: docker-thinpool"), "{info}");
            assert!(!info.contains("Data file: /dev/loop"), "{info}");
            import_busybox();
            a_container_is_in_the_way_of_a_repair();
            let written = sh("/usr/bin/docker run --network none --name writer busy \
                              sh -c 'dd if=/dev/urandom of=/file bs=1M count=50 2>/dev/null; md5sum /file'");
            sh("/usr/bin/docker commit writer kept >/dev/null");
            let (_, value) = json("status docker/thinpool");
            let used = value["pools"][0]["data"]["used_bytes"].as_u64().expect("a number");
            assert!(used > 50 << 20, "{value:#}");
            // No container runs, and Docker holds nothing of its pool.
            dmtool("deactivate").assert().code(3).stderr(contains("Docker runs and is configured for"));
            stop_docker();
            sh(&format!("mount /dev/xvdg /mnt && echo '{written}' > /mnt/sum-of-the-test && umount /mnt"));
        });
        machine.boot(|| {
            // What a host keeps in /etc.
            sh("cp profiles/thinpool.profile /etc/lvm/profile/docker-thinpool.profile");
            dmtool("activate").assert().success();
            start_docker(ON_THE_POOL);
            let read = sh("/usr/bin/docker run --network none kept md5sum /file");
            assert_eq!(read, sh("cat /var/lib/docker/sum-of-the-test"));
            let (_, value) = json("status docker/thinpool");
            assert!(value["pools"][0]["transaction_id"].as_u64().is_some_and(|id| id > 0), "{value:#}");
            stop_docker();
        });
    });
}

#[test]
fn starts_on_two_volumes() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --two-volumes --yes").assert().success();
            start_docker(ON_TWO_VOLUMES);
            import_busybox();
            assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
            let (_, value) = json("status");
            assert_eq!((&value["pools"][0]["kind"], &value["pools"][0]["mode"]), (&"raw".into(), &"rw".into()));
            assert!(value["pools"][0]["name"].as_str().is_some_and(|name| name.starts_with("docker-")), "{value:#}");
            sh("/usr/bin/docker run --network none --name writer busy sh -c 'echo kept > /kept' && /usr/bin/docker commit writer kept");
            stop_docker();
            // Docker takes its pool down; what brings it back is Docker's configuration.
            assert_eq!(json("status").1["pools"].as_array().map(Vec::len), Some(0));
        });
        machine.boot(|| {
            sh("mkdir -p /var/lib/docker && mount /dev/xvdg /var/lib/docker && vgchange -qq -ay vg-docker");
            dmtool("activate").assert().code(3).stderr(contains("there is no pool on this host"));
            sh(r#"mkdir -p /etc/docker && echo '{"storage-opts": ["dm.datadev=/dev/mapper/vg--docker-data", "dm.metadatadev=/dev/mapper/vg--docker-metadata"]}' > /etc/docker/daemon.json"#);
            let (status, value) = json("activate --all");
            assert_eq!((status, &value["changed"]), (0, &true.into()), "{value:#}");
            assert_eq!(json("activate --all").1["changed"], false);
            let table = sh("dmsetup table | grep thin-pool");
            repair_dockers_own();
            // Options may not stand in the file and on the command line both.
            sh("umount /var/lib/docker; rm /etc/docker/daemon.json");
            start_docker(ON_TWO_VOLUMES);
            assert_eq!(sh("dmsetup table | grep thin-pool"), table, "Docker takes the pool as its own");
            assert_eq!(sh("/usr/bin/docker run --network none kept cat /kept"), "kept");
            dmtool("deactivate").assert().code(3).stderr(contains("Docker runs").and(contains("is Docker's own pool")));
            stop_docker();
        });
    });
}

/// Docker's pool on two volumes is in no register, and is repaired all the same: its superblock is damaged.
fn repair_dockers_own() {
    let pool = json("status").1["pools"][0]["name"].as_str().expect("a name").to_owned();
    let transaction = json("status").1["pools"][0]["transaction_id"].clone();
    // As Docker does when it ends.
    sh(&format!("dmsetup remove --retry '{pool}'"));
    dmtool(&format!("metadata check {pool}")).assert().success().stdout(contains("is clean"));
    // Nothing of the first block is left to tell chunk or transaction.
    sh("dd if=/dev/zero of=/dev/mapper/vg--docker-metadata bs=4k count=1 oflag=direct status=none");
    dmtool(&format!("metadata check {pool}")).assert().code(3).stderr(contains("or it was wiped"));
    // Cut off on its way, it is found again and finished, whatever the first block is by then.
    for number in [2, 4, 6, 8] {
        try_sh(&format!(
            "strace -f -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when={number} {} repair {pool} --yes > /dev/null 2>&1",
            env!("CARGO_BIN_EXE_dmtool")
        ));
    }
    let (status, value) = json(&format!("repair {pool} --yes"));
    assert_eq!(status, 0, "{value:#}");
    let volumes = value["repair"]["volumes"].to_string();
    assert!(volumes.contains("docker:") && value["warnings"].to_string().contains("superblock"), "{value:#}");
    dmtool("activate --all").assert().success();
    assert_eq!(json("status").1["pools"][0]["transaction_id"], transaction);
    dmtool(&format!("repair {pool} --accept --yes")).assert().success();
}

/// A sick pool with a container on it: which one must be stopped is said by name.
fn a_container_is_in_the_way_of_a_repair() {
    sh("/usr/bin/docker run --detach --network none --name idle busy sh -c 'dd if=/dev/zero of=/dev/null' >/dev/null");
    let table = sh("dmsetup table docker-thinpool");
    let swap = |table: &str| {
        sh(&format!(
            "dmsetup load docker-thinpool --table '{table}' && dmsetup suspend --nolockfs --noflush docker-thinpool && \
             dmsetup resume docker-thinpool"
        ))
    };
    let mut words: Vec<String> = table.split(' ').map(str::to_owned).collect();
    let features: u32 = words[7].parse().expect("a count of features");
    words[7] = (features + 1).to_string();
    words.push("read_only".to_owned());
    swap(&words.join(" "));
    dmtool("repair docker/thinpool --yes")
        .assert()
        .code(3)
        .stderr(contains("Containers that run: idle").and(contains("nothing was changed")));
    swap(&table);
    sh("/usr/bin/docker rm --force idle >/dev/null");
}

/// Has a container write and verify all the time while dmtool resizes what Docker runs on; what `docker info` must say
/// after each.
fn a_container_works_on(options: &str, resizes: &[(&str, &str)]) {
    start_docker(options);
    import_busybox();
    sh("/usr/bin/docker run --detach --network none --name writer busy sh /bin/work");
    let rounds =
        || -> usize { sh("cat /var/lib/docker/containers/*/*-json.log | wc -l").parse().expect("a count of rounds") };
    let goes_on = || {
        let before = rounds();
        wait_until("the container goes on", || rounds() >= before + 4);
    };
    goes_on();
    for (words, total) in resizes {
        dmtool(&format!("resize {words}")).assert().success();
        goes_on();
        let info = sh("/usr/bin/docker info 2>/dev/null");
        assert!(info.contains(total), "{total} after resize {words}: {info}");
    }
    // It reads what is on the disk.
    sh("sync; echo 3 > /proc/sys/vm/drop_caches");
    sh("/usr/bin/docker stop --time 60 writer");
    assert_eq!(sh("/usr/bin/docker inspect --format '{{.State.ExitCode}}' writer"), "0", "{}", last_words());
    assert!(last_words().ends_with("all good"), "{}", last_words());
    assert!(!sh("dmesg").contains("I/O error"));
    stop_docker();
}

fn last_words() -> String {
    sh("/usr/bin/docker logs --tail 3 writer 2>&1")
}

#[test]
fn a_container_works_on_while_a_pool_of_lvm_grows() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --data 25%VG --yes").assert().success();
            a_container_works_on(
                ON_THE_POOL,
                &[
                    ("2G docker/thinpool", "Data Space Total: 2.147GB"),
                    ("--metadata 64M docker/thinpool", "Metadata Space Total: 67.11MB"),
                    ("max", "Data Space Total: 4.1"),
                ],
            );
        });
    });
}

#[test]
fn a_container_works_on_while_files_grow() {
    boots(|machine| {
        machine.boot(|| {
            a_container_works_on(
                ON_LOOP_FILES,
                &[
                    ("3G", "Data Space Total: 3.221GB"),
                    ("--metadata 128M", "Metadata Space Total: 134.2MB"),
                    ("+1G --metadata +64M", "Data Space Total: 4.295GB"),
                ],
            );
            // Docker makes its pool anew when it starts, and does not insist on the size that it was told.
            start_docker(ON_LOOP_FILES);
            let info = sh("/usr/bin/docker info 2>/dev/null");
            assert!(info.contains("Data Space Total: 4.295GB"), "{info}");
            sh("/usr/bin/docker start --attach writer 2>&1 | grep -q 'File exists'");
            let pool = sh("/usr/bin/docker info 2>/dev/null | sed -n 's/.*Pool Name: //p'");
            stop_docker();
            // Docker took its pool and its loop devices down; what it left is repaired.
            sh("mount /dev/xvdg /var/lib/docker");
            dmtool("activate --all").assert().success();
            assert_eq!(sh("losetup"), "", "the files are Docker's to bring up");
            let metadata = Metadata::of("/var/lib/docker/devicemapper/devicemapper/metadata");
            dmtool(&format!("metadata check {pool}")).assert().success().stdout(contains("is clean"));
            metadata.damage(Part::DataMap);
            dmtool(&format!("metadata check {pool}")).assert().code(1);
            dmtool(&format!("repair {pool} --yes")).assert().success().stdout(contains("systemctl start docker"));
            dmtool(&format!("metadata check {pool}")).assert().success();
            assert_eq!(sh("losetup"), "", "no loop device is left");
            sh("umount /var/lib/docker");
            start_docker(ON_LOOP_FILES);
            sh("/usr/bin/docker start --attach writer 2>&1 | grep -q 'File exists'");
            dmtool(&format!("repair {pool} --accept --yes")).assert().success();
            // Marked to be checked, with a Docker that runs and would bring it up.
            sh(&format!("dmsetup remove --retry '{pool}'"));
            metadata.mark();
            dmtool(&format!("repair {pool} --yes")).assert().code(3).stderr(contains("Docker runs"));
            stop_docker();
            sh("mount /dev/xvdg /var/lib/docker");
            dmtool(&format!("repair {pool} --yes")).assert().success().stdout(contains("systemctl start docker"));
            let check = json(&format!("metadata check {pool}"));
            assert_eq!((check.0, &check.1["needs_check"]), (0, &false.into()), "{:#}", check.1);
            assert_eq!(sh("losetup; ls /var/lib/dmtool/pools 2>/dev/null || true"), "", "all that is Docker's");
            sh("umount /var/lib/docker");
            start_docker(ON_LOOP_FILES);
            sh("/usr/bin/docker start --attach writer 2>&1 | grep -q 'File exists'");
            stop_docker();
        });
    });
}

#[test]
fn a_container_works_on_while_two_volumes_grow() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --two-volumes --data 30%VG --metadata 64M --yes").assert().success();
            a_container_works_on(
                ON_TWO_VOLUMES,
                &[("2G", "Data Space Total: 2.147GB"), ("--metadata 128M", "Metadata Space Total: 134.2MB")],
            );
        });
    });
}
