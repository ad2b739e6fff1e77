//! What the user is told of the group's traffic.

use super::{Nobody, Trouble, endpoint};
use crate::index::Snapshot;
use crate::model::Pod;
use crate::traffic::{Existing, Plan, RouteKind};

/// Value, reason and message of the condition `Routed`.
pub type Told = (bool, &'static str, String);

/// The condition `Routed`.
pub fn routed(snapshot: &Snapshot<'_>, plan: &Plan, trouble: &Trouble, target: &Result<&Pod, Nobody<'_>>) -> Told {
    let name = &plan.name;
    let observed = &snapshot.routes;
    if let Some(kind) = taken(observed, trouble) {
        let message = format!(
            "{kind} {name} exists and is not of this LeaderGroup, so it is left alone: delete it, or set \
             spec.routing.service.name to another name"
        );
        return (false, "ServiceTaken", message);
    }
    if let Some(error) = &trouble.error {
        return (false, "WriteFailed", error.clone());
    }
    let endpoint = target.as_ref().ok().and_then(|pod| endpoint(pod, snapshot));
    let slice = observed.slice.map(|(found, _)| &found.facts);
    let holds = slice.and_then(|facts| facts.content.as_ref()).and_then(|(holds, _)| holds.as_ref());
    let is_switched = match slice {
        Some(facts) => holds == endpoint.as_ref() && (endpoint.is_some() || facts.is_empty),
        None => endpoint.is_none(),
    };
    if observed.service.is_none() || !is_switched {
        return (false, "Pending", format!("Service {name} has yet to be written"));
    }
    match target {
        Ok(pod) => (true, "LeaderOnly", format!("Service {name} sends to pod {} and to no other", pod.name)),
        Err(Nobody::NotReady(pod)) => {
            let why = format!("pod {} leads and is not Ready, which spec.routing.requireReady asks for", pod.name);
            (false, "LeaderNotReady", format!("Service {name} sends to nobody: {why}"))
        }
        Err(Nobody::NoAddress(pod)) => (
            false,
            "NoLeader",
            format!("Service {name} sends to nobody: pod {} leads and has no address yet", pod.name),
        ),
        Err(Nobody::NoLeader(why)) => (false, "NoLeader", format!("Service {name} sends to nobody: {why}")),
    }
}

/// The kind of object that has the wanted name and is not the group's.
fn taken(observed: &Existing<'_>, trouble: &Trouble) -> Option<RouteKind> {
    let service = observed.service.is_some_and(|(_, is_ours)| !is_ours).then_some(RouteKind::Service);
    let slice = || observed.slice.is_some_and(|(_, is_ours)| !is_ours).then_some(RouteKind::Slice);
    service.or_else(slice).or(trouble.taken)
}
