//! The real node: containerd, the kubelet and kube-proxy on a bridge of this machine.
//!
//! The bridge has no way out: pods get no default route, and Services have addresses of the bridge's own, so that an
//! address nobody translates ends there.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::Component;
use crate::certs::write_file;
use crate::control_plane::{Network, Setup, flag, free_ports};
use crate::host::{Host, run};
use crate::layout::{Layout, RUN_DIR};
use crate::process::search_path;
use crate::state::State;

/// The bridge of the pods; the kernel may lack the `dummy` device, a bridge it has.
pub(crate) const BRIDGE: &str = "lg0";
/// The node's name in the cluster.
pub(crate) const NODE: &str = "leadergroup-node";
/// The image of the process that holds a pod's namespaces.
pub(crate) const PAUSE_IMAGE: &str = "leadergroup.test/pause:1";
/// All of the node's cgroups are below this one.
pub(crate) const CGROUP: &str = "leadergroup-cluster";
/// The name of the pods' network, which is also how its results are named in CNI's cache.
pub(crate) const CNI_NETWORK: &str = "leadergroup-cluster";

/// All addresses of pods and Services.
pub(crate) const ADDRESSES: &str = "10.87.0.0/16";

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 87, 0, 1);
/// Enough for the addresses of a node full of pods, and of those that just ended.
const POD_RANGE: &str = "10.87.0.0/20";
const POD_RANGE_START: &str = "10.87.0.10";
const BRIDGE_ADDRESS: &str = "10.87.0.1/20";
const SERVICE_RANGE: &str = "10.87.128.0/24";
const MAX_PODS: u16 = 250;

/// The network of a cluster with a real node: the API server listens on the bridge, where pods reach it.
pub(crate) fn network() -> Network {
    Network {
        address: ADDRESS,
        port: 6443,
        service_range: SERVICE_RANGE.to_owned(),
        service_address: Ipv4Addr::new(10, 87, 128, 1),
        publish: true,
    }
}

/// Makes the bridge; its address must be there before the API server listens on it.
pub(crate) fn create_bridge() -> Result<()> {
    run("ip", &["link", "add", BRIDGE, "type", "bridge"]).with_context(|| {
        format!("cannot make the network bridge {BRIDGE}: if it is not a cluster's, delete it with `ip link delete {BRIDGE}`")
    })?;
    run("ip", &["address", "add", BRIDGE_ADDRESS, "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    run("ip", &["route", "add", SERVICE_RANGE, "dev", BRIDGE])?;
    Ok(())
}

/// The socket of the container runtime.
pub(crate) fn socket() -> PathBuf {
    Path::new(RUN_DIR).join("containerd.sock")
}

/// Starts the container runtime.
pub(crate) fn start_runtime(setup: &Setup, host: &Host, state: &mut State) -> Result<()> {
    let layout = setup.layout;
    let networks = layout.config("cni");
    fs::create_dir_all(&networks).with_context(|| format!("cannot create {}", networks.display()))?;
    write_file(&networks.join("10-leadergroup.conflist"), &cni_text())?;
    let config = layout.config("containerd.toml");
    write_file(&config, &containerd_text(layout, host, &networks, may_change_oom_score()))?;
    // containerd finds its shim on the search path.
    let shim = setup.binaries.path("containerd-shim-runc-v2");
    let shim_folder = shim.parent().unwrap_or(Path::new("/")).display().to_string();
    let runtime = setup
        .launch(Component::Containerd, vec![flag("config", config.display())])
        .env("PATH", format!("{shim_folder}:{}", search_path()));
    let launch = runtime.on_a_host_called(NODE);
    state.launch(layout, Component::Containerd, launch)
}

/// Starts the kubelet and kube-proxy, for an API server that is ready and a runtime that has the pause image.
pub(crate) fn start_agents(setup: &Setup, state: &mut State) -> Result<()> {
    let layout = setup.layout;
    let ports = free_ports(3)?;
    let [kubelet_health, proxy_health, proxy_metrics] = ports[..] else {
        unreachable!("three ports were asked for");
    };
    create_cgroups()?;
    let kubeconfig =
        setup.kubeconfig(layout.config("kubelet.kubeconfig"), &format!("system:node:{NODE}"), Some("system:nodes"))?;
    let address = ADDRESS.to_string();
    setup.authority.server(NODE, &[NODE, &address])?.write(layout, "kubelet")?;
    // Pods get their name resolution from this file: they shall ask nobody outside.
    write_file(&layout.config("resolv.conf"), "options ndots:1\n")?;
    let config = layout.config("kubelet.json");
    write_file(&config, &kubelet_text(layout, kubelet_health))?;
    let args = vec![
        flag("config", config.display()),
        flag("kubeconfig", kubeconfig.display()),
        flag("root-dir", Path::new(RUN_DIR).join("kubelet").display()),
        flag("hostname-override", NODE),
        flag("node-ip", &address),
    ];
    state.launch(layout, Component::Kubelet, setup.launch(Component::Kubelet, args))?;

    let path = layout.config("kube-proxy.kubeconfig");
    let kubeconfig = setup.kubeconfig(path, "system:kube-proxy", None)?;
    let config = layout.config("kube-proxy.json");
    write_file(&config, &proxy_text(&kubeconfig, proxy_health, proxy_metrics))?;
    let args = vec![flag("config", config.display())];
    state.launch(layout, Component::KubeProxy, setup.launch(Component::KubeProxy, args))
}

fn cni_text() -> String {
    json!({
        "cniVersion": "1.0.0",
        "name": CNI_NETWORK,
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": Path::new(RUN_DIR).join("addresses"),
                "ranges": [[{"subnet": POD_RANGE, "rangeStart": POD_RANGE_START, "gateway": ADDRESS}]],
                "routes": [{"dst": SERVICE_RANGE}],
            },
        }],
    })
    .to_string()
}

