//! `examples/ansible`, run as it lies there by Debian's ansible-core.

use super::configure::{OTHERS, read, unmask, write};
use crate::harness::*;
use predicates::prelude::*;
use predicates::str::contains;
use std::process::Command;

const INVENTORY: &str = "/run/ansible/hosts.yml";

/// What a run of ansible came to: its recap and all that it said.
#[derive(Debug)]
struct Play {
    ok: bool,
    changed: u32,
    failed: u32,
    text: String,
}

impl Play {
    /// Ended well, with so many tasks that changed something, or would.
    #[track_caller]
    fn changed(self, changed: u32) -> Play {
        assert_eq!((self.ok, self.changed, self.failed), (true, changed, 0), "{}", self.text);
        self
    }

    #[track_caller]
    fn fails(self) -> Play {
        assert_eq!((self.ok, self.changed, self.failed), (false, 0, 1), "{}", self.text);
        self
    }

    #[track_caller]
    fn says(self, what: &impl Predicate<str>) -> Play {
        assert!(what.eval(&self.text), "{what} is not in\n{}", self.text);
        self
    }
}

/// The inventory of this one host, with what the role is told.
fn inventory(variables: &str) {
    let own = format!(
        "ansible_connection: local, ansible_become: false, ansible_python_interpreter: /usr/bin/python3, \
         dmtool_pool_binary: {}",
        env!("CARGO_BIN_EXE_dmtool")
    );
    sh("mkdir -p /run/ansible");
    std::fs::write(INVENTORY, format!("thinpools: {{hosts: {{here: {{{own}, {variables}}}}}}}\n"))
        .expect("the inventory");
}

fn play(words: &str) -> Play {
    let output = Command::new("ansible-playbook")
        .args(["-i", INVENTORY])
        .args(words.split_whitespace())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ansible"))
        // The folder's own is not taken where everybody may write to the folder.
        .env("ANSIBLE_CONFIG", "ansible.cfg")
        .env("ANSIBLE_HOME", "/run/ansible")
        .env("ANSIBLE_REMOTE_TEMP", "/run/ansible/tmp")
        // Fewer processes: each is slow in a guest.
        .env("ANSIBLE_PIPELINING", "1")
        .output()
        .expect("running ansible-playbook");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("ansible-playbook {words}\n{text}");
    let recap = text.lines().rfind(|line| line.starts_with("here ")).unwrap_or_default();
    let count = |what: &str| {
        let figure = recap.split_whitespace().find_map(|word| word.strip_prefix(what)).expect("a recap");
        figure.parse().expect("a number")
    };
    Play { ok: output.status.success(), changed: count("changed="), failed: count("failed="), text }
}

const POOL: &str = "dmtool_pool_devices: [/dev/xvdi], dmtool_pool_data: 50%VG";

/// What a run that changes nothing leaves as it was.
fn state() -> String {
    sh(
        "vgs --noheadings -o vg_seqno docker; stat -c %i:%Y /etc/lvm/profile/docker-thinpool.profile; dmsetup table docker-thinpool",
    )
}

#[test]
fn a_blank_host_is_predicted_made_and_left_alone() {
    in_kernel(|| {
        let blank = print_of("/dev/xvdi");
        inventory(POOL);
        play("site.yml --check")
            .changed(1)
            .says(&contains("planned: vgcreate docker /dev/xvdi").and(contains("docker/thinpool is not there yet")));
        assert_eq!(print_of("/dev/xvdi"), blank);
        assert_eq!(sh("vgs --noheadings; dmsetup ls; ls /etc/lvm/profile | grep docker || true"), "No devices found");

        play("site.yml").changed(1).says(&contains("done: vgcreate docker /dev/xvdi"));
        assert_eq!(
            sh("lvs --noheadings --separator , -o lv_size,segtype,lv_profile,seg_monitor docker/thinpool"),
            "252.00m,thin-pool,docker-thinpool,monitored"
        );
        let before = state();
        play("site.yml").changed(0);
        play("site.yml --check").changed(0);
        assert_eq!(state(), before);
        sh("rm -r /run/ansible");
    });
}

