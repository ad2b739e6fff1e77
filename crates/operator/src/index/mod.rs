//! The index: watch events in, a compact model of groups, Leases, pods and nodes; out comes which groups to decide
//! again.
//!
//! A watch that was interrupted lists everything again. The index compares that list with what it has, so an object
//! deleted meanwhile is noticed too; its last known state is kept, and that it was deleted proves nothing more.

mod few;
mod former;
mod gone;
mod group;
mod holders;
mod leases;
mod listing;
mod members;
mod nodes;
mod observed;
mod phases;
mod pods;
mod routes;
mod tenures;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use leadergroup_api::LeaderGroupStatus;

use few::Few;
pub use former::Former;
use former::FormerAccounts;
pub use gone::Forgotten;
use gone::GonePods;
pub use group::{Group, Key, Plan};
use holders::Holders;
use listing::{Listing, Within};
use members::Members;
pub use observed::{HEARTBEATS, Observed};
use phases::Phases;
use pods::Pods;
pub use pods::PodsView;
use routes::Routes;
use tenures::Tenures;
pub use tenures::{Ended, Tenure};

use crate::model::{Gone, Lease, Node, Pod, Source};
use crate::time::{Mono, Now};
use crate::traffic::Existing;
use crate::traffic::wire::{ServiceWire, SliceWire};
use crate::wire::{GroupWire, LeaseWire, NodeWire, PodWire};

/// An event of one of the watches. It lives for one call; boxing the larger ones would cost more than it saves.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Change {
    /// From the watch of groups.
    Group(Event<GroupWire>),
    /// From the watch of Leases.
    Lease(Event<LeaseWire>),
    /// From the watch of pods.
    Pod(Event<PodWire>),
    /// From the watch of nodes.
    Node(Event<NodeWire>),
    /// From the watch of this operator's Services.
    Service(Event<ServiceWire>),
    /// From the watch of this operator's `EndpointSlices`.
    Slice(Event<SliceWire>),
    /// Any of them, from a watch that sees one namespace only: its lists tell nothing of others.
    Within(Arc<str>, Box<Change>),
    /// This operator may not read nodes.
    NodesHidden,
}

/// Why a group is to be decided again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The holder renewed, and nothing else changed.
    Renewal,
    /// Anything else.
    Change,
}

/// What a decision looks at, besides its own memory.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The group.
    pub group: &'a Group,
    /// Its spec, parsed.
    pub plan: &'a Plan,
    /// Why nothing is written to its Lease, if nothing is.
    pub observed: Option<Observed>,
    /// An older group on the same Lease.
    pub older: Option<&'a Key>,
    /// Its Lease.
    pub lease: Option<&'a Lease>,
    /// Who held its Lease one after the other, oldest first, as far as this operator saw without a gap.
    pub tenures: Vec<&'a Tenure>,
    /// Its candidates.
    pub candidates: Vec<&'a Pod>,
    /// Pods outside the selector that the holder's identity fits.
    pub others: Vec<&'a Pod>,
    /// Deleted pods that the holder's identity fits, as far as they are remembered.
    pub gone: Vec<&'a Gone>,
    /// What else is known of the namespace's pods.
    pub pods: PodsView<'a>,
    /// The account of a group of this Lease that was deleted, where this one has none.
    pub former: Option<Former>,
    /// The nodes of all those pods.
    pub nodes: Vec<(&'a str, &'a Node)>,
    /// This operator may not read nodes, so nothing is known about any.
    pub nodes_hidden: bool,
    /// The objects by which its traffic goes.
    pub routes: Existing<'a>,
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Index {
    groups: BTreeMap<Key, Group>,
    invalid: BTreeMap<Key, InvalidObject>,
    leases: HashMap<Key, Lease>,
    /// UID and version of the Lease that each group's one was, until it was deleted: a late event or answer tells of it
    /// still.
    deleted_leases: HashMap<Key, (String, String)>,
    pods: Pods,
    nodes: HashMap<String, Node>,
    /// This operator may not read nodes.
    nodes_hidden: bool,
    phases: Phases,
    gone: GonePods,
    /// Namespaces that have, or had, groups: what is deleted there is remembered.
    grouped: HashSet<String>,
    former: FormerAccounts,
    tenures: Tenures,
    members: Members,
    routes: Routes,
    /// The groups of each Lease, oldest first.
    by_lease: HashMap<Key, Few<Age>>,
    holders: Holders,
    listing: [Listing; 4],
    /// Whether Leases are cleared in the namespaces that are Kubernetes' own.
    clears_in_system_namespaces: bool,
    touched: Vec<(Key, Cause)>,
}

/// Groups in order of age.
type Age = (Option<jiff::Timestamp>, Key);

fn age(group: &Group) -> Age {
    (group.created, group.key.clone())
}

