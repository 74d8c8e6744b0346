//! The control API's metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::service::Service;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Denied,
    Throttled,
    ClientError,
    ServerError,
}

impl Ending {
    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    ending: &'static str,
}

/// The metrics; cheap to clone, all clones count together.
#[derive(Debug, Clone, Default)]
pub struct ControlMetrics {
    requests: Family<RequestLabels, Counter<u64, AtomicU64>>,
}

impl ControlMetrics {
    /// Makes the metrics and puts them into the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "headgate_control_requests",
            "Requests to the control API by service and ending",
            metrics.requests.clone(),
        );
        metrics
    }

    pub(crate) fn observe_request(&self, service: Option<Service>, ending: Ending) {
        let service = service.map_or("unknown", Service::name);
        let ending = ending.label();
        self.requests.get_or_create(&RequestLabels { service, ending }).inc();
    }
}
