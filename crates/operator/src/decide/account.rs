//! The account of the processes that may have written a Lease in its present term.
//!
//! A clear at once rests on the end of each of them, so what the operator has lost sight of counts against it: a pod that
//! went without a report, an end that its runtime may have made up, a stretch in which nobody watched. The account is kept
//! in the status, and the next operator carries it on.
//!
//! Names decide what can be lost. The API server never gives a generated name to a second pod, so such a pod shows all
//! there is to know of it, but for runs that lie further back than its kubelet reports. A name that can be used again, such
//! as a `StatefulSet`'s, is accounted for only while the operator knows each pod that had it: a pod that came and went
//! unseen may have left a process behind.

use std::collections::{BTreeMap, BTreeSet};

use leadergroup_api::{Account, AccountGap, AccountedPod, LostPod};
use leadergroup_identity::PodNames;

use crate::index::Snapshot;
use crate::model::{Gone, Pod};

/// How many lost pods a status lists.
const MAX_LOST: usize = 32;
/// How many accounted pods a status lists.
const MAX_ACCOUNTED: usize = 128;

/// The account, and what it rests on that only this operator knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// As the status shows it.
    pub account: Account,
    holder: String,
    lease_name: String,
    lease_uid: String,
    /// What was lost in this term for every identity.
    gap: Option<AccountGap>,
    /// Which unbroken stretch of the pods' watch it was last brought up to.
    epoch: u64,
    /// How many pods that may live the index had forgotten then.
    forgotten: u64,
    /// The last pod of a name that no pod has now, and in which stretch its end was seen.
    ended: BTreeMap<String, (String, u64)>,
}

/// What was known before, as a decision finds it.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// What this operator knew at its last decision.
    pub state: Option<&'a AccountState>,
    /// What the status says, by this operator or another.
    pub stored: Option<&'a Account>,
    /// The holder that the status names.
    pub stored_holder: Option<&'a str>,
}

/// The account as this decision leaves it.
pub fn follow(snapshot: &Snapshot<'_>, before: Before<'_>) -> AccountState {
    let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
    let mut ledger = Ledger::new(snapshot, before);
    if before.state.is_none() {
        ledger.note_gone_before(snapshot);
    }
    for name in ledger.names() {
        ledger.follow_name(snapshot, &name);
    }
    for pod in tracked(snapshot) {
        ledger.note_runs(snapshot, pod);
    }
    for gone in &snapshot.gone {
        ledger.note_gone(snapshot, gone);
    }
    ledger.prune(snapshot, holder);

    let forgotten = snapshot.pods.forgotten();
    let has_forgotten = forgotten > before.state.map_or(0, |state| state.forgotten);
    let was_full = before.state.map(|state| &state.account).or(before.stored).is_some_and(|account| account.overflow);
    let overflow = ledger.is_full() || has_forgotten || was_full;
    let gap = gap(snapshot, before, holder);
    let lost = ledger.lost.iter().find(|lost| is_obstacle(snapshot, holder, lost)).map(|lost| lost.reason);
    let reason = gap.or(lost).or(overflow.then_some(AccountGap::TooManyLost)).filter(|_| !holder.is_empty());
    ledger.lost.truncate(MAX_LOST);
    let account = Account {
        complete: reason.is_none(),
        reason,
        pods: ledger.pods.into_values().take(MAX_ACCOUNTED).collect(),
        lost: ledger.lost,
        overflow,
    };
    AccountState {
        account,
        holder: holder.to_owned(),
        lease_name: snapshot.plan.lease_name.clone(),
        lease_uid: snapshot.lease.map(|lease| lease.uid.clone()).unwrap_or_default(),
        gap,
        epoch: snapshot.pods.epoch(),
        forgotten,
        ended: ledger.ended,
    }
}

/// The pods whose history matters: candidates, and others that may be the holder.
fn tracked<'a>(snapshot: &'a Snapshot<'_>) -> impl Iterator<Item = &'a Pod> {
    snapshot.candidates.iter().chain(&snapshot.others).copied()
}

/// What was lost in this term, whichever pod wrote the Lease.
fn gap(snapshot: &Snapshot<'_>, before: Before<'_>, holder: &str) -> Option<AccountGap> {
    let lease = snapshot.lease.filter(|_| !holder.is_empty())?;
    if lease.is_restored {
        return Some(AccountGap::LeaseRestored);
    }
    let is_unique = is_unique(snapshot, holder);
    let name = snapshot.plan.identity.only_name(holder);
    let account = before.state.map(|state| &state.account).or(before.stored);
    let by_name = name.is_some_and(|name| account.is_some_and(|known| known.pods.iter().any(|pod| pod.name == name)));
    // Where names tell what may have come and gone, the ledger has it.
    let unseen = |gap: AccountGap, matters: bool| (matters && !is_unique).then_some(gap);
    match before.state {
        Some(state) if state.holder == holder && state.lease_uid == lease.uid => {
            let had_gap = state.epoch != snapshot.pods.epoch();
            state.gap.or_else(|| unseen(AccountGap::WatchGap, had_gap && !by_name))
        }
        Some(state) if state.lease_name != snapshot.plan.lease_name => unseen(AccountGap::NotSeenFromStart, true),
        Some(_) => None,
        None if saw_term_begin(snapshot, holder) => None,
        None => match before.stored.filter(|_| before.stored_holder == Some(holder)) {
            Some(stored) => {
                let carried = stored.reason.filter(|_| !stored.complete);
                carried.or_else(|| unseen(AccountGap::WatchGap, !by_name))
            }
            None => unseen(AccountGap::NotSeenFromStart, true),
        },
    }
}

