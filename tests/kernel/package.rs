//! What `make install` and `make deb` make: the files, and the package on a machine with systemd, from `dpkg -i` to
//! `dpkg -P`, with its timer, and what anybody is told by `check --last`.

use super::health::small_pool;
use super::monitoring::a_write_hangs;
use super::register::{no_var, var};
use crate::harness::*;
use assert_cmd::Command as AssertCommand;
use predicates::prelude::*;
use predicates::str::{contains, is_match, starts_with};
use std::path::Path;
use std::time::Instant;

const KEPT: &str = "/run/dmtool/check.json";
const HINT: &str = "hint: systemctl enable --now dmtool-check.timer";

/// `make` with these words, as somebody calls it: not as a part of the make that runs these tests.
#[track_caller]
fn make(words: &str) {
    sh(&format!(
        "cd {} && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u DESTDIR -u PREFIX make {words} 2>&1",
        env!("CARGO_MANIFEST_DIR")
    ));
}

fn debs() -> String {
    format!("{}/deb", env!("CARGO_TARGET_TMPDIR"))
}

/// A user without any right.
fn anybody(words: &str) -> AssertCommand {
    let mut command = AssertCommand::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(words.split_whitespace());
    command
}

fn told(words: &str) -> AssertCommand {
    anybody(&format!("/usr/sbin/dmtool check --last {words}"))
}

/// One look by the unit, started by hand.
fn look() {
    sh("systemctl start dmtool-check.service");
}

fn unit(of: &str, what: &str) -> String {
    sh(&format!("systemctl show -P {what} {of}"))
}

#[test]
fn make_install_brings_these_files_and_make_uninstall_takes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().display().to_string();
    let words = format!("DESTDIR={root} PREFIX=/opt/tools BINARY={}", env!("CARGO_BIN_EXE_dmtool"));
    make(&format!("install {words}"));
    let repository = env!("CARGO_MANIFEST_DIR");
    let mut expected: Vec<String> = [
        "lib/systemd/system/dmtool-activate.service",
        "lib/systemd/system/dmtool-check.service",
        "lib/systemd/system/dmtool-check.timer",
        "sbin/dmtool",
        "share/bash-completion/completions/dmtool",
        "share/doc/dmtool/CHANGELOG.md",
        "share/doc/dmtool/LICENSE-APACHE",
        "share/doc/dmtool/LICENSE-MIT",
        "share/doc/dmtool/README.md",
        "share/doc/dmtool/examples/sudoers-dmtool",
        "share/fish/vendor_completions.d/dmtool.fish",
        "share/man/man8/dmtool-check.8",
        "share/man/man8/dmtool.8",
        "share/zsh/site-functions/_dmtool",
    ]
    .map(str::to_owned)
    .to_vec();
    let listed =
        |words: &str| sh(&format!("cd {repository} && {words}")).lines().map(str::to_owned).collect::<Vec<_>>();
    expected.extend(listed("find man -name '*.8' -printf 'share/man/man8/%P\\n'"));
    expected.extend(listed("find examples -type f -printf 'share/doc/dmtool/examples/%P\\n'"));
    expected.sort();
    expected.dedup();
    let found = sh(&format!("cd {root}/opt/tools && find . -type f -printf '%P\\n' | LC_ALL=C sort"));
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    assert_eq!(sh(&format!("find {root}/opt/tools -type f -perm /111 -printf '%P %m\\n'")), "sbin/dmtool 755");
    assert_eq!(
        sh(&format!("grep -h ^ExecStart= {root}/opt/tools/lib/systemd/system/*")),
        "ExecStart=/opt/tools/sbin/dmtool activate --all --wait 30\n\
         ExecStart=/opt/tools/sbin/dmtool check --output /run/dmtool/check.json"
    );
    make(&format!("uninstall {words}"));
    assert_eq!(sh(&format!("find {root} -type f")), "");
}

