//! What to do about the holder: nothing, look closer, or clear it.
//!
//! An early clear happens in two steps. First the candidates are read from the API server, after the judged
//! version of the Lease was seen; then, if that reading is judged the same, exactly that version is changed.

use std::collections::BTreeSet;

use leadergroup_api::{AccountGap, ReleaseForm, UnconfirmedPolicy, Verdict, library};
use leadergroup_elector::Timing;

use super::account::{fitting, pod_gap, tracked};
use super::action::{Action, Clear, Ground};
use super::memory::{Memory, ReadPods};
use super::{Wake, facts};
use crate::index::{Key, Observed, Snapshot};
use crate::judge::{Clearable, Judgement, judge};
use crate::model::{Gone, Lease, Pod};
use crate::time::{Mono, Now};

/// How long to wait at least for the watch to catch up with the Lease, or with a reading that contradicts it.
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
        // Nobody whose Lease has expired leads, or is sent traffic.
        Clearable::Never if lease.record.holder().is_some() => until_it_expires(lease, plan.duration, key, now),
        Clearable::Never => Next::default(),
        Clearable::AtOnce if !kept => at_once(snapshot, memory, judgement, lease, key, now),
        Clearable::AtOnce | Clearable::WhenExpired => when_expired(snapshot, memory, judgement, lease, key, now),
    };
    let is_sooner = |at: &Mono| lease.expires_at(plan.duration).is_none_or(|expires| *at < expires);
    if let Some(at) = judgement.recheck_at.filter(|at| next.action.is_none() && is_sooner(at)) {
        next.wake = Some(Wake::At(match next.wake {
            Some(Wake::At(due)) => due.min(at),
            _ => at,
        }));
    }
    if next.action.is_none() {
        next.action = read_nodes(snapshot, lease).or_else(|| ask_timing(snapshot, memory, judgement, lease, now));
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
    let theirs = matches!(judgement.verdict(), Verdict::Alive | Verdict::Free | Verdict::LeaseExpired);
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
    let restarts = judgement.restarting || judgement.verdict() == Verdict::Unproven;
    let library = snapshot.lease.and_then(|lease| lease.library);
    restarts && snapshot.plan.stale_holder.on_restart.keeps(library, outlives_restarts(snapshot, judgement))
}

/// Whether the holder's next run goes by the same identity: it is the pod's name, with nothing of the run's own.
fn outlives_restarts(snapshot: &Snapshot<'_>, judgement: &Judgement) -> bool {
    let holder = snapshot.lease.and_then(|l| l.record.holder());
    judgement.subject.as_ref().is_some_and(|subject| Some(subject.name.as_str()) == holder)
}

/// After how many seconds without proof and without a renewal the user accepts the risk, if ever.
pub(super) fn accepted_after(snapshot: &Snapshot<'_>, judgement: &Judgement) -> Option<u64> {
    let unconfirmed = &snapshot.plan.stale_holder.unconfirmed;
    let accepts = unconfirmed.policy == UnconfirmedPolicy::AcceptRisk
        && judgement.verdict() != Verdict::Ambiguous
        && !is_kept(snapshot, judgement)
        && snapshot.observed.is_none();
    unconfirmed.after_seconds.filter(|_| accepts).and_then(|s| u64::try_from(s).ok())
}

/// Waits for the Lease to expire; once it seems so, asks the API server whether it has.
fn until_it_expires(lease: &Lease, duration: u64, key: Key, now: Now) -> Next {
    match lease.expires_at(duration) {
        None => Next::default(),
        Some(_) if lease.has_expired(duration) => Next::default(),
        Some(at) if now.mono >= at => Next::act(Action::ReadLease { lease: key }),
        Some(_) => Next { wake: Some(Wake::WhenLeaseExpires), ..Next::default() },
    }
}

