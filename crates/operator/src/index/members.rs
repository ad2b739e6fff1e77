//! Which pods are candidates of which groups, kept as pods and groups come and go.
//!
//! Most selectors require one label to have one value. Groups are filed under that pair, so a pod is compared only with
//! groups that may select it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kube::core::Expression;

use super::few::Few;
use super::{Group, Key, Plan, remove_from};
use crate::model::Pod;

/// A label that a selector requires: namespace, key, value.
type Label = (String, String, String);

#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pods: BTreeMap<Key, Few<String>>,
    groups: HashMap<Key, Few<Key>>,
    by_label: HashMap<Label, Few<Key>>,
    /// Groups whose selector requires no single value, by namespace.
    unfiled: HashMap<String, Few<Key>>,
    filed: HashMap<Key, Label>,
}

impl Members {
    /// The names of the group's candidates.
    pub(super) fn of(&self, group: &Key) -> impl Iterator<Item = &String> {
        self.pods.get(group).into_iter().flatten()
    }

    /// The groups of the pod of that name.
    pub(super) fn groups_of<'a>(&'a self, pod: &Key) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.groups.get(pod).into_iter().flatten()
    }

    /// Every group with the names of its candidates.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Few<String>)> {
        self.pods.iter()
    }

    pub(super) fn add_group<'p>(&mut self, key: &Key, plan: &Plan, pods: impl Iterator<Item = &'p Pod>) {
        let required = plan.selector.clone().into_iter().find_map(|expression| match expression {
            Expression::Equal(label, value) => Some((key.namespace.clone(), label, value)),
            _ => None,
        });
        match required {
            Some(label) => {
                self.by_label.entry(label.clone()).or_default().insert(key.clone());
                self.filed.insert(key.clone(), label);
            }
            None => {
                self.unfiled.entry(key.namespace.clone()).or_default().insert(key.clone());
            }
        }
        let selected: Few<_> = pods.filter(|p| plan.selects(p)).map(|p| p.name.clone()).collect();
        for pod in &selected {
            self.groups.entry(Key::new(&key.namespace, pod)).or_default().insert(key.clone());
        }
        self.pods.insert(key.clone(), selected);
    }

    pub(super) fn remove_group(&mut self, key: &Key) {
        if let Some(label) = self.filed.remove(key) {
            remove_from(&mut self.by_label, &label, key);
        } else {
            remove_from(&mut self.unfiled, &key.namespace, key);
        }
        for pod in self.pods.remove(key).unwrap_or_default() {
            remove_from(&mut self.groups, &Key::new(&key.namespace, pod), key);
        }
    }

    /// Notes which groups the pod belongs to now; returns those and the ones it belonged to before.
    pub(super) fn update(
        &mut self,
        pod: &Key,
        labels: &BTreeMap<String, String>,
        groups: &BTreeMap<Key, Group>,
        record: &Pod,
    ) -> BTreeSet<Key> {
        let filed = labels
            .iter()
            .filter_map(|(label, value)| self.by_label.get(&(pod.namespace.clone(), label.clone(), value.clone())));
        let now: BTreeSet<Key> = filed
            .chain(self.unfiled.get(&pod.namespace))
            .flatten()
            .filter(|key| groups.get(key).is_some_and(|g| g.plan.as_ref().is_ok_and(|plan| plan.selects(record))))
            .cloned()
            .collect();
        let before: BTreeSet<Key> = self.groups.get(pod).into_iter().flatten().cloned().collect();
        for left in before.difference(&now) {
            self.pods.entry(left.clone()).or_default().remove(&pod.name);
        }
        for joined in now.difference(&before) {
            self.pods.entry(joined.clone()).or_default().insert(pod.name.clone());
        }
        let touched = &before | &now;
        if now.is_empty() {
            self.groups.remove(pod);
        } else {
            self.groups.insert(pod.clone(), now.into_iter().collect());
        }
        touched
    }

    /// Takes the pod out of its groups, and returns them.
    pub(super) fn remove_pod(&mut self, pod: &Key) -> Few<Key> {
        let groups = self.groups.remove(pod).unwrap_or_default();
        for group in &groups {
            if let Some(names) = self.pods.get_mut(group) {
                names.remove(&pod.name);
            }
        }
        groups
    }
}
