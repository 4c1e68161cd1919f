//! Ordinary Rust tests that run in a booted kernel with real LVM, udev and dmeventd.
//!
//! ```ignore
//! #[test]
//! fn setup_makes_a_pool() {
//!     in_kernel(|| {
//!         dmtool("setup /dev/xvdf --yes").assert().success();
//!         assert_eq!(sh("lvs --noheadings -o lv_name docker"), "thinpool");
//!     });
//! }
//! ```
//!
//! The test binary starts itself again inside the guest, for that one test, over the host's file tree. Guests
//! are kept for the next test of the same process: disks, device-mapper and LVM's files are blank again by
//! then, and a guest in which a test failed is thrown away. `boots` is for tests that need several boots over
//! the same disks. On a host with device-mapper (`DMTOOL_TEST_HOST=1`, `make test-host`) the same tests run
//! in place, on loop devices.
#![allow(dead_code)]

pub mod clean;
pub mod guest;
pub mod metadata;
pub mod tools;

use guest::{Boot, Disks, Ended, Guest, can_boot};
use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::time::Duration;
#[allow(unused_imports)]
pub use tools::*;

/// Set inside a guest, and on a host in host mode.
const INSIDE: &str = "DMTOOL_INSIDE";
/// Inside a guest of a test with several boots: which of them this is, from 0.
const STAGE: &str = "DMTOOL_STAGE";
const LIMIT: Duration = Duration::from_secs(1800);

static IDLE: Mutex<Vec<Guest>> = Mutex::new(Vec::new());
static HOST: Mutex<()> = Mutex::new(());

/// Runs a test's body in a booted kernel with blank disks.
pub fn in_kernel<F: FnOnce()>(body: F) {
    let name = test_name::<F>();
    if std::env::var_os(INSIDE).is_some() {
        return inside(body);
    }
    if host_mode() {
        let _one_at_a_time = HOST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        return inside(body);
    }
    if !must_boot(&name) {
        return;
    }
    let idle = IDLE.lock().expect("the idle guests").pop();
    let mut guest = match idle {
        Some(mut guest) => {
            guest.blank_disks();
            guest
        }
        None => Guest::boot(Disks::blank(), &Boot::Bare),
    };
    let (mut ran, mut last) = (false, Panic::default());
    let ended = guest.run(&command_for(&name, None), LIMIT, |line| {
        ran |= line.contains("running 1 test");
        last.hear(line);
    });
    assert!(ran || ended != Ended::Status(0), "there is no test {name}: hand the closure over in the test itself");
    match ended {
        Ended::Status(0) => IDLE.lock().expect("the idle guests").push(guest),
        Ended::Status(_) => {
            last_words(&mut guest);
            panic!("{name} failed in its guest: {last}");
        }
        Ended::Crash => panic!("{name} asked for a crash, which only `boots` knows"),
    }
}

/// Runs a test that needs several boots over the same disks. The closure is run once outside, where each
/// `boot` boots a guest, and once in each guest, where only the boot's own part is run: let nothing but the
/// disks connect the parts, and put what looks at the host into `outside`.
pub fn boots<F: FnOnce(&mut Boots)>(body: F) {
    let name = test_name::<F>();
    let place = match std::env::var(STAGE) {
        Ok(stage) => Place::Inside(stage.parse().expect("a stage's number")),
        Err(_) => {
            if host_mode() {
                println!("skipped on a host: {name} reboots the machine");
                return;
            }
            if !must_boot(&name) {
                return;
            }
            Place::Outside(Some(Disks::blank()))
        }
    };
    body(&mut Boots { name, place, count: 0 });
}

enum Place {
    Outside(Option<Disks>),
    Inside(usize),
}

pub struct Boots {
    name: String,
    place: Place,
    count: usize,
}

impl Boots {
    /// One boot with udev but no systemd, ended by an orderly power-off, or by `crash()` in its body.
    pub fn boot(&mut self, body: impl FnOnce()) {
        self.stage(body, None);
    }