/// Clears a holder that may be alive: not before its Lease has expired, or when the user accepts the risk.
///
/// A Lease that expires is not written to at that moment. Candidates take it by themselves, and some count a write as a
/// renewal. It is cleared one duration later, if nobody has taken it, so that no stale holder stays. Where candidates need
/// the Lease to be deleted, nobody else takes it.
fn when_expired(
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    now: Now,
) -> Next {
    let plan = snapshot.plan;
    if moved_after_proof(memory, lease) && judgement.verdict() == Verdict::Terminated {
        let Some(read) = reading(snapshot, memory, lease) else {
            return Next::act(read_pods(snapshot, lease, key));
        };
        let is_proven = by_reading(snapshot, memory, lease, read, now).verdict() == Verdict::Terminated;
        if is_proven && knows_nodes(snapshot, lease, read) {
            return contradicted(memory, lease);
        }
    }
    if needs_to_settle(memory) {
        return Next::act(Action::ReadLease { lease: key });
    }
    if snapshot.observed.is_some() {
        return until_it_expires(lease, plan.duration, key, now);
    }
    let due = match release_form(snapshot) {
        ReleaseForm::Delete => lease.expires_at(plan.duration),
        _ => lease.abandoned_at(plan.duration),
    };
    if lease.was_read_after(due) {
        return Next::act(clear(snapshot, memory, judgement, lease, key, Ground::Expired));
    }
    if let Some(after) = accepted_after(snapshot, judgement).filter(|_| !lease.has_expired(plan.duration)) {
        let accepted = since(memory, now).max(lease.moved_at).saturating_add(Mono::from_secs(after));
        if now.mono >= accepted {
            return Next::act(clear(snapshot, memory, judgement, lease, key, Ground::RiskAccepted));
        }
        if lease.expires_at(plan.duration).is_none_or(|at| accepted < at) {
            return Next::wake(accepted);
        }
    }
    if !lease.has_expired(plan.duration) {
        return until_it_expires(lease, plan.duration, key, now);
    }
    match due {
        Some(at) if now.mono >= at => Next::act(Action::ReadLease { lease: key }),
        Some(at) => Next::wake(at),
        None => Next::default(),
    }
}

/// Whether the Lease moved although its holder was proven dead before.
fn moved_after_proof(memory: &Memory, lease: &Lease) -> bool {
    let settled = memory.proof.as_ref().and_then(|proof| proof.settled);
    settled.is_some_and(|settled| lease.moved_at > settled)
}

/// Without a write that settles it, only a read tells later moves of the Lease from those before the proof.
fn needs_to_settle(memory: &Memory) -> bool {
    memory.proof.as_ref().is_some_and(|proof| proof.settled.is_none())
}

fn contradicted(memory: &mut Memory, lease: &Lease) -> Next {
    memory.contradicted = lease.record.holder().map(ToOwned::to_owned);
    Next { contradicted: true, ..Next::default() }
}

/// Clears a holder that is proven dead, once a reading of the pods confirms it.
fn at_once(
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    now: Now,
) -> Next {
    let plan = snapshot.plan;
    let moved_after_proof = moved_after_proof(memory, lease);
    let due = since(memory, now) + Mono::from_secs(plan.stale_holder.delay_seconds.max(0).unsigned_abs().into());
    if needs_to_settle(memory) && (snapshot.observed.is_some() || judgement.outlived || now.mono < due) {
        return Next::act(Action::ReadLease { lease: key });
    }
    if !moved_after_proof && now.mono < due {
        return Next::wake(due);
    }
    let Some(read) = reading(snapshot, memory, lease) else {
        let read = Next::act(read_pods(snapshot, lease, key.clone()));
        return unless_expired(read, snapshot, memory, judgement, lease, key, now);
    };
    if by_reading(snapshot, memory, lease, read, now).clear != Clearable::AtOnce {
        let read_again_at = patience(lease, read.requested_at);
        let wait = if now.mono < read_again_at {
            Next::wake(read_again_at)
        } else {
            Next::act(read_pods(snapshot, lease, key.clone()))
        };
        let is_new = memory.read_pods.as_mut().is_some_and(|read| !std::mem::replace(&mut read.contradicted, true));
        let next = unless_expired(wait, snapshot, memory, judgement, lease, key, now);
        return Next { contradicted_by_reading: is_new, ..next };
    }
    if moved_after_proof {
        return contradicted(memory, lease);
    }
    if judgement.outlived {
        return when_expired(snapshot, memory, judgement, lease, key, now);
    }
    if snapshot.observed.is_some() {
        if standbys_notice(snapshot, lease) {
            memory.would_clear_at.get_or_insert(now.mono);
        }
        return Next::default();
    }
    // A pod may have come, written the Lease and gone since, which no reading shows.
    if !snapshot.pods.is_up_to(lease.moved_in) {
        let wait = Next::wake(patience(lease, now.mono));
        return unless_expired(wait, snapshot, memory, judgement, lease, key, now);
    }
    Next::act(clear(snapshot, memory, judgement, lease, key, Ground::Proof))
}

