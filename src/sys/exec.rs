//! Tools run from outside, from fixed directories and with a clean environment.

use super::signal::Stop;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a tool is, if it is installed.
pub fn find(tool: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| PathBuf::from(directory).join(tool)).find(|path| path.is_file())
}

/// Runs a tool to its end and returns what it printed.
///
/// # Errors
/// It is not installed, or it failed: then with its words, its status and both its streams.
pub fn run(tool: &str, words: &[&str]) -> Result<String> {
    let path = find(tool).ok_or_else(|| anyhow!("{tool} is not installed"))?;
    let output = command(&path, words).output().map_err(|why| anyhow!("starting {}: {why}", path.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let said = [text(&output.stdout), text(&output.stderr)].join("\n");
        bail!("{tool} {}: {}\n{}", words.join(" "), output.status, said.trim());
    }
    Ok(text(&output.stdout))
}

fn command(path: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(words).env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// The folders in /proc of the processes that have one of these names, each with its own.
fn named_processes<'a>(names: &'a [&str]) -> Result<Vec<(&'a str, PathBuf)>> {
    let context = || "looking at the processes in /proc";
    let kernels = kernel_threads();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").with_context(context)? {
        let entry = entry.with_context(context)?;
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if number.is_none_or(|number| kernels.contains(&number)) {
            continue;
        }
        let folder = entry.path();
        let comm = match comm(&folder) {
            Ok(comm) => comm,
            // One that has ended since.
            Err(why) if matches!(why.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
            Err(why) => return Err(why).with_context(|| format!("reading {}/comm", folder.display())),
        };
        found.extend(names.iter().find(|name| name.as_bytes() == comm.trim_ascii()).map(|name| (*name, folder)));
    }
    Ok(found)
}

/// The kernel's own threads, as far as they can be told at once (proc_tid_children(5)): it has one for each device-mapper
/// device, and none of them is anybody's program.
fn kernel_threads() -> BTreeSet<u32> {
    // Process 2 of a container is any process.
    if comm(Path::new("/proc/2")).ok().as_deref() != Some(b"kthreadd\n") {
        return BTreeSet::new();
    }
    let children = std::fs::read_to_string("/proc/2/task/2/children").unwrap_or_default();
    children.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The name of a process, of 15 bytes at most (proc_pid_comm(5)): in one read, since there may be thousands.
fn comm(process: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut name = [0; 64];
    let count = std::fs::File::open(process.join("comm"))?.read(&mut name)?;
    Ok(name.get(..count).unwrap_or_default().to_vec())
}

/// The words that each running process of these names was started with, by one look at all.
///
/// # Errors
/// /proc cannot be read.
pub fn words_of_each<'a>(names: &'a [&str]) -> Result<Vec<(&'a str, Vec<String>)>> {
    Ok(named_processes(names)?.into_iter().map(|(name, folder)| (name, words(&folder))).collect())
}

/// The words that running processes of these names were started with; none where there is no such process.
///
/// # Errors
/// /proc cannot be read.
pub fn words_of(names: &[&str]) -> Result<Option<Vec<String>>> {
    let mut found = None;
    for (_, words) in words_of_each(names)? {
        found.get_or_insert_with(Vec::new).extend(words);
    }
    Ok(found)
}

fn words(process: &Path) -> Vec<String> {
    let text = std::fs::read(process.join("cmdline")).unwrap_or_default();
    text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The process of one of these names, and with such words, that runs longest, and for how long by now: containers may
/// have some, too.
///
/// # Errors
/// /proc cannot be read.
pub fn oldest(names: &[&str], is_it: impl Fn(&[String]) -> bool) -> Result<Option<(u32, Duration)>> {
    let uptime = std::fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let ticks = rustix::param::clock_ticks_per_second();
    let mut found = None;
    for (_, folder) in named_processes(names)?.into_iter().filter(|(_, folder)| is_it(&words(folder))) {
        let stat = match std::fs::read_to_string(folder.join("stat")) {
            Ok(stat) => stat,
            Err(why) if matches!(why.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => continue,
            Err(why) => return Err(why).with_context(|| format!("reading {}/stat", folder.display())),
        };
        let id = folder.file_name().and_then(|name| name.to_string_lossy().parse::<u32>().ok());
        let id_and_age = id.zip(age(&uptime, &stat, ticks));
        let (id, runs) = id_and_age.with_context(|| format!("{}/stat has another form", folder.display()))?;
        if found.is_none_or(|(_, longest)| runs >= longest) {
            found = Some((id, runs));
        }
    }
    Ok(found)
}

/// For how long a process runs by now, by /proc/uptime, its stat (proc_pid_stat(5)) and the ticks of a second.
pub fn age(uptime: &str, stat: &str, ticks: u64) -> Option<Duration> {
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    // The name in brackets may hold anything; the start is the 20th field behind it, in ticks.
    let start: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let started = Duration::from_millis(start.saturating_mul(1000) / ticks.max(1));
    Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(started))
}

/// How a tool ended, and what it said on both its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// None where a signal ended it.
    pub status: Option<i32>,
    pub said: String,
}

/// A tool that can be ended on its way.
pub struct Task<'a> {
    pub path: &'a Path,
    pub words: &'a [&'a str],
    /// Where its standard output goes, in place of what it said.
    pub out: Option<Stdio>,
    /// When it is ended.
    pub limit: Option<Duration>,
    pub stop: Option<&'a Stop>,
}

/// Runs a tool that only reads, and ends it after `limit`: then there is no answer.
///
/// # Errors
/// It could not be started or waited for.
pub fn run_within(path: &Path, words: &[&str], limit: Duration) -> Result<Option<Ended>> {
    Task { path, words, out: None, limit: Some(limit), stop: None }.run()
}

impl Task<'_> {
    /// Runs it to its end, or ends it after its limit or when somebody asks for an end: then there is no answer.
    ///
    /// # Errors
    /// It could not be started or waited for.
    pub fn run(self) -> Result<Option<Ended>> {
        let context = || format!("running {}", self.path.display());
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        let (mut reader, writer) = std::io::pipe().with_context(context)?;
        let mut command = command(self.path, self.words);
        match self.out {
            Some(out) => command.stdout(out).stderr(writer),
            None => command.stdout(writer.try_clone()?).stderr(writer),
        };
        let mut child = command.spawn().with_context(context)?;
        // With it the writing ends of this process go.
        drop(command);
        // Drained while it runs: one that says much would wait for its reader.
        let listen = move || {
            let mut said = Vec::new();
            reader.read_to_end(&mut said).map(|_| said)
        };
        let listener = match std::thread::Builder::new().spawn(listen) {
            Ok(listener) => listener,
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(why).with_context(context);
            }
        };
        let status = loop {
            if let Some(status) = child.try_wait().with_context(context)? {
                break status;
            }
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || self.stop.is_some_and(Stop::asked) {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // Ctrl-C on a terminal ends it and asks us for an end.
        if status.code().is_none() && self.stop.is_some_and(Stop::asked) {
            return Ok(None);
        }
        let said =
            listener.join().map_err(|_| anyhow!("listening to {}", self.path.display()))?.with_context(context)?;
        Ok(Some(Ended { status: status.code(), said: String::from_utf8_lossy(&said).trim().to_owned() }))
    }
}
