//! A frame's turn: it is read when its request, and its bytes if it is long, may be used.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use headgate_storage_client::quota::Flow;
use tokio::select;
use tokio::time::{Instant, sleep_until};

use super::tenant::{TenantQuota, Waiting};

/// A frame longer than this is charged as bytes in before it is read, whatever it holds: so that the memory it would take is
/// not taken while it waits. A shorter one is charged when it is known to be a Produce.
const LONG: usize = 16 * 1024;
/// A frame up to this length does not wait longer than one mute: heartbeats are that short, and whoever sends them would be
/// taken for dead.
const BRIEF: usize = 4 * 1024;

/// Where a frame stands.
#[derive(Default)]
pub(crate) enum Turn {
    /// Nothing is charged.
    #[default]
    Next,
    /// It waits in one flow.
    Waiting(Box<Waits>),
    /// It may be read.
    Come,
}

/// A wait in one flow, and what comes behind it.
pub(crate) struct Waits {
    waiting: Waiting,
    until: Option<Instant>,
    rest: Option<(Flow, u64)>,
}

impl Turn {
    /// Returns when a frame of this length may be read. Cancel safe: its place in the queue stays here.
    pub(crate) async fn pass(&mut self, quota: &Arc<TenantQuota>, length: usize, mute_max: Duration) {
        loop {
            *self = match self {
                Self::Next => {
                    let bytes = (length > LONG).then_some((Flow::BytesIn, length as u64));
                    ask(quota, length, mute_max, Flow::Requests, 1, bytes)
                }
                Self::Waiting(waits) => {
                    waits.pass().await;
                    match waits.rest {
                        Some((flow, amount)) => ask(quota, length, mute_max, flow, amount, None),
                        None => Self::Come,
                    }
                }
                Self::Come => return,
            };
        }
    }

    /// Whether the bytes of a frame of this length were charged as it was read.
    pub(crate) fn charges_bytes(length: usize) -> bool {
        length > LONG
    }

    /// The turn of a short Produce that has been read.
    pub(crate) async fn of_short_produce(quota: Arc<TenantQuota>, length: usize, mute_max: Duration) {
        let mut turn = ask(&quota, length, mute_max, Flow::BytesIn, length as u64, None);
        turn.pass(&quota, length, mute_max).await;
    }
}

fn ask(
    quota: &Arc<TenantQuota>,
    length: usize,
    mute_max: Duration,
    flow: Flow,
    amount: u64,
    rest: Option<(Flow, u64)>,
) -> Turn {
    match (quota.charge(flow, amount), rest) {
        (Some(waiting), rest) => {
            let until = (length <= BRIEF).then(|| Instant::now() + mute_max);
            Turn::Waiting(Box::new(Waits { waiting, until, rest }))
        }
        (None, Some((flow, amount))) => ask(quota, length, mute_max, flow, amount, None),
        (None, None) => Turn::Come,
    }
}

impl Waits {
    async fn pass(&mut self) {
        let too_long = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let released = select! {
            biased;
            () = self.waiting.released() => true,
            () = too_long => false,
        };
        if !released {
            self.waiting.force();
        }
    }
}