/// What to do about a holder that can't be cleared at once yet: this, unless its Lease seems to have expired meanwhile.
fn unless_expired(
    next: Next,
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    judgement: &Judgement,
    lease: &Lease,
    key: Key,
    now: Now,
) -> Next {
    let Some(expires_at) = lease.expires_at(snapshot.plan.duration) else { return next };
    if now.mono < expires_at {
        let sooner = |wake| matches!(wake, Wake::At(at) if at < expires_at);
        return Next { wake: next.wake.map(|wake| if sooner(wake) { wake } else { Wake::At(expires_at) }), ..next };
    }
    let expired = when_expired(snapshot, memory, judgement, lease, key, now);
    if expired.action.is_some() || expired.contradicted { expired } else { next }
}

/// When to look again whether the watch has caught up, after a look that was in vain: ever more rarely.
fn patience(lease: &Lease, looked_at: Mono) -> Mono {
    looked_at + looked_at.saturating_sub(lease.moved_at).max(CATCH_UP)
}

/// The only pod that can be the holder, if the watch has brought all that may go by its name.
fn only_pod(snapshot: &Snapshot<'_>, lease: &Lease) -> Option<String> {
    let goes_by_name =
        |pod: &Pod| !pod.host_network && pod.hostname.as_ref().is_none_or(|h| *h == pod.name) && !pod.name_is_cut();
    let name = snapshot.plan.identity.only_name(lease.record.holder().unwrap_or_default())?;
    let gone = snapshot.gone.iter().map(|gone| &gone.pod);
    let mut known = tracked(snapshot).chain(gone);
    (snapshot.pods.is_up_to(lease.moved_in) && known.all(goes_by_name)).then_some(name)
}

/// The reading that an early clear needs: of the one pod that can be the holder, or of all pods; and of their nodes.
fn read_pods(snapshot: &Snapshot<'_>, lease: &Lease, key: Key) -> Action {
    let nodes = nodes_of_fitting(snapshot, lease).into_iter().map(ToOwned::to_owned).collect();
    Action::ReadPods { namespace: key.namespace, name: only_pod(snapshot, lease), nodes }
}

/// The reading that settles which deleted pods have ended that another pod of their name may be taken for.
fn read_nodes(snapshot: &Snapshot<'_>, lease: &Lease) -> Option<Action> {
    let plan = snapshot.plan;
    let fits = |pod: &Pod| lease.record.holder().is_some_and(|holder| plan.identity.fits(holder, pod));
    let concerns = |pod: &&Pod| pod.name_is_reusable() && (plan.selects(pod) || fits(pod));
    let nodes: BTreeSet<_> =
        snapshot.pods.gone_unsettled().filter(concerns).filter_map(|pod| pod.node.clone()).collect();
    (!nodes.is_empty()).then(|| Action::ReadNodes { nodes: nodes.into_iter().collect() })
}

/// The reading, if there is one that was made of this version of the Lease, of all pods that may be the holder, and of their
/// nodes. It has settled whose word the phases are that had been seen by then.
fn reading<'m>(snapshot: &Snapshot<'_>, memory: &'m Memory, lease: &Lease) -> Option<&'m ReadPods> {
    memory.read_pods.as_ref().filter(|read| {
        let was_read = |node: &str| read.nodes.iter().any(|(name, _)| name == node);
        read.requested_at >= lease.moved_at
            && (read.name.is_none() || read.name == only_pod(snapshot, lease))
            && with_nodes(snapshot, lease).all(Pod::is_settled)
            && nodes_of_fitting(snapshot, lease).into_iter().all(was_read)
    })
}

/// The pods that may be the holder and whose nodes have a say in what is known of them, as far as nodes can be read.
fn with_nodes<'a>(snapshot: &'a Snapshot<'_>, lease: &'a Lease) -> impl Iterator<Item = &'a Pod> {
    let holder = lease.record.holder().filter(|_| !snapshot.nodes_hidden);
    let fitting = holder.into_iter().flat_map(|holder| fitting(snapshot, holder));
    fitting.filter(|pod| pod.may_live(&pod.containers))
}

fn nodes_of_fitting<'a>(snapshot: &'a Snapshot<'_>, lease: &'a Lease) -> BTreeSet<&'a str> {
    with_nodes(snapshot, lease).filter_map(|pod| pod.node.as_deref()).collect()
}

