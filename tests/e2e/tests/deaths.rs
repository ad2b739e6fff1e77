//! How often proof is lost: ordinary deaths of leaders on a real node, and what the operator made of each. DEATHS says how
//! many.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{EvictParams, ListParams};
use kube::runtime::{WatchStreamExt, watcher};
use leadergroup_api::{AccountGap, LeaderGroup, RuleName, Transition, TransitionReason, Verdict};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Group, GroupView, LeaseView, Namespace, PodView, Session};

/// Lease duration, renew deadline and retry period: those that most libraries have, in seconds.
const TIMING: (u32, u32, u32) = (15, 10, 2);
/// Groups of one kind of death and one kind of workload.
const LANES_PER_KIND: usize = 2;
/// Two lease durations and more, on a machine full of pods.
const PATIENCE: Duration = Duration::from_mins(2);
/// A leader fills its memory after enough renewals for its clock to be trusted.
const OUT_OF_MEMORY_AFTER: Duration = Duration::from_secs(11);
/// How many failures to bring about or to observe a death a lane survives.
const MAX_FAILURES: usize = 5;
/// How much of what could be proven without the account has to be cleared at once, in percent.
const GOAL: usize = 95;
/// The exit code that runtimes make up, and that some programs use.
const DOUBTFUL_EXIT_CODE: i32 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Deletion,
    Crash,
    OutOfMemory,
    Eviction,
    Rollout,
    Drain,
}

impl Death {
    const ALL: [Self; 6] = [Self::Deletion, Self::Crash, Self::OutOfMemory, Self::Eviction, Self::Rollout, Self::Drain];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Workload {
    Deployment,
    StatefulSet,
}

/// What the operator made of a death.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Cleared,
    /// The rules had proof, and the account lacked something.
    Lost(String),
    /// A pod of the same name took its place before the clear.
    Replaced,
    /// The rules had no proof: the last rule before the Lease expired.
    NotProven(String),
    /// Anything else that ended the term.
    Other(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cleared => write!(f, "cleared at once"),
            Self::Lost(gap) => write!(f, "lost: {gap}"),
            Self::Replaced => write!(f, "replaced"),
            Self::NotProven(rule) => write!(f, "not proven: {rule}"),
            Self::Other(reason) => write!(f, "other: {reason}"),
        }
    }
}

type Kind = (Death, Workload);

/// The exit code of each run: of a pod's UID and how often its container had been restarted.
type Ends = BTreeMap<(String, i32), i32>;

#[derive(Default)]
struct Tally {
    outcomes: Mutex<BTreeMap<Kind, BTreeMap<Outcome, usize>>>,
    ends: Mutex<Ends>,
}

impl Tally {
    fn add(&self, kind: Kind, outcome: Outcome) {
        let mut tally = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(kind).or_default().entry(outcome).or_default() += 1;
    }

    /// The table, and how many of the deaths that the rules prove were cleared at once.
    fn table(&self) -> (String, usize, usize) {
        let tally = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = vec![
            "| leader's end | workload | deaths | cleared at once | lost | others |".to_owned(),
            "|---|---|---|---|---|---|".to_owned(),
        ];
        let (mut all, mut all_cleared, mut all_lost) = (0, 0, 0);
        for ((death, workload), outcomes) in tally.iter() {
            let deaths: usize = outcomes.values().sum();
            let cleared = outcomes.get(&Outcome::Cleared).copied().unwrap_or(0);
            let (mut lost, mut others) = (Vec::new(), Vec::new());
            for (outcome, count) in outcomes {
                match outcome {
                    Outcome::Cleared => {}
                    Outcome::Lost(gap) => {
                        all_lost += count;
                        lost.push(format!("{gap} {count}"));
                    }
                    other => others.push(format!("{other} {count}")),
                }
            }
            let (lost, others) = (lost.join(", "), others.join(", "));
            lines.push(format!("| {death:?} | {workload:?} | {deaths} | {cleared} | {lost} | {others} |"));
            (all, all_cleared) = (all + deaths, all_cleared + cleared);
        }
        lines.push(format!("| all | | {all} | {all_cleared} | {all_lost} | {} |", all - all_cleared - all_lost));
        let provable = all_cleared + all_lost;
        lines.push(format!("\nProvable without the account: {provable}; cleared at once: {all_cleared}."));
        lines.push(self.exit_codes());
        (lines.join("\n"), all_cleared, provable)
    }

