//! Judgements without one of their rules, by showing the engine something else than the truth.

use kube::runtime::watcher::Event;
use leadergroup_operator::engine::{Found, Outcome};
use serde_json::{Value, json};

use crate::support;
use crate::support::api::Kind;

/// A way in which what the engine is shown, or how it is answered, differs from what the API server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Deleted pods are shown as ended by their kubelet.
    DeletionIsAnEnd,
    /// Runs are shown to have ended, and the next to have begun, two seconds later than they did.
    EndsLater,
    /// The API server takes any version for the present one.
    AnyVersion,
}

impl Mutation {
    /// The event as the operator gets to see it.
    pub fn shown(self, kind: Kind, event: Event<Value>) -> Event<Value> {
        match (self, event) {
            (Self::DeletionIsAnEnd, Event::Delete(pod)) if kind == Kind::Pod => Event::Delete(end(pod)),
            (Self::EndsLater, Event::Apply(pod)) if kind == Kind::Pod => Event::Apply(end_later(pod)),
            (_, event) => event,
        }
    }

    /// The answer as the operator gets to see it.
    pub fn answered(self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Pods { requested_at, name, result: Ok(Found { mut pods, nodes }) } if self == Self::EndsLater => {
                let statuses = pods.iter_mut().flat_map(|pod| &mut pod.status.container_statuses);
                let states = statuses.flat_map(|s| [&mut s.state, &mut s.last_state]);
                for state in states {
                    let end = state.terminated.as_mut().and_then(|run| run.finished_at.as_mut());
                    let start = state.running.as_mut().and_then(|run| run.started_at.as_mut());
                    for time in end.into_iter().chain(start) {
                        *time = later(time);
                    }
                }
                Outcome::Pods { requested_at, name, result: Ok(Found { pods, nodes }) }
            }
            outcome => outcome,
        }
    }
}

fn statuses(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten()
}

fn end(mut pod: Value) -> Value {
    pod["status"]["phase"] = json!("Failed");
    let ended = support::ended(1_000_000);
    statuses(&mut pod).for_each(|s| s["state"] = ended["state"].clone());
    pod
}

fn end_later(mut pod: Value) -> Value {
    for status in statuses(&mut pod) {
        for state in ["state", "lastState"] {
            for (kind, name) in [("terminated", "finishedAt"), ("running", "startedAt")] {
                if let Some(at) = status[state][kind][name].as_str().map(later) {
                    status[state][kind][name] = json!(at);
                }
            }
        }
    }
    pod
}

fn later(time: &str) -> String {
    let time: jiff::Timestamp = time.parse().expect("a time");
    (time + jiff::SignedDuration::from_secs(2)).to_string()
}
