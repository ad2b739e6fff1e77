//! How fast a holder is cleared once its kubelet's word is visible, on a machine that does nothing else: the word is
//! written by this program, so that no pod has to start or stop meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use leadergroup_e2e::{LeaseView, Namespace, Session, lease_of};
use serde::de::DeserializeOwned;
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
    let [mut clear, mut bare_read, mut bare_write, mut bare_both] = std::array::from_fn(|_| Samples::default());
    for n in 0..CLEARS {
        tokio::time::sleep(APART).await;
        let (read, write) = bare(&space, n).await?;
        bare_read.add(read);
        bare_write.add(write);
        bare_both.add(read + write);
        tokio::time::sleep(APART).await;
        clear.add(one(&space, n).await?);
    }
    println!("\n## From evidence visible to clear written, one at a time, in milliseconds\n");
    let mut latency = samples_table("what");
    latency.add_row(clear.row("report seen to clear seen", 1000.0, "p99 <= 10"));
    latency.add_row(bare_both.row("the same two requests by this program, with no watch before", 1000.0, ""));
    latency.add_row(bare_read.row("of these the read of a pod", 1000.0, ""));
    latency.add_row(bare_write.row("of these the change of a Lease", 1000.0, ""));
    println!("{latency}");
    Ok(())
}

/// A pod ends; from its report to the clear, as watches of just these two objects bring them: more would have the API
/// server busy with this program's own lists.
async fn one(space: &Namespace, n: usize) -> Result<Duration> {
    let pod = space.pods().get(&pod_name(n, 0)).await?;
    let lease = space.leases().get(&group_name(n)).await?;
    let has_ended = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Succeeded");
    let reported = tokio::spawn(first(space.pods(), pod.clone(), has_ended));
    let cleared = tokio::spawn(first(space.leases(), lease, |lease: &Lease| lease.is_cleared()));
    tokio::time::sleep(APART).await;
    let ended = Patch::Merge(ended(&pod)?);
    space.pods().patch_status(&pod_name(n, 0), &PatchParams::default(), &ended).await?;
    let (reported, cleared) = (reported.await??, cleared.await??);
    Ok(cleared.saturating_duration_since(reported))
}

/// When the watch brings the first state after this one that is as asked for.
async fn first<K>(objects: Api<K>, known: K, wanted: impl Fn(&K) -> bool) -> Result<Instant>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let params = WatchParams::default().fields(&format!("metadata.name={}", known.name_any()));
    let version = known.resource_version().context("an object without a resourceVersion")?;
    let mut events = objects.watch(&params, &version).await?.boxed();
    let found = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Modified(object) = event
                && wanted(&object)
            {
                return anyhow::Ok(Instant::now());
            }
        }
        bail!("the watch of {} ended before anything came of it", known.name_any())
    };
    tokio::time::timeout(LONG, found).await.with_context(|| format!("{} did not change in time", known.name_any()))?
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
