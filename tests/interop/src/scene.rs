//! One set of pods that elect with one library, or with two.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use leadergroup_api::{LeaderGroup, ReleaseForm};
use leadergroup_e2e::cluster::Signal;
use leadergroup_e2e::{Entry, Group, GroupView, LeaseView, Namespace, PodView, Seen, Session};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Client;
use crate::build::{self, Built};
use crate::pods::{NAME, pod, rights};

/// Longer than a Lease of 15 seconds and the slowest way to notice that it ran out.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// A takeover that took as long as the Lease lasts was not helped by a clear.
pub const AT_ONCE: Duration = Duration::from_secs(10);

/// What a process wrote before it was killed has arrived by then.
const IN_FLIGHT: Duration = Duration::from_millis(50);

/// Programs that start slowly play in so few scenes at once.
static SLOW_SCENES: Semaphore = Semaphore::const_new(4);

/// Whether the Lease has a LeaderGroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The operator clears it.
    With,
    /// The operator does not know of it, so that the library is on its own.
    Without,
}

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its pod is deleted.
    Deleted,
    /// Its pod is deleted without waiting for its process to end, which proves nothing.
    Forced,
    /// Its process is killed.
    Killed,
}

/// What followed a leader's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Somebody leads again, so many seconds later.
    Led(f64),
    /// Nobody did for [`PATIENCE`].
    Never,
}

impl Outcome {
    /// Whether no clear helped.
    pub fn is_late(self) -> bool {
        !matches!(self, Self::Led(seconds) if seconds < AT_ONCE.as_secs_f64())
    }

    /// How long it took, if somebody led.
    pub fn seconds(self) -> Option<f64> {
        match self {
            Self::Led(seconds) => Some(seconds),
            Self::Never => None,
        }
    }

    /// For the matrix.
    pub fn told(self) -> String {
        match self {
            Self::Led(seconds) if !self.is_late() => format!("{seconds:.1} s"),
            Self::Led(seconds) => format!("{seconds:.1} s, no earlier than its Lease ran out"),
            Self::Never => format!("never (in {} s)", PATIENCE.as_secs()),
        }
    }
}

/// Pods that campaign for a Lease.
pub struct Scene {
    session: Session,
    /// Where all is.
    pub place: Namespace,
    image: &'static str,
    clients: Vec<(Client, Built)>,
    arm: Arm,
    pods: usize,
    _turn: Option<SemaphorePermit<'static>>,
}

impl Scene {
    /// A namespace, with the group if there is to be one, and one pod of each client, or two if there is one; once one of
    /// them leads.
    pub async fn open(session: &Session, clients: Vec<(Client, Built)>, arm: Arm, restarts: bool) -> Result<Self> {
        let first = clients.first().context("nobody to play")?.0;
        let slow = clients.iter().any(|(client, _)| client.starts_slowly());
        let turn = if slow { Some(SLOW_SCENES.acquire().await?) } else { None };
        let place = session.namespace(&format!("interop-{}", first.folder)).await?;
        place.apply(&json!({"apiVersion": "v1", "kind": "List", "items": rights()}).to_string()).await?;
        if arm == Arm::With {
            let mut group = Group::named(NAME).timing(15, 10, 2).release(first.release);
            if let Some(template) = first.identity {
                group = group.identity(template);
            }
            place.create(&group.build()).await?;
        }
        let image = build::image(session)?;
        let mut scene = Self { session: session.clone(), place, image, clients, arm, pods: 0, _turn: turn };
        scene.add(restarts).await?;
        scene.place.until(NAME, "a pod leads", |lease: &Lease| lease.holder().is_some()).await?;
        scene.add(restarts).await?;
        let longest = scene.clients.iter().map(|(client, _)| client.settles).max().unwrap_or_default();
        tokio::time::sleep(longest).await;
        Ok(scene)
    }

    /// One more pod, of the clients in turn. Returns its name once it runs.
    pub async fn add(&mut self, restarts: bool) -> Result<String> {
        let (client, built) = &self.clients[self.pods % self.clients.len()];
        let name = format!("{}-{}", client.folder, self.pods);
        self.pods += 1;
        self.place.apply(&pod(&name, self.image, built, restarts).to_string()).await?;
        self.place.until(&name, "the pod runs", Pod::is_ready).await?;
        Ok(name)
    }

    /// The leader's pod, once it has renewed a few times.
    pub async fn settled(&self) -> Result<Pod> {
        if self.arm == Arm::With {
            return self.place.until_settled(NAME).await;
        }
        self.place.until_renewed_steadily(NAME).await?;
        let holder = self.place.leases().get(NAME).await?.holder().context("nobody leads any more")?;
        let pods = self.place.pods().list(&ListParams::default()).await?.items;
        let named = pods.into_iter().filter(|pod| holder.contains(&pod.name_any()));
        // The tenth pod's name begins like the first's.
        let longest = named.max_by_key(|pod| pod.name_any().len());
        longest.with_context(|| format!("the holder {holder:?} is no pod of {}", self.place.name()))
    }

    /// Changes how the operator clears.
    pub async fn release(&self, form: ReleaseForm) -> Result<()> {
        let patch = json!({"spec": {"staleHolder": {"release": form}}}).to_string();
        self.place.kubectl(&["patch", "leadergroup", NAME, "--type=merge", "--patch", &patch]).await.map(drop)
    }

