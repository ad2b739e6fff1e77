//! The programs a cluster consists of.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One long-running program of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers: they also notice a lost node.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The container runtime of the real node.
    Containerd,
    /// The real node's agent: while it is stopped the node is lost, and the pods live on.
    Kubelet,
    /// What makes Service addresses work on the real node.
    KubeProxy,
    /// The simulator of nodes without processes.
    Kwok,
}

impl Component {
    /// The program's name, which is also its name on the command line and that of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kwok => "kwok",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_everywhere() {
        for component in Component::value_variants() {
            let on_the_command_line = component.to_possible_value().unwrap();
            assert_eq!(on_the_command_line.get_name(), component.name());
            assert_eq!(serde_json::to_value(component).unwrap(), serde_json::json!(component.name()));
        }
    }
}
