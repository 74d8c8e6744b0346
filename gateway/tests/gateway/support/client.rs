//! A client that speaks in frames: typed where the codec can, raw where a test must lie.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Anything a client may be connected by.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    correlation: i32,
}

impl Client {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), correlation: 0 }
    }

    /// Sends a request and reads its response.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request).await;
        self.receive::<R>(version, correlation).await
    }

    /// Sends a request; the correlation id to expect.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        let frame = request_frame(version, self.correlation, request);
        self.send_frame(&frame).await;
        self.correlation
    }

    /// Reads the response of an earlier [`Client::send`].
    pub(crate) async fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> R::Response {
        let mut frame = self.receive_frame().await.expect("a response, not the end of the connection");
        let key = ApiKey::try_from(R::KEY).expect("an API the codec knows");
        let header =
            ResponseHeader::decode(&mut frame, key.response_header_version(version)).expect("a header");
        assert_eq!(header.correlation_id, correlation, "responses come in the order of their requests");
        let response = R::Response::decode(&mut frame, version).expect("a response of this version");
        assert!(!frame.has_remaining(), "nothing stands behind the response");
        response
    }

    /// Writes a length and a frame.
    pub(crate) async fn send_frame(&mut self, frame: &[u8]) {
        self.send_raw(&(frame.len() as i32).to_be_bytes()).await;
        self.send_raw(frame).await;
    }

    /// Writes bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway reads");
        self.stream.flush().await.expect("the gateway reads");
    }

    /// Closes the sending side; the gateway may still answer.
    pub(crate) async fn send_end(&mut self) {
        self.stream.shutdown().await.expect("the gateway reads");
    }

    /// Reads a frame; `None` at the end of the connection.
    pub(crate) async fn receive_frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut frame).await.expect("a whole frame");
        Some(Bytes::from(frame))
    }

    /// Requires that the gateway ends the connection in order, after one whole frame or none. A filler may happen to be a
    /// request (null lists, and bytes behind the last field that are ignored); then it is answered.
    pub(crate) async fn expect_at_most_one_frame(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.expect("the end is orderly");
        if let Some((length, frame)) = rest.split_first_chunk::<4>() {
            assert_eq!(frame.len(), i32::from_be_bytes(*length) as usize, "one whole frame");
        }
    }

    /// Requires that the gateway ends the connection in order, without another byte.
    pub(crate) async fn expect_end(mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest).await {
            Ok(_) => assert!(rest.is_empty(), "bytes before the end: {rest:?}"),
            Err(error) => panic!("the end was not orderly: {error}"),
        }
    }
}

/// A request with its header, without its length.
pub(crate) fn request_frame<R: Request>(version: i16, correlation: i32, request: &R) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    header.encode(&mut frame, R::header_version(version)).expect("a header encodes");
    request.encode(&mut frame, version).expect("the request has this version");
    frame.to_vec()
}

/// The fixed part of a request header, with a null client id and whatever should follow.
pub(crate) fn raw_request(key: i16, version: i16, correlation: i32, rest: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(correlation);
    frame.put_i16(-1);
    frame.put_slice(rest);
    frame.to_vec()
}
