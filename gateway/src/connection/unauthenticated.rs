//! Bytes flow but nobody is known: only ApiVersions and the two SASL requests are legal here, in small frames and within a
//! time limit (`gateway/PROTOCOL.md` §6).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_iam::Mechanism;
use kafka_protocol::messages::ApiKey;
use tokio::time::{sleep, timeout};

use super::authenticated::{Authenticated, Opened};
use super::request::{Incoming, NoRequest, parse};
use super::{ByteStream, Ended, Response, Transport};
use crate::admission::TURNED_AWAY_HOLD;
use crate::api::api_versions;
use crate::brokers::{BrokerSource, ListedBroker};
use crate::login::{LoggedIn, LoginContext, LoginFailed, log_in};
use crate::metrics::TurnedAway;
use crate::quota::{ConnectionLease, Over};
use crate::sasl::{self, Exchange};
use crate::session::Session;
use crate::shared::Shared;

/// The longest frame of somebody unknown. Logins with session tokens are a few KiB.
const FRAME_BYTES_MAX: u64 = 64 * 1024;

/// A connection whose other end is not proven.
pub(crate) struct Unauthenticated<S> {
    pub(crate) transport: Transport<S>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) context: LoginContext,
    /// This listener as a broker, for answers to those who dialled an address.
    pub(crate) own_address: ListedBroker,
}

/// Somebody proven whose connection is counted.
struct Welcome {
    logged_in: LoggedIn,
    connection: ConnectionLease,
}

/// What follows a frame.
enum Step {
    Next(Exchange),
    Done(Box<Welcome>),
    /// The cluster has no place for another connection: no answer, since every client retries what was not answered.
    Full(Over),
    End(Ended),
}

impl<S: ByteStream> Unauthenticated<S> {
    /// Serves the connection until its other end is proven; ends it otherwise.
    pub(crate) async fn authenticate(mut self) -> Option<Authenticated<S>> {
        let limit = self.shared.config.authentication_max();
        let outcome = timeout(limit, self.exchange()).await;
        match outcome.unwrap_or(Err(Ended::ByUs("not authenticated in time"))) {
            Ok(welcome) => Some(self.authenticated(*welcome)),
            Err(ended) => {
                tracing::debug!(source = %self.context.source, ?ended, "connection ended before authentication");
                self.transport.close().await;
                None
            }
        }
    }

    async fn exchange(&mut self) -> Result<Box<Welcome>, Ended> {
        let mut exchange = Exchange::NotBegun;
        loop {
            let frame = self.read_frame().await?;
            let step = match exchange {
                Exchange::RawLogin(mechanism) => self.raw_login(mechanism, &frame).await?,
                _ => self.request(exchange, frame).await?,
            };
            match step {
                Step::Next(next) => exchange = next,
                Step::Done(welcome) => return Ok(welcome),
                Step::Full(over) => return Err(self.hold_back(over).await),
                Step::End(ended) => return Err(ended),
            }
        }
    }

    async fn read_frame(&mut self) -> Result<Bytes, Ended> {
        let Transport { stream, frames } = &mut self.transport;
        let lane = self.shared.budget.strangers();
        let read = async {
            frames.announce(stream, FRAME_BYTES_MAX).await?;
            frames.finish(stream, &lane).await
        };
        let frame = read.await.map_err(|error| match error {
            super::frame::FrameError::Ended => Ended::ByClient,
            super::frame::FrameError::Length { .. } => Ended::ByUs("frame too long before authentication"),
            super::frame::FrameError::TooSlow => Ended::ByUs("frame came too slowly"),
        })?;
        Ok(frame.bytes)
    }

