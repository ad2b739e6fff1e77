//! The engine's part in the audit of candidates' rights.

use std::sync::Arc;

use super::{Engine, Job, Work};
use crate::audit::{Answers, BrokenOff, Scope, Step, Subject};
use crate::index::Key;
use crate::time::Now;

impl Engine {
    /// Roles or bindings have changed.
    pub fn rights_changed(&mut self, scope: &Scope, now: Now) {
        // When this operator leads it audits every group anyway.
        if self.leads {
            self.audits.rights_changed(scope, now.mono);
        }
    }

    pub(super) fn observe_audit(&mut self, key: &Key, subject: Option<Subject>, now: Now) {
        let is_old = self.index.group(key).is_some_and(|group| group.status.is_some());
        self.audits.observe(key, subject, is_old, self.index.group_count(), now.mono);
    }

    pub(super) fn poll_audits(&mut self, now: Now) {
        for step in self.audits.poll(now.mono) {
            match step {
                Step::Ask(key, subject) => {
                    let Some(uid) = self.entries.get(&*key).map(|entry| entry.uid.clone()) else {
                        self.audits.forget(&key);
                        continue;
                    };
                    let group = Key::clone(&key);
                    self.work.push(Work { term: self.term, group, uid, job: Job::Audit(subject) });
                }
                Step::Found(key) => {
                    self.waiting.insert(Key::clone(&key));
                }
            }
        }
    }

    pub(super) fn audited(
        &mut self,
        key: &Key,
        subject: Arc<Subject>,
        answers: Answers,
        broke_off: Option<BrokenOff>,
        now: Now,
    ) {
        let asked = answers.count() + usize::from(broke_off.is_some());
        match &broke_off {
            Some(BrokenOff::Failed(why)) => {
                tracing::debug!(group = %key, "could not ask what the candidates may do: {why}");
            }
            Some(BrokenOff::Refused) if !self.audits.is_refused() => tracing::warn!(
                "the operator may not create subjectaccessreviews.authorization.k8s.io, so it can't tell which \
                 candidates may lead: apply config/rbac/role.yaml, or config/components/cluster-reads where it watches \
                 some namespaces"
            ),
            // Said before.
            Some(BrokenOff::Refused) | None => {}
        }
        let result = broke_off.map_or(Ok(answers), Err);
        self.audits.done(key, subject, asked, result, now.mono);
    }
}
