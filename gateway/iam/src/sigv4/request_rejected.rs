//! Why an HTTP request of the control API was not accepted, and the error codes AWS clients know for it.

use crate::unix_time::UnixTime;

/// Why a request was refused before any handler saw it. The `Display` text is the answer's `message`.
///
/// The caller answers with [`RequestRejected::code`] and a `Date` header, from which SDKs correct their clocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRejected {
    /// No Authorization header. Sign the request.
    #[error("Missing Authentication Token")]
    MissingAuthentication,
    /// The signature's parts are missing or malformed; the text says which.
    #[error("{0}")]
    Incomplete(&'static str),
    /// The body was not signed as a whole (`UNSIGNED-PAYLOAD`, `STREAMING-…`, `aws-chunked`). Sign the body.
    #[error("The request body must be signed: x-amz-content-sha256 `{0}` is not supported.")]
    UnsupportedPayload(String),
    /// `x-amz-content-sha256` is not the hash of the body that arrived.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    BodyHashMismatch,
    /// Nobody has this access key id. Made by the caller, whose look-up found nothing.
    #[error("The security token included in the request is invalid: unknown access key {access_key_id}.")]
    UnknownAccessKey {
        /// The id as sent.
        access_key_id: String,
    },
    /// The access key exists and the signature is right, but the key is switched off.
    #[error("The security token included in the request is invalid: access key is inactive.")]
    InactiveAccessKey,
    /// The session token is not one of ours, belongs to another access key, is missing, or is not wanted.
    #[error("The security token included in the request is invalid.")]
    SecurityTokenInvalid,
    /// The session is over. Get new credentials.
    #[error("The security token included in the request is expired")]
    SecurityTokenExpired,
    /// Signed for another service.
    #[error("Credential should be scoped to correct service: '{expected}'.")]
    WrongService {
        /// The services that would be right, separated by commas.
        expected: String,
    },
    /// Signed for another region.
    #[error("Credential should be scoped to a valid region: '{expected}', not '{claimed}'.")]
    WrongRegion {
        /// The region that would be right.
        expected: String,
        /// The region signed for.
        claimed: String,
    },
    /// Signed too long ago, or a presigned call was used after its expiry. Both times are in the text.
    #[error("Signature expired: {} is now earlier than {} ({} - {allowed_minutes} min.)",
        signed_at.to_amz_date(), earliest.to_amz_date(), now.to_amz_date())]
    SignatureExpired {
        /// When it was signed.
        signed_at: UnixTime,
        /// The earliest date that would have been accepted.
        earliest: UnixTime,
        /// The server's time.
        now: UnixTime,
        /// The age allowed, in minutes, rounded down.
        allowed_minutes: u64,
    },
    /// Signed more than five minutes ahead of the server's clock.
    #[error("Signature not yet current: {} is still later than {} ({} + 5 min.)",
        signed_at.to_amz_date(), latest.to_amz_date(), now.to_amz_date())]
    SignatureNotYetCurrent {
        /// When it claims to have been signed.
        signed_at: UnixTime,
        /// The latest date that would have been accepted.
        latest: UnixTime,
        /// The server's time.
        now: UnixTime,
    },
    /// Wrong secret, or something changed after signing.
    #[error(
        "The request signature we calculated does not match the signature you provided. \
         Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    SignatureMismatch,
}

/// An error code in both spellings: that of JSON services and that of Query (XML) services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// The name in `x-amzn-ErrorType` of a rest-json answer.
    pub json: &'static str,
    /// The `<Code>` of an XML answer.
    pub query: &'static str,
    /// The HTTP status.
    pub status: u16,
}

impl ErrorCode {
    /// For a request whose signature is right but which its principal's policies do not allow.
    pub const ACCESS_DENIED: Self = Self::new("AccessDeniedException", "AccessDenied", 403);

    const fn new(json: &'static str, query: &'static str, status: u16) -> Self {
        Self { json, query, status }
    }
}

impl RequestRejected {
    /// The code clients react to (gateway/PROTOCOL.md §11).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::MissingAuthentication => {
                ErrorCode::new("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403)
            }
            Self::Incomplete(_) => ErrorCode::new("IncompleteSignatureException", "IncompleteSignature", 400),
            Self::UnknownAccessKey { .. } | Self::InactiveAccessKey | Self::SecurityTokenInvalid => {
                ErrorCode::new("UnrecognizedClientException", "InvalidClientTokenId", 403)
            }
            Self::SecurityTokenExpired => ErrorCode::new("ExpiredTokenException", "ExpiredToken", 403),
            Self::UnsupportedPayload(_)
            | Self::BodyHashMismatch
            | Self::WrongService { .. }
            | Self::WrongRegion { .. }
            | Self::SignatureExpired { .. }
            | Self::SignatureNotYetCurrent { .. }
            | Self::SignatureMismatch => {
                ErrorCode::new("InvalidSignatureException", "SignatureDoesNotMatch", 403)
            }
        }
    }
}