/// Whether this operator, though it decides for the first time, saw the present term begin and every pod since.
fn saw_term_begin(snapshot: &Snapshot<'_>, holder: &str) -> bool {
    let open = snapshot.tenures.last().filter(|tenure| tenure.ended.is_none() && tenure.holder == holder);
    open.is_some_and(|tenure| {
        !tenure.was_found && snapshot.pods.watched_since().is_some_and(|since| since <= tenure.began)
    })
}

/// Whether no pod but one that is known can go by this identity: it contains the pod's UID, or a generated name.
fn is_unique(snapshot: &Snapshot<'_>, holder: &str) -> bool {
    let name = snapshot.plan.identity.only_name(holder);
    let existing = tracked(snapshot).filter(|pod| snapshot.plan.identity.fits(holder, *pod));
    let mut pods = existing.chain(snapshot.gone.iter().map(|gone| &gone.pod));
    snapshot.plan.identity.names_uid()
        || pods.any(|pod| name.as_ref() == Some(&pod.name) && pod.name_is_generated && !pod.name_is_cut())
}

/// Whether a process of that pod may have written the Lease. A deleted pod that is remembered is judged as a pod.
fn is_obstacle(snapshot: &Snapshot<'_>, holder: &str, lost: &LostPod) -> bool {
    let is_it = |gone: &&&Gone| gone.pod.name == lost.name && Some(&gone.pod.uid) == lost.uid.as_ref();
    let shows_all = |gone: &Gone| {
        snapshot.plan.watched_of(&gone.pod).all(|container| container.gap.is_none())
            && !ran_elsewhere(snapshot, &gone.pod)
    };
    let is_judged = lost.reason == AccountGap::DeletedWithoutReport
        && snapshot.gone.iter().find(is_it).is_some_and(|gone| shows_all(gone));
    !is_judged && fits(snapshot, holder, lost)
}

/// Whether the pod ran on another machine than the one that has its node's name now.
fn ran_elsewhere(snapshot: &Snapshot<'_>, pod: &Pod) -> bool {
    let node = pod.node.as_deref().and_then(|node| snapshot.nodes.iter().find(|(name, _)| *name == node));
    node.is_some_and(|(_, node)| node.replaced_machine_of(pod))
}

fn fits(snapshot: &Snapshot<'_>, holder: &str, lost: &LostPod) -> bool {
    let uid = lost.uid.as_deref().unwrap_or_default();
    let node = lost.host_network_node.as_deref();
    let hostname = lost.hostname.as_deref();
    let names = PodNames { name: &lost.name, uid, node, hostname, host_network: node.is_some() };
    snapshot.plan.identity.fits(holder, names)
}

/// The lists of an account while they are brought up to date.
struct Ledger {
    pods: BTreeMap<String, AccountedPod>,
    lost: Vec<LostPod>,
    ended: BTreeMap<String, (String, u64)>,
    reused: BTreeSet<String>,
    /// There was an account before this decision.
    had_account: bool,
}