#[test]
fn other_variables_change_it_once() {
    in_kernel(|| {
        dmtool("setup /dev/xvdi --data 50%VG --yes").assert().success();
        let before = state();
        let more = format!("{POOL}, dmtool_pool_autoextend_threshold: 70, dmtool_pool_added_devices: [/dev/xvdg]");
        inventory(&format!("{more}, dmtool_pool_size: 1GiB"));
        play("site.yml --check").changed(2).says(&contains("planned: vgextend docker /dev/xvdg"));
        assert_eq!(state(), before);
        play("site.yml").changed(2);
        assert_eq!(sh("lvs --noheadings -o lv_size docker/thinpool"), "1.00g");
        assert_eq!(sh("vgs --noheadings -o pv_count docker"), "2");
        assert!(sh("tr -d ' ' < /etc/lvm/profile/docker-thinpool.profile").contains("threshold=70"));
        let before = state();
        play("site.yml").changed(0);
        // A pool that is larger is none to complain about.
        inventory(&format!("{more}, dmtool_pool_size: 700m"));
        play("site.yml").changed(0);
        // The disk by a pattern; what is left out stays as it is.
        play("shell.yml -e dmtool_disks=/dev/xvd[i]").changed(0);
        assert_eq!(state(), before);
        sh("rm -r /run/ansible");
    });
}

#[test]
fn a_sick_pool_fails_the_look_at_it() {
    in_kernel(|| {
        inventory(POOL);
        play("shell.yml -e dmtool_disks=/dev/xvd[i]").changed(1);
        assert_eq!(sh("lvs --noheadings -o segtype docker/thinpool"), "thin-pool");
        play("check.yml").changed(0);
        sh("dmsetup suspend docker-thinpool");
        let sick = ["check.yml", "site.yml --tags check"].map(play);
        sh("dmsetup resume docker-thinpool");
        for play in sick {
            play.fails().says(&contains("critical pool-suspended").and(contains("hint: dmsetup resume")));
        }
        sh("rm -r /run/ansible");
    });
}

#[test]
fn what_dmtool_refuses_fails_the_play_with_its_reasons() {
    in_kernel(|| {
        sh("mkfs.ext4 -q /dev/xvdi");
        let before = print_of("/dev/xvdi");
        inventory("dmtool_pool_devices: [/dev/xvdi, /dev/xvdz]");
        for words in ["site.yml --check", "site.yml"] {
            play(words).fails().says(
                &contains("setup of docker/thinpool is refused, nothing was changed")
                    .and(contains("caused by: /dev/xvdi carries a signature: ext4"))
                    .and(contains("caused by: /dev/xvdz does not exist"))
                    .and(contains("hint: ")),
            );
        }
        assert_eq!(print_of("/dev/xvdi"), before);
        assert_eq!(sh("vgs --noheadings; dmsetup ls"), "No devices found");
        sh("rm -r /run/ansible");
    });
}

#[test]
fn docker_runs_on_it() {
    boots(|machine| {
        machine.outside(|| {
            // With the example's own inventory.
            let (home, folder) = (env!("CARGO_TARGET_TMPDIR"), "examples/ansible");
            sh(&format!(
                "cd {folder} && ANSIBLE_CONFIG=ansible.cfg ANSIBLE_HOME={home}/ansible \
                 ansible-playbook --syntax-check site.yml check.yml shell.yml"
            ));
        });
        machine.systemd("", || {
            unmask();
            write(OTHERS);
            inventory(
                "dmtool_pool_devices: [/dev/xvdf], dmtool_pool_docker: true, dmtool_pool_docker_restart: true, \
                 dmtool_pool_docker_base_size: 4G, dmtool_pool_docker_options: [dm.fs=ext4]",
            );
            // Of what is not there yet a check run knows nothing: the pool, and so Docker on it.
            play("site.yml --check").changed(1);
            assert_eq!((read().as_str(), sh("ls /etc/docker").as_str()), (OTHERS, "daemon.json"));
            play("site.yml --diff").changed(2).says(&contains("+   \"storage-driver\": \"devicemapper\""));
            let info = sh("/usr/bin/docker info 2>/dev/null");
            assert!(
                info.contains("Pool Name: docker-thinpool") && info.contains("Base Device Size: 4.295GB"),
                "{info}"
            );
            let state = || format!("{}{}", read(), sh("pgrep -x dockerd; ls /etc/docker"));
            let before = state();
            play("site.yml").changed(0);
            play("site.yml --check --diff -e dmtool_pool_docker_min_free_space=7")
                .changed(1)
                .says(&contains("dm.min_free_space=7%").and(contains("planned: systemctl restart docker")));
            assert_eq!(state(), before);
            sh("systemctl stop docker.socket docker");
            unmount("/var/lib/docker");
        });
    });
}
