//! One booted kernel: `linux.uml` as a child process, spoken to over its console.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
/// The disks of a guest, in order: `/dev/xvdf`, `/dev/xvdg`, … Three to work with, a small one that is
/// quick to checksum, and the two edges.
const DISKS: [u64; 6] = [4 * GIB, 4 * GIB, 4 * GIB, GIB / 2, 300 << 20, 3072 * GIB];

/// The disk images of one machine, in memory where there is room, gone with the value.
pub struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    pub fn blank() -> Disks {
        Disks::with_sizes(&DISKS)
    }

    pub fn with_sizes(sizes: &[u64]) -> Disks {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("dmtool-disks-").tempdir_in(base).expect("a folder for disks");
        for (at, size) in sizes.iter().enumerate() {
            File::create(dir.path().join(format!("disk{at}")))
                .and_then(|file| file.set_len(*size))
                .expect("a sparse disk image");
        }
        Disks { dir }
    }

    fn images(&self) -> Vec<PathBuf> {
        let mut images: Vec<_> = fs::read_dir(self.dir.path())
            .expect("the folder of the disks")
            .map(|entry| entry.expect("an entry of the folder of the disks").path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("disk")))
            .collect();
        images.sort();
        images
    }

    /// Every disk full of zeros again.
    fn wipe(&self) {
        for image in self.images() {
            let file = fs::OpenOptions::new().write(true).open(&image).expect("a disk image");
            let size = file.metadata().expect("a disk image").len();
            file.set_len(0).and_then(|()| file.set_len(size)).expect("wiping a disk image");
        }
    }
}

/// How the guest comes up.
pub enum Boot<'a> {
    /// udev and a shell that takes commands from the console.
    Bare,
    /// systemd as first process; the command runs as a unit once `multi-user.target` is reached.
    Systemd { command: &'a str, units: &'a str },
}

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Status(i32),
    /// The command asked for the machine to be stopped dead.
    Crash,
}

pub struct Guest {
    child: Child,
    /// A shell that ends the guest and removes its disks should this process die without doing so.
    warden: Child,
    console: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
    pub disks: Disks,
}

pub fn can_boot() -> bool {
    Path::new("/usr/bin/linux.uml").exists()
}

impl Guest {
    pub fn boot(disks: Disks, boot: &Boot) -> Guest {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness");
        let mut command = Command::new("linux.uml");
        command
            .args(["mem=1G", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"])
            .args(["con=null", "con0=fd:0,fd:1", &format!("umid=dmtool-{id}")])
            .arg(format!("uml_dir={}", disks.dir.path().display()))
            .arg(format!("init={}", harness.join("first.sh").display()))
            .arg(format!("DMTOOL_HARNESS={}", harness.display()));
        for (at, image) in disks.images().iter().enumerate() {
            command.arg(format!("ubd{}={}", at + 1, image.display()));
        }
        if let Boot::Systemd { command: payload, units } = boot {
            // Under the build folder: /tmp and /run are covered in the guest.
            let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("payload-{id}.sh"));
            fs::write(&script, format!("exec </dev/null\nstty -F /dev/console raw -echo\necho @@ready\n( {payload} ) 2>&1\necho \"@@end $?\"\nsync\npoweroff -ff\n"))
                .expect("writing the payload");
            command.args(["DMTOOL_BOOT=systemd", &format!("DMTOOL_PAYLOAD={}", script.display())]);
            // A blank would end the word on the kernel's command line.
            command.arg(format!("DMTOOL_UNITS={}", units.replace(' ', ",")));
            command.arg(format!("DMTOOL_BINARY={}", env!("CARGO_BIN_EXE_dmtool")));
        }
        command.env("TMPDIR", disks.dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("starting linux.uml");
        let console = child.stdin.take().expect("the guest's console");
        let mut output = BufReader::new(child.stdout.take().expect("the guest's console"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        let warden = Command::new("sh")
            .arg("-c")
            .arg("read -r word || { grep -qa \"$1\" /proc/$2/cmdline && kill -9 -$2; rm -rf \"$3\"; }")
            .args(["warden", &format!("umid=dmtool-{id}"), &child.id().to_string()])
            .arg(disks.dir.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("starting the guest's warden");
        let mut guest = Guest { child, warden, console, lines, heard: Vec::new(), disks };
        guest.wait_for("@@ready", Duration::from_secs(300));
        guest
    }

    /// Runs a shell command in a bare guest; its output goes to `output`, line by line.
    pub fn run(&mut self, command: &str, limit: Duration, output: impl FnMut(&str)) -> Ended {
        writeln!(self.console, "{command}").expect("the guest's console");
        self.finish(limit, output)
    }

    /// Waits for the end of the command that runs.
    pub fn finish(&mut self, limit: Duration, mut output: impl FnMut(&str)) -> Ended {
        let deadline = Instant::now() + limit;
        loop {
            let line = self.line(deadline);
            if let Some(status) = line.strip_prefix("@@end ") {
                return Ended::Status(status.parse().unwrap_or(-1));
            }
            if line == "@@crash" {
                return Ended::Crash;
            }
            output(&line);
        }
    }

    /// Blank disks for the next test; nothing in the guest may use them.
    pub fn blank_disks(&mut self) {
        // What a test left open is closed by now: what could not be taken down then is taken down before its disk is blank.
        let down = "udevadm settle; losetup -D; udevadm settle; umount -a -t ext4,xfs,btrfs";
        self.run(down, Duration::from_secs(300), |_| ());
        self.disks.wipe();
        // A partition that udev looks at keeps its disk from being read again.
        let renew = "udevadm settle; for d in /dev/ubd?; do blockdev --setrw $d; blockdev --flushbufs $d; blockdev --rereadpt $d 2>/dev/null; done; \
                     udevadm trigger --subsystem-match=block --settle";
        self.run(renew, Duration::from_secs(300), |_| ());
    }

    fn wait_for(&mut self, marker: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.line(deadline) != marker {}
    }

    fn line(&mut self, deadline: Instant) -> String {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.heard.push(line.clone());
                line
            }
            Err(why) => {
                self.kill();
                let what = if why == RecvTimeoutError::Timeout { "did not answer in time" } else { "ended by itself" };
                panic!("the guest {what}; its console said:\n{}", self.heard.join("\n"));
            }
        }
    }

    /// The end of a machine whose power is pulled as far as its kernel is concerned; disks stay.
    pub fn crash(mut self) -> Disks {
        self.kill();
        self.take_disks()
    }

    /// An orderly end.
    pub fn power_off(mut self) -> Disks {
        // A bare guest ends at the end of its console's input, one with systemd by itself.
        let _ = writeln!(self.console, "sync; poweroff -f");
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        self.take_disks()
    }

    fn take_disks(&mut self) -> Disks {
        let empty = tempfile::tempdir().expect("a folder");
        std::mem::replace(&mut self.disks, Disks { dir: empty })
    }

    /// The whole process group: the kernel's I/O helpers would outlive their parent.
    fn kill(&mut self) {
        let group = self.child.id();
        let _ = Command::new("kill").args(["-9", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        if let Some(mut word) = self.warden.stdin.take() {
            let _ = writeln!(word, "over");
        }
        let _ = self.warden.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}
