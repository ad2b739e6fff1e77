//! The compact records that the index keeps and the judgement reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use kube::core::ObjectMeta;
use leadergroup_api::TransitionReason;
use leadergroup_elector::lease::TIMING;
use leadergroup_identity::{HOSTNAME_MAX, PodNames};

use crate::renewals::{Renewals, Rhythm};
use crate::time::{Mono, Now};
use crate::wire::{ContainerStateWire, ContainerStatusWire, LeaseRecord, LeaseWire, NodeWire, PodWire};

/// `kubectl debug`-style, sidecar or regular: every container that may run an elector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it does now, by its kubelet.
    pub state: State,
    /// When the present run began, by the node's clock, whole seconds.
    pub started_at: Option<Timestamp>,
    /// The newest run that finished before the present one.
    pub last: Option<Run>,
}

impl Container {
    fn runs(&self) -> impl Iterator<Item = &Run> {
        let present = match &self.state {
            State::Terminated(run) => Some(run),
            _ => None,
        };
        present.into_iter().chain(&self.last)
    }

    /// The newest run known to have finished.
    pub fn newest_finished(&self) -> Option<&Run> {
        self.runs().next()
    }
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The kubelet has not reported on it.
    Missing,
    /// Not started, or between two runs; with the kubelet's reason.
    Waiting(Option<String>),
    /// Running.
    Running,
    /// The run ended.
    Terminated(Run),
}

/// A run of a container that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By the node's clock, whole seconds.
    pub finished_at: Option<Timestamp>,
    /// The exit code.
    pub exit_code: i64,
    /// The kubelet's reason.
    pub reason: Option<String>,
    /// It was reported before it ended, by the operator's clock: the node's clock was ahead, and may have been set back
    /// since. Set by the index.
    pub ahead: bool,
}

impl Run {
    /// Whether the kubelet itself saw the run end. `ContainerStatusUnknown` is written when it could not find
    /// the container any more.
    pub fn is_witnessed(&self) -> bool {
        self.reason.as_deref() != Some("ContainerStatusUnknown")
    }
}

/// A pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have started, or the phase is not known.
    Live,
    /// Succeeded or Failed.
    Terminal,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are facts about a pod, not states of a machine")]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID; for a static pod the hash of its manifest, since its mirror's UID says nothing about it.
    pub uid: String,
    /// The UID of a static pod's mirror, by which the API server knows it.
    pub mirror_uid: Option<String>,
    /// Its primary address.
    pub ip: Option<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// `spec.hostname`, where set.
    pub hostname: Option<String>,
    /// The name of its `ServiceAccount`, if it has one. Pods next to each other by name share it.
    pub account: Option<Arc<str>>,
    /// Whether it uses its node's network, and so its host name.
    pub host_network: bool,
    /// Whether its containers see each other's processes, or the node's.
    pub shared_pid: bool,
    /// Whether its Ready condition is true.
    pub ready: bool,
    /// It is being deleted, or is about to be ended by a disruption. That proves nothing, but who runs it knows of it.
    pub leaving: bool,
    /// Its phase.
    pub phase: Phase,
    /// The phase was written by pod garbage collection, not by the kubelet.
    pub by_pod_gc: bool,
    /// The phase became terminal while the pod's node was not ready, so not by its kubelet's word. Set by the index.
    pub phase_in_doubt: bool,
    /// Regular, restartable init and ephemeral containers.
    pub containers: Vec<Container>,
}

/// No kubelet writes a longer hash of a manifest; anybody may write one into an annotation.
const LONGEST_UID: usize = 64;
/// The longest name that a `ServiceAccount` can have, in bytes.
const LONGEST_ACCOUNT: usize = 253;

fn run(state: &ContainerStateWire) -> Option<Run> {
    state.terminated.as_ref().map(|t| Run {
        finished_at: t.finished_at.as_deref().and_then(|t| t.parse().ok()),
        exit_code: t.exit_code,
        reason: t.reason.clone(),
        ahead: false,
    })
}

impl Pod {
    /// The UID by which the API server knows it.
    pub fn object_uid(&self) -> &str {
        self.mirror_uid.as_deref().unwrap_or(&self.uid)
    }

