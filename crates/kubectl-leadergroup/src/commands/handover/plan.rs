//! How a leader can be had to hand over, and whether it has. Pure.
//!
//! A leader that runs this project's elector shows by the name under which it renews its Lease, and is asked by an
//! annotation there. Of another one nothing is written: its pod can only be evicted.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use leadergroup_elector::lease::MANAGER;
use leadergroup_identity::PodNames;

use crate::model::LeaderGroup;
use crate::objects::{Plan, holder, is_ready, is_static, names, renewed_by};

/// What is known before anything is done.
pub struct Scene<'s> {
    pub group: &'s LeaderGroup,
    pub lease: Option<&'s Lease>,
    /// The pods of the namespace.
    pub pods: &'s [Pod],
}

/// The way to another leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Ask the leader to hand over to this identity.
    Ask { preferred: String },
    /// Evict the leader's pod.
    Evict { pod: String, uid: String, why: String },
    /// The pod leads already.
    None,
}

/// What is asked of a leader that shall hand over to anybody: no candidate has this identity.
pub const ANYBODY_ELSE: &str = "anybody else";

/// A leader, resolved.
struct Leading<'s> {
    lease: &'s Lease,
    identity: &'s str,
    /// None if the holder fits no candidate, or several.
    pod: Option<&'s Pod>,
    candidates: Vec<&'s Pod>,
}

impl<'s> Scene<'s> {
    fn leading(&self) -> Result<Leading<'s>, String> {
        let plan = Plan::of(self.group)?;
        let candidates: Vec<_> = self.pods.iter().filter(|pod| plan.has_candidate(pod)).collect();
        let Some((lease, identity)) = self.lease.and_then(|lease| Some((lease, holder(lease)?))) else {
            return Err(format!("nobody leads group {}, so nobody can hand over", self.group.name_any()));
        };
        let pod = match plan.fitting(identity, candidates.iter().copied()).as_slice() {
            [pod] => Some(*pod),
            _ => None,
        };
        Ok(Leading { lease, identity, pod, candidates })
    }

    /// Who leads before anything is done.
    pub fn before(&self) -> Before {
        let pod = self.leading().ok().and_then(|leading| leading.pod).map(kube::ResourceExt::name_any);
        Before { pod, ..Before::of(self.lease) }
    }

    /// How to have another candidate lead, whichever.
    pub fn step_down(&self) -> Result<Way, String> {
        let leading = self.leading()?;
        let leads = |pod: &Pod| leading.pod.is_some_and(|leader| leader.name_any() == pod.name_any());
        if !leading.candidates.iter().any(|pod| is_ready(pod) && !leads(pod)) {
            return Err(format!(
                "no other candidate of group {} is Ready, so nobody could take over from {}",
                self.group.name_any(),
                leading.identity
            ));
        }
        if is_ours(leading.lease) {
            return Ok(Way::Ask { preferred: ANYBODY_ELSE.to_owned() });
        }
        self.evict(&leading)
    }

    /// How to have that pod lead. `identity` is what it calls itself, if the user says.
    pub fn promote(&self, pod: &str, identity: Option<&str>, may_evict: bool) -> Result<Way, String> {
        let leading = self.leading()?;
        let group = self.group.name_any();
        let Some(chosen) = leading.candidates.iter().find(|candidate| candidate.name_any() == pod) else {
            let names: Vec<_> = leading.candidates.iter().map(|candidate| candidate.name_any()).collect();
            return Err(format!("pod {pod} is no candidate of group {group}; there are: {}", names.join(", ")));
        };
        if leading.pod.is_some_and(|leader| leader.name_any() == pod) {
            return Ok(Way::None);
        }
        if !is_ready(chosen) {
            return Err(format!("pod {pod} is not Ready, so it is not made to lead"));
        }
        if is_ours(leading.lease) {
            let known = || leading.pod.and_then(|leader| same_form(leading.identity, names(leader), names(chosen)));
            let preferred = identity.map(ToOwned::to_owned).or_else(|| self.remembered(chosen)).or_else(known);
            return preferred.map(|preferred| Way::Ask { preferred }).ok_or_else(|| {
                format!(
                    "it is not known what pod {pod} calls itself, since {:?} does not tell how it is made; say so with \
                     --identity (its elector logs it when it begins to campaign)",
                    leading.identity
                )
            });
        }
        if !may_evict {
            return Err(format!(
                "the leader's elector, {}, can't be asked to hand over. With --evict its pod is evicted; which candidate \
                 then leads is a race, which {pod} may lose",
                client(leading.lease)
            ));
        }
        self.evict(&leading)
    }

    /// What the pod called itself when it led last.
    fn remembered(&self, pod: &Pod) -> Option<String> {
        let history = self.group.status.iter().flat_map(|status| &status.history);
        let uid = Some(names(pod).uid);
        history.filter(|term| term.pod_uid.as_deref() == uid).map(|term| term.leader.clone()).next()
    }

    fn evict(&self, leading: &Leading<'_>) -> Result<Way, String> {
        let Leading { identity, lease, .. } = leading;
        let Some(pod) = leading.pod else {
            return Err(format!(
                "holder {identity:?} is not exactly one candidate's, so there is no pod to evict: `kubectl leadergroup \
                 doctor {}` says why",
                self.group.name_any()
            ));
        };
        if is_static(pod) {
            return Err(format!(
                "pod {} is run by its kubelet from a file, so it can't be evicted: move its manifest away on node {}",
                pod.name_any(),
                names(pod).node.unwrap_or_default()
            ));
        }
        let why = format!("its elector, {}, can't be asked to hand over", client(lease));
        Ok(Way::Evict { pod: pod.name_any(), uid: pod.uid().unwrap_or_default(), why })
    }
}

