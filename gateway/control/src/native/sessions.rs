//! CreateSession: temporary credentials of a named user, for as short as a test needs.

use std::time::Duration;

use headgate_metadata::users;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::authenticate::user_principal;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::iam::checked_user_name;
use crate::sts::SESSION_SECONDS_MAX;
use crate::sts::issue::issue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateSessionRequest {
    user_name: String,
    duration_seconds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateSessionResponse<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: String,
}

pub(super) async fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let request: CreateSessionRequest = call.request.json()?;
    let name = checked_user_name(&request.user_name)?;
    call.authorize(&call.user_arn(&name), Circumstances::default())?;
    if !(1..=SESSION_SECONDS_MAX).contains(&request.duration_seconds) {
        let message = format!("durationSeconds must be from 1 to {SESSION_SECONDS_MAX}.");
        return Err(ApiError::parameter("durationSeconds", message));
    }
    let found = users::load(&*call.api.components.store, call.caller.account, &name).await?;
    let user = found.ok_or_else(|| {
        ApiError::new(ApiError::NOT_FOUND, format!("The user with name {name} cannot be found."))
    })?;
    let duration = Duration::from_secs(request.duration_seconds);
    let session = issue(&call.api.components, user_principal(&user)?, None, duration, call.request.now);
    Ok(Answer::secret_json(&CreateSessionResponse {
        access_key_id: &session.access_key_id,
        secret_access_key: session.secret.expose(),
        session_token: &session.token,
        expiration: session.expires_at.to_string(),
    }))
}
