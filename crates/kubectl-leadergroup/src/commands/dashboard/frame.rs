//! What all pages have: the frame around them, and what is said when there is nothing to show.

use maud::{DOCTYPE, Markup, html};

use super::follow::{Link, News};
use super::parts::Part;
use super::words::moment;

/// Which groups are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

/// What the pages are of: a cluster, and which of its groups.
#[derive(Clone, Debug)]
pub struct Place {
    /// What the kubeconfig calls the cluster and its user.
    pub context: String,
    pub scope: Scope,
}

/// A whole page: its parts as they are now, and where it learns of changes.
pub fn page(title: &str, place: &Place, events: &str, notice: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (place.context) " · LeaderGroup" }
                link rel="stylesheet" href="/assets/style.css";
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                script type="module" src="/assets/script.js" {}
            }
            body data-events=(events) {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { img src="/assets/icon.svg" alt="" width="22" height="22"; "LeaderGroup" }
                    span.scope {
                        b { (place.context) } ", "
                        @match &place.scope {
                            Scope::All => "all namespaces",
                            Scope::Namespace(name) => { "namespace " b { (name) } }
                        }
                    }
                    span #pulse.pulse { "Live" }
                }
                main #main tabindex="-1" { (body) }
                div #notice role="status" { (notice) }
                div #unreachable.banner.bad role="alert" hidden {
                    b { "The dashboard doesn't answer." }
                    " What you see is as old as this message. Is " code { "kubectl leadergroup dashboard" }
                    " still running? The page goes on by itself when it is back."
                }
                div #say.unseen aria-live="polite" {}
            }
        }
    }
}

/// The parts that go into one place, drawn.
pub fn place(parts: &[Part], within: &str) -> Markup {
    html! { @for part in parts.iter().filter(|part| part.within == within) { (part.draw()) } }
}

/// A table's head.
pub fn heads(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// What is said about the connection to the cluster while what is shown is older than it should be. Where nothing is
/// shown, [`empty`] says more.
pub fn notice(news: &News) -> Option<Part> {
    let (key, gist, message) = match news.link.clone() {
        Link::Connecting | Link::Live => return None,
        Link::Lost { since, why } => (
            format!("lost {since}"),
            "Connection to the cluster lost",
            html! {
                b { "Connection to the cluster lost" } " " (moment(since)) ": " (why)
                ". What you see was so then; it goes on by itself."
            },
        ),
        Link::Forbidden(why) => (
            "forbidden".to_owned(),
            "The cluster refuses to show the groups",
            html! { b { "The cluster refuses to show the groups." } " " (why) },
        ),
        Link::NoSuchKind => (
            "no-such-kind".to_owned(),
            "The cluster has no LeaderGroups",
            html! { b { "The cluster has no LeaderGroups:" } " their definition is not installed." },
        ),
    };
    let draw = move || html! { div #lost.banner.bad { p { (message) } } };
    Some(Part::new("lost", "notice", key, draw).with_gist(gist))
}

/// What stands in the place of groups while there are none, and what to do about it.
pub fn empty(news: &News, scope: &Scope) -> Part {
    let scope = scope.clone();
    match &news.link {
        Link::Connecting => card("connecting", || html! { h2 { "Reading the groups…" } }),
        Link::Live => card("none", move || none(&scope)),
        Link::Lost { why, .. } => {
            let why = why.clone();
            card("lost", move || {
                html! {
                    h2 { "The cluster doesn't answer" }
                    p { (why) "." }
                    p { "Does " code { "kubectl get leadergroups" } " work? The groups show here as soon as it does." }
                }
            })
        }
        Link::Forbidden(why) => {
            let why = why.clone();
            card("forbidden", move || forbidden(&why, &scope))
        }
        Link::NoSuchKind => card("no-such-kind", || {
            html! {
                h2 { "This cluster has no LeaderGroups" }
                p { "Their definition is not installed. To install it with the operator, build and push the operator's image, then:" }
                pre { code {
                    "kubectl leadergroup install --image YOUR/leadergroup-operator:TAG | kubectl apply --server-side -f -"
                } }
            }
        }),
    }
}

fn card(key: &'static str, content: impl Fn() -> Markup + Send + 'static) -> Part {
    let is_live = key == "none";
    Part::new("nothing", "empty", key, move || html! { section #nothing.card.empty.off[!is_live] { (content()) } })
}

fn none(scope: &Scope) -> Markup {
    let namespace = match scope {
        Scope::All => "default",
        Scope::Namespace(name) => name,
    };
    html! {
        h2 {
            @match scope {
                Scope::All => "There are no groups yet",
                Scope::Namespace(name) => { "There are no groups in namespace " (name) },
            }
        }
        p { "A group of the name of its Lease needs no more than this:" }
        pre { code {
            "kubectl apply -f - <<EOF\n"
            "apiVersion: leadergroup.dev/v1alpha1\n"
            "kind: LeaderGroup\n"
            "metadata: {name: billing, namespace: " (namespace) "}\n"
            "spec: {}\n"
            "EOF\n"
            "kubectl -n " (namespace) " label pods -l app=billing leadergroup.dev/group=billing"
        } }
        @if *scope != Scope::All {
            p { "To see all namespaces, start " code { "kubectl leadergroup dashboard -A" } "." }
        }
    }
}

fn forbidden(why: &str, scope: &Scope) -> Markup {
    const VIEW: &str = "--verb=get,list,watch --resource=leadergroups.leadergroup.dev,pods";
    html! {
        h2 { "You may not see these groups" }
        p { "The API server says: " (why) }
        @match scope {
            Scope::All => {
                p {
                    "To see one namespace, name it: " code { "kubectl leadergroup dashboard -n NAMESPACE" }
                    ". To see all, have an administrator allow it:"
                }
                pre { code {
                    "kubectl create clusterrole leadergroup-view " (VIEW) "\n"
                    "kubectl create clusterrolebinding leadergroup-view --clusterrole=leadergroup-view --user=YOU"
                } }
            }
            Scope::Namespace(name) => {
                p { "Have an administrator allow it:" }
                pre { code {
                    "kubectl -n " (name) " create role leadergroup-view " (VIEW) "\n"
                    "kubectl -n " (name) " create rolebinding leadergroup-view --role=leadergroup-view --user=YOU"
                } }
            }
        }
    }
}
