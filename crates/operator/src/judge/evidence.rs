//! The evidence table: what is known about a Lease's holder, and what may be done about it.
//!
//! Rows are tried in the table's order and the first that matches decides. Each function below is one
//! row or one fact a row uses; the cases in `testdata/evidence` are the table as a person reads it.

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt as _};
use leadergroup_api::{AccountGap, Verdict};
use leadergroup_identity::{Identity, PodNames};

use super::rule::{Clearable, PodRef, Rule, RunEnd};
use crate::model::{Container, Gone, Lease, Node, Phase, PhaseSeen, Pod, State};
use crate::text::cut;
use crate::time::Mono;

/// The longest evidence, in bytes: it may name any number of pods and containers.
const MAX_EVIDENCE_BYTES: usize = 2_048;

/// Everything a judgement may look at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The group's Lease, if it exists.
    pub lease: Option<&'a Lease>,
    /// How the group's library names its pods.
    pub identity: &'a Identity,
    /// Which pods are candidates.
    pub selector: &'a Selector,
    /// The containers that must be down; all of them if empty.
    pub watched: &'a [String],
    /// The group's lease duration in seconds, for records that have none.
    pub default_duration: u64,
    /// How often a live leader renews.
    pub retry_period: Mono,
    /// Existing candidates.
    pub candidates: Vec<&'a Pod>,
    /// Existing pods outside the selector that the identity fits.
    pub others: Vec<&'a Pod>,
    /// Deleted pods that the identity fits, as far as they are remembered.
    pub gone: Vec<&'a Gone>,
    /// The nodes of all those pods.
    pub nodes: Vec<(&'a str, &'a Node)>,
    /// Nodes can't be read. A pod's are then not taken for lost, and by whose word it has ended is not known.
    pub nodes_hidden: bool,
    /// The present moment.
    pub now: Mono,
    /// The holder was proven dead and its Lease moved all the same.
    pub contradicted: bool,
    /// Why the account of the processes that may have written the Lease is incomplete, if it is.
    pub gap: Option<AccountGap>,
}

/// The pod that a holder resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// Its node.
    pub node: Option<String>,
    /// It exists and a watched container of it runs.
    pub runs: bool,
}

/// What is known about the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The rule that matched.
    pub rule: Rule,
    /// The pod the holder resolves to, if it is exactly one.
    pub subject: Option<Subject>,
    /// When the holder may be cleared.
    pub clear: Clearable,
    /// Why a holder that is proven dead may not be cleared at once.
    pub gap: Option<AccountGap>,
    /// The holder's containers are down but will run again, so `onRestart` has a say.
    pub restarting: bool,
    /// When to judge again although nothing has changed.
    pub recheck_at: Option<Mono>,
    /// The Lease was renewed in a later second than the pod ended, both by its node's clock: so not by that pod, but by
    /// one of the same identity that nobody remembers.
    pub outlived: bool,
}

impl Judgement {
    fn new(rule: Rule) -> Self {
        let clear = rule.clearable();
        Self { rule, subject: None, clear, gap: None, restarting: false, recheck_at: None, outlived: false }
    }

    fn of(mut self, pod: &Pod, runs: bool) -> Self {
        self.subject = Some(Subject { name: pod.name.clone(), uid: pod.uid.clone(), node: pod.node.clone(), runs });
        self
    }

    /// The verdict of the rule that matched.
    pub fn verdict(&self) -> Verdict {
        self.rule.verdict()
    }

    /// The observation that made the rule match.
    pub fn evidence(&self) -> String {
        cut(self.rule.to_string(), MAX_EVIDENCE_BYTES)
    }

    /// Leaves a clear to the time when the Lease has expired.
    fn wait_for(mut self, gap: AccountGap) -> Self {
        if self.clear == Clearable::AtOnce {
            (self.clear, self.gap) = (Clearable::WhenExpired, Some(gap));
        }
        self
    }
}

/// One pod that the identity fits: existing, or gone.
#[derive(Clone, Copy)]
struct Fit<'a> {
    pod: &'a Pod,
    gone: bool,
}

