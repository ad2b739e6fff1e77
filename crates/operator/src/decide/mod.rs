//! What follows from a judgement: pure functions of a snapshot, this group's memory and a moment.
//!
//! [`clear`] decides which [`action`] to take about the holder, [`terms`] follows who led when, [`takeover`] what of it came
//! before this operator led, [`status`] says it all to the user, [`conduct`] how the group conducts
//! itself, [`counted`] what of it is counted.

pub mod account;
pub mod action;
pub mod clear;
mod condition;
pub mod conduct;
pub mod counted;
pub mod memory;
pub mod status;
pub mod takeover;
pub mod terms;

use std::borrow::Cow;
use std::sync::Arc;

use kube::core::SelectorExt as _;
use leadergroup_api::{LeaderGroupStatus, Verdict};

pub use action::{Action, Clear, Ground, Notice};
pub use counted::{Counted, Noted};
pub use memory::Memory;

use crate::audit;
use crate::index::Snapshot;
use crate::judge::{Facts, Judgement, judge};
use crate::routing;
use crate::time::{Mono, Now};

/// What is to be done about a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status it should have.
    pub status: LeaderGroupStatus,
    /// What to do next, if anything.
    pub action: Option<Action>,
    /// What to do next about its traffic.
    pub routing: routing::Decided,
    /// What to tell the user.
    pub notices: Vec<Notice>,
    /// When to look again although nothing changes.
    pub wake: Option<Wake>,
    /// What of the candidates' rights is to be audited, or why nothing is.
    pub audit: Result<audit::Subject, &'static str>,
    /// Whether a mere renewal by the holder would change the decision.
    pub renewals_matter: bool,
    /// What of it is counted.
    pub noted: Noted,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At that moment.
    At(Mono),
    /// When the Lease runs out, which each renewal puts off.
    WhenLeaseExpires,
}

/// Decides about one group. What the next decision needs comes back beside the decision.
pub fn decide(snapshot: &Snapshot<'_>, mut memory: Memory, now: Now) -> (Decision, Memory) {
    let decision = decide_with(snapshot, &mut memory, now);
    (decision, memory)
}

fn decide_with(snapshot: &Snapshot<'_>, memory: &mut Memory, now: Now) -> Decision {
    let stored = memory.base(snapshot.group);
    memory.account = Some(account::follow(snapshot, memory.before_account(&stored, snapshot)));
    let base = takeover::catch_up(&stored, snapshot, memory).map_or(Cow::Borrowed(&stored), Cow::Owned);
    let judgement = judge_group(snapshot, memory, now);
    memory.note(snapshot, &judgement, &base, now);
    if !snapshot.plan.routing.as_ref().is_some_and(|routing| routing.pod_labels) {
        memory.routing.labels = None;
    }
    let plan =
        if snapshot.older.is_some() { clear::Next::default() } else { clear::next(snapshot, memory, &judgement, now) };
    let judgement = if plan.contradicted { judge_group(snapshot, memory, now) } else { judgement };

    let terms = terms::follow(&base, snapshot, memory, &judgement, now);
    let conduct = conduct::follow(&base, snapshot, memory, &judgement, &terms, now);
    memory.recheck_at = conduct.recheck_at;
    let mut status = status::compose(&base, snapshot, memory, &judgement, terms.clone(), conduct.drafts, now);
    let audit = audit::Subject::of(snapshot);
    status.conditions.push(audit::told::condition(&base, snapshot.group, &audit, memory.audit.as_deref(), now));
    let mut notices = status::notices(&stored, &status, snapshot, memory, &judgement, now);
    notices.extend(audit::told::notice(&stored, &status));
    if terms.began {
        memory.would_clear_at = None;
    }
    let noted = Noted::of(&stored, &status, plan.contradicted_by_reading);
    // Nearly always it is what the API server has: one copy is enough for all that a group is remembered by.
    let stored = snapshot.group.status.clone().filter(|stored| **stored == status);
    memory.status = Some(stored.unwrap_or_else(|| Arc::new(status.clone())));
    Decision {
        action: plan.action,
        wake: plan.wake,
        audit,
        renewals_matter: terms.successor_pending
            || !matches!(judgement.verdict(), Verdict::Alive | Verdict::Managed)
            || status::waits_for_clock(&status, snapshot)
            // One that expired leads again with its next renewal.
            || judgement.verdict() == Verdict::Managed && status.leader.is_none(),
        routing: routing::decide(snapshot, &memory.routing, &judgement, &status),
        status,
        notices,
        noted,
    }
}

/// The judgement on the group's holder by what the index knows.
pub fn judge_group(snapshot: &Snapshot<'_>, memory: &Memory, now: Now) -> Judgement {
    judge(&facts(snapshot, memory, now))
}

fn facts<'a>(snapshot: &Snapshot<'a>, memory: &Memory, now: Now) -> Facts<'a> {
    let holder = snapshot.lease.and_then(|l| l.record.holder());
    Facts {
        lease: snapshot.lease,
        identity: &snapshot.plan.identity,
        selector: &snapshot.plan.selector,
        watched: &snapshot.plan.watched,
        default_duration: snapshot.plan.duration,
        retry_period: Mono::from_secs(snapshot.plan.retry_period),
        candidates: snapshot.candidates.clone(),
        others: snapshot.others.clone(),
        gone: snapshot.gone.clone(),
        nodes: snapshot.nodes.clone(),
        nodes_hidden: snapshot.nodes_hidden,
        now: now.mono,
        contradicted: holder.is_some() && memory.contradicted.as_deref() == holder,
        gap: memory.account.as_ref().and_then(|state| state.account.reason),
    }
}

/// Whether the group's selector leaves no pod of the namespace out.
fn selects_every_pod(snapshot: &Snapshot<'_>) -> bool {
    snapshot.plan.selector.matches(&std::collections::BTreeMap::new())
}
