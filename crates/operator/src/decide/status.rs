//! What the user is told: status, conditions, Events. Nothing in here changes while a leader merely renews.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use leadergroup_api::{
    CandidateCount, Holder, Leader, LeaderGroupStatus, Policy, ReleaseForm, Transition, TransitionReason, Verdict,
};

use super::clear::{accepted_after, is_kept};
use super::condition::{
    Draft, FLAPPING, HOLDER_SUSPECT, LEADER_SUSPECT, OTHER_DURATION, ROUTED, TIMING_SUSPECT, conditions,
};
use super::memory::Memory;
use super::terms::{Terms, seconds};
use super::{Clear, Ground, Notice, selects_every_pod};
use crate::index::{Observed, Snapshot};
use crate::judge::{Identity, Judgement};
use crate::model::{Phase, State};
use crate::routing;
use crate::time::{Mono, Now};

/// A Lease longer than this many seconds is almost surely a mistake: it would block its group for a day.
const LONGEST_SENSIBLE_LEASE: u64 = 86_400;

/// Composes the whole status.
pub(super) fn compose(
    base: &LeaderGroupStatus,
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    judgement: &Judgement,
    terms: Terms,
    conduct: Vec<Draft>,
    now: Now,
) -> LeaderGroupStatus {
    let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
    let live: Vec<_> = snapshot.candidates.iter().filter(|p| p.phase == Phase::Live).collect();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut status = LeaderGroupStatus {
        observed_generation: snapshot.group.generation,
        lease_name: Some(snapshot.plan.lease_name.clone()),
        leader: leader(base, snapshot, judgement, &terms),
        holder: Some(Holder {
            identity: holder.to_owned(),
            pod_uid: terms.pod_uid,
            verdict: judgement.verdict(),
            rule: Some(judgement.rule.name()),
            evidence: judgement.evidence(),
        }),
        account: memory.account.as_ref().map(|state| state.account.clone()),
        transitions: terms.transitions,
        lease_transitions: terms.lease_transitions,
        candidates: CandidateCount { total: count(live.len()), ready: count(live.iter().filter(|p| p.ready).count()) },
        history: terms.history,
        conditions: Vec::new(),
    };
    let mut drafts = vec![
        ready(snapshot, judgement, &status),
        stalled(snapshot, memory),
        candidates_found(snapshot, &status),
        holder_suspect(snapshot, memory, judgement),
        lease_suspect(base, snapshot),
    ];
    drafts.extend(conduct);
    if let Some(plan) = &snapshot.plan.routing {
        let target = routing::target(snapshot, judgement, &status);
        let (value, reason, message) = routing::condition::routed(snapshot, plan, &memory.routing, &target);
        drafts.push(Draft::new(ROUTED, value, reason, message));
    }
    status.conditions = conditions(base, drafts, snapshot.group.generation, now);
    status
}

/// The status of a group whose spec can't be used, or that can't be read at all: nothing but the reason changes.
pub fn stalled_only(
    base: LeaderGroupStatus,
    generation: Option<i64>,
    reason: &str,
    message: String,
    now: Now,
) -> LeaderGroupStatus {
    let drafts =
        vec![Draft::new("Ready", false, reason, message.clone()), Draft::new("Stalled", true, reason, message)];
    LeaderGroupStatus {
        observed_generation: generation,
        leader: None,
        conditions: conditions(&base, drafts, generation, now),
        ..base
    }
}

/// The status of an object that can't be read.
pub fn undecodable(message: String, now: Now) -> LeaderGroupStatus {
    stalled_only(LeaderGroupStatus::default(), None, "Undecodable", message, now)
}

/// The leader, as long as the Lease says there is one and nothing says otherwise.
fn leader(base: &LeaderGroupStatus, snapshot: &Snapshot<'_>, judgement: &Judgement, terms: &Terms) -> Option<Leader> {
    let lease = snapshot.lease?;
    let identity = lease.record.holder()?;
    let over = matches!(judgement.verdict(), Verdict::Terminated | Verdict::LeaseExpired);
    if over || lease.has_expired(snapshot.plan.duration) || snapshot.older.is_some() {
        return None;
    }
    let subject = judgement.subject.as_ref();
    let node = subject.and_then(|s| s.node.clone());
    let zone = snapshot.nodes.iter().find(|(name, _)| Some(*name) == node.as_deref()).and_then(|(_, n)| n.zone.clone());
    // Some libraries rewrite acquireTime with each renewal; the term's first is the one that is true.
    let kept = base.leader.as_ref().filter(|l| !terms.began && l.identity == identity);
    let acquired = || lease.record.acquired().and_then(|t| jiff::Timestamp::from_microsecond(t.as_microsecond()).ok());
    Some(Leader {
        identity: identity.to_owned(),
        pod_name: subject.map(|s| s.name.clone()),
        pod_uid: subject.map(|s| s.uid.clone()),
        node_name: node,
        zone,
        acquire_time: match kept {
            Some(leader) => leader.acquire_time.clone(),
            None => acquired().map(MicroTime),
        },
    })
}

