//! The evidence table: what is known about a Lease's holder, and what may be done about it.
//!
//! Rows are tried in the table's order and the first that matches decides. Each function below is one
//! row or one fact a row uses; the cases in `testdata/evidence` are the table as a person reads it.

use leadergroup_api::Verdict;
use leadergroup_identity::Identity;

use crate::model::{Container, Gone, Lease, Node, Phase, Pod, State};
use crate::text::cut;
use crate::time::Mono;

/// The longest evidence, in bytes: it may name any number of pods and containers.
const LONGEST_EVIDENCE: usize = 2_048;

/// Everything a judgement may look at.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The group's Lease, if it exists.
    pub lease: Option<&'a Lease>,
    /// How the group's library names its pods.
    pub identity: &'a Identity,
    /// The containers that must be down; all of them if empty.
    pub watched: &'a [String],
    /// The group's lease duration in seconds, for records that have none.
    pub default_duration: u64,
    /// Existing candidates.
    pub candidates: Vec<&'a Pod>,
    /// Deleted candidates that are remembered.
    pub gone: Vec<&'a Gone>,
    /// A pod outside the selector that the identity fits, looked for only if no candidate does; or that has the name of one
    /// that is gone, or that the identity gives.
    pub outsider: Option<&'a str>,
    /// The nodes of the candidates, existing and gone.
    pub nodes: Vec<(&'a str, &'a Node)>,
    /// Nodes can't be read. A pod's are then not taken for lost, and by whose word it has ended is not known.
    pub nodes_hidden: bool,
    /// How long a live leader may go without a renewal that arrives here: two retry periods.
    pub stillness: Mono,
    /// The present moment.
    pub now: Mono,
    /// The holder was proven dead and its Lease moved all the same.
    pub contradicted: bool,
}

/// When the holder may be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearable {
    /// It may be alive, or it is not ours to clear.
    Never,
    /// It can't have led since the judged version of the Lease.
    AtOnce,
    /// Once the Lease has run out, or when the user accepts the risk.
    WhenRanOut,
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
    /// The row that matched.
    pub verdict: Verdict,
    /// The observation that made it match. It does not change while nothing else does.
    pub evidence: String,
    /// The pod the holder resolves to, if it is exactly one.
    pub subject: Option<Subject>,
    /// When the holder may be cleared.
    pub clear: Clearable,
    /// The holder's containers are down but will run again, so `onRestart` has a say.
    pub restarting: bool,
    /// When to judge again although nothing has changed.
    pub recheck_at: Option<Mono>,
    /// The Lease was renewed in a later second than the pod ended, both by its node's clock: so not by that pod, but by
    /// one of the same identity that nobody remembers.
    pub outlived: bool,
}

impl Judgement {
    fn new(verdict: Verdict, clear: Clearable, evidence: impl Into<String>) -> Self {
        Self {
            verdict,
            evidence: cut(evidence.into(), LONGEST_EVIDENCE),
            subject: None,
            clear,
            restarting: false,
            recheck_at: None,
            outlived: false,
        }
    }

    fn of(mut self, pod: &Pod, runs: bool) -> Self {
        self.subject = Some(Subject { name: pod.name.clone(), uid: pod.uid.clone(), node: pod.node.clone(), runs });
        self
    }
}

/// One pod that the identity fits: existing, or gone.
#[derive(Clone, Copy)]
struct Fit<'a> {
    pod: &'a Pod,
    gone: bool,
    /// It was bound to a node, or may have been.
    has_run: bool,
}

/// Judges the holder of the group's Lease.
///
/// A candidate is not taken for the holder, and its end proves nothing, while a pod that is none may be the holder as well:
/// whoever may create a pod can make it a candidate, and give it another's host name.
pub fn judge(known: &Known<'_>) -> Judgement {
    let judgement = by_candidates(known);
    let Some(outsider) = known.outsider.filter(|name| judgement.subject.as_ref().is_some_and(|s| s.name != *name))
    else {
        return judgement;
    };
    if judgement.verdict == Verdict::Managed {
        return Judgement { subject: None, ..judgement };
    }
    let clear = if judgement.clear == Clearable::AtOnce { Clearable::WhenRanOut } else { judgement.clear };
    let why = format!(
        "the identity fits pod {outsider} too, which the group's selector does not match and which may be alive; of the \
         candidate is known: {}",
        judgement.evidence
    );
    Judgement::new(Verdict::Ambiguous, clear, why)
}

