//! ListClustersV2: the clusters of the caller's account, by name.

use headgate_metadata::clusters;
use serde::Serialize;

use super::cluster_info::{CLUSTER_TYPE, ClusterInfo};
use super::{invalid_token, max_results};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::page::page;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListClustersResponse<'a> {
    cluster_info_list: Vec<ClusterInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) async fn run(call: &Call<'_>) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let query = call.request.query()?;
    let limit = max_results(query.get("maxResults"))?;
    let prefix = query.get("clusterNameFilter").unwrap_or_default();
    let none = query.get("clusterTypeFilter").is_some_and(|kind| kind != CLUSTER_TYPE);
    let components = &call.api.components;
    components.catalog.refresh_clusters().await.map_err(|error| {
        tracing::warn!(%error, "clusters not listed");
        ApiError::new(ApiError::UNAVAILABLE, "The request could not be processed now. Try again later.")
    })?;
    let mut own = components.catalog.clusters();
    own.retain(|cluster| !none && cluster.account == call.caller.account && cluster.name.starts_with(prefix));
    own.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let page =
        page(&own, |cluster| &cluster.name, query.get("nextToken"), limit).map_err(|_| invalid_token())?;
    let mut cluster_info_list = Vec::with_capacity(page.items.len());
    for cluster in page.items {
        let network = clusters::load_network(&*components.store, cluster.id).await?;
        cluster_info_list.push(ClusterInfo::new(cluster, network, &call.api.config.region));
    }
    Ok(Answer::json(&ListClustersResponse { cluster_info_list, next_token: page.next }))
}
