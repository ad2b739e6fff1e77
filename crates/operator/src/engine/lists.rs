//! Which watches have listed what there is: nothing is decided before all have.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::runtime::watcher::Event;

use crate::index::Change;

/// How many kinds of objects are watched.
const KINDS: usize = 6;
/// Which of them is in no namespace.
const NODES: usize = 3;

/// The lists of all watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    /// The namespaces that are watched, each by watches of its own; all of them by one if there are none here.
    namespaces: Vec<Arc<str>>,
    /// Those that ended: of which kind, and of which namespace.
    ended: BTreeSet<(usize, Option<Arc<str>>)>,
}

impl Lists {
    pub(super) fn of(namespaces: Vec<Arc<str>>) -> Self {
        Self { namespaces, ..Self::default() }
    }

    /// Looks whether a list ends with this.
    pub(super) fn note(&mut self, change: &Change) {
        let ended = match change {
            Change::Within(namespace, change) => ends(change).map(|kind| (kind, Some(namespace.clone()))),
            change => ends(change).map(|kind| (kind, None)),
        };
        self.ended.extend(ended);
    }

    pub(super) fn are_complete(&self) -> bool {
        (0..KINDS).all(|kind| {
            if self.namespaces.is_empty() || kind == NODES {
                self.ended.contains(&(kind, None))
            } else {
                self.namespaces.iter().all(|namespace| self.ended.contains(&(kind, Some(namespace.clone()))))
            }
        })
    }
}

/// The kind whose list ends with this. What may not be listed is not waited for.
fn ends(change: &Change) -> Option<usize> {
    let (kind, ends) = match change {
        Change::Group(event) => (0, matches!(event, Event::InitDone)),
        Change::Lease(event) => (1, matches!(event, Event::InitDone)),
        Change::Pod(event) => (2, matches!(event, Event::InitDone)),
        Change::Node(event) => (NODES, matches!(event, Event::InitDone)),
        Change::NodesHidden => (NODES, true),
        Change::Service(event) => (4, matches!(event, Event::InitDone)),
        Change::Slice(event) => (5, matches!(event, Event::InitDone)),
        Change::Within(..) => return None,
    };
    ends.then_some(kind)
}
