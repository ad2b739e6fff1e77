//! The index: watch events in, a compact model of groups, Leases, pods and nodes; out comes which groups to decide
//! again.
//!
//! A watch that was interrupted lists everything again. The index compares that list with what it has, so an object
//! deleted meanwhile is noticed too; its last known state is kept, and that it was deleted proves nothing more.

mod gone;
mod group;
mod leases;
mod listing;
mod members;
mod nodes;
mod observed;
mod routes;
mod tenures;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use kube::core::error_boundary::InvalidObject;
use kube::runtime::watcher::Event;
use leadergroup_api::LeaderGroupStatus;

use gone::GonePods;
pub use group::{Group, Key, Plan};
use listing::{Listing, Within};
use members::Members;
pub use observed::{HEARTBEATS, Observed};
use routes::Routes;
use tenures::Tenures;
pub use tenures::{Ended, Tenure};

use crate::model::{Came, Gone, Lease, Node, Phase, Pod};
use crate::time::Now;
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
    /// Its deleted candidates, as far as they are remembered.
    pub gone: Vec<&'a Gone>,
    /// A pod that the holder's identity fits, outside the selector.
    pub outsider: Option<&'a str>,
    /// The nodes of all those pods.
    pub nodes: Vec<(&'a str, &'a Node)>,
    /// This operator may not read nodes, so nothing is known about any.
    pub nodes_hidden: bool,
    /// The objects by which its traffic goes.
    pub routes: Existing<'a>,
}

