//! HTTP requests of the control API: parse what is claimed, let the caller find the key, then verify.
//!
//! Rules: gateway/PROTOCOL.md §11. Headers that are not signed may be present; the security token needs no
//! signature of its own because it is sealed and bound to the access key that signs.

use super::authorization::{Authorization, parse_signed_headers};
use super::canonical_request::{BodyHash, canonical_header_value, canonical_path, canonical_request};
use super::presigned::{PresignedClaim, PresignedParameters};
use super::query::{Plus, as_pairs, canonical_query, has_repeated_name, parse_query};
use super::{CLOCK_SKEW_MAX, CredentialScope, RequestRejected, SignedClaim};
use crate::access_key::AccessKeyKind;
use crate::credential::{CredentialDefect, KeyMaterial};
use crate::master_key::MasterKey;
use crate::principal::Principal;
use crate::session_token::SessionTokenInvalid;
use crate::unix_time::UnixTime;

/// A request as it arrived, before any decoding.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'r> {
    /// The method, upper-case.
    pub method: &'r str,
    /// The path as sent, still encoded, without the query.
    pub raw_path: &'r str,
    /// What follows the first `?`, still encoded; empty if there is none. A bare `+` counts as a space.
    pub raw_query: &'r str,
    /// Names in any case, with values; a name may come more than once. Over HTTP/2 the caller adds `host` from
    /// `:authority`.
    pub headers: &'r [(&'r str, &'r str)],
    /// Hash of the whole body.
    pub body_hash: BodyHash,
}

impl<'r> HttpRequest<'r> {
    fn header_values(&self, name: &str) -> impl Iterator<Item = &'r str> {
        self.headers.iter().filter(move |(sent, _)| sent.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The value of a header that may come at most once.
    fn single_header(&self, name: &str, repeated: &'static str) -> Result<Option<&'r str>, RequestRejected> {
        let mut values = self.header_values(name);
        let value = values.next();
        if values.next().is_some() { Err(RequestRejected::Incomplete(repeated)) } else { Ok(value) }
    }

    /// The signed headers in their canonical form; all of them must be present.
    fn canonical_headers(&self, names: Vec<String>) -> Result<Vec<(String, String)>, RequestRejected> {
        let canonical = |name: String| {
            let values: Vec<_> = self.header_values(&name).map(canonical_header_value).collect();
            if values.is_empty() {
                return Err(RequestRejected::Incomplete(
                    "A header named in SignedHeaders is not in the request.",
                ));
            }
            let joined = values.join(",");
            Ok((name, joined))
        };
        names.into_iter().map(canonical).collect()
    }
}

/// What the server requires of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestExpectations<'e> {
    /// The services that the request's path may be signed for, such as `["kafka"]` or `["iam", "sts"]`.
    pub services: &'e [&'e str],
    /// Our region. For `iam` and `sts` scopes `us-east-1` is accepted beside it: IAM is signed for its partition's
    /// home region, STS for either, depending on the SDK's settings.
    pub region: &'e str,
}

/// The region that global services are signed for in the `aws` partition.
const GLOBAL_REGION: &str = "us-east-1";

/// A well-formed signed request. Nothing about it is proven.
#[derive(Clone, Debug)]
pub struct ClaimedRequest {
    claim: SignedClaim,
    security_token: Option<String>,
    /// How long after its date the request may be used.
    age: Age,
}

/// Header-signed requests live by the clock skew; presigned ones by their expiry.
#[derive(Clone, Copy, Debug)]
enum Age {
    Skew,
    Presigned(std::time::Duration),
}

/// A request whose signature, key, session and date are proven.
#[derive(Clone, Debug)]
pub struct VerifiedRequest {
    /// Who signed.
    pub principal: Principal,
    /// The key that signed.
    pub access_key_id: String,
    /// The service signed for.
    pub service: String,
    /// When the credential was issued, for session credentials: the value of `aws:TokenIssueTime`.
    pub token_issued_at: Option<UnixTime>,
}

