//! `dmtool configure`: a pool into the configuration of what uses it.

mod containerd;
mod docker;

use super::Globals;
use crate::commands::activation;
use crate::exit::Problem;
use crate::names::quoted;
use crate::observe::config::ConfigFile;
use crate::observe::{Host, Looked, config, consumers, host};
use crate::plan::Plan;
use crate::plan::configure::{Around, Target};
use crate::plan::refusal::Refusal;
use crate::plan::step::Step;
use crate::sys::file;
use similar::TextDiff;
use std::cell::RefCell;
use std::path::Path;

pub use containerd::Configure as Containerd;
pub use docker::Configure as Docker;

/// Put a pool into the configuration of Docker or containerd
///
/// Everything else in the file stays as it was. The file is replaced in one step, and a copy of the old one is kept
/// beside it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Docker(docker::Args),
    Containerd(containerd::Args),
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    match args.action {
        Action::Docker(args) => docker::run(args, globals),
        Action::Containerd(args) => containerd::run(args, globals),
    }
}

/// A verb that configures, also as a part of another that makes the pool.
pub trait Configures: super::Verb {
    /// # Errors
    /// Every reason why nothing is begun.
    fn plan_on(&self, target: &Target<'_>, facts: &Self::Facts) -> Result<Plan, Refusal>;
}

/// What one run remembers of its earlier looks.
#[derive(Default)]
struct Memory {
    /// What this run changes in the file.
    diff: RefCell<Option<String>>,
    /// What brings the file back that this run replaces.
    back: RefCell<Option<String>>,
    /// The daemon that ran at its first look; 0 for none.
    daemon: RefCell<Option<u32>>,
}

impl Memory {
    /// Whether this is another daemon than the first that was seen.
    fn restarted(&self, daemon: Option<u32>) -> bool {
        let daemon = daemon.unwrap_or(0);
        *self.daemon.borrow_mut().get_or_insert(daemon) != daemon
    }

    /// Keeps what a plan changes in the file.
    fn keep(&self, plan: &Plan) {
        let changed = plan.steps.iter().filter(|planned| !planned.already).find_map(|planned| match &planned.step {
            Step::WriteConfig { path, old, text, backup } => {
                Some((path, old.as_deref().unwrap_or_default(), text, backup))
            }
            _ => None,
        });
        if let Some((path, before, after, backup)) = changed {
            let back = match backup {
                Some(backup) => format!("mv {} {}", quoted(backup), quoted(path)),
                None => format!("rm {}", quoted(path)),
            };
            self.back.borrow_mut().get_or_insert(back);
            let diff = TextDiff::from_lines(before, after.as_str());
            let header = (format!("{path} as it is"), format!("{path} as it will be"));
            let text = diff.unified_diff().header(&header.0, &header.1).to_string().trim_end().to_owned();
            self.diff.borrow_mut().get_or_insert(text);
        }
    }

    fn back(&self) -> Option<String> {
        self.back.borrow().clone()
    }

    /// For a terminal: a tab is one of the characters that do not reach it raw.
    fn picture(&self) -> Option<String> {
        self.diff.borrow().as_ref().map(|diff| diff.replace('\t', "    "))
    }

    fn json(&self) -> (&'static str, serde_json::Value) {
        ("diff", self.diff.borrow().clone().map_or(serde_json::Value::Null, Into::into))
    }
}

/// The file, where what was to be read of it and of its reader could be; what is wrong with the file itself comes first.
fn unless_unseen(file: Looked<ConfigFile>, seen: Looked<()>) -> Looked<ConfigFile> {
    match (file, seen) {
        (Ok(file), Err(why)) if file.barred.is_none() => Err(why),
        (file, _) => file,
    }
}

/// What is looked at for every consumer; the file comes last, so that nothing that takes its time stands between this
/// look and the write.
fn around(host: &mut Host, path: &str, own: &str, restarted: bool) -> Around {
    Around {
        ground: activation::look(host),
        restarted,
        is_its_own: path == own,
        consumers: consumers::consumers(),
        systemd: host::has_systemd(),
        age: file::age(Path::new(path)),
        file: config::look(path),
    }
}