    /// Whether the pod's programs see its name cut, so that other pods may share what they see.
    pub fn name_is_cut(&self) -> bool {
        self.name.len() > HOSTNAME_MAX
    }

    /// Marks the runs that end later than it is now; what was marked in the pod as known `before` stays so.
    pub fn mark_ends_ahead(&mut self, before: Option<&Self>, now: Now) {
        let known: Vec<_> = before.into_iter().flat_map(|pod| &pod.containers).collect();
        for container in &mut self.containers {
            let old = known.iter().find(|c| c.name == container.name);
            let marked: Vec<_> =
                old.into_iter().flat_map(|c| c.runs()).filter(|r| r.ahead).map(|r| r.finished_at).collect();
            let present = match &mut container.state {
                State::Terminated(run) => Some(run),
                _ => None,
            };
            for run in present.into_iter().chain(&mut container.last) {
                let apart = run.finished_at.map_or(0, |at| at.as_millisecond() - now.wall.as_millisecond());
                run.ahead = apart > SANE_CLOCK_MS || marked.contains(&run.finished_at);
            }
        }
    }
}

impl<'p> From<&'p Pod> for PodNames<'p> {
    fn from(pod: &'p Pod) -> Self {
        Self {
            name: &pod.name,
            uid: &pod.uid,
            node: pod.node.as_deref(),
            hostname: pod.hostname.as_deref(),
            host_network: pod.host_network,
        }
    }
}

/// The API server takes any number of statuses for a container, each with any number of states. One that says that it
/// runs is believed; several that don't prove nothing.
fn container(name: String, statuses: &[ContainerStatusWire]) -> Container {
    let reports: Vec<_> = statuses.iter().filter(|s| s.name == name).collect();
    let [status] = reports.as_slice() else {
        let runs = reports.iter().any(|s| s.state.running.is_some());
        let state = if runs { State::Running } else { State::Missing };
        return Container { name, state, started_at: None, last: None };
    };
    let state = if status.state.running.is_some() {
        State::Running
    } else if let Some(run) = run(&status.state) {
        State::Terminated(run)
    } else {
        State::Waiting(status.state.waiting.as_ref().and_then(|w| w.reason.clone()))
    };
    let started_at = status.state.running.as_ref().and_then(|r| r.started_at.as_deref()?.parse().ok());
    Container { name, state, started_at, last: run(&status.last_state) }
}

impl From<PodWire> for Pod {
    fn from(wire: PodWire) -> Self {
        let PodWire { metadata, spec, status } = wire;
        let annotations = metadata.annotations.unwrap_or_default();
        let hash = annotations
            .get("kubernetes.io/config.hash")
            .filter(|hash| !hash.is_empty() && hash.len() <= LONGEST_UID)
            .filter(|_| annotations.contains_key("kubernetes.io/config.mirror"))
            .cloned();
        let (uid, mirror_uid) = match hash {
            Some(hash) => (hash, metadata.uid),
            None => (metadata.uid.unwrap_or_default(), None),
        };
        let is_true =
            |name: &'static str| status.conditions.iter().filter(move |c| c.type_ == name && c.status == "True");
        let regular = spec.containers.into_iter().map(|c| container(c.name, &status.container_statuses));
        let sidecars = spec
            .init_containers
            .into_iter()
            .filter(|c| c.restart_policy.as_deref() == Some("Always"))
            .map(|c| container(c.name, &status.init_container_statuses));
        let ephemeral =
            spec.ephemeral_containers.into_iter().map(|c| container(c.name, &status.ephemeral_container_statuses));
        Self {
            name: metadata.name.unwrap_or_default(),
            uid,
            mirror_uid,
            ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            labels: metadata.labels.unwrap_or_default(),
            node: spec.node_name.filter(|n| !n.is_empty()),
            hostname: spec.hostname.filter(|h| !h.is_empty()),
            account: spec
                .service_account_name
                .filter(|name| !name.is_empty() && name.len() <= LONGEST_ACCOUNT)
                .map(Arc::from),
            host_network: spec.host_network,
            shared_pid: spec.share_process_namespace || spec.host_pid,
            ready: is_true("Ready").next().is_some(),
            leaving: metadata.deletion_timestamp.is_some() || is_true("DisruptionTarget").next().is_some(),
            phase: match status.phase.as_deref() {
                Some("Succeeded" | "Failed") => Phase::Terminal,
                _ => Phase::Live,
            },
            by_pod_gc: is_true("DisruptionTarget").any(|c| c.reason.as_deref() == Some("DeletionByPodGC")),
            phase_in_doubt: false,
            containers: regular.chain(sidecars).chain(ephemeral).collect(),
        }
    }
}

