//! UpdateAccessKey by the key's id alone: who finds a leaked key rarely knows its user.

use headgate_metadata::identities::IdentityError;
use headgate_metadata::record::AccessKeyStatus;
use headgate_metadata::users;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateAccessKeyResponse<'a> {
    access_key_id: &'a str,
    user_name: &'a str,
    status: AccessKeyStatus,
}

pub(super) async fn update(call: &Call<'_>, id: &str, status: AccessKeyStatus) -> Result<Answer, ApiError> {
    let store = &*call.api.components.store;
    let found = users::load_key(store, id).await?.filter(|key| key.account == call.caller.account);
    // Who may not change every user's keys does not learn whose an unknown one is.
    let resource = found.as_ref().map_or_else(|| call.user_arn("*"), |key| call.user_arn(&key.user));
    call.authorize(&resource, Circumstances::default())?;
    let unknown =
        || ApiError::new(ApiError::NOT_FOUND, format!("The Access Key with id {id} cannot be found."));
    let key = found.ok_or_else(unknown)?;
    let changed = users::set_key_status(store, call.caller.account, id, status).await;
    let revision = changed.map_err(|error| match error {
        IdentityError::Store(error) => error.into(),
        _ => unknown(),
    })?;
    call.see_principals(revision).await;
    Ok(Answer::json(&UpdateAccessKeyResponse { access_key_id: id, user_name: &key.user, status }))
}