#[test]
fn the_debian_package_from_its_installation_to_its_purge() {
    boots(|machine| {
        machine.outside(|| {
            // The program of these tests: without its symbols, since a guest has it in memory.
            let binary = format!("{}/dmtool-to-pack", env!("CARGO_TARGET_TMPDIR"));
            sh(&format!("strip -o {binary} {}", env!("CARGO_BIN_EXE_dmtool")));
            make(&format!("deb BINARY={binary} DEBS={}", debs()));
        });
        machine.systemd("", || {
            installed();
            // From here on nobody looks by himself.
            sh("systemctl stop dmtool-check.timer");
            wait_until("nobody looks", || unit("dmtool-check.service", "ActiveState") == "inactive");
            var();
            sh("/usr/sbin/dmtool setup --loop --data 256M --metadata 8M --yes");
            anybody_is_told();
            sick_and_unable();
            never_fine();
            the_timer_looks();
            sudo_allows_no_more();
            removed();
            dmtool("deactivate --all").assert().success();
            no_var();
        });
    });
}

#[test]
fn the_unit_does_not_wait_for_what_hangs_in_the_kernel() {
    boots(|machine| {
        machine.systemd("", || {
            sh(&format!(
                "sed 's|/usr/local/sbin/dmtool|{}|' {}/systemd/dmtool-check.service > /etc/systemd/system/dmtool-check.service; systemctl daemon-reload",
                env!("CARGO_BIN_EXE_dmtool"),
                env!("CARGO_MANIFEST_DIR")
            ));
            small_pool();
            look();
            dmtool("check --last").assert().stdout(contains("in 1 pool;").or(contains("1 pool is healthy")));
            sh("dmsetup suspend --noflush vg-pool_tmeta");
            a_write_hangs();
            // Twice: what the first one left in the kernel keeps no second one waiting.
            for _ in 0..2 {
                let start = Instant::now();
                assert!(!try_sh("systemctl start dmtool-check.service").0);
                assert!(start.elapsed().as_secs() < 100, "{:?}", start.elapsed());
                assert_eq!(unit("dmtool-check.service", "Result"), "exit-code", "it came to its end by itself");
                dmtool("check --last --max-age 100").assert().code(3).stdout(contains("could-not-look"));
            }
            let left = "find /sys/fs/cgroup -path '*/dmtool-check.service/cgroup.procs' -exec cat {} +";
            assert_ne!(sh(left), "", "what hangs is still there");
            sh("dmsetup resume vg-pool_tmeta");
            wait_until("all can be seen again", || {
                try_sh("systemctl start dmtool-check.service").0 && json("check --last").1["status"] != "unknown"
            });
        });
    });
}

fn installed() {
    // What images of containers have and machines have not: no starts, no manual pages.
    sh("rm -f /usr/sbin/policy-rc.d; grep -ls path-exclude /etc/dpkg/dpkg.cfg.d/* | xargs -r rm");
    sh(&format!("dpkg -i {}/dmtool_*.deb 2>&1", debs()));
    assert_eq!(sh("dpkg-query -W -f '${db:Status-Abbrev}' dmtool"), "ii");
    assert_eq!(sh("/usr/sbin/dmtool --version"), format!("dmtool {}", env!("CARGO_PKG_VERSION")));
    for page in sh(&format!("ls {}/man", env!("CARGO_MANIFEST_DIR"))).lines() {
        sh(&format!("zcat /usr/share/man/man8/{page}.gz | cmp - {}/man/{page}", env!("CARGO_MANIFEST_DIR")));
    }
    sh("bash -n /usr/share/bash-completion/completions/dmtool; test -s /usr/share/zsh/vendor-completions/_dmtool");
    sh(
        "zgrep -q 'make deb' /usr/share/doc/dmtool/changelog.gz && grep -q 'MIT or Apache-2.0' /usr/share/doc/dmtool/copyright",
    );
    for of in ["dmtool-activate.service", "dmtool-check.timer"] {
        assert_eq!(sh(&format!("systemctl is-enabled {of}")), "enabled", "{of}");
    }
    assert_eq!(unit("dmtool-activate.service", "ActiveState"), "inactive", "nothing comes up by an installation");
    assert_eq!(unit("dmtool-check.timer", "ActiveState"), "active");
    let files = "/usr/lib/systemd/system/dmtool-activate.service /usr/lib/systemd/system/dmtool-check.*";
    assert_eq!(sh(&format!("systemd-analyze verify --man=no {files} 2>&1 | grep dmtool- || true")), "");
    look();
    assert_eq!(sh(&format!("stat -c '%U %a' /run/dmtool {KEPT}")), "root 755\nroot 644");
    told("").assert().success().stdout(is_match("^no pools here\nlooked [0-9]+ seconds? ago\n$").expect("a pattern"));
}