impl ClaimedRequest {
    /// Parses a request signed in its Authorization header.
    pub fn parse(request: &HttpRequest<'_>) -> Result<Self, RequestRejected> {
        let header = request
            .single_header("authorization", "Authorization is repeated.")?
            .ok_or(RequestRejected::MissingAuthentication)?;
        let authorization = Authorization::parse(header).map_err(RequestRejected::Incomplete)?;
        let signed_at = request
            .single_header("x-amz-date", "X-Amz-Date is repeated.")?
            .ok_or(RequestRejected::Incomplete(
                "Authorization header requires existence of an 'X-Amz-Date' header.",
            ))
            .map(UnixTime::parse_amz_date)?
            .ok_or(RequestRejected::Incomplete("Date must be in ISO-8601 'basic format'."))?;
        check_payload(request)?;
        let parameters = parse_query(request.raw_query, Plus::Space)
            .ok_or(RequestRejected::Incomplete("The query string is not percent-encoded correctly."))?;
        let text = canonical_request(
            request.method,
            &canonical_path(request.raw_path),
            &canonical_query(as_pairs(&parameters)),
            &request.canonical_headers(authorization.signed_headers)?,
            request.body_hash,
        );
        let security_token =
            request.single_header("x-amz-security-token", "X-Amz-Security-Token is repeated.")?;
        Ok(Self {
            claim: SignedClaim::new(authorization.scope, signed_at, text, authorization.signature).ok_or(
                RequestRejected::Incomplete(
                    "Date in Credential scope does not match YYYYMMDD from X-Amz-Date.",
                ),
            )?,
            security_token: security_token.map(str::to_owned),
            age: Age::Skew,
        })
    }

    /// Parses a presigned `sts:GetCallerIdentity`, the one call that may be signed in its query: others sign it to
    /// prove an identity without sending a secret. Only `GET /` with an empty body is offered.
    pub fn parse_presigned_caller_identity(request: &HttpRequest<'_>) -> Result<Self, RequestRejected> {
        let malformed = RequestRejected::Incomplete("The query-string authentication is malformed.");
        let shaped = request.method == "GET"
            && matches!(request.raw_path, "" | "/")
            && request.body_hash == BodyHash::of(b"");
        if !shaped {
            return Err(malformed);
        }
        let query = parse_query(request.raw_query, Plus::Space).ok_or(malformed.clone())?;
        if has_repeated_name(&query) {
            return Err(malformed);
        }
        let mut parameters = PresignedParameters::default();
        for parameter in &query {
            if let (Ok(name), Ok(value)) = (str::from_utf8(&parameter.name), str::from_utf8(&parameter.value))
            {
                parameters.set(name, value);
            }
        }
        if parameters.signature.is_none() {
            return Err(RequestRejected::MissingAuthentication);
        }
        let names = parameters.signed_headers.and_then(parse_signed_headers).ok_or(malformed.clone())?;
        if parameters.action != Some("GetCallerIdentity") {
            return Err(malformed);
        }
        let headers = request.canonical_headers(names)?;
        let signed = as_pairs(&query).filter(|(name, _)| *name != b"X-Amz-Signature");
        let presigned = PresignedClaim::new(&parameters, &headers, signed).ok_or(malformed)?;
        Ok(Self {
            claim: presigned.claim,
            security_token: presigned.security_token,
            age: Age::Presigned(presigned.valid_for),
        })
    }

    /// The access key id to look up.
    pub fn access_key_id(&self) -> &str {
        &self.claim.scope().access_key_id
    }

    /// What the request was signed for.
    pub fn scope(&self) -> &CredentialScope {
        self.claim.scope()
    }

    /// The session token, if one was sent.
    pub fn security_token(&self) -> Option<&str> {
        self.security_token.as_deref()
    }

    /// Opens the session token that came with the request; `None` if none came and the key has to be looked up.
    pub fn open_session(&self, master_key: &MasterKey) -> Result<Option<KeyMaterial>, RequestRejected> {
        self.security_token()
            .map(|token| KeyMaterial::open_session(master_key, self.access_key_id(), token))
            .transpose()
            .map_err(|SessionTokenInvalid| RequestRejected::SecurityTokenInvalid)
    }

