//! What to do about the holder: nothing, look closer, or clear it.
//!
//! An early clear happens in two steps. First the candidates are read from the API server, after the judged
//! version of the Lease was seen; then, if that reading is judged the same, exactly that version is changed.

use leadergroup_api::{UnconfirmedPolicy, Verdict};
use leadergroup_elector::Timing;

use super::action::{Action, Clear, Ground};
use super::memory::{Memory, ReadPods};
use super::{Wake, known};
use crate::index::{Key, Observed, Snapshot};
use crate::judge::{Clearable, Judgement, judge};
use crate::model::{Gone, Lease, Phase, Pod};
use crate::time::{Mono, Now};

/// How long to wait for the watch to catch up with a reading that contradicts it.
const CATCH_UP: Mono = Mono::from_secs(1);

/// The outcome of [`next`].
#[derive(Debug, Default)]
pub struct Next {
    /// What to do now.
    pub action: Option<Action>,
    /// When to look again.
    pub wake: Option<Wake>,
    /// The holder was found to be contradicted, so it has to be judged again.
    pub contradicted: bool,
    /// A reading of the candidates, not seen before, spoke against a clear.
    pub contradicted_by_reading: bool,
}

impl Next {
    fn act(action: Action) -> Self {
        Self { action: Some(action), ..Self::default() }
    }

    fn wake(at: Mono) -> Self {
        Self { wake: Some(Wake::At(at)), ..Self::default() }
    }
}

/// Decides what to do about the holder.
pub fn next(snapshot: &Snapshot<'_>, memory: &mut Memory, judgement: &Judgement, now: Now) -> Next {
    let plan = snapshot.plan;
    let key = Key::new(&snapshot.group.key.namespace, &plan.lease_name);
    let Some(lease) = snapshot.lease else {
        let create = plan.create_lease && !snapshot.observed.is_some_and(Observed::by_namespace);
        let create = create.then_some(Action::CreateLease { lease: key, duration: plan.duration });
        return create.map(Next::act).unwrap_or_default();
    };
    let kept = is_kept(snapshot, judgement);
    let mut next = match judgement.clear {
        // Nobody whose Lease has run out leads, or is sent traffic.
        Clearable::Never if lease.record.holder().is_some() => until_it_runs_out(lease, plan.duration, key, now),
        Clearable::Never => Next::default(),
        Clearable::AtOnce if !kept && memory.unaccounted.is_none() => {
            at_once(snapshot, memory, judgement, lease, key, now)
        }
        Clearable::AtOnce | Clearable::WhenRanOut => when_ran_out(snapshot, memory, judgement, lease, key, now),
    };
    if let Some(at) = judgement.recheck_at.filter(|at| next.action.is_none() && *at < lease.runs_out_at(plan.duration))
    {
        next.wake = Some(Wake::At(match next.wake {
            Some(Wake::At(due)) => due.min(at),
            _ => at,
        }));
    }
    if next.action.is_none() {
        next.action = ask_timing(snapshot, memory, judgement, lease, now);
    }
    next
}

/// What tells the candidates of the group's timing, if the Lease is theirs and does not yet. One that asks for nothing is
/// left so by a group of the timing that electors have by themselves.
fn ask_timing(
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    judgement: &Judgement,
    lease: &Lease,
    now: Now,
) -> Option<Action> {
    let plan = snapshot.plan;
    let timing = [plan.duration, plan.renew_deadline, plan.retry_period];
    let theirs = matches!(judgement.verdict, Verdict::Alive | Verdict::Free | Verdict::LeaseExpired);
    let asked = lease.asks.unwrap_or_else(|| {
        let default = Timing::DEFAULT;
        [default.lease_duration(), default.renew_deadline(), default.retry_period()].map(|span| span.as_secs())
    });
    let wanted = theirs && snapshot.observed.is_none() && asked != timing && memory.may_ask(timing, now);
    wanted.then(|| Action::AskTiming {
        lease: Key::new(&snapshot.group.key.namespace, &plan.lease_name),
        uid: lease.uid.clone(),
        version: lease.version.clone(),
        timing,
    })
}

/// Whether the holder is a pod that restarts and may come back to its Lease until that runs out.
pub(super) fn is_kept(snapshot: &Snapshot<'_>, judgement: &Judgement) -> bool {
    let restarts = judgement.restarting || judgement.verdict == Verdict::Unproven;
    restarts && snapshot.plan.stale_holder.on_restart.keeps(None, false)
}

/// After how many seconds without proof and without a renewal the user accepts the risk, if ever.
pub(super) fn accepted_after(snapshot: &Snapshot<'_>, judgement: &Judgement) -> Option<u64> {
    let unconfirmed = &snapshot.plan.stale_holder.unconfirmed;
    let accepts = unconfirmed.policy == UnconfirmedPolicy::AcceptRisk
        && judgement.verdict != Verdict::Ambiguous
        && !is_kept(snapshot, judgement)
        && snapshot.observed.is_none();
    unconfirmed.after_seconds.filter(|_| accepts).and_then(|s| u64::try_from(s).ok())
}

/// Waits for the Lease to run out; once it seems so, asks the API server whether it is so.
fn until_it_runs_out(lease: &Lease, duration: u64, key: Key, now: Now) -> Next {
    if lease.ran_out(duration) {
        Next::default()
    } else if now.mono >= lease.runs_out_at(duration) {
        Next::act(Action::ReadLease { lease: key })
    } else {
        Next { wake: Some(Wake::WhenLeaseRunsOut), ..Next::default() }
    }
}

