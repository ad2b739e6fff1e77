//! Terminal phases of pods whose author is not known yet.
//!
//! Controllers other than the kubelet also write phases while a node is not ready, and the watch of nodes may lag behind the
//! watch of pods. The author is settled once the watch of nodes passes the pod version that first showed the phase, or by a
//! GET of the node.

use std::collections::{BTreeSet, HashMap};

use super::gone::GonePods;
use super::pods::Pods;
use super::{Index, Key};
use crate::model::{EndSeen, Node, Pod};
use crate::time::Mono;

/// Number of open names above which names without a remembered pod are dropped.
const HELD: usize = 1_024;

/// The names of pods whose phase is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Phases {
    open: BTreeSet<Key>,
    /// The watch of nodes brings each change of them.
    is_watched: bool,
    /// The highest version of a node in the list that is under way.
    listed: u64,
    /// How many are held at least before forgotten ones are dropped again.
    holds: usize,
}

impl Phases {
    pub(super) fn begin_list(&mut self) {
        (self.is_watched, self.listed) = (false, 0);
    }

    pub(super) fn saw_listed(&mut self, version: Option<u64>) {
        self.listed = self.listed.max(version.unwrap_or(0));
    }

    /// Changes may go unseen from now on, until the next list.
    pub(super) fn lose_sight(&mut self) {
        self.is_watched = false;
    }

    /// The names in a namespace.
    pub(super) fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Key> + use<'a> {
        let all = self.open.range(Key::new(namespace, "")..);
        all.take_while(move |key| *key.namespace == *namespace)
    }
}

/// The existing and deleted pods of that name whose phase is open.
fn open<'a>(pods: &'a mut Pods, gone: &'a mut GonePods, key: &Key) -> impl Iterator<Item = &'a mut Pod> {
    pods.get_mut(key).into_iter().chain(gone.get_mut(key)).filter(|pod| !pod.is_settled())
}

impl Index {
    /// The terminal phase of a pod of that name is open.
    pub(super) fn open_phase(&mut self, key: &Key) {
        self.phases.open.insert(key.clone());
        if self.phases.open.len() > self.phases.holds.max(HELD) {
            let (pods, gone) = (&mut self.pods, &mut self.gone);
            self.phases.open.retain(|key| open(pods, gone, key).next().is_some());
            self.phases.holds = self.phases.open.len() * 2;
        }
    }

    /// Settles phases older than this version of a node event: the watch is ordered, so the known nodes are exact up to it.
    pub(super) fn pass_nodes(&mut self, version: Option<u64>) {
        if self.phases.is_watched && !self.phases.open.is_empty() {
            let is_passed = |ended: &EndSeen| version.is_some_and(|version| ended.version < version);
            self.settle_phases(|ended, pod, nodes| {
                is_passed(ended).then(|| node_of(pod, nodes).is_some_and(|node| reported(pod, ended, node, node)))
            });
        }
    }

    /// All nodes were listed.
    pub(super) fn end_node_list(&mut self) {
        let listed = self.phases.listed;
        self.settle_phases(|ended, pod, nodes| {
            (ended.version < listed).then(|| node_of(pod, nodes).is_some_and(|node| node.reported_end_of(pod, false)))
        });
        self.phases.is_watched = true;
    }

    /// Settles all open phases as not set by the kubelet, because nodes can't be read any more.
    pub(super) fn lose_nodes(&mut self) {
        self.settle_phases(|_, _, _| Some(false));
    }

    /// Settles phases on a node that was read; `node` is none if it does not exist.
    pub fn note_node(&mut self, name: &str, node: Option<&Node>, requested_at: Mono) {
        self.settle_phases(|ended, pod, nodes| {
            let is_asked = pod.node.as_deref() == Some(name) && ended.at <= requested_at;
            let known = |read: &Node| nodes.get(name).is_some_and(|known| reported(pod, ended, known, read));
            let reports = |read: &Node| read.reported_end_of(pod, false) || known(read);
            is_asked.then(|| node.is_some_and(reports))
        });
    }

    /// Settles each phase for which `judge` returns whether the kubelet set it; none leaves it open.
    fn settle_phases(&mut self, judge: impl Fn(&EndSeen, &Pod, &HashMap<String, Node>) -> Option<bool>) {
        let mut settled = Vec::new();
        let (pods, gone, nodes) = (&mut self.pods, &mut self.gone, &self.nodes);
        self.phases.open.retain(|key| {
            let mut is_open = false;
            for pod in open(pods, gone, key) {
                match pod.ended.as_ref().and_then(|ended| judge(ended, pod, nodes)) {
                    Some(is_kubelets) => {
                        pod.settle(is_kubelets);
                        settled.push((key.clone(), pod.clone()));
                    }
                    None => is_open = true,
                }
            }
            is_open
        });
        for (key, pod) in settled {
            let mut touched = self.held_by(&key.namespace, &pod);
            touched.extend(self.members_named(&key.namespace, &pod.aliases()));
            touched.extend(self.members.groups_of(&key).cloned());
            for group in &touched {
                self.touch(group);
            }
        }
    }
}

/// Returns whether the kubelet set the phase: the node is unchanged from before the phase was written until `now`.
fn reported(pod: &Pod, ended: &EndSeen, known: &Node, now: &Node) -> bool {
    let was_so = known.known_since <= ended.version && now.is_reported_as(known);
    now.reported_end_of(pod, was_so && pod.is_witnessed())
}

fn node_of<'n>(pod: &Pod, nodes: &'n HashMap<String, Node>) -> Option<&'n Node> {
    nodes.get(pod.node.as_deref()?)
}
