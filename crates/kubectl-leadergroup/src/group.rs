//! A group, read from the cluster, with what belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::core::{Selector, Status};
use kube::{Api, ResourceExt};

use crate::model::LeaderGroup;
use crate::session::Session;

/// What was read, or why it could not be: a user who may read the group need not be allowed to read the rest.
pub type Part<T> = Result<T, String>;

/// A group with its Lease and its candidates.
#[derive(Clone, Debug)]
pub struct Reading {
    pub group: LeaderGroup,
    /// None while it does not exist.
    pub lease: Part<Option<Lease>>,
    pub pods: Part<Vec<Pod>>,
    /// Only where more is asked for.
    pub more: Option<More>,
}

/// What is not needed to see who leads.
#[derive(Clone, Debug)]
pub struct More {
    /// The zones of the nodes that candidates are on.
    pub zones: Part<BTreeMap<String, String>>,
    /// What was told about the group, oldest first.
    pub events: Part<Vec<Event>>,
}

/// The groups of the session's namespace.
pub fn groups(session: &Session) -> Api<LeaderGroup> {
    Api::namespaced(session.client.clone(), &session.namespace)
}

/// Reads a group.
pub async fn get(session: &Session, name: &str) -> Result<LeaderGroup> {
    match groups(session).get(name).await {
        Ok(group) => Ok(group),
        Err(error) => Err(absent(session, name, error).await),
    }
}

/// Why the group could not be read: where it is not there, which are.
pub async fn absent(session: &Session, name: &str, error: kube::Error) -> anyhow::Error {
    if !matches!(&error, kube::Error::Api(status) if status.code == 404 && status.details.is_some()) {
        return session.explain(error);
    }
    let namespace = &session.namespace;
    let there = groups(session).list(&ListParams::default().limit(20)).await;
    let names: Vec<_> = there.iter().flatten().map(ResourceExt::name_any).collect();
    match names.as_slice() {
        [] => anyhow!(
            "there is no LeaderGroup {name} in namespace {namespace}; `kubectl leadergroup list -A` shows those of all \
             namespaces"
        ),
        names => {
            anyhow!("there is no LeaderGroup {name} in namespace {namespace}, which has {}", names.join(", "))
        }
    }
}

/// Reads a group with its Lease and its candidates, and with more if that is asked for.
pub async fn read(session: &Session, name: &str, more: bool) -> Result<Reading> {
    let group = get(session, name).await?;
    let leases: Api<Lease> = Api::namespaced(session.client.clone(), &session.namespace);
    let pods: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let candidates = async {
        match selector(&group) {
            Ok(selector) => {
                let listed = pods.list(&ListParams::default().labels_from(&selector)).await;
                if let Err(kube::Error::Api(status)) = &listed
                    && status.code == 400
                {
                    return Ok(Err(format!("spec.candidates.selector can't be used: {}", status.message)));
                }
                Ok(part(session, listed)?.map(|list| list.items))
            }
            Err(why) => anyhow::Ok(Err(format!("{why:#}"))),
        }
    };
    let (lease, pods) = tokio::join!(leases.get_opt(group.lease_name()), candidates);
    let (lease, pods) = (part(session, lease)?, pods?);
    let more = if more { Some(read_more(session, &group, &pods).await?) } else { None };
    Ok(Reading { group, lease, pods, more })
}

/// The selector of the group's candidates.
pub fn selector(group: &LeaderGroup) -> Result<Selector> {
    let invalid = |error| anyhow!("spec.candidates.selector of {} can't be used: {error}", group.name_any());
    group.candidate_selector().try_into().map_err(invalid)
}

/// Reads what is not needed to see who leads.
pub async fn read_more(session: &Session, group: &LeaderGroup, pods: &Part<Vec<Pod>>) -> Result<More> {
    let events: Api<Event> = Api::namespaced(session.client.clone(), &session.namespace);
    let about = format!("regarding.kind=LeaderGroup,regarding.name={}", group.name_any());
    let events = events.list(&ListParams::default().fields(&about)).await;
    let events = part(session, events)?.map(|list| {
        let mut events = list.items;
        // An earlier group of the name had its own.
        events.retain(|event| event.regarding.as_ref().is_none_or(|about| about.uid == group.uid()));
        events.sort_by_key(last_told);
        events
    });
    let names: BTreeSet<String> =
        pods.iter().flatten().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let nodes: Api<Node> = Api::all(session.client.clone());
    let mut zones = Ok(BTreeMap::new());
    for name in names {
        let node = part(session, nodes.get_opt(&name).await)?;
        zones = zones.and_then(|mut zones: BTreeMap<String, String>| {
            if let Some(zone) = node?.and_then(|node| node.labels().get("topology.kubernetes.io/zone").cloned()) {
                zones.insert(name, zone);
            }
            Ok(zones)
        });
        if zones.is_err() {
            break;
        }
    }
    Ok(More { zones, events })
}

/// When an Event was last told.
pub fn last_told(event: &Event) -> Option<jiff::Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    series.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// Whether a refusal tells of a part of the group, and says nothing against the rest: the user may not read it, or it can't
/// be asked for as the group's spec says.
pub fn is_answer(refusal: &Status) -> bool {
    matches!(refusal.code, 400 | 403)
}

/// A request's answer, where a refusal may be one too.
fn part<T>(session: &Session, answer: kube::Result<T>) -> Result<Part<T>> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(kube::Error::Api(status)) if is_answer(&status) => Ok(Err(status.message.clone())),
        Err(error) => Err(session.explain(error)),
    }
}

/// The group's condition of this type.
pub fn condition<'a>(group: &'a LeaderGroup, type_: &str) -> Option<&'a Condition> {
    group.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the group has a leader, as the operator says.
pub fn is_ready(group: &LeaderGroup) -> bool {
    condition(group, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the operator has taken in the spec as it is.
pub fn is_observed(group: &LeaderGroup) -> bool {
    group.status.as_ref().is_some_and(|status| status.observed_generation >= group.metadata.generation)
}

/// Why the group has no leader.
pub fn why_not_ready(group: &LeaderGroup) -> String {
    match condition(group, "Ready") {
        Some(ready) if ready.status != "True" => format!("{}: {}", ready.reason, ready.message),
        Some(_) => "its Lease is held, but by nobody that is known".to_owned(),
        None => "the operator has not looked at the group yet; does it run?".to_owned(),
    }
}