fn when_ran_out(
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    now: Now,
) -> Next {
    let plan = snapshot.plan;
    if snapshot.observed.is_some() {
        return until_it_runs_out(lease, plan.duration, key, now);
    }
    if lease.ran_out(plan.duration) {
        return Next::act(clear(snapshot, memory, judgement, lease, key, Ground::RanOut));
    }
    let Some(after) = accepted_after(snapshot, judgement) else {
        return until_it_runs_out(lease, plan.duration, key, now);
    };
    let due = since(memory, now).max(lease.moved_at).saturating_add(Mono::from_secs(after));
    if now.mono >= due {
        Next::act(clear(snapshot, memory, judgement, lease, key, Ground::RiskAccepted))
    } else if due < lease.runs_out_at(plan.duration) {
        Next::wake(due)
    } else {
        until_it_runs_out(lease, plan.duration, key, now)
    }
}

fn at_once(
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    now: Now,
) -> Next {
    let plan = snapshot.plan;
    let settled = memory.proof.as_ref().and_then(|p| p.settled);
    let moved_after_proof = settled.is_some_and(|settled| lease.moved_at > settled);
    let due = since(memory, now) + Mono::from_secs(plan.stale_holder.delay_seconds.max(0).unsigned_abs().into());
    // Without a write that settles it, only a read tells later moves of the Lease from those before the proof.
    if memory.proof.is_some()
        && settled.is_none()
        && (snapshot.observed.is_some() || judgement.outlived || now.mono < due)
    {
        return Next::act(Action::ReadLease { lease: key });
    }
    if !moved_after_proof && now.mono < due {
        return Next::wake(due);
    }
    let Some(read) = memory.read_pods.as_ref().filter(|read| read.requested_at >= lease.moved_at) else {
        return Next::act(read_pods(snapshot, key));
    };
    if by_reading(snapshot, memory, read, now).clear != Clearable::AtOnce {
        let catches_up_at = read.requested_at + CATCH_UP;
        let wait =
            if now.mono < catches_up_at { Next::wake(catches_up_at) } else { Next::act(read_pods(snapshot, key)) };
        let is_new = memory.read_pods.as_mut().is_some_and(|read| !std::mem::replace(&mut read.contradicted, true));
        return Next { contradicted_by_reading: is_new, ..wait };
    }
    if moved_after_proof {
        memory.contradicted = lease.record.holder().map(ToOwned::to_owned);
        return Next { contradicted: true, ..Next::default() };
    }
    if judgement.outlived {
        return when_ran_out(snapshot, memory, judgement, lease, key, now);
    }
    if snapshot.observed.is_some() {
        memory.would_clear_at.get_or_insert(now.mono);
        return Next::default();
    }
    Next::act(clear(snapshot, memory, judgement, lease, key, Ground::Proof))
}

/// The reading that an early clear needs: of the one pod that can be the holder, or of all candidates.
fn read_pods(snapshot: &Snapshot<'_>, key: Key) -> Action {
    let goes_by_name =
        |pod: &Pod| !pod.host_network && pod.hostname.as_ref().is_none_or(|h| *h == pod.name) && !pod.name_is_cut();
    let known = snapshot.candidates.iter().copied().chain(snapshot.gone.iter().map(|g| &g.pod));
    let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
    let name = snapshot.plan.identity.only_name(holder).filter(|_| known.into_iter().all(goes_by_name));
    Action::ReadPods { namespace: key.namespace, selector: snapshot.plan.selector.to_string(), name }
}

/// The judgement by the candidates as read from the API server. What the index knows and the reading lacks was deleted.
fn by_reading(snapshot: &Snapshot<'_>, memory: &Memory, read: &ReadPods, now: Now) -> Judgement {
    let mut known = known(snapshot, memory, now);
    let was_asked_for = |pod: &Pod| read.name.as_ref().is_none_or(|name| *name == pod.name);
    let missing: Vec<Gone> = snapshot
        .candidates
        .iter()
        .filter(|cached| was_asked_for(cached) && !read.pods.iter().any(|p| p.uid == cached.uid))
        .map(|cached| Gone { pod: (*cached).clone(), at: read.requested_at, seen: false })
        .collect();
    known.gone.extend(&missing);
    let pods: Vec<Pod> = read.pods.iter().map(|pod| with_doubt(snapshot, pod)).collect();
    known.candidates.retain(|pod| !was_asked_for(pod));
    known.candidates.extend(&pods);
    judge(&known)
}

/// A pod as read, with what the index knows about whose word its phase is.
fn with_doubt(snapshot: &Snapshot<'_>, pod: &Pod) -> Pod {
    let cached = snapshot.candidates.iter().find(|c| c.uid == pod.uid && c.phase == Phase::Terminal);
    let node_ready = || snapshot.nodes.iter().any(|(name, node)| pod.node.as_deref() == Some(*name) && node.ready);
    let in_doubt = pod.phase == Phase::Terminal && cached.map_or_else(|| !node_ready(), |c| c.phase_in_doubt);
    Pod { phase_in_doubt: in_doubt, ..pod.clone() }
}

fn since(memory: &Memory, now: Now) -> Mono {
    memory.verdict.as_ref().map_or(now.mono, |s| s.since)
}

fn clear(
    snapshot: &Snapshot<'_>,
    memory: &Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    ground: Ground,
) -> Action {
    Action::Clear(Clear {
        lease: key,
        uid: lease.uid.clone(),
        version: lease.version.clone(),
        moved_at: lease.moved_at,
        holder: lease.record.holder().unwrap_or_default().to_owned(),
        form: snapshot.plan.stale_holder.release.form(None),
        ground,
        verdict: judgement.verdict,
        evidence: judgement.evidence.clone(),
        since: memory.verdict.as_ref().map_or(lease.moved_at, |s| s.since),
    })
}
