//! What the operator remembers of a group between decisions, and what of it a restart recovers from the status.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use leadergroup_api::{LeaderGroupStatus, TransitionReason, Verdict};

use super::account::{AccountState, Before};
use super::action::{Clear, Ground};
use super::condition::HOLDER_SUSPECT;
use super::conduct::Conduct;
use super::takeover::as_known;
use crate::audit::Finding;
use crate::index::{Group, Snapshot};
use crate::judge::Judgement;
use crate::model::{AskedTiming, Node, Pod};
use crate::routing::Trouble;
use crate::time::{Mono, Now};

/// What the operator remembers of a group between decisions.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The status last decided; none before the first decision.
    pub status: Option<Arc<LeaderGroupStatus>>,
    /// How this operator's decisions began.
    pub beginning: Beginning,
    /// The verdict on the present holder, and since when it stands.
    pub verdict: Option<Standing>,
    /// How the last term ended, once it has.
    pub end: Option<End>,
    /// The holder is proven to have ended.
    pub proof: Option<Proof>,
    /// The holder whose Lease moved although it was proven to have ended.
    pub contradicted: Option<String>,
    /// The processes that may have written the Lease.
    pub account: Option<AccountState>,
    /// The pods as last read from the API server.
    pub read_pods: Option<ReadPods>,
    /// A pod under the holder's identity, other than the one that held it.
    pub successor: Option<Successor>,
    /// When the holder would have been cleared, were that not left to the candidates; none where standbys would not have
    /// led sooner for it.
    pub would_clear_at: Option<Mono>,
    /// What is remembered of how the group conducts itself.
    pub conduct: Conduct,
    /// The timing that was last written to the Lease, for the candidates to read.
    pub asked: Option<Asked>,
    /// When a condition changes although nothing happens.
    pub recheck_at: Option<Mono>,
    /// What the last audit of the candidates' rights found.
    pub audit: Option<Arc<Finding>>,
    /// Why the last write failed, until one succeeds.
    pub error: Option<String>,
    /// What stands in the way of its traffic.
    pub routing: Trouble,
}

/// A pod that came after the one that held the Lease, under the same identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its UID.
    pub uid: String,
    /// Its kubelet has reported that it runs; else it may have begun to.
    pub runs: bool,
    /// Since when that is so.
    pub since: Mono,
}

/// A timing that was written to the Lease, and may have been taken away again: a library may write its Lease without what
/// others annotated, at each renewal.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    timing: AskedTiming,
    times: u32,
    at: Mono,
}

impl Asked {
    /// So often it is written at once, which a lost race takes too.
    const AT_ONCE: u32 = 3;
    /// Then it is written again with the first decision after so long.
    const PAUSE: Mono = Mono::from_mins(10);

    fn may_be_repeated(self, now: Now) -> bool {
        self.times < Self::AT_ONCE || now.mono >= self.at + Self::PAUSE
    }
}

/// How an operator's decisions about a group began, while others may have led before it.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The status that the first decision built on.
    built_on: Option<Arc<LeaderGroupStatus>>,
    /// The status sent last, while it is not known whether the API server has taken one.
    sent: Option<Box<LeaderGroupStatus>>,
    /// The API server has taken a status from this operator, so it takes none from those that led before.
    is_accepted: bool,
    /// What came after the status that the first decision builds on was seen, by an operator that stood by.
    pub(super) caught_up: bool,
}

/// A verdict on a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The holder's identity.
    pub holder: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Since when it stands.
    pub since: Mono,
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When the operator saw it.
    pub at: Mono,
    /// What the next transition's reason will be, unless the Lease tells more.
    pub reason: TransitionReason,
}

/// Proof that the pod a holder resolves to has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The holder's identity.
    pub holder: String,
    /// The last move of the Lease that is known to be no later than the proof: a read or a write made after it found
    /// the record as it was then. None until there was such a read or write.
    pub settled: Option<Mono>,
}

/// The pods as read from the API server.
#[derive(Clone, Debug)]
pub struct ReadPods {
    /// When they were asked for.
    pub requested_at: Mono,
    /// The only pod that was asked for; all of the namespace if none.
    pub name: Option<String>,
    /// What came back.
    pub pods: Vec<Pod>,
    /// The nodes that were asked for; none of one that does not exist.
    pub nodes: Vec<(String, Option<Node>)>,
    /// It was found to speak against a clear.
    pub contradicted: bool,
}

impl Memory {
    /// The status to build on: the one last decided, unless the API server's has counted further, or is one that an
    /// operator that led before was still writing.
    pub(super) fn base(&mut self, group: &Group) -> LeaderGroupStatus {
        let stored = group.status.as_deref();
        if stored.is_some() && stored == self.beginning.sent.as_deref() {
            self.note_status_taken();
        }
        if let Some(mine) = &self.status {
            let is_anothers =
                !self.beginning.is_accepted && stored != self.beginning.built_on.as_deref() && stored != Some(&**mine);
            if !is_anothers && stored.is_none_or(|s| s.transitions <= mine.transitions) {
                return LeaderGroupStatus::clone(mine);
            }
            if is_anothers {
                (self.status, self.account) = (None, None);
            }
        }
        if self.is_first() {
            (self.beginning.built_on, self.beginning.caught_up) = (group.status.clone(), false);
        }
        let base = stored.cloned().unwrap_or_default();
        let contradicted = |c: &Condition| c.type_ == HOLDER_SUSPECT && c.reason == Verdict::Contradiction.as_str();
        if let Some(holder) = base.holder.as_ref().filter(|_| base.conditions.iter().any(contradicted)) {
            self.contradicted = Some(holder.identity.clone());
        }
        base
    }

