//! dmtool beside Docker at work on the same pool. The other races are those of `make torture`, of which torture.rs runs some.

use super::docker::{ON_THE_POOL, import_busybox, start_docker, stop_docker};
use crate::harness::*;

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");

/// Containers come and go while three dmtools at a time look at the pool, grow it and change how it is.
#[test]
fn three_dmtools_beside_a_docker_that_makes_and_removes_containers() {
    boots(|machine| {
        machine.boot(|| {
            dmtool("setup /dev/xvdf --data 30%VG --yes").assert().success();
            start_docker(ON_THE_POOL);
            import_busybox();
            // Each writes, reads back what it wrote, and is removed: a volume made, mapped and given back each time.
            sh("cat > /run/containers <<'END'\nfor i in $(seq 1 4); do\n\
                /usr/bin/docker run --rm --network none busy sh -c 'dd if=/dev/urandom of=/f bs=64k count=32 conv=fsync 2>/dev/null; \
                cp /f /g 2>/dev/null || dd if=/f of=/g 2>/dev/null; md5sum /f | cut -c1-32 > /s; test \"$(cat /s)\" = \"$(md5sum /g | cut -c1-32)\"' || { echo \"container $i failed\"; exit 1; }\n\
                done\necho fine\nEND\n(sh /run/containers > /run/containers.said 2>&1; touch /run/containers.over) > /dev/null 2>&1 &");
            let mut rounds = 0;
            while !try_sh("test -e /run/containers.over").0 {
                let said = sh(&format!(
                    "for words in 'resize +32M docker/thinpool' 'volume list docker/thinpool --exact' 'status --json' \
                     'volume orphans docker/thinpool' 'metadata check docker/thinpool' 'discards docker/thinpool'; do \
                     (timeout 300 {DMTOOL} --lock-timeout 120 $words > /run/said.$$.\"${{words%% *}}\" 2>&1 < /dev/null; echo \"$? $words\") & \
                     [ \"${{words%% *}}\" != status ] || wait; done; wait"
                ));
                let bad: Vec<&str> = said.lines().filter(|line| !line.starts_with("0 ") && !line.starts_with("3 ")).collect();
                assert!(bad.is_empty(), "{bad:?}: {}", sh("tail -n 5 /run/said.*"));
                let grew = said.lines().any(|line| line.starts_with("0 resize"));
                assert!(grew, "{said}: {}", sh("cat /run/said.*resize"));
                rounds += 1;
                assert!(rounds < 60, "the containers do not end: {}", sh("cat /run/containers.said"));
            }
            assert_eq!(sh("cat /run/containers.said"), "fine");
            assert!(rounds >= 1, "{rounds}");
            // Nothing of ours is left in the pool, and Docker and the kernel agree on what is there.
            let status = sh("dmsetup status docker-thinpool");
            assert!(status.contains(" - rw ") && status.contains(" queue_if_no_space - "), "{status}");
            let (code, value) = json("volume orphans docker/thinpool");
            assert_eq!(code, 0, "{value:#}");
            assert!(value["orphans"].as_array().is_none_or(Vec::is_empty), "{value:#}");
            stop_docker();
            dmtool("metadata check docker/thinpool").assert().success();
        });
    });
}
