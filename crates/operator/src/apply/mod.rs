//! The only place that writes; what became of it goes back to the engine.
//!
//! Right before each request is sent, this operator's leadership is checked: in the term in which the work was decided,
//! by a clock that goes on while the process or the machine sleeps. A request can still come late: the process is stopped
//! between the check and the sending, or its bytes wait in a socket. Another operator leads by then, and may have decided
//! otherwise. That is why each write can do no harm however late it is:
//!
//! - **Clear** names the UID and the version of the Lease that was judged. If the Lease has moved, by a renewal, by a new
//!   holder, or by another operator's clear, it is refused. If it has not moved, what allowed the clear is still so: a
//!   holder proven dead has not written since, and whoever leads must write first; a Lease that had run out, or a risk
//!   accepted some seconds after the last renewal, is older now. So each version is cleared at most once. A group that was
//!   edited or deleted meanwhile does not stop it, just as when the edit comes right after a clear in time.
//! - **Creating a Lease** is refused where one exists. Where none does, it makes a free one, which any candidate may take;
//!   at worst one stays for a group that does not ask for it any more.
//! - **The timing** that a Lease asks for names the UID and the version of the Lease, so it is refused once anybody has
//!   written to it. If nobody has, it is what the group asked for then, and the operator that leads sees it come and
//!   writes what the group asks for now.
//! - **Status** names the UID and the version of the group, so it is refused once anybody has changed the group. If nobody
//!   has, it is what the former leader knew: it counts no less than the status it replaces, and the operator that leads
//!   sees it come, takes over what was counted, and corrects the rest. The same goes for the status of an object that
//!   can't be read.
//! - **Reviews of access** change nothing: a late one tells what the accounts may do, and its answer is ignored.
//! - **The Service and the `EndpointSlice`** of `spec.routing`, when changed or deleted, are named by UID and version, so a
//!   write is refused once anybody has written to the object. If nobody has, it is what the former leader wanted, and the
//!   operator that leads sees it come and corrects it: until then a pod that has led may get traffic. When created, they
//!   are refused where one of the name exists, and belong to a group of that UID: the garbage collector takes one that
//!   comes after its group is gone.
//! - **The label** of a pod names the pod's UID, for a pod's version changes with each word of its kubelet. A late one is
//!   seen and corrected by the operator that leads; until then it is wrong. Nothing is decided by it.
//! - **Events** have no precondition. A late one tells of what was decided then; nothing is decided by it.

mod events;
mod reviews;
mod routes;

use std::time::Duration;

use futures::future;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use leadergroup_api::{LeaderGroup, LeaderGroupSpec, LeaderGroupStatus, MANAGER, ReleaseForm};
use leadergroup_elector::lease::TIMING;
use serde_json::{Value, json};

use crate::candidacy::Leads;
use crate::decide::{Action, Clear, status};
use crate::engine::{Failure, Found, Job, Outcome, Work};
use crate::index::Key;
use crate::time::Clock;
use crate::wire::{GroupWire, LeaseWire, NodeWire, PodWire};

/// How long one request may take. Past that its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many pods one page of a list has.
const PAGE: u32 = 500;
/// How many nodes are read at the same time, of those that the pods of one group were on.
const NODES_AT_ONCE: usize = 8;

/// Carries out what the engine decided.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    clock: Clock,
    events: events::Publisher,
    leads: Leads,
}

impl Applier {
    /// An applier that writes as this client, while this operator leads.
    pub fn new(client: Client, clock: Clock, leads: Leads) -> Self {
        let events = events::Publisher::new(client.clone());
        Self { client, clock, events, leads }
    }

    /// Does one piece of work.
    pub async fn perform(&self, work: &Work) -> Outcome {
        let requested_at = self.clock.now().mono;
        match &work.job {
            Job::Act(Action::ReadLease { lease }) => {
                let result = self.send(work, self.leases(lease).get_opt(&lease.name)).await;
                Outcome::Lease { requested_at, result }
            }
            Job::Act(Action::CreateLease { lease, duration }) => {
                Outcome::Lease { requested_at, result: self.create(work, lease, *duration).await.map(Some) }
            }
            Job::Act(Action::AskTiming { lease, uid, version, timing }) => {
                let seconds = timing.map(|seconds| json!(seconds.to_string()));
                let annotations: serde_json::Map<_, _> = TIMING.map(str::to_owned).into_iter().zip(seconds).collect();
                let patch = json!({"metadata": {"resourceVersion": version, "uid": uid, "annotations": annotations}});
                let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                let leases = self.leases(lease);
                let result = self.send(work, leases.patch(&lease.name, &params, &Patch::Merge(&patch))).await.map(Some);
                Outcome::Lease { requested_at, result }
            }
            Job::Act(Action::ReadPods { namespace, name, nodes }) => {
                let pods = Api::<PodWire>::namespaced(self.client.clone(), namespace);
                let pods = async {
                    match name {
                        Some(name) => self.send(work, pods.get_opt(name)).await.map(Vec::from_iter),
                        None => self.list(work, &pods).await,
                    }
                };
                let result = future::try_join(pods, self.nodes(work, nodes)).await;
                let result = result.map(|(pods, nodes)| Found { pods, nodes });
                Outcome::Pods { requested_at, name: name.clone(), result }
            }
            Job::Act(Action::ReadNodes { nodes }) => {
                Outcome::Nodes { requested_at, result: self.nodes(work, nodes).await }
            }
            Job::Act(Action::Clear(clear)) => {
                Outcome::Cleared { clear: clear.clone(), requested_at, result: self.clear(work, clear).await }
            }
            Job::Route(step) => Outcome::Routed { step: step.clone(), result: self.route(work, step).await },
            Job::ReadGroup => {
                let groups = Api::<GroupWire>::namespaced(self.client.clone(), &work.group.namespace);
                // The operator has the right to list groups, and needs none to get one.
                let params = ListParams::default().fields(&format!("metadata.name={}", work.group.name));
                let result = self.send(work, groups.list(&params)).await;
                Outcome::Group { result: result.map(|list| list.items.into_iter().next().map(Box::new)) }
            }
            Job::WriteStatus { version, status } => {
                Outcome::Status { result: self.write_status(work, version, status).await.map(Some) }
            }
            Job::WriteInvalid { version, message } => {
                Outcome::Status { result: self.write_invalid(work, version, message).await.map(|()| None) }
            }
            Job::Audit(subject) => self.audit(work, subject, requested_at).await,
            Job::Tell(notice) => {
                let result = self.send(work, self.events.publish(work, notice)).await;
                if let Err(failure) = &result {
                    tracing::debug!(group = %work.group, ?failure, reason = notice.reason, "could not publish an Event");
                }
                Outcome::Told { result }
            }
        }
    }

