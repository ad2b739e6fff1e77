//! The loop that joins the engine to the API server: watches of six kinds of objects in, requests out; and those that tell
//! when rights change, without which it works as well.
//!
//! An operator campaigns once its watches have listed what there is, so that one that can't see never leads. Standing by
//! it keeps the watches, for a takeover takes no longer than a decision.

mod rights;

use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use futures::stream::{self, BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
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
/// How long to wait before nodes are asked for again that may not be read.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_mins(1);
/// The loop shows that it turns at least this often.
const TICK: Duration = Duration::from_secs(5);

/// What is watched, and where holders are cleared.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The namespaces that are watched; all of them if there are none here.
    pub namespaces: Vec<Arc<str>>,
    /// Whether holders are cleared in the namespaces that are Kubernetes' own.
    pub clears_in_system_namespaces: bool,
}

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
    reach: Reach,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let mut engine = Engine::new(reach.clears_in_system_namespaces).within(reach.namespaces.clone());
    let mut changes = watches(&client, &reach.namespaces);
    // An operator for some namespaces learns by its periodic audits that rights have changed, if it may audit.
    let mut rights = if reach.namespaces.is_empty() { rights::changes(&client) } else { SelectAll::new() };
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
                metrics.forget_groups();
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
        metrics.show_groups(engine.take_figures());
        if let Some((_, applier)) = &campaign {
            for work in engine.take_work() {
                let gate = match &work.job {
                    Job::Act(_) => &actions,
                    Job::Route(routing) if !matches!(routing.write, Write::Label { .. }) => &switches,
                    Job::Audit(_) => &audits,
                    Job::Route(_) | Job::WriteStatus { .. } | Job::WriteInvalid { .. } | Job::Tell(_) => &reports,
                };
                under_way.push(perform(applier.clone(), gate.clone(), term.clone(), work).boxed());
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
    gate: Arc<Semaphore>,
    term: CancellationToken,
    work: Work,
) -> Option<(Work, Outcome)> {
    let _permit = tokio::select! {
        biased;
        () = term.cancelled() => return None,
        permit = gate.acquire() => permit.ok()?,
    };
    let outcome = applier.perform(&work).await?;
    Some((work, outcome))
}

/// All watches as one stream: of the whole cluster, or of each of these namespaces.
fn watches(client: &Client, namespaces: &[Arc<str>]) -> SelectAll<BoxStream<'static, Change>> {
    let (nodes_listed, on_nodes) = watch::channel(false);
    let nodes = nodes(client, !namespaces.is_empty()).inspect(move |change| {
        if matches!(change, Change::Node(Event::InitDone) | Change::NodesHidden) {
            nodes_listed.send_replace(true);
        }
    });
    let mut all = stream::select_all([nodes.boxed()]);
    if namespaces.is_empty() {
        all.extend(within(client, None, &on_nodes));
    }
    for namespace in namespaces {
        let namespace = namespace.clone();
        let theirs = within(client, Some(&namespace), &on_nodes);
        all.push(theirs.map(move |change| Change::Within(namespace.clone(), Box::new(change))).boxed());
    }
    all
}

/// The watches of what is in a namespace, or in all of them. Pods and Leases wait for groups and nodes to be listed: a pod
/// is filed under the groups that exist, and whose word its phase is depends on its node.
fn within(
    client: &Client,
    namespace: Option<&str>,
    on_nodes: &watch::Receiver<bool>,
) -> SelectAll<BoxStream<'static, Change>> {
    let (groups_listed, on_groups) = watch::channel(false);
    let groups = announce(one::<GroupWire>(api(client, namespace), config()), groups_listed);
    // Each node renews a Lease of its own there.
    let elections = config().fields(&format!("metadata.namespace!={HEARTBEATS}"));
    let leases = after(one::<LeaseWire>(api(client, namespace), elections), on_groups.clone(), on_nodes.clone());
    let pods = after(one::<PodWire>(api(client, namespace), config()), on_groups, on_nodes.clone());
    let own = || config().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let services = one::<ServiceWire>(api(client, namespace), own());
    let slices = one::<SliceWire>(api(client, namespace), own());
    stream::select_all([
        groups.map(Change::Group).boxed(),
        leases.map(Change::Lease).boxed(),
        pods.map(Change::Pod).boxed(),
        services.map(Change::Service).boxed(),
        slices.map(Change::Slice).boxed(),
    ])
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The watch of nodes. An operator that `may_go_without` says once that it may not read them, and goes on asking now and
/// then: the right can be granted while it runs.
fn nodes(client: &Client, may_go_without: bool) -> impl Stream<Item = Change> + Send + use<> {
    let mut hidden = false;
    watcher(Api::<NodeWire>::all(client.clone()), config()).default_backoff().filter_map(move |event| {
        let (change, wait) = match event {
            Ok(event) => {
                // That a list is asked for says nothing of the answer.
                hidden &= !matches!(event, Event::InitDone);
                (Some(Change::Node(event)), Duration::ZERO)
            }
            Err(error) if may_go_without && is_forbidden(&error) => {
                if std::mem::replace(&mut hidden, true) {
                    (None, BEFORE_ASKING_AGAIN)
                } else {
                    tracing::warn!(
                        "this operator may not read nodes, so a node that is lost does not show, and a pod's terminal phase \
                         proves nothing: fewer holders are cleared before their Lease has run out; \
                         config/components/cluster-reads grants it"
                    );
                    (Some(Change::NodesHidden), Duration::ZERO)
                }
            }
            Err(error) => {
                tell_interrupted::<NodeWire>(&error);
                (None, Duration::ZERO)
            }
        };
        async move {
            tokio::time::sleep(wait).await;
            change
        }
    })
}

fn is_forbidden(error: &watcher::Error) -> bool {
    use kube::Error::Api;
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    matches!(error, InitialListFailed(Api(status)) | WatchStartFailed(Api(status)) | WatchError(status) if status.is_forbidden())
}

/// One watch that never ends: errors are logged, and the watch is opened again after a while.
fn one<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config)
        .default_backoff()
        .filter_map(|event| async move { event.inspect_err(tell_interrupted::<K>).ok() })
}

fn tell_interrupted<K: Resource<DynamicType = ()>>(error: &watcher::Error) {
    tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted, opening it again");
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
