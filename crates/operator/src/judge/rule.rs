//! The rules of the evidence table, each with the facts that made it match.

use std::fmt;

use jiff::Timestamp;
use leadergroup_api::{RuleName, Verdict};

use crate::model::{Container, Pod};

/// When the holder may be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clearable {
    /// It may be alive, or it is not ours to clear.
    Never,
    /// Once its Lease has expired and nobody has taken it, or when the user accepts the risk.
    WhenExpired,
    /// It can't have led since the judged version of the Lease.
    AtOnce,
}

/// A pod as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// It was deleted.
    pub deleted: bool,
}

impl PodRef {
    /// An existing or a deleted pod.
    pub fn new(pod: &Pod, deleted: bool) -> Self {
        Self { name: pod.name.clone(), uid: pod.uid.clone(), deleted }
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deleted = if self.deleted { ", deleted" } else { "" };
        write!(f, "{}{deleted} (uid {})", self.name, self.uid)
    }
}

/// The end of a container's run, as its kubelet reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// The container's name.
    pub container: String,
    /// The kubelet's reason.
    pub reason: Option<String>,
    /// When it ended, by the node's clock.
    pub at: Option<Timestamp>,
    /// The exit code.
    pub exit_code: i64,
}

impl RunEnd {
    /// The newest end of the container that was reported.
    pub fn newest(container: &Container) -> Option<Self> {
        let run = container.newest_finished()?;
        let (reason, at, exit_code) = (run.reason.clone(), run.finished_at, run.exit_code);
        Some(Self { container: container.name.clone(), reason, at, exit_code })
    }
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {} ended", self.container)?;
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        write!(f, ", exit code {}", self.exit_code)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// A rule of the evidence table that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields say what they are, and RuleName documents the rules")]
pub enum Rule {
    LeaseAbsent,
    NotHeld,
    CoordinatedElection {
        strategy: String,
    },
    RenewedAfterProof,
    PodOutsideSelector {
        holder: String,
        pod: String,
    },
    IdentityNotOfTemplate {
        holder: String,
    },
    IdentityFitsNoPod {
        holder: String,
    },
    /// `clearable` says what is known of a candidate among them.
    IdentityFitsSeveralPods {
        pods: Vec<PodRef>,
        clearable: Clearable,
    },
    KubeletReportedEnd {
        pod: PodRef,
        ends: Vec<RunEnd>,
    },
    NoRunSinceRenewal {
        pod: PodRef,
        ends: Vec<RunEnd>,
        renewed: Timestamp,
    },
    AllContainersRestarted {
        pod: PodRef,
        renewed: Timestamp,
    },
    NodeOutOfService {
        node: String,
    },
    Running {
        pod: String,
    },
    Starting {
        pod: String,
    },
    DeletedWithoutReport {
        pod: PodRef,
    },
    EndNotByKubelet {
        pod: PodRef,
    },
    NodeNotReady {
        node: String,
        pod: String,
    },
    StoppedRenewing {
        pod: String,
    },
    RunNotSeen {
        pod: String,
    },
}

impl Rule {
    /// Its name, as the status shows it.
    pub fn name(&self) -> RuleName {
        match self {
            Self::LeaseAbsent => RuleName::LeaseAbsent,
            Self::NotHeld => RuleName::NotHeld,
            Self::CoordinatedElection { .. } => RuleName::CoordinatedElection,
            Self::RenewedAfterProof => RuleName::RenewedAfterProof,
            Self::PodOutsideSelector { .. } => RuleName::PodOutsideSelector,
            Self::IdentityNotOfTemplate { .. } => RuleName::IdentityNotOfTemplate,
            Self::IdentityFitsNoPod { .. } => RuleName::IdentityFitsNoPod,
            Self::IdentityFitsSeveralPods { .. } => RuleName::IdentityFitsSeveralPods,
            Self::KubeletReportedEnd { .. } => RuleName::KubeletReportedEnd,
            Self::NoRunSinceRenewal { .. } => RuleName::NoRunSinceRenewal,
            Self::AllContainersRestarted { .. } => RuleName::AllContainersRestarted,
            Self::NodeOutOfService { .. } => RuleName::NodeOutOfService,
            Self::Running { .. } => RuleName::Running,
            Self::Starting { .. } => RuleName::Starting,
            Self::DeletedWithoutReport { .. } => RuleName::DeletedWithoutReport,
            Self::EndNotByKubelet { .. } => RuleName::EndNotByKubelet,
            Self::NodeNotReady { .. } => RuleName::NodeNotReady,
            Self::StoppedRenewing { .. } => RuleName::StoppedRenewing,
            Self::RunNotSeen { .. } => RuleName::RunNotSeen,
        }
    }