fn by_candidates(known: &Known<'_>) -> Judgement {
    let Some(lease) = known.lease else {
        return Judgement::new(Verdict::Free, Clearable::Never, "the Lease does not exist");
    };
    let holder = lease.record.holder();
    if let Some(strategy) = &lease.record.strategy {
        let managed = format!("coordinated leader election ({strategy}) decides who leads");
        let judgement = Judgement::new(Verdict::Managed, Clearable::Never, managed);
        return match holder.map(|h| fits(known, h)).as_deref() {
            Some([fit]) => judgement.of(fit.pod, !fit.gone && runs(known, fit.pod)),
            _ => judgement,
        };
    }
    let Some(holder) = holder else {
        return Judgement::new(Verdict::Free, Clearable::Never, "nobody holds the Lease");
    };

    let fits = fits(known, holder);
    let (ended, open): (Vec<Fit>, Vec<Fit>) = fits.into_iter().partition(|f| has_ended(known, f.pod));
    if known.contradicted && open.iter().all(|f| f.gone) {
        let why = "the Lease was renewed after its holder was proven dead: something else uses the same identity";
        return Judgement::new(Verdict::Contradiction, Clearable::Never, why);
    }
    let judgement = match (open.as_slice(), ended.iter().max_by_key(|f| last_end(f.pod))) {
        ([], Some(fit)) if known.outsider != Some(&fit.pod.name) => {
            if fit.pod.phase_in_doubt {
                one_fits(known, lease, *fit)
            } else {
                terminated(known, lease, *fit)
            }
        }
        ([], _) => nobody_fits(known, holder),
        ([fit], _) => one_fits(known, lease, *fit),
        (several, _) => {
            let names: Vec<_> = several.iter().map(|f| describe(*f)).collect();
            let why = format!("the identity fits {} pods that may be alive: {}", names.len(), names.join(", "));
            let judgement = Judgement::new(Verdict::Ambiguous, Clearable::WhenRanOut, why);
            match several.iter().filter(|f| !f.gone).collect::<Vec<_>>().as_slice() {
                [existing] => judgement.of(existing.pod, runs(known, existing.pod)),
                _ => judgement,
            }
        }
    };
    let is_another = |f: &&Fit| judgement.subject.as_ref().is_none_or(|subject| subject.uid != f.pod.uid);
    match ended.iter().filter(|f| f.pod.phase_in_doubt).find(is_another) {
        Some(fit) if judgement.clear != Clearable::Never => {
            let why = format!(
                "the identity fits pod {} too, and by whose word that has ended is not known; of the other is known: {}",
                describe(*fit),
                judgement.evidence
            );
            Judgement::new(Verdict::Ambiguous, Clearable::WhenRanOut, why)
        }
        _ => judgement,
    }
}

/// The pods that the identity fits and that may have written the Lease: one that was never bound to a node has not run.
fn fits<'a>(known: &Known<'a>, holder: &str) -> Vec<Fit<'a>> {
    let existing = known.candidates.iter().map(|pod| Fit { pod, gone: false, has_run: pod.node.is_some() });
    let gone = known.gone.iter().map(|g| Fit { pod: &g.pod, gone: true, has_run: g.pod.node.is_some() || !g.seen });
    existing.chain(gone).filter(|f| f.has_run && known.identity.fits(holder, f.pod)).collect()
}

fn describe(fit: Fit<'_>) -> String {
    format!("{}{} (uid {})", fit.pod.name, if fit.gone { ", deleted" } else { "" }, fit.pod.uid)
}

/// The containers that must be down for this pod to be dead. Where processes are shared, all of them.
///
/// A listed container that the pod does not have counts as one nothing is known about.
fn watched<'a>(known: &Known<'a>, pod: &'a Pod) -> Option<Vec<&'a Container>> {
    if known.watched.is_empty() || pod.shared_pid {
        return (!pod.containers.is_empty()).then(|| pod.containers.iter().collect());
    }
    known.watched.iter().map(|name| pod.containers.iter().find(|c| c.name == *name)).collect()
}