fn anybody_is_told() {
    look();
    anybody("/usr/sbin/dmtool check").assert().code(3).stdout(contains("could-not-look"));
    let now = sh("/usr/sbin/dmtool check");
    assert!(now.contains("1 pool is healthy"), "{now}");
    told("").assert().success().stdout(starts_with(format!("{now}\nlooked ")));
    told("-q").assert().success().stdout("");
    told("--nagios").assert().success().stdout(format!("{}\n", sh("/usr/sbin/dmtool check --nagios")));
    let value = |words: &str| -> serde_json::Value {
        serde_json::from_slice(&told(words).arg("--json").output().expect("dmtool").stdout).expect("JSON")
    };
    let all = value("");
    assert_eq!((&all["dmtool"], &all["command"], &all["status"]), (&1.into(), &"check".into(), &"ok".into()));
    let age = sh("date +%s").parse::<u64>().expect("seconds") - all["looked_at"].as_u64().expect("seconds");
    assert!(age < 60, "{age}");
    assert_eq!(value("/dev/mapper/loop")["pools"], all["pools"]);
    told("elsewhere").assert().code(3).stdout(contains("There was no pool elsewhere on this host at the last look."));
}

fn sick_and_unable() {
    sh("dmsetup suspend loop");
    look();
    let ended = || (unit("dmtool-check.service", "Result"), unit("dmtool-check.service", "ExecMainStatus"));
    assert_eq!(ended(), ("success".to_owned(), "2".to_owned()), "a finding is no failure of the unit");
    told("").assert().code(2).stdout(contains("pool-suspended").and(contains("hint: dmsetup resume loop")));
    told("-q --nagios").assert().code(2).stdout(starts_with("DMTOOL CRITICAL - loop pool-suspended: "));
    told("loop --json").assert().code(2).stdout(contains("\"status\": \"critical\""));
    sh("dmsetup resume loop");
    sh(&format!("rm {KEPT} && mkdir {KEPT}"));
    assert!(!try_sh("systemctl start dmtool-check.service").0, "who cannot leave what he found has failed");
    assert_eq!(ended(), ("exit-code".to_owned(), "3".to_owned()));
    told("").assert().code(3).stderr(contains("check.json is no plain file").and(contains(HINT)));
    sh(&format!("rmdir {KEPT} && systemctl reset-failed dmtool-check.service"));
    look();
    told("").assert().success();
}

/// Changes the file that is told from, and asserts that nothing but `unknown` comes of it, with this reason.
fn unknown(what: &str, words: &str, said: &str, undo: &str) {
    sh(what);
    told(words).assert().code(3).stdout("").stderr(starts_with("error: ").and(contains(said)).and(contains(HINT)));
    let line = told(&format!("{words} --nagios")).assert().code(3).get_output().stdout.clone();
    let line = String::from_utf8(line).expect("text");
    assert!(line.starts_with("DMTOOL UNKNOWN - ") && line.lines().count() == 1 && !line.contains('|'), "{line}");
    told(&format!("{words} --json")).assert().code(3).stdout(contains("\"error\": {"));
    sh(undo);
    told("").assert().success();
}

