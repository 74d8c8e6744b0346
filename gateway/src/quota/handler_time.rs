//! The time a request takes of this gateway's threads, for `request_percentage` (KIP-124).
//!
//! Only what its handler computes counts, not what it waits for: as in Apache Kafka, where a request that waits holds no thread.
//! What storage does for it in tasks of its own is not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use headgate_metadata::client_quota::ClientQuotaKey;
use tokio::time::Instant;

use super::clients::ClientLimits;

/// Percent of one thread for a second of time.
const PERCENT_SECONDS: f64 = 100.0;

/// A future whose time is charged when it is done; where no quota asks for it, the clock is not read.
pub(crate) struct Timed<F> {
    inner: F,
    meter: Option<Meter>,
}

struct Meter {
    limits: Arc<ClientLimits>,
    spent: Duration,
}

impl<F> Timed<F> {
    pub(crate) fn new(inner: F, limits: Option<&Arc<ClientLimits>>) -> Self {
        let limits = limits.filter(|limits| limits.has(ClientQuotaKey::RequestPercentage));
        let meter = limits.map(|limits| Meter { limits: Arc::clone(limits), spent: Duration::ZERO });
        Self { inner, meter }
    }
}

impl<F: Future + Unpin> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { inner, meter } = &mut *self;
        let Some(meter) = meter else { return Pin::new(inner).poll(context) };
        let began = Instant::now();
        let polled = Pin::new(inner).poll(context);
        meter.spent += began.elapsed();
        if polled.is_ready() {
            let spent = meter.spent.as_secs_f64() * PERCENT_SECONDS;
            meter.limits.charge(ClientQuotaKey::RequestPercentage, spent);
        }
        polled
    }
}