impl Fit<'_> {
    fn named(&self) -> PodRef {
        PodRef::new(self.pod, self.gone)
    }
}

/// Judges the holder of the group's Lease.
///
/// A candidate is not taken for the holder, and its end proves nothing, while a pod that is none may be the holder as well:
/// whoever may create a pod can make it a candidate, and give it another's host name.
pub fn judge(facts: &Facts<'_>) -> Judgement {
    let judgement = by_pods(facts);
    match facts.gap {
        Some(gap) => judgement.wait_for(gap),
        None => judgement,
    }
}

fn by_pods(facts: &Facts<'_>) -> Judgement {
    let Some(lease) = facts.lease else { return Judgement::new(Rule::LeaseAbsent) };
    let holder = lease.record.holder();
    let (mine, foreign): (Vec<_>, Vec<_>) =
        holder.map(|holder| fits(facts, holder)).unwrap_or_default().into_iter().partition(|f| is_candidate(facts, f));
    if let Some(strategy) = &lease.record.strategy {
        let judgement = Judgement::new(Rule::CoordinatedElection { strategy: strategy.clone() });
        return match mine.as_slice() {
            [fit] if foreign.is_empty() => judgement.of(fit.pod, !fit.gone && runs(facts, fit.pod)),
            _ => judgement,
        };
    }
    let Some(holder) = holder else { return Judgement::new(Rule::NotHeld) };
    let judgement = by_candidates(facts, lease, holder, &mine, &foreign);
    let is_known = matches!(judgement.verdict(), Verdict::Foreign | Verdict::Contradiction);
    let may_live = |f: &&Fit| !has_ended(facts, f.pod) || is_in_doubt(facts, f.pod);
    let may_live: Vec<_> = foreign.iter().filter(may_live).copied().collect();
    if mine.is_empty() || is_known || may_live.is_empty() {
        return judgement;
    }
    // Every program on a node's network sees the node's name, so that alone makes no pod a suspect.
    let by_own_name: Vec<_> = may_live.into_iter().filter(|f| fits_by_own_name(facts, holder, f.pod)).collect();
    if by_own_name.is_empty() {
        return judgement.wait_for(AccountGap::OtherPodFits);
    }
    let clearable = judgement.clear.min(Clearable::WhenExpired);
    let pods = mine.iter().filter(|f| !has_ended(facts, f.pod)).chain(&by_own_name).map(Fit::named).collect();
    Judgement::new(Rule::IdentityFitsSeveralPods { pods, clearable })
}

fn by_candidates(facts: &Facts<'_>, lease: &Lease, holder: &str, mine: &[Fit<'_>], foreign: &[Fit<'_>]) -> Judgement {
    let (ended, open): (Vec<Fit>, Vec<Fit>) = mine.iter().partition(|f| has_ended(facts, f.pod));
    if facts.contradicted && open.iter().all(|f| f.gone) {
        return Judgement::new(Rule::RenewedAfterProof);
    }
    let took_its_name =
        |fit: &Fit| foreign.iter().any(|f| !f.gone && f.pod.name == fit.pod.name && !has_ended(facts, f.pod));
    let judgement = match (open.as_slice(), ended.iter().max_by_key(|f| f.pod.last_end())) {
        ([], Some(fit)) if !took_its_name(fit) => {
            if is_in_doubt(facts, fit.pod) {
                one_fits(facts, lease, *fit)
            } else {
                ended_by_kubelet(facts, lease, *fit)
            }
        }
        ([], _) => no_candidate_fits(facts, holder, foreign),
        ([fit], _) => one_fits(facts, lease, *fit),
        (several, _) => {
            let pods = several.iter().map(Fit::named).collect();
            let judgement = Judgement::new(Rule::IdentityFitsSeveralPods { pods, clearable: Clearable::WhenExpired });
            match several.iter().filter(|f| !f.gone).collect::<Vec<_>>().as_slice() {
                [existing] => judgement.of(existing.pod, runs(facts, existing.pod)),
                _ => judgement,
            }
        }
    };
    // A pod whose end is in doubt is no proof, and not the only one that may have held the Lease.
    let is_another = |f: &&Fit| judgement.subject.as_ref().is_none_or(|subject| subject.uid != f.pod.uid);
    match ended.iter().filter(|f| is_in_doubt(facts, f.pod)).find(is_another) {
        Some(fit) if judgement.clear != Clearable::Never => {
            let pods = mine.iter().filter(|f| f.pod.uid != fit.pod.uid && !has_ended(facts, f.pod)).chain([fit]);
            let pods = pods.map(Fit::named).collect();
            Judgement::new(Rule::IdentityFitsSeveralPods { pods, clearable: Clearable::WhenExpired })
        }
        _ => judgement,
    }
}

