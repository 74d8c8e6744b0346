//! What processes tell those who watch them, where it is not the control API that does: `/metrics`, `/healthz` and `/readyz`, over
//! plain HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at once; a scraper and a prober need two.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take, and an idle connection stays.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// The content type of Prometheus' text format as prometheus-client writes it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told.
pub(crate) struct Observed {
    pub(crate) registry: Registry,
    /// Whether the process can do its work.
    pub(crate) ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Answers for ever.
pub(crate) async fn serve(listeners: Vec<TcpListener>, observed: Observed) {
    let (observed, room) = (Arc::new(observed), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut serving = JoinSet::new();
    for listener in listeners {
        let (observed, room) = (Arc::clone(&observed), Arc::clone(&room));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                while connections.try_join_next().is_some() {}
                let Ok((socket, _)) = listener.accept().await else {
                    // Mostly descriptors ran out, and only time brings them back.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let observed = Arc::clone(&observed);
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let answer = answer(&observed, request.method(), request.uri().path());
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_MAX)
                        .serve_connection(TokioIo::new(socket), service);
                    // A watcher that hangs up is its own business.
                    drop(connection.await);
                    drop(permit);
                });
            }
        });
    }
    while serving.join_next().await.is_some() {}
}

fn answer(observed: &Observed, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let text = |status: u16, content_type: &str, text: String| {
        Response::builder()
            .status(status)
            .header("content-type", content_type)
            .body(Full::from(text))
            .expect("constant headers are valid")
    };
    let plain = |status, line: &str| text(status, "text/plain", format!("{line}\n"));
    if method != Method::GET {
        return plain(405, "GET is understood");
    }
    match path {
        "/healthz" => plain(200, "ok"),
        "/readyz" if (observed.ready)() => plain(200, "ready"),
        "/readyz" => plain(503, "not ready"),
        "/metrics" => {
            let mut metrics = String::new();
            match prometheus_client::encoding::text::encode(&mut metrics, &observed.registry) {
                Ok(()) => text(200, METRICS_TYPE, metrics),
                Err(_) => plain(500, "metrics not encoded"),
            }
        }
        _ => plain(404, "/metrics, /healthz and /readyz are here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_process_and_other_paths_are_told_what_is_here() {
        let observed =
            |ready: bool| Observed { registry: Registry::default(), ready: Box::new(move || ready) };
        let status =
            |ready, method: Method, path: &str| answer(&observed(ready), &method, path).status().as_u16();
        assert_eq!(status(true, Method::GET, "/readyz"), 200);
        assert_eq!(status(false, Method::GET, "/readyz"), 503);
        assert_eq!(status(false, Method::GET, "/healthz"), 200);
        assert_eq!(status(true, Method::GET, "/metrics"), 200);
        assert_eq!(status(true, Method::POST, "/metrics"), 405);
        assert_eq!(status(true, Method::GET, "/"), 404);
    }
}
