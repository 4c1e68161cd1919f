//! Several at once on one host: dmtools on the same pool and on different ones, LVM's own commands, dmeventd that extends.
//! Whoever loses says so; the end is one that some order of all of them, one after the other, has too; nobody's bytes are lost.

use super::kill::DMTOOL;
use super::state::suspended;
use super::{Dice, Tally, ground};
use crate::harness::metadata::{Metadata, Part};
use crate::harness::{sh, try_sh};
use std::fmt::Write;

/// A command that runs beside others, and the exit statuses that it may end with.
struct Runner {
    command: String,
    may: &'static [i32],
}

impl Runner {
    /// Runs it when nobody else does.
    fn alone(&self) {
        sh(&format!("{} < /dev/null 2>&1", self.command));
    }
}

/// Done, or refused since another holds a lock or was quicker.
const DONE_OR_REFUSED: &[i32] = &[0, 3];
const ANY: &[i32] = &[0, 1, 3, 5];

fn ours(words: &str) -> Runner {
    Runner { command: format!("{DMTOOL} {words}"), may: DONE_OR_REFUSED }
}

fn lvms(words: &str) -> Runner {
    Runner { command: words.to_owned(), may: ANY }
}

/// Starts all of them, each a moment after the one before, and waits for their ends.
fn together(runners: &[Runner], dice: &mut Dice) -> Result<(), String> {
    let mut script = String::from("rm -f /run/race-*\n");
    for (at, Runner { command, .. }) in runners.iter().enumerate() {
        let pause = dice.below(400);
        let _ = writeln!(
            script,
            "(timeout 200 {command} > /run/race-{at}.said 2>&1 < /dev/null; echo $? > /run/race-{at}.status) &\nsleep 0.{pause:03}"
        );
    }
    sh(&(script + "wait"));
    for (at, Runner { command, may }) in runners.iter().enumerate() {
        let status: i32 = sh(&format!("cat /run/race-{at}.status")).parse().expect("a status");
        if !may.contains(&status) {
            return Err(format!("{command} ended with {status}: {}", sh(&format!("cat /run/race-{at}.said"))));
        }
    }
    let still = suspended();
    if still.is_empty() { Ok(()) } else { Err(format!("{still} stands still")) }
}

/// Something to race for.
pub struct Race {
    pub name: &'static str,
    start: fn(),
    runners: fn(&mut Dice) -> Vec<Runner>,
    /// What must be so in the end, whoever won.
    end: fn() -> Result<(), String>,
}

fn holds(script: &str) -> Result<(), String> {
    let (ok, said, wrong) = try_sh(script);
    if ok { Ok(()) } else { Err(format!("{script}: {said} {wrong}\n{}", sh("dmsetup table; lvs -a"))) }
}

fn two_pools() {
    sh(
        "vgcreate -qq -s 1m vg /dev/xvdf && lvcreate -qq --type thin-pool -L 300m --poolmetadatasize 4m -c 64k -n pool vg && \
        lvcreate -qq -V 64m -T vg/pool -n kept 2>/dev/null && vgcreate -qq -s 1m other /dev/xvdg && \
        lvcreate -qq --type thin-pool -L 300m --poolmetadatasize 4m -c 64k -n pool other",
    );
    sh(
        "head -c 8M /dev/urandom > /run/kept; dd if=/run/kept of=/dev/vg/kept bs=1M oflag=direct conv=fsync status=none",
    );
    sh("mkfs.ext4 -q -F /dev/xvdh; mkdir -p /var/lib/dmtool; mount /dev/xvdh /var/lib/dmtool");
}

/// The pool's table is as long as what it stands on.
const SAME_SIZE: &str = "test \"$(dmsetup table vg-pool_tdata | awk '{s+=$2} END {print s}')\" = \"$(dmsetup table vg-pool-tpool | cut -d' ' -f2)\"";

/// The bytes that were there before.
const KEPT: &str = "head -c 8M /dev/vg/kept | cmp - /run/kept";

