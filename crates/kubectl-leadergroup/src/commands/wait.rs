//! `wait`: until a group has a leader, a certain one, or one that stays.

use std::pin::pin;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use leadergroup_api::Leader;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::group::{self, groups, is_observed, is_ready, why_not_ready};
use crate::model::LeaderGroup;
use crate::named::Named;
use crate::output::{clean, print, tell};
use crate::session::{Session, is_forbidden, refusal, watch_object};
use crate::span::span;

const EXIT_CODES: &str = "\
Exit codes: 0 it came true; 1 it could not be waited for, because the group does not exist, was deleted, or may not be
watched; 3 it did not come true in time, and a line on standard error says how things stand.

  kubectl leadergroup wait billing --for=stable --timeout=5m && ./deploy-the-next-one";

/// It did not come true in time.
const TIMED_OUT: u8 = 3;
/// How long a look takes at most where nothing is waited for.
const LOOK: Duration = Duration::from_secs(20);
/// A watch that fails is begun anew after that.
const PAUSE: Duration = Duration::from_secs(1);
/// What a leader lacks that is waited to be stable.
const SHORT: &str = ", but has not been seen to lead for a whole lease duration";
/// Another holds the Lease than the status tells.
const BEHIND: &str = ", by a status that is not what its Lease says: does the operator run?";
/// How far what is told can be believed.
const OLD: &str = ", as last seen: the cluster does not answer";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// What for: `leader`, a leader that is known to live; `leader=POD`, that pod or identity; `stable`, a leader that this
    /// command has seen lead without a break for a whole lease duration, the group's or the Lease's, whichever is longer
    #[arg(long = "for", value_name = "WHAT", default_value = "leader")]
    wanted: Wanted,
    /// How long at most, as in 90s or 5m; 0s looks once
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Leader,
    LeaderIs(String),
    Stable,
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            None if text == "leader" => Ok(Self::Leader),
            None if text == "stable" => Ok(Self::Stable),
            Some(("leader", pod)) if !pod.is_empty() => Ok(Self::LeaderIs(pod.to_owned())),
            _ => Err(anyhow!("write leader, leader=POD or stable")),
        }
    }
}

/// How long a leader has been seen to lead.
struct Waiting {
    wanted: Wanted,
    /// Which term of whom, and since when it has been seen.
    term: Option<(Term, Instant)>,
    /// How long the holder's record lasts, in seconds.
    recorded: Option<i32>,
}

/// What tells one term from another.
type Term = (String, Option<String>, i64);

#[derive(Debug, PartialEq)]
enum Outcome {
    /// It came true.
    Met,
    /// It comes true then, unless something changes before.
    At(Instant),
    NotYet,
}

impl Waiting {
    /// Takes in how the group is now.
    fn look(&mut self, group: &LeaderGroup, now: Instant) -> Outcome {
        let Some(leader) = leader(group) else {
            self.term = None;
            return Outcome::NotYet;
        };
        match &self.wanted {
            Wanted::Leader => Outcome::Met,
            Wanted::LeaderIs(who) if leader.pod_name.as_ref() == Some(who) || leader.identity == *who => Outcome::Met,
            Wanted::LeaderIs(_) => Outcome::NotYet,
            Wanted::Stable => {
                let transitions = group.status.as_ref().map_or(0, |status| status.transitions);
                let term = (leader.identity.clone(), leader.pod_uid.clone(), transitions);
                let since = match &self.term {
                    Some((known, since)) if *known == term => *since,
                    _ => now,
                };
                self.term = Some((term, since));
                // What the holder wrote counts for its standbys, what is declared for whoever is to come.
                let seconds = group.spec.lease.duration_seconds.max(self.recorded.unwrap_or(0));
                let at = since + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                if now >= at { Outcome::Met } else { Outcome::At(at) }
            }
        }
    }

    /// Nobody looked on for a while.
    fn forget(&mut self) {
        self.term = None;
    }
}

/// The leader, if it is known to live, by a status that answers the spec as it is.
fn leader(group: &LeaderGroup) -> Option<&Leader> {
    group.status.as_ref()?.leader.as_ref().filter(|_| is_ready(group) && is_observed(group))
}

/// How things stand.
fn stands(group: &LeaderGroup) -> String {
    match leader(group) {
        Some(leader) => format!("led by {}", leader.pod_name.as_ref().unwrap_or(&leader.identity)),
        None if is_ready(group) => {
            let generation = group.metadata.generation.unwrap_or_default();
            format!(
                "not judged by its spec as it is now (generation {generation}): if that stays, the operator does not run"
            )
        }
        None => format!("not led: {}", why_not_ready(group)),
    }
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let (is_met, told) = wait(session, arguments).await?;
    if is_met {
        print(&format!("{}\n", clean(&told)))?;
        return Ok(ExitCode::SUCCESS);
    }
    tell(told);
    Ok(ExitCode::from(TIMED_OUT))
}