    /// What to answer when the look-up found nobody. A temporary key is never stored, so without its token the
    /// token is what is wrong.
    pub fn unknown_key(&self) -> RequestRejected {
        match AccessKeyKind::of(self.access_key_id()) {
            Some(AccessKeyKind::Temporary) => RequestRejected::SecurityTokenInvalid,
            Some(AccessKeyKind::LongTerm) | None => {
                RequestRejected::UnknownAccessKey { access_key_id: self.access_key_id().to_owned() }
            }
        }
    }

    /// Names this signature in audit lines without giving it away, also for a request that is refused.
    pub fn signature_fingerprint(&self) -> String {
        self.claim.fingerprint()
    }

    /// Proves the claim. Order: what the request says of itself (service, region, date), then the signature, and
    /// only behind it the state of the key, so that nobody without the secret learns more than that a key exists.
    pub fn verify(
        &self,
        material: &KeyMaterial,
        expectations: &RequestExpectations<'_>,
        now: UnixTime,
    ) -> Result<VerifiedRequest, RequestRejected> {
        self.check_scope(expectations)?;
        self.check_date(now)?;
        material.check_token(self.access_key_id(), self.security_token.is_some())?;
        if !self.claim.is_signed_with(material.secret()) {
            return Err(RequestRejected::SignatureMismatch);
        }
        material.check_state(now)?;
        Ok(VerifiedRequest {
            principal: material.principal().clone(),
            access_key_id: self.access_key_id().to_owned(),
            service: self.claim.scope().service.clone(),
            token_issued_at: material.session().map(|session| session.issued_at),
        })
    }

    fn check_scope(&self, expectations: &RequestExpectations<'_>) -> Result<(), RequestRejected> {
        let scope = self.claim.scope();
        if !expectations.services.contains(&scope.service.as_str()) {
            return Err(RequestRejected::WrongService { expected: expectations.services.join("', '") });
        }
        let global = matches!(scope.service.as_str(), "iam" | "sts");
        if scope.region == expectations.region || (global && scope.region == GLOBAL_REGION) {
            return Ok(());
        }
        let expected = if global { GLOBAL_REGION } else { expectations.region };
        Err(RequestRejected::WrongRegion { expected: expected.to_owned(), claimed: scope.region.clone() })
    }

    fn check_date(&self, now: UnixTime) -> Result<(), RequestRejected> {
        let signed_at = self.claim.signed_at();
        let latest = now.plus(CLOCK_SKEW_MAX);
        if signed_at > latest {
            return Err(RequestRejected::SignatureNotYetCurrent { signed_at, latest, now });
        }
        let age_max = match self.age {
            Age::Skew => CLOCK_SKEW_MAX,
            Age::Presigned(valid_for) => valid_for,
        };
        let earliest = now.minus(age_max);
        if signed_at < earliest {
            let allowed_minutes = age_max.as_secs() / 60;
            return Err(RequestRejected::SignatureExpired { signed_at, earliest, now, allowed_minutes });
        }
        Ok(())
    }
}

impl From<CredentialDefect> for RequestRejected {
    fn from(defect: CredentialDefect) -> Self {
        match defect {
            CredentialDefect::Inactive => Self::InactiveAccessKey,
            CredentialDefect::TokenMismatch => Self::SecurityTokenInvalid,
            CredentialDefect::SessionExpired => Self::SecurityTokenExpired,
        }
    }
}

/// The body must be covered by the signature as a whole, and be the body that was signed.
fn check_payload(request: &HttpRequest<'_>) -> Result<(), RequestRejected> {
    let chunked = request
        .header_values("content-encoding")
        .any(|value| value.to_ascii_lowercase().contains("aws-chunked"));
    if chunked {
        return Err(RequestRejected::UnsupportedPayload("aws-chunked".to_owned()));
    }
    match request.single_header("x-amz-content-sha256", "X-Amz-Content-Sha256 is repeated.")? {
        None => Ok(()),
        Some(hash) if hash == request.body_hash.to_hex() => Ok(()),
        Some(kind) if kind == "UNSIGNED-PAYLOAD" || kind.starts_with("STREAMING-") => {
            Err(RequestRejected::UnsupportedPayload(kind.chars().take(64).collect()))
        }
        Some(_) => Err(RequestRejected::BodyHashMismatch),
    }
}
