//! The objects by which a group's traffic goes: what its spec asks for, and what there is on the API server.

pub mod wire;

use std::net::IpAddr;

use leadergroup_api::{LeaderGroup, RoutedPort};

/// `spec.routing`, defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The name of the Service, and of its `EndpointSlice`.
    pub name: String,
    /// The ports.
    pub ports: Vec<Port>,
    /// Nobody gets traffic while the leader's pod is not Ready.
    pub require_ready: bool,
    /// Candidates' pods are labelled.
    pub pod_labels: bool,
}

impl Plan {
    /// What the group asks for, if anything.
    pub fn of(group: &LeaderGroup) -> Option<Self> {
        let routing = group.spec.routing.as_ref()?;
        Some(Self {
            name: group.leader_service_name()?,
            ports: routing.service.ports.iter().map(Port::from).collect(),
            require_ready: routing.require_ready,
            pod_labels: routing.pod_labels,
        })
    }

    /// The ports of the `EndpointSlice`: those of the pod.
    pub fn slice_ports(&self) -> Vec<Port> {
        self.ports.iter().map(|port| Port { port: None, ..port.clone() }).collect()
    }
}

/// A port of the Service or, without a port of the Service's, of the `EndpointSlice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where there is but one.
    pub name: String,
    /// The Service's port.
    pub port: Option<i64>,
    /// The pod's port.
    pub target: i64,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// What the application speaks.
    pub app_protocol: Option<String>,
}

impl From<&RoutedPort> for Port {
    fn from(port: &RoutedPort) -> Self {
        Self {
            name: port.name.clone().unwrap_or_default(),
            port: Some(port.port.into()),
            target: port.target_port.unwrap_or(port.port).into(),
            protocol: port.protocol.as_str().to_owned(),
            app_protocol: port.app_protocol.clone(),
        }
    }
}

/// The one address that gets traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's primary address.
    pub ip: IpAddr,
    /// The pod's name.
    pub pod: String,
    /// The UID of the pod's object.
    pub uid: String,
    /// The pod's node.
    pub node: Option<String>,
    /// The node's zone.
    pub zone: Option<String>,
}

impl Endpoint {
    /// The kind of address, as an `EndpointSlice` names it.
    pub fn family(&self) -> &'static str {
        if self.ip.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// The two kinds of object that route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// An `EndpointSlice`: first, for a Service without one sends nobody anywhere.
    Slice,
    /// A Service.
    Service,
}

impl std::fmt::Display for RouteKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Slice => "EndpointSlice",
            Self::Service => "Service",
        })
    }
}

/// An object as it is on the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<F> {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// The group that it says controls it: name and UID.
    pub owner: Option<(String, String)>,
    /// What of it matters.
    pub facts: F,
}

/// What matters of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// It selects pods, so slices of theirs are made for it, which stay if the selector is taken away.
    pub selects: bool,
    /// Its ports, if all else about it is as this operator writes it.
    pub ports: Option<Vec<Port>>,
}

/// What matters of an `EndpointSlice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFacts {
    /// `IPv4` or `IPv6`; never changes.
    pub family: String,
    /// It has no endpoint.
    pub is_empty: bool,
    /// Its endpoint and its ports, if all else about it is as this operator writes it.
    pub content: Option<(Option<Endpoint>, Vec<Port>)>,
}

/// An object that the group owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Which kind.
    pub kind: RouteKind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// It is an `EndpointSlice` with endpoints.
    pub sends: bool,
}

/// What there is for one group.
#[derive(Clone, Debug, Default)]
pub struct Existing<'a> {
    /// The Service of the wanted name, and whether it is the group's.
    pub service: Option<(&'a Found<ServiceFacts>, bool)>,
    /// The `EndpointSlice` of that name, and whether it is the group's.
    pub slice: Option<(&'a Found<SliceFacts>, bool)>,
    /// What the group owns under other names.
    pub stale: Vec<Owned>,
}

impl Existing<'_> {
    /// Whether there is nothing.
    pub fn is_nothing(&self) -> bool {
        self.service.is_none() && self.slice.is_none() && self.stale.is_empty()
    }
}