fn ready(snapshot: &Snapshot<'_>, judgement: &Judgement, status: &LeaderGroupStatus) -> Draft {
    if snapshot.older.is_some() {
        return Draft::new("Ready", false, "Stalled", "another LeaderGroup has this Lease");
    }
    let pod = judgement.subject.as_ref().map_or("a pod", |s| s.name.as_str());
    match judgement.verdict() {
        Verdict::Alive => Draft::new("Ready", true, "Leading", format!("pod {pod} leads")),
        // One of the pods it fits exists, the others may only live on: HolderSuspect says so.
        Verdict::Ambiguous if status.leader.as_ref().is_some_and(|l| l.pod_name.is_some()) => {
            Draft::new("Ready", true, "Ambiguous", judgement.evidence())
        }
        Verdict::Managed if status.leader.is_some() => Draft::new("Ready", true, "Managed", judgement.evidence()),
        Verdict::Free if status.candidates.total == 0 => {
            Draft::new("Ready", false, "NoCandidates", "no candidate exists, so nobody can lead")
        }
        Verdict::Free => {
            let message = format!("{}; a candidate has to acquire it", judgement.evidence());
            Draft::new("Ready", false, "NoLeader", message)
        }
        verdict => Draft::new("Ready", false, verdict.as_str(), judgement.evidence()),
    }
}

fn stalled(snapshot: &Snapshot<'_>, memory: &Memory) -> Draft {
    if let Some(older) = snapshot.older {
        let message = format!(
            "Lease {} belongs to the older LeaderGroup {}: delete one of the two, or give this one another spec.lease.name",
            snapshot.plan.lease_name, older.name
        );
        return Draft::new("Stalled", true, "LeaseTaken", message);
    }
    match (&memory.error, &memory.routing.labels) {
        (Some(error), _) => Draft::new("Stalled", true, "WriteFailed", error.clone()),
        (None, Some(error)) => Draft::new("Stalled", true, "PodLabelsFailed", error.clone()),
        (None, None) => observed(snapshot),
    }
}

/// The reason of a group that is only observed for its namespace's sake.
const SYSTEM_NAMESPACE: &str = "SystemNamespace";

fn observed(snapshot: &Snapshot<'_>) -> Draft {
    let namespace = &snapshot.group.key.namespace;
    match snapshot.observed {
        None | Some(Observed::Policy) => Draft::new("Stalled", false, "Observing", "the group is observed"),
        Some(Observed::SystemNamespace) => {
            let message = format!(
                "namespace {namespace} is Kubernetes' own, so the Lease is only observed and nothing is written to it, as \
                 under policy Observe; to have holders cleared here too, start the operator with \
                 --clear-in-system-namespaces"
            );
            Draft::new("Stalled", false, SYSTEM_NAMESPACE, message)
        }
        Some(Observed::Heartbeats) => {
            let message = format!(
                "the Leases of namespace {namespace} are heartbeats of nodes, which are not watched: delete this LeaderGroup"
            );
            Draft::new("Stalled", true, "NodeHeartbeats", message)
        }
    }
}

/// The group is only observed although it asks for more.
fn observed_notice(base: &LeaderGroupStatus, status: &LeaderGroupStatus, snapshot: &Snapshot<'_>) -> Option<Notice> {
    let find = |s: &LeaderGroupStatus| s.conditions.iter().find(|c| c.reason == SYSTEM_NAMESPACE).cloned();
    let condition = find(status).filter(|_| find(base).is_none())?;
    Some(Notice {
        warning: snapshot.plan.stale_holder.policy == Policy::Clear,
        reason: "OnlyObserved".into(),
        action: "Observe".into(),
        note: condition.message,
        pod: None,
        saved: None,
    })
}

