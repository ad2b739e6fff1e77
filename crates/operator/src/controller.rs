//! The loop that joins the engine to the API server: six watches in, requests out; and those that tell when rights
//! change, without which it works as well.
//!
//! An operator campaigns once its watches have listed what there is, so that one that can't see never leads. Standing by
//! it keeps the watches, for a takeover takes no longer than a decision.

mod rights;

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::OptionFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use leadergroup_api::MANAGER;
use leadergroup_elector::StartError;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::candidacy::{Campaign, Candidacy, News};
use crate::engine::{Engine, Job, Outcome, Work};
use crate::index::{Change, HEARTBEATS};
use crate::metrics::Metrics;
use crate::routing::Write;
use crate::routing::wire::{MANAGED_BY, ServiceWire, SliceWire};
use crate::telemetry::Health;
use crate::time::Clock;
use crate::wire::{GroupWire, LeaseWire, NodeWire, PodWire};

/// A watch is reopened after that many seconds, so that one that died silently is noticed.
const WATCH_SECONDS: u32 = 60;
/// A connection to the API server on which nothing came for so long, since anything was asked for, is dead: a watch that
/// is alive is reopened before.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
/// Requests that decide about a leader, at the same time.
const ACTIONS: usize = 64;
/// Requests by which traffic is switched, at the same time.
const ROUTES: usize = 32;
/// Status writes, labels and Events, at the same time: they must not crowd out the requests above.
const REPORTS: usize = 16;
/// Audits, at the same time: they can always wait.
const AUDITS: usize = 1;
/// The loop shows that it turns at least this often.
const TICK: Duration = Duration::from_secs(5);

/// Runs until cancelled; then waits for the requests under way, and gives leadership up.
///
/// # Errors
/// Fails if it can't campaign.
pub async fn run(
    client: Client,
    clock: Clock,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    candidacy: Candidacy,
    clears_in_system_namespaces: bool,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let mut engine = Engine::new(clears_in_system_namespaces);
    let mut changes = watches(&client, &metrics);
    let mut rights = rights::changes(&client);
    let mut under_way = FuturesUnordered::new();
    let [actions, switches, reports, audits] =
        [ACTIONS, ROUTES, REPORTS, AUDITS].map(|most| Arc::new(Semaphore::new(most)));
    let mut candidacy = Some(candidacy);
    let mut campaign: Option<(Campaign, Applier)> = None;
    // Cancelled with each term: work that has not begun then never does.
    let mut term = CancellationToken::new();

    loop {
        health.turned(clock.now().mono);
        let wake = engine.next_wake().map_or_else(|| clock.now().mono + TICK, |at| at.min(clock.now().mono + TICK));
        let campaigns = campaign.is_some();
        let news = OptionFuture::from(campaign.as_mut().map(|(campaign, _)| campaign.news()));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Before all else: what was decided in a term ends with it.
            Some(news) = news, if campaigns => {
                term.cancel();
                metrics.leads(matches!(news, News::Leads(_)));
                match news {
                    News::Leads(number) => {
                        term = CancellationToken::new();
                        tracing::info!(term = number, groups = engine.group_count(), "leading: every group is decided anew");
                        engine.lead(number, clock.now());
                    }
                    News::StandsBy(loss) => {
                        tracing::info!(?loss, "standing by: leading no more");
                        engine.stand_by();
                    }
                    News::Ended => {
                        tracing::error!("the campaign broke, so this operator can never lead");
                        engine.stand_by();
                        health.campaign_ended();
                    }
                }
            }
            // Whatever comes back: a pattern that does not match would leave the others unattended until a watch or a
            // timer turns the loop.
            Some(done) = under_way.next() => {
                let done: Option<(Work, Outcome)> = done;
                if let Some((work, outcome)) = done {
                    metrics.note(&outcome);
                    engine.outcome(&work, outcome, clock.now());
                }
            }
            Some(change) = changes.next() => engine.change(change, clock.now()),
            Some(scope) = rights.next() => engine.rights_changed(&scope, clock.now()),
            () = tokio::time::sleep_until(clock.instant(wake).into()) => engine.wake(clock.now()),
        }
        if engine.is_synced()
            && health.ready()
            && let Some(candidacy) = candidacy.take()
        {
            tracing::info!(groups = engine.group_count(), "watching");
            let begun = candidacy.begin()?;
            let applier = Applier::new(client.clone(), clock, begun.leads());
            campaign = Some((begun, applier));
        }
        metrics.see(engine.take_seen());
        if let Some((_, applier)) = &campaign {
            for work in engine.take_work() {
                let gate = match &work.job {
                    Job::Act(_) => &actions,
                    Job::Route(routing) if !matches!(routing.write, Write::Label { .. }) => &switches,
                    Job::Audit(_) => &audits,
                    Job::Route(_) | Job::WriteStatus { .. } | Job::WriteInvalid { .. } | Job::Tell(_) => &reports,
                };
                under_way.push(perform(applier.clone(), metrics.clone(), gate.clone(), term.clone(), work).boxed());
            }
        }
    }
    term.cancel();
    tracing::info!("stopping once the requests under way are answered");
    while under_way.next().await.is_some() {}
    if let Some((campaign, _)) = campaign {
        campaign.resign().await;
    }
    Ok(())
}

