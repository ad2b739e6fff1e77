//! The account of the processes that may have written a Lease in its present term.
//!
//! A clear at once rests on the end of each of them. The account is a list of what is accounted for, never of what is
//! missing: whatever it lacks counts against a clear, so nothing that is forgotten, cut off or lost with a status can make a
//! pod innocent. It is kept in the status, and the next operator carries it on.
//!
//! Names decide what can go unseen. The API server never gives a generated name to a second pod, so such a pod shows all
//! there is to know of it, but for runs that lie further back than its kubelet reports. A name that can be used again, such
//! as a `StatefulSet`'s, is accounted for as long as each pod that had it is known to have ended. Host names and names of
//! nodes are shared by pods of any name, so they are accounted for only while nothing went unseen at all.

use std::collections::{BTreeMap, BTreeSet};

use leadergroup_api::{Account, AccountGap, AccountedPod};
use leadergroup_identity::PodNames;

use crate::index::{Forgotten, Plan, Snapshot};
use crate::model::{Container, Gone, Node, Pod};

/// How many accounted pods a status lists.
const MAX_ACCOUNTED: usize = 128;
/// Of how many of a pod's containers it lists runs.
const MAX_COUNTED: usize = 16;
/// How many names are remembered that are not accounted for because of a pod that had them.
const MAX_REFUSED: usize = 256;

/// The account, and what it rests on that only this operator knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// As the status shows it.
    pub account: Account,
    /// What may have gone unseen since the account began. It stays: no later term makes up for it. The status needs not say
    /// so, since to another operator it is the same.
    unseen: Option<AccountGap>,
    /// The same where the identity may be that of pods of any name.
    unseen_of_any_name: Option<AccountGap>,
    /// Names that can be used again of pods that were not accounted for, whether they exist or not. Another operator does
    /// not find these names in the status.
    refused: BTreeMap<String, AccountGap>,
    holder: String,
    lease_name: String,
    lease_uid: String,
    /// Which unbroken stretch of the pods' watch it was last brought up to.
    epoch: u64,
    /// How many pods that may live the index had forgotten then.
    forgotten: Forgotten,
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
    /// The Lease that the status names.
    pub stored_lease: Option<&'a str>,
}

impl<'a> Before<'a> {
    fn account(&self) -> Option<&'a Account> {
        self.state.map(|state| &state.account).or(self.stored)
    }

    /// Whether the account is one of the same Lease.
    fn is_of(&self, lease_name: &str) -> bool {
        let known = self.state.map(|state| &*state.lease_name).or(self.stored_lease);
        self.account().is_some() && known == Some(lease_name)
    }

    /// Whether it is of the present term.
    fn is_of_term(&self, snapshot: &Snapshot<'_>, holder: &str) -> bool {
        let is_same = match self.state {
            Some(state) => state.holder == holder && Some(&state.lease_uid) == snapshot.lease.map(|lease| &lease.uid),
            None => self.stored_holder == Some(holder),
        };
        self.is_of(&snapshot.plan.lease_name) && is_same
    }

    /// Whether a pod that may live was forgotten since, under a name that can be used again.
    fn forgot(&self, snapshot: &Snapshot<'_>) -> bool {
        self.state.map_or(0, |state| state.forgotten.reusable) != snapshot.pods.forgotten().reusable
    }

    /// What may have gone unseen since.
    fn missed(&self, snapshot: &Snapshot<'_>) -> Option<AccountGap> {
        self.account()?;
        let Some(state) = self.state else { return Some(AccountGap::WatchGap) };
        if state.epoch != snapshot.pods.epoch() {
            return Some(AccountGap::WatchGap);
        }
        self.forgot(snapshot).then_some(AccountGap::TooManyLost)
    }

    /// The same where the identity may be that of pods of any name.
    fn missed_of_any_name(&self, snapshot: &Snapshot<'_>) -> Option<AccountGap> {
        let forgotten = self.state.is_some_and(|state| state.forgotten != snapshot.pods.forgotten());
        self.missed(snapshot).or(forgotten.then_some(AccountGap::TooManyLost))
    }
}

