//! etcd, the API server, the built-in controllers and the scheduler.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::Component;
use crate::binaries::Binaries;
use crate::certs::{Authority, IdentityFiles, write_file, write_secret, write_token_keys};
use crate::kubeconfig;
use crate::layout::Layout;
use crate::process::{Launch, MARK};
use crate::state::State;

/// Where the API server listens, and which addresses it gives to Services.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) service_range: String,
    /// The first address of the range: the Service `kubernetes` gets it.
    pub(crate) service_address: Ipv4Addr,
    /// Whether something in the cluster uses the Service `kubernetes`. Its endpoint must not be a loopback address.
    pub(crate) publish: bool,
}

impl Network {
    /// For a control plane without a real node: nothing is reachable from outside this machine.
    pub(crate) fn loopback() -> Result<Self> {
        Ok(Self {
            address: Ipv4Addr::LOCALHOST,
            port: free_ports(1)?[0],
            service_range: "10.87.128.0/24".to_owned(),
            service_address: Ipv4Addr::new(10, 87, 128, 1),
            publish: false,
        })
    }

    pub(crate) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }
}

/// Where ports are looked for: below those the kernel gives to outgoing connections, which could take the port of a
/// component while it is stopped.
const PORTS: Range<u16> = 20_000..30_000;

/// Free ports of the loopback address, all different.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Clusters that are started at the same time begin at different places.
    let offset = RandomState::new().hash_one(std::process::id()) % u64::from(PORTS.end - PORTS.start);
    let skip = usize::try_from(offset).unwrap_or(0);
    let candidates = PORTS.cycle().skip(skip).take(PORTS.len());
    let listeners: Vec<TcpListener> =
        candidates.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(count).collect();
    ensure!(
        listeners.len() == count,
        "there are no {count} free ports on 127.0.0.1 between {} and {}",
        PORTS.start,
        PORTS.end
    );
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr().context("cannot read a socket's address")?.port()))
        .collect()
}

/// The files every component may need, and the way to start one.
pub(crate) struct Setup<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) binaries: &'a Binaries,
    pub(crate) network: &'a Network,
    pub(crate) authority: Authority,
    pub(crate) authority_file: PathBuf,
}

impl<'a> Setup<'a> {
    /// Makes the authority and the administrator's kubeconfig.
    pub(crate) fn new(layout: &'a Layout, binaries: &'a Binaries, network: &'a Network) -> Result<Self> {
        let setup =
            Self { layout, binaries, network, authority: Authority::new()?, authority_file: layout.pki("ca.crt") };
        write_file(&setup.authority_file, &setup.authority.certificate())?;
        write_secret(&layout.pki("ca.key"), &setup.authority.key())?;
        setup.kubeconfig(layout.kubeconfig(), "kubernetes-admin", Some("system:masters"))?;
        Ok(setup)
    }

    /// Writes a kubeconfig for a user and returns its path.
    pub(crate) fn kubeconfig(&self, path: PathBuf, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.client(user, group)?;
        let server = self.network.server();
        let text = kubeconfig::render(&server, &self.authority.certificate(), user, &identity)?;
        write_secret(&path, &text)?;
        Ok(path)
    }

    pub(crate) fn launch(&self, component: Component, args: Vec<String>) -> Launch {
        let folder = self.layout.root().to_string_lossy();
        Launch::new(self.binaries.path(component.name()), args).env(MARK, folder)
    }
}

/// Starts etcd and the API server, which is not ready yet when this returns.
pub(crate) fn start_api(setup: &Setup, state: &mut State) -> Result<()> {
    let ports = free_ports(2)?;
    state.launch(setup.layout, Component::Etcd, etcd(setup, ports[0], ports[1]))?;
    state.launch(setup.layout, Component::KubeApiserver, api_server(setup, ports[0])?)
}

/// Starts the controllers and the scheduler, which end at once when the API server is not ready to let them in.
pub(crate) fn start_controllers(setup: &Setup, state: &mut State) -> Result<()> {
    let ports = free_ports(2)?;
    let launch = controller_manager(setup, ports[0])?;
    state.launch(setup.layout, Component::KubeControllerManager, launch)?;
    let launch = scheduler(setup, ports[1])?;
    state.launch(setup.layout, Component::KubeScheduler, launch)
}

fn etcd(setup: &Setup, client: u16, peer: u16) -> Launch {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let args = vec![
        flag("name", "leadergroup"),
        flag("data-dir", setup.layout.data("etcd").display()),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("leadergroup={peer}")),
        // A killed process loses nothing that it wrote; only a machine that loses power would.
        flag("unsafe-no-fsync", true),
        flag("quota-backend-bytes", 8_u64 << 30),
        flag("log-level", "warn"),
    ];
    setup.launch(Component::Etcd, args)
}

