//! The page of one group.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use leadergroup_api::{Policy, UnconfirmedPolicy};
use maud::{Markup, html};

use super::follow::{Link, News};
use super::frame::{self, Scope, heads};
use super::overview::{Group, UNREADABLE, gist, leader, version};
use super::parts::Part;
use super::strip::{Range, strip, tick};
use super::words::{self, Tone, badge, began, headline, length, moment, readiness, tone};
use crate::model::{LeaderGroup, LeaderGroupStatus, Transition};

/// The name and the range that a page is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub namespace: String,
    pub name: String,
    pub range: Range,
}

/// The pods that the group's selector matches, as far as they are known.
#[derive(Clone)]
pub enum Candidates {
    /// They are still to be asked for.
    Unknown,
    Known {
        news: News,
        pods: Vec<Arc<Pod>>,
    },
    /// The selector can't be used.
    BadSelector(String),
}

/// So many pods are listed.
const MOST_PODS: usize = 100;

pub fn parts(
    subject: &Subject,
    group: Option<Arc<Group>>,
    candidates: &Candidates,
    news: &News,
    scope: &Scope,
    now: Timestamp,
) -> Vec<Part> {
    let Some(object) = group else {
        return vec![if news.link == Link::Live { missing(subject, scope) } else { frame::empty(news, scope) }];
    };
    let mut parts: Vec<_> = frame::notice(news).into_iter().collect();
    let group = match &object.0 {
        Ok(group) => group.clone(),
        Err(invalid) => {
            let error = invalid.error.clone();
            parts.push(Part::new("nothing", "empty", version(&*object), move || {
                html! {
                    section #nothing.card.empty {
                        h2 { "This group can't be read" }
                        p { (UNREADABLE) (error) }
                    }
                }
            }));
            return parts;
        }
    };
    let status = group.status.clone().unwrap_or_default();
    let key = version(&*object);
    let (facts_of, conditions_of, history_of) = (group.clone(), status.clone(), status.clone());
    parts.push(Part::new("facts", "head", &key, move || facts(&facts_of)).with_gist(gist(&object)));
    parts.push(timeline(&key, &status, subject.range, now));
    parts.push(Part::new("conditions", "left", &key, move || conditions(&conditions_of)));
    parts.push(pods(&key, &status, candidates));
    parts.push(Part::new("history", "below", &key, move || history(&history_of)));
    parts
}

pub fn body(subject: &Subject, parts: &[Part]) -> Markup {
    html! {
        nav.back { a #back href="/" { span aria-hidden="true" { "← " } "All groups" } }
        div.head { h1 { (subject.name) } p.quiet.namespace { (subject.namespace) } }
        div #empty { (frame::place(parts, "empty")) }
        div #head { (frame::place(parts, "head")) }
        div #line { (frame::place(parts, "line")) }
        div.columns {
            div #left { (frame::place(parts, "left")) }
            div #right { (frame::place(parts, "right")) }
        }
        div #below { (frame::place(parts, "below")) }
    }
}

/// How long the page looks the same while nothing changes in the cluster.
pub fn stands_for(group: Option<&Group>, subject: &Subject, now: Timestamp) -> Option<std::time::Duration> {
    let status = group?.0.as_ref().ok()?.status.as_ref()?;
    let tick = tick(status, subject.range, now);
    (!tick.is_zero()).then(|| tick.unsigned_abs())
}

fn missing(subject: &Subject, scope: &Scope) -> Part {
    let (subject, scope) = (subject.clone(), scope.clone());
    Part::new("nothing", "empty", "missing", move || {
        html! {
            section #nothing.card.empty {
                h2 { "There is no group of this name" }
                @match &scope {
                    Scope::Namespace(shown) if *shown != subject.namespace => {
                        p {
                            "This dashboard shows namespace " (shown) " only. To see all, start "
                            code { "kubectl leadergroup dashboard -A" } "."
                        }
                    }
                    _ => p {
                        "It may have been deleted. When it is created, it shows here. "
                        a href="/" { "See all groups" } "."
                    },
                }
            }
        }
    })
}

