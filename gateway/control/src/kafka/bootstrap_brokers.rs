//! GetBootstrapBrokers: a serverless cluster has the SASL IAM string alone.

use headgate_metadata::record::ClusterState;
use serde::Serialize;

use super::authorized_cluster;
use crate::answer::Answer;
use crate::call::{Call, TagContext};
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BootstrapBrokersResponse {
    bootstrap_broker_string_sasl_iam: String,
}

pub(super) async fn run(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, TagContext::default()).await?;
    if cluster.state != ClusterState::Active {
        let state = super::cluster_info::state(cluster.state);
        let message =
            format!("The cluster is in the state {state}; brokers can be asked for when it is ACTIVE.");
        return Err(ApiError::new(ApiError::CONFLICT, message));
    }
    let bootstrap_broker_string_sasl_iam = call.api.components.bootstrap.brokers(&cluster);
    Ok(Answer::json(&BootstrapBrokersResponse { bootstrap_broker_string_sasl_iam }))
}
