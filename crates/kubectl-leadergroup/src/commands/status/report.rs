//! What `status` knows, in the structure that `-o json` and `-o yaml` print: fields are added to it, but none is taken out
//! or given another meaning.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use leadergroup_api::{Account, Library, OnRestart, Policy, Release, ReleaseForm, Verdict};
use serde::Serialize;

use super::candidate::{self, Candidate};
use crate::group::{Part, Reading, condition, last_told};
use crate::model::{LeaderGroup, Told};
use crate::objects::library;
use crate::terms::{Term, terms};

/// A group with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub namespace: String,
    pub name: String,
    pub created: Option<Timestamp>,
    /// Whether the group has a leader that is known to live; absent while the operator has not said so.
    pub ready: Option<bool>,
    pub leader: Option<Leader>,
    pub holder: Option<Holder>,
    /// Whether the end of each process that may have written the Lease is known; absent while the Lease is free.
    pub account: Option<Account>,
    pub lease: LeaseRecord,
    pub clearing: Clearing,
    /// Only where `spec.routing` is set.
    pub traffic: Option<Traffic>,
    pub transitions: i64,
    pub candidates: Candidates,
    /// Newest first.
    pub history: Vec<Term>,
    pub conditions: Vec<Condition>,
    /// What was told about the group, oldest first; only with `-v`.
    pub events: Option<Vec<Event>>,
    /// What to know before the rest is believed, and what could not be read.
    pub notes: Vec<String>,
}

/// The candidate that leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    pub identity: String,
    pub pod: Option<String>,
    #[serde(rename = "podUID")]
    pub pod_uid: Option<String>,
    pub node: Option<String>,
    pub zone: Option<String>,
    /// By the leader's own clock.
    pub acquire_time: Option<Timestamp>,
}

/// How the Lease's holder was judged, and by what.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub identity: String,
    pub verdict: Told<Verdict>,
    pub evidence: String,
}

/// The Lease.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseRecord {
    pub name: String,
    /// Absent where it could not be read.
    pub exists: Option<bool>,
    pub holder: Option<String>,
    /// By the holder's own clock.
    pub acquire_time: Option<Timestamp>,
    /// By the holder's own clock.
    pub renew_time: Option<Timestamp>,
    /// As its holder wrote it.
    pub duration_seconds: Option<i32>,
    /// Its own counter.
    pub transitions: Option<i32>,
    /// As the group says.
    pub declared: Timing,
}

/// The timing that candidates are said to have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names)] // As in the spec.
pub struct Timing {
    pub duration_seconds: i32,
    pub renew_deadline_seconds: i32,
    pub retry_period_seconds: i32,
}

/// What happens to a dead holder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Clearing {
    pub policy: Policy,
    pub release: Release,
    /// What `release` comes to; absent where that depends on a Lease that could not be read.
    pub release_form: Option<ReleaseForm>,
    /// The election library that wrote the Lease, if it is recognised.
    pub library: Option<Library>,
    pub on_restart: OnRestart,
    pub delay_seconds: i32,
    /// Seconds after which a holder is cleared without proof; absent where that is never done.
    pub unconfirmed_after_seconds: Option<i32>,
}

/// The Service that only the leader answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    pub service: String,
    /// As `name:port/protocol`.
    pub ports: Vec<String>,
    pub require_ready: bool,
    /// The condition `Routed`: `True`, `False` or `Unknown`, its reason and its message.
    pub routed: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
}

/// The pods that may lead.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidates {
    pub selector: String,
    /// As the operator counted.
    pub total: i32,
    pub ready: i32,
    /// The leader first, then by name; absent where pods could not be read.
    pub pods: Option<Vec<Candidate>>,
}

/// A condition of the group.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub since: Timestamp,
    pub message: String,
}

/// Something told about the group.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub time: Option<Timestamp>,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub type_: String,
    pub reason: String,
    pub message: String,
}

impl Report {
    /// What is known.
    pub fn of(reading: &Reading, now: Timestamp) -> Self {
        let Reading { group, lease, pods, more } = reading;
        let status = group.status.clone().unwrap_or_default();
        let is_held = status.holder.as_ref().is_some_and(|holder| !holder.identity.is_empty());
        let nothing = BTreeMap::new();
        let zones = more.as_ref().and_then(|more| more.zones.as_ref().ok()).unwrap_or(&nothing);
        Self {
            namespace: group.namespace().unwrap_or_default(),
            name: group.name_any(),
            created: group.creation_timestamp().map(|time| time.0),
            ready: condition(group, "Ready").map(|ready| ready.status == "True"),
            leader: status.leader.map(|leader| Leader {
                identity: leader.identity,
                pod: leader.pod_name,
                pod_uid: leader.pod_uid,
                node: leader.node_name,
                zone: leader.zone,
                acquire_time: leader.acquire_time.map(|time| time.0),
            }),
            holder: status.holder.map(|holder| Holder {
                identity: holder.identity,
                verdict: holder.verdict,
                evidence: holder.evidence,
            }),
            account: status.account.filter(|_| is_held),
            lease: LeaseRecord::of(group, lease),
            clearing: Clearing::of(group, lease),
            traffic: Traffic::of(group),
            transitions: status.transitions,
            candidates: Candidates {
                selector: crate::group::selector(group).map(|it| it.to_string()).unwrap_or_default(),
                total: status.candidates.total,
                ready: status.candidates.ready,
                pods: pods.as_ref().ok().map(|pods| candidate::all(group, pods, zones)),
            },
            history: terms(group, now),
            conditions: status
                .conditions
                .into_iter()
                .map(|it| Condition {
                    type_: it.type_,
                    status: it.status,
                    reason: it.reason,
                    since: it.last_transition_time.0,
                    message: it.message,
                })
                .collect(),
            events: more.as_ref().and_then(|more| more.events.as_ref().ok()).map(|events| {
                events
                    .iter()
                    .map(|event| Event {
                        time: last_told(event),
                        type_: event.type_.clone().unwrap_or_default(),
                        reason: event.reason.clone().unwrap_or_default(),
                        message: event.note.clone().unwrap_or_default(),
                    })
                    .collect()
            }),
            notes: notes(reading),
        }
    }

