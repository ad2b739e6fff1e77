//! How long a group is without a leader, with and without the operator, when the leader's pod is deleted and when its
//! container crashes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use leadergroup_api::{LeaderGroup, TransitionReason};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Candidates, Entry, Group, LeaseView, Namespace, Seen, Session, Timeline};

use crate::figures::{Samples, samples_table};

/// Groups with and as many without a `LeaderGroup`, at the same time.
const GROUPS: usize = 10;
const ROUNDS: usize = 2;
const LONG: Duration = Duration::from_secs(90);
/// Between two deaths: the pods that replace one have started by the next, or two cores would measure their own load.
const APART: Duration = Duration::from_millis(2_500);
/// How often a dying process is looked at.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Deletion,
    Crash,
}

/// Without a `LeaderGroup`, or with one and what it made of the death.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Arm {
    Without,
    Proven,
    SameSecond,
    Waited,
}

impl Arm {
    fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Proven => "with a LeaderGroup, proven",
            Self::SameSecond => "with a LeaderGroup, in the second of the last renewal",
            Self::Waited => "with a LeaderGroup, not proven for another reason",
        }
    }
}

#[derive(Default)]
struct Figures {
    takeover: BTreeMap<(Death, Arm), Samples>,
    /// From the report that proves the death to the clear, both as this program's own watches bring them.
    evidence_to_clear: Samples,
}

/// Measures and prints.
pub async fn run(session: &Session) -> Result<()> {
    let mut figures = Figures::default();
    for death in [Death::Deletion, Death::Crash] {
        for round in 0..ROUNDS {
            eprintln!("takeover: round {} of {ROUNDS} of {}", round + 1, name(death));
            one_round(session, death, &mut figures).await?;
        }
    }

    println!("\n## Takeover of client-go candidates (15 s / 10 s / 2 s), in seconds\n");
    println!("From the end of the leader's process to the next holder in the Lease, as a watch brings it.\n");
    let mut takeover = samples_table("leader's end");
    for ((death, arm), samples) in &figures.takeover {
        let goal = if *arm == Arm::Proven { "mean <= 3, max <= 5.5" } else { "" };
        takeover.add_row(samples.row(&format!("{}, {}", name(*death), arm.name()), 1.0, goal));
    }
    println!("{takeover}");
    println!(
        "\nA crash in the second of the last renewal can't be told from one before it, so it waits until the Lease ran out."
    );
    println!(
        "\n## From evidence visible to clear written, while the pod stops and its successor starts, in milliseconds\n"
    );
    let mut latency = samples_table("what");
    latency.add_row(figures.evidence_to_clear.row("report seen to clear seen", 1000.0, ""));
    println!("{latency}");
    Ok(())
}

fn name(death: Death) -> &'static str {
    match death {
        Death::Deletion => "pod deleted",
        Death::Crash => "container crashed",
    }
}

async fn one_round(session: &Session, death: Death, figures: &mut Figures) -> Result<()> {
    let space = session.namespace("takeover").await?;
    let timeline = space.timeline().await?;
    let arms: Vec<(String, bool)> =
        (0..GROUPS).flat_map(|n| [(format!("with-{n}"), true), (format!("without-{n}"), false)]).collect();
    for (lease, with) in &arms {
        if *with {
            space.create(&Group::named(lease).timing(15, 10, 2).build()).await?;
        }
        // A crashed container takes its Lease back at once if its identity outlives it, so here it does not.
        let candidates = Candidates::named(lease).replicas(2).timing(15, 10, 2).identity("$(POD_NAME)_{run}");
        space.run(&candidates.deployment()).await?;
    }
    try_join_all(arms.iter().map(|(lease, _)| settled(&timeline, lease))).await?;
    let measured = try_join_all(
        arms.iter().enumerate().map(|(n, (lease, _))| measure(session, &space, &timeline, lease, death, n)),
    )
    .await?;
    let entries = timeline.entries();
    for ((lease, with), taken) in arms.iter().zip(measured) {
        let arm = if *with { verdict(&space, &entries, lease, &taken).await? } else { Arm::Without };
        figures.takeover.entry((death, arm)).or_default().add(taken.after);
        if arm == Arm::Proven
            && let Some(latency) = evidence_to_clear(&entries, lease, &taken.pod)
        {
            figures.evidence_to_clear.add(latency);
        }
    }
    Ok(())
}

