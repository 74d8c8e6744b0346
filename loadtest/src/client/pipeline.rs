//! A connection with several Produce requests on their way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::{Connection, decode_response, encode_request, read_frame, split_correlation_id};
use super::transport::{Reader, Writer};
use crate::clock;

/// One batch of a request: its partition and its id in that partition's queue.
pub(crate) type BatchKey = (i32, u64);

/// What a pipeline's receiving side reports.
#[derive(Debug)]
pub(crate) struct PipelineEvent {
    /// The number given to [`Pipeline::start`]; events of a connection already given up are told apart by it.
    pub(crate) pipeline: u64,
    /// A frame, or why there will be none any more.
    pub(crate) frame: anyhow::Result<Bytes>,
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct InFlight {
    correlation_id: i32,
    sent_at: Instant,
    pub(crate) batches: Vec<BatchKey>,
}

/// A connection whose answers arrive as events.
pub(crate) struct Pipeline {
    pub(crate) number: u64,
    writer: Writer,
    receiver: JoinHandle<()>,
    correlation_id: i32,
    in_flight: VecDeque<InFlight>,
    pub(crate) muted_until: Option<Instant>,
    login_ends_at: Option<Instant>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl Pipeline {
    /// Turns a logged-in connection into a pipeline that reports to `events`.
    pub(crate) fn start(connection: Connection, number: u64, events: mpsc::Sender<PipelineEvent>) -> Self {
        let login_ends_at = connection.reauthenticate_at();
        let (reader, writer, correlation_id) = connection.into_parts();
        #[allow(clippy::disallowed_methods, reason = "the pipeline owns the task and aborts it when dropped")]
        let receiver = tokio::spawn(receive(reader, number, events));
        Self {
            number,
            writer,
            receiver,
            correlation_id,
            in_flight: VecDeque::new(),
            muted_until: None,
            login_ends_at,
        }
    }

    /// Sends a request without waiting for its answer.
    pub(crate) async fn send(
        &mut self,
        request: &ProduceRequest,
        batches: Vec<BatchKey>,
        time_max: Duration,
    ) -> anyhow::Result<()> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode_request(self.correlation_id, request)?;
        // Noted first: if sending fails half way, the batches have to be sent again.
        self.in_flight.push_back(InFlight {
            correlation_id: self.correlation_id,
            sent_at: clock::now(),
            batches,
        });
        let writing = async {
            self.writer.write_all(&frame).await?;
            self.writer.flush().await
        };
        timeout(time_max, writing).await.context("the broker takes no more bytes")?.context("sending failed")
    }

    /// Matches an answer with its request; brokers answer in order.
    pub(crate) fn accept(&mut self, frame: Bytes) -> anyhow::Result<(InFlight, ProduceResponse)> {
        let (correlation_id, body) = split_correlation_id(frame)?;
        let request = self.in_flight.front().context("an answer nobody asked for")?;
        ensure!(
            request.correlation_id == correlation_id,
            "answer to request {correlation_id}, expected {}",
            request.correlation_id
        );
        let response = decode_response::<ProduceRequest>(body)?;
        let request = self.in_flight.pop_front().context("the front was just looked at")?;
        Ok((request, response))
    }

    /// Requests on their way.
    pub(crate) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }

    /// When the oldest request was sent.
    pub(crate) fn oldest_sent_at(&self) -> Option<Instant> {
        self.in_flight.front().map(|request| request.sent_at)
    }

    /// Whether the login has to be renewed; the pipeline is then drained and replaced.
    pub(crate) fn login_is_over(&self, now: Instant) -> bool {
        self.login_ends_at.is_some_and(|end| end <= now)
    }

    /// Everything whose fate is unknown when the connection is given up.
    pub(crate) fn take_unanswered(&mut self) -> Vec<BatchKey> {
        self.in_flight.drain(..).flat_map(|request| request.batches).collect()
    }
}

/// Reads frames until the connection ends. Cancelled by dropping the pipeline; nothing is lost by that, since an
/// answer not reported leaves its batches unsettled and they are sent again.
async fn receive(mut reader: Reader, pipeline: u64, events: mpsc::Sender<PipelineEvent>) {
    loop {
        let frame = match read_frame(&mut reader).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(anyhow::anyhow!("the broker closed the connection")),
            Err(error) => Err(error),
        };
        let ended = frame.is_err();
        if events.send(PipelineEvent { pipeline, frame }).await.is_err() || ended {
            return;
        }
    }
}
