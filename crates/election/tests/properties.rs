//! What holds for one candidate, whatever it is told and whenever.

#![allow(missing_docs)]

use std::time::Duration;

use leadergroup_election::{
    Answer, Candidate, Input, Observation, Output, Record, Renaming, Seen, Time, Timing, Version, What,
};
use proptest::prelude::*;

/// One thing that a candidate is told, and how long after the one before.
#[derive(Clone, Debug)]
struct Told {
    after: Duration,
    input: Input,
    /// It is an answer to the newest request rather than to the one it names.
    to_newest: bool,
}

fn observations() -> impl Strategy<Value = Observation> {
    let holder = prop_oneof![Just(None), Just(Some("me".to_owned())), Just(Some("other".to_owned()))];
    let number = || prop_oneof![Just(None), Just(Some(15)), any::<i32>().prop_map(Some)];
    let timing = prop_oneof![Just(None), Just(Some(timing(60, 40, 5))), Just(Some(timing(3, 2, 1)))];
    let record = (holder, number(), proptest::option::of(0..5_i64), number());
    let present = (1..40_u64, record, timing, proptest::option::of(prop_oneof![Just("me"), Just("other")]));
    let present = present.prop_map(|(version, (holder, duration_seconds, renewed, transitions), timing, preferred)| {
        let record = Record { holder, duration_seconds, acquired: None, renewed, transitions };
        let preferred = preferred.map(ToOwned::to_owned);
        Observation::Present(Seen { version: Version(version), record, timing, preferred })
    });
    prop_oneof![5 => present, 1 => proptest::option::of(1..40_u64).prop_map(|v| Observation::Absent(v.map(Version)))]
}

fn timing(lease_duration: u64, renew_deadline: u64, retry_period: u64) -> Timing {
    let seconds = Duration::from_secs;
    Timing::new(seconds(lease_duration), seconds(renew_deadline), seconds(retry_period)).expect("a good timing")
}

fn inputs() -> impl Strategy<Value = Input> {
    let answer = prop_oneof![
        4 => observations().prop_map(Answer::Done),
        1 => Just(Answer::Conflict),
        1 => Just(Answer::Refused),
        1 => Just(Answer::Unknown),
    ];
    prop_oneof![
        4 => observations().prop_filter_map("a watch tells versions", |o| o.version().map(|_| Input::Watched(o))),
        1 => Just(Input::WatchLost),
        6 => (0..9_u64, answer).prop_map(|(request, answer)| Input::Answered { request, answer }),
        6 => Just(Input::Woken),
        1 => Just(Input::StepDown),
    ]
}

fn told() -> impl Strategy<Value = Vec<Told>> {
    let after = prop_oneof![3 => Just(0), 3 => 0..1_500_u64, 1 => 0..20_000_u64].prop_map(Duration::from_millis);
    let one = (after, inputs(), proptest::bool::weighted(0.8));
    proptest::collection::vec(one.prop_map(|(after, input, to_newest)| Told { after, input, to_newest }), 1..60)
}

/// A candidate and what is to be known of it from outside.
struct Play {
    candidate: Candidate,
    now: Time,
    newest: u64,
}

impl Play {
    fn new(now: Time) -> Self {
        Self { candidate: Candidate::new("me", Timing::DEFAULT, now), now, newest: 0 }
    }

    fn tell(&mut self, told: &Told) -> Vec<Output> {
        self.now = self.now.saturating_add(told.after);
        let input = match &told.input {
            Input::Answered { answer, .. } if told.to_newest => {
                Input::Answered { request: self.newest, answer: answer.clone() }
            }
            other => other.clone(),
        };
        let outputs = self.candidate.step(input, self.now);
        for output in &outputs {
            if let Output::Send(request) = output {
                self.newest = request.id;
            }
        }
        outputs
    }
}

struct Same;

impl Renaming for Same {
    fn version(&self, version: Version) -> Version {
        version
    }

