//! The page with all groups.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use kube::{Resource, ResourceExt};
use maud::{Markup, html};

use super::follow::News;
use super::frame::{self, Scope};
use super::parts::Part;
use super::words::{self, Tone, badge, moment, readiness};
use crate::model::{LeaderGroup, LeaderGroupStatus};

/// A group, or what became of it when it was read.
pub type Group = DeserializeGuard<LeaderGroup>;

/// What is said before the error of an object that this program doesn't understand.
pub const UNREADABLE: &str = "This dashboard is older than the object, or the definition in the cluster is another: ";

/// The columns, with their classes in the style sheet.
const COLUMNS: [(&str, &str); 7] = [
    ("name", "Group"),
    ("leader", "Leader"),
    ("state", "Ready"),
    ("number", "Candidates"),
    ("number", "Transitions"),
    ("since", "Since"),
    ("verdict", "Verdict"),
];

pub fn parts(groups: &[Arc<Group>], news: &News, scope: &Scope) -> Vec<Part> {
    if groups.is_empty() {
        return vec![frame::empty(news, scope)];
    }
    let mut parts = Vec::with_capacity(groups.len() + 2);
    parts.extend(frame::notice(news));
    parts.push(summary(groups));
    parts.extend(groups.iter().map(row));
    parts
}

pub fn body(parts: &[Part]) -> Markup {
    html! {
        div.head {
            h1 { "Groups" }
            div #summary.summary { (frame::place(parts, "summary")) }
            search.filter {
                label.unseen for="filter" { "Filter the groups by name, leader or verdict" }
                input #filter type="search" placeholder="Filter" autocomplete="off" spellcheck="false"
                    aria-keyshortcuts="/" aria-describedby="matches";
                kbd aria-hidden="true" { "/" }
                span #matches.quiet role="status" {}
            }
        }
        div #empty { (frame::place(parts, "empty")) }
        table #table.groups role="table" aria-label="Groups" {
            thead role="rowgroup" {
                tr role="row" {
                    @for (class, head) in COLUMNS {
                        th.(class) role="columnheader" scope="col" { (head) }
                    }
                }
            }
            tbody #groups role="rowgroup" { (frame::place(parts, "groups")) }
        }
        p #no-match.quiet hidden { "No group matches. Press Escape to see all." }
    }
}

fn summary(groups: &[Arc<Group>]) -> Part {
    let count = |wanted: Tone| groups.iter().filter(|group| state(group).0 == wanted).count();
    let (good, warn, bad, idle) = (count(Tone::Good), count(Tone::Warn), count(Tone::Bad), count(Tone::Idle));
    let key = format!("{good} {warn} {bad} {idle}");
    Part::new("summary-text", "summary", key, move || {
        html! {
            p #summary-text {
                (badge((Tone::Good, &format!("{good} ready"))))
                @if warn > 0 { (badge((Tone::Warn, &format!("{warn} ready, with a warning")))) }
                @if bad > 0 { (badge((Tone::Bad, &format!("{bad} not ready")))) }
                @if idle > 0 { (badge((Tone::Idle, &format!("{idle} unknown")))) }
            }
        }
    })
}

fn state(group: &Group) -> (Tone, &'static str) {
    match &group.0 {
        Ok(group) => readiness(group.status.as_ref()),
        Err(_) => (Tone::Bad, "Unreadable"),
    }
}

fn row(group: &Arc<Group>) -> Part {
    let (namespace, name) = (group.meta().namespace.clone().unwrap_or_default(), group.name_any());
    let id = row_id(&namespace, &name);
    Part::new(id.clone(), "groups", version(&**group), {
        let group = group.clone();
        move || draw(&id, &namespace, &name, &group)
    })
    .with_gist(gist(group))
}

/// Namespaces and names have no slashes.
fn row_id(namespace: &str, name: &str) -> String {
    format!("group/{namespace}/{name}")
}

/// What an object's look depends on.
pub fn version(object: &impl Resource) -> String {
    let meta = object.meta();
    format!("{} {}", meta.uid.as_deref().unwrap_or_default(), meta.resource_version.as_deref().unwrap_or_default())
}

/// What is told of a group to somebody who doesn't see it.
pub fn gist(group: &Group) -> String {
    let name = format!("{}/{}", group.meta().namespace.as_deref().unwrap_or_default(), group.name_any());
    let Ok(group) = &group.0 else { return format!("{name} can't be read") };
    let (_, ready) = readiness(group.status.as_ref());
    match group.status.as_ref().and_then(leader) {
        Some(leader) => format!("{name}: {ready}, led by {leader}"),
        None => format!("{name}: {ready}, nobody leads"),
    }
}

/// The name of the pod that leads; its identity where it resolves to none.
pub fn leader(status: &LeaderGroupStatus) -> Option<&str> {
    let leader = status.leader.as_ref()?;
    Some(leader.pod_name.as_deref().unwrap_or(&leader.identity))
}