    /// The report without what changes whenever a leader renews.
    pub fn lasting(mut self) -> Self {
        self.lease.renew_time = None;
        self
    }
}

impl LeaseRecord {
    fn of(group: &LeaderGroup, lease: &Part<Option<Lease>>) -> Self {
        let known = lease.as_ref().ok();
        let record = known.and_then(|lease| lease.as_ref()?.spec.clone()).unwrap_or_default();
        let declared = &group.spec.lease;
        Self {
            name: group.lease_name().to_owned(),
            exists: known.map(Option::is_some),
            holder: record.holder_identity.filter(|holder| !holder.is_empty()),
            acquire_time: record.acquire_time.map(|time| time.0),
            renew_time: record.renew_time.map(|time| time.0),
            duration_seconds: record.lease_duration_seconds,
            transitions: record.lease_transitions,
            declared: Timing {
                duration_seconds: declared.duration_seconds,
                renew_deadline_seconds: declared.renew_deadline_seconds,
                retry_period_seconds: declared.retry_period_seconds,
            },
        }
    }
}

impl Clearing {
    fn of(group: &LeaderGroup, lease: &Part<Option<Lease>>) -> Self {
        let stale_holder = &group.spec.stale_holder;
        let library = lease.as_ref().ok().and_then(|lease| library(lease.as_ref()?));
        let is_known = lease.is_ok() || stale_holder.release != Release::Auto;
        Self {
            policy: stale_holder.policy,
            release: stale_holder.release,
            release_form: is_known.then(|| stale_holder.release.form(library)),
            library,
            on_restart: stale_holder.on_restart,
            delay_seconds: stale_holder.delay_seconds,
            unconfirmed_after_seconds: stale_holder.unconfirmed.after_seconds,
        }
    }
}

impl Traffic {
    fn of(group: &LeaderGroup) -> Option<Self> {
        let routing = group.spec.routing.as_ref()?;
        let routed = condition(group, "Routed");
        let ports = routing.service.ports.iter().map(|port| {
            let name = port.name.as_ref().map(|name| format!("{name}:")).unwrap_or_default();
            format!("{name}{}/{}", port.port, port.protocol.as_str())
        });
        Some(Self {
            service: group.leader_service_name()?,
            ports: ports.collect(),
            require_ready: routing.require_ready,
            routed: routed.map(|it| it.status.clone()),
            reason: routed.map(|it| it.reason.clone()),
            message: routed.map(|it| it.message.clone()),
        })
    }
}

/// What to know before the rest is believed, and what could not be read.
fn notes(reading: &Reading) -> Vec<String> {
    let Reading { group, lease, pods, more } = reading;
    let mut notes = Vec::new();
    let status = group.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    if group.metadata.deletion_timestamp.is_some() {
        notes.push("the group is being deleted".to_owned());
    }
    match (observed, group.metadata.generation) {
        (None, _) => notes.push(
            "the operator has not looked at this group yet: `kubectl get pods -n leadergroup-system` shows whether it runs"
                .to_owned(),
        ),
        (Some(observed), Some(generation)) if observed < generation => notes.push(format!(
            "the status answers generation {observed} of the spec, which is at {generation}: if that stays, the operator \
             does not run"
        )),
        _ => {}
    }
    if let (Some(held), Ok(Some(lease))) = (status.and_then(|status| status.holder.as_ref()), lease) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder != held.identity {
            let name = |identity: &str| {
                if identity.is_empty() { "nobody".to_owned() } else { identity.to_owned() }
            };
            notes.push(format!(
                "the Lease is held by {}, the status says by {}: if that stays, the operator does not run",
                name(holder),
                name(&held.identity)
            ));
        }
    }
    notes.extend(lease.as_ref().err().map(|why| format!("the Lease is not shown: {why}")));
    notes.extend(pods.as_ref().err().map(|why| format!("candidates are not shown: {why}")));
    if let Some(more) = more {
        notes.extend(more.zones.as_ref().err().map(|why| format!("zones are not shown: {why}")));
        notes.extend(more.events.as_ref().err().map(|why| format!("Events are not shown: {why}")));
    }
    notes
}
