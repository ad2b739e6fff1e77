//! A container, its runs, and which of their ends its kubelet witnessed.

use jiff::Timestamp;
use leadergroup_api::AccountGap;

use super::SANE_CLOCK_MS;
use crate::time::Now;
use crate::wire::{ContainerStateWire, ContainerStatusWire};

/// `kubectl debug`-style, sidecar or regular: every container that may run an elector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it does now, by its kubelet.
    pub state: State,
    /// When the present run began, by the node's clock, whole seconds.
    pub started_at: Option<Timestamp>,
    /// The newest run that finished before the present one.
    pub last: Option<Run>,
    /// After which ends the kubelet runs it again.
    pub restarts: Restarts,
    /// Its identifier is one of a container runtime that runs beside a kubelet.
    pub has_runtime: bool,
    /// Its kubelet reports an identifier: a runtime has created it.
    pub is_created: bool,
    /// How many of its runs have ended, by its kubelet's count.
    pub ended_runs: u32,
    /// Why one of its earlier runs may live. It stays, whatever later runs do. Set by [`Container::follow`].
    pub gap: Option<AccountGap>,
    /// How many of its runs had ended when the container was first seen. Set by [`Container::follow`].
    pub ended_before: u32,
    /// How many of those it did not show. Set by [`Container::follow`].
    pub hidden_before: u32,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The kubelet has not reported on it.
    Missing,
    /// Not started, or between two runs; with the kubelet's reason.
    Waiting(Option<String>),
    /// Running.
    Running,
    /// The run ended.
    Terminated(Run),
}

/// After which ends a kubelet runs a container again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// After any, or by rules that this operator does not read.
    Always,
    /// After any with another exit code than 0.
    OnFailure,
    /// After none.
    Never,
}

impl Restarts {
    /// The policy of that name; one that is not known may run anything again.
    pub fn named(policy: Option<&str>) -> Self {
        match policy {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// A run of a container that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// By the node's clock, whole seconds.
    pub finished_at: Option<Timestamp>,
    /// The exit code.
    pub exit_code: i64,
    /// The kubelet's reason.
    pub reason: Option<String>,
    /// It was reported before it ended, by the operator's clock: the node's clock was ahead, and may have been set back
    /// since. Set by the index.
    pub ahead: bool,
}

/// Reasons given for a container whose end nobody saw: by a kubelet that does not find it any more, by containerd that
/// lost its state (for a process that may run on), by virtual-kubelet whose provider does not find it.
const UNWITNESSED_REASONS: [&str; 4] = [STATUS_UNKNOWN, "Unknown", "NotFound", RESTARTING_ALL];
/// A kubelet's reason for a container that its runtime does not know.
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The reason for the end of each container of a pod whose rules restart all of them at once. It has no times.
const RESTARTING_ALL: &str = "RestartingAllContainers";
/// Reasons of a waiting container that could not be created. The last replaces the reported end of such a container.
const START_FAILURES: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    STATUS_UNKNOWN,
];
/// Exit codes that a process can leave and that no runtime makes up: containerd reports 255 for a process it lost.
const WITNESSED_EXIT_CODES: std::ops::RangeInclusive<i64> = 0..=254;

impl Run {
    /// Whether the kubelet saw the process end, and when.
    pub fn is_witnessed(&self) -> bool {
        let is_made_up = self.reason.as_deref().is_some_and(|reason| UNWITNESSED_REASONS.contains(&reason));
        !is_made_up && WITNESSED_EXIT_CODES.contains(&self.exit_code) && self.finished_at.is_some()
    }