/// A pod that was deleted, in its last known state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its last known state.
    pub pod: Pod,
    /// When its deletion was noticed.
    pub at: Mono,
    /// Its deletion was seen, so that state was its last. Otherwise it may have been bound to a node, and run, after it.
    pub seen: bool,
}

impl Gone {
    /// Its processes may have outlived it: it ran, for all that is known, and its kubelet never said that it ended.
    pub fn may_live(&self) -> bool {
        let ended = self.pod.phase == Phase::Terminal && !self.pod.by_pod_gc && !self.pod.phase_in_doubt;
        !ended && (self.pod.node.is_some() || !self.seen)
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its Ready condition is true.
    pub ready: bool,
    /// It carries the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
    /// Its zone.
    pub zone: Option<String>,
    /// Since when it has been both not ready and out of service, as far as this operator has seen. Set by the index.
    pub lost_since: Option<Mono>,
}

impl From<NodeWire> for Node {
    fn from(wire: NodeWire) -> Self {
        Self {
            ready: wire.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            out_of_service: wire.spec.taints.iter().any(|t| t.key == "node.kubernetes.io/out-of-service"),
            zone: wire.metadata.labels.and_then(|mut l| l.remove("topology.kubernetes.io/zone")),
            lost_since: None,
        }
    }
}

/// How far a holder's clock may be from the operator's when a renewal arrives, in milliseconds.
const SANE_CLOCK_MS: i64 = 2_000;
/// How many of a holder's last renewals must be sane.
const SANE_RENEWALS: u8 = 3;
/// For how long they must have been: the most that a clock can step without leaving the bounds above.
const SANE_FOR: Mono = Mono::from_secs(4);
/// How much later than the others before it, by what it says, a renewal may arrive, in milliseconds: a clock that was set
/// back and a slow network look the same. A container's next run starts 0.1 s after the last at the earliest, so a
/// smaller step hides no run.
const STEADY_CLOCK_MS: i64 = 250;

/// Lease duration, renew deadline and retry period, in seconds.
pub type AskedTiming = [u64; 3];

/// The timing that a Lease asks candidates for, by its annotations, with zero for what can't be read; none if it has none
/// of them.
fn asked_timing(metadata: &ObjectMeta) -> Option<AskedTiming> {
    let annotations = metadata.annotations.as_ref()?;
    let asks = TIMING.iter().any(|name| annotations.contains_key(*name));
    let seconds = |name: &str| annotations.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    asks.then(|| TIMING.map(seconds))
}

/// A Lease, and what this operator has seen it do.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The UID: a Lease deleted and made anew is another one.
    pub uid: String,
    /// The resourceVersion; every write names the version that was judged.
    pub version: String,
    /// The record.
    pub record: LeaseRecord,
    /// The timing that it asks candidates for.
    pub asks: Option<AskedTiming>,
    /// When the record last changed, or was first seen.
    pub moved_at: Mono,
    /// Whether this operator has seen the record change, or has only found it as it is.
    pub seen_moving: bool,
    /// When the record was last read from the API server itself, rather than from a watch.
    pub read_at: Option<Mono>,
    /// The largest duration that the present term has shown, in seconds.
    longest: Option<u64>,
    /// The present holder's latest renewals, counted back from the newest, that were sane.
    sane: SaneRenewals,
    /// How many of its latest renewals in a row were none of the operator's time when they arrived, up to
    /// [`SANE_RENEWALS`].
    off: u8,
    /// By how many seconds that was, when there were so many, until the clock is sane.
    pub clock_off_by: Option<i64>,
    /// The latest renewal of the present term: a clock that was set back is not trusted before it has caught up.
    latest_renewal: Option<Timestamp>,
    /// How late the renewals of the present term came.
    pub renewals: Renewals,
    /// How the term before this one ended.
    pub before: Option<Before>,
    /// How this record came.
    pub came: Came,
}

