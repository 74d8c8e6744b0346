//! The three paths that need no signature: they tell nothing of any tenant beyond MSK's own metrics.

use crate::answer::Answer;
use crate::components::Components;
use crate::request::ApiRequest;

/// The content type of Prometheus' text format as prometheus-client writes it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics`, `/healthz` and `/readyz`; `None` for everything else.
pub(crate) fn answer(components: &Components, request: &ApiRequest) -> Option<Answer> {
    if request.method != "GET" {
        return None;
    }
    match request.raw_path.as_str() {
        "/healthz" => Some(Answer::new(200, "text/plain", "ok\n")),
        "/readyz" if (components.ready)() => Some(Answer::new(200, "text/plain", "ready\n")),
        "/readyz" => Some(Answer::new(503, "text/plain", "not ready\n")),
        "/metrics" => Some(metrics(components)),
        _ => None,
    }
}

fn metrics(components: &Components) -> Answer {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &components.registry) {
        Ok(()) => Answer::new(200, METRICS_TYPE, text),
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            Answer::new(500, "text/plain", "metrics not encoded\n")
        }
    }
}
