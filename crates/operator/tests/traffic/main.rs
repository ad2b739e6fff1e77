//! Who gets a group's traffic, and how that comes to be.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod orders;
mod requests;
mod table;

use serde_json::{Value, json};
use support::api::Kind;
use support::cluster::Cluster;
use support::{pod, running};

/// The spec of a group that routes by the Service `web-leader`.
pub(crate) fn spec() -> Value {
    json!({"routing": {"service": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}}})
}

/// The group's pod of that number, at the address `10.0.0.<number>`.
pub(crate) fn web(number: u8, uid: &str, phase: &str, status: Value) -> Value {
    let mut pod = pod(&format!("web-{number}"), uid, "n1", phase, &[("app", status)]);
    pod["status"]["podIP"] = json!(format!("10.0.0.{number}"));
    pod
}

/// `web-0` leads since a while, and `web-1` stands by; the last renewal was at 6 s, and it is 8 s now.
pub(crate) fn leading(spec: &Value) -> Cluster {
    let mut cluster = Cluster::new(spec);
    cluster.put_pod(web(0, "u0", "Running", running(0)));
    cluster.put_pod(web(1, "u1", "Running", running(0)));
    cluster.renew_times("web-0", 4);
    assert_eq!(cluster.verdict(), "Alive");
    cluster
}

/// The addresses that the group's slice holds; says so if there is no slice.
pub(crate) fn sends_to(cluster: &Cluster) -> Vec<String> {
    let Some(slice) = cluster.api.get(Kind::Slice, "web-leader") else { return vec!["no slice".to_owned()] };
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints.map(|e| e["addresses"][0].as_str().unwrap_or_default().to_owned()).collect()
}

/// The writes by which traffic goes, since so many jobs.
pub(crate) fn routed_since(cluster: &Cluster, jobs: usize) -> Vec<String> {
    cluster.jobs[jobs..].iter().filter_map(|job| job.strip_prefix("Route ")).map(ToOwned::to_owned).collect()
}