/// Whether the holder runs this project's elector: it renewed the Lease last.
pub fn is_ours(lease: &Lease) -> bool {
    renewed_by(lease) == Some(MANAGER)
}

fn client(lease: &Lease) -> String {
    renewed_by(lease).map_or_else(|| "which does not say what it is".to_owned(), |name| format!("{name:?}"))
}

/// What the other pod calls itself, if it does so in the same way. Nothing if there is something in the identity that may
/// be random.
fn same_form(identity: &str, from: PodNames<'_>, to: PodNames<'_>) -> Option<String> {
    let mut rest = identity;
    let mut made = String::new();
    let values = [(from.uid, Some(to.uid)), (from.name, Some(to.name)), (from.node.unwrap_or_default(), to.node)];
    let mut names_pod = false;
    'next: while let Some(c) = rest.chars().next() {
        for (old, new) in values {
            if let Some(after) = rest.strip_prefix(old).filter(|_| !old.is_empty()) {
                names_pod |= old != from.node.unwrap_or_default();
                made += new?;
                rest = after;
                continue 'next;
            }
        }
        if c.is_ascii_digit() {
            return None;
        }
        made.push(c);
        rest = &rest[c.len_utf8()..];
    }
    names_pod.then_some(made)
}

/// Who held the Lease when it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    pub identity: String,
    pub lease_uid: Option<String>,
    /// The Lease's own counter.
    pub transitions: Option<i32>,
    /// Its pod, if it is exactly one candidate's.
    pub pod: Option<String>,
}

impl Before {
    /// That the term is over, if it is.
    pub fn is_over(&self, lease: Option<&Lease>) -> Option<String> {
        let now = Self::of(lease);
        if now.identity.is_empty() {
            return Some("nobody leads any more".to_owned());
        }
        if now.identity != self.identity {
            return Some(format!("{} leads by now", now.identity));
        }
        let is_another = now.lease_uid != self.lease_uid || now.transitions != self.transitions;
        is_another.then(|| format!("{} has lost its Lease and leads anew", now.identity))
    }

    fn of(lease: Option<&Lease>) -> Self {
        Self {
            identity: lease.and_then(holder).unwrap_or_default().to_owned(),
            lease_uid: lease.and_then(kube::ResourceExt::uid),
            transitions: lease.and_then(|lease| lease.spec.as_ref()?.lease_transitions),
            pod: None,
        }
    }

    /// Whether who leads now led before: by its identity, or by its pod, which may call itself something else by now.
    pub fn is(&self, identity: &str, pod: Option<&str>) -> bool {
        identity == self.identity || pod.is_some() && pod == self.pod.as_deref()
    }
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The old leader holds the Lease.
    Held,
    /// Nobody does.
    Free,
    /// A new term has begun, of this holder.
    Led(String),
}

