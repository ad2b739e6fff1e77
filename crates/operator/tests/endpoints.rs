//! The endpoints, asked by clients that mean well and by those that do not.

#![allow(missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use leadergroup_operator::endpoints::{Health, serve};
use leadergroup_operator::metrics::Metrics;
use leadergroup_operator::time::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// As long as a kubelet waits for the answer to a probe, by default.
const PROBE: Duration = Duration::from_secs(1);

/// The endpoints of an operator that does nothing else.
struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
        health.ready();
        let thread = serve(listener, Clock::start(), health, metrics, stop.clone()).unwrap();
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn get(address: SocketAddr, path: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Whether the other side has closed it, by when it does.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn each_endpoint_answers() {
    let served = Served::start();
    for (path, code, part) in [
        ("/healthz", "200 OK", "\r\n\r\nok\n"),
        ("/readyz", "200 OK", "\r\n\r\nok\n"),
        ("/metrics", "200 OK", "leadergroup_operator_leader 0\n"),
        ("/debug", "404 Not Found", ""),
    ] {
        let answer = get(served.address, path, Duration::from_secs(20)).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}\r\n")) && answer.contains(part), "{path}: {answer}");
    }
}

#[test]
fn a_probe_is_answered_however_many_connections_others_hold_open() {
    let served = Served::start();
    let mut held: Vec<_> = (0..300).map(|_| connect(served.address)).collect();
    for stream in &mut held {
        // The first ones may be closed by now.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
    }
    let answer = get(served.address, "/readyz", PROBE).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(is_closed(held.swap_remove(0)), "the oldest make room");
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let served = Served::start();
    let mut stream = connect(served.address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    assert!(is_closed(stream), "it is still open");
}

// === as a process ===

/// An operator that finds no API server.
struct Operator {
    child: Child,
    folder: TempDir,
}

impl Operator {
    fn start(health_address: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let content = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "test"}}],
            "users": [{"name": "test", "user": {}}],
        });
        fs::write(&kubeconfig, content.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_leadergroup-operator"))
            .args(["--leader-elect=false", &format!("--health-address={health_address}")])
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Where it says that it listens.
    fn address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = fs::read_to_string(self.log()).unwrap();
            let address = log.split_once("health_address=").and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((address, _)) = address {
                return address.trim().parse().unwrap();
            }
            assert!(self.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{log}");
            // A file has nothing to wait for.
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_address_that_the_machine_has_is_served() {
    let on = |ip: Ipv4Addr, port| SocketAddr::from((ip, port));
    let mut fallback = Operator::start("192.0.2.1:0,127.0.0.1:0");
    let address = fallback.address();
    assert_eq!(address, on(Ipv4Addr::LOCALHOST, address.port()), "192.0.2.1 is nobody's");
    get(address, "/healthz", PROBE).unwrap();

    let mut by_default = Operator::start("[::]:0,0.0.0.0:0");
    let port = by_default.address().port();
    get(on(Ipv4Addr::LOCALHOST, port), "/healthz", PROBE).unwrap();
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        get((Ipv6Addr::LOCALHOST, port).into(), "/healthz", PROBE).unwrap();
    } else {
        eprintln!("NOT PROVEN here (this machine has no IPv6): a kubelet that probes by IPv6 is answered");
    }
}

#[test]
fn an_operator_told_to_end_does_not_wait_for_a_request_that_never_ends() {
    let mut operator = Operator::start("127.0.0.1:0");
    let mut stream = connect(operator.address());
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    kill_process(Pid::from_child(&operator.child), Signal::TERM).unwrap();
    let asked = Instant::now();
    while operator.child.try_wait().unwrap().is_none() {
        assert!(asked.elapsed() < Duration::from_secs(4), "{}", fs::read_to_string(operator.log()).unwrap());
        sleep(Duration::from_millis(20));
    }
    assert!(operator.child.wait().unwrap().success());
}