pub fn href(namespace: &str, name: &str) -> String {
    format!("/groups/{namespace}/{name}")
}

fn draw(id: &str, namespace: &str, name: &str, group: &Group) -> Markup {
    let group_name = html! {
        td.name role="cell" {
            a href=(href(namespace, name)) { (name) }
            span.quiet.namespace { (namespace) }
        }
    };
    let group = match &group.0 {
        Ok(group) => group,
        Err(invalid) => {
            return html! {
                tr id=(id) role="row" {
                    (group_name)
                    td.unreadable role="cell" colspan="6" {
                        (badge((Tone::Bad, "Unreadable"))) " " (UNREADABLE) (invalid.error)
                    }
                }
            };
        }
    };
    let unknown = LeaderGroupStatus::default();
    let status = group.status.as_ref().unwrap_or(&unknown);
    let node = status.leader.as_ref().and_then(|leader| leader.node_name.as_deref());
    let since = status.leader.as_ref().and_then(|leader| leader.acquire_time.as_ref());
    html! {
        tr id=(id) role="row" {
            (group_name)
            td.leader role="cell" data-label="Leader" {
                @match leader(status) {
                    Some(leader) => {
                        span.cut title=(leader) { (leader) }
                        span.quiet.cut { (node.unwrap_or_default()) }
                    },
                    None => span.quiet { "nobody" },
                }
            }
            td.state role="cell" data-label="Ready" { (badge(readiness(group.status.as_ref()))) }
            td.number role="cell" data-label="Candidates" title="ready of all" {
                (status.candidates.ready) "/" (status.candidates.total)
            }
            td.number role="cell" data-label="Transitions" { (status.transitions) }
            td.since role="cell" data-label="Since" {
                @if let Some(since) = since { (moment(since.0)) } @else { "–" }
            }
            td.verdict role="cell" data-label="Verdict" {
                @if let Some(holder) = &status.holder {
                    span title={ (words::verdict(&holder.verdict)) ". " (holder.evidence) } { (holder.verdict.as_str()) }
                } @else { "–" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::follow::Link;
    use super::*;

    fn group(name: &str, status: &serde_json::Value) -> Arc<Group> {
        let metadata = json!({"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7"});
        let object = json!({"metadata": metadata, "spec": {}, "status": status});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn live() -> News {
        News { version: 1, link: Link::Live }
    }

    #[test]
    fn what_came_from_the_cluster_is_text_whatever_it_says() {
        let evil = r#""><script>alert(1)</script>&"#;
        let status = json!({
            "leader": {"identity": evil, "podName": evil, "nodeName": evil},
            "holder": {"identity": evil, "verdict": "Alive", "evidence": evil}
        });
        let page = body(&parts(&[group("billing", &status)], &live(), &Scope::All)).into_string();
        assert!(!page.contains("<script>alert") && !page.contains(r#"="">"#), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    }

    #[test]
    fn an_object_that_cannot_be_read_hides_no_other() {
        let odd = group("odd", &json!({"holder": {"identity": "a", "verdict": 7, "evidence": ""}}));
        let parts = parts(&[group("billing", &json!({})), odd], &live(), &Scope::All);
        let page = body(&parts).into_string();
        assert!(page.contains("billing") && page.contains("Unreadable") && page.contains("1 not ready"), "{page}");
    }

    #[test]
    fn where_there_is_no_group_it_says_what_to_do() {
        for (link, scope, expected) in [
            (Link::Live, Scope::All, "metadata: {name: billing, namespace: default}"),
            (Link::Live, Scope::Namespace("shop".into()), "kubectl leadergroup dashboard -A"),
            (Link::NoSuchKind, Scope::All, "kubectl leadergroup install --image YOUR/leadergroup-operator:TAG"),
            (Link::Forbidden("no".into()), Scope::All, "kubectl create clusterrole leadergroup-view"),
            (
                Link::Forbidden("no".into()),
                Scope::Namespace("shop".into()),
                "kubectl -n shop create role leadergroup-view",
            ),
            (Link::Connecting, Scope::All, "Reading the groups"),
        ] {
            let page = body(&parts(&[], &News { version: 0, link }, &scope)).into_string();
            assert!(page.contains(expected), "{page}");
        }
    }

    #[test]
    fn only_a_change_of_leader_or_readiness_is_read_out() {
        let status = |leader: &str, transitions: i64| {
            let ready = json!({"type": "Ready", "status": "True", "reason": "Leading", "message": "",
                "lastTransitionTime": "2026-11-25T12:00:00Z"});
            json!({"leader": {"identity": leader}, "transitions": transitions, "conditions": [ready]})
        };
        let gist = |status| gist(&group("billing", &status));
        assert_eq!(gist(status("a", 1)), "shop/billing: Ready, led by a");
        assert_eq!(gist(status("a", 1)), gist(status("a", 2)));
        assert_ne!(gist(status("a", 1)), gist(status("b", 1)));
        assert_eq!(gist(json!({})), "shop/billing: Not observed, nobody leads");
    }
}
