//! Tools run from outside, from fixed directories and with a clean environment.

use anyhow::{Result, anyhow, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

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
    let output = Command::new(&path)
        .args(words)
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|why| anyhow!("starting {}: {why}", path.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        let said = [text(&output.stdout), text(&output.stderr)].join("\n");
        bail!("{tool} {}: {}\n{}", words.join(" "), output.status, said.trim());
    }
    Ok(text(&output.stdout))
}