    /// Whether the kubelet ended it together with all other containers of the pod, to run all of them again. It begins
    /// none before all have ended.
    pub fn ended_with_all(&self) -> bool {
        self.reason.as_deref() == Some(RESTARTING_ALL)
    }
}

impl Container {
    /// What these statuses say about the container of that name.
    ///
    /// The API server takes any number of statuses for a container, each with any number of states. One that says that
    /// it runs is believed; several that don't prove nothing.
    pub(super) fn new(name: String, restarts: Restarts, statuses: &[ContainerStatusWire]) -> Self {
        let reports: Vec<_> = statuses.iter().filter(|s| s.name == name).collect();
        let [status] = reports.as_slice() else {
            let runs = reports.iter().any(|s| s.state.running.is_some());
            let gap = (reports.len() > 1).then_some(AccountGap::UnseenRun);
            let state = if runs { State::Running } else { State::Missing };
            return Self {
                name,
                state,
                started_at: None,
                last: None,
                restarts,
                has_runtime: false,
                is_created: false,
                ended_runs: 0,
                gap,
                ended_before: 0,
                hidden_before: 0,
            };
        };
        let state = if status.state.running.is_some() {
            State::Running
        } else if let Some(run) = run(&status.state) {
            State::Terminated(run)
        } else {
            State::Waiting(status.state.waiting.as_ref().and_then(|w| w.reason.clone()))
        };
        let started_at = status.state.running.as_ref().and_then(|r| r.started_at.as_deref()?.parse().ok());
        let mut container = Self {
            name,
            state,
            started_at,
            last: run(&status.last_state),
            restarts,
            has_runtime: status.container_id.as_deref().is_some_and(names_runtime),
            is_created: status.container_id.as_deref().is_some_and(|id| !id.is_empty()),
            ended_runs: 0,
            gap: None,
            ended_before: 0,
            hidden_before: 0,
        };
        // The count is of the runs before the present one, or before the one that ended last where there is none. A
        // kubelet that restarts all containers counts the next run as soon as it has taken the last one away.
        let ended = match &container.state {
            State::Terminated(run) => Some(run),
            State::Waiting(_) => container.last.as_ref(),
            State::Running | State::Missing => None,
        };
        let is_over = ended.is_some_and(|run| !run.ended_with_all());
        let counted = u32::try_from(status.restart_count).unwrap_or(0).saturating_add(u32::from(is_over));
        container.ended_runs = counted.max(container.shown());
        container
    }

    /// The runs known to have finished, newest first.
    pub fn finished(&self) -> impl Iterator<Item = &Run> {
        let present = match &self.state {
            State::Terminated(run) => Some(run),
            _ => None,
        };
        present.into_iter().chain(&self.last)
    }

    fn finished_mut(&mut self) -> impl Iterator<Item = &mut Run> {
        let present = match &mut self.state {
            State::Terminated(run) => Some(run),
            _ => None,
        };
        present.into_iter().chain(&mut self.last)
    }

    /// The newest run known to have finished.
    pub fn newest_finished(&self) -> Option<&Run> {
        self.finished().next()
    }

    /// When the last run of these ended, by the node's clock.
    pub fn last_end<'c>(containers: impl IntoIterator<Item = &'c Self>) -> Option<Timestamp> {
        containers.into_iter().filter_map(|container| container.newest_finished()?.finished_at).max()
    }

    /// Whether more of its runs have ended than the kubelet's report shows.
    pub fn hides_runs(&self) -> bool {
        self.ended_runs > self.shown()
    }

    /// How many finished runs the kubelet's report shows.
    fn shown(&self) -> u32 {
        u32::try_from(self.finished().count()).unwrap_or(u32::MAX)
    }

    /// Whether no run of it can follow: its end was witnessed, and its kubelet never runs it again.
    pub fn is_down_for_good(&self) -> bool {
        let State::Terminated(run) = &self.state else { return false };
        let runs_again = match self.restarts {
            Restarts::Always => true,
            Restarts::OnFailure => run.exit_code != 0,
            Restarts::Never => false,
        };
        !runs_again && run.is_witnessed()
    }

