//! How a group conducts itself: whether leadership changes too often, whether its timing fits, whether its leader is as it
//! should be. None of it decides about a Lease; it is what the user is told, in conditions that are true when something is
//! not as it should be.
//!
//! What is said changes with transitions, with the readiness of pods and in coarse steps, never with a renewal.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::{LeaderGroupStatus, Transition, TransitionReason, Verdict};

use super::condition::{Draft, FLAPPING, LEADER_SUSPECT, OTHER_DURATION, TIMING_SUSPECT};
use super::memory::Memory;
use super::terms::Terms;
use crate::index::Snapshot;
use crate::judge::Judgement;
use crate::model::{Lease, Phase, Pod, Source, State};
use crate::renewals::{Rhythm, TOLD_FOR};
use crate::time::{Mono, Now};

/// So many changes of leadership within [`FLAPPING_WITHIN`] are too many, if the pods that led before still exist.
const TOO_MANY: usize = 4;
/// In durations of the Lease.
const FLAPPING_WITHIN: u32 = 40;
/// For how many durations of the Lease a leader that is not Ready is left alone: it may be starting.
const UNREADY_FOR: u32 = 2;

/// The reasons of [`TIMING_SUSPECT`] that a transition gives, and that an operator takes over from the one before it.
const TAKEN_EARLY: &str = "TakenEarly";
const NEEDLESS: &str = "NeedlessTransition";
/// The one that the term's renewals give, which is taken over too.
const LATE: &str = "LateRenewals";
/// The reason of [`LEADER_SUSPECT`] that an operator takes over from the one before it.
const LEADER_NOT_READY: &str = "LeaderNotReady";

/// What is remembered of a group's conduct.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    /// What the last transition says about the timing.
    advice: Option<Advice>,
    /// What this term's renewals say about it.
    late: Option<Box<Advice>>,
    /// The UID of the leader's pod that is not Ready, and from when on that is told.
    unready: Option<(String, Mono)>,
}

/// What a transition, or a late renewal, says about the timing.
#[derive(Clone, Debug)]
struct Advice {
    reason: &'static str,
    message: String,
    until: Mono,
}

/// What is told of a group's conduct.
#[derive(Default)]
pub(super) struct Told {
    pub(super) drafts: Vec<Draft>,
    /// When it changes although nothing happens.
    pub(super) recheck_at: Option<Mono>,
}

impl Told {
    fn tell(&mut self, draft: Draft, until: impl Into<Option<Mono>>) {
        self.drafts.push(draft);
        self.recheck(until);
    }

    fn recheck(&mut self, at: impl Into<Option<Mono>>) {
        self.recheck_at = self.recheck_at.into_iter().chain(at.into()).min();
    }
}

/// Takes in what is decided about a group, and says how it conducts itself.
pub(super) fn follow(
    base: &LeaderGroupStatus,
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    terms: &Terms,
    now: Now,
) -> Told {
    let duration = Duration::from_secs(snapshot.plan.duration);
    if memory.is_first() {
        (memory.conduct.late, memory.conduct.advice) = match taken_over(base, snapshot, duration, now) {
            Some(told) if told.reason == LATE => (Some(Box::new(told)), None),
            told => (None, told),
        };
    }
    if terms.began {
        memory.conduct.advice = advice(base, snapshot, terms, now);
        memory.conduct.late = None;
    }
    let leader = judgement.subject.as_ref().filter(|_| judgement.verdict() == Verdict::Alive);
    let leader = leader.and_then(|s| snapshot.candidates.iter().find(|pod| pod.uid == s.uid));
    let unready = leader.filter(|pod| !pod.ready && !pod.leaving).map(|pod| pod.uid.clone());
    let told_before = |c: &Condition| c.type_ == LEADER_SUSPECT && c.reason == LEADER_NOT_READY;
    let grace = if memory.is_first() && base.conditions.iter().any(told_before) { 0 } else { UNREADY_FOR };
    memory.conduct.unready = unready.map(|uid| match memory.conduct.unready.take() {
        Some((known, due)) if known == uid => (known, due),
        _ => (uid, now.mono.saturating_add(duration.saturating_mul(grace))),
    });

    let mut told = Told::default();
    flapping(&mut told, snapshot, &terms.history, duration.saturating_mul(FLAPPING_WITHIN), now);
    timing(&mut told, snapshot, memory, judgement, now);
    leader_suspect(&mut told, snapshot, memory, leader.copied(), &terms.history, duration, now);
    told
}

