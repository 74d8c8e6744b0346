//! Logs for people or machines, and OpenTelemetry traces when the standard environment variables ask for them.
//!
//! Logs go to standard error: text on a terminal, JSON lines elsewhere; `RUST_LOG` filters. Traces are exported over OTLP/HTTP
//! when `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set and `OTEL_SDK_DISABLED` and
//! `OTEL_TRACES_EXPORTER=none` are not. Source: the OpenTelemetry environment variable specification.

use std::env;
use std::io::IsTerminal as _;

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Keeps the exporter alive; flushes on drop.
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            drop(provider.shutdown());
        }
    }
}

/// Sets both up, once per process.
pub(crate) fn start() -> Result<Telemetry> {
    // `aws_sigv4` logs what it signs at trace level; that never goes anywhere.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive("aws_sigv4=warn".parse().context("a constant directive")?);
    let json = !std::io::stderr().is_terminal();
    let text =
        (!json).then(|| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false));
    let lines = json.then(|| tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr));
    let provider = if traces_wanted() { Some(tracer_provider()?) } else { None };
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("headgate")).with_filter(spans_only())
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(text.with_filter(filter.clone()))
        .with(lines.with_filter(filter))
        .init();
    Ok(Telemetry(provider))
}

/// The exporter's own HTTP client must not trace itself.
fn spans_only() -> EnvFilter {
    EnvFilter::new("off,headgate=debug,headgate_gateway=debug,headgate_storage=debug,headgate_control=debug")
}

fn traces_wanted() -> bool {
    let set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found.eq_ignore_ascii_case(value));
    (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

fn tracer_provider() -> Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .context("the OTLP exporter asked for by OTEL_EXPORTER_OTLP_* cannot be made")?;
    let resource = Resource::builder()
        .with_service_name(env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "headgate".into()));
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}
