//! Starts a cluster, or finds the one that runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::binaries::Binaries;
use crate::control_plane::{self, Network, Setup};
use crate::host::{Host, Owner};
use crate::kubeconfig::Kubectl;
use crate::layout::Layout;
use crate::state::{Running, State};
use crate::{Component, NodeMode, Options, image, kwok, node, progress, teardown};

/// How long the control plane or the node may take to become ready on a slow machine.
const READY: Duration = Duration::from_mins(2);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(200);
/// How much of a log is shown when its component failed.
const LOG_LINES: usize = 15;
/// The simulated nodes of a cluster without a real one.
const DEFAULT_KWOK_NODES: u32 = 2;

/// Starts the cluster unless it runs. The caller holds the cluster's lock.
pub(crate) fn up(layout: &Layout, options: &Options) -> Result<()> {
    if let Some(mut state) = State::load(layout)?
        && state.complete
        && state.is_alive()
    {
        return found(layout, options, &mut state);
    }
    let start = Instant::now();
    teardown::run(layout)?;
    let host = prepare(layout, options.node)?;
    let binaries = Binaries::obtain(host.is_some())?;
    if let Err(error) = fresh(layout, options, &binaries, host.as_ref()) {
        return match teardown::run(layout) {
            Ok(()) => Err(error),
            Err(also) => {
                Err(error.context(format!("the cluster did not start, and cleaning up failed too ({also:#})")))
            }
        };
    }
    progress(&format!("ready after {:.1} s", start.elapsed().as_secs_f32()));
    Ok(())
}

/// Uses the cluster that runs, after starting what has ended of it.
fn found(layout: &Layout, options: &Options, state: &mut State) -> Result<()> {
    let kind = if state.real_node { "with a real node" } else { "without a real node" };
    let fits = match options.node {
        NodeMode::Auto => true,
        NodeMode::Real => state.real_node,
        NodeMode::None => !state.real_node,
    };
    ensure!(fits, "a cluster {kind} runs already: end it first with `cluster down`");
    progress(&format!("a cluster {kind} runs already"));
    let kubectl = kubectl(layout, state)?;
    let ended = state.ended();
    // The others end at once when the API server does not let them in.
    let (first, then): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|component| matches!(component, Component::Etcd | Component::KubeApiserver));
    for component in first {
        restart(layout, state, component)?;
    }
    wait_for_api(layout, state, &kubectl)?;
    for component in then {
        restart(layout, state, component)?;
    }
    if state.real_node {
        wait_for_node(layout, state, &kubectl)?;
    }
    if let Some(count) = options.kwok_nodes.filter(|count| *count > 0) {
        kwok::add_nodes(layout, state, &kubectl, count)?;
    }
    Ok(())
}

fn restart(layout: &Layout, state: &mut State, component: Component) -> Result<()> {
    progress(&format!("starting {component}, which had ended"));
    state.start(layout, component)
}

