//! One connection: frames, correlation ids, version check, login. One request at a time; see `pipeline` for many.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::api::PinnedApi;
use super::sasl::Mechanism;
use super::shape;
use super::transport::{Reader, Writer, dial};
use crate::clock;
use crate::endpoint::{Endpoint, HostPort, Security};

/// No answer of a broker is larger: fetches ask for less.
pub(crate) const RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Memory taken for an answer before its bytes have arrived; the rest grows with them.
const RESPONSE_BYTES_AT_ONCE: usize = 1 << 20;
/// How long an answer to one request may take.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);

const CLIENT_ID: &str = "headgate-loadtest";

/// A connection that is logged in.
pub(crate) struct Connection {
    reader: Reader,
    writer: Writer,
    address: HostPort,
    security: Security,
    correlation_id: i32,
    reauthenticate_at: Option<Instant>,
}

impl Connection {
    /// Dials, checks that the broker speaks this client's versions, and logs in.
    pub(crate) async fn open(address: &HostPort, security: &Security) -> anyhow::Result<Self> {
        let mut connection = Self::open_anonymous(address, security).await?;
        let versions = connection.api_versions().await?;
        check_versions(&versions).with_context(|| format!("{address} cannot be tested"))?;
        connection.authenticate().await?;
        Ok(connection)
    }

    /// Dials without any request, for those who test what strangers may do.
    pub(crate) async fn open_anonymous(address: &HostPort, security: &Security) -> anyhow::Result<Self> {
        let (reader, writer) = dial(address, security).await?;
        let (address, security) = (address.clone(), security.clone());
        Ok(Self { reader, writer, address, security, correlation_id: 0, reauthenticate_at: None })
    }

    /// Opens a connection to the first bootstrap address that answers.
    pub(crate) async fn open_bootstrap(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut last = None;
        for address in &endpoint.bootstrap {
            match Self::open(address, &endpoint.security).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no bootstrap address given")))
    }

    /// Asks which versions the broker speaks.
    pub(crate) async fn api_versions(&mut self) -> anyhow::Result<ApiVersionsResponse> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let response = self.exchange(&request).await?;
        check_error("ApiVersions", response.error_code)?;
        Ok(response)
    }

    /// Sends a request and waits for its answer; renews the login first when its session is about to end (KIP-368).
    pub(crate) async fn call<R: PinnedApi>(&mut self, request: &R) -> anyhow::Result<R::Response> {
        if self.reauthenticate_at.is_some_and(|due| due <= clock::now()) {
            self.authenticate().await?;
        }
        self.exchange(request).await
    }

    /// Proves who we are. A second call on the same connection is a re-authentication.
    pub(crate) async fn authenticate(&mut self) -> anyhow::Result<()> {
        let Security::Iam { login, .. } = self.security.clone() else { return Ok(()) };
        let mechanism = StrBytes::from_static_str(login.mechanism.wire_name());
        let handshake = self.exchange(&SaslHandshakeRequest::default().with_mechanism(mechanism)).await?;
        check_error("SaslHandshake", handshake.error_code)?;
        let token = login.token(&self.address.host, clock::wall())?;
        let answer = self.exchange(&SaslAuthenticateRequest::default().with_auth_bytes(token.into())).await?;
        if let Some(error) = answer.error_code.err() {
            let reason = answer.error_message.as_deref().unwrap_or("no reason given");
            bail!(Permanent(format!("login refused: {error:?}: {reason}")));
        }
        // RFC 7628 §3.2.3: a refusal may come as a challenge; success carries no bytes.
        if login.mechanism == Mechanism::Oauthbearer && !answer.auth_bytes.is_empty() {
            bail!(Permanent(format!("login refused: {}", String::from_utf8_lossy(&answer.auth_bytes))));
        }
        let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
        // Java clients renew at 85 to 95 % of the lifetime.
        self.reauthenticate_at =
            (lifetime > 0).then(|| clock::now() + Duration::from_millis(lifetime * 85 / 100));
        Ok(())
    }

    /// When the login has to be renewed, if ever.
    pub(crate) fn reauthenticate_at(&self) -> Option<Instant> {
        self.reauthenticate_at
    }

    /// Gives the two directions away, for pipelining.
    pub(crate) fn into_parts(self) -> (Reader, Writer, i32) {
        (self.reader, self.writer, self.correlation_id)
    }

    /// Sends bytes as they are, for those who test what a server does with bad ones.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    /// Ends the sending direction; the server sees the end of the stream.
    pub(crate) async fn finish_sending(&mut self) -> std::io::Result<()> {
        self.writer.shutdown().await
    }

    /// Reads one frame; `Ok(None)` when the server closed between frames.
    pub(crate) async fn receive_raw(&mut self) -> anyhow::Result<Option<Bytes>> {
        read_frame(&mut self.reader).await
    }