/// What the Lease says. `was_free` tells that it was seen free before, so whoever holds it began anew.
pub fn progress(before: &Before, lease: Option<&Lease>, was_free: bool) -> Progress {
    let Some((lease, who)) = lease.and_then(|lease| Some((lease, holder(lease)?))) else { return Progress::Free };
    let is_another = who != before.identity || lease.uid() != before.lease_uid;
    if was_free || is_another { Progress::Led(who.to_owned()) } else { Progress::Held }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::samples::{group, lease, pod};

    fn told(way: Result<Way, String>) -> String {
        match way {
            Ok(Way::Ask { preferred }) => format!("ask for {preferred}"),
            Ok(Way::Evict { pod, uid, .. }) => format!("evict {pod} {uid}"),
            Ok(Way::None) => "nothing".to_owned(),
            Err(why) => why,
        }
    }

    #[test]
    fn a_leader_is_asked_where_it_listens_and_evicted_where_not() {
        let ready = |name: &str| pod(name, &json!({}));
        let two = [ready("a"), ready("b")];
        let mirror =
            [pod("a", &json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})), ready("b")];
        let alone = [ready("a"), pod("b", &json!({"status": {"conditions": []}}))];
        for (pods, holder, manager, expected) in [
            (&two[..], "a_uid-of-a", MANAGER, "ask for anybody else"),
            (&two, "a", "client-go", "evict a uid-of-a"),
            (&two, "", "client-go", "nobody leads group billing"),
            (&two, "z", "client-go", "holder \"z\" is not exactly one candidate's"),
            (&mirror, "a", "client-go", "pod a is run by its kubelet from a file"),
            (&alone, "a", MANAGER, "no other candidate of group billing is Ready"),
        ] {
            let (group, lease) = (group(&json!({})), lease(holder, manager, &json!({})));
            let way = told(Scene { group: &group, lease: Some(&lease), pods }.step_down());
            assert!(way.starts_with(expected), "{holder} by {manager}: {way}");
        }
    }

    #[test]
    fn a_pod_is_promoted_by_what_it_calls_itself() {
        let pods = [pod("a", &json!({})), pod("b", &json!({})), pod("c", &json!({"status": {"conditions": []}}))];
        let led =
            json!([{"leader": "b_4711", "podUID": "uid-of-b", "reason": "Released", "time": "2026-11-25T10:00:00Z"}]);
        let nothing = json!([]);
        for (chosen, holder, manager, history, identity, evict, expected) in [
            ("b", "a_uid-of-a", MANAGER, &nothing, None, false, "ask for b_uid-of-b"),
            ("b", "a", MANAGER, &nothing, None, false, "ask for b"),
            ("b", "a_5f2c", MANAGER, &nothing, None, false, "it is not known what pod b calls itself"),
            ("b", "a_5f2c", MANAGER, &nothing, Some("b_77"), false, "ask for b_77"),
            ("b", "a_5f2c", MANAGER, &led, None, false, "ask for b_4711"),
            ("a", "a", MANAGER, &nothing, None, false, "nothing"),
            ("c", "a", MANAGER, &nothing, None, false, "pod c is not Ready"),
            ("z", "a", MANAGER, &nothing, None, false, "pod z is no candidate of group billing; there are: a, b, c"),
            ("b", "a", "client-go", &nothing, None, false, "the leader's elector, \"client-go\", can't be asked"),
            ("b", "a", "client-go", &nothing, None, true, "evict a uid-of-a"),
        ] {
            let (group, lease) = (group(&json!({"status": {"history": history}})), lease(holder, manager, &json!({})));
            let way = told(Scene { group: &group, lease: Some(&lease), pods: &pods }.promote(chosen, identity, evict));
            assert!(way.starts_with(expected), "{chosen} after {holder} by {manager}: {way}");
        }
    }

    #[test]
    fn a_new_term_is_told_from_the_old_one() {
        let lease = |holder: &str| lease(holder, MANAGER, &json!({}));
        let before = Before { identity: "a".into(), lease_uid: Some("l1".into()), ..Before::default() };
        let mut anew = lease("a");
        anew.metadata.uid = Some("l2".into());
        assert_eq!(progress(&before, Some(&lease("a")), false), Progress::Held);
        assert_eq!(progress(&before, Some(&lease("")), false), Progress::Free);
        assert_eq!(progress(&before, None, false), Progress::Free);
        assert_eq!(progress(&before, Some(&lease("b")), false), Progress::Led("b".into()));
        assert_eq!(progress(&before, Some(&lease("a")), true), Progress::Led("a".into()));
        assert_eq!(progress(&before, Some(&anew), false), Progress::Led("a".into()));
    }

    #[test]
    fn nobody_is_evicted_whose_term_is_over() {
        let group = group(&json!({}));
        let pods = [pod("a", &json!({})), pod("b", &json!({}))];
        let at_first = lease("a_1", "client-go", &json!({}));
        let before = Scene { group: &group, lease: Some(&at_first), pods: &pods }.before();
        assert_eq!(before.is_over(Some(&lease("a_1", "client-go", &json!({"spec": {"renewTime": null}})))), None);
        for (later, expected) in [
            (Some(lease("b_1", "client-go", &json!({}))), "b_1 leads by now"),
            (Some(lease("", "client-go", &json!({}))), "nobody leads any more"),
            (None, "nobody leads any more"),
            (Some(lease("a_1", "client-go", &json!({"metadata": {"uid": "l2"}}))), "a_1 has lost its Lease"),
            (Some(lease("a_1", "client-go", &json!({"spec": {"leaseTransitions": 3}}))), "a_1 has lost its Lease"),
        ] {
            let told = before.is_over(later.as_ref()).unwrap_or_default();
            assert!(told.starts_with(expected), "{told}, expected {expected}");
        }
        // Who leads again is no other, whatever it calls itself.
        for (identity, pod, expected) in
            [("a_1", None, true), ("a_2", Some("a"), true), ("b_1", Some("b"), false), ("c", None, false)]
        {
            assert_eq!(before.is(identity, pod), expected, "{identity}");
        }
    }
}
