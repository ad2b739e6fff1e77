//! What is known, as clients see it.

use std::time::Duration;

use jiff::Timestamp;
use leadergroup_elector::{Options, Status, Term};
use serde::Serialize;

/// Who this candidate is, and what it campaigns for.
#[derive(Clone, Debug)]
pub struct About {
    pub identity: String,
    pub lease: LeaseName,
}

/// Which Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseName {
    pub namespace: String,
    pub name: String,
}

/// The answer of `/v1/leadership`, and the data of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Whether this candidate leads at this moment.
    pub leading: bool,
    /// Whether it leads or stands by; false once it resigned.
    pub campaigning: bool,
    pub identity: String,
    /// Whose identity the Lease says, as far as is known. Only `leading` tells whether this candidate leads.
    pub holder: Option<String>,
    pub lease: LeaseName,
    pub term: Option<TermView>,
    /// What keeps this candidate from its Lease.
    pub problem: Option<String>,
}

/// A term that is valid when it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TermView {
    /// Larger in each later term of the same Lease.
    pub token: u64,
    /// Counted from the answer: sound if taken from before the request was sent.
    pub valid_for_milliseconds: u64,
    /// On a clock that all containers of a pod share; sound whenever it arrives.
    pub valid_until_boottime_milliseconds: u64,
    /// For people: clocks that tell the time of day can be set.
    pub valid_until: String,
}

impl About {
    pub fn of(options: &Options) -> Self {
        let lease = LeaseName { namespace: options.namespace.clone(), name: options.lease.clone() };
        Self { identity: options.identity.clone(), lease }
    }

    /// `now` is a time of [`leadergroup_elector::clock::boottime`], `clock` the same moment by the time of day.
    pub fn view(&self, status: &Status, term: Option<Term>, now: Duration, clock: Timestamp) -> View {
        let term = term.filter(|term| now < term.valid_until).map(|term| TermView::of(term, now, clock));
        View {
            leading: term.is_some(),
            campaigning: !status.left,
            identity: self.identity.clone(),
            holder: status.holder.clone(),
            lease: self.lease.clone(),
            term,
            problem: status.problem.as_deref().map(ToOwned::to_owned),
        }
    }

    /// What clients of the retired leader-elector compare with their own pod's name or host name: the leading pod's
    /// name. It is this pod's name if this candidate leads, and never otherwise, whatever the Lease says.
    pub fn name<'a>(&'a self, holder: Option<&'a str>, leads: bool) -> &'a str {
        if leads {
            return pod(&self.identity);
        }
        // The Lease may still be this candidate's, and have run out; or that of a pod that had this one's name before.
        holder.map(pod).filter(|holder| *holder != pod(&self.identity)).unwrap_or_default()
    }
}

/// The part of an identity that names a pod: `{pod}` or `{pod}_{anything}`. A pod's name contains no underscore.
fn pod(identity: &str) -> &str {
    identity.split_once('_').map_or(identity, |(pod, _)| pod)
}

impl TermView {
    fn of(term: Term, now: Duration, clock: Timestamp) -> Self {
        let left = term.valid_until.saturating_sub(now);
        let until = clock.checked_add(left).unwrap_or(Timestamp::MAX);
        Self {
            token: term.token.0,
            valid_for_milliseconds: milliseconds(left),
            valid_until_boottime_milliseconds: milliseconds(term.valid_until),
            valid_until: format!("{until:.3}"),
        }
    }
}

/// Rounded down: a term is never told longer than it is.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use leadergroup_election::Version;

    use super::*;

    fn about(identity: &str) -> About {
        About::of(&Options::new("shop", "billing", identity))
    }

    fn held_by(holder: &str) -> Status {
        Status { holder: Some(holder.into()), ..Status::default() }
    }

    fn json(view: &View) -> String {
        serde_json::to_string(view).unwrap()
    }

    #[test]
    fn a_leader_tells_its_term_and_never_longer_than_it_is() {
        let term =
            Term { token: Version(4711), valid_until: Duration::from_micros(20_000_900), expires_at: Duration::MAX };
        let clock = "2026-01-31T12:00:00.25Z".parse().unwrap();
        let view = about("billing-0_5f2c").view(&held_by("billing-0_5f2c"), Some(term), Duration::from_secs(12), clock);
        assert_eq!(
            json(&view),
            r#"{"leading":true,"campaigning":true,"identity":"billing-0_5f2c","holder":"billing-0_5f2c","#.to_owned()
                + r#""lease":{"namespace":"shop","name":"billing"},"term":{"token":4711,"#
                + r#""validForMilliseconds":8000,"validUntilBoottimeMilliseconds":20000,"#
                + r#""validUntil":"2026-01-31T12:00:08.250Z"},"problem":null}"#
        );
    }

    #[test]
    fn a_term_that_has_ended_is_not_told() {
        let term = Term { token: Version(1), valid_until: Duration::from_secs(12), expires_at: Duration::MAX };
        let view = about("a").view(&held_by("a"), Some(term), Duration::from_secs(12), Timestamp::UNIX_EPOCH);
        assert!(!view.leading && view.term.is_none(), "{view:?}");
    }

    #[test]
    fn a_standby_tells_the_holder_and_what_keeps_it_from_the_lease() {
        let status = Status { problem: Some("could not get the Lease".into()), ..held_by("b\"ü") };
        let view = about("a").view(&status, None, Duration::ZERO, Timestamp::UNIX_EPOCH);
        assert_eq!(
            json(&view),
            r#"{"leading":false,"campaigning":true,"identity":"a","holder":"b\"ü","#.to_owned()
                + r#""lease":{"namespace":"shop","name":"billing"},"term":null,"problem":"could not get the Lease"}"#
        );
    }

    #[test]
    fn the_name_is_that_of_the_leading_pod() {
        let about = about("billing-0_5f2c");
        assert_eq!(about.name(Some("billing-0_5f2c"), true), "billing-0");
        assert_eq!(about.name(Some("billing-1_77aa"), false), "billing-1");
        assert_eq!(about.name(Some("billing-1"), false), "billing-1", "other electors' identities");
        assert_eq!(about.name(None, false), "");
    }

    #[test]
    fn the_name_is_this_pods_only_while_it_leads() {
        let about = about("billing-0_5f2c");
        assert_eq!(about.name(Some("billing-0_5f2c"), false), "", "its own Lease, run out");
        assert_eq!(about.name(Some("billing-0_0000"), false), "", "the pod that had this name before");
        assert_eq!(about.name(Some("billing-0"), false), "", "another elector in this pod");
    }
}
