//! The watches of what the index is made of, as one stream.

use std::future::ready;
use std::sync::Arc;

use futures::stream::{self, BoxStream, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use leadergroup_api::MANAGER;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::WATCH_SECONDS;
use super::failures::{Failures, is_forbidden, patient};
use crate::index::{Change, HEARTBEATS};
use crate::metrics::Metrics;
use crate::traffic::wire::{MANAGED_BY, ServiceWire, SliceWire};
use crate::wire::{GroupWire, LeaseWire, NodeWire, PodWire};

/// All watches: of the whole cluster, or of each of these namespaces.
pub(super) fn changes(
    client: &Client,
    metrics: &Arc<Metrics>,
    namespaces: &[Arc<str>],
) -> SelectAll<BoxStream<'static, Change>> {
    let watches = Watches { client: client.clone(), metrics: metrics.clone() };
    let (nodes_listed, on_nodes) = watch::channel(false);
    let nodes = watches.nodes(!namespaces.is_empty()).inspect(move |change| {
        if matches!(change, Change::Node(Event::InitDone) | Change::NodesHidden) {
            nodes_listed.send_replace(true);
        }
    });
    let mut all = stream::select_all([nodes.boxed()]);
    if namespaces.is_empty() {
        all.extend(watches.within(None, &on_nodes));
    }
    for namespace in namespaces {
        let namespace = namespace.clone();
        let theirs = watches.within(Some(&namespace), &on_nodes);
        all.push(theirs.map(move |change| Change::Within(namespace.clone(), Box::new(change))).boxed());
    }
    all
}

struct Watches {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Watches {
    /// The watches of what is in a namespace, or in all of them. Pods and Leases wait for groups and nodes to be listed: a
    /// pod is filed under the groups that exist, and whose word its phase is depends on its node.
    fn within(
        &self,
        namespace: Option<&str>,
        on_nodes: &watch::Receiver<bool>,
    ) -> SelectAll<BoxStream<'static, Change>> {
        let (groups_listed, on_groups) = watch::channel(false);
        let groups = announce(self.one::<GroupWire>(namespace, config()), groups_listed);
        // Each node renews a Lease of its own there.
        let elections = config().fields(&format!("metadata.namespace!={HEARTBEATS}"));
        let leases = after(self.one::<LeaseWire>(namespace, elections), on_groups.clone(), on_nodes.clone());
        let pods = after(self.one::<PodWire>(namespace, config()), on_groups, on_nodes.clone());
        let own = || config().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let services = self.one::<ServiceWire>(namespace, own());
        let slices = self.one::<SliceWire>(namespace, own());
        stream::select_all([
            groups.map(Change::Group).boxed(),
            leases.map(Change::Lease).boxed(),
            pods.map(Change::Pod).boxed(),
            services.map(Change::Service).boxed(),
            slices.map(Change::Slice).boxed(),
        ])
    }

    /// The watch of nodes. An operator that `may_go_without` says once that it may not read them, and goes on asking now and
    /// then: the right can be granted while it runs.
    fn nodes(&self, may_go_without: bool) -> impl Stream<Item = Change> + Send + use<> {
        let mut hidden = false;
        let mut failures = Failures::default();
        let metrics = self.metrics.clone();
        let events = watcher(Api::<NodeWire>::all(self.client.clone()), config()).default_backoff();
        patient(events).filter_map(move |event| {
            ready(match event {
                Ok(event) => {
                    // That a list is asked for says nothing of the answer.
                    hidden &= !matches!(event, Event::InitDone);
                    failures.seen(&event);
                    Some(Change::Node(event))
                }
                Err(error) if may_go_without && is_forbidden(&error) => {
                    if std::mem::replace(&mut hidden, true) {
                        None
                    } else {
                        tracing::warn!(
                            "this operator may not read nodes, so a node that is lost does not show, and a pod's terminal phase \
                             proves nothing: fewer holders are cleared before their Lease has run out; \
                             config/components/cluster-reads grants it"
                        );
                        Some(Change::NodesHidden)
                    }
                }
                Err(error) => {
                    failures.tell::<NodeWire>(&error, &metrics);
                    None
                }
            })
        })
    }

    /// One watch that never ends: when it fails it is opened again after a while.
    fn one<K>(&self, namespace: Option<&str>, config: watcher::Config) -> impl Stream<Item = Event<K>> + Send + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let metrics = self.metrics.clone();
        let mut failures = Failures::default();
        patient(watcher(api, config).default_backoff()).filter_map(move |event| {
            ready(
                event
                    .inspect(|event| failures.seen(event))
                    .inspect_err(|error| failures.tell::<K>(error, &metrics))
                    .ok(),
            )
        })
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
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
