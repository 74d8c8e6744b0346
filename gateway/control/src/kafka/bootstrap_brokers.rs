//! GetBootstrapBrokers: a serverless cluster has the SASL IAM string alone.

use serde::Serialize;

use super::{active, shared_cluster};
use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BootstrapBrokersResponse {
    bootstrap_broker_string_sasl_iam: String,
}

pub(super) async fn run(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = active(shared_cluster(call, arn).await?)?;
    let bootstrap_broker_string_sasl_iam = call.api.components.bootstrap.brokers(&cluster);
    Ok(Answer::json(&BootstrapBrokersResponse { bootstrap_broker_string_sasl_iam }))
}
