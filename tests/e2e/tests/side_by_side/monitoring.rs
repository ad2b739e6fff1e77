//! A Prometheus that scrapes the operator knows what the groups' status says, and its alerts fire.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use leadergroup_api::LeaderGroup;
use leadergroup_e2e::cluster::{Signal, workspace_root};
use leadergroup_e2e::{Candidates, Group, GroupView, Prometheus, Sample, Session};

#[tokio::test]
async fn after_a_takeover_prometheus_knows_what_the_status_says() -> Result<()> {
    let promise = "a Prometheus that scrapes the operator knows who leads, why that changed and how long nobody led";
    let Some(session) = Session::with_kubelet(promise).await? else { return Ok(()) };
    let place = session.namespace("metrics").await?;
    let prometheus = Prometheus::scraping(&session, |rules| rules).await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let first = place.until_settled("billing").await?.metadata.name.context("a pod without a name")?;
    let of_group = format!("namespace=\"{}\",group=\"billing\"", place.name());
    let leader = format!("leadergroup_leader_info{{{of_group}}}");
    let is_led_by = |pod: &str, samples: &[Sample]| match samples {
        [(labels, _)] => labels["pod"] == pod && !labels["node"].is_empty(),
        _ => false,
    };
    prometheus.until("it knows the leader", &leader, |samples| is_led_by(&first, samples)).await?;
    let is_there = |samples: &[Sample]| !samples.is_empty();
    prometheus.until("one operator leads", "sum(leadergroup_operator_leader) == 1", is_there).await?;

    place.delete_pod(&first).await?;
    let group = place.until_led_by_another("billing", &first).await?;
    let second = group.leading_pod().context("nobody leads")?;
    prometheus.until("it knows the new leader", &leader, |samples| is_led_by(&second, samples)).await?;
    let status = place.until_led("billing").await?.status.context("no status")?;
    let mut reasons = BTreeMap::new();
    for entry in status.history.iter().filter(|entry| entry.from.is_some()) {
        *reasons.entry(entry.reason.as_str().to_owned()).or_insert(0.0) += 1.0;
    }
    assert_eq!(reasons, BTreeMap::from([("Cleared".to_owned(), 1.0)]), "what the rest is about");
    let transitions = format!("leadergroup_transitions_total{{{of_group}}} > 0");
    let samples = prometheus.until("it counts the transition", &transitions, is_there).await?;
    let counted: BTreeMap<_, _> =
        samples.into_iter().map(|(labels, value)| (labels["reason"].clone(), value)).collect();
    assert_eq!(counted, reasons);
    let increased = format!("sum(increase(leadergroup_transitions_total{{{of_group}}}[5m])) > 0");
    prometheus.until("its increase is not lost", &increased, is_there).await?;
    let told: f64 = status.history.iter().filter_map(|entry| entry.leaderless_seconds).sum();
    let leaderless = format!("leadergroup_leaderless_seconds_total{{{of_group}}} == {told}");
    prometheus.until("it has added up how long nobody led", &leaderless, is_there).await?;
    let candidates = format!("leadergroup_candidates{{{of_group}}} == {}", status.candidates.total);
    prometheus.until("it knows the candidates", &candidates, is_there).await?;
    let takes = "leadergroup_takeover_seconds_count{reason=\"Cleared\"} >= 1 and leadergroup_takeover_seconds_sum > 0";
    prometheus.until("takeovers are measured", takes, is_there).await?;
    let clears = "leadergroup_clears_total{verdict=\"Terminated\",ground=\"Proof\",release=\"Empty\"} >= 1";
    prometheus.until("clears are counted", clears, is_there).await?;
    let requests = "leadergroup_api_request_duration_seconds_count{verb=~\"WATCH|PUT|PATCH\",code=\"2xx\"} >= 1";
    prometheus.until("requests are timed by verb", requests, |samples| samples.len() >= 3).await?;

    let dashboard = fs::read_to_string(workspace_root()?.join("config/monitoring/dashboard.json"))?;
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard)?;
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            // What Grafana puts in.
            let question = target["expr"].as_str().context("a panel without a question")?;
            let question = question.replace("$namespace", place.name()).replace("$group", "billing");
            let question = question.replace("$__rate_interval", "5m").replace("$__range", "1h");
            let title = format!("the dashboard's panel {} shows something", panel["title"]);
            // Nothing is wrong with the group.
            if question.contains("leadergroup_abnormal") {
                assert_eq!(prometheus.query(&question).await?, [], "{title}");
            } else {
                prometheus.until(&title, &question, is_there).await?;
            }
        }
    }

    place.groups().delete("billing", &kube::api::DeleteParams::default()).await?;
    let all = format!("{{{of_group}}}");
    prometheus.until("nothing is left of a deleted group", &all, <[Sample]>::is_empty).await?;
    Ok(())
}

#[tokio::test]
async fn alerts_fire_for_a_group_whose_only_candidate_may_not_lead() -> Result<()> {
    let session = Session::start().await?;
    let place = session.namespace("alerts").await?;
    // The same rules with less patience; promtool has played them with theirs.
    let impatient = |rules: String| {
        let changed = rules.replace("for: 2m", "for: 0s").replace("for: 1m", "for: 0s").replace("> 60\n", "> 5\n");
        assert!(!changed.contains("for: 2m") && changed.contains("> 5\n"), "{changed}");
        changed
    };
    let prometheus = Prometheus::scraping(&session, impatient).await?;
    place.create(&Group::named("billing").creates_lease().build()).await?;
    place.run(&Candidates::named("billing").without_update().without_create().pod()).await?;
    for alert in ["LeaderGroupCandidatesUnauthorized", "LeaderGroupLeaderless"] {
        let firing = format!(
            "ALERTS{{alertname=\"{alert}\",alertstate=\"firing\",namespace=\"{}\",group=\"billing\"}}",
            place.name()
        );
        prometheus.until(&format!("{alert} fires"), &firing, |samples| samples.len() == 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_paused_is_told_what_timing_would_have_kept_it() -> Result<()> {
    let promise = "a leader that was replaced though it runs is told what timing would have kept it";
    let Some(session) = Session::with_host(promise).await? else { return Ok(()) };
    let place = session.namespace("timing").await?;
    place.create(&Group::named("billing").build()).await?;
    place.run(&Candidates::named("billing").replicas(2).deployment()).await?;
    let leader = place.until_settled("billing").await?;
    session.signal(&leader, Signal::STOP)?;
    let name = leader.metadata.name.as_deref().context("a pod without a name")?;
    place.until_led_by_another("billing", name).await?;
    session.signal(&leader, Signal::CONT)?;
    let told = |g: &LeaderGroup| g.says("TimingSuspect", "True", "NeedlessTransition");
    let group = place.until("billing", "the timing is said not to fit", told).await?;
    let message = group.condition("TimingSuspect").map(|condition| condition.message).unwrap_or_default();
    println!("{message}");
    for part in [&format!("whose pod {name} still runs"), "instead of 4 and 6, ride out such a pause"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(place.until_event("billing", "NeedlessTransition").await?, message);
    Ok(())
}
