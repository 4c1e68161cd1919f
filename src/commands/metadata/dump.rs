//! `dmtool metadata dump`: the map of a pool as text.

use super::view::{Work, interrupted, open, told, unseen, would};
use crate::commands::{Globals, usage};
use crate::exit::{DONE, Kind, Problem};
use crate::observe::Unseen;
use crate::report::json;
use crate::sys::exec::{self, Task};
use crate::sys::{copy, dump};
use anyhow::{anyhow, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const NAME: &str = "metadata dump";

/// Write the metadata of a pool as XML, into a file or to standard output
///
/// As thin_dump writes it. The file is there when it is whole; one that is there already is left alone. dmtool metadata
/// restore takes it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// Where to; without it, standard output
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: &Args, globals: &Globals) -> Result<u8, Problem> {
    if globals.voice.json && args.file.is_none() {
        return Err(usage(globals, NAME, "with --json the dump needs a FILE to go to".to_owned()));
    }
    if let Some(file) = &args.file
        && file.symlink_metadata().is_ok()
    {
        let problem = Problem::new(Kind::Refused, format!("{} is there already, and is left alone", file.display()));
        return told(NAME, globals, Err(problem.hint("give the dump another name")));
    }
    if globals.dry_run {
        let to = args.file.as_ref().map_or("standard output".to_owned(), |file| file.display().to_string());
        return told(NAME, globals, would(NAME, &args.pool, ("dump", &format!(" to {to}")), globals));
    }
    told(NAME, globals, write(args, globals))
}

fn write(args: &Args, globals: &Globals) -> Result<u8, Problem> {
    let Work { pool, view, stop } = open(NAME, &args.pool, globals)?;
    let tool =
        exec::find("thin_dump").ok_or_else(|| unseen(&pool.name, &Unseen("thin_dump is not installed".to_owned())))?;
    let metadata = view.path().to_string_lossy().into_owned();
    let words: Vec<&str> = view.is_snapshot().then_some("-m").into_iter().chain([&*metadata]).collect();
    // The XML of a live pool does not say how much data that has.
    let blocks = pool.figures().map_or(0, |figures| figures.data_total.0);
    let run = |to: &mut (dyn Write + Send)| {
        let (reader, writer) = std::io::pipe()?;
        let task = Task { path: &tool, words: &words, out: Some(Stdio::from(writer)), limit: None, stop: Some(&stop) };
        let (ended, copied) = std::thread::scope(|scope| {
            let copier = scope.spawn(|| dump::complete(reader, to, blocks));
            (task.run(), copier.join())
        });
        let copied = copied.map_err(|_| anyhow!("writing the dump"))?;
        match ended? {
            None => return Ok(false),
            // Its reader went away first, and says why.
            Some(ended) if ended.status != Some(0) && copied.is_ok() => {
                view.was_kept()?;
                bail!("{} ended with status {:?}: {}", tool.display(), ended.status, ended.said);
            }
            Some(_) => {}
        }
        copied?;
        view.was_kept()?;
        Ok(true)
    };
    let written = match &args.file {
        Some(file) => {
            let _busy = globals.voice.busy(&format!("dumping the metadata of {}", pool.name));
            copy::into_new(file, |mut file| run(&mut file))
        }
        // A reader that went away (head, less) is no error of ours.
        None => run(&mut std::io::stdout()).or_else(|why| if is_gone(&why) { Ok(true) } else { Err(why) }),
    };
    drop(view);
    let failed = |why: &anyhow::Error| {
        Problem::from_error(Kind::Failed, format!("the metadata of {} could not be dumped", pool.name), why)
            .hint(format!("see whether it is damaged: dmtool metadata check {}", pool.name))
    };
    if !written.map_err(|why| failed(&why))? {
        return Err(interrupted(NAME));
    }
    if let Some(file) = &args.file {
        globals.voice.say(&format!("The metadata of {} is in {}.", pool.name, file.display()));
        if globals.voice.json {
            globals.voice.json(&json::metadata_dump(&pool, Path::new(file)));
        }
    }
    Ok(DONE)
}

fn is_gone(why: &anyhow::Error) -> bool {
    let kind = why.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
