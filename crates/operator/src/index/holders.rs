//! Which groups' Leases a pod may hold, by the names that its processes may go by.
//!
//! Most templates leave one name that a holder's pod may have. Groups are filed under it, so a pod is compared only with
//! holders that it may be.

use std::collections::{BTreeSet, HashMap};

use leadergroup_identity::Identity;

use super::Key;
use super::few::Few;
use crate::model::Pod;

#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    by_name: HashMap<Key, Few<Key>>,
    /// Groups whose holder's pod may have any name, by namespace.
    unfiled: HashMap<String, Few<Key>>,
    filed: HashMap<Key, Option<Key>>,
}

impl Holders {
    /// The group's Lease has this holder.
    pub(super) fn file(&mut self, group: &Key, identity: &Identity, holder: Option<&str>) {
        self.remove(group);
        let Some(holder) = holder else { return };
        let name = identity.only_name(holder).map(|name| Key::new(&group.namespace, name));
        match &name {
            Some(name) => self.by_name.entry(name.clone()).or_default().insert(group.clone()),
            None => self.unfiled.entry(group.namespace.clone()).or_default().insert(group.clone()),
        }
        self.filed.insert(group.clone(), name);
    }

    pub(super) fn remove(&mut self, group: &Key) {
        match self.filed.remove(group) {
            Some(Some(name)) => super::remove_from(&mut self.by_name, &name, group),
            Some(None) => super::remove_from(&mut self.unfiled, &group.namespace, group),
            None => {}
        }
    }

    /// Groups whose holder may be this pod, unless their template says otherwise.
    pub(super) fn of<'a>(&'a self, namespace: &str, pod: &Pod) -> BTreeSet<&'a Key> {
        let all_names = pod.aliases().into_iter().chain([pod.name.clone()]);
        let filed = all_names.filter_map(|name| self.by_name.get(&Key::new(namespace, name))).flatten();
        filed.chain(self.unfiled.get(namespace).into_iter().flatten()).collect()
    }
}