/// The account as this decision leaves it.
pub fn follow(snapshot: &Snapshot<'_>, before: Before<'_>) -> AccountState {
    let holder = snapshot.lease.and_then(|l| l.record.holder()).unwrap_or_default();
    let by_name = snapshot.plan.identity.only_name(holder);
    let mut ledger = Ledger::new(snapshot, before);
    let mut accounted = ledger.brought_up();
    let Ledger { mut refused, mut unseen, .. } = ledger;
    if refused.len() > MAX_REFUSED {
        unseen = unseen.or(Some(AccountGap::TooManyLost));
        refused.clear();
    }
    let unseen_before = before.state.and_then(|state| state.unseen_of_any_name);
    let unseen_of_any_name =
        unseen_before.or(before.missed_of_any_name(snapshot)).or(unseen).or_else(|| refused.values().next().copied());
    let unseen_now = match &by_name {
        Some(name) => refused.get(name).copied().or(unseen),
        None => unseen_of_any_name,
    };
    let gap = gap(snapshot, before, holder);
    // What the pods showed may not be seen any more. The rest is found again.
    let prior = before.account().filter(|_| before.is_of_term(snapshot, holder)).and_then(|account| account.reason);
    let prior = prior.filter(|reason| !IS_OF_OTHERS.contains(reason));
    let reason = prior.or_else(|| reason(snapshot, holder, gap, unseen_now, &accounted)).filter(|_| !holder.is_empty());
    cut(&mut accounted, snapshot, by_name.as_deref());
    let account = Account {
        complete: reason.is_none(),
        reason,
        gap,
        containers: snapshot.plan.watched.clone(),
        pods: accounted.into_values().collect(),
    };
    AccountState {
        account,
        unseen,
        unseen_of_any_name,
        refused,
        holder: holder.to_owned(),
        lease_name: snapshot.plan.lease_name.clone(),
        lease_uid: snapshot.lease.map(|lease| lease.uid.clone()).unwrap_or_default(),
        epoch: snapshot.pods.epoch(),
        forgotten: snapshot.pods.forgotten(),
    }
}

/// Leaves as many pods as a status lists: the holder's, those that are known to have a gap, and those that exist, before
/// the rest.
fn cut(accounted: &mut BTreeMap<String, AccountedPod>, snapshot: &Snapshot<'_>, holder: Option<&str>) {
    if accounted.len() <= MAX_ACCOUNTED {
        return;
    }
    let mut names: Vec<_> = accounted.iter().map(|(name, pod)| (name.clone(), pod.gap.is_some())).collect();
    names.sort_by_key(|(name, has_gap)| (holder != Some(name), !has_gap, snapshot.pods.get(name).is_none()));
    names[MAX_ACCOUNTED..].iter().for_each(|(name, _)| drop(accounted.remove(name)));
}

/// What matters only as long as the identity may be another pod's.
const IS_OF_OTHERS: [AccountGap; 3] = [AccountGap::NotSeenFromStart, AccountGap::WatchGap, AccountGap::TooManyLost];

/// Whether the account is of all containers that are watched now.
fn covers(account: &Account, plan: &Plan) -> bool {
    let is_in = |name: &String| account.containers.contains(name);
    account.containers.is_empty() || !plan.watched.is_empty() && plan.watched.iter().all(is_in)
}

/// The pods whose history matters: candidates, and others that may be the holder.
pub(super) fn tracked<'a>(snapshot: &'a Snapshot<'_>) -> impl Iterator<Item = &'a Pod> {
    snapshot.candidates.iter().chain(&snapshot.others).copied()
}

/// The pods that may have written the Lease.
pub(super) fn fitting<'a>(snapshot: &'a Snapshot<'_>, holder: &'a str) -> impl Iterator<Item = &'a Pod> {
    let existing = tracked(snapshot).filter(|pod| snapshot.plan.identity.fits(holder, *pod));
    existing.chain(snapshot.gone.iter().map(|gone| &gone.pod))
}