fn never_fine() {
    sh(&format!("cp -p {KEPT} /run/kept.json; sleep 2"));
    let back = &format!("rm -rf {KEPT}; cp -p /run/kept.json {KEPT}");
    unknown("true", "--max-age 1", "seconds ago, more than 1", "true");
    unknown("date -s '1 hour ago'", "", "the last look is from the future", "date -s '1 hour'");
    unknown("date -s '1 hour'", "", "seconds ago, more than 300", "date -s '1 hour ago'");
    for (what, said) in [
        ("rm FILE", "no look was kept since the boot"),
        ("chmod 0600 FILE", "Permission denied"),
        ("chmod 0666 FILE", "somebody else than root could have written"),
        ("chown nobody FILE", "somebody else than root could have written"),
        ("ln -sf /run/kept.json FILE", "FILE is a symlink"),
        ("rm FILE && mkfifo FILE", "check.json is no plain file"),
        ("truncate -s 100 FILE", "cannot be understood"),
        ("sed -i 's/\"dmtool\": 1/\"dmtool\": 2/' FILE", "another version of dmtool"),
        ("sed -i 's/\"status\": \"ok\"/\"status\": \"fine\"/' FILE", "cannot be understood"),
        ("jq '.looked_at += 1000' FILE > /run/new && cp /run/new FILE", "from the future"),
        ("jq '.looked_at -= 1000' FILE > /run/new && cp /run/new FILE", "seconds ago, more than 300"),
    ] {
        unknown(&what.replace("FILE", KEPT), "", &said.replace("FILE", KEPT), back);
    }
    // Whatever stands in the file, no terminal is told what to do.
    let escape = r#".status = "warning" | .findings = [{code: "not-monitored", severity: "warning", pool: "a\u001b[31m",
        message: "\u001b]0;x\u0007", hint: "\u001b[2J"}] | .pools[0].name = "b\u001b[0m" | .pools[0].notes = ["\u001b[5m"]"#;
    sh(&format!("jq '{escape}' {KEPT} > /run/new && cp /run/new {KEPT}"));
    for words in ["", "--nagios", "--json"] {
        let said = told(words).assert().code(1).get_output().stdout.clone();
        assert!(!said.contains(&0x1b) && !said.contains(&0x07), "{}", String::from_utf8_lossy(&said));
    }
    sh(back);
}

fn the_timer_looks() {
    // At once where the machine is up for a minute, as after an installation.
    sh(&format!("rm {KEPT}; systemctl start dmtool-check.timer"));
    wait_until("the timer looks", || Path::new(KEPT).exists());
    told("").assert().success().stdout(contains("1 pool is healthy"));
    let rhythm = unit("dmtool-check.timer", "TimersMonotonic");
    assert!(rhythm.contains("OnBootUSec=1min ;") && rhythm.contains("OnUnitActiveUSec=1min ;"), "{rhythm}");
    assert_ne!(unit("dmtool-check.timer", "NextElapseUSecMonotonic"), "infinity", "and looks again");
}

fn sudo_allows_no_more() {
    sh("visudo -cf /usr/share/doc/dmtool/examples/sudoers-dmtool");
    sh("sed 's/= nagios,/= nobody,/' /usr/share/doc/dmtool/examples/sudoers-dmtool > /etc/sudoers.d/dmtool");
    sh("chmod 0440 /etc/sudoers.d/dmtool && visudo -c");
    let sudo = |words: &str| anybody(&format!("sudo -n /usr/sbin/dmtool {words}"));
    for words in ["check", "check --json", "check --nagios", "status", "status --json", "status -x", "metrics"] {
        sudo(words).assert().success();
    }
    for words in [
        "",
        "check --output /run/planted",
        "check --metadata",
        "check --nagios --output /run/planted",
        "metrics --output /run/planted",
        "status loop",
        "deactivate loop",
    ] {
        sudo(words).assert().code(1).stdout("").stderr(contains("password is required"));
    }
    assert!(!Path::new("/run/planted").exists());
    sh("rm /etc/sudoers.d/dmtool");
}

fn removed() {
    let register = || sh("cd /var/lib/dmtool && find . -type f | sort && cat pools/loop.json && dmsetup table loop");
    let before = register();
    let files = sh("dpkg -L dmtool | while read -r file; do test -d $file || echo $file; done");
    assert!(files.lines().count() > 30, "{files}");
    sh("dpkg -r dmtool 2>&1");
    let left = || -> Vec<&str> { files.lines().filter(|file| Path::new(file).exists()).collect() };
    assert_eq!(left(), Vec::<&str>::new());
    assert_eq!(unit("dmtool-check.timer", "ActiveState"), "inactive");
    assert_eq!(register(), before);
    sh("dpkg -P dmtool 2>&1");
    assert!(!Path::new("/run/dmtool").exists());
    let traces =
        "find /etc/systemd /var/lib/systemd /usr/lib/systemd /usr/share/doc/dmtool -name 'dmtool-[ac]*' 2>/dev/null";
    assert_eq!(sh(&format!("{traces} || true")), "");
    assert!(!try_sh("dpkg-query -W dmtool").0, "dpkg has forgotten it");
    assert_eq!(register(), before, "a purge leaves pools and what is known of them");
    sh("dd if=/dev/zero of=/dev/mapper/loop count=0 status=none; dmsetup status loop | grep -q ' rw '");
}
