//! What a browser gets: a page as it is now, and then a stream of what changes on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use futures::future::OptionFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::core::Selector;
use kube::{Api, Client, Resource};
use maud::Markup;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::follow::{Followed, News};
use super::frame::{self, Place, Scope};
use super::group::{self, Candidates, Subject};
use super::overview::{self, Group};
use super::parts::{Changes, Part, Sent};
use crate::model::LeaderGroup;
use crate::session::watching;

/// Changes that come in less than that after each other are sent together.
const PACE: Duration = Duration::from_millis(200);

/// Which page.
#[derive(Clone, Debug)]
pub enum Page {
    Overview,
    Group(Subject),
}

/// All that pages are made of.
pub struct Board {
    groups: Followed<Group>,
    client: Client,
    place: Place,
}

impl Board {
    /// Begins to follow the groups.
    pub fn start(client: Client, place: Place) -> Self {
        let groups = match &place.scope {
            Scope::All => Api::all(client.clone()),
            Scope::Namespace(name) => Api::namespaced(client.clone(), name),
        };
        let trim = |group: &mut Group| group.meta_mut().managed_fields = None;
        Self { groups: Followed::start(groups, watching(), trim), client, place }
    }

    /// A page as it is now, and whether what it is about exists.
    pub fn page(&self, page: &Page) -> (bool, Markup) {
        let news = self.groups.news().borrow().clone();
        let parts = self.parts(page, &Candidates::Unknown, &news);
        let exists = !parts.iter().any(|part| part.key == "missing");
        let notice = frame::place(&parts, "notice");
        let markup = match page {
            Page::Overview => frame::page("Groups", &self.place, "/events", &notice, &overview::body(&parts)),
            Page::Group(subject) => {
                let title = format!("{} in {}", subject.name, subject.namespace);
                let events = format!(
                    "{}/events?range={}",
                    overview::href(&subject.namespace, &subject.name),
                    subject.range.as_str()
                );
                frame::page(&title, &self.place, &events, &notice, &group::body(subject, &parts))
            }
        };
        (exists, markup)
    }

    fn parts(&self, page: &Page, candidates: &Candidates, news: &News) -> Vec<Part> {
        match page {
            Page::Overview => overview::parts(&self.groups.objects(), news, &self.place.scope),
            Page::Group(subject) => {
                group::parts(subject, self.group(subject), candidates, news, &self.place.scope, Timestamp::now())
            }
        }
    }

    fn group(&self, subject: &Subject) -> Option<Arc<Group>> {
        self.groups.find(&subject.namespace, &subject.name)
    }
}

/// One browser's stream. It holds no changes, only what the browser was sent last: one that reads slowly misses what
/// happened in between, and then gets what is so.
struct Viewer {
    board: Arc<Board>,
    page: Page,
    news: watch::Receiver<News>,
    pods: Option<Pods>,
    sent: Sent,
    _place: OwnedSemaphorePermit,
}

/// The candidates of the group that a viewer looks at, followed while it does.
struct Pods {
    selector: String,
    followed: Result<(Followed<Pod>, watch::Receiver<News>), String>,
}

/// Begins with the whole page, which may have changed since it was loaded.
pub fn stream(
    board: Arc<Board>,
    page: Page,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let news = board.groups.news();
    let viewer = Viewer { board, page, news, pods: None, sent: Sent::default(), _place: place };
    futures::stream::unfold(viewer, |mut viewer| async move {
        let changes = viewer.next().await?;
        let data = serde_json::to_string(&changes).ok()?;
        Some((Ok(Event::default().data(data)), viewer))
    })
}

impl Viewer {
    /// None when nothing is followed any more.
    async fn next(&mut self) -> Option<Changes> {
        loop {
            let news = self.news.borrow_and_update().clone();
            let candidates = self.candidates();
            let changes = self.sent.changes(&self.board.parts(&self.page, &candidates, &news));
            if !changes.is_empty() {
                return Some(changes);
            }
            let stands_for = self.stands_for();
            let pods = self.pods.as_mut().and_then(|pods| pods.followed.as_mut().ok());
            tokio::select! {
                told = self.news.changed() => told.ok()?,
                Some(Ok(())) = OptionFuture::from(pods.map(|(_, news)| news.changed())) => {}
                Some(()) = OptionFuture::from(stands_for.map(sleep)) => {}
            }
            sleep(PACE).await;
        }
    }

    fn stands_for(&self) -> Option<Duration> {
        let Page::Group(subject) = &self.page else { return None };
        group::stands_for(self.board.group(subject).as_deref(), subject, Timestamp::now())
    }

    fn candidates(&mut self) -> Candidates {
        let Page::Group(subject) = &self.page else { return Candidates::Unknown };
        let group = self.board.group(subject);
        let Some(group) = group.as_ref().and_then(|group| group.0.as_ref().ok()) else {
            self.pods = None;
            return Candidates::Unknown;
        };
        let mut pods = Pods::of(group, self.pods.take(), &self.board.client);
        let candidates = pods.candidates();
        self.pods = Some(pods);
        candidates
    }
}

impl Pods {
    /// The pods that were followed before, unless the group selects others by now.
    fn of(group: &LeaderGroup, before: Option<Self>, client: &Client) -> Self {
        let labels = group.candidate_selector();
        let selector = serde_json::to_string(&labels).unwrap_or_default();
        if let Some(before) = before.filter(|before| before.selector == selector) {
            return before;
        }
        let followed = Selector::try_from(labels).map_err(|error| error.to_string()).map(|labels| {
            let namespace = group.metadata.namespace.as_deref().unwrap_or_default();
            let pods = Api::namespaced(client.clone(), namespace);
            let followed = Followed::start(pods, watching().labels_from(&labels), group::trim);
            let news = followed.news();
            (followed, news)
        });
        Self { selector, followed }
    }

    fn candidates(&mut self) -> Candidates {
        match &mut self.followed {
            Ok((followed, news)) => {
                Candidates::Known { news: news.borrow_and_update().clone(), pods: followed.objects() }
            }
            Err(why) => Candidates::BadSelector(why.clone()),
        }
    }
}
