//! `wait`: until a group has a leader, a certain one, or one that stays.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use futures::StreamExt as _;
use jiff::SignedDuration;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error, watch_object};
use leadergroup_api::{Leader, LeaderGroup};
use tokio::time::{Instant, sleep_until};

use crate::group::{self, groups, is_ready, why_not_ready};
use crate::named::Named;
use crate::output::{clean, print, tell};
use crate::session::Session;

const EXIT_CODES: &str = "\
Exit codes: 0 it came true; 1 it could not be waited for, because the group does not exist, was deleted, or may not be
watched; 3 it did not come true in time, and a line on standard error says how things stand.

  kubectl leadergroup wait billing --for=stable --timeout=5m && ./deploy-the-next-one";

/// It did not come true in time.
const TIMED_OUT: u8 = 3;

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// What for: `leader`, a leader that is known to live; `leader=POD`, that pod or identity; `stable`, a leader that this
    /// command has seen lead without a break for a whole lease duration
    #[arg(long = "for", value_name = "WHAT", default_value = "leader")]
    wanted: Wanted,
    /// How long at most, as in 90s or 5m; 0s looks once
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    timeout: Duration,
}

/// A time span on the command line.
pub fn time(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| "write a time as in 90s, 5m or 1h30m".to_owned())
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
                let seconds = u64::try_from(group.spec.lease.duration_seconds).unwrap_or_default();
                let at = since + Duration::from_secs(seconds);
                if now >= at { Outcome::Met } else { Outcome::At(at) }
            }
        }
    }
}

/// The leader, if it is known to live.
fn leader(group: &LeaderGroup) -> Option<&Leader> {
    group.status.as_ref()?.leader.as_ref().filter(|_| is_ready(group))
}

/// How things stand.
fn stands(group: &LeaderGroup) -> String {
    match leader(group) {
        Some(leader) => format!("led by {}", leader.pod_name.as_ref().unwrap_or(&leader.identity)),
        None => format!("not led: {}", why_not_ready(group)),
    }
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.group.name;
    let until = Instant::now() + arguments.timeout;
    // Reading first: what is wrong with the command is said at once, and not tried again and again.
    let mut group = group::get(session, name).await?;
    let mut waiting = Waiting { wanted: arguments.wanted.clone(), term: None };
    let mut changes = std::pin::pin!(watch_object(groups(session), name).default_backoff());
    loop {
        let now = Instant::now();
        let outcome = waiting.look(&group, now);
        if outcome == Outcome::Met {
            print(&format!("{name} is {}\n", clean(&stands(&group))))?;
            return Ok(ExitCode::SUCCESS);
        }
        if now >= until {
            tell(format_args!("{name} is {}", clean(&stands(&group))));
            return Ok(ExitCode::from(TIMED_OUT));
        }
        let look_again = if let Outcome::At(at) = outcome { at.min(until) } else { until };
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(next))) => group = next,
                Some(Ok(None)) => bail!("LeaderGroup {name} was deleted"),
                Some(Err(Error::InitialListFailed(error) | Error::WatchStartFailed(error))) if is_denial(&error) => {
                    return Err(session.explain(error));
                }
                // It is tried again.
                Some(Err(_)) => {}
                None => bail!("the watch of {name} ended"),
            },
            () = sleep_until(look_again) => {}
        }
    }
}

fn is_denial(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401 || status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testdata;

    fn waiting(wanted: Wanted) -> Waiting {
        Waiting { wanted, term: None }
    }

    #[test]
    fn what_is_waited_for_is_read_and_mistakes_are_named() {
        assert_eq!("leader".parse::<Wanted>().unwrap(), Wanted::Leader);
        assert_eq!("leader=billing-0".parse::<Wanted>().unwrap(), Wanted::LeaderIs("billing-0".to_owned()));
        assert_eq!("stable".parse::<Wanted>().unwrap(), Wanted::Stable);
        for wrong in ["", "leader=", "ready", "stable=3"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "60", "-5s", "soon"] {
            assert!(time(wrong).is_err(), "{wrong}");
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
}
