//! Tells when roles or bindings change, and whose rights that may concern. Only their metadata is asked for, and nothing of
//! it is kept. An operator that may not watch them works without.

use std::fmt::Debug;
use std::future::ready;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::WATCH_SECONDS;
use super::failures::patient;
use crate::audit::{Scope, schedule::PERIOD};

/// Whose rights have changed, again and again.
pub(super) fn changes(client: &Client) -> SelectAll<BoxStream<'static, Scope>> {
    stream::select_all([
        of::<Role>(client),
        of::<RoleBinding>(client),
        of::<ClusterRole>(client),
        of::<ClusterRoleBinding>(client),
    ])
}

fn of<K>(client: &Client) -> BoxStream<'static, Scope>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api = Api::<PartialObjectMeta<K>>::all(client.clone());
    let (mut may_have_missed, mut failing) = (false, false);
    let events = watcher(api, watcher::Config::default().timeout(WATCH_SECONDS)).default_backoff();
    patient(events)
        .filter_map(move |event| {
            let scope = match event {
                Ok(Event::Apply(object) | Event::Delete(object)) => {
                    Some(object.metadata.namespace.map_or(Scope::Cluster, Scope::Namespace))
                }
                // What changed before a list that is not the first one asked for is not known.
                Ok(Event::InitDone) => std::mem::replace(&mut may_have_missed, true).then_some(Scope::Cluster),
                Ok(Event::InitApply(_)) => None,
                // That one says no more than that a list was asked for.
                Ok(Event::Init) => return ready(None),
                Err(error) => {
                    may_have_missed = true;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            kind = %K::kind(&()), %error,
                            "can't watch these: a change of rights shows within {} min; if it is forbidden, apply \
                             config/rbac/role.yaml",
                            (PERIOD * 6 / 5).as_secs() / 60
                        );
                    }
                    return ready(None);
                }
            };
            failing = false;
            ready(scope)
        })
        .boxed()
}
