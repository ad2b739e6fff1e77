//! How many lines one group can have the operator log: a flood of changes is one of lines otherwise.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
            cluster.pass(20);
        }
    });
    let tried = cluster.count("Clear") - before;
    assert!(tried >= TURNS / 2, "{tried} clears were tried");
    // LeaderChanged, HolderTerminated, HolderUnresolved, HolderCleared, LeaseSuspect's, and how the group conducts itself.
    assert!(lines <= 6 * BURST, "{lines} lines of {tried} clears");
}
