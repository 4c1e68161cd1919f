//! `dmtool setup --loop`: a pool without a disk, on two sparse files.

use super::Verb;
use super::activation::known;
use super::setup_for::Makes;
use crate::observe::pools::{self, Kind, Pool};
use crate::observe::register::{self, Place};
use crate::observe::standing::{self, There};
use crate::observe::{Host, device, host, looked};
use crate::plan::Plan;
use crate::plan::configure::Target;
use crate::plan::loop_pool::{Facts, Request, plan};
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::report::json;
use crate::units::Bytes;
use serde_json::Value;

pub struct LoopPool {
    pub request: Request,
}

impl Verb for LoopPool {
    type Facts = Facts;
    const NAME: &'static str = "setup";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs { thin_check: true, ..Needs::default() })
    }

    fn observe(&self, host: &mut Host) -> Facts {
        let name = self.request.name.as_str();
        let active = looked(host.active_pools());
        let above = active.as_ref().map(|active| device::above(active)).unwrap_or_default();
        let register = register::read();
        let entry = register.as_ref().ok().and_then(|all| all.iter().find(|entry| entry.name == name));
        let known = entry.map(|entry| known(entry, active.as_deref().unwrap_or_default()));
        // Where the register says that the files are, if it does.
        let wished = self.request.record();
        let recorded = known.as_ref().and_then(|known| known.record.as_ref().ok());
        let file = |place: &Place| standing::file_at(place.path());
        let at = recorded.unwrap_or(&wished);
        let (data, metadata) = (file(&at.data), file(&at.metadata));
        let copy = at.copy().is_some_and(|copy| copy.is_file());
        let pools = register.and_then(|register| Ok(pools::with_register(active?, &register)));
        Facts {
            names: device::dm_names(),
            room: standing::room(at.data.path().rsplit_once('/').map_or("/", |(folder, _)| folder)),
            pool: pools.map(|pools| pools.into_iter().find(|pool| pool.name == name)),
            known,
            above,
            data,
            metadata,
            copy,
        }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    /// What is free changes all the time; the files must not.
    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        (&before.data, &before.metadata) == (&now.data, &now.metadata)
    }

    fn heading(&self) -> String {
        format!("Setup of the thin pool {} on two files in {}:", self.request.name, self.request.dir())
    }

    fn pool(&self, facts: &Facts) -> Value {
        match &facts.pool {
            Ok(Some(pool)) => json::pool(pool),
            _ => Value::Null,
        }
    }

    fn success(&self, facts: &Facts, changed: bool) -> String {
        let Ok(Some(pool)) = &facts.pool else { return String::new() };
        let verb = if changed { "is ready" } else { "was set up already, nothing was changed" };
        let size = pool.live.as_ref().map_or(Bytes(0), |live| live.length.bytes());
        let direct = [&facts.data, &facts.metadata].iter().all(|there| {
            matches!(there, Ok(There::File(file)) if file.loop_device.as_ref().is_some_and(|found| found.direct))
        });
        let cache =
            if direct { "direct I/O" } else { "through the page cache, since its file system has no direct I/O" };
        let file = pool.recorded().map_or("", |record| record.data.path());
        format!("{} {verb}: {size} on {file}, {cache}.", pool.name)
    }

    fn advice(&self, facts: &Facts) -> Vec<String> {
        let Ok(Some(Pool { name, .. })) = &facts.pool else { return Vec::new() };
        vec![format!(
            "{name} is on files: good for testing, slow and easy to overfill in production. There use a disk: \
             dmtool setup DEVICE"
        )]
    }
}

impl Makes for LoopPool {
    fn makes<'a>(&self, facts: &'a Facts) -> Option<Target<'a>> {
        let name = self.request.name.to_string();
        match facts.pool.as_ref().ok()? {
            Some(pool) => pool.live.is_some().then_some(Target::Pool(pool)),
            None => Some(Target::NewPool { dm_name: name.clone(), name, kind: Kind::Loop }),
        }
    }
}
