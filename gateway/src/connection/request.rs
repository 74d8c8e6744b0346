//! From a frame to an API and the call it carries.

use bytes::Bytes;
use headgate_storage_client::RequestId;

use crate::api::table::{self, Api};
use crate::api::{Call, WalkedBody, take_header};
use crate::shape::{ShapeDefect, table as shapes, walk};

/// A request whose header has been read.
pub(crate) struct Incoming {
    pub(crate) api: &'static Api,
    pub(crate) call: Call,
    pub(crate) body: WalkedBody,
}

/// Why a frame is no request that can be served. The connection ends, except where an answer is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRequest {
    /// Too short for a header, or a header that does not decode.
    #[error("malformed request header")]
    Header,
    /// An API that is not served.
    #[error("API {0} is not served")]
    UnknownApi(i16),
    /// A version that is not served.
    #[error("API {key} has no version {version}")]
    UnknownVersion { key: i16, version: i16 },
    /// A body that does not have the shape of its API and version.
    #[error("API {key} version {version}: {defect}")]
    Shape { key: i16, version: i16, defect: ShapeDefect },
    /// ApiVersions of a version we do not know: answered with what we do know (KIP-511).
    #[error("unknown ApiVersions version")]
    ApiVersionsUnknown { correlation_id: i32 },
}

const API_VERSIONS: i16 = kafka_protocol::messages::ApiKey::ApiVersions as i16;

/// Reads the header off a frame.
pub(crate) fn parse(mut frame: Bytes, request: RequestId) -> Result<Incoming, NoRequest> {
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *frame.first_chunk::<8>().ok_or(NoRequest::Header)?;
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let api = table::find(key).ok_or(NoRequest::UnknownApi(key))?;
    if !api.served.contains(&version) {
        return Err(match key {
            API_VERSIONS => NoRequest::ApiVersionsUnknown { correlation_id },
            _ => NoRequest::UnknownVersion { key, version },
        });
    }
    let header_version = api.key.request_header_version(version);
    check_header(&frame, header_version)?;
    let header = take_header(&mut frame, header_version).map_err(|_| NoRequest::Header)?;
    let client_id = header.client_id.as_deref().unwrap_or_default().into();
    let body = WalkedBody::check(api.shape, version, frame).map_err(|defect| NoRequest::Shape {
        key,
        version,
        defect,
    })?;
    Ok(Incoming { api, call: Call { request, key, version, correlation_id, client_id }, body })
}

/// Walks the header before the codec sees it: its client id keeps a two-byte length even in the flexible version.
fn check_header(frame: &Bytes, version: i16) -> Result<(), NoRequest> {
    let length = frame.get(8..10).ok_or(NoRequest::Header)?;
    let length = usize::try_from(i16::from_be_bytes([length[0], length[1]])).unwrap_or(0);
    let fixed = frame.get(..10 + length).ok_or(NoRequest::Header)?;
    walk(&shapes::HEADER, 0, fixed).map_err(|_| NoRequest::Header)?;
    if version >= 2 { tagged_fields_fit(&frame[fixed.len()..]) } else { Ok(()) }
}

/// The header's tagged fields must end within the frame. Clients send none; a few are allowed.
fn tagged_fields_fit(rest: &[u8]) -> Result<(), NoRequest> {
    const TAGGED_FIELDS_MAX: u8 = 16;
    // A one-byte varint is all that so few fields need.
    match rest.first() {
        Some(count) if *count <= TAGGED_FIELDS_MAX => Ok(()),
        _ => Err(NoRequest::Header),
    }
}

#[cfg(test)]
mod tests;
