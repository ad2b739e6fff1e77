//! A client of the endpoints, so plain that it can send what a good one would not.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::place::PATIENCE;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    send(address, &request("GET", path)).await
}

pub async fn post(address: SocketAddr, path: &str) -> Result<Answer> {
    send(address, &request("POST", path)).await
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Sends these bytes, and reads until the other side closes.
pub async fn send(address: SocketAddr, bytes: &str) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    let text = timeout(PATIENCE, exchange).await.context("no answer")??;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let code = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { code, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// The events, as they come.
pub struct Events {
    lines: BufReader<TcpStream>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Events {
    pub async fn follow(address: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /v1/leadership/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut events = Self { lines: BufReader::new(stream) };
        let status = events.line().await?.context("closed")?;
        ensure!(status.contains("200"), "{status}");
        Ok(events)
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.lines.read_line(&mut line)).await.context("nothing comes")??;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// The next event; none once the stream has ended.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        let mut name = String::new();
        while let Some(line) = self.line().await? {
            // Lines of the head, of chunks, and comments are passed over.
            if let Some(told) = line.strip_prefix("event: ") {
                told.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Ok(Some(Event { name, data: serde_json::from_str(data)? }));
            }
        }
        Ok(None)
    }

    /// The next event of which that is so.
    pub async fn until(&mut self, wanted: &str, is_so: impl Fn(&Event) -> bool) -> Result<Event> {
        loop {
            let event = self.next().await?.with_context(|| format!("the stream ended before: {wanted}"))?;
            if is_so(&event) {
                return Ok(event);
            }
        }
    }
}

/// How long the clock that validity is told by has run, in milliseconds.
pub fn boottime() -> u64 {
    let now: Duration = leadergroup_elector::clock::boottime();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
