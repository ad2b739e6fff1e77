//! Deleted pods, as far as they are remembered: a holder may be one of them, and its processes may live on.
//!
//! They are kept by namespace rather than by group: a pod whose labels, or whose group, come and go is the same pod.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Key;
use crate::model::{Gone, Pod};
use crate::time::Mono;

/// How many deleted pods a namespace remembers of those that ended and may be a holder, and how many of the rest, besides
/// those that may live.
const MAX_RECENT: usize = 64;
/// How many deleted pods a namespace remembers whose processes may live under a name that can be used again, and how many
/// of other names. Beyond it the namespace only knows that there were more.
const MAX_LOST: usize = 256;
/// How many deleted pods a namespace remembers of those of which it is not known yet whether their kubelet reported their end.
const MAX_OPEN: usize = 1_024;
/// How long one is remembered although no Lease names it: the Lease watch may be behind.
const KEPT_FOR: Mono = Mono::from_mins(1);

/// A deleted pod, and whether it may be the present holder of a group's Lease.
#[derive(Clone, Debug)]
struct Entry {
    gone: Gone,
    may_hold: bool,
}

impl Entry {
    fn may_live(&self) -> bool {
        self.gone.may_live(&self.gone.pod.containers)
    }

    /// Whether its kubelet is known not to have reported its end.
    fn is_lost(&self) -> bool {
        self.may_live() && self.gone.pod.is_settled()
    }

    /// Whether a later pod of the same name could be taken for it, so that forgetting it would hide a process that may
    /// live.
    fn hides_process(&self) -> bool {
        self.may_live() && self.gone.pod.name_is_reusable()
    }

    fn is_recent(&self) -> bool {
        !self.may_live() && !self.may_hold
    }
}

/// The deleted pods of one namespace.
#[derive(Clone, Debug, Default)]
struct Namespace {
    by_name: BTreeMap<String, Vec<Entry>>,
    /// The names of those pods whose processes go by another name, by that.
    aliases: HashMap<String, BTreeSet<String>>,
    forgotten: Forgotten,
}

/// How many deleted pods whose processes may live were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Those whose names can be used again.
    pub reusable: u64,
    /// All of them.
    pub all: u64,
}

impl Namespace {
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.by_name.values().flatten()
    }

    /// Forgets all others, and counts those of them that may live.
    fn remember_only(&mut self, is_remembered: impl Fn(&mut Entry) -> bool) {
        let mut forgotten = self.forgotten;
        self.retain(|entry| {
            let is_kept = is_remembered(entry);
            forgotten.all += u64::from(!is_kept && entry.may_live());
            forgotten.reusable += u64::from(!is_kept && entry.hides_process());
            is_kept
        });
        self.forgotten = forgotten;
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        self.by_name.retain(|_, all| {
            all.retain_mut(&mut keep);
            !all.is_empty()
        });
        let by_name = &self.by_name;
        self.aliases.retain(|alias, names| {
            let goes_by_it = |entry: &Entry| entry.gone.pod.aliases().contains(alias);
            names.retain(|name| by_name.get(name).is_some_and(|all| all.iter().any(goes_by_it)));
            !names.is_empty()
        });
    }

    /// Forgets the oldest of those that `counts` until no more than `max` are left.
    fn trim(&mut self, max: usize, counts: fn(&Entry) -> bool) {
        while self.all().filter(|entry| counts(entry)).count() > max
            && let Some(oldest) = self.all().filter(|entry| counts(entry)).min_by_key(|entry| entry.gone.at)
        {
            let (name, uid, at) = (oldest.gone.pod.name.clone(), oldest.gone.pod.uid.clone(), oldest.gone.at);
            self.remember_only(|e| e.gone.pod.name != name || e.gone.pod.uid != uid || e.gone.at != at);
        }
    }
}

/// The deleted pods, by namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct GonePods(HashMap<String, Namespace>);

