//! The loop that joins the engine to the API server: watches of six kinds of objects in, requests out; and those that tell
//! when rights change, without which it works as well.
//!
//! An operator campaigns once its watches have listed what there is, so that one that can't see never leads. Standing by
//! it keeps the watches, for a takeover takes no longer than a decision.

mod failures;
mod rights;
mod watches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::OptionFuture;
use futures::stream::{FuturesUnordered, SelectAll};
use futures::{FutureExt, StreamExt};
use kube::Client;
use leadergroup_elector::StartError;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::candidacy::{Campaign, Candidacy, News};
use crate::endpoints::Health;
use crate::engine::{Engine, Job, Outcome, Work};
use crate::metrics::Metrics;
use crate::routing::Write;
use crate::time::Clock;
#[cfg(feature = "otel")]
use crate::traces;

/// A watch is reopened after that many seconds, so that one that died silently is noticed.
const WATCH_SECONDS: u32 = 60;
/// A connection to the API server on which nothing came for so long, since anything was asked for, is dead: a watch that
/// is alive is reopened before.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);
/// Requests that decide about a leader, at the same time.
const ACTIONS: usize = 64;
/// Requests by which traffic is switched, at the same time.
const ROUTES: usize = 32;
/// Status writes, labels and Events, at the same time: they must not crowd out the requests above.
const REPORTS: usize = 16;
/// Audits, at the same time: they can always wait.
const AUDITS: usize = 1;
/// The loop shows that it turns at least this often.
const TICK: Duration = Duration::from_secs(5);

/// What is watched, and where holders are cleared.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The namespaces that are watched; all of them if there are none here.
    pub namespaces: Vec<Arc<str>>,
    /// Whether holders are cleared in the namespaces that are Kubernetes' own.
    pub clears_in_system_namespaces: bool,
}

/// Runs until cancelled; then waits for the requests under way, and gives leadership up.
///
/// # Errors
/// Fails if it can't campaign.
pub async fn run(
    client: Client,
    clock: Clock,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    candidacy: Candidacy,
    reach: Reach,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let mut engine = Engine::new(reach.clears_in_system_namespaces).within(reach.namespaces.clone());
    let mut changes = watches::changes(&client, &metrics, &reach.namespaces);
    // An operator for some namespaces learns by its periodic audits that rights have changed, if it may audit.
    let mut rights = if reach.namespaces.is_empty() { rights::changes(&client) } else { SelectAll::new() };
    let mut under_way = FuturesUnordered::new();
    let [actions, switches, reports, audits] =
        [ACTIONS, ROUTES, REPORTS, AUDITS].map(|most| Arc::new(Semaphore::new(most)));
    let mut candidacy = Some(candidacy);
    let mut campaign: Option<(Campaign, Applier)> = None;
    // Cancelled with each term: work that has not begun then never does.
    let mut term = CancellationToken::new();

    loop {
        health.turned(clock.now().mono);
        let wake = engine.next_wake().map_or_else(|| clock.now().mono + TICK, |at| at.min(clock.now().mono + TICK));
        let campaigns = campaign.is_some();
        let news = OptionFuture::from(campaign.as_mut().map(|(campaign, _)| campaign.news()));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Before all else: what was decided in a term ends with it.
            Some(news) = news, if campaigns => {
                term.cancel();
                metrics.leads(matches!(news, News::Leads(_)));
                match news {
                    News::Leads(number) => {
                        term = CancellationToken::new();
                        tracing::info!(term = number, groups = engine.group_count(), "leading: every group is decided anew");
                        engine.lead(number, clock.now());
                    }
                    News::StandsBy(loss) => {
                        tracing::info!(?loss, "standing by: leading no more");
                        engine.stand_by();
                    }
                    News::Ended => {
                        tracing::error!("the campaign broke, so this operator can never lead");
                        engine.stand_by();
                        health.campaign_ended();
                    }
                }
            }
            // Whatever comes back: a pattern that does not match would leave the others unattended until a watch or a
            // timer turns the loop.
            Some(done) = under_way.next() => {
                let done: Option<(Work, Outcome)> = done;
                if let Some((work, outcome)) = done {
                    metrics.note(&outcome);
                    engine.outcome(&work, outcome, clock.now());
                }
            }
            Some(change) = changes.next() => engine.change(change, clock.now()),
            Some(scope) = rights.next() => engine.rights_changed(&scope, clock.now()),
            () = tokio::time::sleep_until(clock.instant(wake).into()) => engine.wake(clock.now()),
        }
        if engine.is_synced()
            && health.ready()
            && let Some(candidacy) = candidacy.take()
        {
            tracing::info!(groups = engine.group_count(), "watching");
            let begun = candidacy.begin()?;
            let applier = Applier::new(client.clone(), clock, begun.leads());
            campaign = Some((begun, applier));
        }
        metrics.see(engine.take_seen());
        if let Some((_, applier)) = &campaign {
            for work in engine.take_work() {
                let gate = match &work.job {
                    Job::Act(_) => &actions,
                    Job::Route(routing) if !matches!(routing.write, Write::Label { .. }) => &switches,
                    Job::Audit(_) => &audits,
                    Job::Route(_)
                    | Job::ReadGroup
                    | Job::WriteStatus { .. }
                    | Job::WriteInvalid { .. }
                    | Job::Tell(_) => &reports,
                };
                #[cfg(feature = "otel")]
                let span = traces::begin(&work);
                let doing = perform(applier.clone(), metrics.clone(), gate.clone(), term.clone(), work);
                #[cfg(feature = "otel")]
                let doing = traces::until_done(span, doing);
                under_way.push(doing.boxed());
            }
        }
    }
    term.cancel();
    tracing::info!("stopping once the requests under way are answered");
    while under_way.next().await.is_some() {}
    if let Some((campaign, _)) = campaign {
        campaign.resign().await;
    }
    Ok(())
}

/// Does one piece of work, unless its term ends before it can begin. What has begun is waited for.
async fn perform(
    applier: Applier,
    metrics: Arc<Metrics>,
    gate: Arc<Semaphore>,
    term: CancellationToken,
    work: Work,
) -> Option<(Work, Outcome)> {
    let decided = Instant::now();
    let _permit = tokio::select! {
        biased;
        () = term.cancelled() => return None,
        permit = gate.acquire() => permit.ok()?,
    };
    let outcome = applier.perform(&work).await;
    metrics.worked(&work.job, decided.elapsed());
    Some((work, outcome))
}