/// In a container or a small virtual machine, root may lack the right to lower an OOM score (`CAP_SYS_RESOURCE`).
fn may_change_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    procfs::process::Process::myself()
        .and_then(|process| process.status())
        .is_ok_and(|status| status.capeff & CAP_SYS_RESOURCE != 0)
}

fn containerd_text(layout: &Layout, host: &Host, networks: &Path, may_change_oom_score: bool) -> String {
    let run = Path::new(RUN_DIR);
    let mut text = format!(
        "version = 3\nimports = []\nroot = {}\nstate = {}\n",
        toml(&layout.data("containerd")),
        toml(&run.join("containerd"))
    );
    let mut section = |name: &str, entries: &[(&str, String)]| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[{name}]\n");
        for (key, value) in entries {
            let _ = writeln!(text, "{key} = {value}");
        }
    };
    let runtime = "plugins.'io.containerd.cri.v1.runtime'";
    section("grpc", &[("address", toml(&socket()))]);
    section("plugins.'io.containerd.internal.v1.opt'", &[("path", toml(&layout.data("containerd-opt")))]);
    // Nothing here survives a power failure anyhow.
    section("plugins.'io.containerd.metadata.v1.bolt'", &[("no_sync", "true".to_owned())]);
    section("plugins.'io.containerd.nri.v1.nri'", &[("disable", "true".to_owned())]);
    section("plugins.'io.containerd.cri.v1.images'.pinned_images", &[("sandbox", toml(Path::new(PAUSE_IMAGE)))]);
    section(
        runtime,
        &[
            ("disable_apparmor", "true".to_owned()),
            ("restrict_oom_score_adj", (!may_change_oom_score).to_string()),
            // They are found and unmounted with everything else in the run folder.
            ("netns_mounts_under_state_dir", "true".to_owned()),
        ],
    );
    section(
        &format!("{runtime}.cni"),
        &[
            ("bin_dirs", format!("[{}]", toml(&host.cni))),
            ("conf_dir", toml(networks)),
            // The plugin for it leaves files that do not tell whose they are.
            ("use_internal_loopback", "true".to_owned()),
        ],
    );
    let runc = format!("{runtime}.containerd.runtimes.runc");
    section(&runc, &[("runtime_type", "'io.containerd.runc.v2'".to_owned())]);
    section(
        &format!("{runc}.options"),
        &[("BinaryName", toml(&host.runc)), ("Root", toml(&run.join("runc"))), ("SystemdCgroup", "false".to_owned())],
    );
    text
}

