//! Following objects of one kind: the newest of each, and how the connection to the API server is.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::TryStreamExt;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::reflector::{Store, store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// After so long without news, the API server is asked whether there is none.
const QUIET: Duration = Duration::from_secs(10);
/// An answer to that takes less.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// A first list that takes longer is taken for a server that doesn't answer.
const LIST_PATIENCE: Duration = Duration::from_secs(15);
/// A person waits for the cluster to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How the connection to the API server is.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Nothing was read yet.
    Connecting,
    Live,
    /// What is known is that old.
    Lost {
        since: Timestamp,
        why: String,
    },
    /// The API server refuses, and says why.
    Forbidden(String),
    /// The API server knows no such kind of object.
    NoSuchKind,
}

/// What changes: each object that does adds one to the version.
#[derive(Clone, Debug)]
pub struct News {
    pub version: u64,
    pub link: Link,
}

/// Objects that are followed for as long as this lives. Holds each one once, whoever looks on.
pub struct Followed<K: Resource<DynamicType = ()> + 'static> {
    objects: Store<K>,
    news: watch::Receiver<News>,
    _task: AbortOnDropHandle<()>,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Begins to follow; `trim` takes from each object what nobody looks at.
    pub fn start(api: Api<K>, config: watcher::Config, trim: fn(&mut K)) -> Self {
        let (objects, writer) = store();
        let (tell, news) = watch::channel(News { version: 0, link: Link::Connecting });
        let task = tokio::spawn(follow(api, config, writer, tell, trim));
        Self { objects, news, _task: AbortOnDropHandle::new(task) }
    }

    /// Ordered by namespace and name.
    pub fn objects(&self) -> Vec<Arc<K>> {
        let mut objects = self.objects.state();
        objects.sort_unstable_by(|a, b| key(&**a).cmp(&key(&**b)));
        objects
    }

    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.find(|object| key(object) == (Some(namespace), Some(name)))
    }

    pub fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }
}

fn key<K: Resource>(object: &K) -> (Option<&str>, Option<&str>) {
    (object.meta().namespace.as_deref(), object.meta().name.as_deref())
}

async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: Writer<K>,
    tell: watch::Sender<News>,
    trim: fn(&mut K),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let pauses =
        || ExponentialBuilder::default().with_max_delay(LONGEST_PAUSE).without_max_times().with_jitter().build();
    let mut pause = pauses();
    loop {
        // A watcher that goes on by itself says nothing when the server is back and nothing has changed; a list does.
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
        let mut listed = false;
        let link = loop {
            let patience = if listed { QUIET } else { LIST_PATIENCE };
            let event = timeout(patience, events.try_next()).await;
            match event {
                Ok(Ok(Some(event))) => {
                    let event = event.modify(trim);
                    writer.apply_watcher_event(&event);
                    let shows = !matches!(event, Event::Init | Event::InitApply(_));
                    listed |= shows;
                    if shows {
                        pause = pauses();
                        tell.send_modify(|news| *news = News { version: news.version + 1, link: Link::Live });
                    }
                }
                Ok(Ok(None)) => break lost("the watch ended"),
                Ok(Err(error)) => break judge(&error),
                Err(_) => {
                    if !listed || !answers(&api).await {
                        break lost("the API server does not answer");
                    }
                }
            }
        };
        tell.send_if_modified(|news| news.link.become_(link));
        tokio::time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

/// Whether the API server still says anything. A watch on a connection that is dead, or of a server that hangs, looks like
/// one on which nothing happens.
async fn answers<K>(api: &Api<K>) -> bool
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // One object, from what the server has in memory anyway. A refusal is an answer.
    let probe = ListParams::default().limit(1).match_any();
    let answer = timeout(PROBE_PATIENCE, api.list_metadata(&probe)).await;
    matches!(answer, Ok(Ok(_) | Err(kube::Error::Api(_))))
}

impl Link {
    /// Whether anything changed: a link that stays lost was lost when it first was.
    fn become_(&mut self, next: Self) -> bool {
        let is_lost = |link: &Self| matches!(link, Self::Lost { .. });
        if *self == next || (is_lost(self) && is_lost(&next)) {
            return false;
        }
        *self = next;
        true
    }
}

fn lost(why: &str) -> Link {
    Link::Lost { since: Timestamp::now(), why: why.to_owned() }
}

fn judge(error: &watcher::Error) -> Link {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        error => return lost(&innermost(error)),
    };
    match status.code {
        403 => Link::Forbidden(status.message.clone()),
        404 => Link::NoSuchKind,
        401 => lost("the API server does not accept the credentials of the kubeconfig any more"),
        _ => lost(&status.message),
    }
}

/// What is at the bottom of it, without the layers that passed it on.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> watcher::Error {
        let status = Status { code, message: message.into(), ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_can_be_mended_by_the_user_is_told_apart_from_what_passes() {
        assert_eq!(judge(&api(403, "no list for you")), Link::Forbidden("no list for you".into()));
        assert_eq!(judge(&api(404, "no such page")), Link::NoSuchKind);
        let why = |link| match link {
            Link::Lost { why, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(judge(&api(500, "etcd is slow"))), "etcd is slow");
        assert!(why(judge(&api(401, "Unauthorized"))).contains("credentials"));
        assert!(why(judge(&watcher::Error::NoResourceVersion)).contains("resourceVersion"));
    }

    #[test]
    fn a_link_that_stays_lost_was_lost_when_it_first_was() {
        let mut link = Link::Live;
        let first = lost("refused");
        assert!(link.become_(first.clone()));
        assert!(!link.become_(lost("still refused")));
        assert_eq!(link, first);
        assert!(link.become_(Link::NoSuchKind));
        assert!(!link.become_(Link::NoSuchKind));
    }
}