/// The pods that the identity fits and that may have written the Lease: one that was never bound to a node has not run, nor
/// has one that its kubelet ended before.
fn fits<'a>(facts: &Facts<'a>, holder: &str) -> Vec<Fit<'a>> {
    let existing = facts.candidates.iter().chain(&facts.others).filter(|pod| pod.may_have_run);
    let gone = facts.gone.iter().filter(|gone| gone.pod.may_have_run && !never_ran(facts, &gone.pod) || !gone.seen);
    let existing = existing.map(|pod| Fit { pod, gone: false });
    let gone = gone.map(|gone| Fit { pod: &gone.pod, gone: true });
    existing.chain(gone).filter(|f| facts.identity.fits(holder, f.pod)).collect()
}

fn is_candidate(facts: &Facts<'_>, fit: &Fit<'_>) -> bool {
    facts.selector.matches(&fit.pod.labels)
}

fn fits_by_own_name(facts: &Facts<'_>, holder: &str, pod: &Pod) -> bool {
    facts.identity.fits(holder, PodNames { node: None, host_network: false, ..PodNames::from(pod) })
}

/// The containers that must be down for this pod to be dead. Where processes are shared, all of them.
///
/// A listed container that the pod does not have counts as one nothing is known about.
fn watched<'a>(facts: &Facts<'_>, pod: &'a Pod) -> Option<Vec<&'a Container>> {
    if facts.watched.is_empty() || pod.shared_pid {
        return (!pod.containers.is_empty()).then(|| pod.containers.iter().collect());
    }
    facts.watched.iter().map(|name| pod.containers.iter().find(|c| c.name == *name)).collect()
}

fn runs(facts: &Facts<'_>, pod: &Pod) -> bool {
    watched(facts, pod).unwrap_or_else(|| pod.containers.iter().collect()).iter().any(|c| c.state == State::Running)
}

/// A watched container may have begun its first run, which its kubelet has yet to report: a quick program holds the
/// Lease before its pod shows that it runs.
fn is_starting(facts: &Facts<'_>, pod: &Pod) -> bool {
    let unreported = |c: &Container| c.last.is_none() && matches!(c.state, State::Waiting(_) | State::Missing);
    pod.phase == Phase::Live && watched(facts, pod).is_some_and(|containers| containers.into_iter().any(unreported))
}

fn node_of<'a>(facts: &Facts<'a>, pod: &Pod) -> Option<&'a Node> {
    let node = pod.node.as_deref()?;
    facts.nodes.iter().find(|(name, _)| *name == node).map(|(_, state)| *state)
}

/// Whether what is reported of these containers comes from a kubelet, of the machine that the pod was bound to. Where nodes
/// are hidden, the runtime that the containers name has to do.
fn is_reported_by_its_kubelet(facts: &Facts<'_>, pod: &Pod, containers: &[&Container]) -> bool {
    match node_of(facts, pod) {
        Some(node) => node.is_machine_of(pod),
        None => facts.nodes_hidden && containers.iter().all(|c| c.has_runtime),
    }
}

