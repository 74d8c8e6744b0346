//! AssumeRole: a session of a role, for whom its trust policy and the caller's own policies let.

use std::time::Duration;

use headgate_iam::policy::{Policy, PolicyKind, SESSION_POLICY_CHARACTERS_MAX};
use headgate_iam::{Arn, ErrorCode, PrincipalKind};
use headgate_metadata::identities;
use headgate_metadata::record::RoleRecord;

use super::{SESSION_SECONDS_MIN, credentials, duration_seconds, issue::issue};
use crate::authenticate::role_principal;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::iam::{checked_role_name, required};
use crate::percent::Parameters;
use crate::xml::Xml;

/// A session where the caller does not say, in seconds.
const SESSION_SECONDS_DEFAULT: u64 = 3_600;
/// The longest session of a role that was assumed by a session of a role, in seconds.
const CHAINED_SECONDS_MAX: u64 = 3_600;
/// What session names may have beside letters and digits.
const NAME_SIGNS: &[u8] = b"_+=,.@-";

pub(super) async fn run(call: &Call<'_>, form: &Parameters) -> Result<Xml, ApiError> {
    let arn = required(form, "RoleArn")?;
    let name = session_name(form)?;
    refuse_unsupported(form)?;
    let role = authorized(call, form, arn, &name).await?;
    let policy = session_policy(form)?;
    let seconds = seconds(call, form, &role)?;
    let principal = role_principal(&role, &name)?;
    let user = Xml::new().element("AssumedRoleUser", |xml| {
        xml.text("AssumedRoleId", principal.id()).text("Arn", principal.arn())
    });
    let duration = Duration::from_secs(seconds).min(call.api.config.role_session_max);
    let session = issue(&call.api.components, principal, policy, duration, call.request.now);
    Ok(credentials(user, &session))
}

/// The role, if the caller may assume it. Who may not does not learn whether it exists.
async fn authorized(
    call: &Call<'_>,
    form: &Parameters,
    arn: &str,
    session: &str,
) -> Result<RoleRecord, ApiError> {
    let invalid = || ApiError::parameter("roleArn", format!("{arn} is invalid"));
    let parsed = Arn::parse(arn).filter(|arn| arn.service() == "iam").ok_or_else(invalid)?;
    let account = parsed.account().parse().map_err(|_| invalid())?;
    let name = parsed.resource().strip_prefix("role/").ok_or_else(invalid)?;
    let name = checked_role_name(name).map_err(|_| invalid())?;
    let found = identities::load::<RoleRecord>(&*call.api.components.store, account, &name).await?;
    let Some(role) = found else {
        call.authorize(arn, Circumstances::default())?;
        // Allowed by the caller's own policies, but by no trust policy.
        let message = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            call.caller.principal.arn()
        );
        return Err(ApiError::new(ErrorCode::ACCESS_DENIED, message));
    };
    let trust = Policy::parse("trust policy", PolicyKind::Trust, &role.trust_policy, usize::MAX);
    let trust = trust.map_err(|error| {
        tracing::error!(role = arn, %error, "stored trust policy unusable");
        ApiError::internal()
    })?;
    let mut keys = vec![("sts:rolesessionname", session)];
    keys.extend(form.get("ExternalId").map(|id| ("sts:externalid", id)));
    call.authorize(arn, Circumstances { policy: Some(&trust), keys: &keys, ..Circumstances::default() })?;
    Ok(role)
}

/// 2 to 64 letters, digits and signs. It becomes part of the principal.
fn session_name(form: &Parameters) -> Result<String, ApiError> {
    let name = required(form, "RoleSessionName")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || NAME_SIGNS.contains(&byte));
    if plain && (2..=64).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    let message = "The value for roleSessionName must have 2 to 64 characters of letters, digits and _+=,.@-";
    Err(ApiError::parameter("roleSessionName", message))
}

/// Refuses what would change what the session may do and is not kept.
fn refuse_unsupported(form: &Parameters) -> Result<(), ApiError> {
    for parameter in
        ["PolicyArns", "Tags", "TransitiveTagKeys", "SourceIdentity", "SerialNumber", "ProvidedContexts"]
    {
        if form.names(parameter) {
            let message = format!("{parameter} of AssumeRole is not supported.");
            return Err(ApiError::parameter(&crate::xml::lower_camel(parameter), message));
        }
    }
    Ok(())
}

fn session_policy(form: &Parameters) -> Result<Option<String>, ApiError> {
    let Some(text) = form.get("Policy") else { return Ok(None) };
    if text.chars().count() > SESSION_POLICY_CHARACTERS_MAX {
        let message = format!("A session policy has at most {SESSION_POLICY_CHARACTERS_MAX} characters.");
        return Err(ApiError::new(ApiError::PACKED_POLICY_TOO_LARGE, message));
    }
    Policy::parse("session policy", PolicyKind::Identity, text, SESSION_POLICY_CHARACTERS_MAX)?;
    Ok(Some(text.to_owned()))
}

/// How long was asked for, within what the role allows. A session of a role cannot prolong itself by assuming again.
fn seconds(call: &Call<'_>, form: &Parameters, role: &RoleRecord) -> Result<u64, ApiError> {
    let most = u64::from(role.session_seconds_max).max(SESSION_SECONDS_MIN);
    let asked = duration_seconds(form, &(SESSION_SECONDS_MIN..=most))?;
    let chained = matches!(call.caller.principal.kind(), PrincipalKind::RoleSession { .. });
    match asked {
        Some(asked) if chained && asked > CHAINED_SECONDS_MAX => {
            let message = format!(
                "The requested DurationSeconds exceeds the {CHAINED_SECONDS_MAX} seconds of roles assumed by role chaining"
            );
            Err(ApiError::parameter("durationSeconds", message))
        }
        Some(asked) => Ok(asked),
        None => Ok(SESSION_SECONDS_DEFAULT.min(most)),
    }
}
