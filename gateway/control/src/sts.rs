//! The `sts` service (AWS Query, 2011-06-15): GetCallerIdentity and GetSessionToken.

use std::time::Duration;

use headgate_iam::{
    AccessKeyKind, Principal, SecretKey, SessionClaims, UnixTime, generate_access_key_id, session_token,
};

use crate::answer::Answer;
use crate::call::Call;
use crate::components::Components;
use crate::error::ApiError;
use crate::iam::{action, unknown_action};
use crate::percent::Parameters;
use crate::request::ApiRequest;
use crate::service::Dialect;
use crate::xml::Xml;

/// The shortest session of GetSessionToken, in seconds.
const SESSION_SECONDS_MIN: u64 = 900;
/// The longest session, in seconds: 36 hours.
pub(crate) const SESSION_SECONDS_MAX: u64 = 129_600;
/// A session where the caller does not say, in seconds: 12 hours.
const SESSION_SECONDS_DEFAULT: u64 = 43_200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    GetCallerIdentity,
    GetSessionToken,
}

/// A call with its parameters.
pub(crate) struct Operation {
    name: Name,
    form: Parameters,
}

impl Operation {
    pub(crate) fn route(request: &ApiRequest) -> Result<Self, ApiError> {
        let form = request.form()?;
        let name = action(&form, Dialect::STS, &request.raw_path)?;
        let name = match name.as_str() {
            "GetCallerIdentity" => Name::GetCallerIdentity,
            "GetSessionToken" => Name::GetSessionToken,
            _ => return Err(unknown_action(&name, Dialect::STS)),
        };
        Ok(Self { name, form })
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self.name {
            Name::GetCallerIdentity => "GetCallerIdentity",
            Name::GetSessionToken => "GetSessionToken",
        }
    }

    pub(crate) fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let xml = match self.name {
            Name::GetCallerIdentity => caller_identity(call),
            Name::GetSessionToken => own_session(call, &self.form)?,
        };
        Ok(Answer::query(Dialect::STS, self.name(), &call.request.id, Some(xml)))
    }
}

/// Needs no permission and cannot be denied, as in AWS: a proven signature is all it tells.
fn caller_identity(call: &Call<'_>) -> Xml {
    let principal = &call.caller.principal;
    Xml::new()
        .text("Arn", principal.arn())
        .text("UserId", principal.id())
        .text("Account", principal.account().as_str())
}

/// Needs no Allow, as in AWS; a Deny stops it. A session cannot prolong itself.
fn own_session(call: &Call<'_>, form: &Parameters) -> Result<Xml, ApiError> {
    let principal = &call.caller.principal;
    call.authorize_unless_denied(principal.arn())?;
    if call.caller.token_issued_at.is_some() {
        let message = "Cannot call GetSessionToken with session credentials";
        return Err(ApiError::new(headgate_iam::ErrorCode::ACCESS_DENIED, message));
    }
    let seconds = match form.get("DurationSeconds") {
        None => SESSION_SECONDS_DEFAULT,
        Some(text) => {
            let range = SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX;
            text.parse().ok().filter(|seconds| range.contains(seconds)).ok_or_else(|| {
                let message = format!(
                    "The requested DurationSeconds must be from {SESSION_SECONDS_MIN} to {SESSION_SECONDS_MAX}."
                );
                ApiError::parameter("durationSeconds", message)
            })?
        }
    };
    let session =
        issue(&call.api.components, principal.clone(), Duration::from_secs(seconds), call.request.now);
    Ok(Xml::new().element("Credentials", |xml| {
        xml.text("AccessKeyId", &session.access_key_id)
            .text("SecretAccessKey", session.secret.expose())
            .text("SessionToken", &session.token)
            .text("Expiration", &session.expires_at.to_string())
    }))
}

/// A new temporary credential.
pub(crate) struct IssuedSession {
    pub(crate) access_key_id: String,
    pub(crate) secret: SecretKey,
    pub(crate) token: String,
    pub(crate) expires_at: UnixTime,
}

/// Makes a temporary credential. Nothing is stored: the token carries everything, sealed.
pub(crate) fn issue(
    components: &Components,
    principal: Principal,
    duration: Duration,
    now: UnixTime,
) -> IssuedSession {
    let mut random = |bytes: &mut [u8]| (components.random)(bytes);
    let claims = SessionClaims {
        access_key_id: generate_access_key_id(AccessKeyKind::Temporary, &mut random),
        secret: SecretKey::generate(&mut random),
        principal,
        issued_at: now,
        expires_at: now.plus(duration),
    };
    let token = session_token::seal(&components.master_key, &claims, &mut random);
    let SessionClaims { access_key_id, secret, expires_at, .. } = claims;
    IssuedSession { access_key_id, secret, token, expires_at }
}