/// Row 6: a terminal phase written by the pod's kubelet, every watched container terminated and seen to end, or never run.
/// Where nodes are hidden, whose word the phase is remains in doubt: such a pod is not taken for a leader that lives, nor
/// for a proof.
///
/// The same where no watched container ever runs again: the kubelet writes the phase a second later.
pub fn has_ended(facts: &Facts<'_>, pod: &Pod) -> bool {
    let Some(containers) = watched(facts, pod) else { return false };
    let terminated = |c: &Container| matches!(&c.state, State::Terminated(run) if run.is_witnessed());
    match pod.phase {
        Phase::Terminal => {
            !pod.by_pod_gc
                && (facts.nodes_hidden || !is_in_doubt(facts, pod))
                && containers.iter().any(|c| terminated(c))
                && containers.iter().all(|c| terminated(c) || c.never_ran())
        }
        Phase::Live => {
            containers.iter().all(|c| c.is_down_for_good())
                && node_of(facts, pod).is_some_and(|node| node.ready && node.is_machine_of(pod))
        }
    }
}

/// Whether the kubelet ended the pod before any of its containers had run.
fn never_ran(facts: &Facts<'_>, pod: &Pod) -> bool {
    let none_ran = !pod.containers.is_empty() && pod.containers.iter().all(Container::never_ran);
    none_ran && pod.phase == Phase::Terminal && !pod.by_pod_gc && !is_in_doubt(facts, pod)
}

/// Whether a terminal phase is not taken for the word of the pod's own kubelet. What its node speaks for only as far as its
/// watch has come is settled before a clear.
fn is_in_doubt(facts: &Facts<'_>, pod: &Pod) -> bool {
    match pod.phase_seen {
        _ if pod.phase == Phase::Live => false,
        PhaseSeen::NodeReady | PhaseSeen::Confirmed => false,
        PhaseSeen::NodeNotReady => true,
        PhaseSeen::Found => {
            pod.may_have_run && !node_of(facts, pod).is_some_and(|node| node.reported_end_of(pod, false))
        }
    }
}

fn ended_by_kubelet(facts: &Facts<'_>, lease: &Lease, fit: Fit<'_>) -> Judgement {
    let watched = watched(facts, fit.pod).unwrap_or_default();
    let outlived = match (lease.record.renewed(), Container::last_end(watched.iter().copied())) {
        (Some(renewed), Some(end)) => renewed.as_second() > end.as_second(),
        _ => false,
    };
    let ends = watched.into_iter().filter_map(RunEnd::newest).collect();
    let rule = Rule::KubeletReportedEnd { pod: fit.named(), ends };
    Judgement { outlived, ..Judgement::new(rule) }.of(fit.pod, false)
}

/// Row 4, and the last part of row 10: no candidate fits.
fn no_candidate_fits(facts: &Facts<'_>, holder: &str, foreign: &[Fit<'_>]) -> Judgement {
    let holder = holder.to_owned();
    Judgement::new(if let Some(other) = foreign.iter().find(|f| !f.gone) {
        Rule::PodOutsideSelector { holder, pod: other.pod.name.clone() }
    } else if facts.identity.fits_some_pod(&holder) {
        Rule::IdentityFitsNoPod { holder }
    } else {
        Rule::IdentityNotOfTemplate { holder }
    })
}

/// Rows 7 to 11: exactly one pod may be the holder.
fn one_fits(facts: &Facts<'_>, lease: &Lease, fit: Fit<'_>) -> Judgement {
    let pod = fit.pod;
    let runs = !fit.gone && runs(facts, pod);
    let judgement = |rule| Judgement::new(rule).of(pod, runs);
    let expired = lease.has_expired(facts.default_duration);
    let node = pod.node.clone().unwrap_or_default();
    let node_state = node_of(facts, pod);
    let node_ready = facts.nodes_hidden || node_state.is_some_and(|n| n.ready);

    if let Some(rule) = no_run_since_renewal(facts, lease, fit) {
        let restarting = !fit.gone && pod.phase == Phase::Live;
        return Judgement { restarting, ..judgement(rule) };
    }
    if (runs || !fit.gone && is_starting(facts, pod)) && node_ready && !expired {
        let pod = pod.name.clone();
        return judgement(if runs { Rule::Running { pod } } else { Rule::Starting { pod } });
    }
    // What is said of a node that was registered again is said of another machine.
    let believed_at = given_up_at(facts, lease, node_state.filter(|node| !node.replaced_machine_of(pod)));
    if believed_at.is_some_and(|at| facts.now >= at) {
        return judgement(Rule::NodeOutOfService { node });
    }
    let judgement = |rule| Judgement { recheck_at: believed_at, ..judgement(rule) };
    if facts.nodes_hidden && has_ended(facts, pod) {
        return judgement(Rule::EndNotByKubelet { pod: fit.named() });
    }
    if fit.gone {
        return judgement(Rule::DeletedWithoutReport { pod: fit.named() });
    }
    if pod.phase == Phase::Terminal {
        return judgement(Rule::EndNotByKubelet { pod: fit.named() });
    }
    let name = pod.name.clone();
    if !node_ready {
        return judgement(Rule::NodeNotReady { node, pod: name });
    }
    judgement(if runs { Rule::StoppedRenewing { pod: name } } else { Rule::RunNotSeen { pod: name } })
}

