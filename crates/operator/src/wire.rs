//! What is read off the wire: only the fields that are used, and leniently.
//!
//! Whoever may write a Lease may write nonsense into it. A time that does not parse or a number out of
//! range must not fail the whole list it stands in, so such fields are kept as text and judged later. Nor may it be told
//! at any length, so a holder's identity is kept short.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease as K8sLease;
use k8s_openapi::api::core::v1::{Node as K8sNode, Pod as K8sPod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use leadergroup_api::LeaderGroup;
use leadergroup_api::library::{self, Library};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::text::{cut, stand_in};

/// The longest identity that is kept as it is, in bytes: those of a pod's name, its node's and a UID together are shorter.
const LONGEST_IDENTITY: usize = 640;
/// The longest reason why an object can't be read, in bytes: it may quote what stands where it should not.
const LONGEST_ERROR: usize = 1_024;

/// A list that the API server may also send as null.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(d)?.unwrap_or_default())
}

/// The used part of metadata. The rest is not read: clients write the times of managed fields, in years that no
/// timestamp here can have.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetadataWire<W = IgnoredAny, O = IgnoredAny> {
    managed_fields: W,
    owner_references: O,
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    finalizers: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

/// The most that is kept of an object's labels, in bytes. No pod of good faith has so many, and the index would hold them
/// all: one that has more is treated as one that has none, so it is no candidate.
const MOST_LABELS: usize = 16_384;

impl<W, O> From<MetadataWire<W, O>> for ObjectMeta {
    fn from(wire: MetadataWire<W, O>) -> Self {
        Self {
            name: wire.name,
            generate_name: wire.generate_name,
            namespace: wire.namespace,
            uid: wire.uid,
            resource_version: wire.resource_version,
            generation: wire.generation,
            creation_timestamp: wire.creation_timestamp.and_then(|t| t.parse().ok()).map(Time),
            deletion_timestamp: wire.deletion_timestamp.map(|t| Time(t.parse().unwrap_or_default())),
            finalizers: wire.finalizers,
            labels: wire
                .labels
                .filter(|labels| labels.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() <= MOST_LABELS),
            annotations: wire.annotations,
            ..Self::default()
        }
    }
}

fn metadata<'de, D: Deserializer<'de>>(d: D) -> Result<ObjectMeta, D::Error> {
    MetadataWire::<IgnoredAny>::deserialize(d).map(ObjectMeta::from)
}

/// [`metadata`] with the owners.
pub(crate) fn owned_metadata<'de, D: Deserializer<'de>>(d: D) -> Result<ObjectMeta, D::Error> {
    let mut wire = MetadataWire::<IgnoredAny, Option<Vec<OwnerReference>>>::deserialize(d)?;
    let owner_references = wire.owner_references.take();
    Ok(ObjectMeta { owner_references, ..wire.into() })
}

/// An identity, or what stands for one that is too long to be told.
fn identity<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.map(|text| stand_in(text, LONGEST_IDENTITY)))
}

/// A `LeaderGroup`, or an object that would be one if it could be read.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = LeaderGroup)]
pub struct GroupWire {
    /// Name, namespace, UID, resourceVersion, generation, age.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Spec and status.
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl GroupWire {
    /// The group, or why it can't be read.
    pub fn read(self) -> DeserializeGuard<LeaderGroup> {
        let Self { metadata, mut rest } = self;
        rest.insert("metadata".to_owned(), Value::Object(serde_json::Map::new()));
        DeserializeGuard(match LeaderGroup::deserialize(Value::Object(rest)) {
            Ok(group) => Ok(LeaderGroup { metadata, ..group }),
            Err(error) => {
                let metadata = ObjectMeta { labels: None, annotations: None, ..metadata };
                Err(InvalidObject { error: cut(error.to_string(), LONGEST_ERROR), metadata })
            }
        })
    }
}

/// A `coordination.k8s.io/v1` Lease.
#[derive(Resource, Clone, Debug, Default, Deserialize)]
#[resource(inherit = K8sLease)]
#[serde(from = "WrittenLease")]
pub struct LeaseWire {
    /// Name, namespace, UID, resourceVersion.
    pub metadata: ObjectMeta,
    /// The record that candidates race for.
    pub spec: LeaseRecord,
    /// The election library that wrote the record, if it is recognised.
    pub library: Option<Library>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenLease {
    metadata: MetadataWire<Writers>,
    spec: LeaseRecord,
}

impl From<WrittenLease> for LeaseWire {
    fn from(wire: WrittenLease) -> Self {
        let WrittenLease { metadata, spec } = wire;
        let record = library::Record {
            labels: metadata.labels.as_ref(),
            holder: spec.holder(),
            has_duration: spec.lease_duration_seconds.is_some(),
            has_renew_time: spec.renew_time.is_some(),
        };
        let library = library::recognise(metadata.managed_fields.0.iter().map(WriterWire::writer), record);
        Self { metadata: metadata.into(), spec, library }
    }
}

/// The entries of managed fields, which the API server may also send as null.
#[derive(Default, Deserialize)]
#[serde(from = "Option<Vec<WriterWire>>")]
struct Writers(Vec<WriterWire>);

impl From<Option<Vec<WriterWire>>> for Writers {
    fn from(writers: Option<Vec<WriterWire>>) -> Self {
        Self(writers.unwrap_or_default())
    }
}

/// The used part of an entry of managed fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WriterWire {
    manager: Option<String>,
    operation: Option<String>,
    time: Option<String>,
    fields_v1: Option<FieldsWire>,
}

/// Whether an entry of managed fields owns fields of the spec.
#[derive(Default, Deserialize)]
#[serde(default)]
struct FieldsWire {
    #[serde(rename = "f:spec")]
    spec: Option<IgnoredAny>,
}

impl WriterWire {
    fn writer(&self) -> library::Writer<'_> {
        library::Writer {
            manager: self.manager.as_deref().unwrap_or_default(),
            applies: self.operation.as_deref() == Some("Apply"),
            time: self.time.as_deref(),
            writes_spec: self.fields_v1.as_ref().is_some_and(|fields| fields.spec.is_some()),
        }
    }
}

