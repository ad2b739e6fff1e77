//! `elector run` as processes, with an API server of the test's own.
#![allow(missing_docs)]

mod api;
mod processes;
mod unkillable;
mod wrapper;

use std::time::Duration;

use leadergroup_elector::clock::boottime;
use rustix::process::Signal;

use wrapper::{LEASE_DURATION, Wrapper};

/// Says so at each SIGTERM, and goes on; its daemon does not even that.
const STUBBORN: &str = "
    trap 'echo got TERM' TERM
    setsid sh -c 'trap \"\" TERM; (while :; do sleep 0.1; done) & ' daemon-$WORD
    echo started with token $ELECTOR_TOKEN of $ELECTOR_LEASE in $ELECTOR_NAMESPACE as $ELECTOR_IDENTITY
    while :; do sleep 0.05; done
";

/// Prints whether execve grants privileges to its descendants.
const PRIVILEGES: &str = "grep NoNewPrivs /proc/self/status";

#[test]
fn nothing_survives_the_wrapper() {
    let mut run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    assert!(run.wrapped().len() >= 2, "the program and its daemon run: {:?}", run.wrapped());
    run.wrapper().signal(Signal::KILL);
    run.until_nothing_is_wrapped();
    assert_eq!(run.wait(), None);
    run.until("the watchdog has ended", || run.watchdog().is_none().then_some(()));
}

#[test]
fn nothing_outlives_the_lease_of_a_stopped_wrapper() {
    let mut run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    run.wrapper().signal(Signal::STOP);
    run.until_nothing_is_wrapped();
    run.assert_within_the_lease();
    assert!(run.said().contains("got TERM"), "it was asked to end first: {}", run.said());
    assert!(run.api.release().is_none());
    // Continued, it notices, and campaigns again.
    run.wrapper().signal(Signal::CONT);
    run.until_said("started", 2);
    run.wrapper().signal(Signal::KILL);
    run.until_nothing_is_wrapped();
    assert_eq!(run.wait(), None);
}

#[test]
fn a_program_that_does_not_end_is_killed_before_the_lease_runs_out_and_runs_again_later() {
    let run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    run.api.silent(true);
    run.until_said("got TERM", 1);
    run.until_nothing_is_wrapped();
    run.assert_within_the_lease();
    run.api.silent(false);
    run.until_said("started", 2);
}

#[test]
fn a_program_is_killed_at_once_when_somebody_else_has_the_lease() {
    let run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    run.api.take();
    run.until_nothing_is_wrapped();
    assert!(!run.said().contains("got TERM"), "{}", run.said());
    // When that one's Lease has run out, it leads again.
    run.until_said("started", 2);
}

#[test]
fn when_another_shall_lead_the_program_ends_first_and_the_lease_is_released_then() {
    let run = Wrapper::start(
        "trap 'echo got TERM; sleep 0.3; echo ends; exit 3' TERM
         echo started; while :; do sleep 0.02; done",
    );
    run.until_said("started", 1);
    run.api.prefer("somebody-else");
    run.until_said("ends", 1);
    let release = run.until("the Lease is released", || run.api.release());
    assert_eq!(release.noted, 0, "something ran when the Lease was released");
    assert_eq!(run.said().matches("got TERM").count(), 1, "{}", run.said());
    // The one that shall lead does not come.
    run.until_said("started", 2);
}

#[test]
fn nothing_survives_the_watchdog_and_the_program_runs_again() {
    let run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    let (watchdog, before) = (run.watchdog().unwrap(), run.wrapped());
    watchdog.signal(Signal::KILL);
    run.until_gone(&before);
    run.until_said("started", 2);
    assert_ne!(run.watchdog().map(|now| now.id), Some(watchdog.id));
}

#[test]
fn nothing_survives_a_stopped_watchdog_for_long_and_the_program_runs_again() {
    let run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    let (watchdog, before) = (run.watchdog().unwrap(), run.wrapped());
    watchdog.signal(Signal::STOP);
    run.until_gone(&before);
    run.until_said("started", 2);
    assert_ne!(run.watchdog().map(|now| now.id), Some(watchdog.id));
}

#[test]
fn the_lease_is_released_when_the_program_and_all_it_left_are_gone() {
    let mut run = Wrapper::start(
        "(setsid sh -c 'echo daemon; trap \"echo daemon got TERM\" TERM; while :; do sleep 0.05; done' daemon-$WORD &)
         until grep -q daemon $OUT; do sleep 0.01; done
         exit 7",
    );
    assert_eq!(run.wait(), Some(7));
    let release = run.api.release().expect("the Lease was released");
    assert_eq!(release.noted, 0, "something ran when the Lease was released");
    assert!(run.said().contains("daemon got TERM"), "{}", run.said());
}