    /// One boot with systemd; `units` are started although a guest masks them (docker.service …).
    pub fn systemd(&mut self, units: &str, body: impl FnOnce()) {
        self.stage(body, Some(units));
    }

    /// Between boots, on the machine that boots them.
    pub fn outside(&mut self, body: impl FnOnce()) {
        if let Place::Outside(_) = self.place {
            body();
        }
    }

    fn stage(&mut self, body: impl FnOnce(), systemd: Option<&str>) {
        let stage = self.count;
        self.count += 1;
        match &mut self.place {
            Place::Inside(this) if *this == stage => body(),
            Place::Inside(_) => {}
            Place::Outside(disks) => {
                let disks = disks.take().expect("the disks of the boot before");
                let command = command_for(&self.name, Some(stage));
                let mut last = Panic::default();
                let (mut guest, ended) = match systemd {
                    None => {
                        let mut guest = Guest::boot(disks, &Boot::Bare);
                        let ended = guest.run(&command, LIMIT, |line| last.hear(line));
                        (guest, ended)
                    }
                    Some(units) => {
                        let mut guest = Guest::boot(disks, &Boot::Systemd { command: &command, units });
                        let ended = guest.finish(LIMIT, |line| last.hear(line));
                        (guest, ended)
                    }
                };
                let after = match ended {
                    Ended::Crash => guest.crash(),
                    Ended::Status(0) => guest.power_off(),
                    Ended::Status(_) => {
                        if systemd.is_none() {
                            last_words(&mut guest);
                        }
                        panic!("{} failed in boot {stage} of its guest: {last}", self.name)
                    }
                };
                self.place = Place::Outside(Some(after));
            }
        }
    }
}

/// Inside a boot of `boots`: stops the machine dead, here and now.
pub fn crash() -> ! {
    println!("\n@@crash");
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// A test is named by the closure it hands over: `kernel::setup::blank_disk::{{closure}}`.
fn test_name<F>() -> String {
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_crate, name)| name).to_owned()
}

fn host_mode() -> bool {
    std::env::var_os("DMTOOL_TEST_HOST").is_some()
}

/// Whether a kernel can be booted here. In CI it must be possible.
fn must_boot(name: &str) -> bool {
    let can = can_boot();
    if !can {
        assert!(std::env::var_os("CI").is_none(), "{name}: no linux.uml here, and CI skips nothing");
        eprintln!("skipped: {name} needs Debian's user-mode-linux (see tests/README.md)");
    }
    can
}

fn command_for(name: &str, stage: Option<usize>) -> String {
    let binary = std::env::current_exe().expect("the path of the test");
    let stage = stage.map_or(String::new(), |stage| format!("{STAGE}={stage} "));
    // The harness of libtest prints the panic and its place; the limit is one for a guest left to itself.
    format!(
        "cd {}; {INSIDE}=1 {stage}timeout 1790 {} --exact {name} --nocapture --test-threads=1 --include-ignored",
        env!("CARGO_MANIFEST_DIR"),
        binary.display()
    )
}

fn inside(body: impl FnOnce()) {
    clean::before();
    let outcome = catch_unwind(AssertUnwindSafe(body));
    match outcome {
        Ok(()) => clean::after(),
        Err(panic) => {
            if host_mode() {
                clean::after();
            }
            resume_unwind(panic)
        }
    }
}

/// What a guest prints goes on to the test's output, and its panic into the test's own.
#[derive(Default)]
struct Panic {
    words: Vec<String>,
    over: bool,
}

impl Panic {
    fn hear(&mut self, line: &str) {
        println!("{line}");
        let begun = !self.words.is_empty();
        self.over |= begun && line.starts_with("note: ");
        if (begun || line.contains(" panicked at ")) && !self.over {
            self.words.push(line.to_owned());
        }
    }
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words.join("\n"))
    }
}

fn last_words(guest: &mut Guest) {
    println!("--- the end of the guest's dmesg ---");
    guest.run("dmesg | tail -n 30", Duration::from_secs(20), |line| println!("{line}"));
}
