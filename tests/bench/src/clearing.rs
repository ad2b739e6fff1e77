//! How fast a holder is cleared once its kubelet's word is visible, on a machine that does nothing else: the word is
//! written by this program, so that no pod has to start or stop meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use leadergroup_e2e::{LeaseView, Namespace, Seen, Session, lease_of};
use serde_json::{Value, json};

use crate::figures::{Samples, samples_table};
use crate::size::{fill, group_name, pod_name};

const CLEARS: usize = 200;
const LONG: Duration = Duration::from_secs(30);
const SPARE: &str = "spare";
/// What is left of the requests that one clear causes has been answered by the next.
const APART: Duration = Duration::from_millis(200);

/// Measures and prints.
pub async fn run(session: &Session) -> Result<()> {
    let space = session.namespace("clearing").await?;
    eprintln!("{CLEARS} clears, one after the other");
    fill(session, &space, CLEARS, 1).await?;
    space.create(&lease_of(SPARE, "nobody", 15)).await?;
    let (mut clear, mut bare_read, mut bare_write) = (Samples::default(), Samples::default(), Samples::default());
    for n in 0..CLEARS {
        tokio::time::sleep(APART).await;
        let (read, write) = bare(&space, n).await?;
        bare_read.add(read);
        bare_write.add(write);
        tokio::time::sleep(APART).await;
        clear.add(one(&space, n).await?);
    }
    println!("\n## From evidence visible to clear written, one at a time, in milliseconds\n");
    let mut latency = samples_table("what");
    latency.add_row(clear.row("report seen to clear seen", 1000.0, "p99 <= 10"));
    latency.add_row(bare_read.row("this program's own read of a pod", 1000.0, ""));
    latency.add_row(bare_write.row("this program's own change of a Lease", 1000.0, ""));
    println!("{latency}");
    Ok(())
}

/// A pod ends; from its report to the clear, as this program's watches bring them.
async fn one(space: &Namespace, n: usize) -> Result<Duration> {
    // A timeline holds all that it saw: one for each clear keeps them small.
    let timeline = space.timeline().await?;
    let (group, pod) = (group_name(n), pod_name(n, 0));
    let ended = ended(&space.pods().get(&pod).await?)?;
    space.pods().patch_status(&pod, &PatchParams::default(), &Patch::Merge(ended)).await?;
    let (cleared, _) =
        timeline.lease(&format!("{group} is cleared"), |lease| is(lease, &group) && lease.is_cleared()).await?;
    let reported = timeline
        .find(&format!("{pod} has ended"), LONG, |entries| {
            entries.iter().find_map(|entry| match &entry.seen {
                Seen::Pod(seen) if is(seen, &pod) && phase(seen) == Some("Succeeded") => Some(entry.at),
                _ => None,
            })
        })
        .await?;
    Ok(cleared.saturating_duration_since(reported))
}

fn is(object: &impl kube::ResourceExt, name: &str) -> bool {
    object.name_any() == name
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// The least that any clear by proof takes: a read of the pod, and then a write of the Lease.
async fn bare(space: &Namespace, n: usize) -> Result<(Duration, Duration)> {
    let lease: Lease = space.leases().get(SPARE).await?;
    let patch = json!({
        "metadata": {"resourceVersion": lease.metadata.resource_version},
        "spec": {"holderIdentity": format!("nobody-{n}")},
    });
    let from = Instant::now();
    space.pods().get(&pod_name(n, 0)).await?;
    let read = from.elapsed();
    space.leases().patch(SPARE, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok((read, from.elapsed().saturating_sub(read)))
}

/// The status of this pod as its kubelet would write it once its containers have ended.
fn ended(pod: &Pod) -> Result<Value> {
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = pod.status.as_ref().context("the pod has no status")?;
    let mut containers = serde_json::to_value(&status.container_statuses)?;
    for container in containers.as_array_mut().context("the pod has no containers")? {
        let run = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
        container["state"] = run;
        container["ready"] = json!(false);
    }
    Ok(json!({"status": {"phase": "Succeeded", "containerStatuses": containers}}))
}