impl Index {
    /// An index of an operator that clears in the namespaces that are Kubernetes' own, or leaves them alone.
    pub fn new(clears_in_system_namespaces: bool) -> Self {
        Self { clears_in_system_namespaces, ..Self::default() }
    }

    /// Takes in one watch event.
    pub fn apply(&mut self, change: Change, now: Now) {
        match change {
            Change::Within(namespace, change) => self.apply_within(Some(&namespace), *change, now),
            change => self.apply_within(None, change, now),
        }
    }

    fn apply_within(&mut self, within: Within<'_>, change: Change, now: Now) {
        match change {
            Change::Group(event) => match event {
                Event::Init => self.listing[0].begin(within, now.mono),
                Event::InitApply(group) => {
                    self.listing[0].saw(within, Key::of(&group.metadata));
                    let began = self.listing[0].began(within);
                    self.apply_group(group, began, now);
                }
                Event::Apply(group) => self.apply_group(group, None, now),
                Event::Delete(group) => self.delete_group(&Key::of(&group.metadata)),
                Event::InitDone => {
                    for key in self.listing[0].end(within, self.groups.keys().chain(self.invalid.keys())) {
                        self.delete_group(&key);
                    }
                }
            },
            Change::Lease(event) => match event {
                Event::Init => self.listing[1].begin(within, now.mono),
                Event::InitApply(lease) => {
                    self.listing[1].saw(within, Key::of(&lease.metadata));
                    let began = self.listing[1].began(within);
                    self.apply_lease(lease, Source::List, began, now);
                }
                Event::Apply(lease) => self.apply_lease(lease, Source::Watch, None, now),
                Event::Delete(lease) => self.delete_lease(&Key::of(&lease.metadata), true, now),
                Event::InitDone => {
                    for key in self.listing[1].end(within, self.leases.keys()) {
                        self.delete_lease(&key, false, now);
                    }
                }
            },
            Change::Pod(event) => match event {
                Event::Init => {
                    self.listing[2].begin(within, now.mono);
                    self.pods.begin_list(within);
                }
                Event::InitApply(pod) => {
                    self.listing[2].saw(within, Key::of(&pod.metadata));
                    self.apply_pod(within, pod, Source::List, now);
                }
                Event::Apply(pod) => self.apply_pod(within, pod, Source::Watch, now),
                Event::Delete(pod) => {
                    let key = Key::of(&pod.metadata);
                    // The event carries the pod's last state.
                    self.apply_pod(within, pod, Source::Watch, now);
                    self.delete_pod(&key, true, now);
                }
                Event::InitDone => {
                    let known: Vec<_> = self.pods.keys().collect();
                    for key in self.listing[2].end(within, known.iter()) {
                        self.delete_pod(&key, false, now);
                    }
                    self.pods.end_list(within, now.mono);
                }
            },
            Change::Node(event) => match event {
                Event::Init => {
                    self.listing[3].begin(within, now.mono);
                    self.phases.begin_list();
                }
                Event::InitApply(node) => {
                    self.listing[3].saw(within, Key::of(&node.metadata));
                    self.apply_node(node, Source::List, now);
                }
                Event::Apply(node) => self.apply_node(node, Source::Watch, now),
                Event::Delete(node) => {
                    self.pass_nodes(version_of(&node.metadata));
                    self.delete_node(&Key::of(&node.metadata).name);
                }
                Event::InitDone => {
                    let known: Vec<_> = self.nodes.keys().map(|n| Key::new("", n)).collect();
                    for key in self.listing[3].end(within, known.iter()) {
                        self.delete_node(&key.name);
                    }
                    self.end_node_list();
                    self.hide_nodes(false);
                }
            },
            Change::Service(event) => self.apply_service(within, event, now),
            Change::Slice(event) => self.apply_slice(within, event, now),
            Change::NodesHidden => {
                self.nodes.clear();
                self.lose_nodes();
                self.hide_nodes(true);
            }
            // A watch sees one namespace or all of them.
            Change::Within(..) => {}
        }
    }

    /// The groups touched since the last call, in order.
    pub fn take_touched(&mut self) -> Vec<(Key, Cause)> {
        std::mem::take(&mut self.touched)
    }

    /// The group of that name, if it exists and could be read.
    pub fn group(&self, key: &Key) -> Option<&Group> {
        self.groups.get(key)
    }

    /// Why the group of that name could not be read.
    pub fn invalid(&self, key: &Key) -> Option<&InvalidObject> {
        self.invalid.get(key)
    }

    /// Every object that is a group, or would be one if it could be read.
    pub fn group_keys(&self) -> impl Iterator<Item = &Key> {
        self.groups.keys().chain(self.invalid.keys())
    }

