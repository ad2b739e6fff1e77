//! toxiproxy: what stands between a candidate and the API server.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use ureq::Agent;

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// The process that all proxies live in; ends when dropped.
#[derive(Debug)]
pub struct Toxiproxy {
    child: Child,
    agent: Agent,
    url: String,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the API server.
    Up,
    /// From it.
    Down,
}

impl Direction {
    fn stream(self) -> &'static str {
        match self {
            Self::Up => "upstream",
            Self::Down => "downstream",
        }
    }
}

/// What a connection suffers.
#[derive(Clone, Debug, PartialEq)]
pub struct Toxic {
    /// toxiproxy's name for it.
    pub kind: &'static str,
    /// What it needs to know.
    pub attributes: Value,
    /// Which way.
    pub direction: Direction,
    /// The share of connections that suffer it.
    pub share: f32,
}

impl Toxic {
    /// Everything takes longer.
    pub fn latency(direction: Direction, latency: Duration, jitter: Duration) -> Self {
        let attributes = json!({"latency": latency.as_millis(), "jitter": jitter.as_millis()});
        Self { kind: "latency", attributes, direction, share: 1.0 }
    }
}

impl Toxiproxy {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let program = leadergroup_cluster::program("toxiproxy")?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let child = Command::new(&program)
            .args(["-host", "127.0.0.1", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().new_agent();
        let toxiproxy = Self { child, agent, url: format!("http://127.0.0.1:{port}") };
        let start = Instant::now();
        while toxiproxy.agent.get(format!("{}/version", toxiproxy.url)).call().is_err() {
            ensure!(start.elapsed() < PATIENCE, "toxiproxy does not answer at {}", toxiproxy.url);
            thread::sleep(LOOK);
        }
        Ok(toxiproxy)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.agent.post(format!("{}{path}", self.url)).send_json(body);
        Ok(answer.with_context(|| format!("toxiproxy refuses {body} at {path}"))?.body_mut().read_json()?)
    }

    /// A new proxy to a server, HOST:PORT; returns the address that it listens on.
    pub fn add(&self, name: &str, upstream: &str) -> Result<String> {
        let proxy = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true});
        let made = self.post("/proxies", &proxy)?;
        Ok(made["listen"].as_str().context("toxiproxy does not say where it listens")?.to_owned())
    }

    /// Connections through a proxy are cut and refused, or accepted again.
    pub fn enable(&self, name: &str, enabled: bool) -> Result<()> {
        self.post(&format!("/proxies/{name}"), &json!({"enabled": enabled})).map(drop)
    }

    /// Connections through a proxy suffer this too, until it is taken away. Those that are open too.
    pub fn spoil(&self, proxy: &str, name: &str, toxic: &Toxic) -> Result<()> {
        let body = json!({
            "name": name, "type": toxic.kind, "stream": toxic.direction.stream(),
            "toxicity": toxic.share, "attributes": toxic.attributes,
        });
        self.post(&format!("/proxies/{proxy}/toxics"), &body).map(drop)
    }

    /// Takes one away.
    pub fn heal(&self, proxy: &str, name: &str) -> Result<()> {
        let healed = self.agent.delete(format!("{}/proxies/{proxy}/toxics/{name}", self.url)).call();
        healed.with_context(|| format!("toxiproxy does not take {name} away from {proxy}")).map(drop)
    }

    /// The proxy is no more.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.agent.delete(format!("{}/proxies/{name}", self.url)).call()?;
        Ok(())
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_half_partition_lets_requests_through_and_no_answers() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let toxiproxy = Toxiproxy::start().unwrap();
        let address = toxiproxy.add("a", &server.local_addr().unwrap().to_string()).unwrap();
        let lost = Toxic { kind: "timeout", attributes: json!({"timeout": 0}), direction: Direction::Down, share: 1.0 };
        toxiproxy.spoil("a", "lost", &lost).unwrap();
        let mut client = TcpStream::connect(&address).unwrap();
        let (mut asked, _) = server.accept().unwrap();
        client.write_all(b"?").unwrap();
        let mut byte = [0];
        asked.read_exact(&mut byte).unwrap();
        asked.write_all(b"!").unwrap();
        toxiproxy.heal("a", "lost").unwrap();
        // The answer was lost, not late.
        assert_eq!(client.read(&mut byte).unwrap(), 0);
        let mut client = TcpStream::connect(&address).unwrap();
        server.accept().unwrap().0.write_all(b"!").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
}