/// A Lease's spec. Two records are equal exactly if nothing moved.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseRecord {
    /// Who holds the Lease; absent or empty if nobody does.
    #[serde(deserialize_with = "identity")]
    pub holder_identity: Option<String>,
    /// Seconds.
    pub lease_duration_seconds: Option<i64>,
    /// By the holder's clock.
    pub acquire_time: Option<String>,
    /// By the holder's clock.
    pub renew_time: Option<String>,
    /// The candidates' own count.
    pub lease_transitions: Option<i64>,
    /// Set where coordinated leader election decides.
    #[serde(deserialize_with = "identity")]
    pub strategy: Option<String>,
    /// Coordinated leader election's choice.
    #[serde(deserialize_with = "identity")]
    pub preferred_holder: Option<String>,
}

impl LeaseRecord {
    /// The holder, if there is one.
    pub fn holder(&self) -> Option<&str> {
        self.holder_identity.as_deref().filter(|h| !h.is_empty())
    }

    /// The duration, if it is one that a Lease can have.
    pub fn duration(&self) -> Option<u64> {
        self.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0)
    }

    /// The Lease's own counter, if it is one.
    pub fn transitions(&self) -> Option<i64> {
        self.lease_transitions.filter(|n| *n >= 0)
    }

    /// The last renewal by the holder's clock, if it can be read.
    pub fn renewed(&self) -> Option<jiff::Timestamp> {
        self.renew_time.as_deref().and_then(|t| t.parse().ok())
    }

    /// The acquisition by the holder's clock, if it can be read.
    pub fn acquired(&self) -> Option<jiff::Timestamp> {
        self.acquire_time.as_deref().and_then(|t| t.parse().ok())
    }
}

/// A Pod.
#[derive(Resource, Clone, Debug, Default, Deserialize)]
#[resource(inherit = K8sPod)]
pub struct PodWire {
    /// Name, namespace, UID, labels, annotations, owners.
    #[serde(deserialize_with = "owned_metadata")]
    pub metadata: ObjectMeta,
    /// What identifies the pod and its containers.
    #[serde(default)]
    pub spec: PodSpecWire,
    /// What its kubelet reports.
    #[serde(default)]
    pub status: PodStatusWire,
}

/// The used part of a pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct PodSpecWire {
    pub node_name: Option<String>,
    pub hostname: Option<String>,
    pub service_account_name: Option<String>,
    pub host_network: bool,
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    pub share_process_namespace: bool,
    pub restart_policy: Option<String>,
    pub runtime_class_name: Option<String>,
    #[serde(deserialize_with = "list")]
    pub containers: Vec<ContainerWire>,
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<ContainerWire>,
    #[serde(deserialize_with = "list")]
    pub ephemeral_containers: Vec<ContainerWire>,
}

/// The used part of a container's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerWire {
    pub name: String,
    pub restart_policy: Option<String>,
    #[serde(deserialize_with = "list")]
    pub restart_policy_rules: Vec<IgnoredAny>,
}

/// The used part of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct PodStatusWire {
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<ConditionWire>,
    #[serde(deserialize_with = "list")]
    pub container_statuses: Vec<ContainerStatusWire>,
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Vec<ContainerStatusWire>,
    #[serde(deserialize_with = "list")]
    pub ephemeral_container_statuses: Vec<ContainerStatusWire>,
}

/// A condition of a pod or node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ConditionWire {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: Option<String>,
    pub last_transition_time: Option<String>,
}

/// What the kubelet says of one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerStatusWire {
    pub name: String,
    pub restart_count: i64,
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    pub state: ContainerStateWire,
    pub last_state: ContainerStateWire,
}

/// One of waiting, running, terminated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ContainerStateWire {
    pub waiting: Option<WaitingWire>,
    pub running: Option<RunningWire>,
    pub terminated: Option<TerminatedWire>,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct RunningWire {
    pub started_at: Option<String>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct WaitingWire {
    pub reason: Option<String>,
}

/// How a run of a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct TerminatedWire {
    pub exit_code: i64,
    pub reason: Option<String>,
    pub finished_at: Option<String>,
}

/// A Node.
#[derive(Resource, Clone, Debug, Default, Deserialize)]
#[resource(inherit = K8sNode)]
pub struct NodeWire {
    /// Name and labels.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// Taints.
    #[serde(default)]
    pub spec: NodeSpecWire,
    /// Readiness.
    #[serde(default)]
    pub status: NodeStatusWire,
}

/// The used part of a node's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct NodeSpecWire {
    #[serde(deserialize_with = "list")]
    pub taints: Vec<TaintWire>,
}

/// A taint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct TaintWire {
    pub key: String,
}

/// The used part of a node's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct NodeStatusWire {
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<ConditionWire>,
    pub node_info: NodeInfoWire,
}

/// The used part of what a node says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct NodeInfoWire {
    pub kubelet_version: String,
    pub container_runtime_version: String,
}