    /// How many groups exist.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Takes in a group as an answer brought it, ahead of the watch.
    pub fn note_group(&mut self, key: &Key, group: Option<GroupWire>, now: Now) {
        match group {
            Some(group) => {
                self.apply_group(group, Some(now.mono), now);
                self.note_answered(key, now);
            }
            None => self.delete_group(key),
        }
    }

    /// Takes in the answer to a status write, ahead of the watch.
    pub fn note_status(&mut self, key: &Key, version: String, status: LeaderGroupStatus, now: Now) {
        if let Some(group) = self.groups.get_mut(key)
            && !is_older(Some(&version), &group.version)
        {
            group.version = version;
            group.status = Some(Arc::new(status));
        }
        self.note_answered(key, now);
    }

    fn note_answered(&mut self, key: &Key, now: Now) {
        if let Some(group) = self.groups.get_mut(key) {
            group.answered_at = Some(now.mono);
        }
    }

    /// Everything a decision about the group looks at.
    pub fn snapshot(&self, key: &Key) -> Option<Snapshot<'_>> {
        let group = self.groups.get(key)?;
        let plan = group.plan.as_ref().ok()?;
        let lease_key = Key::new(&key.namespace, &plan.lease_name);
        let lease = self.leases.get(&lease_key);
        let has_account = group.status.as_ref().is_some_and(|status| status.account.is_some());
        let pods =
            PodsView { all: &self.pods, gone: &self.gone, phases: &self.phases, namespace: &group.key.namespace };
        let candidates: Vec<_> = self.members.of(key).filter_map(|name| pods.get(name)).collect();
        let holder = lease.and_then(|l| l.record.holder());
        let fits = |pod: &Pod| holder.is_some_and(|holder| plan.identity.fits(holder, pod));
        let name = holder.and_then(|holder| plan.identity.only_name(holder));
        let (existing, gone) = match (holder, &name) {
            (None, _) => (Vec::new(), Vec::new()),
            (_, Some(name)) => (pods.named(name), pods.gone_named(name)),
            (_, None) => (pods.all().collect(), self.gone.of(&key.namespace).collect()),
        };
        let others: Vec<_> = existing.into_iter().filter(|pod| fits(pod) && !plan.selects(pod)).collect();
        let gone: Vec<_> = gone.into_iter().filter(|gone| fits(&gone.pod)).collect();
        let all = candidates.iter().chain(&others).copied().chain(gone.iter().map(|g| &g.pod));
        let mut node_names: Vec<_> = all.filter_map(|p| p.node.as_deref()).collect();
        node_names.sort_unstable();
        node_names.dedup();
        Some(Snapshot {
            group,
            plan,
            observed: Observed::of(&key.namespace, plan.stale_holder.policy, self.clears_in_system_namespaces),
            older: self.by_lease.get(&lease_key).and_then(|all| all.first()).map(|(_, k)| k).filter(|k| *k != key),
            lease,
            tenures: self.tenures.of(key).collect(),
            candidates,
            others,
            gone,
            pods,
            former: if has_account { None } else { self.former.of(&lease_key) },
            nodes: node_names.iter().filter_map(|n| Some((*n, self.nodes.get(*n)?))).collect(),
            nodes_hidden: self.nodes_hidden,
            routes: self.routes.observed(key, &group.uid, plan.routing.as_ref()),
        })
    }

    /// Files the group's present holder, by which pods are compared with it.
    fn file_holder(&mut self, key: &Key) {
        let filed = (|| {
            let plan = self.groups.get(key)?.plan.as_ref().ok()?;
            let lease = self.leases.get(&Key::new(&key.namespace, &plan.lease_name))?;
            self.holders.file(key, &plan.identity, lease.record.holder());
            Some(())
        })();
        if filed.is_none() {
            self.holders.remove(key);
        }
    }

    /// The groups whose holder may be this pod.
    fn held_by(&self, namespace: &str, pod: &Pod) -> Vec<Key> {
        let may_be = |key: &&&Key| {
            let plan = self.groups.get(**key).and_then(|group| group.plan.as_ref().ok());
            let holder = self.lease(key).and_then(|lease| lease.record.holder());
            plan.zip(holder).is_some_and(|(plan, holder)| plan.identity.fits(holder, pod))
        };
        self.holders.of(namespace, pod).iter().filter(may_be).map(|key| (*key).clone()).collect()
    }

    fn touch(&mut self, key: &Key) {
        self.touched.push((key.clone(), Cause::Change));
    }

    /// `list_began` says when the list was asked for that the group came by: it is the truth, unless something newer was
    /// answered since.
    fn apply_group(&mut self, wire: GroupWire, list_began: Option<Mono>, now: Now) {
        self.grouped.insert(wire.metadata.namespace.clone().unwrap_or_default());
        let mut group = match wire.read().0 {
            Ok(group) => Group::from(group),
            Err(invalid) => {
                let key = Key::of(&invalid.metadata);
                self.delete_group(&key);
                self.touch(&key);
                self.invalid.insert(key, invalid);
                return;
            }
        };
        let key = group.key.clone();
        self.invalid.remove(&key);
        self.touch(&key);
        if let Some(known) = self.groups.get(&key).filter(|known| known.uid == group.uid)
            && is_older(Some(&group.version), &known.version)
            && !replaces(list_began, known.answered_at)
        {
            return;
        }
        if let Some(known) = self.groups.get_mut(&key)
            && known.uid == group.uid
            && known.generation == group.generation
        {
            if known.status == group.status {
                // Others share it.
                group.status.clone_from(&known.status);
            }
            group.answered_at = known.answered_at;
            *known = group;
            return;
        }
        // The group may be another one of the name, or may be deleted while its spec can't be used.
        if group.plan.is_err() || self.groups.get(&key).is_some_and(|known| known.uid != group.uid) {
            self.keep_account(&key);
        }
        self.forget_group(&key);
        if let Ok(plan) = &group.plan {
            self.tenures.keep_only(&key, &plan.lease_name);
            let lease_key = Key::new(&key.namespace, &plan.lease_name);
            self.by_lease.entry(lease_key).or_default().insert(age(&group));
            self.members.add_group(&key, plan, self.pods.of(&key.namespace));
        }
        self.touch_siblings(&group);
        let lease =
            group.plan.as_ref().ok().and_then(|plan| self.leases.get(&Key::new(&key.namespace, &plan.lease_name)));
        let lease_name = group.plan.as_ref().map(|plan| plan.lease_name.clone()).unwrap_or_default();
        if let Some(lease) = lease
            && self.tenures.of(&key).next().is_none()
        {
            self.tenures.note(&key, &lease_name, lease, true, now);
        }
        self.groups.insert(key.clone(), group);
        self.file_holder(&key);
    }

    fn delete_group(&mut self, key: &Key) {
        self.invalid.remove(key);
        self.keep_account(key);
        self.forget_group(key);
        self.tenures.remove_group(key);
        self.touch(key);
    }

    /// Keeps the group's account for one that is made again.
    fn keep_account(&mut self, key: &Key) {
        let group = self.groups.get(key);
        if let Some((plan, status)) = group.and_then(|group| group.plan.as_ref().ok().zip(group.status.as_ref())) {
            self.former.keep(Key::new(&key.namespace, &plan.lease_name), status);
        }
    }

    /// Takes the group out of every map but that of its deleted candidates, which an edit of the spec leaves alone.
    fn forget_group(&mut self, key: &Key) {
        let Some(group) = self.groups.remove(key) else { return };
        self.members.remove_group(key);
        self.holders.remove(key);
        if let Ok(plan) = &group.plan {
            let lease_key = Key::new(&key.namespace, &plan.lease_name);
            if let Some(ages) = self.by_lease.get_mut(&lease_key) {
                ages.remove(&age(&group));
                if ages.is_empty() {
                    self.by_lease.remove(&lease_key);
                    self.deleted_leases.remove(&lease_key);
                }
            }
        }
        self.touch_siblings(&group);
    }

    /// Other groups on the same Lease: one of them may have become the oldest, or ceased to be.
    fn touch_siblings(&mut self, group: &Group) {
        let Ok(plan) = &group.plan else { return };
        let siblings = self.by_lease.get(&Key::new(&group.key.namespace, &plan.lease_name));
        let others = siblings.into_iter().flatten().filter(|(_, k)| *k != group.key);
        self.touched.extend(others.map(|(_, key)| (key.clone(), Cause::Change)));
    }
}

/// Whether a resourceVersion is known to be older than another of the same kind. Reads overtake the watch, whose older
/// events must not turn the record back.
fn is_older(version: Option<&str>, than: &str) -> bool {
    match (version.and_then(|v| v.parse::<u64>().ok()), than.parse::<u64>()) {
        (Some(version), Ok(than)) => version < than,
        _ => false,
    }
}

/// Whether a list takes the place of what is known to be newer: an etcd that was restored brings older versions. Not if
/// that was answered since the list began.
fn replaces(list_began: Option<Mono>, answered_at: Option<Mono>) -> bool {
    list_began.is_some_and(|began| answered_at.is_none_or(|answered| answered < began))
}

/// The version of an object, which counts up with every change in its etcd.
fn version_of(metadata: &kube::core::ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_ref()?.parse().ok()
}

fn remove_from<K: Hash + Eq, V: Ord>(map: &mut HashMap<K, Few<V>>, at: &K, value: &V) {
    if let Some(set) = map.get_mut(at) {
        set.remove(value);
        if set.is_empty() {
            map.remove(at);
        }
    }
}