/// How much of that span after a moment is left, as the moment at which it ends; none if it has passed.
fn left(since: jiff::Timestamp, span: Duration, now: Now) -> Option<Mono> {
    let passed = Duration::try_from(now.wall.duration_since(since)).unwrap_or_default();
    span.checked_sub(passed).filter(|left| !left.is_zero()).map(|left| now.mono.saturating_add(left))
}

/// Whether the pod of a former term still is a candidate, and is to stay one. One that was not known goes by its identity.
fn remains(snapshot: &Snapshot<'_>, term: &Transition) -> bool {
    let is_it = |pod: &Pod| match &term.pod_uid {
        Some(uid) => pod.uid == *uid,
        None => snapshot.plan.identity.fits(&term.leader, pod),
    };
    snapshot.candidates.iter().any(|pod| pod.phase == Phase::Live && !pod.leaving && is_it(pod))
}

fn flapping(told: &mut Told, snapshot: &Snapshot<'_>, history: &[Transition], within: Duration, now: Now) {
    // A rollout or a drain takes pods away, and leadership with them.
    let changes: Vec<_> =
        history.windows(2).filter(|terms| remains(snapshot, &terms[1])).map(|terms| &terms[0]).collect();
    let until = changes.get(TOO_MANY - 1).and_then(|oldest| left(oldest.time.0, within, now));
    if until.is_none() {
        let message = "leadership does not change too often";
        return told.tell(Draft::new(FLAPPING, false, "Steady", message), None);
    }
    let reasons: Vec<_> = changes[..TOO_MANY].iter().map(|change| change.reason.as_str()).collect();
    let message = format!(
        "leadership changed {TOO_MANY} times or more within {} s, from pods that still exist; the latest reasons: {}",
        within.as_secs(),
        reasons.join(", ")
    );
    told.tell(Draft::new(FLAPPING, true, "TooManyTransitions", message), until);
}

fn timing(told: &mut Told, snapshot: &Snapshot<'_>, memory: &mut Memory, judgement: &Judgement, now: Now) {
    let suspect = |reason: &str, message: String| Draft::new(TIMING_SUSPECT, true, reason, message);
    let plan = snapshot.plan;
    let lease = snapshot.lease.filter(|_| matches!(judgement.verdict(), Verdict::Alive | Verdict::LeaseExpired));
    if let Some(lease) = lease {
        told.recheck(follow_late(snapshot, lease, &mut memory.conduct, now));
    }
    if let Some(advice) = memory.conduct.advice.as_ref().filter(|advice| now.mono < advice.until) {
        return told.tell(suspect(advice.reason, advice.message.clone()), advice.until);
    }
    if let Some(late) = memory.conduct.late.as_ref().filter(|late| lease.is_some() && now.mono < late.until) {
        return told.tell(suspect(late.reason, late.message.clone()), late.until);
    }
    let recorded = lease.and_then(|lease| lease.record.duration());
    if let Some(recorded) = recorded.filter(|recorded| *recorded != plan.duration) {
        let message = format!(
            "the leader's Lease lasts {recorded} s by its own record, which counts, but spec.lease.durationSeconds is {}: give \
             the candidates the group's timing, or write theirs in spec.lease",
            plan.duration
        );
        return told.tell(suspect(OTHER_DURATION, message), None);
    }
    told.tell(Draft::new(TIMING_SUSPECT, false, "Fits", "nothing speaks against the timing"), None);
}

