//! SASL mechanism OAUTHBEARER with an MSK IAM token: RFC 7628's envelope around a presigned URL in base64url.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::login::{ACTION, ClaimedLogin, LoginRejected, Mechanism};
use crate::sigv4::presigned::{PresignedClaim, PresignedParameters};
use crate::sigv4::query::{Plus, QueryParameter, as_pairs, has_repeated_name, parse_query};

/// Signers send no padding; some encoders add it.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What RFC 7628 puts between and behind the parts of a message.
const SEPARATOR: char = '\x01';

/// Parses the client's first message: `n,,` ^A `auth=Bearer <token>` ^A \[extensions\] ^A.
pub(crate) fn parse(message: &[u8]) -> Result<ClaimedLogin, LoginRejected> {
    let token = bearer_token(message).ok_or(LoginRejected::Malformed)?;
    let url = BASE64_URL.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    parse_url(&url.ok_or(LoginRejected::Malformed)?)
}

/// The token out of its envelope. An authorization id (`a=`) is allowed and ignored: the token says who it is.
fn bearer_token(message: &[u8]) -> Option<&str> {
    let text = str::from_utf8(message).ok()?;
    let (gs2_header, pairs) = text.split_once(SEPARATOR)?;
    let authorization_id = gs2_header.strip_prefix("n,")?.strip_suffix(',')?;
    if !(authorization_id.is_empty() || authorization_id.starts_with("a=")) {
        return None;
    }
    let pairs = pairs.strip_suffix(SEPARATOR)?.strip_suffix(SEPARATOR)?;
    let mut authorization = None;
    for pair in pairs.split(SEPARATOR) {
        let (key, value) = pair.split_once('=')?;
        let named = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
        let printable = value.bytes().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~'));
        if !named || !printable {
            return None;
        }
        if key == "auth" && authorization.replace(value).is_some() {
            return None;
        }
    }
    let (scheme, token) = authorization?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Parses `https://<host>[/]?<query>`. The path is `/` in the canonical request whether or not it was sent.
pub(crate) fn parse_url(url: &str) -> Result<ClaimedLogin, LoginRejected> {
    let malformed = || LoginRejected::Malformed;
    let (authority_and_path, raw_query) =
        url.strip_prefix("https://").and_then(|rest| rest.split_once('?')).ok_or_else(malformed)?;
    let host = authority_and_path.strip_suffix('/').unwrap_or(authority_and_path);
    let query = parse_query(raw_query, Plus::Literal).ok_or_else(malformed)?;
    if raw_query.contains('#') || has_repeated_name(&query) {
        return Err(LoginRejected::Malformed);
    }
    let mut parameters = PresignedParameters::default();
    let mut user_agent = None;
    for QueryParameter { name, value } in &query {
        let name = str::from_utf8(name).map_err(|_| malformed())?;
        let value = str::from_utf8(value).map_err(|_| malformed())?;
        parameters.set(name, value);
        if name == "User-Agent" {
            user_agent = Some(value);
        }
    }
    if parameters.action != Some(ACTION) || parameters.signed_headers != Some("host") {
        return Err(LoginRejected::Malformed);
    }
    // Signers append the user agent after signing, each at another place; everything else is signed.
    let signed = as_pairs(&query).filter(|(name, _)| !matches!(*name, b"X-Amz-Signature" | b"User-Agent"));
    let headers = [("host".to_owned(), host.to_owned())];
    let presigned = PresignedClaim::new(&parameters, &headers, signed).ok_or_else(malformed)?;
    ClaimedLogin::new(Mechanism::OauthBearer, host, user_agent, presigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_among_extensions_in_any_order() {
        for message in [
            "n,,\x01auth=Bearer abc\x01\x01",
            "n,,\x01auth=bearer abc\x01traceId=1 2\x01\x01",
            "n,a=me,\x01traceId=1\x01auth=BEARER  abc\x01other=x\x01\x01",
        ] {
            assert_eq!(bearer_token(message.as_bytes()), Some("abc"), "{message:?}");
        }
    }

    #[test]
    fn other_envelopes_are_refused() {
        for message in [
            "",
            "n,,",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer abc\x01",
            "n,,\x01auth=Bearer abc",
            "y,,\x01auth=Bearer abc\x01\x01",
            "n,x,\x01auth=Bearer abc\x01\x01",
            "n,,\x01auth=Basic abc\x01\x01",
            "n,,\x01auth=Bearerabc\x01\x01",
            "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            "n,,\x01traceId=1\x01\x01",
            "n,,\x01auth=Bearer \u{e9}\x01\x01",
            "n,,\x011=2\x01auth=Bearer abc\x01\x01",
        ] {
            assert_eq!(bearer_token(message.as_bytes()), None, "{message:?}");
        }
    }
}
