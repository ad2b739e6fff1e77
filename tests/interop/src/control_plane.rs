//! The control plane's own electors, as kubeadm runs them: pods on their node's network, under the Leases of their own
//! names. They are observed, and nothing is written to their Leases.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use kube::{Api, ResourceExt};
use leadergroup_api::MANAGER;
use leadergroup_cluster::workspace_root;
use leadergroup_e2e::cluster::Component;
use leadergroup_e2e::{Group, GroupView, Namespace, PodView, Session};
use serde_json::{Value, json};

use crate::build::{self, Built};
use crate::matrix::Row;
use crate::pods::{NAME, pod};
use crate::scene::{Death, Ended, end};

/// Those that elect a leader.
pub const PROGRAMS: [Component; 2] = [Component::KubeScheduler, Component::KubeControllerManager];

/// One of them leads, its pod is deleted, and another takes over when the Lease has run out.
pub async fn row(session: &Session, program: Component) -> Result<Row> {
    let place = session.namespace(program.name()).await?;
    allow(session, &place, program).await?;
    let built = built(session, &place, program)?;
    place.create(&Group::named(NAME).lease(program.name()).observes().build()).await?;
    run(session, &place, "first", &built).await?;
    let leader = place.until_settled(NAME).await?;
    let node = leader.spec.as_ref().and_then(|spec| spec.node_name.clone()).context("a pod without a node leads")?;
    let holder = place.groups().get(NAME).await?.holder().context("nobody holds the Lease")?.identity;
    ensure!(holder.starts_with(&format!("{node}_")), "the holder {holder:?} does not name the node {node}");

    let ended = deleted(session, &place, program.name(), &leader, &built).await?;
    let group = place.until_led_by_another(NAME, &leader.name_any()).await?;
    ensure!(group.seen().transitions == 1, "{} transitions after one", group.seen().transitions);
    let lease: Lease = place.leases().get(program.name()).await?;
    let managers: Vec<_> = lease.managed_fields().iter().filter_map(|field| field.manager.clone()).collect();
    ensure!(
        !managers.iter().any(|manager| manager == MANAGER),
        "a Lease that is only observed was written: {managers:?}"
    );
    let own = lease.spec.and_then(|spec| spec.lease_transitions);
    let nothing = || "-".to_owned();
    let mut cells = vec![ended.told()];
    if ended.outcome.is_late() {
        place.until_event_that(NAME, |_, note| note.contains("policy Observe leaves the Lease alone")).await?;
        cells[0].push_str("; `Clear` would have been earlier");
    }
    cells.extend((0..8).map(|_| nothing()));
    cells.extend([if own == Some(1) { "yes" } else { "no" }.to_owned(), nothing()]);
    Ok(Row {
        client: program.name().to_owned(),
        library: program.name().to_owned(),
        setting: None,
        version: built.version,
        identity: "{node}_{any}".to_owned(),
        spec: "`staleHolder.policy: Observe`".to_owned(),
        cells,
        slower: Vec::new(),
    })
}

/// Deletes the leader's pod, and starts another when it is gone, as a kubelet does with static pods.
async fn deleted(session: &Session, place: &Namespace, lease: &str, leader: &Pod, built: &Built) -> Result<Ended> {
    let successor = async {
        place.until_gone::<Pod>(&leader.name_any()).await?;
        run(session, place, "second", built).await
    };
    let (ended, begun) = tokio::join!(Box::pin(end(session, place, lease, leader, Death::Deleted)), successor);
    begun?;
    ended
}

async fn run(session: &Session, place: &Namespace, name: &str, built: &Built) -> Result<()> {
    let mut pod = pod(name, build::image(session)?, built, true);
    pod["spec"]["hostNetwork"] = json!(true);
    place.apply(&pod.to_string()).await?;
    place.until(name, "the pod runs", Pod::is_ready).await.map(drop)
}

/// The rights that the control plane's own have, beside those to Leases in the namespace.
async fn allow(session: &Session, place: &Namespace, program: Component) -> Result<()> {
    let authorization = "rbac.authorization.k8s.io";
    let owner = Api::<KubeNamespace>::all(session.client()).get(place.name()).await?;
    let binding = |cluster_role: &str| {
        json!({
            "apiVersion": format!("{authorization}/v1"), "kind": "ClusterRoleBinding",
            // It goes with the namespace.
            "metadata": {
                "name": format!("{}:{cluster_role}", place.name()),
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Namespace", "name": place.name(), "uid": owner.uid()},
                ],
            },
            "roleRef": {"apiGroup": authorization, "kind": "ClusterRole", "name": cluster_role},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": place.name()}],
        })
    };
    let mut items = crate::pods::rights();
    items.extend([binding(&format!("system:{program}")), binding("system:volume-scheduler")]);
    place.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
}

/// The cluster's own program, made to elect in the namespace and to do no work that the cluster's own does.
fn built(session: &Session, place: &Namespace, program: Component) -> Result<Built> {
    let path = session.cluster().program(program)?;
    let told = Command::new(&path).arg("--version").output().with_context(|| format!("cannot run {program}"))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = told.trim().strip_prefix("Kubernetes v").with_context(|| format!("{program} says {told:?}"))?;
    let folder = workspace_root()?.join("target/interop").join(program.name());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut command = vec![path.display().to_string(), "--secure-port=0".to_owned()];
    match program {
        Component::KubeScheduler => {
            let config = folder.join("config.json");
            fs::write(&config, scheduler_config(place).to_string()).context("cannot write the configuration")?;
            command.push(format!("--config={}/config.json", build::HOME));
        }
        _ => command.extend([
            "--leader-elect".to_owned(),
            format!("--leader-elect-resource-namespace={}", place.name()),
            "--controllers=ttl-after-finished-controller".to_owned(),
        ]),
    }
    let needs = path.parent().map(ToOwned::to_owned).into_iter().collect();
    Ok(Built { version: version.to_owned(), folder, command, needs, env: BTreeMap::new(), cpu: None })
}

/// It schedules only what asks for it by its name.
fn scheduler_config(place: &Namespace) -> Value {
    json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": true, "resourceNamespace": place.name()},
        "profiles": [{"schedulerName": place.name()}],
    })
}