/// Takes in the late renewal that the Lease remembers, if any; when to look again.
fn follow_late(snapshot: &Snapshot<'_>, lease: &Lease, conduct: &mut Conduct, now: Now) -> Option<Mono> {
    let late = lease.renewals.late(now.mono)?;
    if now.mono < late.due {
        return Some(late.due);
    }
    let duration = lease.record.duration().unwrap_or(snapshot.plan.duration);
    let message = format!(
        "renewals of {:?} come late: one came {} after the one before{}, of a Lease that others may take after {duration} s; {}",
        lease.record.holder().unwrap_or_default(),
        seconds(late.gap),
        late.others.map(|others| format!(" (99 of 100 within {})", seconds(others))).unwrap_or_default(),
        longer(snapshot, late.gap, late.most_exceed)
    );
    if !late.is_excused {
        conduct.late = Some(Box::new(Advice { reason: LATE, message, until: late.until }));
    } else if conduct.late.as_ref().is_some_and(|told| told.message == message) {
        // The restart was reported late.
        conduct.late = None;
    }
    None
}

/// What the transition to the term that has just begun says about the timing, if the one who led before still runs, and it
/// is known how long the Lease stood still.
fn advice(base: &LeaderGroupStatus, snapshot: &Snapshot<'_>, terms: &Terms, now: Now) -> Option<Advice> {
    let newest = terms.history.first()?;
    // The moment at which a Lease runs out is that at which it is read, and often that at which another takes it.
    let lease = snapshot.lease.filter(|lease| lease.source != Source::List)?;
    let (former, before) = (base.holder.as_ref()?, lease.before.as_ref().filter(|before| !before.source.after_gap())?);
    let runs = |pod: &&Pod| {
        Some(&pod.uid) == former.pod_uid.as_ref()
            && pod.phase == Phase::Live
            && !pod.leaving
            && pod.containers.iter().any(|c| c.state == State::Running)
    };
    let pod = snapshot.candidates.iter().copied().find(runs)?;
    let renewed = matches!(former.verdict, Verdict::Alive | Verdict::LeaseExpired);
    let still = now.mono.saturating_sub(before.moved_at);
    let who =
        format!("{:?} took the Lease from {:?}, whose pod {} still runs", newest.leader, former.identity, pod.name);
    let (reason, message) = match newest.reason {
        TransitionReason::Expired if renewed => {
            let message = format!(
                "{who}, {} after its last renewal{}; if it was only slow, {}; if it hung, the takeover was right",
                seconds(still),
                before.rhythm.map(rhythm).unwrap_or_default(),
                longer(snapshot, still, before.rhythm.and_then(|rhythm| rhythm.most_exceed))
            );
            (NEEDLESS, message)
        }
        TransitionReason::Taken if renewed => {
            let message = format!(
                "{who}, {} after its last renewal, before it had run out; give all candidates the timing of spec.lease ({} s, \
                 {} s, {} s), and see that each waits by its own clock for a Lease that stands still",
                seconds(still),
                snapshot.plan.duration,
                snapshot.plan.renew_deadline,
                snapshot.plan.retry_period
            );
            (TAKEN_EARLY, message)
        }
        _ => return None,
    };
    let until = now.mono.saturating_add(Duration::from_secs(snapshot.plan.duration).saturating_mul(TOLD_FOR));
    Some(Advice { reason, message, until })
}

