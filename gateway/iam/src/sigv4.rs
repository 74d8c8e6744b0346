//! The one SigV4 verifier: rebuild the canonical request, sign it with the stored secret, compare in constant time.
//!
//! Two shapes of claim end in the same `SignedClaim`: a presigned query (`presigned`, used by logins) and an HTTP
//! request (`request`, used by the control API). Source: AWS General Reference, "Signature Version 4".

use std::time::Duration;

mod authorization;
mod canonical_request;
pub(crate) mod encoding;
pub(crate) mod presigned;
pub(crate) mod query;
mod request;
mod request_rejected;
mod scope;
mod signed_claim;
mod signing_key;

#[cfg(test)]
mod tests;

pub use canonical_request::BodyHash;
pub use request::{ClaimedRequest, HttpRequest, RequestExpectations, VerifiedRequest};
pub use request_rejected::{ErrorCode, RequestRejected};
pub use scope::CredentialScope;
pub use signing_key::SigningKey;

pub(crate) use signed_claim::{Signature, SignedClaim};

/// The only algorithm accepted.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far the clock of a signer may be ahead of ours, and, for header-signed requests, behind it.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// The longest a login or a presigned call may be used after its date, however long it was signed for.
pub const PRESIGNED_USE_MAX: Duration = Duration::from_mins(15);
