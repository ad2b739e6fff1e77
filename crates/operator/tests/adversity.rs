//! What goes wrong around a clear: writes that fail for long, pods lost from sight, identities seen to be shared. What must
//! hold: nobody alive is cleared early, nothing is tried without rest, and the user is told why it takes its time.

#![allow(missing_docs)]

mod support;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use support::api::{Kind, change};
use support::cluster::{Cluster, Fate, leading, take_as, web_0, web_0_ended};
use support::{ended, ms, now_at, pod, restarted, running};

#[test]
fn a_clear_that_the_api_server_fails_at_is_tried_again_ever_more_rarely_and_shown() {
    let mut cluster = leading(&json!({}));
    cluster.fate = Fate::Broken;
    cluster.put_pod(web_0_ended(7_500));
    cluster.pass(60_000);
    assert!((3..15).contains(&cluster.count("Clear")), "{}", cluster.count("Clear"));
    assert_eq!(cluster.condition("Stalled"), "True WriteFailed");
    cluster.fate = Fate::Answered;
    cluster.pass(61_000);
    assert_eq!(cluster.api.cleared.len(), 1);
    assert_eq!(cluster.condition("Stalled"), "False Observing");
}

#[test]
fn a_group_that_cannot_be_read_nor_told_so_is_told_ever_more_rarely() {
    let mut cluster = leading(&json!({}));
    let mut broken = support::group(&json!({"historyLimit": "many"}));
    let stale = broken.clone();
    broken["metadata"]["name"] = json!("web");
    cluster.hold(Kind::Group);
    cluster.put_group(broken);
    cluster.engine.change(change(Kind::Group, &Event::Apply(stale)), now_at(ms(cluster.now)));
    cluster.pass(60_000);
    assert!((2..15).contains(&cluster.count("WriteInvalid")), "{}", cluster.count("WriteInvalid"));
    cluster.release(Kind::Group);
    cluster.pass(61_000);
    assert_eq!(cluster.condition("Stalled"), "True Undecodable");
}
