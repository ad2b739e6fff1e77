//! What is under way about a group's traffic: one write to its Service or `EndpointSlice`, and one label, beside whatever
//! is under way about its Lease.

use super::{Engine, Failure, Job, Stored, Work};
use crate::index::Key;
use crate::retry::{FAILURES_SHOWN, Retry};
use crate::routing::next::without_plan;
use crate::routing::{Decided, Step, Write};
use crate::time::Now;
use crate::traffic::RouteKind;

/// What was done is remembered up to so many writes.
const MOST_DONE: usize = 64;

/// The two lanes of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    route: Lane,
    label: Lane,
    /// The UID of the pod that was to get traffic by the last decision.
    target: Option<String>,
}

impl Lanes {
    pub(super) fn retries(&self) -> [&Option<Retry>; 2] {
        [&self.route.retry, &self.label.retry]
    }

    pub(super) fn route_is_busy(&self) -> bool {
        self.route.is_busy
    }
}

/// Writes one after the other.
#[derive(Clone, Debug, Default)]
struct Lane {
    is_busy: bool,
    retry: Option<Retry>,
    /// The last write was refused, the object not being as it was.
    was_refused: bool,
    /// What was done since the leader changed. To have to do it again means that somebody undoes it: the first time it
    /// is put right at once, after that ever more rarely.
    done: Vec<Write>,
}

impl Lane {
    fn starts(&mut self, now: Now) -> bool {
        let starts = !self.is_busy && Retry::is_due(self.retry.as_ref(), now);
        self.is_busy |= starts;
        starts
    }

    /// Another leader is no repetition.
    fn begin_anew(&mut self) {
        self.done.clear();
        self.retry = None;
    }

    fn note_done(&mut self, write: &Write, now: Now) {
        self.was_refused = false;
        if self.done.contains(write) {
            Retry::after_failure(&mut self.retry, now);
        } else {
            self.done.truncate(MOST_DONE - 1);
            self.done.push(write.clone());
            self.retry = None;
        }
    }
}

impl Engine {
    /// Has done what was decided about the group's traffic, unless as much is under way or put off.
    pub(super) fn route(&mut self, key: &Key, decided: Decided, now: Now) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.lanes.is_none() && decided == Decided::default() {
            return;
        }
        let lanes = entry.lanes.get_or_insert_default();
        if lanes.target != decided.target {
            lanes.route.begin_anew();
            lanes.label.begin_anew();
            lanes.target = decided.target;
        }
        let route = decided.route.filter(|_| lanes.route.starts(now));
        let label = decided.label.filter(|_| lanes.label.starts(now));
        let (term, uid) = (self.term, &entry.uid);
        let work = |step| Work { term, group: key.clone(), uid: uid.clone(), job: Job::Route(step) };
        self.work.extend(route.into_iter().chain(label).map(work));
    }

    /// Nobody is known to lead a group that can't be read, or whose spec can't be used: it sends to nobody.
    pub(super) fn stop_traffic(&mut self, key: &Key, now: Now) {
        let Some(entry) = self.entries.get(key) else { return };
        let route = without_plan(&self.index.owned_routes(&entry.uid));
        self.route(key, Decided { route, ..Decided::default() }, now);
    }

    /// Takes in what became of a write.
    pub(super) fn routed(&mut self, key: &Key, step: &Step, result: Result<(bool, Stored), Failure>, now: Now) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_label = matches!(step.write, Write::Label { .. });
        let lanes = entry.lanes.get_or_insert_default();
        let lane = if is_label { &mut lanes.label } else { &mut lanes.route };
        let trouble = &mut entry.memory.routing;
        lane.is_busy = false;
        let failure = match result {
            // Said once, by the loss itself.
            Err(Failure::NotLeading) => return,
            Ok((true, stored)) => {
                lane.note_done(&step.write, now);
                if let (Write::Label { pod, role }, Some(on)) = (&step.write, &step.on) {
                    trouble.labels = None;
                    self.index.note_role(&Key::new(&key.namespace, pod), &on.uid, role);
                } else {
                    (trouble.taken, trouble.error) = (None, None);
                }
                self.note_stored(stored, now);
                return;
            }
            Ok((false, stored)) => {
                let uid = entry.uid.clone();
                if let Some(kind) = anothers(&stored, &uid) {
                    // Where it carries no label of ours, no watch tells when it goes: it is looked at ever more rarely.
                    trouble.taken = Some(kind);
                    Retry::after_failure(&mut lane.retry, now);
                    self.note_stored(stored.without_object(), now);
                    return;
                }
                trouble.taken = None;
                let again = std::mem::replace(&mut lane.was_refused, true);
                self.note_stored(stored, now);
                if !again {
                    return;
                }
                Failure::Conflict
            }
            Err(failure) => failure,
        };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let lanes = entry.lanes.get_or_insert_default();
        let lane = if is_label { &mut lanes.label } else { &mut lanes.route };
        let failures = Retry::after_failure(&mut lane.retry, now);
        let (why, is_denied) = match failure {
            Failure::Denied(message) => (message, true),
            Failure::Unknown(message) => (message, false),
            // A lost race is normal: the watch brings what it was lost to.
            Failure::Conflict | Failure::NotLeading => ("it changed meanwhile".to_owned(), false),
        };
        let message = told(&step.write, &why, is_denied);
        tracing::warn!(group = %key, failures, "{message}");
        if is_denied || failures >= FAILURES_SHOWN {
            let trouble = &mut entry.memory.routing;
            *(if is_label { &mut trouble.labels } else { &mut trouble.error }) = Some(message);
        }
    }

    fn note_stored(&mut self, stored: Stored, now: Now) {
        match stored {
            Stored::Service(key, service) => self.index.note_service(&key, service, now),
            Stored::Slice(key, slice) => self.index.note_slice(&key, slice, now),
            Stored::Pod => {}
        }
    }
}

/// The kind of an object that is there and not the group's.
fn anothers(stored: &Stored, uid: &str) -> Option<RouteKind> {
    let (kind, metadata) = match stored {
        Stored::Service(_, service) => (RouteKind::Service, &service.as_ref()?.metadata),
        Stored::Slice(_, slice) => (RouteKind::Slice, &slice.as_ref()?.metadata),
        Stored::Pod => return None,
    };
    let owners = metadata.owner_references.iter().flatten();
    let is_ours = owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == uid);
    (!is_ours).then_some(kind)
}

fn told(write: &Write, why: &str, is_denied: bool) -> String {
    let why = &match write {
        Write::Label { .. } => why.to_owned(),
        _ if is_denied && why.contains("forbidden") => format!(
            "{why}; spec.routing needs the right to write Services and EndpointSlices: apply config/components/routing, or set \
             the chart's rbac.routing to true"
        ),
        _ => why.to_owned(),
    };
    match write {
        Write::Service { name, .. } => format!("could not write Service {name}: {why}"),
        Write::Slice { name, .. } | Write::Empty { name } => format!("could not write EndpointSlice {name}: {why}"),
        Write::Delete { kind, name } => format!("could not delete {kind} {name}: {why}"),
        Write::Label { pod, .. } if is_denied => format!(
            "could not label pod {pod}: {why}; spec.routing.podLabels needs the right to patch pods: apply \
             config/components/pod-labels, or set podLabels to false"
        ),
        Write::Label { pod, .. } => format!("could not label pod {pod}: {why}"),
    }
}