/// Does one piece of work, unless its term ends before it can begin. What has begun is waited for.
async fn perform(
    applier: Applier,
    metrics: Arc<Metrics>,
    gate: Arc<Semaphore>,
    term: CancellationToken,
    work: Work,
) -> Option<(Work, Outcome)> {
    let decided = Instant::now();
    let _permit = tokio::select! {
        biased;
        () = term.cancelled() => return None,
        permit = gate.acquire() => permit.ok()?,
    };
    let outcome = applier.perform(&work).await;
    metrics.worked(&work.job, decided.elapsed());
    Some((work, outcome?))
}

/// The six watches as one stream. Pods and Leases wait for groups and nodes to be listed: a pod is filed under the
/// groups that exist, and whose word its phase is depends on its node.
fn watches(client: &Client, metrics: &Arc<Metrics>) -> SelectAll<BoxStream<'static, Change>> {
    let (groups_listed, on_groups) = watch::channel(false);
    let (nodes_listed, on_nodes) = watch::channel(false);
    let config = || watcher::Config::default().timeout(WATCH_SECONDS);
    let groups = announce(one::<GroupWire>(Api::all(client.clone()), config(), metrics), groups_listed);
    let nodes = announce(one::<NodeWire>(Api::all(client.clone()), config(), metrics), nodes_listed);
    // Each node renews a Lease of its own there.
    let elections = config().fields(&format!("metadata.namespace!={HEARTBEATS}"));
    let leases =
        after(one::<LeaseWire>(Api::all(client.clone()), elections, metrics), on_groups.clone(), on_nodes.clone());
    let pods = after(one::<PodWire>(Api::all(client.clone()), config(), metrics), on_groups, on_nodes);
    let own = || config().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let services = one::<ServiceWire>(Api::all(client.clone()), own(), metrics);
    let slices = one::<SliceWire>(Api::all(client.clone()), own(), metrics);
    stream::select_all([
        groups.map(Change::Group).boxed(),
        nodes.map(Change::Node).boxed(),
        leases.map(Change::Lease).boxed(),
        pods.map(Change::Pod).boxed(),
        services.map(Change::Service).boxed(),
        slices.map(Change::Slice).boxed(),
    ])
}

/// One watch that never ends: errors are logged, and the watch is opened again after a while.
fn one<K>(api: Api<K>, config: watcher::Config, metrics: &Arc<Metrics>) -> impl Stream<Item = Event<K>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let metrics = metrics.clone();
    watcher(api, config).default_backoff().filter_map(move |event| {
        let event = event.inspect_err(|error| {
            metrics.watch_restarted(K::kind(&()));
            tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted, opening it again");
        });
        ready(event.ok())
    })
}

fn announce<K: Send + 'static>(
    events: impl Stream<Item = Event<K>> + Send,
    listed: watch::Sender<bool>,
) -> impl Stream<Item = Event<K>> + Send {
    events.inspect(move |event| {
        if matches!(event, Event::InitDone) {
            listed.send_replace(true);
        }
    })
}

fn after<K: Send + 'static>(
    events: impl Stream<Item = Event<K>> + Send,
    mut one: watch::Receiver<bool>,
    mut other: watch::Receiver<bool>,
) -> impl Stream<Item = Event<K>> + Send {
    let both = async move {
        // The senders live as long as the streams that are merged with this one.
        let _ = one.wait_for(|listed| *listed).await;
        let _ = other.wait_for(|listed| *listed).await;
    };
    both.map(move |()| events).flatten_stream()
}