    /// Whether it has never run, by a report of its kubelet.
    pub fn never_ran(&self) -> bool {
        matches!(self.state, State::Waiting(_)) && self.ended_runs == 0
    }

    /// Takes over what is known of it from `before`, the container as last seen; none if the pod is new to the operator.
    ///
    /// A kubelet shows two runs at most. An end that lies further back was witnessed only if it was seen when it was
    /// shown, so a count that grew by more than is shown leaves a run that may live.
    pub(super) fn follow(&mut self, before: Option<&Self>, now: Now) {
        if before.is_some_and(Self::cannot_start) && self.is_end_of_nothing() {
            (self.state, self.ended_runs) = (State::Waiting(Some(STATUS_UNKNOWN.to_owned())), 0);
        }
        let marked: Vec<_> =
            before.into_iter().flat_map(Self::finished).filter(|r| r.ahead).map(|r| r.finished_at).collect();
        for run in self.finished_mut() {
            let apart = run.finished_at.map_or(0, |at| at.as_millisecond() - now.wall.as_millisecond());
            run.ahead = apart > SANE_CLOCK_MS || marked.contains(&run.finished_at);
        }
        let unwitnessed = self.finished().any(|run| !run.is_witnessed() && !run.ended_with_all());
        let unseen = before.is_some_and(|before| self.lacks_an_end_since(before));
        self.gap = before
            .and_then(|before| before.gap)
            .or(self.gap)
            .or(unwitnessed.then_some(AccountGap::UnwitnessedEnd))
            .or(unseen.then_some(AccountGap::UnseenRun));
        (self.ended_before, self.hidden_before) = match before {
            Some(before) => (before.ended_before, before.hidden_before),
            None => (self.ended_runs, self.ended_runs.saturating_sub(self.shown())),
        };
    }

    /// Whether it has never run, and its kubelet says what keeps it from that.
    fn cannot_start(&self) -> bool {
        let State::Waiting(Some(reason)) = &self.state else { return false };
        self.ended_runs == 0 && START_FAILURES.contains(&&**reason)
    }

    /// Whether it is reported as ended although no runtime ever created it: a kubelet completes the report of a pod so whose
    /// image never came.
    fn is_end_of_nothing(&self) -> bool {
        let State::Terminated(run) = &self.state else { return false };
        let is_first = self.last.is_none() && self.ended_runs == 1;
        !self.is_created && is_first && run.finished_at.is_none() && run.reason.as_deref() == Some(STATUS_UNKNOWN)
    }

    /// The container as its pod is reported without it: none of its ends proves anything.
    pub(super) fn lost(self) -> Self {
        Self { state: State::Missing, last: None, gap: self.gap.or(Some(AccountGap::UnseenRun)), ..self }
    }

    /// Whether a run ended since `before` whose end is not shown.
    fn lacks_an_end_since(&self, before: &Self) -> bool {
        let Some(ended) = self.ended_runs.checked_sub(before.ended_runs) else { return true };
        let was_running = before.state == State::Running;
        let runs_on = self.state == State::Running && self.started_at == before.started_at;
        ended > self.shown() || ended == 0 && was_running && !runs_on
    }
}

/// Runtimes that a kubelet drives, as they begin a container's identifier. Virtual-kubelet's providers have others.
const RUNTIMES: [&str; 3] = ["containerd://", "cri-o://", "docker://"];

fn names_runtime(id: &str) -> bool {
    RUNTIMES.iter().any(|runtime| id.starts_with(runtime))
}

fn run(state: &ContainerStateWire) -> Option<Run> {
    // Kubernetes writes the beginning of 1970 for a time that it does not know.
    let known = |time: &Timestamp| time.as_second() > 0;
    state.terminated.as_ref().map(|t| Run {
        finished_at: t.finished_at.as_deref().and_then(|t| t.parse().ok()).filter(known),
        exit_code: t.exit_code,
        reason: t.reason.clone(),
        ahead: false,
    })
}
