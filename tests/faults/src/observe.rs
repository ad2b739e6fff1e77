//! The Leases as somebody sees them who has no part in the election.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use leadergroup_elector::clock::boottime;
use tokio::task::JoinHandle;

use crate::check::Record;

/// After a watch has failed.
const AGAIN: Duration = Duration::from_millis(100);

type Records = BTreeMap<String, Vec<Record>>;

/// Watches the Leases of a namespace until it is dropped.
#[derive(Debug)]
pub struct Observer {
    records: Arc<Mutex<Records>>,
    watching: JoinHandle<()>,
}

impl Observer {
    /// Begins. Must be called within a tokio runtime.
    pub fn start(client: Client, namespace: &str) -> Self {
        let records = Arc::new(Mutex::new(Records::new()));
        let api = Api::<Lease>::namespaced(client, namespace);
        let watching = tokio::spawn(watch(api, records.clone()));
        Self { records, watching }
    }

    /// What was seen of a Lease, in that order; not all versions if the watch was lost meanwhile.
    pub fn of(&self, lease: &str) -> Vec<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(lease).cloned().unwrap_or_default()
    }

    /// What was seen last of a Lease.
    pub fn last(&self, lease: &str) -> Option<Record> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.get(lease)?.last().cloned()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(api: Api<Lease>, records: Arc<Mutex<Records>>) {
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(lease) | Event::InitApply(lease))) => note(&records, &lease),
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn note(records: &Mutex<Records>, lease: &Lease) {
    let Some(version) = lease.resource_version().and_then(|version| version.parse().ok()) else { return };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
    let of = records.entry(lease.name_any()).or_default();
    if of.last().is_none_or(|last| last.version < version) {
        of.push(Record { seen: boottime(), version, holder });
    }
}