/// Whether the nodes that have a say are known as they were read. If not, the watch of nodes is behind: what was said of
/// the pods may be the word of another machine that took the node's name.
fn knows_nodes(snapshot: &Snapshot<'_>, lease: &Lease, read: &ReadPods) -> bool {
    nodes_of_fitting(snapshot, lease).into_iter().all(|name| {
        let known = snapshot.nodes.iter().find(|(known, _)| *known == name).map(|(_, node)| *node);
        let read = read.nodes.iter().find(|(read, _)| read == name).and_then(|(_, node)| node.as_ref());
        read.zip(known).is_some_and(|(read, known)| read.is_reported_as(known))
    })
}

/// The judgement by the pods as read from the API server. What the index knows and the reading lacks was deleted.
fn by_reading(snapshot: &Snapshot<'_>, memory: &Memory, lease: &Lease, read: &ReadPods, now: Now) -> Judgement {
    let mut facts = facts(snapshot, memory, now);
    let plan = snapshot.plan;
    let holder = lease.record.holder().unwrap_or_default();
    let was_asked_for = |pod: &Pod| read.name.as_ref().is_none_or(|name| *name == pod.name);
    let known = || tracked(snapshot);
    let missing: Vec<Gone> = known()
        .filter(|cached| was_asked_for(cached) && !read.pods.iter().any(|p| p.is_same(cached)))
        .filter(|cached| plan.identity.fits(holder, *cached))
        .map(|cached| Gone { pod: cached.clone(), at: read.requested_at, seen: false, epoch: snapshot.pods.epoch() })
        .collect();
    // The watch has yet to bring its deletion, and what came under its name since.
    let came_since = missing.iter().any(|gone| gone.pod.name_is_reusable());
    let unseen = (came_since || !knows_nodes(snapshot, lease, read)).then_some(AccountGap::WatchGap);
    let pods: Vec<Pod> = read.pods.iter().map(|pod| with_history(known(), pod, now)).collect();
    // A run that may live, or one that nobody saw, is no less so in a reading.
    let account = memory.account.as_ref().map(|state| &state.account);
    let accounted = |pod: &Pod| account?.pods.iter().find(|known| known.name == pod.name);
    let fits = |pod: &Pod| plan.identity.fits(holder, pod);
    let gap = |pod: &Pod| fits(pod).then(|| pod_gap(plan, &snapshot.nodes, accounted(pod), pod)).flatten();
    facts.gap = facts.gap.or_else(|| pods.iter().find_map(gap)).or(unseen);
    facts.gone.extend(&missing);
    facts.candidates.retain(|pod| !was_asked_for(pod));
    facts.others.retain(|pod| !was_asked_for(pod));
    let (candidates, others): (Vec<&Pod>, Vec<&Pod>) = pods.iter().partition(|pod| plan.selects(pod));
    facts.candidates.extend(candidates);
    facts.others.extend(others.into_iter().filter(|pod| fits(pod)));
    judge(&facts)
}

/// A pod as read, with what the index knows of its past.
fn with_history<'p>(mut known: impl Iterator<Item = &'p Pod>, read: &Pod, now: Now) -> Pod {
    let mut pod = read.clone();
    pod.follow(known.find(|known| known.is_same(read)), now);
    pod
}

fn since(memory: &Memory, now: Now) -> Mono {
    memory.verdict.as_ref().map_or(now.mono, |s| s.since)
}

/// The form of a clear. A Lease with finalizers would stay, held, when it is deleted.
fn release_form(snapshot: &Snapshot<'_>) -> ReleaseForm {
    let library = snapshot.lease.and_then(|lease| lease.library);
    match snapshot.plan.stale_holder.release.form(library) {
        ReleaseForm::Delete if snapshot.lease.is_some_and(|lease| lease.has_finalizers) => ReleaseForm::Empty,
        form => form,
    }
}

/// Whether the standbys act on a clear before the Lease expires, by what is known of their library. Those of a library
/// that is not recognised are assumed to.
fn standbys_notice(snapshot: &Snapshot<'_>, lease: &Lease) -> bool {
    lease.library.is_none_or(|library| library.notices(release_form(snapshot)) == library::Notice::NextTry)
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
        form: release_form(snapshot),
        ground,
        rule: judgement.rule.name(),
        verdict: judgement.verdict(),
        evidence: judgement.evidence(),
        since: memory.verdict.as_ref().map_or(lease.moved_at, |s| s.since),
    })
}