    async fn request(&mut self, exchange: Exchange, frame: Bytes) -> Result<Step, Ended> {
        let incoming = match parse(frame, self.shared.next_request()) {
            Ok(incoming) => incoming,
            Err(NoRequest::ApiVersionsUnknown { correlation_id }) => {
                self.send(api_versions::unknown_version(correlation_id)).await?;
                return Ok(Step::Next(exchange));
            }
            Err(_) => {
                return Ok(Step::End(Ended::ByUs("malformed or unknown request before authentication")));
            }
        };
        let Incoming { api, call, body } = incoming;
        let malformed = |_| Ended::ByUs("malformed request before authentication");
        match api.key {
            ApiKey::ApiVersions => {
                self.send(api_versions::answer(&call, body).map_err(malformed)?).await?;
                Ok(Step::Next(exchange))
            }
            ApiKey::SaslHandshake => {
                let handshake = sasl::handshake(&call, body, None).map_err(malformed)?;
                self.send(handshake.response).await?;
                Ok(match handshake.exchange {
                    Some(next) => Step::Next(next),
                    None => Step::End(Ended::ByUs("SASL mechanism not offered")),
                })
            }
            ApiKey::SaslAuthenticate => {
                let Exchange::Login(mechanism) = exchange else {
                    self.send(sasl::out_of_order(&call).map_err(malformed)?).await?;
                    return Ok(Step::End(Ended::ByUs("SaslAuthenticate without a handshake")));
                };
                let message = sasl::login_message(body).map_err(malformed)?;
                match self.log_in(mechanism, &message).await? {
                    Ok(logged_in) => {
                        let connection = match ConnectionLease::take(&self.shared, &logged_in.cluster).await {
                            Ok(connection) => connection,
                            Err(over) => return Ok(Step::Full(over)),
                        };
                        let response = sasl::accepted(&call, &logged_in.answer, logged_in.lifetime);
                        self.send(response.map_err(malformed)?).await?;
                        Ok(Step::Done(Box::new(Welcome { logged_in, connection })))
                    }
                    Err(text) => {
                        self.send(sasl::refused(&call, &text).map_err(malformed)?).await?;
                        Ok(Step::End(Ended::ByUs("login refused")))
                    }
                }
            }
            _ => Ok(Step::End(Ended::ByUs("request before authentication"))),
        }
    }

    async fn raw_login(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Step, Ended> {
        match self.log_in(mechanism, message).await? {
            Ok(logged_in) => {
                let connection = match ConnectionLease::take(&self.shared, &logged_in.cluster).await {
                    Ok(connection) => connection,
                    Err(over) => return Ok(Step::Full(over)),
                };
                self.send(sasl::raw_accepted(&logged_in.answer)).await?;
                Ok(Step::Done(Box::new(Welcome { logged_in, connection })))
            }
            // Without SaslAuthenticate there is no place for a text: closing is the answer.
            Err(_) => Ok(Step::End(Ended::ByUs("login refused"))),
        }
    }

    /// A refusal comes back after its delay, with the text for the client.
    async fn log_in(&self, mechanism: Mechanism, message: &[u8]) -> Result<Result<LoggedIn, String>, Ended> {
        match log_in(&self.shared, &self.context, mechanism, message).await {
            Ok(logged_in) => Ok(Ok(logged_in)),
            Err(LoginFailed::Refused(text)) => {
                sleep(sasl::REFUSAL_DELAY).await;
                Ok(Err(text))
            }
            Err(LoginFailed::Unavailable) => Err(Ended::ByUs("login could not be checked")),
        }
    }

    async fn send(&mut self, response: Response) -> Result<(), Ended> {
        let stall_max: Duration = self.shared.config.response_stall_max();
        self.transport.write(response.slices, stall_max).await.map_err(|_| Ended::ByClient)
    }

    /// Leaves the connection unread for a moment, so that a client that retries at once does no harm.
    async fn hold_back(&self, over: Over) -> Ended {
        self.shared.metrics.observe_turned_away(TurnedAway::Quota);
        tracing::debug!(source = %self.context.source, quota = %over.quota, "connection over its cluster's quota");
        sleep(TURNED_AWAY_HOLD).await;
        Ended::ByUs("the cluster has no place for another connection")
    }

    fn authenticated(self, welcome: Welcome) -> Authenticated<S> {
        let Welcome { logged_in, connection } = welcome;
        let LoggedIn { identity, cluster, reached, mechanism, expires_at, .. } = logged_in;
        let parts = &self.shared.parts;
        let brokers = BrokerSource::of(&parts.names, reached, self.own_address, parts.fleet.as_ref());
        let (shared, source) = (Arc::clone(&self.shared), self.context.source);
        let session = Session::new(shared, &cluster, brokers, source, identity, connection);
        let opened = Opened {
            session: Arc::new(session),
            login: Some((mechanism, expires_at)),
            context: self.context,
        };
        Authenticated::new(self.transport, opened)
    }
}
