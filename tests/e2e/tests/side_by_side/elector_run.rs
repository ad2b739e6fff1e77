//! `elector run` in pods: the program runs in one at a time, whatever happens to it or to its wrapper.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use leadergroup_e2e::cluster::{ContainerProcess, Signal};
use leadergroup_e2e::{ElectorPods, Entry, Group, LeaseView, Namespace, PodView, Seen, Session, Timeline};

const LEASE_DURATION: Duration = Duration::from_secs(15);

fn billing(program: &[&str]) -> ElectorPods {
    ElectorPods::run("billing", program).timing(15, 10, 2)
}

/// The processes of this name in a pod.
fn processes(session: &Session, pod: &Pod, name: &str) -> Result<Vec<ContainerProcess>> {
    let mut processes = session.cluster().container_pids(pod.metadata.uid.as_deref().context("no UID")?)?;
    processes.retain(|process| process.name == name);
    Ok(processes)
}

/// Looks all the time how many pods run the program.
struct Lookout {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    async fn start(session: &Session, place: &Namespace) -> Result<Self> {
        let pods = place.pods().list(&ListParams::default()).await?.items;
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (session, stopped, found) = (session.clone(), stop.clone(), most.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let running: Vec<_> = pods.iter().filter_map(|p| processes(&session, p, "workload").ok()).collect();
                // The first may have ended before the last was looked for.
                let still = running.iter().filter(|processes| processes.iter().any(ContainerProcess::is_alive));
                found.fetch_max(still.count(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Ok(Self { stop, most, thread: Some(thread) })
    }

    /// The most pods that ran the program at the same time.
    fn most(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits until a pod holds the Lease, and all are ready. Returns that pod.
async fn until_held(place: &Namespace, replicas: i32) -> Result<Pod> {
    use k8s_openapi::api::apps::v1::Deployment;
    let ready = |d: &Deployment| d.status.as_ref().is_some_and(|status| status.ready_replicas == Some(replicas));
    place.until("billing", "all pods are ready", ready).await?;
    let lease = place.until("billing", "the Lease is held", |lease: &Lease| lease.holder().is_some()).await?;
    let holder = lease.holder().context("nobody holds it any more")?;
    Ok(place.pods().get(holder.split('_').next().unwrap_or_default()).await?)
}

/// Waits until the pod that holds the Lease also runs the program. Returns that pod.
async fn until_settled(session: &Session, place: &Namespace, replicas: i32) -> Result<Pod> {
    let pod = until_held(place, replicas).await?;
    let deadline = Instant::now() + leadergroup_e2e::PATIENCE;
    while processes(session, &pod, "workload")?.is_empty() {
        ensure!(Instant::now() < deadline, "the leader does not run the program\n{}", place.tell().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(pod)
}

/// Waits until another pod than that one holds the Lease, and returns when that was seen.
async fn until_another_holds(timeline: &Timeline, pod: &Pod) -> Result<Instant> {
    let name = pod.name_any();
    let another = |lease: &Lease| lease.holder().is_some_and(|holder| !holder.starts_with(&name));
    Ok(timeline.lease("another pod holds the Lease", another).await?.0)
}

#[tokio::test]
async fn a_program_that_crashes_hands_over_without_waiting_for_the_lease() -> Result<()> {
    let promise = "the end of a wrapped program releases its Lease at once";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("crash").await?;
    place.create(&Group::named("billing").timing(15, 10, 2).build()).await?;
    place.run_elector(&billing(&["/workload", "--with-daemon"]).replicas(3)).await?;
    let leader = until_settled(&session, &place, 3).await?;
    let lookout = Lookout::start(&session, &place).await?;
    let timeline = place.timeline().await?;
    let program = processes(&session, &leader, "workload")?;
    ensure!(program.len() == 2, "the program and its daemon run: {program:?}");
    let crashed = Instant::now();
    for process in program {
        process.signal(Signal::KILL)?;
    }
    let took = until_another_holds(&timeline, &leader).await?.duration_since(crashed);
    eprintln!("crash of the program to another holder: {} ms", took.as_millis());
    assert!(took < LEASE_DURATION / 2, "{took:?}");
    timeline.pod("the container runs again", |pod| pod.restarts() == 1).await?;
    until_settled(&session, &place, 3).await?;
    assert_eq!(lookout.most(), 1, "the program ran in so many pods at once");
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_hands_over_when_its_program_has_ended() -> Result<()> {
    let promise = "a pod that is told to end releases its Lease as soon as its program has ended";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("delete").await?;
    place.run_elector(&billing(&["/workload", "--stop-takes=500", "--print-env=ELECTOR_"]).replicas(2)).await?;
    let leader = until_settled(&session, &place, 2).await?;
    let log = place.kubectl(&["logs", &leader.name_any()]).await?;
    assert!(log.contains("workload has ELECTOR_LEASE=billing"), "{log}");
    assert!(log.contains("workload has ELECTOR_TOKEN="), "{log}");
    let lookout = Lookout::start(&session, &place).await?;
    let timeline = place.timeline().await?;
    let deleted = Instant::now();
    place.delete_pod(&leader.name_any()).await?;
    let took = until_another_holds(&timeline, &leader).await?.duration_since(deleted);
    eprintln!("deletion of the pod, whose program takes 500 ms to end, to another holder: {} ms", took.as_millis());
    assert!(took > Duration::from_millis(500), "the program was still ending: {took:?}");
    assert!(took < LEASE_DURATION / 2, "{took:?}");
    assert_eq!(lookout.most(), 1, "the program ran in so many pods at once");
    Ok(())
}

#[tokio::test]
async fn the_program_of_a_stopped_wrapper_is_dead_before_another_leads() -> Result<()> {
    let promise = "the watchdog ends the program of a wrapper that is stopped";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("stop").await?;
    place.run_elector(&billing(&["/workload", "--ignore-term", "--with-daemon"]).replicas(2)).await?;
    let leader = until_settled(&session, &place, 2).await?;
    let lookout = Lookout::start(&session, &place).await?;
    let timeline = place.timeline().await?;
    let wrapper = processes(&session, &leader, "elector")?;
    let [wrapper] = &*wrapper else { anyhow::bail!("one wrapper: {wrapper:?}") };
    wrapper.signal(Signal::STOP)?;
    until_another_holds(&timeline, &leader).await?;
    assert!(processes(&session, &leader, "workload")?.is_empty(), "the program outlived its term");
    let next = until_settled(&session, &place, 2).await?;
    assert_ne!(next.name_any(), leader.name_any());
    wrapper.signal(Signal::CONT)?;
    // It stands by, in the same container, and leads again when the other one is gone.
    let timeline = place.timeline().await?;
    place.delete_pod(&next.name_any()).await?;
    until_another_holds(&timeline, &next).await?;
    let log = place.kubectl(&["logs", &leader.name_any()]).await?;
    assert!(log.contains("campaigning again"), "{log}");
    assert_eq!(lookout.most(), 1, "the program ran in so many pods at once");
    Ok(())
}

/// Resident memory of a process, in KiB.
fn resident(process: &ContainerProcess) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test]
async fn wrapper_and_watchdog_are_small() -> Result<()> {
    let promise = "at most 8 MiB resident, leading and standing by";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("small").await?;
    place.run_elector(&billing(&["/workload"]).replicas(2)).await?;
    let leader = until_settled(&session, &place, 2).await?;
    // Some renewals, so that what they need is there.
    let timeline = place.timeline().await?;
    let renewals =
        |entries: &[Entry]| (entries.iter().filter(|e| matches!(e.seen, Seen::Lease(_))).count() > 3).then_some(());
    timeline.find("three renewals", leadergroup_e2e::PATIENCE, renewals).await?;
    for pod in place.pods().list(&ListParams::default()).await?.items {
        let role = if pod.name_any() == leader.name_any() { "leading" } else { "standing by" };
        for name in ["elector", "elector-watch"] {
            for process in processes(&session, &pod, name)? {
                let kib = resident(&process)?;
                eprintln!("{name}, {role}: {kib} KiB resident");
                assert!(kib <= 8 * 1024, "{name}, {role}: {kib} KiB");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_right_is_told_with_what_to_apply() -> Result<()> {
    let promise = "a candidate without rights says what to apply, and leads once that is done";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("rights").await?;
    place.run_elector(&billing(&["/workload"]).without_right("create").without_right("update")).await?;
    let deadline = Instant::now() + leadergroup_e2e::PATIENCE;
    let log = loop {
        let log = place.kubectl(&["logs", "deployment/billing"]).await.unwrap_or_default();
        if log.contains("kind: RoleBinding") {
            break log;
        }
        ensure!(Instant::now() < deadline, "no Role is printed:\n{log}\n{}", place.tell().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let account = format!("ServiceAccount billing of namespace {}", place.name());
    assert!(log.contains(&format!("{account} may not create Lease billing")), "{log}");
    let manifest: Vec<&str> = log
        .lines()
        .skip_while(|line| !line.starts_with("apiVersion:"))
        .take_while(|line| !line.starts_with("20"))
        .collect();
    place.apply(&manifest.join("\n")).await?;
    until_held(&place, 1).await?;
    Ok(())
}
