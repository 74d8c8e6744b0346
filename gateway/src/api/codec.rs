//! From bytes to messages and back: walk, decode, encode.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::Call;
use crate::connection::Response;
use crate::shape::{Shape, ShapeDefect, walk};

/// The body of a request whose bytes were checked against the shape of its API and version. Only such a body is decoded.
#[derive(Debug, Clone)]
pub(crate) struct WalkedBody {
    version: i16,
    bytes: Bytes,
}

impl WalkedBody {
    /// Checks `bytes` against `shape`.
    pub(crate) fn check(shape: &Shape, version: i16, mut bytes: Bytes) -> Result<Self, ShapeDefect> {
        // The codec gets the request alone, so that what stands behind it is never taken for a part of it.
        bytes.truncate(walk(shape, version, &bytes)?);
        Ok(Self { version, bytes })
    }
}

/// Why a request cannot be served: what the client meant cannot be known. The connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    /// The shape is right but a value is not (text that is not UTF-8, null where there must be a value).
    #[error("request does not decode")]
    Value,
    /// A response could not be encoded: a field is set that the version does not have. A fault of this program.
    #[error("response of API {key} version {version} does not encode")]
    Response {
        /// The API's key.
        key: i16,
        /// The API's version.
        version: i16,
    },
}

/// Decodes a request whose header has been taken off.
pub(crate) fn decode<R: Request>(body: WalkedBody) -> Result<R, Malformed> {
    let WalkedBody { version, mut bytes } = body;
    // The codec's own error captures a backtrace where the environment asks for it and says nothing the walk has not.
    let request = R::decode(&mut bytes, version).map_err(|_| Malformed::Value)?;
    if bytes.has_remaining() { Err(Malformed::Value) } else { Ok(request) }
}

/// Encodes a response with its length and header.
pub(crate) fn respond<P: Encodable + HeaderVersion>(
    call: &Call,
    response: &P,
) -> Result<Response, Malformed> {
    let failed = |_| Malformed::Response { key: call.key, version: call.version };
    let body_bytes = response.compute_size(call.version).map_err(failed)?;
    let mut frame = BytesMut::with_capacity(16 + body_bytes);
    frame.put_i32(0);
    put_header(&mut frame, P::header_version(call.version), call.correlation_id);
    response.encode(&mut frame, call.version).map_err(failed)?;
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Response::whole(frame.freeze()))
}

/// The response header: the correlation id and, from version 1 on, no tagged fields.
pub(crate) fn put_header(frame: &mut BytesMut, version: i16, correlation_id: i32) {
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(frame, version).expect("a header without tagged fields encodes at versions 0 and 1");
}

/// Reads a request header of `version` off the front; the shape of its fixed part has been walked.
pub(crate) fn take_header(bytes: &mut Bytes, version: i16) -> Result<RequestHeader, Malformed> {
    RequestHeader::decode(bytes, version).map_err(|_| Malformed::Value)
}

/// The longest error text in an answer: older versions count it in two bytes, and texts may repeat what a client sent.
const MESSAGE_BYTES_MAX: usize = 1024;

/// An error text of the codec, cut where it is too long to be read anyway.
pub(crate) fn message(text: impl Into<String>) -> StrBytes {
    let mut text = text.into();
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    StrBytes::from_string(text)
}

/// A text of the codec.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
