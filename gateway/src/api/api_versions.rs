//! ApiVersions: which APIs at which versions (`gateway/PROTOCOL.md` §5). Answered before and after authentication.

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::table::APIS;
use super::{Call, Malformed, WalkedBody, decode, respond};
use crate::connection::Response;
use crate::error_code;
use crate::refusal::Refusal;

/// Answers a request of a known version.
pub(crate) fn answer(call: &Call, body: WalkedBody) -> Result<Response, Malformed> {
    let request: ApiVersionsRequest = decode(body)?;
    let named = client_is_named(&request);
    let code = if call.version < 3 || named {
        error_code::NONE
    } else {
        error_code::of_refusal(Refusal::InvalidRequest)
    };
    respond(call, &ApiVersionsResponse::default().with_error_code(code).with_api_keys(advertised()))
}

/// KIP-511: names of letters, digits, dots and dashes that begin and end with a letter or digit.
fn client_is_named(request: &ApiVersionsRequest) -> bool {
    let valid = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
    };
    valid(&request.client_software_name) && valid(&request.client_software_version)
}

fn advertised() -> Vec<ApiVersion> {
    let row = |api: &super::table::Api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(*api.advertised.start())
            .with_max_version(*api.advertised.end())
    };
    APIS.iter().map(row).collect()
}

/// Answers a request of a version we do not know, whose body cannot be read: the body of version 0 with error 35 and the
/// range of ApiVersions itself, from which the client chooses (KIP-511).
pub(crate) fn unknown_version(correlation_id: i32) -> Response {
    let rows = advertised();
    let mut frame = BytesMut::with_capacity(14 + 6 * rows.len());
    frame.put_i32((10 + 6 * rows.len()) as i32);
    frame.put_i32(correlation_id);
    frame.put_i16(error_code::of_refusal(Refusal::UnsupportedVersion));
    frame.put_i32(rows.len() as i32);
    for row in rows {
        frame.put_i16(row.api_key);
        frame.put_i16(row.min_version);
        frame.put_i16(row.max_version);
    }
    Response::whole(frame.freeze())
}