/// What was lost in this term, whichever pod wrote the Lease. An account that begins later than the term lacks its
/// beginning.
fn gap(snapshot: &Snapshot<'_>, before: Before<'_>, holder: &str) -> Option<AccountGap> {
    if holder.is_empty() {
        return None;
    }
    if before.is_of_term(snapshot, holder) {
        return before.account().and_then(|account| account.gap);
    }
    let is_later = !before.is_of(&snapshot.plan.lease_name) && !saw_term_begin(snapshot, holder);
    is_later.then_some(AccountGap::NotSeenFromStart)
}

/// Whether this operator, though it decides for the first time, saw the present term begin and every pod since.
fn saw_term_begin(snapshot: &Snapshot<'_>, holder: &str) -> bool {
    let open = snapshot.tenures.last().filter(|tenure| tenure.ended.is_none() && tenure.holder == holder);
    open.is_some_and(|tenure| {
        !tenure.was_found && snapshot.pods.watched_since().is_some_and(|since| since <= tenure.began)
    })
}

/// Why the account is incomplete, if it was complete until now.
fn reason(
    snapshot: &Snapshot<'_>,
    holder: &str,
    gap: Option<AccountGap>,
    unseen: Option<AccountGap>,
    accounted: &BTreeMap<String, AccountedPod>,
) -> Option<AccountGap> {
    if snapshot.lease.is_some_and(|lease| lease.is_restored) {
        return Some(AccountGap::LeaseRestored);
    }
    let name = snapshot.plan.identity.only_name(holder);
    let is_listed = name.is_some_and(|name| accounted.get(&name).is_some_and(|pod| !pod.unique_name));
    let by_others = gap.or(unseen.filter(|_| !is_listed)).filter(|_| !is_unique(snapshot, holder));
    let by_pods = || {
        let nodes = &snapshot.nodes;
        fitting(snapshot, holder).find_map(|pod| pod_gap(snapshot.plan, nodes, accounted.get(&pod.name), pod))
    };
    by_others.or_else(by_pods).or_else(|| outlived(snapshot, holder))
}

/// Whether no pod but one that is known has this identity: it contains the pod's UID, or a generated name. Another may have
/// declared that name as its host name, which only a pod does that wants to be taken for the first.
fn is_unique(snapshot: &Snapshot<'_>, holder: &str) -> bool {
    let identity = &snapshot.plan.identity;
    let name = identity.only_name(holder);
    // A static pod has the same UID on a machine that replaces its node.
    let has_static = || fitting(snapshot, holder).any(|pod| pod.mirror_uid.is_some());
    identity.names_uid() && !has_static()
        || fitting(snapshot, holder).any(|pod| name.as_ref() == Some(&pod.name) && pod.name_is_unique())
}

/// A deleted pod whose processes may live beside another that may be the holder. On its own it is judged as a pod. Where it
/// is not known yet whose word its end is, the watch of nodes is behind.
fn outlived(snapshot: &Snapshot<'_>, holder: &str) -> Option<AccountGap> {
    let is_only = fitting(snapshot, holder).nth(1).is_none();
    let may_live = || snapshot.gone.iter().filter(|gone| !is_only && may_live(snapshot.plan, gone));
    let is_settled = may_live().any(|gone| gone.pod.is_settled()).then_some(AccountGap::DeletedWithoutReport);
    is_settled.or(may_live().next().map(|_| AccountGap::WatchGap))
}

/// Whether watched processes of the deleted pod may live.
fn may_live(plan: &Plan, gone: &Gone) -> bool {
    let lacks_one = plan.watched.iter().any(|name| !gone.pod.containers.iter().any(|c| c.name == *name));
    lacks_one && !gone.pod.shared_pid || gone.may_live(plan.watched_of(&gone.pod))
}

