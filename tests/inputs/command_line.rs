//! The words of a command line.

use dmtool::cli::{Cli, command};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Lines are words. They are the operator's own: how long clap takes for very long ones is not asked.
pub fn command_line(data: &[u8]) {
    let words = data
        .get(..2048)
        .unwrap_or(data)
        .split(|byte| *byte == b'\n')
        .take(64)
        .map(|word| OsString::from_vec(word.to_vec()));
    let words: Vec<OsString> = std::iter::once("dmtool".into()).chain(words).collect();
    // What is asked with the verb's own arguments alone is what the whole command line would take.
    assert_eq!(Cli::of(&words).is_ok(), command().try_get_matches_from(&words).is_ok());
    match Cli::of(&words) {
        Ok(cli) => assert!(!cli.voice().quiet || !cli.voice().verbose),
        Err(why) => {
            let (text, status) = (why.render().to_string(), why.exit_code());
            assert!(!text.trim().is_empty() && (status == 2) == why.use_stderr() && [0, 2].contains(&status));
        }
    }
}
