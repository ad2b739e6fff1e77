//! Times the requests to the API server, at the one place that all of them pass.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Method, Request, Response};
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::Metrics;

/// Has the requests of a client timed.
#[derive(Clone, Debug)]
pub struct TimeRequests(pub Arc<Metrics>);

impl<S> Layer<S> for TimeRequests {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, metrics: self.0.clone() }
    }
}

/// A service whose requests are timed, until the answer begins.
#[derive(Clone, Debug)]
pub struct Timed<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = verb(&request);
        let answer = self.inner.call(request);
        let (metrics, began) = (self.metrics.clone(), Instant::now());
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("error", |answer| class(answer.status().as_u16()));
            metrics.requested(verb, code, began.elapsed());
            answer
        })
    }
}

fn verb<B>(request: &Request<B>) -> &'static str {
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    match *request.method() {
        Method::GET if watches => "WATCH",
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn class(code: u16) -> &'static str {
    match code {
        ..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    }
}
