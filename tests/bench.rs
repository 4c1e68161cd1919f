//! `make bench`: dmtool beside the commands that it stands for, in one booted kernel, in turns, as ratios of medians.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss
)]

#[path = "harness/mod.rs"]
mod harness;
#[path = "bench/metadata.rs"]
mod metadata;
#[path = "bench/resize.rs"]
mod resize;
#[path = "bench/volumes.rs"]
mod volumes;

use harness::guest::{Boot, Disks, Ended, Guest};
use harness::sh;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DMTOOL: &str = env!("CARGO_BIN_EXE_dmtool");
const INSIDE: &str = "DMTOOL_BENCH_INSIDE";
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipe.sh");

fn main() {
    if std::env::var_os(INSIDE).is_some() {
        std::process::exit(i32::from(!inside()));
    }
    let mut guest = Guest::boot(Disks::blank(), &Boot::Bare);
    let binary = std::env::current_exe().expect("the path of this program");
    // `cargo bench -- status` measures only what has that in its name.
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let command = format!("{INSIDE}=1 {} '{only}'", binary.display());
    let ended = guest.run(&command, Duration::from_secs(1800), |line| {
        if !line.contains("WRITE_ZEROES") {
            println!("{line}");
        }
    });
    let ok = matches!(ended, Ended::Status(0));
    drop(guest);
    std::process::exit(i32::from(!ok));
}

fn inside() -> bool {
    println!("One booted user-mode kernel, one CPU, disks in memory. A process costs more here than on hardware");
    println!("(see /bin/true), so ratios between commands mostly count processes.\n");
    let nothing = median(&mut (0..21).map(|_| time("/bin/true")).collect::<Vec<_>>());
    println!("{:<52} {:>8.1} ms", "/bin/true", nothing * 1e3);
    let only = std::env::args().nth(1).unwrap_or_default();
    let wanted = |part: &str| part.contains(&only);
    let mut ok = !wanted("setup") || setup();
    if wanted("resize stall") {
        ok &= resize::stall();
    }
    if wanted("resize lvm") {
        ok &= resize::lvm();
    }
    let (checked, listed) = (wanted("metadata check"), wanted("volume list --exact"));
    if checked || listed {
        ok &= metadata::maps(checked, listed);
    }
    sh(&format!("{DMTOOL} setup /dev/xvdf --yes"));
    if wanted("one pool") {
        ok &= compare("status, one pool", (&format!("{DMTOOL} status"), "dmsetup status"), 101, 1.0);
        ok &= compare("status --json, one pool", (&format!("{DMTOOL} status --json"), "lvs"), 11, f64::INFINITY);
    }
    if wanted("500 thin devices") {
        thin_devices(1..=500);
        ok &= compare("status, 500 bare thin devices", (&format!("{DMTOOL} status"), "dmsetup status"), 21, 1.3);
        ok &= compare("status --json, 500 bare thin devices", (&format!("{DMTOOL} status --json"), "lvs"), 11, 0.8);
    }
    if wanted("check") {
        ok &= check();
    }
    if wanted("volume list, 1,000") {
        ok &= volumes::list();
    }
    ok
}

/// A check of all pools against what shows a part of the same by hand, with ever more bare thin devices as Docker makes
/// them: the whole time, and what each device adds to it.
fn check() -> bool {
    const THEIRS: &str = "lvs -a -o+seg_monitor";
    if sh("dmsetup ls").contains("layer-500") {
        sh(
            "for i in $(seq 1 500); do dmsetup remove --noudevsync layer-$i && dmsetup message docker-thinpool 0 \"delete $i\" || exit 1; done",
        );
    }
    let ours = format!("{DMTOOL} check");
    let mut times = Vec::new();
    let mut made = 0;
    let mut ok = true;
    for count in [10, 100, 1000] {
        thin_devices(made + 1..=count);
        made = count;
        let (mut mine, mut yours) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            mine.push(time(&ours));
            yours.push(time(THEIRS));
        }
        let limit = if count == 1000 { 0.55 } else { f64::INFINITY };
        ok &= verdict(&format!("check, {count} bare thin devices, against lvs"), (&mut mine, &mut yours), limit);
        times.push((count, median(&mut mine), median(&mut yours)));
    }
    if let (Some(few), Some(many)) = (times.first(), times.last()) {
        let devices = f64::from(many.0 - few.0);
        let (mine, yours) = ((many.1 - few.1) / devices, (many.2 - few.2) / devices);
        ok &= verdict("check, for each device more, against lvs", (&mut [mine], &mut [yours]), 0.45);
    }
    ok
}

/// Setup against the documented recipe, from a blank disk each time.
fn setup() -> bool {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.push(time(&format!("{DMTOOL} setup /dev/xvdf --yes")));
        assert!(sh("lvs --noheadings -o seg_monitor docker/thinpool").contains("monitored"));
        blank();
        theirs.push(time(&format!("sh {RECIPE} /dev/xvdf")));
        assert!(sh("lvs --noheadings -o seg_monitor docker/thinpool").contains("monitored"));
        blank();
    }
    verdict("setup, against the documented recipe", (&mut ours, &mut theirs), 0.50)
}

fn blank() {
    sh("vgremove -qq -ff docker; pvremove -qq /dev/xvdf; rm -f /etc/lvm/profile/docker-thinpool.profile; \
        wipefs -qa /dev/xvdf; udevadm settle");
}

/// As Docker makes them: ids by message, bare devices without udev's rules.
fn thin_devices(ids: std::ops::RangeInclusive<u32>) {
    sh(&format!(
        "for i in $(seq {} {}); do dmsetup message docker-thinpool 0 \"create_thin $i\" && \
         dmsetup create --noudevrules --noudevsync layer-$i --table \"0 204800 thin /dev/mapper/docker-thinpool $i\" \
         || exit 1; done",
        ids.start(),
        ids.end()
    ));
}

fn compare(what: &str, (ours, theirs): (&str, &str), runs: usize, limit: f64) -> bool {
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        mine.push(time(ours));
        yours.push(time(theirs));
    }
    let short: Vec<&str> = theirs.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word)).collect();
    verdict(&format!("{what}, against {}", short.join(" ")), (&mut mine, &mut yours), limit)
}

fn verdict(what: &str, (ours, theirs): (&mut [f64], &mut [f64]), limit: f64) -> bool {
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours / theirs;
    let ok = ratio <= limit;
    let bound = if limit.is_finite() { format!("at most {limit:.2}") } else { "no bound".to_owned() };
    let word = if ok { "" } else { "   OVER" };
    println!("{what:<52} {:>8.1} ms / {:>8.1} ms = {ratio:.2} ({bound}){word}", ours * 1e3, theirs * 1e3);
    ok
}

/// Wall time of one command in seconds; a failure ends the benchmark.
fn time(line: &str) -> f64 {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().expect("starting a command");
    let took = start.elapsed().as_secs_f64();
    assert!(status.success(), "{line}: {status}");
    took
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
