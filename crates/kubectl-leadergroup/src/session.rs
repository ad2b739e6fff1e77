//! The connection to the cluster.

use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use axum::BoxError;
use axum::http::header::DATE;
use axum::http::{Request, Response};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tower::Service;

use crate::commands::install;
use crate::connection::Connection;

/// The API server ends a watch after that time, and it is begun anew: one that is cut off without a word is noticed.
const WATCH_LASTS: Duration = Duration::from_secs(20);
/// What it may be late with that.
const WATCH_MARGIN: Duration = Duration::from_secs(4);

/// Why it makes no sense to try the watch again: the user may not, or there is no such kind. Nothing if that may pass.
pub fn refusal(error: watcher::Error) -> Option<kube::Error> {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return None;
    };
    let is_refusal = matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404));
    is_refusal.then_some(error)
}

/// An object as it changes; none while it does not exist. Begun anew, it tells first how the object is.
pub fn watch_object<K>(api: Api<K>, name: &str) -> impl Stream<Item = Result<Option<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut seen = false;
    watcher(api, watching().fields(&format!("metadata.name={name}"))).default_backoff().filter_map(move |event| {
        ready(match event {
            Ok(Event::Init) => {
                seen = false;
                None
            }
            Ok(Event::InitApply(object)) => {
                seen = true;
                Some(Ok(Some(object)))
            }
            Ok(Event::Apply(object)) => Some(Ok(Some(object))),
            Ok(Event::Delete(_)) => Some(Ok(None)),
            Ok(Event::InitDone) => (!seen).then_some(Ok(None)),
            Err(error) => Some(Err(error)),
        })
    })
}

/// How anything is watched.
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(u32::try_from(WATCH_LASTS.as_secs()).unwrap_or(u32::MAX))
}

/// A cluster, and the namespace that is meant where none is named.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub namespace: String,
    /// What the kubeconfig calls the cluster and its user; where there is none, the server's address.
    pub context: String,
    server: String,
}

impl Session {
    /// Connects as kubectl would.
    ///
    /// # Errors
    ///
    /// When there is no kubeconfig, or it doesn't name what was asked for.
    pub async fn open(connection: &Connection) -> Result<Self> {
        let (mut config, context) = connection.config().await?;
        // A refusal is told, and not tried again for minutes: what is so then may not be what the user wanted.
        config.default_retry = false;
        let patience = connection.request_timeout;
        // A connection on which nothing comes for longer than a watch lasts is dead.
        config.read_timeout = patience.map(|patience| patience.max(WATCH_LASTS + WATCH_MARGIN));
        config.reset_reader_on_write = true;
        config.connect_timeout = patience.or(config.connect_timeout);
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config)?;
        let client = match patience {
            Some(patience) => Client::new(answered_within(client, patience), &namespace),
            None => client,
        };
        Ok(Self { client, namespace, context: context.unwrap_or_else(|| server.clone()), server })
    }

    /// One of namespace `shop` whose requests this answers.
    #[cfg(test)]
    pub fn answered_by(answer: impl Fn(&str) -> (u16, String) + Clone + Send + 'static) -> Self {
        let service = tower::service_fn(move |request: Request<Body>| {
            let (code, body) = answer(&request.uri().to_string());
            // A watch on which nothing happens does not end.
            let body = if body.is_empty() {
                axum::body::Body::from_stream(futures::stream::pending::<Result<Vec<u8>, BoxError>>())
            } else {
                axum::body::Body::from(body)
            };
            let response = Response::builder().status(code).body(body);
            async { response }
        });
        let namespace = "shop".to_owned();
        let server = "https://10.0.0.1/".to_owned();
        Self { client: Client::new(service, &namespace), namespace, context: "test".to_owned(), server }
    }

    /// What a failed request means, and what to do about it.
    pub fn explain(&self, error: kube::Error) -> Error {
        explain(&self.server, error)
    }
}

