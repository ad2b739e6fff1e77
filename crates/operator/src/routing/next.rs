//! The one write that brings the objects closer to what they should be.

use leadergroup_api::{ROLE_LABEL, ROLE_LEADER, ROLE_STANDBY};

use super::Trouble;
use crate::model::{Phase, Pod};
use crate::traffic::{Endpoint, Existing, Owned, Plan, Port, RouteKind};

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The `EndpointSlice`: created, or changed in place.
    Slice {
        /// Its name, and the Service's.
        name: String,
        /// `IPv4` or `IPv6`.
        family: String,
        /// Who gets traffic.
        endpoint: Option<Endpoint>,
        /// The pod's ports.
        ports: Vec<Port>,
    },
    /// The `EndpointSlice` loses its endpoints, and keeps the rest.
    Empty {
        /// Its name.
        name: String,
    },
    /// The Service: created, or changed in place.
    Service {
        /// Its name.
        name: String,
        /// Its ports.
        ports: Vec<Port>,
    },
    /// An object of this group's is deleted.
    Delete {
        /// Which kind.
        kind: RouteKind,
        /// Its name.
        name: String,
    },
    /// A candidate's pod is labelled with its role.
    Label {
        /// The pod's name.
        pod: String,
        /// The label's value.
        role: &'static str,
    },
}

/// A write, and what it was decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to write.
    pub write: Write,
    /// The object that it changes; none where it is created.
    pub on: Option<On>,
}

/// An object, as it was when the write was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion; a pod's is not kept.
    pub version: Option<String>,
}

impl Step {
    fn new(write: Write, uid: &str, version: &str) -> Self {
        Self { write, on: Some(On { uid: uid.to_owned(), version: Some(version.to_owned()) }) }
    }

    fn create(write: Write) -> Self {
        Self { write, on: None }
    }

    fn delete(owned: &Owned) -> Self {
        Self::new(Write::Delete { kind: owned.kind, name: owned.name.clone() }, &owned.uid, &owned.version)
    }
}

/// The next write for this plan: first what sends traffic wrongly, last what only lies about.
pub fn next(
    plan: Option<&Plan>,
    observed: &Existing<'_>,
    trouble: &Trouble,
    endpoint: Option<&Endpoint>,
) -> Option<Step> {
    let of_plan = plan.and_then(|plan| wanted(plan, observed, trouble, endpoint));
    of_plan.or_else(|| observed.stale.first().map(Step::delete))
}

fn wanted(plan: &Plan, observed: &Existing<'_>, trouble: &Trouble, endpoint: Option<&Endpoint>) -> Option<Step> {
    let name = &plan.name;
    let slice = observed.slice.filter(|(_, ours)| *ours).map(|(found, _)| found);
    let service_is_anothers =
        observed.service.map_or(trouble.taken == Some(RouteKind::Service), |(_, is_ours)| !is_ours);
    if let Some(found) = slice {
        let is_of_another_family = endpoint.is_some_and(|e| e.family() != found.facts.family);
        // Under another's Service it would send that one's traffic.
        if service_is_anothers || is_of_another_family {
            let write = Write::Delete { kind: RouteKind::Slice, name: name.clone() };
            return Some(Step::new(write, &found.uid, &found.version));
        }
        let ports = plan.slice_ports();
        let is_as_wanted =
            found.facts.content.as_ref().is_some_and(|(holds, has)| holds.as_ref() == endpoint && *has == ports);
        if !is_as_wanted {
            let (family, endpoint) = (found.facts.family.clone(), endpoint.cloned());
            let write = Write::Slice { name: name.clone(), family, endpoint, ports };
            return Some(Step::new(write, &found.uid, &found.version));
        }
    }
    let service = Write::Service { name: name.clone(), ports: plan.ports.clone() };
    match observed.service {
        None => return Some(Step::create(service)),
        Some((_, false)) => return None,
        Some((found, true)) if found.facts.selects => {
            let write = Write::Delete { kind: RouteKind::Service, name: name.clone() };
            return Some(Step::new(write, &found.uid, &found.version));
        }
        Some((found, true)) if found.facts.ports.as_ref() != Some(&plan.ports) => {
            return Some(Step::new(service, &found.uid, &found.version));
        }
        Some(_) => {}
    }
    let endpoint = endpoint.filter(|_| observed.slice.is_none())?;
    let family = endpoint.family().to_owned();
    let endpoint = Some(endpoint.clone());
    Some(Step::create(Write::Slice { name: name.clone(), family, endpoint, ports: plan.slice_ports() }))
}

/// What is owed by a group whose spec can't be used, so that nobody is known to lead: none of its slices sends.
pub fn without_plan(owned: &[Owned]) -> Option<Step> {
    let sends = owned.iter().find(|owned| owned.sends)?;
    Some(Step::new(Write::Empty { name: sends.name.clone() }, &sends.uid, &sends.version))
}

/// The next label to write: standbys before the leader, so that at no moment two pods are labelled as the leader.
pub fn label(candidates: &[&Pod], leader: Option<&str>) -> Option<Step> {
    let role = |pod: &Pod| if Some(pod.uid.as_str()) == leader { ROLE_LEADER } else { ROLE_STANDBY };
    let is_wrong = |pod: &&Pod| pod.labels.get(ROLE_LABEL).map(String::as_str) != Some(role(pod));
    let mut wrong = candidates.iter().copied().filter(|pod| pod.phase == Phase::Live).filter(is_wrong);
    let first = wrong.clone().find(|pod| role(pod) == ROLE_STANDBY).or_else(|| wrong.next())?;
    Some(Step {
        write: Write::Label { pod: first.name.clone(), role: role(first) },
        on: Some(On { uid: first.object_uid().to_owned(), version: None }),
    })
}
