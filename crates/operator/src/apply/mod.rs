//! The only place that writes. Every write names the version it was decided on, so a late one is refused by the API
//! server; what became of it goes back to the engine.

mod events;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use leadergroup_api::{LeaderGroup, LeaderGroupSpec, LeaderGroupStatus, MANAGER, ReleaseForm};
use serde_json::json;

use crate::decide::{Action, Clear, status};
use crate::engine::{Failure, Job, Outcome, Work};
use crate::index::Key;
use crate::time::Clock;
use crate::wire::{LeaseWire, PodWire};

/// How long one request may take. Past that its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(5);

/// Carries out what the engine decided.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    clock: Clock,
    events: events::Publisher,
}

impl Applier {
    /// An applier that writes as this client.
    pub fn new(client: Client, clock: Clock) -> Self {
        let events = events::Publisher::new(client.clone());
        Self { client, clock, events }
    }

    /// Does one piece of work; none comes back for work that is not answered.
    pub async fn perform(&self, work: &Work) -> Option<Outcome> {
        let requested_at = self.clock.now().mono;
        Some(match &work.job {
            Job::Act(Action::ReadLease { lease }) => {
                Outcome::Lease { requested_at, result: bounded(self.leases(lease).get_opt(&lease.name)).await }
            }
            Job::Act(Action::CreateLease { lease, duration }) => {
                Outcome::Lease { requested_at, result: self.create(lease, *duration).await.map(Some) }
            }
            Job::Act(Action::ReadPods { namespace, selector, name }) => {
                let pods = Api::<PodWire>::namespaced(self.client.clone(), namespace);
                let result = if let Some(name) = name {
                    bounded(pods.get_opt(name)).await.map(Vec::from_iter)
                } else {
                    let params = ListParams::default().labels(selector);
                    bounded(pods.list(&params)).await.map(|list| list.items)
                };
                Outcome::Pods { requested_at, name: name.clone(), result }
            }
            Job::Act(Action::Clear(clear)) => {
                Outcome::Cleared { clear: clear.clone(), requested_at, result: self.clear(clear).await }
            }
            Job::WriteStatus { version, status } => {
                Outcome::Status { result: self.write_status(work, version, status).await.map(Some) }
            }
            Job::WriteInvalid { version, message } => {
                Outcome::Status { result: self.write_invalid(work, version, message).await.map(|()| None) }
            }
            Job::Tell(notice) => {
                self.events.publish(work, notice).await;
                return None;
            }
        })
    }

    fn leases(&self, lease: &Key) -> Api<LeaseWire> {
        Api::namespaced(self.client.clone(), &lease.namespace)
    }

    /// A free Lease, with the times and transitions set: some libraries break on null ones.
    async fn create(&self, lease: &Key, duration: u64) -> Result<LeaseWire, Failure> {
        use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
        let now = Some(MicroTime(
            jiff::Timestamp::from_microsecond(jiff::Timestamp::now().as_microsecond()).unwrap_or_default(),
        ));
        let object = Lease {
            metadata: ObjectMeta { name: Some(lease.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                lease_duration_seconds: i32::try_from(duration).ok(),
                acquire_time: now.clone(),
                renew_time: now,
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        let leases = Api::<Lease>::namespaced(self.client.clone(), &lease.namespace);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match bounded(leases.create(&params, &object)).await {
            // Either way it exists now.
            Ok(_) | Err(Failure::Conflict) => bounded(self.leases(lease).get(&lease.name)).await,
            Err(failure) => Err(failure),
        }
    }

    /// Changes exactly the judged version, by a patch that names it: the API server refuses it for any other, and
    /// fields this operator does not know stay as they are.
    async fn clear(&self, clear: &Clear) -> Result<Option<LeaseWire>, Failure> {
        let leases = self.leases(&clear.lease);
        let holder = match clear.form {
            ReleaseForm::Empty => json!(""),
            ReleaseForm::Null => json!(null),
            ReleaseForm::Delete => {
                let preconditions =
                    Preconditions { uid: Some(clear.uid.clone()), resource_version: Some(clear.version.clone()) };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                return bounded(leases.delete(&clear.lease.name, &params)).await.map(|_| None);
            }
        };
        let patch = json!({
            "metadata": {"resourceVersion": clear.version, "uid": clear.uid},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1},
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        bounded(leases.patch(&clear.lease.name, &params, &Patch::Merge(&patch))).await.map(Some)
    }

    async fn write_status(
        &self,
        work: &Work,
        version: &str,
        status: &LeaderGroupStatus,
    ) -> Result<(String, LeaderGroupStatus), Failure> {
        let groups = Api::<LeaderGroup>::namespaced(self.client.clone(), &work.group.namespace);
        // The API server takes only the status from this; the spec is there because the type has one.
        let mut group = LeaderGroup::new(&work.group.name, LeaderGroupSpec::default());
        group.metadata.resource_version = Some(version.to_owned());
        group.metadata.uid = Some(work.uid.clone());
        group.status = Some(status.clone());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let stored = bounded(groups.replace_status(&work.group.name, &params, &group)).await?;
        Ok((stored.metadata.resource_version.unwrap_or_default(), stored.status.unwrap_or_default()))
    }

    async fn write_invalid(&self, work: &Work, version: &str, message: &str) -> Result<(), Failure> {
        let resource = ApiResource::erase::<LeaderGroup>(&());
        let groups = Api::<DynamicObject>::namespaced_with(self.client.clone(), &work.group.namespace, &resource);
        let now = self.clock.now();
        let stalled = status::stalled_only(LeaderGroupStatus::default(), None, "Undecodable", message.to_owned(), now);
        let patch = json!({
            "metadata": {"resourceVersion": version, "uid": work.uid},
            "status": {"leader": null, "conditions": stalled.conditions},
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        bounded(groups.patch_status(&work.group.name, &params, &Patch::Merge(&patch))).await.map(|_| ())
    }
}

/// A request under its own deadline, with its failure sorted by what can be done about it.
async fn bounded<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(Failure::Unknown(format!("no answer from the API server within {} s", DEADLINE.as_secs()))),
    }
}

fn failure(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => match status.code {
            404 | 409 => Failure::Conflict,
            400..=499 if status.code != 408 => Failure::Denied(status.message.clone()),
            _ => Failure::Unknown(status.message.clone()),
        },
        other => Failure::Unknown(other.to_string()),
    }
}
