//! Traffic to the leader only.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::LeaderGroup;

/// A Service whose only endpoint is the pod that leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routing {
    /// The Service that the operator creates, and keeps as declared here.
    pub service: RoutedService,

    /// Send only while the leader's pod is Ready. By default a leader gets traffic whether it is Ready or not: a
    /// readiness probe may well be what only the leader passes.
    #[serde(default)]
    pub require_ready: bool,

    /// Keep the label `leadergroup.dev/role` on the candidates' pods, with the value `leader` or `standby`. The operator
    /// needs the right to patch pods for it: `config/components/pod-labels`.
    #[serde(default)]
    pub pod_labels: bool,
}

/// The Service that only the leader answers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.ports.size() == 1 || self.ports.all(p, has(p.name))")
        .message("routing.service.ports: where there are several, each needs a name"),
    validation = Rule::new("self.ports.all(p, !has(p.name) || self.ports.exists_one(q, has(q.name) && q.name == p.name))")
        .message("routing.service.ports: two ports have the same name"),
    validation = Rule::new("self.ports.all(p, self.ports.exists_one(q, q.port == p.port && q.protocol == p.protocol))")
        .message("routing.service.ports: two ports have the same port and protocol")
)]
pub struct RoutedService {
    /// The name of the Service, in the group's namespace. Default: the group's name with `-leader` behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
            .message("routing.service.name must be a Service's name: lower-case letters, digits and '-', beginning with a letter")
    )]
    pub name: Option<String>,

    /// The ports of the Service.
    #[schemars(length(min = 1, max = 16))]
    pub ports: Vec<RoutedPort>,
}

/// A port of the Service, and of the leader's pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutedPort {
    /// Its name. May be left out where there is but one port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("a port's name may use only lower-case letters, digits and '-'")
    )]
    pub name: Option<String>,

    /// The port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// The port of the pod, a number. Default: that of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,

    /// What is spoken below the application.
    #[serde(default)]
    pub protocol: Protocol,

    /// What the application speaks, as in a Service's `appProtocol`: for instance `http` or `kubernetes.io/h2c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(
        validation = Rule::new("self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')")
            .message("appProtocol must be a name such as http, or one with a domain before it such as kubernetes.io/h2c")
    )]
    pub app_protocol: Option<String>,
}

/// What is spoken below the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// The name as Services and `EndpointSlices` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl LeaderGroup {
    /// The name of the Service that only the leader answers, defaults applied; none if none is asked for.
    pub fn leader_service_name(&self) -> Option<String> {
        let routing = self.spec.routing.as_ref()?;
        let default = || format!("{}-leader", self.metadata.name.as_deref().unwrap_or_default());
        Some(routing.service.name.clone().unwrap_or_else(default))
    }
}
