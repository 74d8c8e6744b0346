//! A presigned query: the signature's facts travel as `X-Amz-*` parameters instead of headers.

use std::time::Duration;

use super::canonical_request::{BodyHash, canonical_request};
use super::query::canonical_query;
use super::scope::CredentialScope;
use super::{ALGORITHM, PRESIGNED_USE_MAX, Signature, SignedClaim};
use crate::unix_time::UnixTime;

/// The parameters of a presigned query that its verifier must understand, as decoded text.
#[derive(Default)]
pub(crate) struct PresignedParameters<'p> {
    pub(crate) action: Option<&'p str>,
    pub(crate) algorithm: Option<&'p str>,
    pub(crate) credential: Option<&'p str>,
    pub(crate) date: Option<&'p str>,
    pub(crate) expires: Option<&'p str>,
    pub(crate) signed_headers: Option<&'p str>,
    pub(crate) security_token: Option<&'p str>,
    pub(crate) signature: Option<&'p str>,
}

impl<'p> PresignedParameters<'p> {
    /// Takes note of one parameter of a URL; names are as the signers write them, case included.
    pub(crate) fn set(&mut self, name: &str, value: &'p str) {
        let slot = match name {
            "Action" => &mut self.action,
            "X-Amz-Algorithm" => &mut self.algorithm,
            "X-Amz-Credential" => &mut self.credential,
            "X-Amz-Date" => &mut self.date,
            "X-Amz-Expires" => &mut self.expires,
            "X-Amz-SignedHeaders" => &mut self.signed_headers,
            "X-Amz-Security-Token" => &mut self.security_token,
            "X-Amz-Signature" => &mut self.signature,
            _ => return,
        };
        *slot = Some(value);
    }
}

/// A presigned GET of `/` with an empty body, well-formed but unproven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresignedClaim {
    pub(crate) claim: SignedClaim,
    pub(crate) security_token: Option<String>,
    /// How long after its date the signature may be used: what the signer asked for, at most
    /// [`PRESIGNED_USE_MAX`].
    pub(crate) valid_for: Duration,
}

impl PresignedClaim {
    /// `signed_headers` are the headers named by X-Amz-SignedHeaders with their values; `query` holds every decoded
    /// parameter that is part of the signature. `None` if a parameter is missing or malformed.
    pub(crate) fn new<'q>(
        parameters: &PresignedParameters<'_>,
        signed_headers: &[(String, String)],
        query: impl Iterator<Item = (&'q [u8], &'q [u8])>,
    ) -> Option<Self> {
        if parameters.algorithm? != ALGORITHM {
            return None;
        }
        let scope = CredentialScope::parse(parameters.credential?)?;
        let signed_at = UnixTime::parse_amz_date(parameters.date?)?;
        let valid_for = parse_expires(parameters.expires?)?.min(PRESIGNED_USE_MAX);
        let signature = Signature::parse(parameters.signature?)?;
        let request =
            canonical_request("GET", "/", &canonical_query(query), signed_headers, BodyHash::of(b""));
        Some(Self {
            claim: SignedClaim::new(scope, signed_at, request, signature)?,
            security_token: parameters.security_token.map(str::to_owned),
            valid_for,
        })
    }

    /// The moment after which the signature may no longer be used.
    pub(crate) fn expires_at(&self) -> UnixTime {
        self.claim.signed_at().plus(self.valid_for)
    }
}

/// The longest X-Amz-Expires that SigV4 allows: seven days.
const EXPIRES_SECONDS_MAX: u64 = 604_800;

/// Parses X-Amz-Expires: a decimal number of seconds, 0 < n ≤ 604,800. The JavaScript signer sends `600.111`.
/// Digits below the millisecond are dropped.
fn parse_expires(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || text.len() > 32 {
        return None;
    }
    let seconds: u64 = whole.parse().ok()?;
    let millis: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    let total = seconds.checked_mul(1000)?.checked_add(millis)?;
    (total > 0 && total <= EXPIRES_SECONDS_MAX * 1000).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_a_decimal_between_zero_and_seven_days() {
        for (text, millis) in
            [("900", 900_000), ("600.111", 600_111), ("0.5", 500), ("1.0019", 1001), ("604800", 604_800_000)]
        {
            assert_eq!(parse_expires(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "0",
            "0.0",
            "-1",
            "+9",
            "1e3",
            "900.",
            ".5",
            "604800.001",
            "604801",
            "99999999999999999999",
            "9 0",
            "NaN",
        ] {
            assert_eq!(parse_expires(text), None, "{text}");
        }
    }
}
