//! From a blank disk to a Docker that answers: by dmtool, by the documented procedure, and by Docker's own automation
//! (dm.directlvm_device).

use super::table::{ANY, Column, Row, compare, script};
use super::{DMTOOL, setup};
use crate::harness::{sh, try_sh};

/// dockerd until it answers, with its storage options.
fn started(options: &str) -> String {
    format!(
        "/usr/sbin/dockerd {options} --iptables=false --bridge=none >/run/dockerd.log 2>&1 &
until /usr/bin/docker info >/run/docker.info 2>/dev/null; do sleep 0.05; done
grep -q 'Pool Name: docker-thinpool' /run/docker.info"
    )
}

pub fn answers() -> Vec<Row> {
    sh("mkdir -p /sys/fs/cgroup && mount -t tmpfs cgroup /sys/fs/cgroup && \
        for c in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups); do \
        mkdir -p /sys/fs/cgroup/$c && mount -t cgroup -o $c $c /sys/fs/cgroup/$c || true; done; \
        mkfs.ext4 -qF /dev/xvdg; mkdir -p /var/lib/docker; mount /dev/xvdg /var/lib/docker");
    let ours = script("docker-by-dmtool", &format!("{DMTOOL} setup /dev/xvdf --for docker --yes\n{}", started("")));
    let documented = script(
        "docker-as-documented",
        &format!(
            "sh {}/tests/recipe.sh /dev/xvdf
mkdir -p /etc/docker
cat > /etc/docker/daemon.json <<'END'
{{ \"storage-driver\": \"devicemapper\", \"storage-opts\": [ \"dm.thinpooldev=/dev/mapper/docker-thinpool\",
  \"dm.use_deferred_removal=true\", \"dm.use_deferred_deletion=true\" ] }}
END
{}",
            env!("CARGO_MANIFEST_DIR"),
            started("")
        ),
    );
    let itself = script(
        "docker-by-itself",
        &started(
            "--storage-driver devicemapper --storage-opt dm.directlvm_device=/dev/xvdf \
             --storage-opt dm.use_deferred_removal=true --storage-opt dm.use_deferred_deletion=true",
        ),
    );
    let row = compare(
        "from a blank disk to a Docker that answers",
        3,
        &ours,
        &[
            (Column::Documented, "eleven steps, an editor, dockerd", &documented, ANY),
            (Column::Docker, "dm.directlvm_device", &itself, ANY),
        ],
        gone,
    );
    gone();
    sh("umount /var/lib/docker; wipefs -qa /dev/xvdg");
    vec![row]
}

/// Docker ended, and nothing of it left.
fn gone() {
    try_sh("pkill -x dockerd; while pgrep -x dockerd >/dev/null; do sleep 0.05; done; pkill -x containerd");
    try_sh(
        "umount -a -t ext4 -O no 2>/dev/null; for d in $(dmsetup ls | awk '/^docker-[0-9]/ {print $1}'); do dmsetup remove --retry \"$d\"; done",
    );
    sh(
        "rm -rf /var/lib/docker/* /etc/docker /run/docker /var/run/docker.pid; rm -f /etc/lvm/profile/docker-thinpool.profile",
    );
    setup::blank();
}
