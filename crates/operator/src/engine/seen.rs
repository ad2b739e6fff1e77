//! What the engine lets be seen of its work: Events, and what metrics are made of.

use std::sync::Arc;
use std::time::Duration;

use leadergroup_api::{LeaderGroupStatus, Verdict};

use super::{Engine, Job, Work};
use crate::decide::{Clear, Counted, Noted, Notice};
use crate::figures::GroupFigures;
use crate::index::Key;
use crate::time::Now;

/// Something that was seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// How a group is, which has changed.
    Group(Key, Arc<GroupFigures>),
    /// The group is gone.
    Gone(Key),
    /// Its leadership changed.
    Transitions(Key, Counted),
    /// A verdict came to stand.
    Verdict(Verdict),
    /// A holder was cleared.
    Cleared(Clear),
    /// The candidates, read once more before a clear, spoke against it.
    Contradicted,
    /// A group was decided about, which took so long.
    Decided(Duration),
}

impl Engine {
    /// What was seen since the last call. A term begins without any group.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    pub(super) fn see_decision(&mut self, key: &Key, noted: Noted, took: Duration) {
        self.seen.push(Seen::Decided(took));
        self.seen.extend(noted.verdict.map(Seen::Verdict));
        self.seen.extend(noted.contradicted_by_reading.then_some(Seen::Contradicted));
        self.seen.extend(noted.transitions.into_iter().map(|counted| Seen::Transitions(key.clone(), counted)));
    }

    pub(super) fn see_group(&mut self, key: &Key, status: &LeaderGroupStatus, now: Now) {
        let stored = self.index.group(key).and_then(|group| group.status.as_deref());
        let Some(entry) = self.entries.get_mut(key) else { return };
        let figures = GroupFigures::of(status, entry.figures.as_deref(), stored, now.wall);
        if entry.figures.as_deref() != Some(&figures) {
            let figures = Arc::new(figures);
            entry.figures = Some(figures.clone());
            self.seen.push(Seen::Group(key.clone(), figures));
        }
    }

    /// Has an Event told, and logs it, unless there were too many of its kind.
    pub(super) fn tell(&mut self, key: &Key, notice: Notice, now: Now) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(notice) = entry.told.admit(notice, now.mono) else { return };
        let pod = notice.pod.as_ref().map(|(name, _)| name.as_str());
        if notice.warning {
            tracing::warn!(group = %key, pod, reason = notice.reason, "{}", notice.note);
        } else {
            tracing::info!(group = %key, pod, reason = notice.reason, "{}", notice.note);
        }
        entry.held.push(notice);
        self.publish(key);
    }

    /// Events wait for the action under way.
    pub(super) fn publish(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key).filter(|e| !e.acting) else { return };
        let term = self.term;
        let work = |notice| Work { term, group: key.clone(), uid: entry.uid.clone(), job: Job::Tell(notice) };
        self.work.extend(entry.held.drain(..).map(work));
    }
}
