//! `dmtool metadata check`: whether the map of a pool is whole.

use super::view::{Work, interrupted, open, told, unseen, would};
use crate::commands::Globals;
use crate::exit::{DONE, FAILED, Problem};
use crate::observe::Unseen;
use crate::observe::metadata::{self, Head, Patience, Verdict};
use crate::observe::snapshot;
use crate::report::json;

const NAME: &str = "metadata check";

/// Have thin_check look at the metadata of a pool
///
/// Changes nothing. A pool that is up is looked at through a metadata snapshot: then its maps are checked, and how blocks
/// are counted is not. Exit status: 0 clean, 1 damaged, 3 could not look.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
}

/// The exit status.
///
/// # Errors
/// It could not look.
pub fn run(args: &Args, globals: &Globals) -> Result<u8, Problem> {
    if globals.dry_run {
        return told(NAME, globals, would(NAME, &args.pool, ("check", ""), globals));
    }
    told(NAME, globals, look(args, globals))
}

fn look(args: &Args, globals: &Globals) -> Result<u8, Problem> {
    let Work { pool, view, stop } = open(NAME, &args.pool, globals)?;
    let busy = globals.voice.busy(&format!("checking the metadata of {}", pool.name));
    let marks = match pool.figures() {
        Some(figures) => Some((figures.transaction_id, figures.needs_check)),
        None => match metadata::head(view.path()).map_err(|why| unseen(&pool.name, &why))? {
            Head::Of(superblock) => Some((superblock.transaction_id, superblock.needs_check)),
            Head::Blank => {
                return Err(unseen(
                    &pool.name,
                    &Unseen("it is blank: the pool was never used, or it was wiped".to_owned()),
                ));
            }
            Head::Foreign => None,
        },
    };
    let verdict = metadata::check(view.path(), view.is_snapshot(), Patience::Until(&stop));
    drop(busy);
    let verdict = view.was_kept().and(verdict).map_err(|why| unseen(&pool.name, &why))?;
    let is_snapshot = view.is_snapshot();
    if !is_snapshot && verdict == Verdict::Clean {
        // Unnoted, a snapshot of before is not released: that says so.
        let _ = snapshot::found_whole(&pool.name);
    }
    // Released before anything is said.
    drop(view);
    let (word, said) = match &verdict {
        Verdict::Late => return Err(interrupted(NAME)),
        Verdict::Clean => ("clean", None),
        Verdict::Leaked(said) => ("leaked", Some(said)),
        Verdict::Damaged(said) => ("damaged", Some(said)),
    };
    let text = text(&pool.name, &verdict, marks, is_snapshot);
    if globals.voice.json {
        globals.voice.json(&json::metadata_check(&pool, word, marks, is_snapshot, said));
    } else if !globals.voice.quiet || word != "clean" {
        globals.voice.answer(&text);
    }
    Ok(if word == "clean" { DONE } else { FAILED })
}

fn text(pool: &str, verdict: &Verdict, marks: Option<(u64, bool)>, snapshot: bool) -> String {
    let mut lines = match verdict {
        Verdict::Damaged(said) => {
            let mut lines = vec![format!("The metadata of {pool} is damaged:")];
            lines.extend(said.split("; ").map(|line| format!("  {line}")));
            lines.push(format!("To see what can be saved: dmtool repair {pool} --dry-run"));
            lines
        }
        Verdict::Leaked(said) => vec![
            format!(
                "The metadata of {pool} counts blocks that nothing uses: nothing is lost, and nothing comes up with it."
            ),
            format!("  {said}"),
            format!("To mend it: dmtool repair {pool}"),
        ],
        Verdict::Clean | Verdict::Late => {
            let transaction = marks.map_or(String::new(), |(transaction, _)| format!(" (transaction {transaction})"));
            vec![format!("The metadata of {pool} is clean{transaction}.")]
        }
    };
    if snapshot && *verdict == Verdict::Clean {
        lines.push(
            "The pool is up: its maps were checked, how blocks are counted can be checked while it is down.".to_owned(),
        );
    }
    if marks.is_some_and(|(_, needs_check)| needs_check) {
        lines.push(format!(
            "It carries the mark needs_check, so the kernel keeps the pool read-only. To take it off: dmtool repair {pool}"
        ));
    }
    lines.join("\n")
}