/// How a version of a Lease came to this operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// By a watch, next after the one before.
    InOrder,
    /// By a read, ahead of the watch: others may have gone unseen before it, as far as the watch was behind.
    Read,
    /// By a list, when it was found or after the watch was interrupted: others may have gone unseen before it.
    Listed,
}

impl Came {
    /// Versions between this record and the one before may have gone unseen.
    pub fn after_gap(self) -> bool {
        self != Self::InOrder
    }
}

/// Renewals in a row by a clock that nothing speaks against.
#[derive(Clone, Debug, Default, PartialEq)]
struct SaneRenewals {
    /// How many, up to [`SANE_RENEWALS`].
    count: u8,
    /// When the record before the first of them arrived.
    since: Mono,
    /// The least time from what one says to its arrival, in milliseconds.
    least_lag: Option<i64>,
}

/// The end of a term, as seen in the Lease alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    /// When the record that ended last moved.
    pub moved_at: Mono,
    /// Whether it had run out when it was taken over.
    pub ran_out: bool,
    /// Whether its holder had shortened it to a second, which is how some libraries release.
    pub shrunk: bool,
    /// Whether its last renewal still stands in the Lease. A holder that releases writes the time it did.
    pub times_kept: bool,
    /// How its renewals came.
    pub rhythm: Option<Rhythm>,
    /// How its last record came: unless in order, it may have stood still for long before.
    pub came: Came,
}

impl Lease {
    /// A Lease seen for the first time.
    pub fn found(wire: LeaseWire, now: Now) -> Self {
        let record = wire.spec;
        Self {
            asks: asked_timing(&wire.metadata),
            uid: wire.metadata.uid.unwrap_or_default(),
            version: wire.metadata.resource_version.unwrap_or_default(),
            longest: record.duration(),
            record,
            moved_at: now.mono,
            seen_moving: false,
            read_at: None,
            sane: SaneRenewals { since: now.mono, ..SaneRenewals::default() },
            off: 0,
            clock_off_by: None,
            latest_renewal: None,
            renewals: Renewals::default(),
            before: None,
            came: Came::Listed,
        }
    }

    /// Takes in a later version of the same Lease; true if the record moved.
    pub fn observe(&mut self, wire: LeaseWire, came: Came, now: Now) -> bool {
        self.asks = asked_timing(&wire.metadata);
        self.version = wire.metadata.resource_version.unwrap_or_default();
        let record = wire.spec;
        if record == self.record {
            return false;
        }
        let same_holder = record.holder() == self.record.holder();
        if same_holder {
            self.longest = self.longest.max(record.duration());
            // One that acquires its own Lease anew has begun anew.
            if !came.after_gap() && self.seen_moving && record.acquire_time == self.record.acquire_time {
                let (gap, duration) = (self.gap_to(&record, now), Mono::from_secs(self.longest.unwrap_or(0)));
                self.renewals.note(gap, self.record.renewed(), duration, now.mono);
            }
            self.note_renewal(&record, now);
        } else {
            self.before = Some(Before {
                moved_at: self.moved_at,
                // Candidates time a Lease from when they saw it move, up to a second apart from this operator.
                ran_out: now.mono + Mono::from_secs(1) >= self.moved_at + Mono::from_secs(self.longest.unwrap_or(0)),
                shrunk: self.record.duration() == Some(1) && self.longest > Some(1),
                times_kept: record.renew_time.is_some() && record.renew_time == self.record.renew_time,
                rhythm: self.renewals.rhythm(),
                came: self.came,
            });
            self.renewals = Renewals::default();
            self.longest = record.duration();
            self.sane = SaneRenewals { since: now.mono, ..SaneRenewals::default() };
            (self.off, self.clock_off_by) = (0, None);
            self.latest_renewal = None;
        }
        self.latest_renewal = self.latest_renewal.max(self.record.renewed().filter(|_| same_holder));
        self.record = record;
        self.moved_at = now.mono;
        self.seen_moving = true;
        self.read_at = None;
        self.came = came;
        true
    }