impl GonePods {
    /// Every remembered pod of the namespace.
    pub(super) fn of(&self, namespace: &str) -> impl Iterator<Item = &Gone> {
        self.0.get(namespace).into_iter().flat_map(Namespace::all).map(|entry| &entry.gone)
    }

    /// Every remembered pod, with its namespace.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Gone)> {
        self.0.iter().flat_map(|(namespace, all)| all.all().map(move |entry| (namespace.as_str(), &entry.gone)))
    }

    /// Those of that name, or whose processes may go by it.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Vec<&Gone> {
        let Some(all) = self.0.get(namespace) else { return Vec::new() };
        let aliases = all.aliases.get(name).into_iter().flatten();
        let names: BTreeSet<&str> = aliases.map(String::as_str).chain([name]).collect();
        let gone = names.into_iter().filter_map(|name| all.by_name.get(name)).flatten().map(|entry| &entry.gone);
        gone.filter(|gone| gone.pod.name == name || gone.pod.aliases().iter().any(|alias| alias == name)).collect()
    }

    /// How many pods of the namespace that may live were forgotten.
    pub(super) fn forgotten(&self, namespace: &str) -> Forgotten {
        self.0.get(namespace).map_or(Forgotten::default(), |all| all.forgotten)
    }

    /// The remembered pods of exactly that name.
    pub(super) fn get(&self, key: &Key) -> impl Iterator<Item = &Pod> {
        let named = self.0.get(&key.namespace).and_then(|all| all.by_name.get(&key.name));
        named.into_iter().flatten().map(|entry| &entry.gone.pod)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> impl Iterator<Item = &mut Pod> {
        let named = self.0.get_mut(&key.namespace).and_then(|all| all.by_name.get_mut(&key.name));
        named.into_iter().flatten().map(|entry| &mut entry.gone.pod)
    }

    /// Every remembered pod.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Pod> {
        self.0.values_mut().flat_map(|all| all.by_name.values_mut()).flatten().map(|entry| &mut entry.gone.pod)
    }

    /// Adds one, which may be the present holder of a group's Lease or not.
    pub(super) fn remember(&mut self, namespace: &str, gone: Gone, may_hold: bool) {
        let all = self.0.entry(namespace.to_owned()).or_default();
        for alias in gone.pod.aliases() {
            all.aliases.entry(alias).or_default().insert(gone.pod.name.clone());
        }
        all.by_name.entry(gone.pod.name.clone()).or_default().push(Entry { gone, may_hold });
        all.trim(MAX_RECENT, Entry::is_recent);
        all.trim(MAX_RECENT, |entry| entry.may_hold && !entry.may_live());
        all.trim(MAX_LOST, |entry| entry.is_lost() && entry.hides_process());
        all.trim(MAX_LOST, |entry| entry.is_lost() && !entry.hides_process());
        all.trim(MAX_OPEN, |entry| !entry.gone.pod.is_settled());
    }

    /// Forgets those that no Lease's holder fits, once no event of theirs can be late. One whose processes may live can
    /// take the Lease at any time, so it stays.
    pub(super) fn purge(&mut self, namespace: &str, now: Mono, may_hold: impl Fn(&Pod) -> bool) {
        if let Some(all) = self.0.get_mut(namespace) {
            all.remember_only(|entry| {
                entry.may_hold = may_hold(&entry.gone.pod);
                entry.gone.at + KEPT_FOR > now || !entry.is_recent()
            });
        }
    }

    /// The pod exists after all: returns its last state.
    pub(super) fn take_back(&mut self, namespace: &str, pod: &Pod) -> Option<Pod> {
        let all = self.0.get_mut(namespace)?;
        let back = all.by_name.get(&pod.name)?.iter().find(|entry| entry.gone.pod.is_same(pod))?.gone.pod.clone();
        all.retain(|entry| !entry.gone.pod.is_same(pod));
        Some(back)
    }
}