    fn exit_codes(&self) -> String {
        let mut codes = BTreeMap::<i32, usize>::new();
        for code in self.ends.lock().unwrap_or_else(PoisonError::into_inner).values() {
            *codes.entry(*code).or_default() += 1;
        }
        let doubtful = codes.get(&DOUBTFUL_EXIT_CODE).copied().unwrap_or(0);
        format!("Runs by exit code: {codes:?}; with {DOUBTFUL_EXIT_CODE}: {doubtful}.")
    }
}

/// One group, whose leaders die in one way.
struct Lane<'a> {
    session: &'a Session,
    place: &'a Namespace,
    kind: Kind,
    group: String,
}

impl Lane<'_> {
    async fn start(&self) -> Result<()> {
        let (duration, deadline, retry) = TIMING;
        let timing = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let group = Group::named(&self.group).timing(timing(duration), timing(deadline), timing(retry));
        self.place.create(&group.build()).await?;
        let mut candidates = Candidates::named(&self.group).replicas(2).timing(duration, deadline, retry);
        let (death, workload) = self.kind;
        if matches!(death, Death::Crash | Death::OutOfMemory) {
            // A run that follows in the same pod would have its Lease back at once.
            candidates = candidates.identity("$(POD_NAME)_{run}");
        }
        if death == Death::OutOfMemory {
            candidates = candidates.running_out_of_memory_after(OUT_OF_MEMORY_AFTER);
        }
        self.place
            .run(&match workload {
                Workload::Deployment => candidates.deployment(),
                Workload::StatefulSet => candidates.stateful_set(),
            })
            .await
    }

    fn owner(&self) -> String {
        let kind = match self.kind.1 {
            Workload::Deployment => "deployment",
            Workload::StatefulSet => "statefulset",
        };
        format!("{kind}/{}", self.group)
    }

    /// One death, from a leader that has renewed a few times to the next.
    async fn one(&self) -> Result<Outcome> {
        let death = self.kind.0;
        if death != Death::OutOfMemory {
            self.place.until_settled(&self.group).await?;
        }
        let group = self.place.until_led(&self.group).await?;
        let holder = self.place.leases().get(&self.group).await?.holder().context("nobody holds the Lease")?;
        let pod = group.leading_pod().context("no leader")?;
        match death {
            Death::Deletion => self.place.delete_pod(&pod).await?,
            Death::Crash => {
                // Go's runtime ends the program with exit code 2.
                let leader = self.place.pods().get(&pod).await?;
                self.session.signal(&leader, Signal::QUIT)?;
            }
            Death::OutOfMemory => {}
            Death::Eviction => drop(self.place.pods().evict(&pod, &EvictParams::default()).await?),
            Death::Rollout => drop(self.place.kubectl(&["rollout", "restart", &self.owner()]).await?),
            Death::Drain => {
                let own = ListParams::default().labels(&format!("app={}", self.group));
                for pod in self.place.pods().list(&own).await? {
                    self.place.pods().evict(&pod.name_any(), &EvictParams::default()).await?;
                }
            }
        }
        let outcome = self.until_next(&group, &holder).await?;
        if death == Death::Rollout {
            self.place.kubectl(&["rollout", "status", "--timeout=90s", &self.owner()]).await?;
        } else if matches!(death, Death::Crash | Death::OutOfMemory) {
            // Its next crash would have to wait ever longer. One whose next run leads by now ends by its own kind of death.
            let next = self.place.leases().get(&self.group).await?.holder();
            if next.is_some_and(|next| !next.starts_with(&pod)) {
                self.place.delete_pod(&pod).await?;
            }
        }
        Ok(outcome)
    }

    /// Follows the group until its next leader is in its history.
    async fn until_next(&self, before: &LeaderGroup, holder: &str) -> Result<Outcome> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.group));
        let mut versions = pin!(watcher(self.place.groups(), config).default_backoff().applied_objects());
        let mut judged: Option<(Verdict, RuleName, Option<AccountGap>)> = None;
        let following = async {
            while let Some(group) = versions.try_next().await? {
                let seen = group.seen();
                if let Some(held) = seen.holder.as_ref().filter(|held| held.identity == holder)
                    && let Some(rule) = held.rule
                    && !matches!(held.verdict, Verdict::Alive | Verdict::LeaseExpired)
                {
                    judged = Some((held.verdict, rule, seen.account.clone().and_then(|a| a.reason)));
                }
                if seen.transitions > before.seen().transitions
                    && let Some(next) = seen
                        .history
                        .iter()
                        .rev()
                        .find(|t| t.from.as_deref() == Some(holder) && !before.seen().history.contains(t))
                {
                    return Ok(outcome(next, judged));
                }
            }
            bail!("the watch of the group ended")
        };
        tokio::time::timeout(PATIENCE, following).await.with_context(|| format!("{} has no next leader", self.group))?
    }

    async fn run(&self, left: &AtomicUsize, tally: &Tally) {
        let mut failures = 0;
        while failures < MAX_FAILURES && left.load(Ordering::Relaxed) > 0 {
            match self.one().await {
                Ok(outcome) => {
                    tally.add(self.kind, outcome);
                    let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| Some(n.saturating_sub(1)));
                    if before.is_ok_and(|n| n % 100 == 1) {
                        eprintln!("{}\n", tally.table().0);
                    }
                }
                Err(error) => {
                    failures += 1;
                    eprintln!("{}: {:.300}", self.group, format!("{error:#}"));
                }
            }
        }
    }
}

