//! `step-down` and `promote`: have another candidate lead.
//!
//! [`plan`] says how that can be had, [`request`] writes it. Then the Lease is watched until somebody else leads.

mod plan;
mod request;

use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use leadergroup_api::LeaderGroup;

use crate::commands::wait::time;
use crate::group;
use crate::named::Named;
use crate::objects::{Plan, holder, is_live};
use crate::output::{self, clean};
use crate::session::Session;
use plan::{Before, Progress, Scene, Way, progress};

#[derive(Args, Debug)]
#[command(
    after_help = "A leader that runs this project's elector is asked through its Lease: it ends its work, then releases. Of \
    any other elector's leader the pod is evicted, after a question.\n\
    Exit code: 0 once another candidate leads, 1 if none does within the time, or nothing could be done."
)]
pub struct StepDown {
    #[command(flatten)]
    group: Named,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Only a leader that runs this project's elector can be asked to hand over to a certain pod. Of any other \
    elector's leader one can but evict the pod, with --evict; which candidate then leads is a race.\n\
    Exit code: 0 once that pod leads, 1 if another does, or nobody within the time, or nothing could be done."
)]
pub struct Promote {
    #[command(flatten)]
    group: Named,
    /// The candidate that shall lead
    pod: String,
    /// What the pod calls itself in the Lease [default: as it did before, or as the present leader does]
    #[arg(long, value_name = "TEXT")]
    identity: Option<String>,
    /// Evict the leader's pod where it can't be asked
    #[arg(long)]
    evict: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// Don't ask before a pod is evicted
    #[arg(long, short)]
    yes: bool,
    /// How long to wait for the new leader
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    timeout: Duration,
}

pub async fn step_down(session: &Session, arguments: &StepDown) -> Result<ExitCode> {
    let place = Place::read(session, &arguments.group.name).await?;
    let way = place.scene().step_down().map_err(anyhow::Error::msg)?;
    place.take(way, None, &arguments.common).await
}

pub async fn promote(session: &Session, arguments: &Promote) -> Result<ExitCode> {
    let place = Place::read(session, &arguments.group.name).await?;
    let Promote { pod, identity, evict, common, .. } = arguments;
    let way = place.scene().promote(pod, identity.as_deref(), *evict).map_err(anyhow::Error::msg)?;
    place.take(way, Some(pod), common).await
}

/// A group, and all that matters to who leads it.
struct Place {
    group: LeaderGroup,
    lease: Option<Lease>,
    pods: Vec<Pod>,
    leases: Api<Lease>,
    pod_api: Api<Pod>,
}

impl Place {
    async fn read(session: &Session, name: &str) -> Result<Self> {
        let group = group::get(session, name).await?;
        let leases: Api<Lease> = Api::namespaced(session.client.clone(), &session.namespace);
        let lease = leases.get_opt(group.lease_name()).await.context("can't get the group's Lease")?;
        let (pods, _) = session.list::<Pod>(Some(&session.namespace)).await?;
        let pod_api = Api::namespaced(session.client.clone(), &session.namespace);
        Ok(Self { group, lease, pods, leases, pod_api })
    }