fn candidates_found(snapshot: &Snapshot<'_>, status: &LeaderGroupStatus) -> Draft {
    let total = status.candidates.total;
    if total == 0 {
        let selector = snapshot.plan.selector.to_string();
        let message = format!(
            "no pod in namespace {} matches {selector:?}: label the candidates so",
            snapshot.group.key.namespace
        );
        return Draft::new("CandidatesFound", false, "NoPodMatches", message);
    }
    if selects_every_pod(snapshot) {
        let message = format!("the selector leaves no pod out: all {total} pods of the namespace count as candidates");
        return Draft::new("CandidatesFound", true, "EveryPodMatches", message);
    }
    let missing = snapshot.plan.watched.iter().find(|name| {
        !snapshot.candidates.iter().any(|p| p.containers.iter().any(|c| c.name == **name && c.state != State::Missing))
    });
    if let Some(name) = missing {
        let message =
            format!("no candidate has the container {name:?} of spec.candidates.containers: no death can be proven");
        return Draft::new("CandidatesFound", false, "ContainerMissing", message);
    }
    Draft::new("CandidatesFound", true, "PodsMatch", "the selector matches candidates")
}

fn holder_suspect(snapshot: &Snapshot<'_>, memory: &Memory, judgement: &Judgement) -> Draft {
    let holder = snapshot.lease.and_then(|l| l.record.holder());
    if judgement.verdict() != Verdict::Contradiction && holder.is_some() && memory.contradicted.as_deref() == holder {
        let message =
            "something else was seen to use the holder's identity; give each candidate an identity of its own";
        return Draft::new(HOLDER_SUSPECT, true, Verdict::Contradiction.as_str(), message);
    }
    let proposal = || {
        let template = Identity::proposal(holder?, snapshot.candidates.iter().copied())?;
        Some(format!("if that is how a candidate names itself, write in the spec: identity: {template:?}"))
    };
    let advice = match judgement.verdict() {
        Verdict::Contradiction => "give each candidate an identity of its own".to_owned(),
        Verdict::Foreign if snapshot.others.is_empty() => proposal().unwrap_or_else(|| {
            "if it is a candidate, write in spec.identity how candidates name themselves; if not, give the group a Lease of \
             its own"
                .to_owned()
        }),
        Verdict::Foreign => {
            "label the holder's pod as a candidate, or correct spec.candidates.selector or spec.identity".to_owned()
        }
        Verdict::Ambiguous => {
            "use an identity that contains {uid}, or names that are not prefixes of each other".to_owned()
        }
        Verdict::Unresolved => {
            proposal().unwrap_or_else(|| "if its pod exists, write in spec.identity how it names itself".to_owned())
        }
        _ => return Draft::new(HOLDER_SUSPECT, false, "Resolved", "the holder is nobody, or a candidate"),
    };
    Draft::new(HOLDER_SUSPECT, true, judgement.verdict().as_str(), format!("{}; {advice}", judgement.evidence()))
}

/// The reason for [`lease_suspect`] that an operator takes over from the one before it.
const CLOCK_OFF: &str = "ClockOff";

/// Whether the next renewals decide if the holder's clock is still off, as an operator before this one said.
pub fn waits_for_clock(status: &LeaderGroupStatus, snapshot: &Snapshot<'_>) -> bool {
    let unconfirmed = snapshot.lease.is_some_and(|lease| lease.clock_off_by.is_none());
    unconfirmed && status.conditions.iter().any(|condition| condition.reason == CLOCK_OFF)
}