/// Finds out whether there will be a real node, and claims the machine's for this cluster. A machine whose real node is
/// taken is an error, not a reason to make do without one.
fn prepare(layout: &Layout, mode: NodeMode) -> Result<Option<Host>> {
    if mode == NodeMode::None {
        return Ok(None);
    }
    let host = match Host::prepare() {
        Ok(host) => host,
        Err(error) if mode == NodeMode::Auto => {
            progress(&format!("no real node: {error:#}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let _lock = Owner::lock()?;
    if let Some(owner) = Owner::load()? {
        owner.check_free_for(layout)?;
        progress(&format!("removing what a dead cluster left, that of {}", owner.cluster.display()));
        teardown::remove_leftovers(&owner)?;
    }
    Owner::claim(layout)?;
    Ok(Some(host))
}

fn fresh(layout: &Layout, options: &Options, binaries: &Binaries, host: Option<&Host>) -> Result<()> {
    match fs::remove_dir_all(layout.logs()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the old {}", layout.logs().display()));
        }
        _ => layout.create()?,
    }
    let network = if host.is_some() {
        node::create_bridge()?;
        node::network()
    } else {
        Network::loopback()?
    };
    let mut state = State::new(network.server(), host.is_some());
    state.save(layout)?;
    let setup = Setup::new(layout, binaries, &network)?;
    let kubectl = kubectl_in(layout, binaries);
    let simulator = Running { launch: kwok::prepare(&setup)?, process: None };
    state.components.insert(Component::Kwok, simulator);

    progress("starting the control plane");
    control_plane::start_api(&setup, &mut state)?;
    if let Some(host) = host {
        progress("starting the real node");
        node::start_runtime(&setup, host, &mut state)?;
        import_pause_image(layout, &state, binaries)?;
    }
    wait_for_api(layout, &state, &kubectl)?;
    control_plane::start_controllers(&setup, &mut state)?;
    if host.is_some() {
        node::start_agents(&setup, &mut state)?;
        wait_for_node(layout, &state, &kubectl)?;
    }
    let count = options.kwok_nodes.unwrap_or(if state.real_node { 0 } else { DEFAULT_KWOK_NODES });
    if count > 0 {
        progress(&format!("adding {count} simulated nodes"));
        kwok::add_nodes(layout, &mut state, &kubectl, count)
            .map_err(|error| with_log(layout, Component::Kwok, &error))?;
    }
    wait_for_default_account(layout, &state, &kubectl)?;
    state.complete = true;
    state.save(layout)
}

/// kubectl for a cluster that runs.
pub(crate) fn kubectl(layout: &Layout, state: &State) -> Result<Kubectl> {
    Ok(kubectl_in(layout, &Binaries::obtain(state.real_node)?))
}

fn kubectl_in(layout: &Layout, binaries: &Binaries) -> Kubectl {
    Kubectl { program: binaries.path("kubectl"), kubeconfig: layout.kubeconfig() }
}

/// Waits until the API server answers.
pub(crate) fn wait_for_api(layout: &Layout, state: &State, kubectl: &Kubectl) -> Result<()> {
    wait(layout, state, Component::KubeApiserver, || kubectl.api_is_ready())
}

fn wait_for_node(layout: &Layout, state: &State, kubectl: &Kubectl) -> Result<()> {
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}{.spec.taints}";
    wait(layout, state, Component::Kubelet, || {
        kubectl.run(&["get", "node", node::NODE, "-o", ready], "").is_ok_and(|text| text == "True")
    })
}

/// Pods can be made only when their service account is there, a moment after the namespace.
fn wait_for_default_account(layout: &Layout, state: &State, kubectl: &Kubectl) -> Result<()> {
    wait(layout, state, Component::KubeControllerManager, || {
        let account = ["get", "serviceaccount", "default", "-n", "default"];
        kubectl.run(&account, "").is_ok()
    })
}

/// Waits until the container runtime answers.
pub(crate) fn wait_for_runtime(layout: &Layout, state: &State) -> Result<()> {
    let binaries = Binaries::obtain(true)?;
    wait(layout, state, Component::Containerd, || ctr(&binaries, &["version"]).is_ok())
}

fn import_pause_image(layout: &Layout, state: &State, binaries: &Binaries) -> Result<()> {
    wait_for_runtime(layout, state)?;
    import_image(binaries, node::PAUSE_IMAGE, &[&binaries.path("pause")], &[])
}

/// Makes an image of static programs and imports it into the real node's runtime.
pub(crate) fn import_image(binaries: &Binaries, name: &str, programs: &[&Path], entrypoint: &[String]) -> Result<()> {
    let archive = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    image::write_archive(name, programs, entrypoint, archive.as_file())?;
    let path = archive.path().to_string_lossy();
    ctr(binaries, &["--namespace", "k8s.io", "images", "import", &path])
        .with_context(|| format!("cannot import {name}"))
}

fn ctr(binaries: &Binaries, args: &[&str]) -> Result<()> {
    let output = Command::new(binaries.path("ctr"))
        .arg("--address")
        .arg(node::socket())
        .args(args)
        .output()
        .context("cannot run ctr")?;
    ensure!(
        output.status.success(),
        "ctr {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Waits for a component; when it or another one ends meanwhile, or time runs out, the error has the last lines of the log
/// that tells why. Components that ended before are somebody's purpose.
fn wait(layout: &Layout, state: &State, component: Component, ready: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    let before = state.ended();
    while !ready() {
        let mut ended = state.ended().into_iter();
        if let Some(ended) = ended.find(|ended| *ended == component || !before.contains(ended)) {
            return Err(with_log(layout, ended, &anyhow!("{ended} has ended")));
        }
        if start.elapsed() > READY {
            let error = anyhow!("{component} is not ready after {} s", READY.as_secs());
            return Err(with_log(layout, component, &error));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn with_log(layout: &Layout, component: Component, error: &anyhow::Error) -> anyhow::Error {
    let log = layout.log(component);
    let text = fs::read(&log).unwrap_or_default();
    let lines = last_lines(&String::from_utf8_lossy(&text), LOG_LINES);
    anyhow!("{error:#}; the last lines of {}:\n{lines}", log.display())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// What a cluster without a real node cannot show.
pub(crate) fn announce(layout: &Layout, state: &State) {
    if !state.real_node {
        progress(
            "this cluster has no real node. Pods are simulated: nothing shown here proves anything about processes \
             (crashes, out-of-memory kills, hangs, graceful shutdown), Services, in-cluster credentials or lost nodes",
        );
    }
    progress(&format!("to use it: export KUBECONFIG={}", layout.kubeconfig().display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
