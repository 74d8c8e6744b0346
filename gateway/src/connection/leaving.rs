//! On the way out: what an answer learns after its handler is done.

use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use tracing::{Instrument, Span};

use super::throttle_field::ThrottleField;
use super::{Answer, Response};
use crate::api::table::{Started, Starting};
use crate::budget::InflightBytes;
use crate::quota::{ClientLimits, Timed};
use crate::session::Session;

/// What is known of an answer before it is there: whose it is, and to which request.
pub(super) struct Leaving {
    pub(super) session: Arc<Session>,
    pub(super) key: ApiKey,
    pub(super) version: i16,
    /// The limits of who sent the request.
    pub(super) clients: Option<Arc<ClientLimits>>,
}

impl Leaving {
    /// Adds how long the client is to hold back. It is told whole milliseconds, and never less than one.
    fn throttle(&self, answer: Answer) -> Answer {
        let Some(told) = self.session.throttle(self.key, self.clients.as_deref()) else { return answer };
        match answer {
            Answer::Respond(response) => {
                let throttle_field = ThrottleField::of(self.key, self.version);
                Answer::Respond(Response { throttle: told.time, throttle_field, ..response })
            }
            Answer::Silence { .. } => Answer::Silence { throttle: told.time },
            ending @ (Answer::RespondThenClose(_) | Answer::Close(_)) => ending,
        }
    }
}

/// Keeps the frame's memory reserved until its request is answered; the answer learns how long the client is to hold back.
pub(super) fn hold(started: Starting, leaving: Leaving, span: Span, reserved: InflightBytes) -> Starting {
    Box::pin(async move {
        let started = Timed::new(started, leaving.clients.as_ref()).instrument(span.clone()).await?;
        Ok(match started {
            Started::Answered(answer) => Started::Answered(leaving.throttle(answer)),
            Started::Pending(pending) => Started::Pending(Box::pin(async move {
                let answer = Timed::new(pending, leaving.clients.as_ref()).instrument(span).await;
                drop(reserved);
                answer.map(|answer| leaving.throttle(answer))
            })),
        })
    })
}