fn facts(group: &LeaderGroup) -> Markup {
    let unknown = LeaderGroupStatus::default();
    let status = group.status.as_ref().unwrap_or(&unknown);
    let since = status.leader.as_ref().and_then(|leader| leader.acquire_time.as_ref());
    let (node, zone) = status.leader.as_ref().map_or((None, None), |it| (it.node_name.as_deref(), it.zone.as_deref()));
    let holder = status.holder.as_ref().map(|it| it.identity.as_str()).filter(|it| Some(*it) != leader(status));
    html! {
        section #facts.card {
            div.lead {
                (badge(readiness(group.status.as_ref())))
                @match leader(status) {
                    Some(leader) => p {
                        b.name { (leader) } " leads" @if let Some(since) = since { ", since " (moment(since.0)) }
                    },
                    None => p { "Nobody leads" },
                }
            }
            @if let Some(holder) = &status.holder {
                div.evidence {
                    h2 { "Verdict: " (holder.verdict.as_str()) }
                    p { (words::verdict(&holder.verdict)) "." }
                    p.quiet { (holder.evidence) }
                }
            }
            dl.facts {
                @if let Some(holder) = holder {
                    div { dt { "Holder" } dd { @if holder.is_empty() { "nobody" } @else { (holder) } } }
                }
                @if let Some(node) = node {
                    div { dt { "Node" } dd { (node) @if let Some(zone) = zone { " (zone " (zone) ")" } } }
                }
                div { dt { "Lease" } dd { (status.lease_name.as_deref().unwrap_or_else(|| group.lease_name())) } }
                div { dt { "Candidates" } dd { (status.candidates.ready) " ready of " (status.candidates.total) } }
                div { dt { "Transitions" } dd { (status.transitions) } }
                div { dt { "A dead holder" } dd { (policy(group)) } }
                div { dt { "Timing" } dd title="lease duration / renew deadline / retry period" { (timing(group)) } }
            }
        }
    }
}

fn policy(group: &LeaderGroup) -> String {
    let stale = &group.spec.stale_holder;
    let proven = match stale.policy {
        Policy::Observe => return "is reported only".to_owned(),
        Policy::Clear if stale.delay_seconds > 0 => format!("is cleared {} s after the proof", stale.delay_seconds),
        Policy::Clear => "is cleared once proven".to_owned(),
    };
    match (stale.unconfirmed.policy, stale.unconfirmed.after_seconds) {
        (UnconfirmedPolicy::AcceptRisk, Some(seconds)) => {
            format!("{proven}, or {seconds} s after it was last heard of")
        }
        _ => proven,
    }
}

fn timing(group: &LeaderGroup) -> String {
    let lease = &group.spec.lease;
    format!("{} s / {} s / {} s", lease.duration_seconds, lease.renew_deadline_seconds, lease.retry_period_seconds)
}

/// As time goes on the strip grows: it is drawn anew with each of its pixels.
fn timeline(key: &str, status: &LeaderGroupStatus, range: Range, now: Timestamp) -> Part {
    let millis = tick(status, range, now).as_millis();
    let step = i128::from(now.as_millisecond()).checked_div(millis).unwrap_or_default();
    let status = status.clone();
    Part::new("timeline", "line", format!("{key} {step}"), move || {
        html! {
            section #timeline.card aria-labelledby="timeline-head" {
                h2 #timeline-head { "Timeline" }
                (strip(&status, range, now))
            }
        }
    })
}

fn conditions(status: &LeaderGroupStatus) -> Markup {
    let mut conditions: Vec<_> = status.conditions.iter().collect();
    // What needs attention comes before what is well.
    conditions.sort_by_key(|condition| (condition.type_ != "Ready", tone(condition) == Tone::Good));
    html! {
        section #conditions.card aria-labelledby="conditions-head" {
            h2 #conditions-head { "Conditions" }
            @if conditions.is_empty() {
                p.quiet { "None yet: does the operator run? " code { "kubectl -n leadergroup-system get pods" } }
            } @else {
                ul.conditions { @for it in conditions { (condition(it)) } }
            }
        }
    }
}

fn condition(condition: &Condition) -> Markup {
    let tone = tone(condition);
    html! {
        li {
            span.sign.(tone.class()) aria-hidden="true" { (tone.sign()) }
            div {
                p {
                    b { (headline(condition)) } " "
                    span.quiet title={ (condition.type_) " is " (condition.status) } { (condition.reason) }
                }
                @if tone != Tone::Good || condition.type_ == "Ready" { p.message { (condition.message) } }
                p.quiet.small { "since " (moment(condition.last_transition_time.0)) }
            }
        }
    }
}

