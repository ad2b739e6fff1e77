//! `step-down` and `promote`: have another candidate lead.
//!
//! [`plan`] says how that can be had, [`request`] writes it. Then the Lease is watched until somebody else leads.

mod plan;
mod request;

use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use clap_complete::ArgValueCandidates;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use leadergroup_elector::lease::PREFERRED_HOLDER;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::group;
use crate::model::LeaderGroup;
use crate::named::{Named, candidate_names};
use crate::objects::{Plan, is_live};
use crate::output::{self, clean, sentence};
use crate::session::{Session, refusal, watch_object};
use crate::signals::told_to_end;
use crate::span::span;
use plan::{Before, Progress, Scene, Way, progress};

/// How often it is tried to take a hint away, how long each time at most, and what lies between.
const WITHDRAWALS: usize = 5;
const WITHDRAWAL: Duration = Duration::from_secs(2);
const BETWEEN_WITHDRAWALS: Duration = Duration::from_millis(500);

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
    #[arg(add = ArgValueCandidates::new(candidate_names))]
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
    /// How long to wait at most, for the cluster's answers and the new leader, as in 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    timeout: Duration,
}

pub async fn step_down(session: &Session, arguments: &StepDown) -> Result<ExitCode> {
    let place = Place::read_within(session, &arguments.group.name, arguments.common.timeout).await?;
    let way = place.scene().step_down().map_err(anyhow::Error::msg)?;
    place.take(way, None, &arguments.common).await
}