    fn scene(&self) -> Scene<'_> {
        Scene { group: &self.group, lease: self.lease.as_ref(), pods: &self.pods }
    }

    /// Goes that way, waits, and tells who leads.
    async fn take(&self, way: Way, wanted: Option<&str>, common: &Common) -> Result<ExitCode> {
        let lease = self.lease.as_ref();
        let identity = lease.and_then(holder).unwrap_or_default().to_owned();
        let before = Before { identity, lease_uid: lease.and_then(kube::ResourceExt::uid) };
        let name = self.group.lease_name();
        match way {
            Way::None => {
                output::print(&format!("{} leads already.\n", wanted.unwrap_or_default()))?;
                Ok(ExitCode::SUCCESS)
            }
            Way::Ask { preferred } => {
                let start = Instant::now();
                if !request::ask(&self.leases, name, &before.identity, &preferred).await? {
                    bail!(
                        "leadership changed just now, so nobody was asked: try again if the new leader shall hand over too"
                    );
                }
                output::tell(format!("Asked {} to hand over.", clean(&before.identity)));
                // A standby that is not the preferred one waits a while after the release, unless the hint is gone by then.
                let until_free = wanted.is_none();
                let outcome = tokio::select! {
                    outcome = self.until_led(&before, common.timeout, until_free) => outcome,
                    _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; the leader is not asked any more")),
                };
                if !request::withdraw(&self.leases, name).await? {
                    output::tell(
                        "The new leader is of another elector: the annotation that asked the old one stays on its Lease.",
                    );
                }
                self.tell(outcome?, &before, wanted, start, "has not handed over").await
            }
            Way::Evict { pod, uid, why } => {
                self.confirm(&pod, &why, common)?;
                let start = Instant::now();
                request::evict(&self.pod_api, &pod, &uid).await?;
                output::tell(format!("Evicted pod {pod}."));
                let outcome = self.until_led(&before, common.timeout, false).await?;
                self.tell(outcome, &before, wanted, start, "still holds the Lease, or nobody has taken it").await
            }
        }
    }

    fn confirm(&self, pod: &str, why: &str, common: &Common) -> Result<()> {
        if common.yes {
            return Ok(());
        }
        let told = format!("pod {pod} leads group {}, and {why}", self.group.name_any());
        if !std::io::stdin().is_terminal() {
            bail!("{told}: with --yes the pod is evicted, and which candidate leads then is a race");
        }
        anstream::eprint!("{told}. Evict it? Which candidate leads then is a race. [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing was done");
        }
        Ok(())
    }

    /// Waits until a new term has begun; who leads, or none if the time is up. `withdraws` takes the hint away once the
    /// Lease is free, so that all may try.
    async fn until_led(&self, before: &Before, patience: Duration, withdraws: bool) -> Result<Option<String>> {
        let name = self.group.lease_name();
        let waiting = async {
            let mut was_free = false;
            let mut watch = pin!(watcher::watch_object(self.leases.clone(), name).default_backoff());
            while let Some(seen) = watch.next().await {
                let lease = match seen {
                    Ok(lease) => lease,
                    Err(watcher::Error::InitialListFailed(error)) => {
                        return Err(error).context("can't watch the group's Lease");
                    }
                    // It is begun anew.
                    Err(_) => continue,
                };
                match progress(before, lease.as_ref(), was_free) {
                    Progress::Held => {}
                    Progress::Free => {
                        if withdraws && !was_free {
                            request::withdraw(&self.leases, name).await?;
                        }
                        was_free = true;
                    }
                    Progress::Led(who) => return Ok(who),
                }
            }
            bail!("the watch of the group's Lease ended")
        };
        tokio::time::timeout(patience, waiting).await.ok().transpose()
    }

    /// Says who leads now, and whether that is as wanted.
    async fn tell(
        &self,
        outcome: Option<String>,
        before: &Before,
        wanted: Option<&str>,
        start: Instant,
        otherwise: &str,
    ) -> Result<ExitCode> {
        let seconds = start.elapsed().as_secs_f64();
        let Some(identity) = outcome else {
            bail!("{} {otherwise} within {seconds:.0} s", clean(&before.identity));
        };
        let pod = self.pod_of(&identity).await?;
        let who = pod.as_deref().unwrap_or(&identity);
        output::print(&format!("{} leads, {seconds:.1} s later.\n", clean(who)))?;
        match wanted {
            Some(wanted) if pod.as_deref() != Some(wanted) => bail!("another candidate than pod {wanted} leads"),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    /// The pod that an identity is of, among those that exist now.
    async fn pod_of(&self, identity: &str) -> Result<Option<String>> {
        let plan = Plan::of(&self.group).map_err(anyhow::Error::msg)?;
        let pods = self.pod_api.list(&kube::api::ListParams::default()).await.context("can't list pods")?.items;
        Ok(match plan.fitting(identity, pods.iter().filter(|pod| is_live(pod))).as_slice() {
            [pod] => Some(pod.name_any()),
            _ => None,
        })
    }
}