fn pods(key: &str, status: &LeaderGroupStatus, candidates: &Candidates) -> Part {
    let version = match candidates {
        Candidates::Unknown => "unknown".to_owned(),
        Candidates::Known { news, .. } => format!("{} {:?}", news.version, news.link),
        Candidates::BadSelector(why) => why.clone(),
    };
    let (status, candidates) = (status.clone(), candidates.clone());
    Part::new("candidates", "right", format!("{key} {version}"), move || {
        html! {
            section #candidates.card aria-labelledby="candidates-head" {
                h2 #candidates-head { "Candidates" }
                @match &candidates {
                    Candidates::BadSelector(why) => p { "spec.candidates.selector can't be used: " (why) },
                    Candidates::Known { news: News { link: Link::Forbidden(why), .. }, .. } => {
                        p {
                            (status.candidates.ready) " ready of " (status.candidates.total)
                            ". To list them here you need to list and watch pods."
                        }
                        p.quiet.small { (why) }
                    }
                    Candidates::Known { news, pods } if news.link != Link::Connecting => (table(&status, pods)),
                    _ => (waiting(status.candidates.total)),
                }
            }
        }
    })
}

/// As high as the list that comes.
fn waiting(total: i32) -> Markup {
    let rows = usize::try_from(total).unwrap_or_default().min(MOST_PODS);
    html! { table.plain aria-busy="true" { tbody { @for _ in 0..=rows { tr { td.quiet { "…" } } } } } }
}

fn table(status: &LeaderGroupStatus, pods: &[Arc<Pod>]) -> Markup {
    if pods.is_empty() {
        return html! { p.quiet { "No pod matches the group's selector: label the candidates." } };
    }
    let leads = |pod: &Pod| {
        let uid = status.leader.as_ref().and_then(|leader| leader.pod_uid.as_ref());
        uid.is_some() && uid == pod.metadata.uid.as_ref()
    };
    html! {
        table.plain {
            (heads(&["Pod", "State", "Node", "Created"]))
            tbody {
                @for pod in pods.iter().take(MOST_PODS) {
                    tr {
                        td data-label="Pod" {
                            span.wrap { (pod.name_any()) } @if leads(pod) { " " span.tag { "leader" } }
                        }
                        td data-label="State" { (badge(state(pod))) }
                        td data-label="Node" { (node(pod).unwrap_or("–")) }
                        td data-label="Created" {
                            @if let Some(created) = pod.creation_timestamp() { (moment(created.0)) }
                        }
                    }
                }
            }
        }
        @if pods.len() > MOST_PODS { p.quiet { "and " (pods.len() - MOST_PODS) " more" } }
    }
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn state(pod: &Pod) -> (Tone, &'static str) {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Succeeded") => (Tone::Idle, "Succeeded"),
        Some("Failed") => (Tone::Bad, "Failed"),
        _ if pod.metadata.deletion_timestamp.is_some() => (Tone::Warn, "Terminating"),
        Some("Running") if is_ready => (Tone::Good, "Ready"),
        Some("Running") => (Tone::Warn, "Not ready"),
        _ => (Tone::Idle, "Pending"),
    }
}

/// Takes from a pod what is not shown.
pub fn trim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.metadata.labels = None;
    pod.metadata.owner_references = None;
    let node_name = pod.spec.take().and_then(|spec| spec.node_name);
    pod.spec = Some(PodSpec { node_name, ..PodSpec::default() });
    let status = pod.status.take().unwrap_or_default();
    pod.status = Some(PodStatus { phase: status.phase, conditions: status.conditions, ..PodStatus::default() });
}

fn history(status: &LeaderGroupStatus) -> Markup {
    html! {
        section #history.card aria-labelledby="history-head" {
            h2 #history-head { "History" }
            @if status.history.is_empty() {
                p.quiet { "Nobody has led since this group was first observed." }
            } @else {
                table.plain {
                    (heads(&["When", "Leader", "Before", "Why", "Leaderless"]))
                    tbody { @for it in &status.history { (transition(it)) } }
                }
            }
        }
    }
}