/// What is not known of the pod's watched containers. `known` is what the account says of the pod's name.
pub(super) fn pod_gap(
    plan: &Plan,
    nodes: &[(&str, &Node)],
    known: Option<&AccountedPod>,
    pod: &Pod,
) -> Option<AccountGap> {
    let node = pod.node.as_deref().and_then(|node| nodes.binary_search_by_key(&node, |(name, _)| name).ok());
    let ran_elsewhere = node.is_some_and(|at| nodes[at].1.replaced_under(pod));
    // The name may have been followed to a later pod: then its own runs were accounted for.
    let is_past = known.is_some_and(|known| known.uid != pod.object_uid() && !known.unique_name);
    let known = known.filter(|known| known.uid == pod.object_uid());
    let has_unseen_run = |container: &Container| container.hidden_before > accounted_runs(known, container);
    known
        .and_then(|known| known.gap)
        .or_else(|| plan.watched_of(pod).find_map(|container| container.gap))
        .or(ran_elsewhere.then_some(AccountGap::NodeReplaced))
        .or((!is_past && plan.watched_of(pod).any(has_unseen_run)).then_some(AccountGap::UnseenRun))
}

/// How many ended runs of the container are accounted for.
fn accounted_runs(known: Option<&AccountedPod>, container: &Container) -> u32 {
    known.and_then(|known| known.ended_runs.get(&container.name)).copied().unwrap_or_default()
}

/// How many runs of each watched container have ended. Of a pod with very many, none are listed, which counts against it.
fn ended_runs(plan: &Plan, pod: &Pod) -> BTreeMap<String, u32> {
    let ran = || plan.watched_of(pod).filter(|container| container.ended_runs > 0);
    let counts = ran().map(|container| (container.name.clone(), container.ended_runs));
    if ran().nth(MAX_COUNTED).is_some() { BTreeMap::new() } else { counts.collect() }
}

/// The names that the pod's processes go by and that other pods may have.
fn reusable_names(pod: &Pod) -> impl Iterator<Item = String> {
    let own = pod.name.clone();
    let is_reusable = !pod.name_is_generated;
    PodNames::from(pod).all().into_iter().filter(move |name| is_reusable || *name != own)
}

/// What is accounted for, while it is brought up to date.
struct Ledger<'a> {
    snapshot: &'a Snapshot<'a>,
    pods: BTreeMap<&'a str, &'a AccountedPod>,
    /// What may have gone unseen since the last decision.
    missed: Option<AccountGap>,
    /// Whether a pod was forgotten since.
    forgot: bool,
    /// What may have gone unseen since the account began.
    unseen: Option<AccountGap>,
    /// This operator decides for the first time.
    is_first: bool,
    /// Names that can be used again of pods that are not accounted for.
    refused: BTreeMap<String, AccountGap>,
}

impl<'a> Ledger<'a> {
    fn new(snapshot: &'a Snapshot<'a>, before: Before<'a>) -> Self {
        let known = before.account();
        // Generated names have no history but that of their pod, whose containers are counted one by one.
        let is_covered = known.is_some_and(|account| covers(account, snapshot.plan));
        let pods = known.into_iter().flat_map(|account| &account.pods).filter(|pod| is_covered || pod.unique_name);
        let missed = before.missed(snapshot);
        Self {
            snapshot,
            pods: pods.map(|pod| (pod.name.as_str(), pod)).collect(),
            missed,
            forgot: before.forgot(snapshot),
            unseen: before.state.and_then(|state| state.unseen).or(missed),
            is_first: before.state.is_none(),
            refused: before.state.map(|state| state.refused.clone()).unwrap_or_default(),
        }
    }

    fn brought_up(&mut self) -> BTreeMap<String, AccountedPod> {
        let plan = self.snapshot.plan;
        let is_hidden = |container: &Container| container.hides_runs() || container.gap.is_some();
        let has_history = |pod: &&Pod| !pod.name_is_generated || plan.watched_of(pod).any(is_hidden);
        let tracked: Vec<_> = tracked(self.snapshot).filter(has_history).collect();
        for pod in &tracked {
            let known = self.pods.get(pod.name.as_str()).copied();
            if let Some(gap) = self.gap_of(pod, known) {
                self.refused.extend(reusable_names(pod).map(|name| (name, gap)));
            }
        }
        let names = self.pods.keys().copied().chain(tracked.iter().map(|pod| pod.name.as_str()));
        let names: BTreeSet<&str> = names.collect();
        names.into_iter().filter_map(|name| Some((name.to_owned(), self.follow(name)?))).collect()
    }

