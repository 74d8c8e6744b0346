//! DescribeClusterV2.

use headgate_metadata::clusters;
use serde::Serialize;

use super::cluster_info::ClusterInfo;
use super::shared_cluster;
use crate::answer::Answer;
use crate::call::Call;
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeClusterResponse<'a> {
    cluster_info: ClusterInfo<'a>,
}

pub(super) async fn run(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = shared_cluster(call, arn).await?;
    let network = clusters::load_network(&*call.api.components.store, cluster.id).await?;
    let cluster_info = ClusterInfo::new(&cluster, network, &call.api.config.region);
    Ok(Answer::json(&DescribeClusterResponse { cluster_info }))
}
