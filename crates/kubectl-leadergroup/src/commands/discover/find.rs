//! Which pod holds a Lease, and what a group for it would look like. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use leadergroup_api::Library;
use leadergroup_identity::Identity;

use crate::model::LeaderGroup;
use crate::objects::{full_name, holder, is_for_life, is_live, library, names, renewed_by};
use crate::owner::{Owner, is_empty, lasting_labels};

/// Where each node renews a Lease of its own.
pub const HEARTBEATS: &str = "kube-node-lease";

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The holder is the name of that pod, or begins with it as libraries write it, and of no other.
    Certain,
    /// The holder contains what is that pod's, in a form that was guessed; or what told the pod from others was a guess.
    Likely,
}

impl Confidence {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
        }
    }
}

/// The pod that holds a Lease.
#[derive(Clone, Debug)]
pub struct Holder<'p> {
    pub pod: &'p Pod,
    /// The template that the group needs, if it is none of the default ones.
    pub identity: Option<String>,
    pub confidence: Confidence,
    /// Why it is that pod.
    pub evidence: String,
}

/// The pod of the Lease's namespace that holds it; or why no group is proposed.
pub fn holder_of<'p>(lease: &Lease, pods: &'p [Pod], groups: &[LeaderGroup]) -> Result<Holder<'p>, String> {
    let same_place = |namespace: Option<String>| namespace == lease.namespace();
    let has_it = |group: &&LeaderGroup| same_place(group.namespace()) && group.lease_name() == lease.name_any();
    if let Some(group) = groups.iter().find(has_it) {
        return Err(format!("group {} has it", group.name_any()));
    }
    if lease.labels().contains_key("apiserver.kubernetes.io/identity") {
        return Err("an API server tells by it that it lives, and nobody else can hold it".to_owned());
    }
    if let Some(strategy) = lease.spec.as_ref().and_then(|spec| spec.strategy.as_ref()) {
        return Err(format!("coordinated leader election ({strategy}) decides who holds it"));
    }
    let Some(who) = holder(lease) else { return Err("nobody holds it".to_owned()) };
    let here: Vec<&Pod> = pods.iter().filter(|pod| same_place(pod.namespace())).collect();
    let live: Vec<&Pod> = here.iter().copied().filter(|pod| is_live(pod)).collect();

    let by_default = Identity::new(None).map_err(|error| error.to_string())?;
    let fitting: Vec<&Pod> = live.iter().copied().filter(|pod| by_default.fits(who, names(pod))).collect();
    if let [pod] = fitting.as_slice() {
        let on_node = names(pod).host_network && !who.starts_with(&pod.name_any());
        let has_uid = who == format!("{}_{}", pod.name_any(), names(pod).uid);
        let (evidence, confidence) = if has_uid {
            (format!("the holder is name and UID of pod {}", pod.name_any()), Confidence::Certain)
        } else if on_node {
            let node = names(pod).node.unwrap_or_default();
            (format!("the only pod on the network of node {node}, which the holder names"), Confidence::Likely)
        } else {
            (format!("the holder begins with the name of pod {} and of no other", pod.name_any()), Confidence::Certain)
        };
        let identity = has_uid.then(|| "{pod}_{uid}".to_owned());
        return Ok(Holder { pod, identity, confidence, evidence });
    }
    if !fitting.is_empty() {
        return one_of(&fitting, &lease.name_any());
    }
    if let Some(template) = Identity::proposal(who, live.iter().map(|pod| names(pod)))
        && let Ok(identity) = Identity::new(Some(&template))
    {
        let fitting: Vec<&Pod> = live.iter().copied().filter(|pod| identity.fits(who, names(pod))).collect();
        let [pod] = fitting.as_slice() else { return several(&fitting) };
        let evidence = format!("the holder contains what is pod {}'s and no other's", pod.name_any());
        return Ok(Holder { pod, identity: Some(template), confidence: Confidence::Likely, evidence });
    }
    match here.iter().find(|pod| by_default.fits(who, names(pod))) {
        Some(pod) => Err(format!("its holder, pod {}, has ended", pod.name_any())),
        None => Err(elsewhere(who, lease, pods, &by_default)),
    }
}