fn outcome(next: &Transition, judged: Option<(Verdict, RuleName, Option<AccountGap>)>) -> Outcome {
    let soon = next.leaderless_seconds.is_none_or(|seconds| seconds < f64::from(TIMING.0));
    match (&next.reason, judged) {
        (TransitionReason::Cleared, _) if soon => Outcome::Cleared,
        (TransitionReason::Replaced, _) => Outcome::Replaced,
        (_, Some((Verdict::Terminated, _, Some(gap)))) => Outcome::Lost(format!("{gap:?}")),
        (TransitionReason::Expired | TransitionReason::Cleared, judged) => {
            Outcome::NotProven(judged.map_or("StoppedRenewing".to_owned(), |(_, rule, _)| format!("{rule:?}")))
        }
        (reason, _) => Outcome::Other(format!("{reason:?}")),
    }
}

/// Counts the exit codes of all runs that ended, until it is aborted.
async fn count_ends(place: &Namespace, tally: &Tally) -> Result<()> {
    let mut pods = pin!(watcher(place.pods(), watcher::Config::default()).default_backoff());
    while let Some(event) = pods.try_next().await? {
        let (watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) | watcher::Event::Delete(pod)) = event else {
            continue;
        };
        note_ends(&pod, &mut tally.ends.lock().unwrap_or_else(PoisonError::into_inner));
    }
    Ok(())
}

fn note_ends(pod: &Pod, ends: &mut Ends) {
    let uid = pod.uid().unwrap_or_default();
    for container in pod.containers() {
        let code = |state: Option<k8s_openapi::api::core::v1::ContainerState>| Some(state?.terminated?.exit_code);
        if let Some(code) = code(container.state) {
            ends.insert((uid.clone(), container.restart_count), code);
        }
        if let Some(code) = code(container.last_state) {
            ends.insert((uid.clone(), container.restart_count - 1), code);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a campaign of many minutes: make bench BENCH=deaths"]
async fn clears_ordinary_deaths_at_once() -> Result<()> {
    let deaths = std::env::var("DEATHS").map_or(Ok(100), |deaths| deaths.parse()).context("DEATHS is no number")?;
    let promise = "proof is rarely lost";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("deaths").await?;
    let kinds =
        Death::ALL.into_iter().flat_map(|death| [Workload::Deployment, Workload::StatefulSet].map(|w| (death, w)));
    let lanes: Vec<_> = kinds
        .flat_map(|kind| std::iter::repeat_n(kind, LANES_PER_KIND))
        .enumerate()
        .map(|(n, kind)| Lane { session: &session, place: &place, kind, group: format!("lane-{n}") })
        .collect();
    for lane in &lanes {
        lane.start().await?;
    }
    let (left, tally) = (AtomicUsize::new(deaths), Tally::default());
    tokio::select! {
        _ = join_all(lanes.iter().map(|lane| lane.run(&left, &tally))) => {}
        counted = count_ends(&place, &tally) => bail!("the watch of the pods ended: {counted:?}"),
    }
    let (table, cleared, provable) = tally.table();
    println!("\n## Ordinary deaths of client-go leaders ({} / {} / {})\n\n{table}\n", TIMING.0, TIMING.1, TIMING.2);
    ensure!(cleared * 100 >= provable * GOAL, "less than {GOAL} % were cleared at once");
    Ok(())
}