    async fn exchange<R: PinnedApi>(&mut self, request: &R) -> anyhow::Result<R::Response> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode_request(self.correlation_id, request)?;
        timeout(ANSWER_TIME_MAX, self.exchange_frame::<R>(frame))
            .await
            .with_context(|| {
                format!("no answer to {} from {} within {ANSWER_TIME_MAX:?}", R::NAME, self.address)
            })?
            .with_context(|| format!("{} to {} failed", R::NAME, self.address))
    }

    async fn exchange_frame<R: PinnedApi>(&mut self, frame: Bytes) -> anyhow::Result<R::Response> {
        self.send_raw(&frame).await?;
        let answer = read_frame(&mut self.reader).await?.context("the broker closed the connection")?;
        let (correlation_id, body) = split_correlation_id(answer)?;
        ensure!(
            correlation_id == self.correlation_id,
            "answer to request {correlation_id}, expected {}",
            self.correlation_id
        );
        decode_response::<R>(body)
    }
}

/// Encodes a request with its header and length prefix.
pub(crate) fn encode_request<R: PinnedApi>(correlation_id: i32, request: &R) -> anyhow::Result<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(R::VERSION)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut frame = BytesMut::with_capacity(4 + 64 + request.compute_size(R::VERSION)?);
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(R::VERSION))?;
    request.encode(&mut frame, R::VERSION)?;
    let length = i32::try_from(frame.len() - 4).context("the request is too large for a frame")?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// Takes the correlation id, which begins every answer, off a frame.
pub(crate) fn split_correlation_id(mut frame: Bytes) -> anyhow::Result<(i32, Bytes)> {
    ensure!(frame.len() >= 4, "an answer of {} bytes", frame.len());
    let correlation_id = frame.get_i32();
    Ok((correlation_id, frame))
}

/// Decodes what follows the correlation id, after its shape has been walked.
pub(crate) fn decode_response<R: PinnedApi>(mut body: Bytes) -> anyhow::Result<R::Response> {
    let header_version = <R::Response as HeaderVersion>::header_version(R::VERSION);
    if header_version > 0 {
        shape::skip_tags(&mut body).context("the answer's header is malformed")?;
    }
    shape::walk(R::RESPONSE, &body).with_context(|| format!("the answer is not a {} answer", R::NAME))?;
    R::Response::decode(&mut body, R::VERSION)
}

/// Reads one length-prefixed frame; `Ok(None)` when the stream ended between frames.
pub(crate) async fn read_frame(reader: &mut Reader) -> anyhow::Result<Option<Bytes>> {
    let mut prefix = [0; 4];
    if reader.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut prefix[1..]).await.context("the stream ended inside a length prefix")?;
    let length = i32::from_be_bytes(prefix);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= RESPONSE_BYTES_MAX)
        .with_context(|| format!("an answer claims {length} bytes"))?;
    let mut frame = BytesMut::with_capacity(length.min(RESPONSE_BYTES_AT_ONCE));
    let mut limited = reader.take(length as u64);
    while frame.len() < length {
        frame.reserve((length - frame.len()).min(RESPONSE_BYTES_AT_ONCE));
        ensure!(limited.read_buf(&mut frame).await? > 0, "the stream ended inside a frame");
    }
    Ok(Some(frame.freeze()))
}

/// An error that another try cannot cure: a refused login, a denial, a broker of another age.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Permanent(String);

impl Permanent {
    /// Whether an error has such a cause.
    pub(crate) fn is_cause_of(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some()
    }
}

/// Turns an error code of an answer into an error with the API's name.
pub(crate) fn check_error(api: &str, code: i16) -> anyhow::Result<()> {
    let Some(error) = code.err() else { return Ok(()) };
    let text = format!("{api} answered {error:?} ({code})");
    match error {
        ResponseError::TopicAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed
        | ResponseError::UnsupportedSaslMechanism
        | ResponseError::UnsupportedVersion => Err(Permanent(text).into()),
        _ => bail!(text),
    }
}

fn check_versions(answer: &ApiVersionsResponse) -> anyhow::Result<()> {
    use kafka_protocol::messages::{
        CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
        ProduceRequest,
    };
    fn check<R: PinnedApi>(answer: &ApiVersionsResponse) -> anyhow::Result<()> {
        let range = answer.api_keys.iter().find(|range| range.api_key == R::KEY);
        let (min, max) = range.map_or((0, -1), |range| (range.min_version, range.max_version));
        if !(min..=max).contains(&R::VERSION) {
            let (name, version) = (R::NAME, R::VERSION);
            bail!(Permanent(format!("it offers {name} {min} to {max}, this client speaks {version}")));
        }
        Ok(())
    }
    check::<MetadataRequest>(answer)?;
    check::<ProduceRequest>(answer)?;
    check::<FetchRequest>(answer)?;
    check::<ListOffsetsRequest>(answer)?;
    check::<InitProducerIdRequest>(answer)?;
    check::<CreateTopicsRequest>(answer)
}

#[cfg(test)]
mod tests;
