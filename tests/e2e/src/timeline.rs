//! What happened when, by one monotonic clock.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource, ResourceExt};
use leadergroup_api::LeaderGroup;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, timeout};

use crate::LeaseView;
use crate::install::Installed;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A Lease, as it became.
    Lease(Lease),
    /// A Lease that was deleted, as it last was.
    LeaseGone(Lease),
    /// A group, as it became.
    Group(LeaderGroup),
    /// A group that was deleted, as it last was.
    GroupGone(LeaderGroup),
    /// A pod, as it became.
    Pod(Pod),
    /// A pod that was deleted, as it last was.
    PodGone(Pod),
}

/// When something was seen.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it arrived at this program.
    pub at: Instant,
    /// What it was.
    pub seen: Seen,
}

/// A record of all that happens to Leases, groups and pods in a namespace, in order of arrival.
///
/// It is kept by a thread of its own: a test that is busy does not make things seem late.
pub struct Timeline {
    entries: Arc<Mutex<Vec<Entry>>>,
    grown: watch::Receiver<usize>,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Timeline {
    pub(crate) async fn start(installed: &'static Installed, namespace: &str) -> Result<Self> {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let (grow, grown) = watch::channel(0);
        let (listed, mut on_listed) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let recorder = Recorder { entries: entries.clone(), grow: Arc::new(grow), listed: Arc::new(listed) };
        let namespace = namespace.to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("timeline".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    Err(error) = recorder.record_all(installed, &namespace) => eprintln!("no timeline: {error:#}"),
                }
            });
        })?;
        let all_listed = on_listed.wait_for(|kinds| *kinds == 3);
        timeout(Duration::from_secs(30), all_listed).await.context("the watches of a timeline do not start")??;
        Ok(Self { entries, grown, _stop: stop })
    }

    /// All that was seen so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something can be found in what was seen, and returns it.
    pub async fn find<T>(&self, wanted: &str, patience: Duration, find: impl Fn(&[Entry]) -> Option<T>) -> Result<T> {
        let mut grown = self.grown.clone();
        let finding = async {
            loop {
                grown.borrow_and_update();
                if let Some(found) = find(&self.entries.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return Ok(found);
                }
                grown.changed().await.context("the watches of a timeline ended")?;
            }
        };
        match timeout(patience, finding).await {
            Ok(found) => found,
            Err(_) => bail!("not seen within {} s: {wanted}\n{}", patience.as_secs(), self.holders_told()),
        }
    }

    /// Waits until a pod is as described, and returns when that was seen.
    pub async fn pod(&self, wanted: &str, is_so: impl Fn(&Pod) -> bool) -> Result<Instant> {
        let find =
            |entries: &[Entry]| entries.iter().find(|e| matches!(&e.seen, Seen::Pod(pod) if is_so(pod))).map(|e| e.at);
        self.find(wanted, crate::PATIENCE, find).await
    }

    /// Waits until a Lease is as described, and returns when that was seen, and the Lease.
    pub async fn lease(&self, wanted: &str, is_so: impl Fn(&Lease) -> bool) -> Result<(Instant, Lease)> {
        let find = |entries: &[Entry]| {
            entries.iter().find_map(|e| match &e.seen {
                Seen::Lease(lease) if is_so(lease) => Some((e.at, lease.clone())),
                _ => None,
            })
        };
        self.find(wanted, crate::PATIENCE, find).await
    }

    /// The versions of a Lease, in order.
    pub fn leases(&self, name: &str) -> Vec<(Instant, Lease)> {
        let of_name = |entry: Entry| match entry.seen {
            Seen::Lease(lease) if lease.name_any() == name => Some((entry.at, lease)),
            _ => None,
        };
        self.entries().into_iter().filter_map(of_name).collect()
    }

    /// The holders of a Lease one after the other, each with the moment it was first seen; none for a free Lease.
    pub fn holders(&self, lease: &str) -> Vec<(Instant, Option<String>)> {
        let mut holders: Vec<(Instant, Option<String>)> =
            self.leases(lease).into_iter().map(|(at, lease)| (at, lease.holder())).collect();
        holders.dedup_by(|later, earlier| later.1 == earlier.1);
        holders
    }

    /// The last move of a Lease that was held by this holder.
    pub fn last_renewal(&self, lease: &str, holder: &str) -> Option<(Instant, Lease)> {
        let mut held = self.leases(lease);
        held.retain(|(_, lease)| lease.holder().as_deref() == Some(holder));
        held.dedup_by(|later, earlier| later.1.spec == earlier.1.spec);
        held.pop()
    }

    /// When the operator cleared the Lease, and what it then was; none if it did not.
    pub fn cleared(&self, lease: &str) -> Option<(Instant, Lease)> {
        self.leases(lease).into_iter().find(|(_, lease)| lease.is_cleared())
    }

    /// The versions of a group, in order.
    pub fn groups(&self, name: &str) -> Vec<(Instant, LeaderGroup)> {
        let of_name = |entry: Entry| match entry.seen {
            Seen::Group(group) if group.name_any() == name => Some((entry.at, group)),
            _ => None,
        };
        self.entries().into_iter().filter_map(of_name).collect()
    }

    /// Fails if the operator cleared the Lease while this recorded.
    ///
    /// # Panics
    /// That is how it fails.
    pub fn assert_never_cleared(&self, lease: &str) {
        let cleared = self.cleared(lease);
        assert!(cleared.is_none(), "the operator cleared {lease}: {cleared:?}");
    }

    fn holders_told(&self) -> String {
        let Some(start) = self.entries().first().map(|e| e.at) else { return "nothing was seen".to_owned() };
        let told = |entry: &Entry| match &entry.seen {
            Seen::Lease(lease) => Some(format!(
                "{:>7} ms: Lease {} of {:?}, renewed {:?}",
                entry.at.duration_since(start).as_millis(),
                lease.name_any(),
                lease.holder(),
                lease.renewed()
            )),
            _ => None,
        };
        self.entries().iter().filter_map(told).collect::<Vec<_>>().join("\n")
    }
}

#[derive(Clone)]
struct Recorder {
    entries: Arc<Mutex<Vec<Entry>>>,
    grow: Arc<watch::Sender<usize>>,
    listed: Arc<watch::Sender<usize>>,
}

impl Recorder {
    async fn record_all(self, installed: &Installed, namespace: &str) -> Result<()> {
        let client = installed.client().await?;
        let (leases, groups, pods) = (self.clone(), self.clone(), self);
        tokio::join!(
            leases.record(Api::namespaced(client.clone(), namespace), Seen::Lease, Seen::LeaseGone),
            groups.record(Api::namespaced(client.clone(), namespace), Seen::Group, Seen::GroupGone),
            pods.record(Api::namespaced(client, namespace), Seen::Pod, Seen::PodGone),
        );
        bail!("the watches ended")
    }

    async fn record<K>(self, api: Api<K>, became: fn(K) -> Seen, gone: fn(K) -> Seen)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Send
            + DeserializeOwned
            + 'static,
    {
        let mut first = true;
        let mut events = std::pin::pin!(watcher(api, Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => self.add(became(object)),
                Ok(Event::Delete(object)) => self.add(gone(object)),
                Ok(Event::InitDone) if first => {
                    first = false;
                    self.listed.send_modify(|kinds| *kinds += 1);
                }
                Ok(Event::Init | Event::InitDone) => {}
                // The API server may be restarting.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn add(&self, seen: Seen) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at: Instant::now(), seen });
        self.grow.send_modify(|entries| *entries += 1);
    }
}
