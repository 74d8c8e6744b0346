//! Ending connections of which another gateway can relieve this one (`gateway/PROTOCOL.md` §10).
//!
//! Clients go by the brokers they were told of, for minutes. When a gateway comes, or comes back, whoever was told of brokers
//! without it is closed in a moment with nothing in progress: it comes again at once and is told anew. So work spreads over all
//! gateways, and the next one that dies takes with it only its own share.

use std::future::pending;
use std::time::Duration;

use tokio::select;
use tokio::time::{Instant, sleep_until};

use crate::brokers::LiveGateways;
use crate::session::Session;

/// Connections of a cluster are ended over so long at least: whoever has just come is spared a storm.
const SPREAD_MIN: Duration = Duration::from_secs(1);
/// And not faster than this: well below the 100 attempts a second that a cluster has by default.
const ENDED_PER_SECOND: u32 = 25;

/// What a connection knows of its own end for the sake of another gateway.
#[derive(Debug)]
pub(super) struct Shedding {
    gateways: Option<LiveGateways>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody could take it over.
    Quiet,
    /// Its turn comes then.
    Waiting(Instant),
    /// It may end as soon as nothing is in progress.
    Due,
}

impl Shedding {
    pub(super) fn new(session: &Session) -> Self {
        Self { gateways: session.broker_changes(), state: State::Quiet }
    }

    /// Returns when [`Shedding::look`] has something to do. Cancel safe.
    pub(super) async fn stirs(&mut self) {
        let changed = async {
            let Some(gateways) = &mut self.gateways else { return pending().await };
            if !gateways.changed().await {
                // Nobody follows the gateways any more: the process ends.
                pending::<()>().await;
            }
        };
        let turn = async {
            match self.state {
                State::Waiting(at) => sleep_until(at).await,
                State::Quiet | State::Due => pending().await,
            }
        };
        select! {
            () = changed => self.state = State::Quiet,
            () = turn => self.state = State::Due,
        }
    }

    /// Takes in what has happened.
    pub(super) fn look(&mut self, session: &Session) {
        self.state = match self.state {
            _ if !session.may_be_relieved() => State::Quiet,
            State::Quiet => State::Waiting(Instant::now() + turn_of(session)),
            state @ (State::Waiting(_) | State::Due) => state,
        };
    }

    /// Whether the connection ends now, given that nothing is in progress.
    pub(super) fn is_due(&self, session: &Session) -> bool {
        self.state == State::Due && session.may_be_relieved()
    }
}

/// When it is the connection's turn, counted from now: drawn evenly, as connections are numbered at random.
fn turn_of(session: &Session) -> Duration {
    let spread = SPREAD_MIN.max(Duration::from_secs(1) * session.quota().connections() / ENDED_PER_SECOND);
    spread.mul_f64(session.connection() as f64 / u64::MAX as f64)
}