fn runs(known: &Known<'_>, pod: &Pod) -> bool {
    watched(known, pod).unwrap_or_else(|| pod.containers.iter().collect()).iter().any(|c| c.state == State::Running)
}

/// A watched container may have begun its first run, which its kubelet has yet to report: a quick program holds the
/// Lease before its pod shows that it runs.
fn is_starting(known: &Known<'_>, pod: &Pod) -> bool {
    let unreported = |c: &Container| c.last.is_none() && matches!(c.state, State::Waiting(_) | State::Missing);
    pod.phase == Phase::Live && watched(known, pod).is_some_and(|containers| containers.into_iter().any(unreported))
}

/// Row 6: a terminal phase written by the pod's kubelet, every watched container terminated and seen to end. Where nodes
/// are hidden, whose word the phase is remains in doubt: such a pod is not taken for a leader that lives, nor for a proof.
fn has_ended(known: &Known<'_>, pod: &Pod) -> bool {
    let down = |c: &&Container| matches!(&c.state, State::Terminated(run) if run.is_witnessed());
    pod.phase == Phase::Terminal
        && !pod.by_pod_gc
        && (!pod.phase_in_doubt || known.nodes_hidden)
        && watched(known, pod).is_some_and(|containers| containers.iter().all(down))
}

/// When the last run of the pod ended, by its node's clock.
fn last_end(pod: &Pod) -> Option<jiff::Timestamp> {
    pod.containers.iter().filter_map(|c| c.newest_finished()?.finished_at).max()
}

fn terminated(known: &Known<'_>, lease: &Lease, fit: Fit<'_>) -> Judgement {
    let ends: Vec<_> = watched(known, fit.pod).unwrap_or_default().iter().filter_map(|c| end_of(c)).collect();
    let why = format!("pod {} ended by its kubelet's word: {}", describe(fit), ends.join(", "));
    let outlived = match (lease.record.renewed(), last_end(fit.pod)) {
        (Some(renewed), Some(end)) => renewed.as_second() > end.as_second(),
        _ => false,
    };
    Judgement { outlived, ..Judgement::new(Verdict::Terminated, Clearable::AtOnce, why) }.of(fit.pod, false)
}

fn end_of(container: &Container) -> Option<String> {
    let run = container.newest_finished()?;
    let at = run.finished_at.map(|t| format!(" at {t}")).unwrap_or_default();
    let reason = run.reason.as_deref().unwrap_or("Terminated");
    Some(format!("container {} {reason}{at} (exit code {})", container.name, run.exit_code))
}

/// Row 4, and the last part of row 10: no candidate fits.
fn nobody_fits(known: &Known<'_>, holder: &str) -> Judgement {
    if let Some(outsider) = known.outsider {
        let why = format!("holder {holder:?} is pod {outsider}, which the group's selector does not match");
        return Judgement::new(Verdict::Foreign, Clearable::Never, why);
    }
    if !known.identity.fits_some_pod(holder) {
        let why = format!("holder {holder:?} is not of the form that spec.identity gives");
        return Judgement::new(Verdict::Foreign, Clearable::Never, why);
    }
    let why = format!("holder {holder:?} fits no pod: it is gone, or spec.identity does not say how it names its pod");
    Judgement::new(Verdict::Unresolved, Clearable::WhenRanOut, why)
}