    /// Why another holds it than before, as far as the Lease alone tells.
    ///
    /// One that did not come in order may have stood still for long before: whether it was taken early is not known.
    pub fn why_another_holds_it(&self) -> TransitionReason {
        match &self.before {
            None => TransitionReason::LeaseDeleted,
            Some(before) if before.shrunk => TransitionReason::Released,
            Some(before) if before.ran_out => TransitionReason::Expired,
            Some(before) if before.came.after_gap() || self.came.after_gap() => TransitionReason::Unobserved,
            Some(_) => TransitionReason::Taken,
        }
    }

    /// The Lease is free, and looks as an operator leaves it that cleared its holder: the reason for the next transition.
    pub fn freed_by_another(&self) -> Option<TransitionReason> {
        let before = self.before.as_ref().filter(|before| before.times_kept)?;
        let cleared = self.record.holder().is_none() && self.record.duration() == Some(1);
        let reason = if before.ran_out { TransitionReason::Expired } else { TransitionReason::Cleared };
        cleared.then_some(reason)
    }

    /// How long after the last this renewal came: by its arrival or by what it says, whichever is less, for neither a slow
    /// watch nor a clock that was set makes a renewal late.
    fn gap_to(&self, record: &LeaseRecord, now: Now) -> Mono {
        let arrived = now.mono.saturating_sub(self.moved_at);
        let said = record.renewed().zip(self.record.renewed()).map(|(renewed, before)| renewed.duration_since(before));
        said.and_then(|said| Mono::try_from(said).ok()).map_or(arrived, |said| said.min(arrived))
    }

    fn note_renewal(&mut self, record: &LeaseRecord, now: Now) {
        let lag = record.renewed().map(|renewed| now.wall.as_millisecond() - renewed.as_millisecond());
        let forward = record.renewed() >= self.record.renewed().max(self.latest_renewal);
        let steady = |lag: i64| self.sane.least_lag.is_none_or(|least| lag <= least + STEADY_CLOCK_MS);
        self.sane = match lag {
            Some(lag) if self.record.renewed().is_some() && forward && lag.abs() <= SANE_CLOCK_MS && steady(lag) => {
                SaneRenewals {
                    count: (self.sane.count + 1).min(SANE_RENEWALS),
                    since: self.sane.since,
                    least_lag: Some(self.sane.least_lag.map_or(lag, |least| least.min(lag))),
                }
            }
            _ => SaneRenewals { count: 0, since: now.mono, least_lag: lag },
        };
        match lag {
            Some(lag) if lag.abs() > SANE_CLOCK_MS => {
                self.off = (self.off + 1).min(SANE_RENEWALS);
                if self.off == SANE_RENEWALS {
                    self.clock_off_by.get_or_insert(lag / 1_000);
                }
            }
            _ if self.sane.count >= SANE_RENEWALS => (self.off, self.clock_off_by) = (0, None),
            _ => self.off = 0,
        }
    }

    /// Whether the holder's clock has agreed with the operator's, and never gone back, over its last three renewals
    /// and four seconds.
    pub fn clock_is_sane(&self) -> bool {
        self.sane.count >= SANE_RENEWALS && self.moved_at >= self.sane.since + SANE_FOR
    }

    /// For how long a renewal lasts: the largest duration this term has shown.
    ///
    /// `default_seconds` stands in where the record has no usable duration.
    pub fn lasts(&self, default_seconds: u64) -> Mono {
        Mono::from_secs(self.longest.unwrap_or(default_seconds))
    }

    /// When this Lease runs out if it does not move.
    pub fn runs_out_at(&self, default_seconds: u64) -> Mono {
        self.moved_at.saturating_add(self.lasts(default_seconds))
    }

    /// Whether it ran out. A silent watch looks like a leader that stopped renewing, so the record must have been
    /// read from the API server after the time was up.
    pub fn ran_out(&self, default_seconds: u64) -> bool {
        self.read_at.is_some_and(|read| read >= self.runs_out_at(default_seconds))
    }
}
