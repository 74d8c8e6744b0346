//! Who it is and which cluster it reached are proven. Every handler runs under this state, so none can be reached without
//! it.
//!
//! Order (`gateway/PROTOCOL.md` §3): requests start in arrival order; a Produce may start while earlier Produces wait for
//! durability; every other request starts when nothing earlier is in progress, and nothing starts behind it until it is
//! answered. Responses leave in the order of their requests. While a request runs the socket is left unread beyond the
//! next frame's length: that is the back-pressure, and the way the client's departure is noticed.
//!
//! Quotas (§9): a frame is read when it is its turn. An answer carries how long the client is to hold back, and the connection
//! is left unread that long, whatever the client does (KIP-219).

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use headgate_iam::{Mechanism, UnixTime};
use headgate_metadata::client_quota::ClientQuotaKey;
use kafka_protocol::messages::ApiKey;
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::Span;

use super::frame::{Frame, FrameError};
use super::leaving::{Leaving, hold};
use super::reauthentication::Reauthentication;
use super::request::{Incoming, NoRequest, parse};
use super::shedding::Shedding;
use super::{Answer, ByteStream, Ended, Transport};
use crate::api::table::{Answering, Handler, Started, Starting};
use crate::api::{Malformed, api_versions};
use crate::budget::InflightBytes;
use crate::login::LoginContext;
use crate::quota::{ClientLimits, Turn};
use crate::session::Session;
use crate::shared::{Phase, Shared};

/// Requests of one connection in flight at most.
const IN_FLIGHT_MAX: usize = 64;

/// How long a request may be in progress: longer than any of the limits that end one by itself.
const IN_PROGRESS_MAX: Duration = Duration::from_hours(24);

/// What a connection is opened with.
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    /// How it logged in and when it must have done so again; `None` on the plaintext listener.
    pub(crate) login: Option<(Mechanism, UnixTime)>,
    pub(crate) context: LoginContext,
}

/// A connection of a proven principal to one cluster.
pub(crate) struct Authenticated<S> {
    transport: Transport<S>,
    session: Arc<Session>,
    shared: Arc<Shared>,
    reauthentication: Reauthentication,
    /// Requests that have taken their place and wait for their answer, oldest first.
    pipeline: FuturesOrdered<Answering>,
    /// The request that is starting, or that runs alone.
    running: Option<Starting>,
    /// A request that waits until nothing earlier is in progress.
    waiting: Option<(Incoming, InflightBytes)>,
    /// The turn of the frame that is announced.
    turn: Turn,
    /// Until when the connection is left unread.
    muted_until: Instant,
    /// The client sends nothing more; what it has sent is finished, and the connection then ends.
    departed: bool,
    /// When something last happened.
    active_at: Instant,
    phase: watch::Receiver<Phase>,
    standing: watch::Receiver<u64>,
    shedding: Shedding,
}

/// What the connection's task woke up for.
enum Event {
    Answered(Result<Answer, Malformed>),
    Started(Result<Started, Malformed>),
    Announced(Result<(), FrameError>),
    Frame(Result<Frame, FrameError>),
    StandingChanged,
    PhaseChanged,
    SheddingStirred,
    Late(&'static str),
}

impl<S: ByteStream> Authenticated<S> {
    pub(crate) fn new(transport: Transport<S>, opened: Opened) -> Self {
        let shared = Arc::clone(&opened.session.shared);
        let mut standing = shared.standing.subscribe();
        // What changed between the login and now is looked at first.
        standing.mark_changed();
        let mut context = opened.context;
        // Whoever logs in again does so on the cluster it has reached.
        context.dialled.bound = Some(opened.session.cluster);
        Self {
            shedding: Shedding::new(&opened.session),
            transport,
            session: opened.session,
            reauthentication: Reauthentication::new(opened.login, context),
            pipeline: FuturesOrdered::new(),
            running: None,
            waiting: None,
            turn: Turn::default(),
            muted_until: Instant::now(),
            departed: false,
            active_at: Instant::now(),
            phase: shared.phase.subscribe(),
            standing,
            shared,
        }
    }

