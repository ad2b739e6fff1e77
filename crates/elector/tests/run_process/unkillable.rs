//! A descendant of the program that the wrapper and its watchdog may not signal.

use leadergroup_elector::clock::boottime;
use rustix::process::Signal;

use crate::wrapper::Wrapper;

/// Exit code of a wrapper that failed itself.
const FAILED: Option<i32> = Some(125);

/// Starts a process of another user, which no signal of the wrapper reaches.
const START: &str = "
    setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'echo started; while :; do sleep 0.1; done' nobody-$WORD &
    until grep -q started $OUT; do sleep 0.01; done
";

/// Starts a process of another user, then does the rest.
fn script(rest: &str) -> String {
    format!("{START}\n{rest}")
}

/// A wrapper whose program has started a process of another user and does the rest now.
fn start(options: &[&str], rest: &str) -> Option<Wrapper> {
    Wrapper::start_without_cap_kill(options, &script(rest)).map(until_started)
}

fn until_started(run: Wrapper) -> Wrapper {
    run.until_said("started", 1);
    run
}

/// The wrapper fails, so that the container ends: without a release, and without another run of the program.
fn assert_fails(mut run: Wrapper) -> Wrapper {
    assert_eq!(run.wait(), FAILED, "{}", run.log());
    assert!(!run.wrapped().is_empty(), "the process was killed after all");
    assert!(run.api.release().is_none(), "{}", run.log());
    assert_eq!(run.said().matches("started").count(), 1, "{}", run.said());
    // Without a limit, each attempt would log a line: 100 a second.
    assert!(run.log().lines().count() < 40, "{}", run.log());
    run
}

#[test]
fn wrapper_fails_before_lease_expires() {
    let Some(run) = start(&[], "wait") else { return };
    run.api.silent(true);
    let run = assert_fails(run);
    run.assert_within_the_lease();
}

#[test]
fn wrapper_fails_at_once_after_lease_was_taken() {
    let Some(run) = start(&[], "wait") else { return };
    run.api.take();
    let taken = boottime();
    assert_fails(run);
    assert!(boottime().saturating_sub(taken) < crate::wrapper::LEASE_DURATION);
}

#[test]
fn wrapper_fails_when_descendant_is_hidden() {
    let run = Wrapper::start_without_seeing_others(&[], &script("wait"));
    let Some(run) = run.map(until_started) else { return };
    run.api.take();
    assert_fails(run);
}

#[test]
fn wrapper_never_releases_while_descendant_lives() {
    let Some(run) = start(&["--grace=500ms"], "exit 0") else { return };
    assert_fails(run);
}

#[test]
fn wrapper_never_hands_over_while_descendant_lives() {
    let Some(run) = start(&["--grace=500ms"], "wait") else { return };
    run.api.prefer("somebody-else");
    assert_fails(run);
}

#[test]
fn wrapper_fails_after_watchdog_was_killed() {
    let Some(run) = start(&[], "wait") else { return };
    run.watchdog().unwrap().signal(Signal::KILL);
    assert_fails(run);
}

#[test]
fn watchdog_wakes_stopped_wrapper() {
    let Some(run) = start(&[], "wait") else { return };
    run.wrapper().signal(Signal::STOP);
    assert_fails(run);
}

#[test]
fn watchdog_without_wrapper_keeps_trying_slowly() {
    let Some(mut run) = start(&[], "wait") else { return };
    run.wrapper().signal(Signal::KILL);
    assert_eq!(run.wait(), None);
    let lines = || run.log().lines().count();
    let (before, begun) = (lines(), boottime());
    run.until("the watchdog has logged five lines more", || (lines() >= before + 5).then_some(()));
    assert!(boottime().saturating_sub(begun).as_millis() > 2500, "more than one line a second\n{}", run.log());
    for process in run.wrapped() {
        process.signal(Signal::KILL);
    }
    run.until("the watchdog has ended", || run.watchdog().is_none().then_some(()));
}
