//! What is seen while traffic is switched: objects as watches bring them, and answers to a client that keeps asking over
//! new connections.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use leadergroup_e2e::Namespace;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// One state of an object: when it arrived, and the object; none if it was deleted.
pub type State<K> = (Instant, Option<K>);

/// The states of an object of one name, from now on.
pub struct Record<K> {
    states: Arc<Mutex<Vec<State<K>>>>,
    watch: AbortHandle,
}

impl<K> Record<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
{
    /// Begins with what there is, before this returns.
    pub async fn of(place: &Namespace, name: &str) -> Self {
        let states = Arc::new(Mutex::new(Vec::new()));
        let kept = states.clone();
        let config = Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(place.api::<K>(), config).default_backoff().boxed();
        let (begun, begins) = oneshot::channel();
        let mut begun = Some(begun);
        let watching = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Some(begun) = begun.take_if(|_| matches!(event, Ok(Event::InitDone))) {
                    // Nobody waits if the test has ended.
                    let _ = begun.send(());
                }
                let state = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => Some(object),
                    Ok(Event::Delete(_)) => None,
                    _ => continue,
                };
                kept.lock().unwrap().push((Instant::now(), state));
            }
        });
        // The sender goes with the watch, which never ends.
        let _ = begins.await;
        Self { states, watch: watching.abort_handle() }
    }

    pub fn states(&self) -> Vec<State<K>> {
        self.states.lock().unwrap().clone()
    }

    /// Waits until a state at or after that moment is as described, and returns when it was first seen.
    pub async fn when(&self, wanted: &str, from: Instant, is_so: impl Fn(Option<&K>) -> bool) -> Result<Instant> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let found = self.states().into_iter().find(|(at, state)| *at >= from && is_so(state.as_ref()));
            if let Some((at, _)) = found {
                return Ok(at);
            }
            if Instant::now() > deadline {
                bail!("not seen within 60 s: {wanted}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl<K> Drop for Record<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// The pods that a slice sends to.
pub fn pods_of(slice: Option<&EndpointSlice>) -> Vec<String> {
    let endpoints = slice.map(|slice| slice.endpoints.clone()).unwrap_or_default();
    endpoints.into_iter().filter_map(|endpoint| endpoint.target_ref?.name).collect()
}

/// What came of one request over a connection of its own.
#[derive(Clone, Debug)]
pub struct Request {
    pub began: Instant,
    pub ended: Instant,
    /// The pod that answered, and whether it says that it leads; or why nobody did.
    pub answer: Result<(String, bool), ErrorKind>,
}

impl Request {
    pub fn is_by(&self, pod: &str) -> bool {
        self.answer.as_ref().is_ok_and(|(by, _)| by == pod)
    }
}

/// A client on this machine that keeps asking, each time over a new connection.
pub struct Client {
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub fn of(address: SocketAddr) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (requests.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = ask(address).map_err(|error| error.kind());
                kept.lock().unwrap().push(Request { began, ended: Instant::now(), answer });
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { requests, stop, thread: Some(thread) }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until a request that began at or after that moment is as described, and returns it.
    pub async fn when(&self, wanted: &str, from: Instant, is_so: impl Fn(&Request) -> bool) -> Result<Request> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let requests = self.requests();
            let found = requests.iter().find(|request| request.began >= from && is_so(request));
            if let Some(found) = found {
                return Ok(found.clone());
            }
            if Instant::now() > deadline {
                let last: Vec<_> = requests.iter().rev().take(3).collect();
                bail!("no request within 60 s: {wanted}; the last ones: {last:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn ask(address: SocketAddr) -> std::io::Result<(String, bool)> {
    // The address of a pod that has just ended answers nothing at all, and a client that waits for it sees nothing else.
    let patience = Duration::from_millis(150);
    let mut connection = TcpStream::connect_timeout(&address, patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    let (pod, role) = body.split_once(' ').ok_or(ErrorKind::InvalidData)?;
    Ok((pod.to_owned(), role == "leads"))
}

/// Milliseconds from one moment to another; negative if it came before.
pub fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3 - from.saturating_duration_since(to).as_secs_f64() * 1e3
}

/// Why requests failed, and how many of them.
pub fn failures(requests: &[Request]) -> String {
    let mut kinds = BTreeMap::new();
    for kind in requests.iter().filter_map(|request| request.answer.as_ref().err()) {
        *kinds.entry(format!("{kind:?}")).or_insert(0) += 1;
    }
    let total: usize = kinds.values().sum();
    format!("{total} failed {kinds:?}")
}

/// Prints least, median, 99th percentile and most of some figures.
pub fn tell(what: &str, mut figures: Vec<f64>) -> Result<()> {
    figures.sort_by(f64::total_cmp);
    ensure!(!figures.is_empty(), "no figures of {what}");
    let at = |part: usize| figures[(figures.len() * part).div_ceil(100).saturating_sub(1)];
    eprintln!(
        "{what:<58} n={:<4} min {:>8.1}  p50 {:>8.1}  p99 {:>8.1}  max {:>8.1} ms",
        figures.len(),
        at(0),
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}