impl Ledger {
    fn new(snapshot: &Snapshot<'_>, before: Before<'_>) -> Self {
        let account = before.state.map(|state| &state.account).or(before.stored);
        let pods = account.into_iter().flat_map(|account| &account.pods);
        let reusable = tracked(snapshot).filter(|pod| pod.name_is_reusable()).map(|pod| pod.name.clone());
        Self {
            pods: pods.map(|pod| (pod.name.clone(), pod.clone())).collect(),
            lost: account.map(|account| account.lost.clone()).unwrap_or_default(),
            ended: before.state.map(|state| state.ended.clone()).unwrap_or_default(),
            reused: reusable.collect(),
            had_account: account.is_some(),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        self.pods.keys().chain(&self.reused).cloned().collect()
    }

    fn is_full(&self) -> bool {
        self.lost.len() > MAX_LOST || self.pods.len() > MAX_ACCOUNTED
    }

    fn lose(&mut self, lost: LostPod) {
        if !self.lost.iter().any(|known| known.name == lost.name && known.uid == lost.uid) {
            self.lost.push(lost);
        }
    }

    /// Brings a name up to the pod that has it now, or to the end of the last that had it.
    fn follow_name(&mut self, snapshot: &Snapshot<'_>, name: &str) {
        let gone: Vec<_> = snapshot.pods.gone_named(name).into_iter().filter(|gone| gone.pod.name == name).collect();
        for gone in gone.iter().filter(|gone| gone.may_live()) {
            self.lose(lost_pod(&gone.pod, AccountGap::DeletedWithoutReport));
        }
        let present = snapshot.pods.get(name);
        if let Some(known) = self.pods.get(name).cloned()
            && present.is_none_or(|pod| pod.object_uid() != known.uid)
        {
            let last = gone.iter().find(|gone| gone.pod.object_uid() == known.uid);
            if let Some(last) = last.filter(|gone| gone.seen && !gone.may_live()) {
                self.ended.insert(name.to_owned(), (known.uid.clone(), last.epoch));
            }
            let seen_to_end = self.ended.get(name).filter(|(uid, _)| *uid == known.uid).map(|(_, epoch)| *epoch);
            let is_unbroken = match present {
                Some(pod) => {
                    let last_seen = seen_to_end.or(last.filter(|gone| gone.seen).map(|gone| gone.epoch));
                    !pod.after_gap && last_seen == Some(pod.epoch)
                }
                None => seen_to_end.is_some() || last.is_some(),
            };
            if !is_unbroken {
                let uid = last.is_none().then(|| known.uid.clone());
                self.lose(LostPod { uid, unique_name: known.unique_name, ..unseen_pod(name) });
            }
        }
        match present {
            Some(pod) if self.reused.contains(name) || pod.hides_runs() => {
                self.ended.remove(name);
                if pod.after_gap && self.had_account && !self.pods.contains_key(name) {
                    self.lose(unseen_pod(name));
                }
                self.note_ended_before(pod);
                self.pods.insert(name.to_owned(), accounted_pod(pod));
            }
            Some(_) => {}
            None => {
                if self.pods.get(name).is_some_and(|known| known.unique_name) {
                    self.pods.remove(name);
                }
            }
        }
    }

    /// Pods that were deleted before this operator's first decision, and had more runs than they showed.
    fn note_gone_before(&mut self, snapshot: &Snapshot<'_>) {
        let names = self.names();
        let of_names = names.iter().flat_map(|name| snapshot.pods.gone_named(name));
        for gone in of_names.chain(snapshot.gone.iter().copied()) {
            self.note_ended_before(&gone.pod);
        }
    }

    /// A pod that had more runs than it shows when it was first seen is accounted for by an operator before this one, up
    /// to the one run that is shown for certain.
    fn note_ended_before(&mut self, pod: &Pod) {
        let Some(ended_before) = pod.ended_before() else { return };
        let known = self.pods.get(&pod.name).filter(|known| known.uid == pod.object_uid());
        let known = known.map_or(0, |known| known.ended_runs);
        if ended_before > known.saturating_add(1) || known == 0 {
            self.lose(lost_pod(pod, AccountGap::UnseenRun));
        }
    }

    /// Runs of the pod that may live although another followed, and reports about it by another machine.
    fn note_runs(&mut self, snapshot: &Snapshot<'_>, pod: &Pod) {
        if !pod.name_is_reusable() && pod.hides_runs() && !self.pods.contains_key(&pod.name) {
            self.note_ended_before(pod);
            self.pods.insert(pod.name.clone(), accounted_pod(pod));
        }
        self.note_watched_gap(snapshot, pod);
        if ran_elsewhere(snapshot, pod) {
            self.lose(lost_pod(pod, AccountGap::NodeReplaced));
        }
    }

    fn note_watched_gap(&mut self, snapshot: &Snapshot<'_>, pod: &Pod) {
        if let Some(gap) = snapshot.plan.watched_of(pod).find_map(|container| container.gap) {
            self.lose(lost_pod(pod, gap));
        }
    }

    fn note_gone(&mut self, snapshot: &Snapshot<'_>, gone: &Gone) {
        self.note_watched_gap(snapshot, &gone.pod);
    }

    /// Drops pods that are gone, whose names don't come again and which are not the holder.
    fn prune(&mut self, snapshot: &Snapshot<'_>, holder: &str) {
        // Where the identity may be another's by its beginning alone, a name that does not come again can still fit.
        if snapshot.plan.identity.only_name(holder).is_none() && !snapshot.plan.identity.names_uid() {
            return;
        }
        self.lost.retain(|lost| {
            let exists = snapshot.pods.get(&lost.name).is_some_and(|pod| Some(&pod.uid) == lost.uid.as_ref());
            exists || !lost.unique_name || fits(snapshot, holder, lost)
        });
    }
}

fn accounted_pod(pod: &Pod) -> AccountedPod {
    AccountedPod {
        name: pod.name.clone(),
        uid: pod.object_uid().to_owned(),
        unique_name: !pod.name_is_reusable(),
        ended_runs: pod.ended_runs(),
    }
}

fn lost_pod(pod: &Pod, reason: AccountGap) -> LostPod {
    LostPod {
        name: pod.name.clone(),
        uid: Some(pod.uid.clone()),
        unique_name: !pod.name_is_reusable(),
        reason,
        hostname: pod.hostname.clone().filter(|hostname| *hostname != pod.name),
        host_network_node: pod.node.clone().filter(|_| pod.host_network),
    }
}

/// A pod that may have had this name unseen.
fn unseen_pod(name: &str) -> LostPod {
    LostPod {
        name: name.to_owned(),
        uid: None,
        unique_name: false,
        reason: AccountGap::WatchGap,
        hostname: None,
        host_network_node: None,
    }
}