#[test]
fn a_program_that_leaves_nothing_releases_at_once() {
    let mut run = Wrapper::start("sleep 0.3; echo $(date +%s%N) ends; kill -9 $$");
    assert_eq!(run.wait(), Some(128 + 9));
    let release = run.api.release().expect("the Lease was released");
    // Without waiting for a renewal to be due, or for the grace.
    let last = run.api.written().iter().rev().find(|written| !written.holder.is_empty()).unwrap().at;
    let took = release.at.saturating_sub(last);
    assert!(took < Duration::from_secs(3), "took {took:?}");
}

#[test]
fn signals_are_passed_on_and_sigterm_ends_it_after_the_program() {
    let mut run = Wrapper::start(
        "for s in HUP INT QUIT USR1 USR2 WINCH; do trap \"echo got $s\" $s; done
         trap 'echo got TERM; sleep 0.3; exit 5' TERM
         echo started; while :; do sleep 0.02; done",
    );
    run.until_said("started", 1);
    let signals = [
        (Signal::HUP, "HUP"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::TERM, "TERM"),
    ];
    for (signal, name) in signals {
        run.wrapper().signal(signal);
        run.until_said(&format!("got {name}"), 1);
    }
    assert_eq!(run.wait(), Some(5));
    assert_eq!(run.api.release().expect("the Lease was released").noted, 0);
}

#[test]
fn a_standby_that_is_told_to_end_ends_without_running_the_program() {
    let mut run = Wrapper::start_beside_a_leader("echo started");
    run.until_logged("campaigning");
    run.wrapper().signal(Signal::USR1);
    run.wrapper().signal(Signal::HUP);
    run.wrapper().signal(Signal::TERM);
    assert_eq!(run.wait(), Some(128 + 15));
    assert!(run.said().is_empty(), "{}", run.said());
}

#[test]
fn orphans_that_end_are_reaped() {
    let run = Wrapper::start(
        "for i in 1 2 3; do (sh -c 'sleep 0.1' orphan-$WORD &) ; done; echo started; while :; do sleep 0.05; done",
    );
    run.until_said("started", 1);
    let watchdog = run.watchdog().unwrap();
    run.until("only the program is left", || (processes::states_of_children(watchdog.id).len() == 1).then_some(()));
}

#[test]
fn the_environment_tells_the_term() {
    let run = Wrapper::start(STUBBORN);
    run.until_said("started", 1);
    let said = run.said();
    assert!(said.contains("started with token 1 of billing in shop as candidate-"), "{said}");
}

#[test]
fn program_gains_no_privileges_by_default() {
    let mut run = Wrapper::start(PRIVILEGES);
    assert_eq!(run.wait(), Some(0));
    assert_eq!(run.said(), "NoNewPrivs:\t1\n");
}

#[test]
fn program_gains_privileges_when_allowed() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("NoNewPrivs:")).unwrap();
    let mut run = Wrapper::start_with(&["--allow-new-privileges"], PRIVILEGES);
    assert_eq!(run.wait(), Some(0));
    assert_eq!(run.said().trim_end(), own, "inherited from this test");
}

#[test]
fn a_program_that_cannot_run_is_told_at_once() {
    for (program, code) in [("/no/such/program", 127), ("no-such-program", 127), ("/proc/version", 126)] {
        let (ended, told) = wrapper::try_to_run(&[program]);
        assert_eq!(ended, Some(code), "{told}");
        assert!(told.contains(program), "{told}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let (ended, told) = wrapper::try_to_run(&[]);
    assert_eq!(ended, Some(2), "{told}");
    assert!(told.contains("CMD"), "{told}");
    let (ended, told) = wrapper::try_to_run_with(&["--grace=4s"], &["true"]);
    assert_eq!(ended, Some(125), "{told}");
    assert!(told.contains("3.75s"), "{told}");
    let (ended, told) = wrapper::try_to_run_with(&["--renew-deadline=15s"], &["true"]);
    assert_eq!(ended, Some(125), "{told}");
    assert!(told.contains("lease duration must be longer"), "{told}");
}

impl Wrapper {
    /// The Lease has not run out: for whoever saw the last write at the moment it was made.
    fn assert_within_the_lease(&self) {
        let last = self.api.written().last().unwrap().at;
        let after = boottime().saturating_sub(last);
        assert!(after < LEASE_DURATION, "gone only {after:?} after the last renewal");
    }
}
