//! Debian's Docker 20.10 on pools that dmtool made.

use crate::harness::*;

/// Starts dockerd with its data on the second disk and waits until it answers.
fn start_docker(options: &str) {
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
        assert!(up || tries < 290, "{}", sh("tail -n 20 /run/dockerd.log"));
        up
    });
}

fn import_busybox() {
    sh("mkdir -p /run/image/bin && cp /bin/busybox /run/image/bin && \
        for name in sh dd md5sum cat; do ln -sf busybox /run/image/bin/$name; done && \
        tar -C /run/image -c . | /usr/bin/docker import - busy >/dev/null");
}

/// An orderly end of dockerd, as a power-off would bring.
fn stop_docker() {
    sh("pkill -x dockerd; while pgrep -x dockerd >/dev/null; do sleep 0.1; done; sync; umount /var/lib/docker");
}

const ON_THE_POOL: &str = "--storage-opt dm.thinpooldev=/dev/mapper/docker-thinpool";

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
            let written = sh("/usr/bin/docker run --network none --name writer busy \
                              sh -c 'dd if=/dev/urandom of=/file bs=1M count=50 2>/dev/null; md5sum /file'");
            sh("/usr/bin/docker commit writer kept >/dev/null");
            let (_, value) = json("status docker/thinpool");
            let used = value["pools"][0]["data"]["used_bytes"].as_u64().expect("a number");
            assert!(used > 50 << 20, "{value:#}");
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
            start_docker(
                "--storage-opt dm.datadev=/dev/mapper/vg--docker-data --storage-opt dm.metadatadev=/dev/mapper/vg--docker-metadata",
            );
            import_busybox();
            assert_eq!(sh("/usr/bin/docker run --network none busy sh -c 'echo inside'"), "inside");
            let (_, value) = json("status");
            assert_eq!((&value["pools"][0]["kind"], &value["pools"][0]["mode"]), (&"raw".into(), &"rw".into()));
            assert!(value["pools"][0]["name"].as_str().is_some_and(|name| name.starts_with("docker-")), "{value:#}");
            stop_docker();
        });
    });
}