    /// What was known of the account before this decision.
    pub fn before_account<'a>(&'a self, stored: &'a LeaderGroupStatus, snapshot: &'a Snapshot<'_>) -> Before<'a> {
        let state = self.account.as_ref();
        if let Some(former) = snapshot.former.as_ref().filter(|_| stored.account.is_none()) {
            let (account, holder) = (Some(&former.account), former.holder.as_deref());
            return Before {
                state,
                stored: account,
                stored_holder: holder,
                stored_lease: Some(&snapshot.plan.lease_name),
            };
        }
        Before {
            state,
            stored: stored.account.as_ref(),
            stored_holder: stored.holder.as_ref().map(|holder| holder.identity.as_str()),
            stored_lease: stored.lease_name.as_deref(),
        }
    }

    /// A status is on its way to the API server.
    pub fn note_status_sent(&mut self, status: &LeaderGroupStatus) {
        if !self.beginning.is_accepted {
            self.beginning.sent = Some(Box::new(status.clone()));
        }
    }

    /// The API server has taken a status from this operator.
    pub fn note_status_taken(&mut self) {
        self.beginning = Beginning { is_accepted: true, ..Beginning::default() };
    }

    /// Whether no decision was made before.
    pub(super) fn is_first(&self) -> bool {
        self.status.is_none()
    }

    /// Whether what happened until now is not known: this operator has neither decided before nor stood by.
    pub(super) fn is_blind(&self) -> bool {
        self.is_first() && !self.beginning.caught_up
    }

    /// Takes in a new judgement.
    pub(super) fn note(&mut self, snapshot: &Snapshot<'_>, judgement: &Judgement, base: &LeaderGroupStatus, now: Now) {
        let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
        let verdict = judgement.verdict();
        if !self.verdict.as_ref().is_some_and(|s| s.holder == holder && s.verdict == verdict) {
            self.verdict = Some(Standing { holder: holder.to_owned(), verdict, since: now.mono });
        }
        if !holder.is_empty() {
            if self.proof.as_ref().is_some_and(|p| p.holder != holder) {
                self.proof = None;
            }
            if self.contradicted.as_deref().is_some_and(|c| c != holder) {
                self.contradicted = None;
            }
        }
        if verdict == Verdict::Terminated {
            if !judgement.restarting && self.proof.is_none() {
                self.proof = Some(Proof { holder: holder.to_owned(), settled: None });
            }
            self.end.get_or_insert(End { at: now.mono, reason: TransitionReason::Taken });
        } else if verdict == Verdict::Alive {
            self.proof = None;
            // It renewed after all. How another's term ended is still to be told.
            if base.holder.as_ref().is_some_and(|h| h.identity == holder) {
                self.end = None;
                self.would_clear_at = None;
            }
        } else if holder.is_empty() && base.holder.as_ref().is_some_and(|h| !h.identity.is_empty()) {
            self.note_freed(snapshot, base, now);
        }
    }

    /// The Lease has no holder any more.
    fn note_freed(&mut self, snapshot: &Snapshot<'_>, base: &LeaderGroupStatus, now: Now) {
        let reason = match snapshot.lease {
            _ if self.is_blind() => TransitionReason::Unobserved,
            None => TransitionReason::LeaseDeleted,
            // An operator that led before may have cleared it, and this one too, if it has yet to hear of it.
            Some(lease) => {
                lease.freed_by_another().map_or(TransitionReason::Released, |reason| as_known(reason, base, snapshot))
            }
        };
        let end = self.end.get_or_insert(End { at: now.mono, reason });
        // What the operator did itself, it knows.
        let own = [TransitionReason::Cleared, TransitionReason::ClearedUnconfirmed, TransitionReason::Expired];
        if !own.contains(&end.reason) {
            end.reason = reason;
        }
    }

    /// The operator tried to clear the Lease. Whether it `landed` or not, whatever moves the Lease makes from the judged
    /// version come after the proof.
    pub fn note_cleared(&mut self, clear: &Clear, landed: bool, now: Now) {
        if let Some(proof) = &mut self.proof {
            proof.settled = Some(clear.moved_at);
        }
        if !landed {
            return;
        }
        self.end = Some(match clear.ground {
            Ground::Proof => End { at: self.end.map_or(now.mono, |e| e.at), reason: TransitionReason::Cleared },
            Ground::Expired => End { at: clear.moved_at, reason: TransitionReason::Expired },
            Ground::RiskAccepted => End { at: clear.moved_at, reason: TransitionReason::ClearedUnconfirmed },
        });
        self.error = None;
    }

    /// Whether this timing may be written to the Lease now, which does not have it.
    pub fn may_ask(&self, timing: AskedTiming, now: Now) -> bool {
        self.asked.is_none_or(|asked| asked.timing != timing || asked.may_be_repeated(now))
    }

    /// This timing is being written to the Lease.
    pub fn note_asked(&mut self, timing: AskedTiming, now: Now) {
        let before = self.asked.filter(|asked| asked.timing == timing).map_or(0, |asked| asked.times);
        self.asked = Some(Asked { timing, times: before + 1, at: now.mono });
    }

    /// The Lease was read after the proof, and had last moved at `moved_at`.
    pub fn note_lease_read(&mut self, moved_at: Mono) {
        if let Some(proof) = &mut self.proof {
            proof.settled.get_or_insert(moved_at);
        }
    }
}