/// Whether it came true, and how things stand.
async fn wait(session: &Session, arguments: &Arguments) -> Result<(bool, String)> {
    let name = &arguments.group.name;
    let until = Instant::now() + arguments.timeout;
    // To look once takes what a request takes.
    let first = if arguments.timeout.is_zero() { until + LOOK } else { until };
    // Reading first: what is wrong with the command is said at once, and not tried again and again.
    let Ok(read) = timeout_at(first, look_up(session, arguments)).await else {
        return Ok((false, format!("nothing is known of {name}: the cluster has not answered in time")));
    };
    let (mut group, record) = read?;
    let recorded = record.and_then(|record| record.lease_duration_seconds);
    let mut waiting = Waiting { wanted: arguments.wanted.clone(), term: None, recorded };
    let mut changes = pin!(watch_object(groups(session), name));
    let mut is_watched = true;
    let mut is_behind = false;
    loop {
        let now = Instant::now();
        let mut outcome = if is_watched { waiting.look(&group, now) } else { Outcome::NotYet };
        if outcome == Outcome::Met && arguments.wanted == Wanted::Stable {
            // A watch on which nothing comes may be one that has gone dead: that nothing happened is asked for.
            match timeout_at(until, look_up(session, arguments)).await {
                Ok(Ok(read)) => {
                    let (next, record) = read;
                    group = next;
                    is_behind = record.as_ref().is_some_and(|record| !is_of(record, &group));
                    waiting.recorded = record.and_then(|record| record.lease_duration_seconds);
                    if is_behind {
                        waiting.forget();
                    }
                    outcome = waiting.look(&group, Instant::now());
                }
                Ok(Err(_)) => {
                    waiting.forget();
                    is_watched = false;
                    changes.set(watch_object(groups(session), name));
                    outcome = Outcome::NotYet;
                }
                Err(_) => outcome = Outcome::NotYet,
            }
        }
        if outcome == Outcome::Met {
            return Ok((true, format!("{name} is {}", stands(&group))));
        }
        if Instant::now() >= until {
            let but = match (is_watched, &waiting.term) {
                (false, _) => OLD,
                (true, Some(_)) if is_behind => BEHIND,
                (true, Some(_)) => SHORT,
                (true, None) => "",
            };
            return Ok((false, format!("{name} is {}{but}", stands(&group))));
        }
        let look_again = if let Outcome::At(at) = outcome { at.min(until) } else { until };
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(next))) => {
                    group = next;
                    is_watched = true;
                }
                Some(Ok(None)) => bail!("LeaderGroup {name} was deleted"),
                // What happens meanwhile is not seen. A new watch begins by telling how the group is.
                Some(Err(error)) => {
                    if let Some(error) = refusal(error) {
                        return Err(session.explain(error));
                    }
                    waiting.forget();
                    is_watched = false;
                    sleep_until((Instant::now() + PAUSE).min(until)).await;
                    changes.set(watch_object(groups(session), name));
                }
                None => bail!("the watch of {name} ended"),
            },
            () = sleep_until(look_again) => {}
        }
    }
}

/// Whether the group's status is of this record's holder.
fn is_of(record: &LeaseSpec, group: &LeaderGroup) -> bool {
    let told = group.status.as_ref().and_then(|status| status.holder.as_ref());
    told.is_some_and(|told| record.holder_identity.as_deref().unwrap_or_default() == told.identity)
}