/// A path as a TOML string.
fn toml(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn kubelet_text(layout: &Layout, health_port: u16) -> String {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "healthzBindAddress": Ipv4Addr::LOCALHOST,
        "healthzPort": health_port,
        "readOnlyPort": 0,
        "tlsCertFile": layout.pki("kubelet.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", socket().display()),
        "podLogsDir": layout.data("pod-logs"),
        "volumePluginDir": layout.data("volume-plugins"),
        "resolvConf": layout.config("resolv.conf"),
        "maxPods": MAX_PODS,
        // The machine's own limits and swap stay as they are, whatever cgroup version it has.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        // A full disk of the developer's is no reason to evict pods.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        // Well inside the controller manager's grace period for nodes.
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 8,
        "syncFrequency": "10s",
        "serializeImagePulls": false,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "eventRecordQPS": 0,
    })
    .to_string()
}

fn proxy_text(kubeconfig: &Path, health_port: u16, metrics_port: u16) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "bindAddress": ADDRESS,
        "healthzBindAddress": format!("127.0.0.1:{health_port}"),
        "metricsBindAddress": format!("127.0.0.1:{metrics_port}"),
        "clientConnection": {"kubeconfig": kubeconfig},
        "nodePortAddresses": [format!("{ADDRESS}/32")],
        // Zero leaves the machine's own settings alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        // Two pods on one bridge answer each other directly, past the translation, unless the source is translated too.
        "nftables": {"masqueradeAll": true, "minSyncPeriod": "100ms"},
    })
    .to_string()
}

/// The folders of the node's top cgroup: one for each hierarchy of version 1, or the one of version 2.
pub(crate) fn cgroup_folders() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let unified = top.join("cgroup.controllers").is_file();
    let hierarchies = if unified {
        vec![top.to_path_buf()]
    } else {
        fs::read_dir(top).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    };
    hierarchies
        .into_iter()
        // Version 1 has links like cpu -> cpu,cpuacct beside the folders.
        .filter(|path| path.is_dir() && !path.is_symlink())
        .map(|path| path.join(CGROUP))
        .collect()
}

fn create_cgroups() -> Result<()> {
    for folder in cgroup_folders() {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create the cgroup {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_configured_for_this_machine() {
        let layout = Layout::new("/checkout/target/cluster").unwrap();
        let host = Host { runc: "/usr/sbin/runc".into(), cni: "/usr/lib/cni".into() };
        let text = containerd_text(&layout, &host, Path::new("/config/cni"), false);
        let (top, sections) = text.split_once("\n\n").unwrap();
        assert!(top.contains("state = \"/run/leadergroup-cluster/containerd\""), "{top}");
        assert!(sections.starts_with("[grpc]\n"), "{sections}");
        for expected in [
            "restrict_oom_score_adj = true",
            "bin_dirs = [\"/usr/lib/cni\"]",
            "BinaryName = \"/usr/sbin/runc\"",
            "sandbox = \"leadergroup.test/pause:1\"",
        ] {
            assert!(sections.contains(expected), "{expected} is not in {sections}");
        }
    }

    #[test]
    fn a_path_with_quotes_stays_one_string() {
        assert_eq!(toml(Path::new("a\"b\\c")), r#""a\"b\\c""#);
    }

    #[test]
    fn a_pod_has_no_way_out_of_the_bridge() {
        let config: serde_json::Value = serde_json::from_str(&cni_text()).unwrap();
        let plugin = &config["plugins"][0];
        assert_eq!(plugin["ipam"]["routes"], json!([{"dst": SERVICE_RANGE}]));
        assert_ne!(plugin["isDefaultGateway"], true);
    }

    #[test]
    fn the_node_reports_more_often_than_it_must() {
        let config: serde_json::Value = serde_json::from_str(&kubelet_text(&Layout::new("/x").unwrap(), 1)).unwrap();
        assert_eq!(config["nodeStatusUpdateFrequency"], "4s");
        assert_eq!(config["cgroupRoot"], "/leadergroup-cluster");
    }
}
