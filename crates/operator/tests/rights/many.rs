//! Many groups on one schedule.

use std::sync::Arc;
use std::time::Duration;

use leadergroup_operator::audit::{Answers, BrokenOff, Right, Schedule, Scope, Step, Subject, questions};
use leadergroup_operator::index::Key;
use leadergroup_operator::time::Mono;

struct Many {
    schedule: Schedule,
    now: Mono,
    reviews: u32,
}

const MANY: usize = 2_000;

impl Many {
    /// Groups that were all audited long ago.
    fn new() -> Self {
        let mut many = Self { schedule: Schedule::default(), now: Mono::ZERO, reviews: 0 };
        let subject =
            || Some(Subject { lease: "l".into(), accounts: vec![Arc::from("app")], of: 1, must_create: false });
        for number in 0..MANY {
            let key = Key::new(format!("ns-{number}"), "web");
            many.schedule.observe(&key, subject(), true, MANY, many.now);
        }
        many.pass(Duration::from_mins(5), |_| ());
        many
    }

    /// Answers whatever is asked, each question within a millisecond.
    fn pass(&mut self, time: Duration, mut asked: impl FnMut(&Key)) {
        let end = self.now + time;
        while let Some(at) = self.schedule.next_wake().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            for step in self.schedule.poll(self.now) {
                let Step::Ask(key, subject) = step else { continue };
                asked(&key);
                let mut answers = Answers::default();
                while let Some(question) = questions::next(&subject, &answers) {
                    answers.note(question, question.right != Right::UpdateAnywhere);
                    self.reviews += 1;
                    self.now += Duration::from_millis(1);
                }
                let count = answers.count();
                self.schedule.done(&key, subject, count, Ok(answers), self.now);
            }
        }
        self.now = end;
    }
}

#[test]
fn a_change_for_all_is_spread_and_one_for_a_few_comes_in_between() {
    let mut many = Many::new();
    assert_eq!(many.reviews as usize, MANY * 4, "each once");
    many.reviews = 0;
    for _ in 0..1_000 {
        many.schedule.rights_changed(&Scope::Cluster, many.now);
    }
    let mut most = 0;
    for _ in 0..30 {
        let before = many.reviews;
        many.pass(Duration::from_secs(1), |_| ());
        most = most.max(many.reviews - before);
    }
    assert!(most <= 54, "{most} questions in a second");
    let key = Key::new("ns-77", "web");
    many.schedule.rights_changed(&Scope::Namespace("ns-77".to_owned()), many.now);
    let mut is_asked = false;
    many.pass(Duration::from_secs(8), |asked| is_asked |= *asked == key);
    assert!(is_asked, "it had to wait for all the others");
    many.pass(Duration::from_mins(5), |_| ());
    assert!((MANY * 4..MANY * 4 + 8).contains(&(many.reviews as usize)), "{} questions", many.reviews);
}

#[test]
fn periodic_audits_of_many_groups_do_not_come_together() {
    let mut many = Many::new();
    many.reviews = 0;
    let mut most = 0;
    for _ in 0..60 {
        let before = many.reviews;
        many.pass(Duration::from_mins(1), |_| ());
        most = most.max(many.reviews - before);
    }
    let all = many.reviews as usize / 4;
    assert!((MANY * 3 / 2..=MANY * 5 / 2).contains(&all), "{all} audits in an hour");
    assert!(most <= 50 * 60 / 4, "{most} questions in a minute");
}

#[test]
fn a_question_without_an_answer_is_asked_again_later_and_what_was_found_stands() {
    let mut many = Many::new();
    let key = Key::new("ns-1", "web");
    let found = many.schedule.finding(&key);
    many.schedule.rights_changed(&Scope::Namespace("ns-1".to_owned()), many.now);
    let mut tries = Vec::new();
    for _ in 0..8 {
        let at = many.schedule.next_wake().unwrap();
        let [Step::Ask(asked, subject)] = &many.schedule.poll(at)[..] else { panic!("one question") };
        assert_eq!(**asked, key);
        tries.push(at);
        let failed = BrokenOff::Failed("no answer".into());
        many.schedule.done(&key, subject.clone(), 1, Err(failed), at);
    }
    assert_eq!(many.schedule.finding(&key), found);
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_secs()).collect();
    assert!((8..=12).contains(&waits[0]) && (240..=360).contains(&waits[6]), "{waits:?}");
}
