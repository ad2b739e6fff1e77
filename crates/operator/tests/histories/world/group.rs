//! What happens to the group: it is created again, its spec can't be used, its namespace is swept.

use serde_json::json;

use super::World;
use crate::lies::Lie;
use crate::support;
use crate::support::api::Kind;

/// Why a spec can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    Identity,
    Selector,
}

impl World {
    /// Deletes the group, which all operators know, or not.
    pub fn delete_group(&mut self, is_known: bool) {
        self.is_account_lost |= !is_known;
        self.api.delete(Kind::Group, "web");
    }

    /// An operator restarts, and knows of the group's account only what is stored. What outlived its pod unseen is known to
    /// nobody without it, so it lives on only if it holds the Lease.
    pub fn forget_account(&mut self) {
        match self.api.get(Kind::Group, "web") {
            Some(group) if group["status"]["account"].is_null() => self.bury_standbys(),
            Some(_) => {}
            None => self.is_account_lost = true,
        }
    }

    /// Creates the group if it does not exist.
    pub fn create_group(&mut self) {
        if self.api.get(Kind::Group, "web").is_some() {
            return;
        }
        let mut group = self.setup.group();
        self.groups_created += 1;
        group["metadata"]["uid"] = json!(format!("group-{}", self.groups_created));
        group["metadata"]["creationTimestamp"] = json!(support::time(i64::try_from(self.now).unwrap()));
        self.api.put(Kind::Group, group);
        if std::mem::take(&mut self.is_account_lost) {
            self.bury_standbys();
        }
        self.note(Lie::GroupRecreated);
    }

    /// The group's spec can't be used any more; or again, without a flaw.
    pub fn set_flaw(&mut self, flaw: Option<Flaw>) {
        let Some(mut group) = self.api.get(Kind::Group, "web").cloned() else { return };
        let mut spec = self.setup.group()["spec"].take();
        match flaw {
            Some(Flaw::Identity) => spec["identity"] = json!("{nothing}"),
            Some(Flaw::Selector) => {
                let expression = json!({"key": "app", "operator": "Resembles", "values": ["web"]});
                spec["candidates"] = json!({"selector": {"matchExpressions": [expression]}});
            }
            None => {}
        }
        if group["spec"] == spec {
            return;
        }
        if flaw.is_some() {
            self.note(Lie::SpecUnusable);
        }
        group["spec"] = spec;
        group["metadata"]["generation"] = json!(group["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        self.api.put(Kind::Group, group);
    }

    /// So many candidates come and are deleted without a report; nobody is told what became of them.
    pub fn burst(&mut self, pods: usize) {
        let node = &self.machines[self.nodes[0]].name;
        for number in 0..pods {
            let name = format!("extra-{number}");
            let uid = format!("{name}-{}", self.now);
            let mut pod = support::pod(&name, &uid, node, "Running", &[("app", support::running(0))]);
            pod["metadata"]["creationTimestamp"] = json!(support::time(i64::try_from(self.now).unwrap()));
            pod["status"]["containerStatuses"][0]["restartCount"] = json!(0);
            self.api.put(Kind::Pod, pod);
            self.api.delete(Kind::Pod, &name);
        }
        self.note(Lie::Burst);
    }
}