/// A client whose requests are answered within that time, or fail. Of a watch that is its beginning.
fn answered_within(
    client: Client,
    patience: Duration,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send + 'static> + Send + 'static {
    tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            match timeout(patience, client.send(request)).await {
                Ok(answer) => answer.map_err(BoxError::from),
                Err(_) => Err(Unanswered(patience).into()),
            }
        }
    })
}

/// No answer came in time.
#[derive(Debug)]
struct Unanswered(Duration);

impl std::error::Error for Unanswered {}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it did not answer within {:?}; --request-timeout says how long to wait", self.0)
    }
}

fn explain(server: &str, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => match status.code {
            // What the API server answers for a kind that it does not know.
            404 if status.details.is_none() => {
                anyhow!("the cluster has no LeaderGroups: {}", install::HOW)
            }
            401 => anyhow!("{server} does not accept the kubeconfig's credentials: log in anew"),
            403 => anyhow!("{}; README.md lists the rights that each command needs", status.message),
            _ => anyhow!("{}", status.message),
        },
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            anyhow!("the cluster at {server} can't be reached: {}", Error::from(error).root_cause())
        }
        other => other.into(),
    }
}

impl Session {
    /// What time it is, by the API server's clock: this machine's may be another, and what is compared with it was written
    /// in the cluster.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub async fn time(&self) -> Result<Timestamp> {
        let request = Request::get("/version").body(Body::empty())?;
        let answer = self.client.send(request).await.map_err(|error| self.explain(error))?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        Ok(date.map_or_else(Timestamp::now, |date| date.timestamp()))
    }
}

/// Objects of a kind; and of those that can't be read what is known, with the reason.
pub type Listed<K> = (Vec<K>, Vec<(ObjectMeta, String)>);

impl Session {
    /// All objects of a kind in a namespace, or in all.
    ///
    /// # Errors
    ///
    /// What is to be done where the API server refuses, or does not answer.
    pub async fn list<K>(&self, namespace: Option<&str>) -> Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
    {
        self.try_list(namespace, &ListParams::default()).await.map_err(|error| self.explain(error))
    }

    /// The objects of a kind in a namespace, or in all. One that can't be read does not hide the others.
    ///
    /// # Errors
    ///
    /// When the API server refuses, or does not answer.
    pub async fn try_list<K>(&self, namespace: Option<&str>, params: &ListParams) -> kube::Result<Listed<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + 'static,
    {
        let api: Api<DeserializeGuard<K>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let list = api.list(params).await?;
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        for item in list {
            match item.0 {
                Ok(object) => readable.push(object),
                Err(error) => unreadable.push((error.metadata, error.error)),
            }
        }
        Ok((readable, unreadable))
    }
}

/// Whether the API server refused because of rights.
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether there is no such object, or no such kind.
pub fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn failures_say_what_to_do() {
        let told = |code, message: &str, details: Value| {
            let answer =
                json!({"status": "Failure", "code": code, "message": message, "reason": "", "details": details});
            let status: Status = serde_json::from_value(answer).unwrap();
            explain("https://10.0.0.1/", kube::Error::Api(status.boxed())).to_string()
        };
        let group = || json!({"name": "x", "group": "leadergroup.dev", "kind": "leadergroups"});
        let no_kind = told(404, "404 page not found", Value::Null);
        assert!(no_kind.starts_with("the cluster has no LeaderGroups: install"), "{no_kind}");
        let no_object = told(404, "leadergroups.leadergroup.dev \"x\" not found", group());
        assert_eq!(no_object, "leadergroups.leadergroup.dev \"x\" not found");
        let denied = told(403, "User \"jane\" cannot list resource \"leadergroups\"", group());
        assert!(denied.starts_with("User \"jane\" cannot list") && denied.contains("README.md"), "{denied}");
        let unknown = told(401, "Unauthorized", Value::Null);
        assert_eq!(unknown, "https://10.0.0.1/ does not accept the kubeconfig's credentials: log in anew");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let unreachable = explain("https://10.0.0.1/", kube::Error::Service(refused.into())).to_string();
        assert_eq!(unreachable, "the cluster at https://10.0.0.1/ can't be reached: connection refused");
    }
}