fn api_server(setup: &Setup, etcd: u16) -> Result<Launch> {
    let layout = setup.layout;
    let network = setup.network;
    let address = network.address.to_string();
    let service = network.service_address.to_string();
    let names = [
        address.as_str(),
        service.as_str(),
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let serving = setup.authority.server("kube-apiserver", &names)?.write(layout, "kube-apiserver")?;
    let kubelet_client = setup
        .authority
        .client("kube-apiserver-kubelet-client", Some("system:masters"))?
        .write(layout, "kube-apiserver-kubelet-client")?;
    // Aggregated API servers trust this client to name the user. An authority of its own: no other client can.
    let front_authority = Authority::new()?;
    let front_authority_file = layout.pki("front-proxy-ca.crt");
    write_file(&front_authority_file, &front_authority.certificate())?;
    let front_user = "front-proxy-client";
    let front_proxy = front_authority.client(front_user, None)?.write(layout, front_user)?;
    let (private, public) = write_token_keys(layout)?;
    let audit_policy = layout.config("audit-policy.json");
    write_file(&audit_policy, &audit_policy_text())?;
    let authentication = layout.config("authentication.json");
    write_file(&authentication, &authentication_text())?;

    let mut args = vec![
        flag("etcd-servers", format!("http://127.0.0.1:{etcd}")),
        flag("bind-address", &address),
        flag("secure-port", network.port),
        flag("advertise-address", &address),
        flag("service-cluster-ip-range", &network.service_range),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("authentication-config", authentication.display()),
        flag("client-ca-file", setup.authority_file.display()),
        flag("requestheader-client-ca-file", front_authority_file.display()),
        flag("requestheader-allowed-names", front_user),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("proxy-client-cert-file", front_proxy.certificate.display()),
        flag("proxy-client-key-file", front_proxy.key.display()),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-signing-key-file", private.display()),
        flag("service-account-key-file", public.display()),
        flag("allow-privileged", true),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("kubelet-certificate-authority", setup.authority_file.display()),
        flag("kubelet-client-certificate", kubelet_client.certificate.display()),
        flag("kubelet-client-key", kubelet_client.key.display()),
        flag("audit-policy-file", audit_policy.display()),
        flag("audit-log-path", layout.audit_log().display()),
        // Benchmarks count requests in this file: it must not be rotated away.
        flag("audit-log-maxsize", 0),
        flag("profiling", false),
    ];
    args.extend(serving_flags(&serving));
    if !network.publish {
        args.push(flag("endpoint-reconciler-type", "none"));
    }
    Ok(setup.launch(Component::KubeApiserver, args))
}

/// Only the health checks answer a caller without credentials.
fn authentication_text() -> String {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {
            "enabled": true,
            "conditions": [{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}],
        },
    })
    .to_string()
}

/// Every request is written once, when it was answered. Left out is what the control plane itself does all the time and
/// nobody counts: health checks, node heartbeats and what the API server asks itself.
fn audit_policy_text() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": true,
        "rules": [
            {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*", "/version", "/openapi/*"]},
            {"level": "None", "users": ["system:apiserver"]},
            {"level": "None", "namespaces": ["kube-node-lease"]},
            {"level": "None", "userGroups": ["system:nodes"], "resources": [{"group": "", "resources": ["nodes", "nodes/status"]}]},
            {"level": "Metadata"},
        ],
    })
    .to_string()
}

fn controller_manager(setup: &Setup, port: u16) -> Result<Launch> {
    let layout = setup.layout;
    let user = "system:kube-controller-manager";
    let kubeconfig = setup.kubeconfig(layout.config("kube-controller-manager.kubeconfig"), user, None)?;
    let mut args = client_flags(&kubeconfig, port);
    args.extend([
        flag("root-ca-file", setup.authority_file.display()),
        flag("cluster-signing-cert-file", setup.authority_file.display()),
        flag("cluster-signing-key-file", layout.pki("ca.key").display()),
        flag("service-account-private-key-file", layout.pki("service-account.key").display()),
        flag("service-cluster-ip-range", &setup.network.service_range),
        flag("flex-volume-plugin-dir", layout.data("volume-plugins").display()),
        // Each controller is a user of its own in the audit log.
        flag("use-service-account-credentials", true),
        // A lost node is noticed in seconds, not in the usual minute.
        flag("node-monitor-period", "2s"),
        flag("node-monitor-grace-period", "12s"),
    ]);
    Ok(setup.launch(Component::KubeControllerManager, args))
}

fn scheduler(setup: &Setup, port: u16) -> Result<Launch> {
    let path = setup.layout.config("kube-scheduler.kubeconfig");
    let kubeconfig = setup.kubeconfig(path, "system:kube-scheduler", None)?;
    Ok(setup.launch(Component::KubeScheduler, client_flags(&kubeconfig, port)))
}

/// The flags the controller manager and the scheduler have in common.
fn client_flags(kubeconfig: &std::path::Path, port: u16) -> Vec<String> {
    vec![
        flag("kubeconfig", kubeconfig.display()),
        flag("authentication-kubeconfig", kubeconfig.display()),
        flag("authorization-kubeconfig", kubeconfig.display()),
        flag("bind-address", Ipv4Addr::LOCALHOST),
        flag("secure-port", port),
        // There is only one of each.
        flag("leader-elect", false),
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
        flag("profiling", false),
    ]
}

fn serving_flags(files: &IdentityFiles) -> [String; 2] {
    [flag("tls-cert-file", files.certificate.display()), flag("tls-private-key-file", files.key.display())]
}

/// `--NAME=VALUE`.
pub(crate) fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let mut ports = free_ports(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn the_audit_policy_ends_with_the_rule_for_everything_else() {
        let policy: serde_json::Value = serde_json::from_str(&audit_policy_text()).unwrap();
        let rules = policy["rules"].as_array().unwrap();
        assert_eq!(rules.last().unwrap(), &json!({"level": "Metadata"}));
        // What is left out is left out for a reason that does not touch the counted groups.
        for rule in &rules[..rules.len() - 1] {
            assert_eq!(rule["level"], "None");
            assert!(rule.as_object().unwrap().len() >= 2, "{rule} would leave out everything");
        }
    }
}