/// The group, and what its Lease records, where that matters and may be read.
async fn look_up(session: &Session, arguments: &Arguments) -> Result<(LeaderGroup, Option<LeaseSpec>)> {
    let group = group::get(session, &arguments.group.name).await?;
    if arguments.wanted != Wanted::Stable {
        return Ok((group, None));
    }
    let leases: Api<Lease> = Api::namespaced(session.client.clone(), &session.namespace);
    let lease = match leases.get_opt(group.lease_name()).await {
        Ok(lease) => lease,
        Err(error) if is_forbidden(&error) => None,
        Err(error) => return Err(session.explain(error)),
    };
    Ok((group, lease.and_then(|lease| lease.spec)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::testdata;

    fn waiting(wanted: Wanted) -> Waiting {
        Waiting { wanted, term: None, recorded: None }
    }

    #[test]
    fn what_is_waited_for_is_read_and_mistakes_are_named() {
        assert_eq!("leader".parse::<Wanted>().unwrap(), Wanted::Leader);
        assert_eq!("leader=billing-0".parse::<Wanted>().unwrap(), Wanted::LeaderIs("billing-0".to_owned()));
        assert_eq!("stable".parse::<Wanted>().unwrap(), Wanted::Stable);
        for wrong in ["", "leader=", "ready", "stable=3"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_leader_is_one_that_is_known_to_live() {
        let now = Instant::now();
        assert_eq!(waiting(Wanted::Leader).look(&testdata::led(), now), Outcome::Met);
        for group in [testdata::new(), testdata::never_led(), testdata::leaderless(), testdata::foreign()] {
            assert_eq!(waiting(Wanted::Leader).look(&group, now), Outcome::NotYet, "{:?}", group.status);
        }
    }

    #[test]
    fn a_certain_leader_is_named_by_its_pod_or_its_identity() {
        let look = |who: &str| waiting(Wanted::LeaderIs(who.to_owned())).look(&testdata::led(), Instant::now());
        assert_eq!(look("billing-b58c8d75b-ztgk2"), Outcome::Met);
        assert_eq!(look("billing-b58c8d75b-ztgk2_5f2c"), Outcome::Met);
        assert_eq!(look("billing-b58c8d75b"), Outcome::NotYet);
    }

    #[test]
    fn a_leader_is_stable_that_was_seen_to_lead_for_a_whole_lease_duration() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut waiting = waiting(Wanted::Stable);
        let led = testdata::led();
        assert_eq!(waiting.look(&led, start), Outcome::At(start + 15 * second));
        assert_eq!(waiting.look(&led, start + 14 * second), Outcome::At(start + 15 * second));
        // It lost and regained the Lease between two looks.
        let mut regained = led.clone();
        regained.status.as_mut().unwrap().transitions += 2;
        assert_eq!(waiting.look(&regained, start + 16 * second), Outcome::At(start + 31 * second));
        assert_eq!(waiting.look(&testdata::leaderless(), start + 20 * second), Outcome::NotYet);
        assert_eq!(waiting.look(&regained, start + 21 * second), Outcome::At(start + 36 * second));
        assert_eq!(waiting.look(&regained, start + 36 * second), Outcome::Met);
    }

    #[test]
    fn the_longer_of_the_two_lease_durations_counts() {
        let start = Instant::now();
        let mut waiting = Waiting { recorded: Some(40), ..waiting(Wanted::Stable) };
        assert_eq!(waiting.look(&testdata::led(), start), Outcome::At(start + Duration::from_secs(40)));
        waiting.recorded = Some(5);
        assert_eq!(waiting.look(&testdata::led(), start), Outcome::At(start + Duration::from_secs(15)));
    }

    #[test]
    fn a_status_of_an_earlier_spec_says_nothing() {
        let mut group = testdata::led();
        group.metadata.generation = group.status.as_ref().unwrap().observed_generation.map(|seen| seen + 1);
        for wanted in [Wanted::Leader, Wanted::LeaderIs("billing-b58c8d75b-ztgk2".to_owned()), Wanted::Stable] {
            assert_eq!(waiting(wanted).look(&group, Instant::now()), Outcome::NotYet);
        }
        assert!(stands(&group).starts_with("not judged by its spec"), "{}", stands(&group));
    }

    /// The leader of [`testdata::led`].
    const LEADER: &str = "billing-b58c8d75b-ztgk2_5f2c";

    /// A cluster with a group that is led, whose Lease lasts a second and is held so, and whose watch is answered so.
    fn cluster(
        holder: &'static str,
        watch: impl Fn(usize) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Session {
        let watches = Arc::new(AtomicUsize::new(0));
        Session::answered_by(move |path| {
            if path.contains("watch=true") {
                return watch(watches.fetch_add(1, Ordering::SeqCst));
            }
            let mut group = testdata::led();
            group.spec.lease.duration_seconds = 1;
            group.metadata.resource_version = Some("7".to_owned());
            let group = json!(group);
            let answer = if path.contains("/leases/") {
                json!({"metadata": {"name": "billing"}, "spec": {"leaseDurationSeconds": 1, "holderIdentity": holder}})
            } else if path.contains("fieldSelector") {
                json!({"metadata": {"resourceVersion": "7"}, "items": [group]})
            } else {
                group
            };
            (200, answer.to_string())
        })
    }

    fn stable(seconds: u64) -> Arguments {
        let group = Named { name: "billing".to_owned() };
        Arguments { group, wanted: Wanted::Stable, timeout: Duration::from_secs(seconds) }
    }

    #[tokio::test]
    async fn nobody_is_stable_whom_nobody_watched() {
        let (is_met, told) = wait(&cluster(LEADER, |_| (503, "busy".to_owned())), &stable(4)).await.unwrap();
        assert!(!is_met && told.ends_with(OLD), "{told}");
        // As soon as the watch goes on, the time counts.
        let quiet = |attempt| if attempt < 1 { (503, "busy".to_owned()) } else { (200, String::new()) };
        let (is_met, told) = wait(&cluster(LEADER, quiet), &stable(20)).await.unwrap();
        assert!(is_met, "{told}");
    }

    #[tokio::test]
    async fn nobody_is_stable_by_a_status_that_the_lease_contradicts() {
        let quiet = |_| (200, String::new());
        let (is_met, told) = wait(&cluster("billing-b58c8d75b-s9h84_77aa", quiet), &stable(3)).await.unwrap();
        assert!(!is_met && told.ends_with(BEHIND), "{told}");
    }
}
