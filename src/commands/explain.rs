//! `dmtool explain`: what a finding of `check` means, offline.

use super::{Globals, usage};
use crate::exit::Problem;
use crate::health::code::Code;
use crate::health::pages;
use crate::report::{health as report, json};

/// Say what a finding of check means, and what to do about it
///
/// Works offline, and on any machine. Without a code it lists them all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A code of dmtool check, such as data-nearly-full; none lists them all
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// # Errors
/// There is no such code.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Problem> {
    let Some(word) = &args.code else {
        if globals.voice.json {
            globals.voice.json(&json::codes());
        } else {
            globals.voice.answer(&report::codes());
        }
        return Ok(());
    };
    let code = Code::find(word).ok_or_else(|| {
        let near = nearest(word).map_or(String::new(), |near| format!(" (is {near} meant?)"));
        usage(globals, "explain", format!("there is no code {word}{near}"))
    })?;
    let page = pages::of(code);
    if globals.voice.json {
        globals.voice.json(&json::page(code, &page));
    } else {
        globals.voice.answer(&report::page(code, &page));
    }
    Ok(())
}

/// The code that shares most words with what was typed.
fn nearest(word: &str) -> Option<&'static str> {
    let shared = |code: &Code| code.word().split('-').filter(|part| word.contains(*part)).count();
    let best = Code::ALL.iter().max_by_key(|code| shared(code))?;
    (shared(best) > 0).then(|| best.word())
}
