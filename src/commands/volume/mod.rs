//! `dmtool volume`: the thin volumes of a pool.

mod create;
mod ground;
mod list;
mod look;
mod mount;
mod orphans;
mod recycle;
mod remove;
mod show;
mod snapshot;
mod trim;

use super::Globals;
use crate::exit::Problem;

/// List and make the thin volumes of a pool
///
/// Of LVM's pools LVM knows the volumes; of loop pools and bare tables the register does, and dmtool activate brings
/// them back with their pool.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    List(list::Args),
    Show(show::Args),
    Create(create::Args),
    Snapshot(snapshot::Args),
    Remove(remove::Args),
    Mount(mount::MountArgs),
    Unmount(mount::UnmountArgs),
    Orphans(orphans::Args),
    Recycle(recycle::Args),
    Trim(trim::Args),
}

/// # Errors
/// The problem to report and to end with.
pub fn run(args: Args, globals: &Globals) -> Result<(), Problem> {
    match args.action {
        Action::List(args) => list::run(args, globals),
        Action::Show(args) => show::run(&args, globals),
        Action::Create(args) => create::run(args, globals),
        Action::Snapshot(args) => snapshot::run(args, globals),
        Action::Remove(args) => remove::run(args, globals),
        Action::Mount(args) => mount::run(args, globals),
        Action::Unmount(args) => mount::undo(args, globals),
        Action::Orphans(args) => orphans::run(args, globals),
        Action::Recycle(args) => recycle::run(args, globals),
        Action::Trim(args) => trim::run(args, globals),
    }
}
