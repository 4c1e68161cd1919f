//! `dmtool setup --two-volumes`: the two volumes that Docker's own pool stands on, and the options for it.

use super::Verb;
use super::setup_for::Makes;
use crate::names::{LvName, dm_escape};
use crate::observe::{Host, content, device, host, lvm};
use crate::plan::Plan;
use crate::plan::configure::Target;
use crate::plan::preflight::{self, Needs};
use crate::plan::refusal::Refusal;
use crate::plan::two_volumes::{Facts, Request, plan};
use serde_json::Value;

pub struct TwoVolumes {
    pub request: Request,
    pub devices: Vec<String>,
}

impl Verb for TwoVolumes {
    type Facts = Facts;
    const NAME: &'static str = "setup";

    fn asks(&self) -> bool {
        true
    }

    fn preflight(&self) -> Result<(), Refusal> {
        preflight::check(Self::NAME, &host::abilities(), Needs { lvm2: true, ..Needs::default() })
    }

    fn observe(&self, host: &mut Host) -> Facts {
        host.named.clone_from(&self.devices);
        // For what stands on pools, which LVM must not be let see.
        let _ = host.active_pools();
        let devices = self.devices.iter().map(|given| device::look(given)).collect();
        let lvm = lvm::look_before_a_group_is_made(host);
        let on = |lv: &LvName| content::of(lvm.as_ref().ok()?, self.request.vg.as_str(), lv.as_str());
        let (data, metadata) = (on(&self.request.data_lv), on(&self.request.metadata_lv));
        Facts { devices, lvm, data, metadata }
    }

    fn plan(&self, facts: &Facts) -> Result<Plan, Refusal> {
        plan(&self.request, facts)
    }

    fn same_ground(&self, before: &Facts, now: &Facts) -> bool {
        before.devices == now.devices
    }

    fn heading(&self) -> String {
        format!("Setup of two volumes in {} on {}:", self.request.vg, self.devices.join(", "))
    }

    /// The pool on top is Docker's own, and there from its first start.
    fn pool(&self, _facts: &Facts) -> Value {
        Value::Null
    }

    fn success(&self, _facts: &Facts, changed: bool) -> String {
        let Request { vg, data_lv, metadata_lv, .. } = &self.request;
        let verb = if changed { "are ready" } else { "were set up already, nothing was changed" };
        let device = |lv: &str| format!("/dev/mapper/{}", dm_escape(vg.as_str(), lv));
        format!(
            "{vg}/{data_lv} and {vg}/{metadata_lv} {verb}. Docker's options for them:\n  \
             \"storage-driver\": \"devicemapper\",\n  \
             \"storage-opts\": [\n    \"dm.datadev={}\",\n    \"dm.metadatadev={}\"\n  ]",
            device(data_lv.as_str()),
            device(metadata_lv.as_str())
        )
    }
}

impl Makes for TwoVolumes {
    fn makes<'a>(&self, facts: &'a Facts) -> Option<Target<'a>> {
        let Request { vg, data_lv, metadata_lv, .. } = &self.request;
        let lvm = facts.lvm.as_ref().ok()?;
        let volume =
            |lv: &str| (format!("/dev/mapper/{}", dm_escape(vg.as_str(), lv)), lvm.lv(vg.as_str(), lv).is_some());
        let (data, metadata) = (volume(data_lv.as_str()), volume(metadata_lv.as_str()));
        // With one of them there, what it holds is looked at once both are.
        let new = !data.1 && !metadata.1;
        (new || (data.1 && metadata.1)).then_some(Target::Volumes { new, data: data.0, metadata: metadata.0 })
    }
}