pub async fn promote(session: &Session, arguments: &Promote) -> Result<ExitCode> {
    let place = Place::read_within(session, &arguments.group.name, arguments.common.timeout).await?;
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
    async fn read_within(session: &Session, name: &str, patience: Duration) -> Result<Self> {
        let read = timeout(patience, Self::read(session, name)).await;
        read.unwrap_or_else(|_| bail!("the cluster has not answered within {patience:?}, and nothing was done"))
    }

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
        match way {
            Way::None => {
                output::print(&format!("{} leads already.\n", wanted.unwrap_or_default()))?;
                Ok(ExitCode::SUCCESS)
            }
            Way::Ask { preferred } => self.ask(&preferred, wanted, common.timeout).await,
            Way::Evict { pod, uid, why } => {
                self.confirm(&pod, &why, common)?;
                self.evict(&pod, &uid, wanted, common.timeout).await
            }
        }
    }

    async fn ask(&self, preferred: &str, wanted: Option<&str>, patience: Duration) -> Result<ExitCode> {
        let (before, name) = (self.scene().before(), self.group.lease_name());
        let start = Instant::now();
        let asking = async {
            if !request::ask(&self.leases, name, &before.identity, preferred).await? {
                bail!(
                    "leadership changed just now, so nobody was asked: try again if the new leader shall hand over too"
                );
            }
            output::tell(format!("Asked {} to hand over.", before.identity));
            // A standby that is not the preferred one waits a while after the release, unless the hint is gone by then.
            self.until_led(&before, wanted.is_none().then_some(preferred)).await
        };
        let outcome = tokio::select! {
            outcome = timeout(patience, asking) => outcome.ok().transpose(),
            () = told_to_end() => Err(anyhow::anyhow!("interrupted")),
        };
        // However that went, even where an answer was lost: what was written is taken away again.
        let withdrawn = self.withdraw(preferred).await;
        match (outcome, withdrawn) {
            (Ok(outcome), Ok(())) => self.tell(outcome, &before, wanted, start, "has not handed over").await,
            (Err(error), Ok(())) => Err(error),
            (Ok(outcome), Err(stays)) => {
                self.tell(outcome, &before, wanted, start, "has not handed over").await?;
                Err(stays)
            }
            (Err(error), Err(stays)) => Err(stays.context(error)),
        }
    }

    /// Takes the hint away again, and tries that for a while. The error tells what stays, and how it is removed.
    async fn withdraw(&self, preferred: &str) -> Result<()> {
        let name = self.group.lease_name();
        let mut why = String::new();
        for _ in 0..WITHDRAWALS {
            match timeout(WITHDRAWAL, request::withdraw(&self.leases, name, preferred)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => {
                    "the new leader is of another elector, whose Lease is not written".clone_into(&mut why);
                    break;
                }
                Ok(Err(error)) => why = sentence(&error),
                Err(_) => "the cluster does not answer".clone_into(&mut why),
            }
            sleep(BETWEEN_WITHDRAWALS).await;
        }
        let namespace = self.group.namespace().unwrap_or_default();
        bail!(
            "the annotation {PREFERRED_HOLDER} stays on Lease {name}, and asks a leader that runs this project's elector to \
             hand over: {why}; this removes it: kubectl -n {namespace} annotate lease {name} {PREFERRED_HOLDER}-"
        )
    }

    async fn evict(&self, pod: &str, uid: &str, wanted: Option<&str>, patience: Duration) -> Result<ExitCode> {
        let before = self.scene().before();
        let (start, until) = (Instant::now(), Instant::now() + patience);
        let namespace = self.group.namespace().unwrap_or_default();
        let evicting = async {
            // The question took its time, and what it asked may not be so any more.
            let lease = self.leases.get_opt(self.group.lease_name()).await.context("can't get the group's Lease")?;
            if let Some(leads) = before.is_over(lease.as_ref()) {
                bail!("{leads}, so pod {pod} was not evicted: try again if whoever leads now shall hand over too");
            }
            request::evict(&self.pod_api, &namespace, pod, uid).await
        };
        let Ok(evicted) = timeout_at(until, evicting).await else {
            bail!(
                "the cluster has not answered in time, so it is not known whether pod {pod} is evicted: kubectl -n \
                 {namespace} get pod {pod}"
            );
        };
        evicted?;
        output::tell(format!("Evicted pod {pod}."));
        let outcome = timeout_at(until, self.until_led(&before, None)).await.ok().transpose()?;
        self.tell(outcome, &before, wanted, start, "still holds the Lease, or nobody has taken it").await
    }

    fn confirm(&self, pod: &str, why: &str, common: &Common) -> Result<()> {
        if common.yes {
            return Ok(());
        }
        let told = clean(&format!("pod {pod} leads group {}, and {why}", self.group.name_any()));
        if !std::io::stdin().is_terminal() {
            bail!("{told}: with --yes the pod is evicted, and which candidate leads then is a race");
        }
        anstream::eprint!("{told}. Evict it? Which candidate leads then is a race. [y/N] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 {
            // The line of the question has no end yet.
            anstream::eprintln!();
        }
        if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            bail!("nothing was done");
        }
        Ok(())
    }

    /// Waits until a new term has begun, and says whose. A hint that is named is taken away once the Lease is free, so that
    /// all may try.
    async fn until_led(&self, before: &Before, hint: Option<&str>) -> Result<String> {
        let name = self.group.lease_name();
        let mut was_free = false;
        let mut watch = pin!(watch_object(self.leases.clone(), name));
        while let Some(seen) = watch.next().await {
            let lease = match seen {
                Ok(lease) => lease,
                Err(error) => match refusal(error) {
                    Some(error) => return Err(error).context("can't watch the group's Lease"),
                    // It is begun anew.
                    None => continue,
                },
            };
            match progress(before, lease.as_ref(), was_free) {
                Progress::Held => {}
                Progress::Free => {
                    if let Some(hint) = hint.filter(|_| !was_free) {
                        // Where that fails, it is tried again at the end.
                        let _ = request::withdraw(&self.leases, name, hint).await;
                    }
                    was_free = true;
                }
                Progress::Led(who) => return Ok(who),
            }
        }
        bail!("the watch of the group's Lease ended")
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
            bail!("{} {otherwise} within {seconds:.0} s", before.identity);
        };
        let pod = self.pod_of(&identity).await?;
        let who = pod.as_deref().unwrap_or(&identity);
        if wanted.is_none() && before.is(&identity, pod.as_deref()) {
            let name = self.group.name_any();
            bail!(
                "{who} leads again, {seconds:.1} s later: no other candidate was quicker; `kubectl leadergroup status {name}` \
                 shows what is in their way"
            );
        }
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
