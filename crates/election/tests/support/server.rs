//! The API server: one Lease, all its versions, and writes that name one.

use leadergroup_election::{Answer, Change, Observation, Record, Seen, Timing, Version, What};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub version: u64,
    /// The newest is the last.
    pub history: Vec<Observation>,
    /// In the history of a finite world, when the record moved last.
    pub moved_at: u32,
}

impl Server {
    pub fn new() -> Self {
        Self { version: 1, history: vec![Observation::Absent(Some(Version(1)))], moved_at: 0 }
    }

    pub fn lease(&self) -> Option<&Seen> {
        match self.history.last() {
            Some(Observation::Present(seen)) => Some(seen),
            _ => None,
        }
    }

    pub fn present(&self) -> Observation {
        self.history.last().cloned().unwrap_or(Observation::Absent(None))
    }

    /// What a request asks for, done at this moment.
    pub fn serve(&mut self, what: &What, looks_at_version: bool, now: u32) -> Answer {
        match (what, self.lease().cloned()) {
            (What::Read, None) => Answer::Done(Observation::Absent(None)),
            (What::Read, Some(seen)) => Answer::Done(Observation::Present(seen)),
            (What::Create(change), None) => Answer::Done(self.change(None, change, now)),
            (What::Replace(version, change), Some(seen)) if seen.version == *version || !looks_at_version => {
                Answer::Done(self.change(Some(&seen), change, now))
            }
            (What::Create(_), Some(_)) | (What::Replace(..), _) => Answer::Conflict,
        }
    }

    fn change(&mut self, old: Option<&Seen>, change: &Change, now: u32) -> Observation {
        // No two writes bear the same stamp.
        let stamp = i64::try_from(self.version + 1).ok();
        let record = Record {
            holder: Some(change.holder.clone()).filter(|holder| !holder.is_empty()),
            duration_seconds: Some(change.duration_seconds),
            acquired: if change.acquires { stamp } else { old.and_then(|seen| seen.record.acquired) },
            renewed: stamp,
            transitions: Some(change.transitions),
        };
        self.moved_at = now;
        self.put(record, old.and_then(|seen| seen.timing), old.and_then(|seen| seen.preferred.clone()))
    }

    pub fn put(&mut self, record: Record, timing: Option<Timing>, preferred: Option<String>) -> Observation {
        self.version += 1;
        self.history.push(Observation::Present(Seen { version: Version(self.version), record, timing, preferred }));
        self.present()
    }

    pub fn delete(&mut self) {
        self.version += 1;
        self.history.push(Observation::Absent(Some(Version(self.version))));
    }

    /// As the operator does: nobody holds it, for a second, and the times stay.
    pub fn clear(&mut self, now: u32) {
        if let Some(seen) = self.lease().cloned() {
            self.moved_at = now;
            let record = Record { holder: None, duration_seconds: Some(1), ..seen.record };
            self.put(record, seen.timing, seen.preferred);
        }
    }
}
