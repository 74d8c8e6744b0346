//! GetStatus: whether the process serves, and how much the account has.

use headgate_metadata::users;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusResponse<'a> {
    version: &'static str,
    region: &'a str,
    account_id: String,
    ready: bool,
    metadata_revision: u64,
    clusters: usize,
    users: usize,
    time: String,
}

pub(super) async fn get(call: &Call<'_>) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let components = &call.api.components;
    let account = call.caller.account;
    let clusters = components.catalog.clusters();
    Ok(Answer::json(&StatusResponse {
        version: env!("CARGO_PKG_VERSION"),
        region: &call.api.config.region,
        account_id: account.to_string(),
        ready: (components.ready)(),
        metadata_revision: components.store.revision().await?.get(),
        clusters: clusters.iter().filter(|cluster| cluster.account == account).count(),
        users: users::list(&*components.store, account).await?.len(),
        time: call.request.now.to_string(),
    }))
}