/// Rows 7 to 11: exactly one pod may be the holder.
fn one_fits(known: &Known<'_>, lease: &Lease, fit: Fit<'_>) -> Judgement {
    let pod = fit.pod;
    let runs = !fit.gone && runs(known, pod);
    let judgement = |verdict, clear, evidence: String| Judgement::new(verdict, clear, evidence).of(pod, runs);
    let ran_out = lease.ran_out(known.default_duration);
    let node = pod.node.as_deref().unwrap_or_default();
    let node_state = known.nodes.iter().find(|(name, _)| *name == node).map(|(_, state)| *state);
    let node_ready = known.nodes_hidden || node_state.is_some_and(|n| n.ready);

    if let Some(evidence) = no_run_since_renewal(known, lease, pod) {
        let mut restarted = judgement(Verdict::Terminated, Clearable::AtOnce, evidence);
        restarted.restarting = !fit.gone && pod.phase == Phase::Live;
        return restarted;
    }
    if (runs || !fit.gone && is_starting(known, pod)) && node_ready && !ran_out {
        let what = if runs { "runs" } else { "is starting" };
        return judgement(
            Verdict::Alive,
            Clearable::Never,
            format!("pod {} {what} and its Lease is current", pod.name),
        );
    }
    let believed_at = given_up_at(known, lease, node_state);
    if believed_at.is_some_and(|at| known.now >= at) {
        let why = format!(
            "node {node} is not ready and carries the taint node.kubernetes.io/out-of-service, and the Lease stands still"
        );
        return judgement(Verdict::Terminated, Clearable::AtOnce, why);
    }
    let judgement = |verdict, clear, why| Judgement { recheck_at: believed_at, ..judgement(verdict, clear, why) };
    if known.nodes_hidden && has_ended(known, pod) {
        let why = format!(
            "pod {} has ended, but by whose word is not known: this operator may not read nodes",
            describe(fit)
        );
        return judgement(Verdict::Vanished, Clearable::WhenRanOut, why);
    }
    if fit.gone {
        let why = format!("pod {} without a word from its kubelet that its containers ended", describe(fit));
        return judgement(Verdict::Vanished, Clearable::WhenRanOut, why);
    }
    if pod.phase == Phase::Terminal {
        let why = format!("pod {} has ended by another's word than its kubelet's", pod.name);
        return judgement(Verdict::Vanished, Clearable::WhenRanOut, why);
    }
    if !node_ready {
        let why = format!("node {node} of pod {} is not ready", pod.name);
        return judgement(Verdict::Unreachable, Clearable::WhenRanOut, why);
    }
    if runs {
        let why = format!("pod {} runs but stopped renewing; any candidate may take the Lease", pod.name);
        return judgement(Verdict::LeaseExpired, Clearable::Never, why);
    }
    let why =
        format!("no watched container of pod {} runs, but a later run than the last known may have renewed", pod.name);
    judgement(Verdict::Unproven, Clearable::WhenRanOut, why)
}

/// Row 9: when an administrator's word that the node is out of service is believed, if at all. A leader that is alive
/// after all shows it by its next renewal, so that much time has to pass with the Lease standing still.
fn given_up_at(known: &Known<'_>, lease: &Lease, node: Option<&Node>) -> Option<Mono> {
    let lost_since = node?.lost_since?;
    (!moved_after(lease, lost_since)).then(|| lost_since.max(lease.moved_at) + known.stillness)
}

/// Whether the Lease was seen to move after that moment. Only having found it says nothing.
fn moved_after(lease: &Lease, moment: Mono) -> bool {
    lease.seen_moving && lease.moved_at > moment
}

/// Row 7: every watched container's newest finished run ended in a later second than the last renewal, both by
/// the node's clock, which has been sane. A run that began later would have had to write a later renewal, so none
/// since has written the judged version, and whoever leads must write first.
fn no_run_since_renewal(known: &Known<'_>, lease: &Lease, pod: &Pod) -> Option<String> {
    let renewed = lease.record.renewed().filter(|_| lease.clock_is_sane())?;
    let mut ends = Vec::new();
    let watched = watched(known, pod)?;
    for container in &watched {
        let run = container.newest_finished().filter(|run| run.is_witnessed() && !run.ahead)?;
        if run.finished_at?.as_second() <= renewed.as_second() {
            return None;
        }
        // The next run cannot have begun before: the clock was set back in between.
        if container.state == State::Running
            && container.started_at.is_none_or(|started| Some(started) < run.finished_at)
        {
            return None;
        }
        ends.extend(end_of(container));
    }
    if !were_down_together(&watched) {
        return None;
    }
    Some(format!("no run of pod {} has renewed since: {}; last renewal at {renewed}", pod.name, ends.join(", ")))
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