    /// Ends the leader, and says what followed.
    pub async fn end(&self, leader: &Pod, death: Death) -> Result<Ended> {
        end(&self.session, &self.place, NAME, leader, death).await
    }

    /// The group.
    pub async fn group(&self) -> Result<LeaderGroup> {
        Ok(self.place.groups().get(NAME).await?)
    }

    /// The holder's identity with the pod's name in it replaced by `{pod}`, and what looks random by `{any}`.
    pub async fn identity(&self, leader: &Pod) -> Result<String> {
        let group = self.group().await?;
        let holder = group.holder().context("the group has no holder")?;
        if group.leading_pod() != Some(leader.name_any()) {
            bail!("the holder {holder:?} is not mapped to {}", leader.name_any());
        }
        let form = holder.identity.replace(&leader.name_any(), "{pod}");
        let (kept, rest) = form.split_once("{pod}").context("the identity does not contain the pod's name")?;
        let is_random = rest.len() > 1;
        Ok(format!("{kept}{{pod}}{}", if is_random { format!("{}{{any}}", &rest[..1]) } else { rest.to_owned() }))
    }
}

/// The end of a leader.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// From its end.
    pub outcome: Outcome,
    /// From the operator's clear, if it cleared.
    pub since_clear: Option<Outcome>,
}

impl Ended {
    /// Whether the library itself released the Lease, or its leader went on.
    pub fn is_its_own(self) -> bool {
        self.since_clear.is_none() && !self.outcome.is_late()
    }

    /// For the matrix.
    pub fn told(self) -> String {
        format!("{}{}", self.outcome.told(), if self.is_its_own() { ", released" } else { "" })
    }
}

/// Ends the leader, and says what followed: seconds from its end to the next acquisition; and when the operator
/// cleared the Lease, if it did.
pub async fn end(session: &Session, place: &Namespace, lease: &str, leader: &Pod, death: Death) -> Result<Ended> {
    let timeline = place.timeline().await?;
    let name = leader.name_any();
    let holder = place.leases().get(lease).await?.holder().context("nobody leads any more")?;
    let told = Instant::now();
    let killed = match death {
        Death::Deleted => place.delete_pod(&name).await.map(|()| None)?,
        Death::Forced => {
            place.force_delete_pod(&name).await?;
            Some(told)
        }
        Death::Killed => {
            until_a_later_second(place, lease).await?;
            let at = Instant::now();
            session.signal(leader, Signal::KILL)?;
            Some(at)
        }
    };
    let from = match killed {
        Some(at) => at,
        None => timeline.pod("the pod has ended", |p| p.name_any() == name && p.has_ended_run("app")).await?,
    };
    // A process that was killed may have its Lease back under the same identity. One whose pod is deleted goes on for
    // a while, and may release its Lease before it has ended.
    let (after, other_than) =
        if death == Death::Killed { (from + IN_FLIGHT, None) } else { (told, Some(holder.as_str())) };
    let find = |entries: &[Entry]| next_acquisition(entries, after, other_than);
    let led = timeline.find("somebody leads", PATIENCE, find).await;
    let gone = timeline.entries().into_iter().find_map(|entry| match entry.seen {
        Seen::LeaseGone(_) if entry.at > from => Some(entry.at),
        _ => None,
    });
    let cleared = timeline.cleared(lease).map(|(at, _)| at).or(gone);
    let since = |at: Instant| at.saturating_duration_since(from).as_secs_f64();
    let outcome = led.map_or(Outcome::Never, |at| Outcome::Led(since(at)));
    let since_clear = match (cleared, outcome) {
        (Some(at), Outcome::Led(_)) => {
            next_acquisition(&timeline.entries(), at, None).map(|led| Outcome::Led((led - at).as_secs_f64()))
        }
        (Some(_), Outcome::Never) => Some(Outcome::Never),
        (None, _) => None,
    };
    Ok(Ended { outcome, since_clear })
}

/// Waits until the second of the last renewal is over: in it, a crash can't be told from one before the renewal.
async fn until_a_later_second(place: &Namespace, lease: &str) -> Result<()> {
    let last = place.leases().get(lease).await?.renewed();
    let moved = |seen: &Lease| seen.renewed() > last;
    let renewed = place.until(lease, "the leader renews", moved).await?.renewed().context("no renewTime")?;
    let next_second = Timestamp::from_second(renewed.as_second() + 1)?;
    let rest = next_second.duration_since(Timestamp::now()) + k8s_openapi::jiff::SignedDuration::from_millis(150);
    tokio::time::sleep(Duration::try_from(rest).unwrap_or_default()).await;
    Ok(())
}

/// When a holder, other than that one, first wrote the Lease after that.
fn next_acquisition(entries: &[Entry], after: Instant, other_than: Option<&str>) -> Option<Instant> {
    let mut before = None;
    for Entry { at, seen } in entries {
        let Seen::Lease(lease) = seen else { continue };
        let record = lease.record();
        // Others write its annotations.
        let holder = lease.holder();
        if *at > after && holder.is_some() && holder.as_deref() != other_than && before.as_ref() != Some(&record) {
            return Some(*at);
        }
        before = Some(record);
    }
    None
}