fn lease_suspect(base: &LeaderGroupStatus, snapshot: &Snapshot<'_>) -> Draft {
    let suspect = |reason: &str, message: String| Draft::new("LeaseSuspect", true, reason, message);
    let Some(lease) = snapshot.lease else {
        return Draft::new("LeaseSuspect", false, "Absent", "the Lease does not exist yet");
    };
    let record = &lease.record;
    match (record.lease_duration_seconds, record.duration()) {
        (Some(seconds), None) => {
            return suspect(
                "BadDuration",
                format!("leaseDurationSeconds is {seconds}; the group's own duration is used"),
            );
        }
        (None, None) if record.holder().is_some() => {
            let message = "the holder writes no leaseDurationSeconds; the group's own duration is used";
            return suspect("NoDuration", message.to_owned());
        }
        (_, Some(seconds)) if seconds > LONGEST_SENSIBLE_LEASE => {
            let message = format!(
                "leaseDurationSeconds is {seconds}: if the holder dies unproven, the Lease stays blocked that long"
            );
            return suspect("LongDuration", message);
        }
        _ => {}
    }
    if record.lease_transitions.is_some_and(|n| n < 0) {
        return suspect("BadTransitions", "leaseTransitions is negative and is not used".to_owned());
    }
    if record.holder().is_some() && record.renewed().is_none() {
        let message = "the holder writes no readable renewTime, so a restart of its container can't prove it dead";
        return suspect("NoRenewTime", message.to_owned());
    }
    if let Some(seconds) = lease.clock_off_by {
        let message = format!(
            "the holder's renewTime is {} s {} the operator's clock (a library that takes local time for UTC, or a node's \
             clock that is off), so a restart of its container can't prove it dead",
            seconds.abs(),
            if seconds > 0 { "behind" } else { "ahead of" }
        );
        return suspect(CLOCK_OFF, message);
    }
    // An operator that just began has not seen enough renewals to say so again.
    let told = base.conditions.iter().find(|c| c.type_ == "LeaseSuspect" && c.reason == CLOCK_OFF);
    let same = record.holder().is_some() && base.holder.as_ref().map(|h| h.identity.as_str()) == record.holder();
    if let Some(told) = told.filter(|_| same && !lease.clock_is_sane()) {
        return suspect(CLOCK_OFF, told.message.clone());
    }
    Draft::new("LeaseSuspect", false, "Sound", "the Lease's record can be used")
}

/// What changed between two statuses that a user wants to be told.
pub fn notices(
    base: &LeaderGroupStatus,
    status: &LeaderGroupStatus,
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    judgement: &Judgement,
    now: Now,
) -> Vec<Notice> {
    // Whose Lease it is tells of its leaders.
    if snapshot.older.is_some() {
        return stalled_notice(base, status).into_iter().collect();
    }
    let mut notices = Vec::new();
    let pod = judgement.subject.as_ref().map(|s| (s.name.clone(), s.uid.clone()));
    if let Some(began) =
        status.history.first().filter(|t| base.history.first() != Some(*t) && same_term_is_new(base, t))
    {
        let saved = memory.would_clear_at.map(|at| now.mono.saturating_sub(at));
        notices.push(Notice {
            warning: false,
            reason: "LeaderChanged".into(),
            action: format!("Transition{}", status.transitions),
            note: transition_note(began, saved.map(seconds), snapshot.observed),
            pod: pod.clone(),
            saved,
        });
    }
    let verdict_before = base.holder.as_ref().map(|h| (h.identity.as_str(), h.verdict));
    let verdict_now = status.holder.as_ref().map(|h| (h.identity.as_str(), h.verdict));
    if verdict_before != verdict_now
        && let Some(notice) = verdict_notice(snapshot, judgement, pod.as_ref())
    {
        notices.push(notice);
    }
    notices.extend(stalled_notice(base, status));
    notices.extend(observed_notice(base, status, snapshot));
    for type_ in ["LeaseSuspect", FLAPPING, TIMING_SUSPECT, LEADER_SUSPECT] {
        notices.extend(newly_true(type_, base, status).filter(|notice| notice.reason != OTHER_DURATION));
    }
    // Whoever leads is told by other Events.
    let is_trouble = |reason: &str| matches!(reason, "ServiceTaken" | "WriteFailed");
    notices.extend(newly(ROUTED, "False", base, status).filter(|notice| is_trouble(&notice.reason)));
    notices
}

/// The group became stalled, or for another reason than before.
pub fn stalled_notice(base: &LeaderGroupStatus, status: &LeaderGroupStatus) -> Option<Notice> {
    newly_true("Stalled", base, status)
}

fn newly_true(type_: &str, base: &LeaderGroupStatus, status: &LeaderGroupStatus) -> Option<Notice> {
    newly(type_, "True", base, status)
}

/// The condition has this value, and had not, or for another reason.
fn newly(type_: &str, value: &str, base: &LeaderGroupStatus, status: &LeaderGroupStatus) -> Option<Notice> {
    let find = |s: &LeaderGroupStatus| s.conditions.iter().find(|c| c.type_ == type_ && c.status == value).cloned();
    let condition = find(status)?;
    (find(base).map(|c| c.reason).as_ref() != Some(&condition.reason)).then(|| Notice {
        warning: true,
        reason: condition.reason,
        action: type_.into(),
        note: condition.message,
        pod: None,
        saved: None,
    })
}

