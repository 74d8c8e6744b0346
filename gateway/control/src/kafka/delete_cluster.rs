//! DeleteCluster: billing and connections end with the answer; topics, groups, data, name and port follow after a delay
//! ([`crate::lifecycle`]).

use headgate_metadata::clusters::{self, ClusterError};
use headgate_metadata::record::ClusterRecord;
use serde::Serialize;

use super::cluster_info::{current_version, state};
use super::{authorized_cluster, not_found};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteClusterResponse {
    cluster_arn: String,
    state: &'static str,
}

pub(super) async fn run(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, Circumstances::default()).await?;
    let query = call.request.query()?;
    if query.get("currentVersion").is_some_and(|version| version != current_version(&cluster)) {
        return Err(ApiError::parameter("currentVersion", "The cluster's current version is another one."));
    }
    let marked = delete(call, &cluster).await?;
    Ok(Answer::json(&DeleteClusterResponse { cluster_arn: arn.to_owned(), state: state(marked.state) }))
}

async fn delete(call: &Call<'_>, cluster: &ClusterRecord) -> Result<ClusterRecord, ApiError> {
    match clusters::begin_delete(&*call.api.components.store, cluster.id, call.now()).await {
        Ok((marked, _)) => Ok(marked),
        Err(ClusterError::Unknown(_)) => Err(not_found()),
        Err(ClusterError::Store(error)) => Err(error.into()),
    }
}