fn transition(it: &Transition) -> Markup {
    let leaderless = it.leaderless_seconds.and_then(|seconds| jiff::SignedDuration::try_from_secs_f64(seconds).ok());
    html! {
        tr {
            td data-label="When" { (moment(it.time.0)) }
            td data-label="Leader" { span.wrap { (it.leader) } }
            td data-label="Before" { span.wrap { (it.from.as_deref().unwrap_or("–")) } }
            td data-label="Why" {
                (began(&it.reason))
                @if let Some(count) = it.unobserved { span.quiet { " (" (count) " before it not observed)" } }
            }
            td data-label="Leaderless" { (leaderless.map_or("–".to_owned(), length)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn subject() -> Subject {
        Subject { namespace: "shop".into(), name: "billing".into(), range: Range::All }
    }

    fn group(spec: &Value, status: &Value) -> Arc<Group> {
        let metadata = json!({"name": "billing", "namespace": "shop", "uid": "1", "resourceVersion": "7"});
        let object = json!({"metadata": metadata, "spec": spec, "status": status});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn page(group: Option<Arc<Group>>, candidates: &Candidates, scope: &Scope) -> String {
        let news = News { version: 1, link: Link::Live };
        let parts = parts(&subject(), group, candidates, &news, scope, "2026-11-25T12:00:00Z".parse().unwrap());
        body(&subject(), &parts).into_string()
    }

    fn known(pods: &[Value]) -> Candidates {
        let pods = pods.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect();
        Candidates::Known { news: News { version: 1, link: Link::Live }, pods }
    }

    #[test]
    fn hostile_text_stays_text_everywhere() {
        let evil = r#"'"><script>alert(1)</script>"#;
        let time = "2026-11-25T11:00:00Z";
        let status = json!({
            "leaseName": evil,
            "leader": {"identity": evil, "podName": evil, "podUID": "u", "nodeName": evil, "zone": evil},
            "holder": {"identity": "another", "verdict": "Foreign", "evidence": evil},
            "history": [{"leader": evil, "from": evil, "reason": "Taken", "time": time}],
            "conditions": [
                {"type": evil, "status": "False", "reason": evil, "message": evil, "lastTransitionTime": time}
            ]
        });
        let pod = json!({"metadata": {"name": evil, "uid": "u"}, "spec": {"nodeName": evil, "containers": []}});
        let page = page(Some(group(&json!({}), &status)), &known(&[pod]), &Scope::All);
        assert!(!page.contains("<script>") && !page.contains(r#""><"#.repeat(2).as_str()), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 10, "{page}");
    }

    #[test]
    fn a_missing_group_says_why_it_may_be_missing() {
        let gone = page(None, &Candidates::Unknown, &Scope::All);
        assert!(gone.contains("It may have been deleted"), "{gone}");
        let elsewhere = page(None, &Candidates::Unknown, &Scope::Namespace("other".into()));
        assert!(elsewhere.contains("This dashboard shows namespace other only"), "{elsewhere}");
    }

    #[test]
    fn candidates_show_who_leads_and_how_they_are() {
        let leader = json!({"identity": "a", "podName": "a", "podUID": "u1"});
        let status = json!({"leader": leader, "candidates": {"total": 3, "ready": 1}});
        let pod = |name: &str, uid: &str, phase: &str, ready: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            json!({"metadata": {"name": name, "uid": uid}, "status": {"phase": phase, "conditions": conditions}})
        };
        let pods =
            [pod("a", "u1", "Running", "True"), pod("b", "u2", "Running", "False"), pod("c", "u3", "Failed", "False")];
        let shown = page(Some(group(&json!({}), &status)), &known(&pods), &Scope::All);
        let row = |name: &str| {
            let at = shown.find(&format!(r#"<span class="wrap">{name}</span>"#)).unwrap();
            shown[at..at + shown[at..].find("</tr>").unwrap()].to_owned()
        };
        assert!(row("a").contains("leader") && row("a").contains("Ready"), "{}", row("a"));
        assert!(!row("b").contains("leader") && row("b").contains("Not ready"), "{}", row("b"));
        assert!(row("c").contains("Failed"), "{}", row("c"));

        let forbidden =
            Candidates::Known { news: News { version: 0, link: Link::Forbidden("no".into()) }, pods: Vec::new() };
        let shown = page(Some(group(&json!({}), &status)), &forbidden, &Scope::All);
        assert!(shown.contains("1 ready of 3. To list them here you need to list and watch pods"), "{shown}");
    }

    #[test]
    fn the_policy_is_told_in_words() {
        let told = |spec: Value| policy(group(&spec, &json!({})).0.as_ref().unwrap());
        assert_eq!(told(json!({})), "is cleared once proven");
        assert_eq!(told(json!({"staleHolder": {"policy": "Observe", "delaySeconds": 5}})), "is reported only");
        assert_eq!(told(json!({"staleHolder": {"delaySeconds": 5}})), "is cleared 5 s after the proof");
        let risk = json!({"staleHolder": {"unconfirmed": {"policy": "AcceptRisk", "afterSeconds": 60}}});
        assert_eq!(told(risk), "is cleared once proven, or 60 s after it was last heard of");
    }
}
