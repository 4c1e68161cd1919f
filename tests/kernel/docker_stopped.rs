//! `dmtool configure docker` and `setup --for docker` where Docker does not run.

use crate::harness::*;

/// Docker is stopped, and its folder is the one that it is started with.
#[test]
fn what_a_stopped_docker_had_comes_back_as_it_is_said() {
    in_kernel(|| {
        sh(
            "mkdir -p /srv/docker/image/overlay2 && mv /etc/default/docker /run/ 2>/dev/null; echo 'DOCKER_OPTS=\"--data-root /srv/docker\"' > /etc/default/docker",
        );
        sh("echo theirs > /srv/docker/file; rm -f /etc/docker/daemon.json");
        dmtool("setup /dev/xvdf --yes").assert().success();
        let done = dmtool("configure docker docker/thinpool --move-data --yes").output().expect("an end");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{said} {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(sh("cat /srv/docker.bk/file"), "theirs");
        // Docker makes its folder anew, and fails.
        sh("mkdir /srv/docker && echo new > /srv/docker/file");
        let (_, back) = said.split_once("and go back: ").expect("the way back");
        sh(back);
        assert_eq!(
            sh("cat /srv/docker/file; cat /srv/docker.failed/file; ls /etc/docker 2>/dev/null || true"),
            "theirs\nnew"
        );
        sh(
            "rm -r /srv/docker /srv/docker.failed /etc/default/docker; mv /run/docker /etc/default/ 2>/dev/null || true",
        );
    });
}

/// A pool that is down does not say who used it, so that its configuration is a second plan.
#[test]
fn a_pool_that_was_down_is_configured_after_a_question_of_its_own() {
    in_kernel(|| {
        sh("rm -f /etc/docker/daemon.json");
        dmtool("setup /dev/xvdf --yes").assert().success();
        dmtool("deactivate").assert().success();
        let answers = "(sleep 6; printf 'y\\n'; sleep 20; printf 'n\\n'; sleep 5)";
        let dmtool_itself = env!("CARGO_BIN_EXE_dmtool");
        let (ok, said, _) =
            try_sh(&format!("{answers} | script -qec '{dmtool_itself} setup /dev/xvdf --for docker' /dev/null"));
        assert!(!ok && said.contains("second part"), "{said}");
        assert!(sh("dmsetup ls").contains("docker-thinpool"));
        assert_eq!(sh("ls /etc/docker 2>/dev/null || true"), "");
        dmtool("setup /dev/xvdf --for docker --yes").assert().success();
        assert!(sh("cat /etc/docker/daemon.json").contains("docker-thinpool"));
        sh("rm /etc/docker/daemon.json");
    });
}
