//! A collector of traces, and what was sent to it: OTLP's messages, of which fields are read by the numbers that
//! `opentelemetry/proto/trace/v1/trace.proto` gives them.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::PATIENCE;

/// What it does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    Refuses,
    IsSilent,
    IsDown,
}

pub struct Collector {
    pub url: String,
    sent: watch::Sender<Vec<Bytes>>,
}

#[derive(Debug)]
pub struct Span {
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    pub error: Option<String>,
    /// How many events it has.
    pub events: usize,
    attributes: Vec<(String, String)>,
}

impl Span {
    /// The attribute's value as text, empty if it has none.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }
}

impl Collector {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sent = watch::Sender::default();
        let answer = move |State(sent): State<watch::Sender<Vec<Bytes>>>, body: Bytes| async move {
            sent.send_modify(|sent| sent.push(body));
            match manner {
                Manner::Takes => StatusCode::OK,
                Manner::IsSilent => std::future::pending().await,
                Manner::Refuses | Manner::IsDown => StatusCode::SERVICE_UNAVAILABLE,
            }
        };
        let router = Router::new().route("/v1/traces", post(answer)).with_state(sent.clone());
        // Its port is free again then.
        if manner != Manner::IsDown {
            tokio::spawn(async { axum::serve(listener, router).await });
        }
        Self { url, sent }
    }

    /// Waits until it was sent that many batches.
    pub async fn until_asked(&self, times: usize) {
        let mut sent = self.sent.subscribe();
        let came = sent.wait_for(|sent| sent.len() >= times);
        tokio::time::timeout(PATIENCE, came).await.expect("nothing was sent").unwrap();
    }

    /// All spans that were sent.
    pub fn spans(&self) -> Vec<Span> {
        let sent = self.sent.borrow();
        let messages = sent.iter().flat_map(|batch| within(batch, &[1, 2, 2]));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        messages
            .map(|span| {
                let one = |path: &[u64]| within(span, path).first().map(|bytes| bytes.to_vec());
                let failed = within(span, &[15, 3]) == [[2]];
                Span {
                    id: one(&[2]).unwrap(),
                    parent: one(&[4]).unwrap_or_default(),
                    name: text(&one(&[5]).unwrap()),
                    error: failed.then(|| text(&one(&[15, 2]).unwrap_or_default())),
                    events: within(span, &[11]).len(),
                    attributes: within(span, &[9]).into_iter().map(attribute).collect(),
                }
            })
            .collect()
    }

    /// The name of the service that sent the last batch.
    pub fn service(&self) -> String {
        let sent = self.sent.borrow();
        let mut attributes = within(sent.last().unwrap(), &[1, 1, 1]).into_iter().map(attribute);
        attributes.find(|(key, _)| key == "service.name").unwrap().1
    }
}

fn attribute(message: &[u8]) -> (String, String) {
    let text = |path: &[u64]| within(message, path).first().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let number = || within(message, &[2, 3]).first().map(|bytes| varint(&mut &**bytes).to_string());
    (text(&[1]).unwrap(), text(&[2, 1]).or_else(number).unwrap_or_default())
}

/// The fields of these numbers, each within the one before it.
fn within<'a>(message: &'a [u8], path: &[u64]) -> Vec<&'a [u8]> {
    let Some((number, rest)) = path.split_first() else { return vec![message] };
    fields(message).into_iter().filter(|(n, _)| n == number).flat_map(|(_, value)| within(value, rest)).collect()
}

/// A message's fields by number: of those with a length the content, of others the bytes as they are.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => message.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1,
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            other => panic!("no such type of field: {other}"),
        };
        let (value, rest) = message.split_at(length);
        fields.push((tag >> 3, value));
        message = rest;
    }
    fields
}

/// The number at the beginning, which is taken off.
fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