    /// The verdict that it gives.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::LeaseAbsent | Self::NotHeld => Verdict::Free,
            Self::CoordinatedElection { .. } => Verdict::Managed,
            Self::RenewedAfterProof => Verdict::Contradiction,
            Self::PodOutsideSelector { .. } | Self::IdentityNotOfTemplate { .. } => Verdict::Foreign,
            Self::IdentityFitsNoPod { .. } => Verdict::Unresolved,
            Self::IdentityFitsSeveralPods { .. } => Verdict::Ambiguous,
            Self::KubeletReportedEnd { .. }
            | Self::NoRunSinceRenewal { .. }
            | Self::AllContainersRestarted { .. }
            | Self::NodeOutOfService { .. } => Verdict::Terminated,
            Self::Running { .. } | Self::Starting { .. } => Verdict::Alive,
            Self::DeletedWithoutReport { .. } | Self::EndNotByKubelet { .. } => Verdict::Vanished,
            Self::NodeNotReady { .. } => Verdict::Unreachable,
            Self::StoppedRenewing { .. } => Verdict::LeaseExpired,
            Self::RunNotSeen { .. } => Verdict::Unproven,
        }
    }

    /// When it lets the holder be cleared, if the account is complete.
    pub fn clearable(&self) -> Clearable {
        match self {
            Self::IdentityFitsSeveralPods { clearable, .. } => *clearable,
            _ => match self.verdict() {
                Verdict::Terminated => Clearable::AtOnce,
                Verdict::Unresolved | Verdict::Vanished | Verdict::Unreachable | Verdict::Unproven => {
                    Clearable::WhenExpired
                }
                _ => Clearable::Never,
            },
        }
    }
}

/// The evidence. It does not change while nothing else does.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |ends: &[RunEnd]| ends.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match self {
            Self::LeaseAbsent => f.write_str("the Lease does not exist"),
            Self::NotHeld => f.write_str("no candidate holds the Lease"),
            Self::CoordinatedElection { strategy } => {
                write!(f, "coordinated leader election ({strategy}) decides who leads")
            }
            Self::RenewedAfterProof => f.write_str(
                "the Lease was renewed after its holder was proven dead: another process uses the same identity",
            ),
            Self::PodOutsideSelector { holder, pod } => {
                write!(f, "holder {holder:?} is pod {pod}, which the group's selector does not match")
            }
            Self::IdentityNotOfTemplate { holder } => {
                write!(f, "holder {holder:?} is not of the form that spec.identity gives")
            }
            Self::IdentityFitsNoPod { holder } => {
                write!(
                    f,
                    "holder {holder:?} fits no pod: its pod is gone, or spec.identity does not say how it names its pod"
                )
            }
            Self::IdentityFitsSeveralPods { pods, .. } => {
                let names: Vec<_> = pods.iter().map(ToString::to_string).collect();
                write!(f, "the identity fits {} pods that may be alive: {}", names.len(), names.join(", "))
            }
            Self::KubeletReportedEnd { pod, ends } => {
                write!(f, "the kubelet reported that pod {pod} terminated: {}", joined(ends))
            }
            Self::NoRunSinceRenewal { pod, ends, renewed } => {
                write!(f, "no run of pod {pod} has renewed since: {}; last renewal at {renewed}", joined(ends))
            }
            Self::AllContainersRestarted { pod, renewed } => {
                write!(f, "the kubelet restarted all containers of pod {pod} after the last renewal at {renewed}")
            }
            Self::NodeOutOfService { node } => write!(
                f,
                "node {node} is not ready and carries the taint node.kubernetes.io/out-of-service, and the Lease was not \
                 renewed since"
            ),
            Self::Running { pod } => write!(f, "pod {pod} runs and its Lease is current"),
            Self::Starting { pod } => write!(f, "pod {pod} is starting and its Lease is current"),
            Self::DeletedWithoutReport { pod } => {
                write!(f, "pod {pod}: its kubelet never reported its containers as terminated")
            }
            Self::EndNotByKubelet { pod } => {
                write!(f, "pod {pod} is in a terminal phase that its kubelet is not known to have set")
            }
            Self::NodeNotReady { node, pod } => write!(f, "node {node} of pod {pod} is not ready"),
            Self::StoppedRenewing { pod } => {
                write!(f, "pod {pod} runs but stopped renewing; any candidate may take the Lease")
            }
            Self::RunNotSeen { pod } => write!(
                f,
                "no watched container of pod {pod} runs, but a later run than the last one reported may have renewed"
            ),
        }
    }
}
