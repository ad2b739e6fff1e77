//! What a candidate does, as a person reads it: `testdata` has a line for each thing that happens and each that it does.

#![allow(missing_docs)]

use std::fmt::Write as _;
use std::time::Duration;

use datadriven::walk;
use leadergroup_election::{
    Answer, Candidate, Change, Input, Observation, Output, Record, Request, Seen, Time, Timing, Version, What,
};

#[test]
fn a_candidate_does_as_written() {
    walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata"), |file| {
        file.run(|case| {
            let mut play = Play::default();
            for line in case.input.lines() {
                play.line(line);
            }
            play.told
        });
    });
}

#[derive(Default)]
struct Play {
    candidate: Option<Candidate>,
    newest: u64,
    told: String,
}

impl Play {
    /// `TIME INPUT`, with times in seconds. What the input does is told under the same time.
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (now, words) = (seconds(words[0]), &words[1..]);
        let input = match words {
            ["candidate", identity, timing @ ..] => {
                let timing = match timing {
                    [a, b, c] => Timing::new(seconds(a), seconds(b), seconds(c)).expect("a good timing"),
                    _ => Timing::DEFAULT,
                };
                self.candidate = Some(Candidate::new(identity.trim_matches('"'), timing, now));
                return;
            }
            ["sees", lease @ ..] => Input::Watched(observation(lease)),
            ["watch", "lost"] => Input::WatchLost,
            ["done", lease @ ..] => self.answer(Answer::Done(observation(lease))),
            ["conflict"] => self.answer(Answer::Conflict),
            ["refused"] => self.answer(Answer::Refused),
            ["unknown"] => self.answer(Answer::Unknown),
            ["answer", id, lease @ ..] => {
                Input::Answered { request: id.parse().expect("a number"), answer: Answer::Done(observation(lease)) }
            }
            ["wakes"] => Input::Woken,
            ["resigns"] => Input::Resign,
            ["steps", "down"] => Input::StepDown,
            other => panic!("unknown input {other:?}"),
        };
        let candidate = self.candidate.as_mut().expect("a candidate first");
        for output in candidate.step(input, now) {
            if let Output::Send(request) = &output {
                self.newest = request.id;
            }
            writeln!(self.told, "{} {}", now.as_secs_f64(), told(&output)).expect("a string");
        }
        if candidate.should_step_down() {
            writeln!(self.told, "    should step down").expect("a string");
        }
        if let Some(at) = candidate.next_wake() {
            writeln!(self.told, "    wakes at {}", at.as_secs_f64()).expect("a string");
        }
    }

    fn answer(&self, answer: Answer) -> Input {
        Input::Answered { request: self.newest, answer }
    }
}

fn seconds(text: &str) -> Time {
    Duration::from_secs_f64(text.parse().expect("seconds"))
}

/// `absent [vN]`, or `vN holder=NAME duration=S acquired=N renewed=N transitions=N prefers=NAME timing=S/S/S`, all but the
/// version optional. What is no number is null, but for `acquired`, which is 0 if it is not told.
fn observation(words: &[&str]) -> Observation {
    let version = |word: &str| Version(word.trim_start_matches('v').parse().expect("a version"));
    if words[0] == "absent" {
        return Observation::Absent(words.get(1).map(|word| version(word)));
    }
    let record = Record { acquired: Some(0), ..Record::default() };
    let mut seen = Seen { version: version(words[0]), record, timing: None, preferred: None };
    for (name, value) in words[1..].iter().map(|word| word.split_once('=').expect("name=value")) {
        match name {
            "holder" => seen.record.holder = Some(value.to_owned()),
            "duration" => seen.record.duration_seconds = value.parse().ok(),
            "acquired" => seen.record.acquired = value.parse().ok(),
            "renewed" => seen.record.renewed = value.parse().ok(),
            "transitions" => seen.record.transitions = value.parse().ok(),
            "prefers" => seen.preferred = Some(value.to_owned()),
            "timing" => {
                let parts: Vec<Time> = value.split('/').map(seconds).collect();
                seen.timing = Some(Timing::new(parts[0], parts[1], parts[2]).expect("a good timing"));
            }
            other => panic!("unknown field {other}"),
        }
    }
    Observation::Present(seen)
}

fn told(output: &Output) -> String {
    match output {
        Output::Send(Request { id, deadline, what }) => {
            let what = match what {
                What::Read => "read".to_owned(),
                What::Create(change) => format!("create {}", change_told(change)),
                What::Replace(version, change) => format!("replace v{} {}", version.0, change_told(change)),
            };
            format!("request {id}, until {}: {what}", deadline.as_secs_f64())
        }
        Output::Gained(term) => format!("LEADS, token {}, until {}", term.token.0, term.valid_until.as_secs_f64()),
        Output::Extended(term) => format!("leads until {}", term.valid_until.as_secs_f64()),
        Output::Lost(loss) => format!("LOST {loss:?}"),
        Output::Left => "left".to_owned(),
    }
}

fn change_told(change: &Change) -> String {
    let holder = if change.holder.is_empty() { "nobody" } else { &change.holder };
    let acquires = if change.acquires { ", acquired now" } else { "" };
    format!("holder {holder}, {} s, transitions {}{acquires}", change.duration_seconds, change.transitions)
}
