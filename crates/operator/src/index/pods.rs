//! The pods of the index: as watches bring them, and by the names that their processes go by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use leadergroup_api::AccountGap;

use super::few::Few;
use super::gone::{Forgotten, GonePods};
use super::listing::Within;
use super::phases::Phases;
use super::{Cause, Index, Key, remove_from, version_of};
use crate::model::{EndSeen, Gone, Phase, PhaseSeen, Pod, Source};
use crate::time::{Mono, Now};
use crate::wire::PodWire;

/// The pods that exist.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    by_namespace: HashMap<String, BTreeMap<String, Pod>>,
    /// The pods whose processes go by another name than the pod's own, by that.
    by_alias: HashMap<Key, Few<String>>,
    watches: HashMap<Option<Arc<str>>, PodWatch>,
}

/// How far a watch of pods has come.
#[derive(Clone, Debug, Default)]
struct PodWatch {
    /// Counts the beginnings and the ends of its lists: between two of them nothing went unseen.
    epoch: u64,
    /// The highest version of a pod since its last list.
    version: u64,
    /// When its last list was complete.
    listed_at: Option<Mono>,
}

impl Pods {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.by_namespace.get(namespace)?.get(name)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Pod> {
        self.by_namespace.get_mut(&key.namespace)?.get_mut(&key.name)
    }

    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.by_namespace.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.by_namespace.iter().flat_map(|(namespace, pods)| pods.keys().map(move |name| Key::new(namespace, name)))
    }

    pub(super) fn begin_list(&mut self, within: Within<'_>) {
        let watch = self.watches.entry(within.cloned()).or_default();
        *watch = PodWatch { epoch: watch.epoch + 1, ..PodWatch::default() };
    }

    pub(super) fn end_list(&mut self, within: Within<'_>, now: Mono) {
        let watch = self.watches.entry(within.cloned()).or_default();
        (watch.epoch, watch.listed_at) = (watch.epoch + 1, Some(now));
    }

    /// Something may go unseen from now on, until the next list.
    pub(super) fn lose_sight(&mut self) {
        for watch in self.watches.values_mut() {
            (watch.epoch, watch.version) = (watch.epoch + 1, 0);
        }
    }

    fn watch_of(&self, namespace: &str) -> Option<&PodWatch> {
        self.watches.get(&Some(Arc::from(namespace))).or_else(|| self.watches.get(&None))
    }

    /// Notes the version of a pod that the watch brought.
    fn saw(&mut self, within: Within<'_>, version: Option<u64>) {
        let watch = self.watches.entry(within.cloned()).or_default();
        watch.version = watch.version.max(version.unwrap_or(0));
    }

    fn insert(&mut self, key: &Key, pod: Pod) {
        for alias in pod.aliases() {
            self.by_alias.entry(Key::new(&key.namespace, alias)).or_default().insert(key.name.clone());
        }
        self.by_namespace.entry(key.namespace.clone()).or_default().insert(key.name.clone(), pod);
    }

    fn remove(&mut self, key: &Key) -> Option<Pod> {
        let pods = self.by_namespace.get_mut(&key.namespace)?;
        let pod = pods.remove(&key.name)?;
        if pods.is_empty() {
            self.by_namespace.remove(&key.namespace);
        }
        for alias in pod.aliases() {
            remove_from(&mut self.by_alias, &Key::new(&key.namespace, alias), &key.name);
        }
        Some(pod)
    }

    /// Every pod.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Pod> {
        self.by_namespace.values_mut().flat_map(BTreeMap::values_mut)
    }

    pub(super) fn set_label(&mut self, key: &Key, uid: &str, label: &str, value: &str) {
        let known = self.by_namespace.get_mut(&key.namespace).and_then(|pods| pods.get_mut(&key.name));
        if let Some(pod) = known.filter(|pod| pod.object_uid() == uid) {
            Arc::make_mut(&mut pod.labels).insert(label.to_owned(), value.to_owned());
        }
    }
}

/// What is known of the pods of one namespace.
#[derive(Clone, Copy, Debug)]
pub struct PodsView<'a> {
    pub(super) all: &'a Pods,
    pub(super) gone: &'a GonePods,
    pub(super) phases: &'a Phases,
    pub(super) namespace: &'a str,
}

impl<'a> PodsView<'a> {
    /// The pod of that name.
    pub fn get(&self, name: &str) -> Option<&'a Pod> {
        self.all.get(self.namespace, name)
    }

    /// Every pod.
    pub fn all(&self) -> impl Iterator<Item = &'a Pod> + use<'a> {
        self.all.of(self.namespace)
    }

    /// The pods of that name, or whose processes may go by it.
    pub fn named(&self, name: &str) -> Vec<&'a Pod> {
        let aliases = self.all.by_alias.get(&Key::new(self.namespace, name)).into_iter().flatten();
        let names: BTreeSet<&str> = aliases.map(String::as_str).chain([name]).collect();
        names.into_iter().filter_map(|name| self.get(name)).collect()
    }

    /// The deleted pods of that name, or whose processes may go by it.
    pub fn gone_named(&self, name: &str) -> Vec<&'a Gone> {
        self.gone.named(self.namespace, name)
    }

    /// The deleted pods of which it is not known yet whether their kubelet reported their end.
    pub fn gone_unsettled(&self) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let (gone, phases) = (self.gone, self.phases);
        phases.of(self.namespace).flat_map(|key| gone.get(key)).filter(|pod| !pod.is_settled())
    }

    /// How many deleted pods that may live were forgotten.
    pub fn forgotten(&self) -> Forgotten {
        self.gone.forgotten(self.namespace)
    }

    /// Counts the beginnings and the ends of lists of the pods' watch: while it stays the same, nothing goes unseen.
    pub fn epoch(&self) -> u64 {
        self.all.watch_of(self.namespace).map_or(0, |watch| watch.epoch)
    }

    /// Since when nothing has gone unseen; none while the pods are being listed.
    pub fn watched_since(&self) -> Option<Mono> {
        self.all.watch_of(self.namespace)?.listed_at
    }

    /// Whether the watch has brought every pod that existed when this version of another object was written. The versions
    /// of all objects in one etcd are counted together; where Leases have an etcd of their own, this says too much, and a
    /// pod that goes by another's name may be seen late.
    pub fn is_up_to(&self, version: u64) -> bool {
        self.all.watch_of(self.namespace).is_some_and(|watch| watch.listed_at.is_some() && watch.version > version)
    }
}