/// Waits until the leader has renewed often enough for its clock to be trusted.
async fn settled(timeline: &Timeline, lease: &str) -> Result<()> {
    timeline
        .find(&format!("five renewals of {lease}"), LONG, |entries| {
            (moves(entries, lease).filter(|(_, lease)| lease.holder().is_some()).count() > 5).then_some(())
        })
        .await
}

fn moves<'e>(
    entries: &'e [Entry],
    name: &str,
) -> impl Iterator<Item = (Instant, &'e k8s_openapi::api::coordination::v1::Lease)> {
    entries.iter().filter_map(move |entry| match &entry.seen {
        Seen::Lease(lease) if lease.name_any() == name => Some((entry.at, lease)),
        _ => None,
    })
}

struct Taken {
    after: Duration,
    pod: String,
    holder: String,
    next: String,
}

async fn measure(
    session: &Session,
    space: &Namespace,
    timeline: &Timeline,
    lease: &str,
    death: Death,
    nth: usize,
) -> Result<Taken> {
    tokio::time::sleep(APART * u32::try_from(nth)?).await;
    let entries = timeline.entries();
    let holder = moves(&entries, lease).last().and_then(|(_, l)| l.holder()).context("the Lease has no holder")?;
    let pod = holder.split('_').next().unwrap_or_default().to_owned();
    let uid = space.api::<Pod>().get(&pod).await?.metadata.uid.context("the pod has no UID")?;
    let processes = session.cluster().container_pids(&uid)?;
    let process = processes.into_iter().next().context("the leader has no process")?;
    match death {
        Death::Deletion => space.delete_pod(&pod).await?,
        Death::Crash => {
            process.signal(Signal::KILL)?;
        }
    }
    while process.is_alive() {
        tokio::time::sleep(LOOK).await;
    }
    let ended = Instant::now();
    let (at, next) = timeline
        .find(&format!("another holder of {lease} than {holder}"), LONG, |entries| {
            let mut later = moves(entries, lease).filter_map(|(at, l)| Some((at, l.holder()?)));
            later.find(|(at, next)| *at + Duration::from_secs(1) > ended && *next != holder)
        })
        .await?;
    Ok(Taken { after: at.saturating_duration_since(ended), pod, holder, next })
}

/// What the operator made of the death.
async fn verdict(space: &Namespace, entries: &[Entry], group: &str, taken: &Taken) -> Result<Arm> {
    let newest = |group: &LeaderGroup| group.status.as_ref().and_then(|s| s.history.first().cloned());
    let seen = space
        .until(group, "the takeover is in its history", |g: &LeaderGroup| {
            newest(g).is_some_and(|t| t.leader == taken.next)
        })
        .await?;
    if newest(&seen).context("the history is empty")?.reason == TransitionReason::Cleared {
        return Ok(Arm::Proven);
    }
    let renewed = moves(entries, group)
        .filter(|(_, lease)| lease.holder().as_ref() == Some(&taken.holder))
        .filter_map(|(_, lease)| lease.renewed())
        .max();
    let ended = entries.iter().find_map(|entry| match &entry.seen {
        Seen::Pod(pod) if pod.name_any() == taken.pod => first_end(pod),
        _ => None,
    });
    let same_second = renewed.zip(ended).is_some_and(|(renewed, ended)| ended.as_second() <= renewed.as_second());
    Ok(if same_second { Arm::SameSecond } else { Arm::Waited })
}

/// When the pod's only container first ended, by its kubelet's word.
fn first_end(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let of = |state: &Option<ContainerState>| Some(state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    of(&status.state).or_else(|| of(&status.last_state))
}

/// From the report after which every container of the pod was seen to end, to the Lease without a holder.
fn evidence_to_clear(entries: &[Entry], lease: &str, pod: &str) -> Option<Duration> {
    let cleared = moves(entries, lease).find(|(_, l)| l.is_cleared()).map(|(at, _)| at)?;
    let reported = entries.iter().find_map(|entry| match &entry.seen {
        Seen::Pod(seen) | Seen::PodGone(seen) if seen.name_any() == pod && all_ended(seen) => Some(entry.at),
        _ => None,
    })?;
    Some(cleared.saturating_duration_since(reported))
}

fn all_ended(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.is_some_and(|all| {
        all.iter().all(|s| {
            let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
                state.as_ref().is_some_and(|state| state.terminated.is_some())
            };
            ended(&s.state) || ended(&s.last_state)
        })
    })
}
