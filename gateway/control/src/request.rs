//! A request as the handlers see it: whole, bounded, and still as it was sent.

use std::net::SocketAddr;

use bytes::Bytes;
use headgate_iam::{BodyHash, HttpRequest, UnixTime};

use crate::error::ApiError;
use crate::percent::Parameters;

/// A request that has arrived.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    /// Names this request in answers and logs.
    pub(crate) id: String,
    pub(crate) method: String,
    /// Still encoded.
    pub(crate) raw_path: String,
    /// Still encoded; empty where there is none.
    pub(crate) raw_query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The peer.
    pub(crate) source: SocketAddr,
    /// Whether it came over TLS.
    pub(crate) secure: bool,
    /// When it arrived.
    pub(crate) now: UnixTime,
}

impl ApiRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(sent, _)| sent.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Runs `read` on the form that signatures are verified on.
    pub(crate) fn signed<T>(&self, read: impl FnOnce(&HttpRequest<'_>) -> T) -> T {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        read(&HttpRequest {
            method: &self.method,
            raw_path: &self.raw_path,
            raw_query: &self.raw_query,
            headers: &headers,
            body_hash: BodyHash::of(&self.body),
        })
    }

    /// The parameters of the query string.
    pub(crate) fn query(&self) -> Result<Parameters, ApiError> {
        Parameters::parse(&self.raw_query)
            .ok_or_else(|| ApiError::malformed("The query string is malformed."))
    }

    /// The parameters of a Query call: the form body of a POST, else the query string.
    pub(crate) fn form(&self) -> Result<Parameters, ApiError> {
        if self.method != "POST" {
            return self.query();
        }
        let text = str::from_utf8(&self.body).ok();
        text.and_then(Parameters::parse).ok_or_else(|| ApiError::malformed("The form body is malformed."))
    }

    /// The JSON body.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::malformed(format!("The request body is not valid: {error}.")))
    }
}