/// Whether the entry is a new term, rather than the newest one with its pod filled in.
fn same_term_is_new(base: &LeaderGroupStatus, entry: &Transition) -> bool {
    base.history.first().is_none_or(|before| before.time != entry.time || before.leader != entry.leader)
}

fn transition_note(entry: &Transition, saved: Option<f64>, observed: Option<Observed>) -> String {
    let who = match &entry.from {
        Some(from) => format!("{} leads, after {from}", entry.leader),
        None => format!("{} leads", entry.leader),
    };
    let why = match entry.reason {
        TransitionReason::First => "",
        TransitionReason::Released => ", which released the Lease",
        TransitionReason::Cleared => ", which was proven dead and cleared",
        TransitionReason::ClearedUnconfirmed => ", which was cleared without proof",
        TransitionReason::Expired => ", whose Lease ran out",
        TransitionReason::Replaced => ", whose place a new pod of the same identity took",
        TransitionReason::Taken => ", from which the Lease was taken before it ran out",
        TransitionReason::LeaseDeleted => ", whose Lease was deleted",
        TransitionReason::Unobserved => "; the change was not observed",
    };
    let gap = entry.leaderless_seconds.map(|gap| format!("; {gap} s without a leader"));
    let clearing = if observed == Some(Observed::Policy) { "policy Clear" } else { "a clear" };
    let saved = saved.map(|saved| format!("; {clearing} would have saved up to {saved} s"));
    format!("{who}{why}{}{}", gap.unwrap_or_default(), saved.unwrap_or_default())
}

fn verdict_notice(snapshot: &Snapshot<'_>, judgement: &Judgement, pod: Option<&(String, String)>) -> Option<Notice> {
    let note = |warning, reason: &str, note: String| {
        Some(Notice { warning, reason: reason.into(), action: "Judge".into(), note, pod: pod.cloned(), saved: None })
    };
    match judgement.verdict() {
        Verdict::Alive | Verdict::Managed | Verdict::Free => None,
        Verdict::Terminated => {
            let but = why_not_at_once(snapshot, judgement).map(|why| format!("; {why}")).unwrap_or_default();
            note(false, "HolderTerminated", format!("{}{but}", judgement.evidence()))
        }
        Verdict::Vanished | Verdict::Unreachable | Verdict::Unresolved | Verdict::Unproven | Verdict::Ambiguous => {
            let wait = match accepted_after(snapshot, judgement) {
                Some(s) => {
                    format!("that is no proof, but as spec.staleHolder.unconfirmed asks it is cleared after {s} s")
                }
                None => "that is no proof, so the Lease has to run out".to_owned(),
            };
            note(true, &format!("Holder{}", judgement.verdict()), format!("{}; {wait}", judgement.evidence()))
        }
        Verdict::Contradiction | Verdict::Foreign => note(
            true,
            &format!("Holder{}", judgement.verdict()),
            format!("{}; it is never cleared", judgement.evidence()),
        ),
        Verdict::LeaseExpired => note(true, "LeaseExpired", judgement.evidence()),
    }
}

/// Why a holder proven dead is not cleared at once, if it is not.
fn why_not_at_once(snapshot: &Snapshot<'_>, judgement: &Judgement) -> Option<Cow<'static, str>> {
    if let Some(observed) = snapshot.observed {
        Some(observed.why().into())
    } else if is_kept(snapshot, judgement) {
        Some("onRestart Keep leaves it the Lease until that has run out".into())
    } else if let Some(gap) = judgement.gap {
        Some(format!("waiting for the Lease to expire, because {}", gap.cause()).into())
    } else if judgement.outlived {
        Some("but the Lease was renewed after that, so it has to run out".into())
    } else {
        None
    }
}

/// A holder was cleared, so long after the verdict came to stand.
pub fn cleared_note(clear: &Clear, after: Mono) -> String {
    let what = match clear.form {
        ReleaseForm::Delete => "deleted the Lease of holder",
        _ => "cleared holder",
    };
    let ground = match clear.ground {
        Ground::Proof => "",
        Ground::Expired => ", after its Lease had expired and nobody had taken it",
        Ground::RiskAccepted => ", without proof, as spec.staleHolder.unconfirmed asks",
    };
    let (holder, after, verdict) = (&clear.holder, after.as_secs_f64(), clear.verdict);
    format!("{what} {holder:?} {after:.3} s after the verdict {verdict}{ground}: {}", clear.evidence)
}