pub const RACES: &[Race] = &[
    Race {
        name: "three setups of one pool",
        start: || (),
        runners: |_| (0..3).map(|_| ours("setup /dev/xvdi --yes")).collect(),
        end: || holds("test \"$(lvs --noheadings -o lv_name,seg_monitor docker | xargs)\" = 'thinpool monitored'"),
    },
    Race {
        name: "three setups of three pools",
        start: || (),
        runners: |_| {
            ["f", "g", "i"]
                .iter()
                .map(|disk| ours(&format!("setup /dev/xvd{disk} --pool v{disk}/pool --yes")))
                .collect()
        },
        end: || {
            holds("for d in f g i; do lvs --noheadings -o seg_monitor v$d/pool | grep -qw monitored || exit 1; done")
        },
    },
    Race {
        name: "volumes made, snapshots taken and removed in one pool",
        start: || {
            two_pools();
            sh(
                "lvcreate -qq -V 32m -T vg/pool -n old 2>/dev/null; lvcreate -qq -V 32m -T vg/pool -n older 2>/dev/null",
            );
        },
        runners: |_| {
            vec![
                ours("volume create vg/pool one 32M --fs ext4"),
                ours("volume snapshot vg/pool kept two"),
                ours("volume remove vg/pool old --yes"),
                ours("volume create vg/pool three 32M"),
                ours("volume remove vg/pool older --yes"),
            ]
        },
        end: || {
            holds(
                "test \"$(lvs --noheadings -o lv_name --separator , -S 'segtype=thin' vg | xargs)\" = 'kept one three two'",
            )?;
            holds("head -c 8M /dev/vg/two | cmp - /run/kept && blkid /dev/vg/one")?;
            holds(KEPT)
        },
    },
    Race {
        name: "resize beside resize and check",
        start: two_pools,
        runners: |_| {
            vec![
                ours("resize 400M vg/pool"),
                ours("resize 500M vg/pool"),
                ours("resize 450M other/pool"),
                Runner { command: format!("{DMTOOL} check"), may: &[0, 1, 2, 3] },
            ]
        },
        end: || {
            holds("test \"$(lvs --noheadings --units m --nosuffix -o lv_size other/pool | xargs)\" = 450.00")?;
            // The smaller one is refused after the larger, the larger is done in any order.
            holds("test \"$(lvs --noheadings --units m --nosuffix -o lv_size vg/pool | xargs)\" = 500.00")?;
            holds(KEPT)
        },
    },
    Race {
        name: "dmtool beside commands of LVM on one group",
        start: two_pools,
        runners: |dice| {
            let mut all = vec![
                ours("resize +20M vg/pool"),
                lvms("lvcreate -qq -V 32m -T vg/pool -n theirs"),
                ours("volume create vg/pool ours 32M"),
                lvms("lvextend -qq -L +10m vg/pool"),
                lvms("lvcreate -qq -L 16m -n plain vg"),
                ours("discards vg/pool no_passdown"),
            ];
            dice.some(std::mem::take(&mut all), 6)
        },
        end: || {
            holds("lvs vg/ours && vgck vg && dmsetup status vg-pool-tpool | grep -q ' rw '")?;
            holds(SAME_SIZE)?;
            holds(KEPT)
        },
    },
    Race {
        name: "dmeventd extends what is resized, and somebody writes",
        start: || {
            two_pools();
            ours("autoextend vg/pool --threshold 50 --percent 20").alone();
            sh("lvcreate -qq -V 300m -T vg/pool -n big 2>/dev/null; head -c 1M /dev/urandom > /run/once; \
                for i in $(seq 200); do cat /run/once; done > /run/much; sha256sum < /run/much > /run/much.sum; rm /run/once");
        },
        runners: |_| {
            vec![
                lvms("dd if=/run/much of=/dev/vg/big bs=1M oflag=direct conv=fsync status=none"),
                ours("resize +20M vg/pool"),
                ours("volume snapshot vg/pool kept two"),
                ours("discards vg/pool no_passdown"),
                ours("resize +20M vg/pool"),
            ]
        },
        end: || {
            // It looks every ten seconds, and extends by a fifth each time.
            holds(
                "for i in $(seq 60); do [ \"$(lvs --noheadings -o data_percent vg/pool | cut -d. -f1)\" -le 50 ] && exit 0; sleep 2; done; exit 1",
            )?;
            holds(SAME_SIZE)?;
            holds("head -c 200M /dev/vg/big | sha256sum | cmp - /run/much.sum && rm /run/much")?;
            holds(
                "lvs --noheadings -o seg_monitor vg/pool | grep -qw monitored && dmsetup status vg-pool-tpool | grep -q ' rw '",
            )?;
            holds(KEPT)
        },
    },
    Race {
        name: "deactivate beside activate",
        start: two_pools,
        runners: |dice| {
            let all = vec![
                ours("deactivate vg/pool"),
                ours("activate vg/pool"),
                ours("deactivate other/pool"),
                ours("activate --all"),
                ours("deactivate --all"),
            ];
            dice.some(all, 5)
        },
        end: || {
            ours("activate --all").alone();
            holds(&format!(
                "lvchange -qq -ay vg/kept; {KEPT} && dmsetup status --target thin-pool | grep -c ' rw ' | grep -qx 2"
            ))
        },
    },
    Race {
        name: "a repair beside activations and everything on another pool",
        start: || {
            two_pools();
            sh("vgchange -qq -an vg; udevadm settle");
            Metadata::of_lvm("vg", "pool").damage(Part::DataMap);
            sh("sync; echo 3 > /proc/sys/vm/drop_caches");
        },
        runners: |dice| {
            // An activation of what is damaged fails, and says so.
            let activate = || Runner { command: format!("{DMTOOL} activate vg/pool"), may: &[0, 1, 3] };
            let all = vec![
                ours("repair vg/pool --yes"),
                activate(),
                ours("repair vg/pool --yes"),
                ours("resize +20M other/pool"),
                ours("volume create other/pool one 32M"),
                activate(),
            ];
            dice.some(all, 6)
        },
        end: || {
            ours("repair vg/pool --yes").alone();
            ours("activate vg/pool").alone();
            holds(&format!("lvchange -qq -ay vg/kept; {KEPT} && lvs other/one && vgck vg other"))
        },
    },
    Race {
        name: "several activations at once",
        start: two_pools,
        runners: |_| {
            sh("vgchange -qq -an vg other");
            vec![ours("activate --all"), ours("activate vg/pool"), ours("activate other/pool"), ours("activate --all")]
        },
        end: || {
            holds(&format!(
                "lvchange -qq -ay vg/kept; lvs --noheadings -o lv_active other/pool | grep -qw active && {KEPT}"
            ))
        },
    },
    Race {
        name: "bare pools: volumes in one, a resize, a second pool",
        start: || {
            two_pools();
            sh(&format!("{DMTOOL} setup --loop --data 200M --metadata 4M --yes >/dev/null 2>&1"));
        },
        runners: |_| {
            vec![
                ours("volume create loop one 16M"),
                ours("volume create loop two 16M --fs ext4"),
                ours("resize 300M loop"),
                ours("setup --loop --pool more --data 100M --metadata 4M --yes"),
                ours("volume list loop"),
            ]
        },
        end: || {
            holds("test \"$(dmsetup table loop | cut -d' ' -f2)\" = 614400 && dmsetup status more")?;
            holds(
                "jq -e '[.volumes[].name] == [\"one\",\"two\"] or [.volumes[].name] == [\"two\",\"one\"]' /var/lib/dmtool/pools/loop.json",
            )?;
            holds("test \"$(dmsetup table | grep -c ' thin ')\" = 3 && blkid /dev/mapper/loop-two")
        },
    },
    Race {
        name: "teardown beside everything else on other pools",
        start: two_pools,
        runners: |_| {
            vec![
                ours("teardown other/pool --wipe-devices --yes"),
                ours("volume create vg/pool more 32M"),
                ours("resize +50M vg/pool"),
                lvms("vgs"),
                ours("status --json"),
            ]
        },
        end: || {
            holds("! vgs other 2>/dev/null && lvs vg/more && test -z \"$(wipefs /dev/xvdg)\"")?;
            holds(KEPT)
        },
    },
];

/// Runs a race again and again.
pub fn again(name: &str, count: usize, dice: &mut Dice, tally: &mut Tally) {
    let race = RACES.iter().find(|race| race.name == name).expect("a race of that name");
    for _ in 0..count.div_ceil(4) {
        run(race, dice, tally);
        ground::as_new();
    }
}

/// Runs one race, on blank disks.
pub fn run(race: &Race, dice: &mut Dice, tally: &mut Tally) {
    (race.start)();
    let runners = (race.runners)(dice);
    let ended = together(&runners, dice).and_then(|()| {
        sh("udevadm settle");
        (race.end)()
    });
    tally.tried("races");
    tally.note(ended.map_err(|why| format!("race, {}: {why}", race.name)));
}