/// Row 9: when an administrator's word that the node is out of service is believed, if at all. A leader that is alive
/// after all shows it by its next renewal, so that much time has to pass with the Lease standing still.
fn given_up_at(facts: &Facts<'_>, lease: &Lease, node: Option<&Node>) -> Option<Mono> {
    let lost_since = node?.lost_since?;
    let silence = lease.max_silence(facts.retry_period, facts.default_duration);
    (!moved_after(lease, lost_since)).then(|| lost_since.max(lease.moved_at) + silence)
}

/// Whether the Lease was seen to move after that moment. Only having found it says nothing.
fn moved_after(lease: &Lease, moment: Mono) -> bool {
    lease.seen_moving && lease.moved_at > moment
}

/// Row 7: every watched container's newest finished run ended in a later second than the last renewal, both by
/// the node's clock, which has been sane. A run that began later would have had to write a later renewal, so none
/// since has written the judged version, and whoever leads must write first.
///
/// A container that never runs again is down whenever it ended. Where the kubelet restarted all containers, it says no
/// time of their ends, but it began none before all had ended.
fn no_run_since_renewal(facts: &Facts<'_>, lease: &Lease, fit: Fit<'_>) -> Option<Rule> {
    let pod = fit.pod;
    let renewed = lease.record.renewed().filter(|_| lease.clock_is_sane())?;
    let watched = watched(facts, pod)?;
    if pod.has_runtime_class || !is_reported_by_its_kubelet(facts, pod, &watched) {
        return None;
    }
    let mut restarted_with_all = false;
    let since_renewal = |at: Option<Timestamp>| at.is_some_and(|at| at.as_second() > renewed.as_second());
    // The one that renewed has to be among them.
    if watched.iter().all(|c| c.is_down_for_good()) && !since_renewal(Container::last_end(watched.iter().copied())) {
        return None;
    }
    for container in watched.iter().filter(|c| !c.is_down_for_good()) {
        let run = container.newest_finished()?;
        if run.ended_with_all() {
            if container.state != State::Running || !since_renewal(container.started_at) {
                return None;
            }
            restarted_with_all = true;
            continue;
        }
        if !run.is_witnessed() || run.ahead || !since_renewal(run.finished_at) {
            return None;
        }
        // The next run cannot have begun before: the clock was set back in between.
        if container.state == State::Running
            && container.started_at.is_none_or(|started| Some(started) < run.finished_at)
        {
            return None;
        }
    }
    if !were_down_together(&watched) {
        return None;
    }
    let pod = fit.named();
    if restarted_with_all {
        return Some(Rule::AllContainersRestarted { pod, renewed });
    }
    let ends = watched.into_iter().filter_map(RunEnd::newest).collect();
    Some(Rule::NoRunSinceRenewal { pod, ends, renewed })
}

/// Whether there was a moment at which none of the containers ran, since the newest finished run of each began. Else the
/// belief to lead may have passed, without a write, from one that was about to end to one that had just begun.
fn were_down_together(containers: &[&Container]) -> bool {
    let began_before_end = |running: &Container, other: &Container| {
        let end = other.newest_finished().and_then(|run| run.finished_at);
        running.state == State::Running && running.name != other.name && running.started_at <= end
    };
    !containers.iter().any(|running| containers.iter().any(|other| began_before_end(running, other)))
}
