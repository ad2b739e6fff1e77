//! When the Lease of a term can run out, which is when whatever the leader started elsewhere must have ended.
#![allow(missing_docs)]

use std::time::Duration;

use leadergroup_election::{Answer, Candidate, Input, Observation, Output, Record, Seen, Term, Timing, Version};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(version: u64, holder: Option<&str>, timing: Option<Timing>) -> Observation {
    let record = Record { holder: holder.map(Into::into), duration_seconds: Some(60), ..Record::default() };
    Observation::Present(Seen { version: Version(version), record, timing, preferred: None })
}

fn request(outputs: &[Output]) -> u64 {
    outputs.iter().find_map(|output| if let Output::Send(request) = output { Some(request.id) } else { None }).unwrap()
}

fn term(outputs: &[Output]) -> Option<Term> {
    outputs.iter().find_map(|output| match output {
        Output::Gained(term) | Output::Extended(term) => Some(*term),
        _ => None,
    })
}

#[test]
fn it_counts_from_before_the_write_was_sent_and_is_shortened_before_a_shorter_duration_is_written() {
    let long = Timing::new(seconds(60), seconds(40), seconds(5)).unwrap();
    let mut candidate = Candidate::new("c", long, seconds(0));
    let acquires = request(&candidate.step(Input::Watched(lease(5, None, None)), seconds(1)));
    let done = Answer::Done(lease(6, Some("c"), None));
    let gained = term(&candidate.step(Input::Answered { request: acquires, answer: done }, seconds(3))).unwrap();
    assert_eq!((gained.valid_until, gained.expires_at), (seconds(41), seconds(61)));

    candidate.step(Input::Watched(lease(7, Some("c"), Some(Timing::DEFAULT))), seconds(4));
    let renewing = candidate.step(Input::Woken, seconds(6));
    // Whoever sees the record that is now on its way may take over 15 s later, whether or not the answer arrives here.
    let shortened = term(&renewing).unwrap();
    assert_eq!((shortened.valid_until, shortened.expires_at), (seconds(16), seconds(21)));
    assert!(matches!(renewing[..], [Output::Extended(_), Output::Send(_)]), "told before it is sent: {renewing:?}");
}