/// The model.
#[derive(Debug, Default)]
pub struct Index {
    groups: BTreeMap<Key, Group>,
    invalid: BTreeMap<Key, InvalidObject>,
    leases: HashMap<Key, Lease>,
    /// The UID of the Lease that each group's one was, until it was deleted: a late event or answer tells of it still.
    deleted_leases: HashMap<Key, String>,
    pods: HashMap<String, BTreeMap<String, Pod>>,
    nodes: HashMap<String, Node>,
    /// This operator may not read nodes.
    nodes_hidden: bool,
    gone: GonePods,
    tenures: Tenures,
    members: Members,
    routes: Routes,
    /// The groups of each Lease, oldest first.
    by_lease: HashMap<Key, BTreeSet<Age>>,
    /// Groups whose holder fits no candidate, by namespace: any pod that appears may be the one.
    seeking: HashMap<String, BTreeSet<Key>>,
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
                Event::Init => self.listing[0].begin(within),
                Event::InitApply(group) => {
                    self.listing[0].saw(within, Key::of(&group.metadata));
                    self.apply_group(group, now);
                }
                Event::Apply(group) => self.apply_group(group, now),
                Event::Delete(group) => self.delete_group(&Key::of(&group.metadata)),
                Event::InitDone => {
                    for key in self.listing[0].end(within, self.groups.keys().chain(self.invalid.keys())) {
                        self.delete_group(&key);
                    }
                }
            },
            Change::Lease(event) => match event {
                Event::Init => self.listing[1].begin(within),
                Event::InitApply(lease) => {
                    let key = Key::of(&lease.metadata);
                    // A list is the truth, even of what a restored etcd brought back.
                    self.deleted_leases.remove(&key);
                    self.listing[1].saw(within, key);
                    self.apply_lease(lease, Came::Listed, now);
                }
                Event::Apply(lease) => self.apply_lease(lease, Came::InOrder, now),
                Event::Delete(lease) => self.delete_lease(&Key::of(&lease.metadata), true, now),
                Event::InitDone => {
                    for key in self.listing[1].end(within, self.leases.keys()) {
                        self.delete_lease(&key, false, now);
                    }
                }
            },
            Change::Pod(event) => match event {
                Event::Init => self.listing[2].begin(within),
                Event::InitApply(pod) => {
                    self.listing[2].saw(within, Key::of(&pod.metadata));
                    self.apply_pod(pod, now);
                }
                Event::Apply(pod) => self.apply_pod(pod, now),
                Event::Delete(pod) => {
                    let key = Key::of(&pod.metadata);
                    // The event carries the pod's last state.
                    self.apply_pod(pod, now);
                    self.delete_pod(&key, true, now);
                }
                Event::InitDone => {
                    let known: Vec<_> =
                        self.pods.iter().flat_map(|(ns, pods)| pods.keys().map(move |p| Key::new(ns, p))).collect();
                    for key in self.listing[2].end(within, known.iter()) {
                        self.delete_pod(&key, false, now);
                    }
                }
            },
            Change::Node(event) => match event {
                Event::Init => self.listing[3].begin(within),
                Event::InitApply(node) => {
                    self.listing[3].saw(within, Key::of(&node.metadata));
                    self.apply_node(node, now);
                }
                Event::Apply(node) => self.apply_node(node, now),
                Event::Delete(node) => self.delete_node(&Key::of(&node.metadata).name),
                Event::InitDone => {
                    let known: Vec<_> = self.nodes.keys().map(|n| Key::new("", n)).collect();
                    for key in self.listing[3].end(within, known.iter()) {
                        self.delete_node(&key.name);
                    }
                    self.hide_nodes(false);
                }
            },
            Change::Service(event) => self.apply_service(within, event),
            Change::Slice(event) => self.apply_slice(within, event),
            Change::NodesHidden => {
                self.nodes.clear();
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

    /// Takes in the answer to a status write, ahead of the watch.
    pub fn note_status(&mut self, key: &Key, version: String, status: LeaderGroupStatus) {
        if let Some(group) = self.groups.get_mut(key)
            && !is_older(Some(&version), &group.version)
        {
            group.version = version;
            group.status = Some(Arc::new(status));
        }
    }

    /// Everything a decision about the group looks at.
    pub fn snapshot(&mut self, key: &Key) -> Option<Snapshot<'_>> {
        self.note_seeking(key);
        self.note_restart(key);
        let group = self.groups.get(key)?;
        let plan = group.plan.as_ref().ok()?;
        let lease_key = Key::new(&key.namespace, &plan.lease_name);
        let lease = self.leases.get(&lease_key);
        let pods = self.pods.get(&key.namespace);
        let candidates: Vec<_> = self.members.of(key).filter_map(|name| pods?.get(name)).collect();
        let gone: Vec<_> = self.gone.of(key).collect();
        let mut node_names: Vec<_> =
            candidates.iter().copied().chain(gone.iter().map(|g| &g.pod)).filter_map(|p| p.node.as_deref()).collect();
        node_names.sort_unstable();
        node_names.dedup();
        let holder = lease.and_then(|l| l.record.holder());
        let seeks = self.seeking.get(&key.namespace).is_some_and(|seeking| seeking.contains(key));
        let sought = || holder.filter(|_| seeks).and_then(|h| pods?.values().find(|p| plan.identity.fits(h, *p)));
        // Or one that took the name of a candidate that was the holder.
        let namesake = |g: &&Gone| pods?.get(&g.pod.name).filter(|p| p.node.is_some() && !plan.selects(p));
        let succeeds =
            || gone.iter().filter(|g| holder.is_some_and(|h| plan.identity.fits(h, &g.pod))).find_map(namesake);
        // Or one that has the name that the holder gives, while a candidate only goes by it.
        let named = || {
            let pod = pods?.get(&plan.identity.only_name(holder?)?)?;
            let may_lead = pod.node.is_some() && pod.phase == Phase::Live && plan.identity.fits(holder?, pod);
            (may_lead && !plan.selects(pod)).then_some(pod)
        };
        let outsider = sought().or_else(succeeds).or_else(named).map(|p| p.name.as_str());
        Some(Snapshot {
            group,
            plan,
            observed: Observed::of(&key.namespace, plan.stale_holder.policy, self.clears_in_system_namespaces),
            older: self.by_lease.get(&lease_key).and_then(|all| all.first()).map(|(_, k)| k).filter(|k| *k != key),
            lease,
            tenures: self.tenures.of(key).collect(),
            candidates,
            gone,
            outsider,
            nodes: node_names.iter().filter_map(|n| Some((*n, self.nodes.get(*n)?))).collect(),
            nodes_hidden: self.nodes_hidden,
            routes: self.routes.observed(key, &group.uid, plan.routing.as_ref()),
        })
    }

    /// Remembers whether the group's holder fits no candidate, existing or gone.
    fn note_seeking(&mut self, key: &Key) {
        let seeks = (|| {
            let plan = self.groups.get(key)?.plan.as_ref().ok()?;
            let lease = self.leases.get(&Key::new(&key.namespace, &plan.lease_name))?;
            let holder = lease.record.holder()?;
            let pods = self.pods.get(&key.namespace);
            let existing = self.members.of(key).filter_map(|name| pods?.get(name));
            let gone = self.gone.of(key).map(|g| &g.pod);
            Some(!existing.chain(gone).any(|p| plan.identity.fits(holder, p)))
        })();
        let seeking = self.seeking.entry(key.namespace.clone()).or_default();
        if seeks == Some(true) {
            seeking.insert(key.clone());
        } else {
            seeking.remove(key);
        }
    }

    fn touch(&mut self, key: &Key) {
        self.touched.push((key.clone(), Cause::Change));
    }

    fn apply_group(&mut self, wire: GroupWire, now: Now) {
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
        if self
            .groups
            .get(&key)
            .is_some_and(|known| known.uid == group.uid && is_older(Some(&group.version), &known.version))
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
            *known = group;
            return;
        }
        self.forget_group(&key);
        if let Ok(plan) = &group.plan {
            let lease_key = Key::new(&key.namespace, &plan.lease_name);
            self.by_lease.entry(lease_key).or_default().insert(age(&group));
            let empty = BTreeMap::new();
            self.members.add_group(&key, plan, self.pods.get(&key.namespace).unwrap_or(&empty));
        }
        self.touch_siblings(&group);
        let lease =
            group.plan.as_ref().ok().and_then(|plan| self.leases.get(&Key::new(&key.namespace, &plan.lease_name)));
        if let Some(lease) = lease
            && self.tenures.of(&key).next().is_none()
        {
            self.tenures.note(&key, lease, true, now);
        }
        self.groups.insert(key, group);
    }

    fn delete_group(&mut self, key: &Key) {
        self.invalid.remove(key);
        self.forget_group(key);
        self.gone.remove_group(key);
        self.tenures.remove_group(key);
        if let Some(seeking) = self.seeking.get_mut(&key.namespace) {
            seeking.remove(key);
        }
        self.touch(key);
    }

    /// Takes the group out of every map but that of its deleted candidates, which an edit of the spec leaves alone.
    fn forget_group(&mut self, key: &Key) {
        let Some(group) = self.groups.remove(key) else { return };
        self.members.remove_group(key);
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

    fn apply_pod(&mut self, wire: PodWire, now: Now) {
        let key = Key::of(&wire.metadata);
        let mut pod = Pod::from(wire);
        let known = self.pods.get(&key.namespace).and_then(|pods| pods.get(&key.name));
        pod.mark_ends_ahead(known.filter(|old| old.uid == pod.uid), now);
        match known {
            Some(old) if old.uid == pod.uid => {
                pod.phase_in_doubt = match (old.phase, pod.phase) {
                    (Phase::Terminal, Phase::Terminal) => old.phase_in_doubt,
                    _ => self.phase_in_doubt(&pod),
                };
                if *old == pod {
                    return;
                }
            }
            Some(_) => {
                // Another pod under the name: the old one was deleted, and the event missed.
                self.delete_pod(&key, false, now);
                pod.phase_in_doubt = self.phase_in_doubt(&pod);
            }
            None => pod.phase_in_doubt = self.phase_in_doubt(&pod),
        }
        self.share_account(&key, &mut pod);
        let mut touched = self.members.update(&key, &pod.labels, &self.groups, &pod);
        touched.extend(self.seeking.get(&key.namespace).into_iter().flatten().cloned());
        // A pod that is back with its UID (a static pod's mirror) was not gone.
        for group in &touched {
            self.gone.is_back(group, &pod.uid);
        }
        self.touched.extend(touched.into_iter().map(|k| (k, Cause::Change)));
        self.pods.entry(key.namespace).or_default().insert(key.name, pod);
    }

    /// Has the pod share its account's name with one next to it by name: many pods have few accounts, and those of a
    /// workload stand together.
    fn share_account(&self, key: &Key, pod: &mut Pod) {
        let Some(pods) = self.pods.get(&key.namespace) else { return };
        let before = pods.range::<str, _>((Bound::Unbounded, Bound::Excluded(&*key.name))).next_back();
        let from = pods.range::<str, _>((Bound::Included(&*key.name), Bound::Unbounded)).take(2);
        let near = before.into_iter().chain(from).map(|(_, near)| &near.account);
        if let Some(same) = near.into_iter().find(|account| **account == pod.account) {
            pod.account.clone_from(same);
        }
    }

    /// Whether a terminal phase can't be the kubelet's word, its node not being ready.
    fn phase_in_doubt(&self, pod: &Pod) -> bool {
        pod.phase == Phase::Terminal
            && pod.node.as_ref().is_some_and(|node| !self.nodes.get(node).is_some_and(|n| n.ready))
    }

    /// `seen` says that the last known state was the pod's last.
    fn delete_pod(&mut self, key: &Key, seen: bool, now: Now) {
        let Some(pods) = self.pods.get_mut(&key.namespace) else { return };
        let Some(pod) = pods.remove(&key.name) else { return };
        if pods.is_empty() {
            self.pods.remove(&key.namespace);
        }
        for group in self.members.remove_pod(key) {
            self.remember(&group, Gone { pod: pod.clone(), at: now.mono, seen });
            self.touch(&group);
        }
        let seeking = self.seeking.get(&key.namespace).into_iter().flatten();
        self.touched.extend(seeking.map(|k| (k.clone(), Cause::Change)));
    }

    fn remember(&mut self, group: &Key, gone: Gone) {
        let Some(Ok(plan)) = self.groups.get(group).map(|g| &g.plan) else { return };
        let lease = self.leases.get(&Key::new(&group.namespace, &plan.lease_name));
        let holder = lease.and_then(|l| l.record.holder());
        self.gone.remember(group, gone, |pod| holder.is_some_and(|h| plan.identity.fits(h, pod)));
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