    fn stamp(&self, stamp: i64) -> i64 {
        stamp
    }

    fn identity(&self, identity: &str) -> String {
        identity.to_owned()
    }
}

/// The same, as far as it can be told: requests by what they ask, times by how far away they are.
fn shape(outputs: &[Output], now: Time) -> Vec<String> {
    let left = |at: Time| at.saturating_sub(now);
    let one = |output: &Output| match output {
        Output::Send(request) => format!("send {:?} for {:?}", request.what, left(request.deadline)),
        Output::Gained(term) => format!("gained {:?} for {:?}", term.token, left(term.valid_until)),
        Output::Extended(term) => format!("extended {:?} for {:?}", term.token, left(term.valid_until)),
        other => format!("{other:?}"),
    };
    outputs.iter().map(one).filter(|told| !told.starts_with("Lost(DeadlinePassed")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Never more than one request under way; a term is over at its time, and was granted by a write that was sent no
    /// longer than a renew deadline before its end.
    #[test]
    fn terms_and_requests_are_in_order(told in told()) {
        let mut play = Play::new(Time::from_secs(5));
        let mut under_way: Option<(u64, Time)> = None;
        let mut last_write = None;
        for told in &told {
            let answered = match &told.input {
                Input::Answered { request, .. } => Some(if told.to_newest { play.newest } else { *request }),
                _ => None,
            };
            let outputs = play.tell(told);
            if under_way.is_some_and(|(id, deadline)| answered == Some(id) || play.now >= deadline) {
                under_way = None;
            }
            let gains = outputs.iter().any(|output| matches!(output, Output::Gained(_)));
            for output in outputs {
                match output {
                    Output::Send(request) => {
                        prop_assert!(under_way.is_none(), "{:?} while another is under way", request);
                        under_way = Some((request.id, request.deadline));
                        prop_assert!(request.deadline > play.now);
                        if request.what != What::Read {
                            last_write = Some((play.now, play.candidate.timing()));
                        }
                    }
                    Output::Gained(term) | Output::Extended(term) => {
                        let (sent_at, timing) = last_write.expect("a write before a term");
                        prop_assert!(term.valid_until <= sent_at + timing.renew_deadline());
                    }
                    Output::Lost(_) | Output::Left => {
                        prop_assert!(gains || play.candidate.term(play.now).is_none());
                    }
                }
            }
            if let Some(term) = play.candidate.term(play.now) {
                prop_assert!(play.now < term.valid_until);
                prop_assert_eq!(play.candidate.term(term.valid_until), None);
            }
        }
    }

    /// A wake at its time does something: the next one is later, or a request is sent.
    #[test]
    fn waking_is_no_busy_loop(told in told()) {
        let mut play = Play::new(Time::from_secs(5));
        for told in &told {
            play.tell(told);
            let mut waiting = play.candidate.clone();
            for _ in 0..20 {
                let Some(at) = waiting.next_wake() else { break };
                let now = at.max(play.now);
                let outputs = waiting.step(Input::Woken, now);
                let later = waiting.next_wake().is_none_or(|next| next > now);
                prop_assert!(later || !outputs.is_empty(), "woken at {:?} for nothing: {:?}", now, waiting);
                prop_assert!(waiting.next_wake().is_none_or(|next| next > now), "twice at {:?}: {:?}", now, waiting);
            }
        }
    }

    /// After a resignation it has left within the longest lease duration in use, whatever it is told, or nothing at all.
    #[test]
    fn a_resignation_ends(told in told(), later in told()) {
        let mut play = Play::new(Time::from_secs(5));
        for told in &told {
            play.tell(told);
        }
        play.tell(&Told { after: Duration::ZERO, input: Input::Resign, to_newest: false });
        // It began to leave now or before, under one of the timings.
        let latest = play.now + Duration::from_mins(1);
        for told in later.iter().take_while(|told| told.input != Input::Woken) {
            play.tell(told);
        }
        while let Some(at) = play.candidate.next_wake() {
            prop_assert!(at <= latest.max(play.now), "wakes at {:?}, after {:?}", at, latest);
            play.now = at.max(play.now);
            play.candidate.step(Input::Woken, play.now);
        }
        prop_assert!(play.candidate.has_left());
    }

    /// No time, duration or count is too large.
    #[test]
    fn nothing_overflows(told in told(), start in prop_oneof![Just(Duration::MAX), Just(Duration::from_secs(u64::MAX))]) {
        let mut play = Play::new(start);
        for told in &told {
            play.tell(told);
            play.candidate.next_wake();
            play.candidate.term(play.now);
        }
    }

    /// No timing panics, and what is accepted keeps client-go's rule.
    #[test]
    fn any_timing_is_judged(lease_duration: u64, renew_deadline: Duration, retry_period: Duration) {
        if let Ok(timing) = Timing::new(Duration::from_secs(lease_duration), renew_deadline, retry_period) {
            prop_assert!(timing.lease_duration() > timing.renew_deadline());
            prop_assert!(timing.renew_deadline() > timing.retry_period());
        }
        prop_assert!(Timing::new(Duration::from_secs(lease_duration), renew_deadline, Duration::MAX).is_err());
    }

    /// A standby whose Lease is renewed sends nothing, but for the one read at its start.
    #[test]
    fn a_standby_asks_for_nothing(pauses in proptest::collection::vec(0..14_900_u64, 1..60)) {
        let mut play = Play::new(Time::ZERO);
        let seen = |n: u64| {
            let renewed = i64::try_from(n).ok();
            let holder = Some("other".to_owned());
            let record = Record { holder, duration_seconds: Some(15), renewed, ..Record::default() };
            Observation::Present(Seen { version: Version(n), record, timing: None, preferred: None })
        };
        play.candidate.step(Input::Watched(seen(1)), Time::ZERO);
        for (n, pause) in (2..).zip(&pauses) {
            let now = play.now + Duration::from_millis(*pause);
            while let Some(at) = play.candidate.next_wake().filter(|at| *at <= now) {
                prop_assert_eq!(play.candidate.step(Input::Woken, at), vec![]);
            }
            prop_assert_eq!(play.candidate.step(Input::Watched(seen(n)), now), vec![]);
            play.now = now;
        }
    }

    /// What the model takes for alike is alike: it does the same under the same inputs, at other times.
    #[test]
    fn alike_candidates_act_alike(told in told(), later in told()) {
        let mut play = Play::new(Time::from_secs(5));
        for told in &told {
            play.tell(told);
        }
        let then = Time::from_secs(1 << 40);
        let candidate = play.candidate.likeness(play.now, then, &Same);
        let mut alike = Play { candidate, now: then, newest: 0 };
        alike.newest = alike.candidate.awaits(then).unwrap_or(0);
        play.newest = play.candidate.awaits(play.now).unwrap_or(0);
        for told in later.iter().filter(|told| told.to_newest || !matches!(told.input, Input::Answered { .. })) {
            let (a, b) = (play.tell(told), alike.tell(told));
            prop_assert_eq!(shape(&a, play.now), shape(&b, alike.now));
            prop_assert_eq!(play.candidate.term(play.now).is_some(), alike.candidate.term(alike.now).is_some());
        }
    }

    /// An answer that nobody awaits is no more than a wake: so one that comes twice does no harm.
    #[test]
    fn an_answer_nobody_awaits_is_a_wake(told in told(), answer in observations()) {
        let mut play = Play::new(Time::from_secs(5));
        for told in &told {
            play.tell(told);
        }
        let mut woken = play.candidate.clone();
        let nobodys = Input::Answered { request: play.newest + 7, answer: Answer::Done(answer) };
        prop_assert_eq!(play.candidate.step(nobodys, play.now), woken.step(Input::Woken, play.now));
        prop_assert_eq!(play.candidate, woken);
    }
}
