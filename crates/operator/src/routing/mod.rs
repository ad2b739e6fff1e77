//! Traffic to the leader only: whose address the group's Service has, and what is to be written for that.
//!
//! [`target`] is the table: for every verdict, who gets traffic. [`next`](mod@next) is the one write that brings the objects
//! that exist closer to what there should be ([`traffic`](crate::traffic) is their model), and [`condition`] what the user is
//! told. All of it is pure; the engine has two lanes beside that of the Lease, one for the Service and its `EndpointSlice`
//! and one for labels, so neither waits for the other or for a clear.

pub mod body;
pub mod condition;
pub mod next;

use leadergroup_api::{LeaderGroupStatus, Verdict};

pub use next::{Step, Write, label, next};

use crate::index::Snapshot;
use crate::judge::Judgement;
use crate::model::{Phase, Pod};
use crate::traffic::{Endpoint, RouteKind};

/// What stands in the way, as far as it has to be remembered from one decision to the next.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// There is such an object of the wanted name, and it is not the group's.
    pub taken: Option<RouteKind>,
    /// Why the last writes failed, until one succeeds.
    pub error: Option<String>,
    /// Why a pod could not be labelled, until one is.
    pub labels: Option<String>,
}

/// What a decision says about a group's traffic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    /// The next write to the Service or the `EndpointSlice`, or to what is left of earlier ones.
    pub route: Option<Step>,
    /// The next label to write.
    pub label: Option<Step>,
    /// The UID of the pod that is to get traffic.
    pub target: Option<String>,
}

/// Why nobody gets traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Nobody<'a> {
    /// There is no leader that is known to be one.
    NoLeader(String),
    /// It leads, and has no address yet.
    NoAddress(&'a Pod),
    /// It leads, and is not Ready though that is asked for.
    NotReady(&'a Pod),
}

/// Whether the holder may get traffic by this verdict: it has not been proven dead, is known by one pod that exists, and
/// its Lease has not run out.
///
/// | verdict | traffic goes to |
/// |---|---|
/// | `Alive` | the pod |
/// | `Unreachable` | the pod, while its Lease is current: a leader that is cut off from its kubelet may well lead and serve. The node's own `NotReady` is what `requireReady` is for |
/// | `Unproven` | the pod, while its Lease is current: its containers are between two runs. Its address is still its own, so a connection is refused rather than misled |
/// | `Managed` | the one pod that the identity fits, while it runs and its Lease is current |
/// | `Free` | nobody |
/// | `Terminated` | nobody, from the decision on which the clear is prepared |
/// | `Vanished` | nobody: the pod is gone from the API, or was given up, and its address may be another's by now |
/// | `LeaseExpired` | nobody: any candidate may lead any moment |
/// | `Ambiguous`, `Contradiction`, `Foreign`, `Unresolved` | nobody: it is not known which pod it is |
pub fn may_be_sent_to(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Alive | Verdict::Unreachable | Verdict::Unproven | Verdict::Managed => true,
        Verdict::Free
        | Verdict::Terminated
        | Verdict::Vanished
        | Verdict::LeaseExpired
        | Verdict::Ambiguous
        | Verdict::Contradiction
        | Verdict::Foreign
        | Verdict::Unresolved => false,
    }
}

/// The pod that is to get the group's traffic: the leader of the status, if it is one pod that exists and lives, holds
/// this term, and may be sent to.
pub fn target<'a>(
    snapshot: &Snapshot<'a>,
    judgement: &Judgement,
    status: &LeaderGroupStatus,
) -> Result<&'a Pod, Nobody<'a>> {
    let nobody = |why: &str| Err(Nobody::NoLeader(why.to_owned()));
    if let Some(older) = snapshot.older {
        return nobody(&format!("the Lease belongs to the LeaderGroup {}", older.name));
    }
    if !may_be_sent_to(judgement.verdict()) {
        return nobody(&judgement.evidence());
    }
    let Some(leader) = &status.leader else { return nobody("the Lease has run out") };
    let is_leader = |pod: &&Pod| Some(&pod.uid) == leader.pod_uid.as_ref() && pod.phase == Phase::Live;
    let Some(pod) = snapshot.candidates.iter().copied().find(is_leader) else { return nobody(&judgement.evidence()) };
    if judgement.verdict() == Verdict::Managed && !judgement.subject.as_ref().is_some_and(|s| s.runs) {
        return nobody(&format!("no watched container of pod {} runs", pod.name));
    }
    if status.holder.as_ref().and_then(|h| h.pod_uid.as_ref()) != Some(&pod.uid) {
        return nobody(&format!("pod {} has the holder's name, and leads once it has renewed the Lease", pod.name));
    }
    if pod.ip.is_none() {
        return Err(Nobody::NoAddress(pod));
    }
    if snapshot.plan.routing.as_ref().is_some_and(|r| r.require_ready) && !pod.ready {
        return Err(Nobody::NotReady(pod));
    }
    Ok(pod)
}

/// All that follows for the group's traffic.
pub fn decide(
    snapshot: &Snapshot<'_>,
    trouble: &Trouble,
    judgement: &Judgement,
    status: &LeaderGroupStatus,
) -> Decided {
    let observed = &snapshot.routes;
    // The garbage collector takes what a deleted group owns; nothing is to be made again meanwhile.
    if snapshot.group.deleting || snapshot.plan.routing.is_none() && observed.is_nothing() {
        return Decided::default();
    }
    let target = target(snapshot, judgement, status);
    let leader = match &target {
        Ok(pod) | Err(Nobody::NoAddress(pod) | Nobody::NotReady(pod)) => Some(pod.uid.as_str()),
        Err(Nobody::NoLeader(_)) => None,
    };
    let pod = target.as_ref().ok().copied();
    let endpoint = pod.and_then(|pod| endpoint(pod, snapshot));
    let labelled = snapshot.plan.routing.as_ref().filter(|r| r.pod_labels && snapshot.older.is_none());
    Decided {
        route: next(snapshot.plan.routing.as_ref(), observed, trouble, endpoint.as_ref()),
        label: labelled.and_then(|_| label(&snapshot.candidates, leader)),
        target: pod.map(|pod| pod.uid.clone()),
    }
}

/// The pod's address, if it has one.
fn endpoint(pod: &Pod, snapshot: &Snapshot<'_>) -> Option<Endpoint> {
    let zone = |node: &String| snapshot.nodes.iter().find(|(name, _)| name == node)?.1.zone.clone();
    Some(Endpoint {
        ip: pod.ip?,
        pod: pod.name.clone(),
        uid: pod.object_uid().to_owned(),
        node: pod.node.clone(),
        zone: pod.node.as_ref().and_then(zone),
    })
}