/// What becomes of a Lease whose holder fits no pod of its namespace. `pods` may be of all namespaces.
fn elsewhere(who: &str, lease: &Lease, pods: &[Pod], by_default: &Identity) -> String {
    let others = pods.iter().filter(|pod| pod.namespace() != lease.namespace() && is_live(pod));
    // A name of a node's alone says too little to look for it in all namespaces.
    let fitting: Vec<&Pod> =
        others.filter(|pod| who.starts_with(&pod.name_any()) && by_default.fits(who, names(pod))).collect();
    if let [pod] = fitting.as_slice() {
        return format!(
            "pod {} holds it, but is in another namespace than its Lease, which no group can span",
            full_name(*pod)
        );
    }
    format!(
        "holder {who:?} fits no pod of namespace {}: it is gone, is in another namespace, or names nothing of its pod",
        lease.namespace().unwrap_or_default()
    )
}

fn several<'p>(fitting: &[&Pod]) -> Result<Holder<'p>, String> {
    let fits: Vec<_> = fitting.iter().map(|pod| pod.name_any()).collect();
    Err(format!("the holder may be any of {}", fits.join(", ")))
}

/// Of several pods the holder fits, as on one node's network, the one that the Lease is named after.
fn one_of<'p>(fitting: &[&'p Pod], lease: &str) -> Result<Holder<'p>, String> {
    let named = |pod: &&&Pod| pod.name_any().starts_with(lease) || pod.labels().values().any(|value| value == lease);
    let namesakes: Vec<&'p Pod> = fitting.iter().filter(named).copied().collect();
    let [pod] = namesakes.as_slice() else { return several(fitting) };
    let evidence =
        format!("of {} pods that the holder fits, the Lease is named after {}", fitting.len(), pod.name_any());
    Ok(Holder { pod, identity: None, confidence: Confidence::Likely, evidence })
}

/// A group that could be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub namespace: String,
    pub name: String,
    pub lease: String,
    pub leader: String,
    pub identity: Option<String>,
    pub selector: LabelSelector,
    /// What the candidates were made by, if that is known.
    pub owner: Option<String>,
    /// How many pods the selector matches now.
    pub candidates: usize,
    /// The containers of the leader's pod.
    pub containers: Vec<String>,
    /// Seconds, where the Lease tells.
    pub duration: Option<i32>,
    /// The program that renews the Lease, by the name it gives.
    pub client: Option<String>,
    /// The election library that the holder is known to use.
    pub library: Option<Library>,
    /// Whether the Lease never runs out.
    pub is_for_life: bool,
    pub confidence: Confidence,
    pub evidence: String,
}

/// A group for the Lease; or why there can be none.
pub fn propose(
    lease: &Lease,
    found: Holder<'_>,
    owner: Option<Owner>,
    pods: &[Pod],
    groups: &[LeaderGroup],
) -> Result<Proposal, String> {
    let Holder { pod, identity, confidence, evidence } = found;
    let selector = owner.as_ref().map_or_else(|| lasting_labels(pod), |owner| owner.selector.clone());
    if is_empty(&selector) {
        return Err(format!("pod {} holds it, but has no labels that a selector could go by", pod.name_any()));
    }
    let parsed = Selector::try_from(selector.clone()).map_err(|error| error.to_string())?;
    let same_place = |other: &&Pod| other.namespace() == lease.namespace();
    let candidates = pods.iter().filter(same_place).filter(|p| is_live(p) && parsed.matches(p.labels())).count();
    let name = lease.name_any();
    let is_taken = groups.iter().any(|group| group.namespace() == lease.namespace() && group.name_any() == name);
    Ok(Proposal {
        namespace: lease.namespace().unwrap_or_default(),
        name: if is_taken { format!("{name}-lease") } else { name.clone() },
        lease: name,
        leader: pod.name_any(),
        identity,
        selector,
        owner: owner.map(|owner| owner.name),
        candidates,
        containers: pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.clone()).collect(),
        duration: lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).filter(|seconds| *seconds > 0),
        client: renewed_by(lease).map(ToOwned::to_owned),
        library: library(lease),
        is_for_life: is_for_life(lease),
        confidence,
        evidence,
    })
}