impl Index {
    pub(super) fn apply_pod(&mut self, within: Within<'_>, wire: PodWire, source: Source, now: Now) {
        let key = Key::of(&wire.metadata);
        let version = version_of(&wire.metadata);
        self.pods.saw(within, version);
        let mut pod = Pod::from(wire);
        let known = self.pods.get(&key.namespace, &key.name);
        if known.is_some_and(|old| !old.is_same(&pod)) {
            // Another pod under the name: the old one was deleted, and the event missed.
            self.delete_pod(&key, false, now);
        }
        // A static pod's mirror that is back with its UID was not gone.
        let back = self.gone.take_back(&key.namespace, &pod);
        let known = self.pods.get(&key.namespace, &key.name).or(back.as_ref());
        pod.follow(known, now);
        // A backup may have been restored that was made before the pod was bound.
        if pod.node.is_none() && (known.is_some() && source == Source::List || pod.is_reported()) {
            pod.lose_binding();
        }
        let has_ended = pod.phase == Phase::Terminal && !known.is_some_and(|old| old.has_same_end(&pod));
        if has_ended {
            pod.phase_seen = self.phase_seen(&pod, known.is_some() && source == Source::Watch);
            let seen = EndSeen { version: version.unwrap_or(u64::MAX), at: now.mono };
            pod.ended = (!pod.is_settled()).then(|| Box::new(seen));
        }
        if known == Some(&pod) && back.is_none() {
            return;
        }
        self.share(&key, &mut pod);
        let mut touched = self.members.update(&key, &pod.labels, &self.groups, &pod);
        touched.extend(self.held_by(&key.namespace, &pod));
        touched.extend(self.members_named(&key.namespace, &pod.aliases()));
        self.pods.remove(&key);
        let is_open = pod.ended.is_some();
        self.pods.insert(&key, pod);
        if is_open {
            self.open_phase(&key);
        }
        for group in touched {
            self.note_restart(&group);
            self.touched.push((group, Cause::Change));
        }
    }

    /// The groups of candidates that have one of these names: another pod that goes by it concerns them.
    pub(super) fn members_named(&self, namespace: &str, names: &[String]) -> Vec<Key> {
        names.iter().flat_map(|name| self.members.groups_of(&Key::new(namespace, name))).cloned().collect()
    }

    /// Has the pod share its labels and its account's name with one next to it by name: those of a workload stand together,
    /// and most of them are alike.
    fn share(&self, key: &Key, pod: &mut Pod) {
        let Some(pods) = self.pods.by_namespace.get(&key.namespace) else { return };
        let before = pods.range::<str, _>((Bound::Unbounded, Bound::Excluded(&*key.name))).next_back();
        let from = pods.range::<str, _>((Bound::Included(&*key.name), Bound::Unbounded)).take(2);
        for (_, near) in before.into_iter().chain(from) {
            if near.account == pod.account {
                pod.account.clone_from(&near.account);
            }
            if near.labels == pod.labels {
                pod.labels.clone_from(&near.labels);
            }
        }
    }

    /// Whose word a terminal phase is: the kubelet's if its node is ready, and was ready when the pod ended. `witnessed`
    /// says that the watch showed the phase become terminal.
    fn phase_seen(&self, pod: &Pod, witnessed: bool) -> PhaseSeen {
        let Some(node) = &pod.node else {
            return if pod.may_have_run { PhaseSeen::NodeNotReady } else { PhaseSeen::Confirmed };
        };
        match self.nodes.get(node) {
            Some(node) if witnessed && node.reported_end_of(pod, true) => PhaseSeen::NodeReady,
            // Nodes may be listed later than pods.
            None if !witnessed && !self.nodes_hidden => PhaseSeen::Found,
            Some(node) if !witnessed && node.reported_end_of(pod, false) => PhaseSeen::Found,
            _ => PhaseSeen::NodeNotReady,
        }
    }

    /// `seen` says that the last known state was the pod's last.
    pub(super) fn delete_pod(&mut self, key: &Key, seen: bool, now: Now) {
        let Some(mut pod) = self.pods.remove(key) else { return };
        let node = pod.node.as_deref().and_then(|node| self.nodes.get(node));
        if node.is_some_and(|node| node.replaced_under(&pod)) {
            pod.lose(AccountGap::NodeReplaced);
        }
        let held = self.held_by(&key.namespace, &pod);
        let mut touched: BTreeSet<_> = self.members.remove_pod(key).into_iter().collect();
        let may_hold = !held.is_empty();
        touched.extend(held);
        touched.extend(self.members_named(&key.namespace, &pod.aliases()));
        if self.grouped.contains(&key.namespace) {
            let epoch = self.pods.watch_of(&key.namespace).map_or(0, |watch| watch.epoch);
            self.gone.remember(&key.namespace, Gone { pod, at: now.mono, seen, epoch }, may_hold);
        }
        for group in &touched {
            self.touch(group);
        }
    }
}