    /// What is not known of the pod, though its name was followed to it.
    fn gap_of(&self, pod: &Pod, known: Option<&AccountedPod>) -> Option<AccountGap> {
        let plan = self.snapshot.plan;
        let known = known.filter(|known| known.uid == pod.object_uid());
        // An operator sees a count fall; that it fell before shows only in what another operator counted.
        let fell = |container: &Container| container.ended_before < accounted_runs(known, container);
        let fell = self.is_first && plan.watched_of(pod).any(fell);
        pod_gap(plan, &self.snapshot.nodes, known, pod).or(fell.then_some(AccountGap::UnseenRun))
    }

    /// The name as it is accounted for now, if it is.
    fn follow(&self, name: &str) -> Option<AccountedPod> {
        let known = self.pods.get(name).copied();
        match self.snapshot.pods.get(name) {
            Some(pod) if pod.name_is_generated => self.accounted(pod, known),
            None if known.is_some_and(|known| known.unique_name) => {
                known.filter(|known| self.is_remembered(known)).cloned()
            }
            present => self.follow_reusable(name, present, known),
        }
    }

    /// Whether the pod is gone, and remembered: it may be a holder yet.
    fn is_remembered(&self, known: &AccountedPod) -> bool {
        self.snapshot.pods.gone_named(&known.name).iter().any(|gone| gone.pod.object_uid() == known.uid)
    }

    /// A name that can be used again. Each pod that had it since the account began has to be known to have ended, but for
    /// the one that has it now.
    fn follow_reusable(&self, name: &str, present: Option<&Pod>, known: Option<&AccountedPod>) -> Option<AccountedPod> {
        let pods = &self.snapshot.pods;
        // Others may go by it as their host name. One that is alive could go unseen by the next operator.
        let gone = pods.gone_named(name);
        let others = pods.named(name).into_iter().filter(|pod| pod.name != name && pod.may_live(&pod.containers));
        let may_live = gone.iter().filter(|gone| may_live(self.snapshot.plan, gone)).map(|gone| &gone.pod);
        let may_live: Vec<_> = others.chain(may_live).collect();
        let gone: Vec<_> = gone.into_iter().filter(|gone| gone.pod.name == name).collect();
        let is_unbroken = match known {
            // One that went by the name may be among those that were forgotten before the first decision.
            Some(known) if present.is_some_and(|pod| pod.object_uid() == known.uid) => !self.is_first || !self.forgot,
            Some(known) => match gone.iter().find(|gone| gone.pod.object_uid() == known.uid) {
                Some(gone) => self.went_in_sight(gone, known),
                None => self.missed.is_none(),
            },
            None => self.unseen.is_none(),
        };
        if !is_unbroken || may_live.iter().any(|pod| pod.is_settled()) || self.refused.contains_key(name) {
            return None;
        }
        // Until it is known that they have ended, the name is not followed to the next pod.
        if !may_live.is_empty() {
            return known.cloned();
        }
        if let Some(pod) = present {
            return self.accounted(pod, known);
        }
        match gone.iter().max_by_key(|gone| gone.at) {
            Some(last) => self.accounted(&last.pod, known),
            None => known.cloned(),
        }
    }

    /// Whether all that the pod ran is known to have ended, and no other had its name since unseen.
    fn went_in_sight(&self, gone: &Gone, known: &AccountedPod) -> bool {
        let pods = &self.snapshot.pods;
        let has_gap = || self.gap_of(&gone.pod, Some(known)).is_some();
        gone.seen && gone.epoch == pods.epoch() && !self.forgot && !has_gap()
    }

    fn accounted(&self, pod: &Pod, known: Option<&AccountedPod>) -> Option<AccountedPod> {
        let gap = self.gap_of(pod, known);
        // A name that can be used again is not listed then. Another is that pod's alone.
        (gap.is_none() || pod.name_is_generated).then(|| AccountedPod {
            name: pod.name.clone(),
            uid: pod.object_uid().to_owned(),
            unique_name: pod.name_is_generated,
            ended_runs: ended_runs(self.snapshot.plan, pod),
            gap,
        })
    }
}
