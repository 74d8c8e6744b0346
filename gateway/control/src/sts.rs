//! The `sts` service (AWS Query, 2011-06-15): who somebody is, and temporary credentials.

use std::ops::RangeInclusive;
use std::time::Duration;

use headgate_iam::{ErrorCode, PrincipalKind};
use headgate_metadata::users;

use self::issue::{IssuedSession, issue};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::iam::{action, required, unknown_action};
use crate::percent::Parameters;
use crate::request::ApiRequest;
use crate::service::Dialect;
use crate::xml::Xml;

mod assume_role;
pub(crate) mod issue;

/// The shortest session, in seconds.
const SESSION_SECONDS_MIN: u64 = 900;
/// The longest session, in seconds: 36 hours.
pub(crate) const SESSION_SECONDS_MAX: u64 = 129_600;
/// A session of GetSessionToken where the caller does not say, in seconds: 12 hours.
const SESSION_SECONDS_DEFAULT: u64 = 43_200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    AssumeRole,
    GetAccessKeyInfo,
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
            "AssumeRole" => Name::AssumeRole,
            "GetAccessKeyInfo" => Name::GetAccessKeyInfo,
            "GetCallerIdentity" => Name::GetCallerIdentity,
            "GetSessionToken" => Name::GetSessionToken,
            _ => return Err(unknown_action(&name, Dialect::STS)),
        };
        Ok(Self { name, form })
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self.name {
            Name::AssumeRole => "AssumeRole",
            Name::GetAccessKeyInfo => "GetAccessKeyInfo",
            Name::GetCallerIdentity => "GetCallerIdentity",
            Name::GetSessionToken => "GetSessionToken",
        }
    }

    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let xml = match self.name {
            Name::AssumeRole => assume_role::run(call, &self.form).await?,
            Name::GetAccessKeyInfo => access_key_info(call, &self.form).await?,
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

/// The account of an access key; in AWS of any, here of the caller's own account: the others are not its to know.
async fn access_key_info(call: &Call<'_>, form: &Parameters) -> Result<Xml, ApiError> {
    let id = required(form, "AccessKeyId")?;
    call.authorize("*", Circumstances::default())?;
    let found = users::load_key(&*call.api.components.store, id).await?;
    let found = found.filter(|key| key.account == call.caller.account);
    let key = found.ok_or_else(|| {
        ApiError::parameter("accessKeyId", format!("The access key {id} does not exist in this account."))
    })?;
    Ok(Xml::new().text("Account", &key.account.to_string()))
}

/// Needs no Allow, as in AWS; a Deny stops it. A session cannot prolong itself.
fn own_session(call: &Call<'_>, form: &Parameters) -> Result<Xml, ApiError> {
    let principal = &call.caller.principal;
    call.authorize_unless_denied(principal.arn())?;
    let is_user = matches!(principal.kind(), PrincipalKind::User { .. });
    if call.caller.token_issued_at.is_some() || !is_user {
        let message = "Cannot call GetSessionToken with session credentials";
        return Err(ApiError::new(ErrorCode::ACCESS_DENIED, message));
    }
    let range = SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX;
    let seconds = duration_seconds(form, &range)?.unwrap_or(SESSION_SECONDS_DEFAULT);
    let (principal, duration) = (principal.clone(), Duration::from_secs(seconds));
    let session = issue(&call.api.components, principal, None, duration, call.request.now);
    Ok(credentials(Xml::new(), &session))
}

/// `DurationSeconds`, where it was said.
fn duration_seconds(form: &Parameters, range: &RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        let message =
            format!("The requested DurationSeconds must be from {} to {}.", range.start(), range.end());
        ApiError::parameter("durationSeconds", message)
    })
}

fn credentials(xml: Xml, session: &IssuedSession) -> Xml {
    xml.element("Credentials", |xml| {
        xml.text("AccessKeyId", &session.access_key_id)
            .secret("SecretAccessKey", session.secret.expose())
            .secret("SessionToken", &session.token)
            .text("Expiration", &session.expires_at.to_string())
    })
}
