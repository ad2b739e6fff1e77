//! What the operator logs: how many lines one group can have it log, for a flood of changes is one of lines otherwise, and
//! what `RUST_LOG` asks for.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leadergroup_operator::telemetry::log_filter;
use serde_json::json;
use support::cluster::{Cluster, leading, take_as, web_0_ended};
use support::{ended, pod, running};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

/// Counts what the operator logs as it is installed, at level info.
struct Lines(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn lines_of(play: impl FnOnce()) -> usize {
    let lines = Arc::new(AtomicUsize::new(0));
    tracing::subscriber::with_default(Registry::default().with(Lines(lines.clone())), play);
    lines.load(Ordering::Relaxed)
}

/// Twenty milliseconds each.
const TURNS: usize = 1_000;
/// Of each kind of Event a burst, one line each.
const BURST: usize = 25;

fn two_candidates() -> Cluster {
    let mut cluster = leading(&json!({}));
    cluster.put_pod(pod("web-1", "u1", "n1", "Running", &[("app", running(0))]));
    cluster
}

#[test]
fn a_lease_that_flaps_between_live_candidates_is_logged_seldom() {
    let mut cluster = two_candidates();
    let lines = lines_of(|| {
        for turn in 0..TURNS {
            cluster.renew(["web-1", "web-0"][turn % 2]);
            cluster.pass(20);
        }
    });
    // LeaderChanged, and once each Flapping's, TimingSuspect's and LeaderSuspect's.
    assert!((1..=BURST + 3).contains(&lines), "{lines} lines");
}

#[test]
fn clears_that_are_outrun_time_and_again_are_logged_seldom() {
    let mut cluster = two_candidates();
    cluster.put_pod(pod("web-1", "u1", "n1", "Failed", &[("app", ended(7_500))]));
    cluster.put_pod(web_0_ended(7_500));
    let before = cluster.count("Clear");
    let lines = lines_of(|| {
        for turn in 0..TURNS {
            cluster.before_clear = Some(|api| take_as(api, "nobody-0", 0));
            let holder = ["web-1", "web-0"][turn % 2];
            cluster.set_lease(&json!({"holderIdentity": holder, "leaseDurationSeconds": 15}));
            // By this the watch of pods shows that it has come as far as the Lease.
            cluster.put_pod(pod("web-2", &format!("u{turn}"), "n1", "Running", &[("app", running(0))]));
            cluster.pass(20);
        }
    });
    let tried = cluster.count("Clear") - before;
    assert!(tried >= TURNS / 2, "{tried} clears were tried");
    // LeaderChanged, HolderTerminated, HolderUnresolved, HolderCleared, LeaseSuspect's, and how the group conducts itself.
    assert!(lines <= 6 * BURST, "{lines} lines of {tried} clears");
}

// === RUST_LOG ===

/// Whether a line of that target and level is logged.
macro_rules! is_logged {
    ($asked:expr, $target:literal, $level:ident) => {{
        let filter = log_filter($asked).unwrap();
        tracing::subscriber::with_default(Registry::default().with(filter), || {
            tracing::enabled!(target: $target, Level::$level)
        })
    }};
}

#[test]
fn a_level_in_rust_log_is_the_operators_own() {
    for level in [None, Some(""), Some("info"), Some("INFO")] {
        assert!(is_logged!(level, "leadergroup_operator::engine", INFO), "{level:?}");
        assert!(!is_logged!(level, "leadergroup_operator::engine", DEBUG), "{level:?}");
        assert!(!is_logged!(level, "kube_runtime::watcher", WARN), "{level:?}: watches that break are told of already");
        assert!(!is_logged!(level, "kube_client::client", ERROR), "{level:?}");
        assert!(!is_logged!(level, "leadergroup_elector::driver", INFO), "{level:?}");
    }
    assert!(is_logged!(Some("debug"), "leadergroup_operator::engine", DEBUG));
    assert!(!is_logged!(Some("debug"), "kube_runtime::watcher", ERROR));
    assert!(!is_logged!(Some("debug"), "hyper::proto", DEBUG));
    assert!(is_logged!(Some("debug"), "leadergroup_elector::driver", WARN));
    assert!(!is_logged!(Some("error"), "leadergroup_elector::driver", WARN));
    assert!(!is_logged!(Some("off"), "leadergroup_operator::engine", ERROR));
}

#[test]
fn directives_in_rust_log_are_taken_as_they_are() {
    let asked = Some("warn,kube_runtime=debug");
    assert!(is_logged!(asked, "kube_runtime::watcher", DEBUG));
    assert!(!is_logged!(asked, "leadergroup_operator::engine", INFO));
    let error = log_filter(Some("leadergroup_operator=loud")).unwrap_err().to_string();
    assert!(error.contains("give a level, such as debug, or directives"), "{error}");
}
