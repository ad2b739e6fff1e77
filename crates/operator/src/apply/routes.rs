//! Writes by which traffic goes: a Service, its `EndpointSlice`, labels.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{PartialObjectMeta, Request};
use kube::{Api, Resource};
use leadergroup_api::MANAGER;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Applier;
use crate::engine::{Failure, Stored, Work};
use crate::index::Key;
use crate::routing::body::body;
use crate::routing::next::On;
use crate::routing::{Step, Write};
use crate::traffic::RouteKind;
use crate::traffic::wire::{ServiceWire, SliceWire};
use crate::wire::PodWire;

impl Applier {
    /// Does one step. Where the object is not as it was decided on, or not of this group, it is read instead.
    pub(super) async fn route(&self, work: &Work, step: &Step) -> Result<(bool, Stored), Failure> {
        let name = match &step.write {
            Write::Slice { name, .. }
            | Write::Empty { name }
            | Write::Service { name, .. }
            | Write::Delete { name, .. } => name,
            Write::Label { pod, .. } => return self.label(work, step, pod).await,
        };
        let key = Key::new(&work.group.namespace, name);
        let body = body(&step.write, &work.group, &work.uid);
        match &step.write {
            Write::Delete { kind: RouteKind::Service, .. } | Write::Service { .. } => {
                let (done, service) = self.put::<ServiceWire>(work, &key, step.on.as_ref(), body).await?;
                Ok((done, Stored::Service(key, service)))
            }
            _ => {
                let (done, slice) = self.put::<SliceWire>(work, &key, step.on.as_ref(), body).await?;
                Ok((done, Stored::Slice(key, slice)))
            }
        }
    }

    /// Creates, changes or deletes the object. True if that was done, with the object as it is then; else the object as it
    /// is instead.
    async fn put<K>(
        &self,
        work: &Work,
        key: &Key,
        on: Option<&On>,
        body: Option<Value>,
    ) -> Result<(bool, Option<K>), Failure>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &key.namespace);
        let field_manager = Some(MANAGER.to_owned());
        let written = match (on, body) {
            (None, Some(body)) => {
                let params = PostParams { field_manager, ..PostParams::default() };
                let request = Request::new(K::url_path(&(), Some(&key.namespace)));
                let created = async {
                    let request = request.create(&params, body.to_string().into_bytes());
                    self.client.request::<K>(request.map_err(kube::Error::BuildRequest)?).await
                };
                self.send(work, created).await.map(Some)
            }
            (Some(on), Some(mut body)) => {
                body["metadata"]["uid"] = json!(on.uid);
                body["metadata"]["resourceVersion"] = json!(on.version);
                let params = PatchParams { field_manager, ..PatchParams::default() };
                self.send(work, api.patch(&key.name, &params, &Patch::Merge(&body))).await.map(Some)
            }
            (on, None) => {
                let preconditions =
                    on.map(|on| Preconditions { uid: Some(on.uid.clone()), resource_version: on.version.clone() });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                self.send(work, api.delete(&key.name, &params)).await.map(|_| None)
            }
        };
        match written {
            Ok(object) => Ok((true, object)),
            Err(Failure::Conflict) => Ok((false, self.send(work, api.get_opt(&key.name)).await?)),
            Err(failure) => Err(failure),
        }
    }

    /// A conflict means that the pod is gone, or another.
    async fn label(&self, work: &Work, step: &Step, pod: &str) -> Result<(bool, Stored), Failure> {
        let pods = Api::<PodWire>::namespaced(self.client.clone(), &work.group.namespace);
        let mut patch = body(&step.write, &work.group, &work.uid).unwrap_or_default();
        patch["metadata"]["uid"] = json!(step.on.as_ref().map(|on| &on.uid));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let labelled = self.send(work, pods.patch_metadata(pod, &params, &Patch::Merge(&patch))).await;
        labelled.map(|_: PartialObjectMeta<PodWire>| (true, Stored::Pod))
    }
}