    /// What everything on this connection happens under.
    pub(crate) fn span(&self) -> Span {
        let session = &self.session;
        let principal = session.identity();
        tracing::info_span!("connection", source = %session.source, cluster = %session.cluster, principal = %principal.arn)
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(mut self) {
        let ended = match self.run().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        tracing::debug!(source = %self.session.source, cluster = %self.session.cluster, ?ended, "connection ended");
        self.session.depart();
        // Also when the client closed: it may have closed its sending side only, and reads on for an orderly end.
        self.transport.close().await;
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        loop {
            self.end_if_done()?;
            let event = self.next_event().await;
            let by_us = matches!(
                event,
                Event::StandingChanged | Event::PhaseChanged | Event::SheddingStirred | Event::Late(_)
            );
            if !by_us {
                self.active_at = Instant::now();
            }
            match event {
                Event::Answered(answer) => self.deliver(answer).await?,
                Event::Started(started) => self.place(started).await?,
                Event::Announced(result) => self.announced(result)?,
                Event::Frame(frame) => self.begin(frame.map_err(|error| ended_by(&error))?).await?,
                Event::StandingChanged => self.check_standing()?,
                Event::PhaseChanged => {}
                Event::SheddingStirred => self.shedding.look(&self.session),
                Event::Late(why) => return Err(Ended::ByUs(why)),
            }
            self.begin_waiting();
        }
    }

    /// Waits for whatever comes first; what is nearest to an answer goes before new work.
    async fn next_event(&mut self) -> Event {
        let may_read =
            self.running.is_none() && self.waiting.is_none() && self.pipeline.len() < IN_FLIGHT_MAX;
        let (deadline, why) = self.deadline();
        let Transport { stream, frames } = &mut self.transport;
        let max = self.shared.config.request_bytes_max;
        let (session, departed, turn, muted_until) =
            (&self.session, self.departed, &mut self.turn, self.muted_until);
        let arrival = async {
            match frames.announced() {
                _ if departed => pending().await,
                None => Event::Announced(frames.announce(stream, max).await),
                Some(length) if may_read => {
                    sleep_until(muted_until).await;
                    turn.pass(session.quota(), length, session.mute_max()).await;
                    Event::Frame(frames.finish(stream, &session.lane).await)
                }
                Some(_) => pending().await,
            }
        };
        let running = async {
            match &mut self.running {
                Some(running) => Event::Started(running.await),
                None => pending().await,
            }
        };
        select! {
            biased;
            Some(answer) = self.pipeline.next(), if !self.pipeline.is_empty() => Event::Answered(answer),
            started = running => started,
            // An error means that the gateway is gone, and with it this task.
            _ = self.standing.changed() => Event::StandingChanged,
            _ = self.phase.changed() => Event::PhaseChanged,
            () = self.shedding.stirs() => Event::SheddingStirred,
            arrived = arrival => arrived,
            () = sleep_until(deadline) => Event::Late(why),
        }
    }

    /// Until when the connection may go on as it is, and why no longer.
    fn deadline(&self) -> (Instant, &'static str) {
        let idle = if self.is_idle() {
            self.active_at + self.shared.config.connection_idle_max()
        } else {
            self.active_at + IN_PROGRESS_MAX
        };
        match *self.phase.borrow() {
            Phase::Draining(deadline) if deadline < idle => (deadline, "drained at the deadline"),
            _ => (idle, "idle"),
        }
    }

    /// Nothing is in progress and nothing has begun to arrive.
    fn is_idle(&self) -> bool {
        let arriving = self.transport.frames.is_mid_frame() && !self.departed;
        self.running.is_none() && self.waiting.is_none() && self.pipeline.is_empty() && !arriving
    }

    fn end_if_done(&self) -> Result<(), Ended> {
        let draining = matches!(*self.phase.borrow(), Phase::Draining(_));
        match self.is_idle() {
            true if self.departed => Err(Ended::ByClient),
            true if draining => Err(Ended::ByUs("draining")),
            true if self.shedding.is_due(&self.session) => Err(Ended::ByUs("another gateway has come")),
            _ => Ok(()),
        }
    }

    fn announced(&mut self, result: Result<(), FrameError>) -> Result<(), Ended> {
        match result {
            Ok(()) => Ok(()),
            // What is under way is finished first: a client may send its last request and close.
            Err(FrameError::Ended) => {
                self.departed = true;
                self.session.depart();
                Ok(())
            }
            Err(error) => Err(ended_by(&error)),
        }
    }

    fn check_standing(&mut self) -> Result<(), Ended> {
        self.standing.mark_unchanged();
        self.session.revoked().map_or(Ok(()), |why| Err(Ended::ByUs(why)))
    }

    /// Takes a frame that has arrived.
    async fn begin(&mut self, frame: Frame) -> Result<(), Ended> {
        self.turn = Turn::default();
        let frame_bytes = frame.bytes.len();
        if self.reauthentication.awaits_raw_login() {
            return self.raw_login(&frame).await;
        }
        let incoming = match parse(frame.bytes, self.shared.next_request()) {
            Ok(incoming) => incoming,
            Err(NoRequest::ApiVersionsUnknown { correlation_id }) => {
                let answer = Answer::Respond(api_versions::unknown_version(correlation_id));
                self.pipeline.push_back(Box::pin(async { Ok(answer) }));
                return Ok(());
            }
            Err(no_request) => {
                tracing::debug!(source = %self.session.source, %no_request, "request not served");
                return Err(Ended::ByUs("malformed or unknown request"));
            }
        };
        self.shared.metrics.observe_request(incoming.api.name);
        if self.reauthentication.is_expired(self.shared.parts.clock.now())
            && !matches!(
                incoming.api.key,
                ApiKey::SaslHandshake | ApiKey::SaslAuthenticate | ApiKey::ApiVersions
            )
        {
            return Err(Ended::ByUs("session expired without re-authentication"));
        }
        match incoming.api.handler {
            Handler::Pipelined(start) => {
                let (span, leaving) = (request_span(&incoming), self.leaving(&incoming));
                if let Some(clients) = &leaving.clients {
                    self.charge_produce(clients, frame_bytes);
                }
                let session = Arc::clone(&self.session);
                let started = async move {
                    if !Turn::charges_bytes(frame_bytes) {
                        let quota = Arc::clone(session.quota());
                        Turn::of_short_produce(quota, frame_bytes, session.mute_max()).await;
                    }
                    start(session, incoming.call, incoming.body).await
                };
                self.running = Some(hold(Box::pin(started), leaving, span, frame.reserved));
            }
            Handler::Alone(_) | Handler::Connection => self.waiting = Some((incoming, frame.reserved)),
        }
        Ok(())
    }

    /// Starts the request that waited, once nothing earlier is in progress.
    fn begin_waiting(&mut self) {
        if self.running.is_some() || !self.pipeline.is_empty() {
            return;
        }
        let Some((incoming, reserved)) = self.waiting.take() else { return };
        let (span, leaving) = (request_span(&incoming), self.leaving(&incoming));
        let Incoming { api, call, body } = incoming;
        let session = Arc::clone(&self.session);
        let answered: Answering = match api.handler {
            Handler::Alone(handle) => handle(session, call, body),
            Handler::Connection => match api.key {
                ApiKey::ApiVersions => {
                    Box::pin(async move { api_versions::answer(&call, body).map(Answer::Respond) })
                }
                _ => self.reauthentication.answer(session, api.key, call, body),
            },
            Handler::Pipelined(_) => unreachable!("pipelined requests never wait for earlier ones"),
        };
        self.running = Some(hold(
            Box::pin(async move { answered.await.map(Started::Answered) }),
            leaving,
            span,
            reserved,
        ));
    }

    fn leaving(&self, incoming: &Incoming) -> Leaving {
        Leaving {
            session: Arc::clone(&self.session),
            key: incoming.api.key,
            version: incoming.call.version,
            clients: self.session.client_limits(&incoming.call.client_id),
        }
    }

    /// Nothing is read behind a Produce over its client's quota: what is in flight already would only add to what is owed.
    fn charge_produce(&mut self, clients: &ClientLimits, frame_bytes: usize) {
        clients.charge(ClientQuotaKey::ProducerByteRate, frame_bytes as f64);
        if let Some(owed) = clients.throttle(&[ClientQuotaKey::ProducerByteRate]) {
            self.muted_until = Instant::now() + owed.time.min(self.session.mute_max());
        }
    }

    async fn raw_login(&mut self, frame: &Frame) -> Result<(), Ended> {
        let answer = self.reauthentication.raw_login(&self.session, &frame.bytes).await;
        self.deliver(Ok(answer)).await
    }

    /// A request has taken its place in the order, or was answered at once.
    async fn place(&mut self, started: Result<Started, Malformed>) -> Result<(), Ended> {
        self.running = None;
        match started {
            Ok(Started::Pending(answer)) => self.pipeline.push_back(answer),
            Ok(Started::Answered(answer)) if self.pipeline.is_empty() => {
                return self.deliver(Ok(answer)).await;
            }
            Ok(Started::Answered(answer)) => self.pipeline.push_back(Box::pin(async { Ok(answer) })),
            Err(malformed) if self.pipeline.is_empty() => return self.deliver(Err(malformed)).await,
            // Earlier requests are answered before the connection ends.
            Err(malformed) => self.pipeline.push_back(Box::pin(async { Err(malformed) })),
        }
        Ok(())
    }

    /// Writes an answer; what a Fetch sent is counted once the kernel has all of it.
    async fn deliver(&mut self, answer: Result<Answer, Malformed>) -> Result<(), Ended> {
        let (mut response, end) = match answer {
            Ok(Answer::Respond(response)) => (response, None),
            Ok(Answer::RespondThenClose(response)) => (response, Some("closed after an error answer")),
            Ok(Answer::Silence { throttle }) => {
                self.mute(throttle);
                return Ok(());
            }
            Ok(Answer::Close(why)) => return Err(Ended::ByUs(why)),
            Err(malformed @ Malformed::Response { .. }) => {
                tracing::error!(%malformed, "response not encoded");
                return Err(Ended::ByUs("response not encoded"));
            }
            Err(malformed) => {
                tracing::debug!(source = %self.session.source, %malformed, "request not decoded");
                return Err(Ended::ByUs("malformed request"));
            }
        };
        if !response.throttle.is_zero() {
            self.mute(response.throttle);
            if let Some(field) = response.throttle_field {
                field.write(&mut response.slices, response.throttle.as_millis() as i32);
            }
        }
        let stall_max = self.shared.config.response_stall_max();
        self.transport.write(response.slices, stall_max).await.map_err(|_| Ended::ByClient)?;
        self.shared.sent.add(&response.billable);
        // Its memory is free only now that the kernel has it.
        drop(response.reserved);
        end.map_or(Ok(()), |why| Err(Ended::ByUs(why)))
    }

    /// Leaves the connection unread for so long.
    fn mute(&mut self, throttle: Duration) {
        if !throttle.is_zero() {
            self.muted_until = Instant::now() + throttle;
            self.reauthentication.put_off(throttle);
        }
    }
}

/// What everything of one request happens under.
fn request_span(incoming: &Incoming) -> Span {
    let Incoming { api, call, .. } = incoming;
    tracing::debug_span!("request", id = call.request.0, api = api.name, version = call.version, client = %call.client_id)
}

fn ended_by(error: &FrameError) -> Ended {
    match error {
        FrameError::Ended => Ended::ByClient,
        FrameError::Length { .. } => Ended::ByUs("frame length not allowed"),
        FrameError::TooSlow => Ended::ByUs("frame came too slowly"),
    }
}