    /// Sends a request if this operator leads, under a deadline, with its failure sorted by what can be done about it.
    async fn send<T>(&self, work: &Work, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        // A future does nothing before it is polled, which is right after the check.
        if !(self.leads)(work.term) {
            return Err(Failure::NotLeading);
        }
        match tokio::time::timeout(DEADLINE, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Unknown(format!("no answer from the API server within {} s", DEADLINE.as_secs()))),
        }
    }

    /// Lists a namespace's pods page by page.
    async fn list(&self, work: &Work, pods: &Api<PodWire>) -> Result<Vec<PodWire>, Failure> {
        let mut found = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = self.send(work, pods.list(&params)).await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }

    /// Nodes of these names, and none for each that does not exist.
    async fn nodes(&self, work: &Work, names: &[String]) -> Result<Vec<(String, Option<NodeWire>)>, Failure> {
        let nodes = Api::<NodeWire>::all(self.client.clone());
        let mut read = Vec::new();
        for names in names.chunks(NODES_AT_ONCE) {
            let found = future::try_join_all(names.iter().map(|name| self.send(work, nodes.get_opt(name)))).await?;
            read.extend(names.iter().cloned().zip(found));
        }
        Ok(read)
    }

    fn leases(&self, lease: &Key) -> Api<LeaseWire> {
        Api::namespaced(self.client.clone(), &lease.namespace)
    }

    /// A free Lease, with the times and transitions set: some libraries break on null ones.
    async fn create(&self, work: &Work, lease: &Key, duration: u64) -> Result<LeaseWire, Failure> {
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
        match self.send(work, leases.create(&params, &object)).await {
            // Either way it exists now.
            Ok(_) | Err(Failure::Conflict) => self.send(work, self.leases(lease).get(&lease.name)).await,
            Err(failure) => Err(failure),
        }
    }

    /// Changes exactly the judged version: the API server refuses it for any other.
    async fn clear(&self, work: &Work, clear: &Clear) -> Result<Option<LeaseWire>, Failure> {
        let holder = match clear.form {
            ReleaseForm::Empty => json!(""),
            ReleaseForm::Null => json!(null),
            ReleaseForm::Delete => return self.delete(work, clear).await,
        };
        self.release(work, clear, &clear.version, &holder).await.map(Some)
    }

    /// Patches the Lease of this version, so that fields this operator does not know stay as they are.
    async fn release(&self, work: &Work, clear: &Clear, version: &str, holder: &Value) -> Result<LeaseWire, Failure> {
        let patch = json!({
            "metadata": {"resourceVersion": version, "uid": clear.uid},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1},
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let leases = self.leases(&clear.lease);
        self.send(work, leases.patch(&clear.lease.name, &params, &Patch::Merge(&patch))).await
    }

    /// Deletes the Lease. One that has finalizers is answered, and stays with its holder: that version is released then.
    async fn delete(&self, work: &Work, clear: &Clear) -> Result<Option<LeaseWire>, Failure> {
        let preconditions =
            Preconditions { uid: Some(clear.uid.clone()), resource_version: Some(clear.version.clone()) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = self.send(work, self.leases(&clear.lease).delete(&clear.lease.name, &params)).await?;
        let stays = deleted.left().filter(|lease| lease.metadata.deletion_timestamp.is_some());
        let Some(lease) = stays.filter(|lease| lease.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty()))
        else {
            return Ok(None);
        };
        let version = lease.metadata.resource_version.unwrap_or_default();
        self.release(work, clear, &version, &json!("")).await.map(Some)
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
        let stored = self.send(work, groups.replace_status(&work.group.name, &params, &group)).await?;
        Ok((stored.metadata.resource_version.unwrap_or_default(), stored.status.unwrap_or_default()))
    }

    async fn write_invalid(&self, work: &Work, version: &str, message: &str) -> Result<(), Failure> {
        let resource = ApiResource::erase::<LeaderGroup>(&());
        let groups = Api::<DynamicObject>::namespaced_with(self.client.clone(), &work.group.namespace, &resource);
        let stalled = status::undecodable(message.to_owned(), self.clock.now());
        let patch = json!({
            "metadata": {"resourceVersion": version, "uid": work.uid},
            "status": {"leader": null, "conditions": stalled.conditions},
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.send(work, groups.patch_status(&work.group.name, &params, &Patch::Merge(&patch))).await.map(|_| ())
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