/// What the status says of the timing already, from an operator before this one. A transition's advice came with the newest;
/// a late renewal after that, and no earlier than the condition became true. It says nothing of a later transition.
fn taken_over(base: &LeaderGroupStatus, snapshot: &Snapshot<'_>, duration: Duration, now: Now) -> Option<Advice> {
    let stored = snapshot.group.status.as_ref()?.history.first();
    if base.history.first() != stored {
        return None;
    }
    let told = base.conditions.iter().find(|c| c.type_ == TIMING_SUSPECT && c.status == "True")?;
    let reason = [TAKEN_EARLY, NEEDLESS, LATE].into_iter().find(|reason| *reason == told.reason)?;
    let newest = base.history.first()?.time.0;
    let since = if reason == LATE { newest.max(told.last_transition_time.0) } else { newest };
    let until = left(since, duration.saturating_mul(TOLD_FOR), now)?;
    Some(Advice { reason, message: told.message.clone(), until })
}

/// How a term's renewals came.
fn rhythm(rhythm: Rhythm) -> String {
    let others = rhythm.nearly_all.map(|others| format!(", 99 of 100 within {}", seconds(others))).unwrap_or_default();
    format!(" (the latest of those before came after {}{others})", seconds(rhythm.largest))
}

/// The timing that rides out such a pause: a leader gives up at its renew deadline, and others may take over after the
/// duration, so the pause has to fit into the one, and that into the other. A library that renews late by design would with
/// a longer duration only renew later still.
fn longer(snapshot: &Snapshot<'_>, pause: Duration, most_exceed: Option<Duration>) -> String {
    let plan = snapshot.plan;
    if let Some(rhythm) = most_exceed.filter(|rhythm| rhythm.saturating_mul(2) >= Duration::from_secs(plan.duration)) {
        return format!(
            "have the candidates renew more often: most renewals come {} or more after the one before, which leaves little \
             of {} s for a pause",
            seconds(rhythm),
            plan.duration
        );
    }
    let deadline = (pause.as_secs() * 5 / 4 + 1).max(plan.renew_deadline);
    let duration = (deadline * 3 / 2).max(plan.duration);
    format!(
        "renewDeadlineSeconds: {deadline} and durationSeconds: {duration}, instead of {} and {}, ride out such a pause",
        plan.renew_deadline, plan.duration
    )
}

/// One digit: as fine as it means anything.
fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

fn leader_suspect(
    told: &mut Told,
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    leader: Option<&Pod>,
    history: &[Transition],
    duration: Duration,
    now: Now,
) {
    if let Some((message, until)) = alternating(snapshot, history, duration, now) {
        return told.tell(Draft::new(LEADER_SUSPECT, true, "Alternating", message), until);
    }
    let sound = Draft::new(LEADER_SUSPECT, false, "Sound", "nothing speaks against the leader");
    match (leader, &memory.conduct.unready) {
        (Some(_), Some((_, due))) if now.mono < *due => told.tell(sound, *due),
        (Some(pod), Some(_)) => {
            let message = format!("pod {} leads and renews its Lease, but is not Ready", pod.name);
            told.tell(Draft::new(LEADER_SUSPECT, true, LEADER_NOT_READY, message), None);
        }
        _ => told.tell(sound, None),
    }
}

/// Two pods that run took the Lease from each other before either could have seen it run out.
fn alternating(
    snapshot: &Snapshot<'_>,
    history: &[Transition],
    duration: Duration,
    now: Now,
) -> Option<(String, Mono)> {
    let [last, between, first, ..] = history else { return None };
    let taken = |term: &Transition| term.reason == TransitionReason::Taken;
    let apart = Duration::try_from(last.time.0.duration_since(between.time.0)).ok()?;
    let live = |term: &Transition| term.pod_uid.is_some() && remains(snapshot, term);
    let both = last.leader == first.leader && taken(last) && taken(between) && apart < duration;
    if !both || !live(last) || !live(between) {
        return None;
    }
    let until = left(last.time.0, duration.saturating_mul(FLAPPING_WITHIN), now)?;
    let message = format!(
        "{:?} and {:?} took the Lease from each other within {} s, while neither had released it or let it run out: both may \
         believe that they lead; see that they use one election library, one timing, and identities of their own",
        last.leader,
        between.leader,
        duration.as_secs()
    );
    Some((message, until))
}
