//! CreateCluster with the options AWS has no word for, and ListClusters with what an operator wants to see.

use headgate_metadata::clusters;
use headgate_metadata::record::ClusterRecord;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::kafka::cluster_info::state;
use crate::kafka::create_cluster::{NewCluster, create as create_record};
use crate::page::page;
use crate::tags::Tags;

/// Clusters on one page.
const PAGE_CLUSTERS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateClusterRequest {
    cluster_name: String,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    auto_create_topics: bool,
}

/// Named as the `kafka` service names its fields, as far as it has them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    cluster_id: String,
    cluster_name: &'a str,
    cluster_arn: String,
    state: &'static str,
    auto_create_topics: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    bootstrap_brokers: String,
    tags: &'a Tags,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListClustersResponse<'a> {
    clusters: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) async fn create(call: &Call<'_>) -> Result<Answer, ApiError> {
    let request: CreateClusterRequest = call.request.json()?;
    call.authorize("*", Circumstances { request_tags: Some(&request.tags), ..Circumstances::default() })?;
    let new = NewCluster {
        name: request.cluster_name,
        tags: request.tags,
        auto_create_topics: request.auto_create_topics,
        network: None,
        creation_token: None,
    };
    let created = create_record(call, new).await?;
    // People who type want to use it next.
    call.api.lifecycle.settled(created.id).await;
    let cluster = call.api.components.catalog.cluster(created.id);
    Ok(Answer::json(&shown(call, cluster.as_deref().unwrap_or(&created))))
}

/// The account's clusters by name, in pages; with `clusterName` that one alone, if there is one.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let query = call.request.query()?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let own = if let Some(name) = query.get("clusterName") {
        clusters::by_name(store, account, name).await?.into_iter().collect()
    } else {
        let mut own = clusters::list(store).await?;
        own.retain(|cluster| cluster.account == account);
        own.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        own
    };
    let page = page(&own, |cluster| &cluster.name, query.get("nextToken"), PAGE_CLUSTERS_MAX)
        .map_err(|_| ApiError::parameter("nextToken", "The parameter nextToken is not valid."))?;
    let clusters = page.items.into_iter().map(|cluster| shown(call, cluster)).collect();
    Ok(Answer::json(&ListClustersResponse { clusters, next_token: page.next }))
}

fn shown<'a>(call: &Call<'_>, cluster: &'a ClusterRecord) -> Shown<'a> {
    Shown {
        cluster_id: cluster.id.to_string(),
        cluster_name: &cluster.name,
        cluster_arn: cluster.arn(&call.api.config.region),
        state: state(cluster.state),
        auto_create_topics: cluster.auto_create_topics,
        port: cluster.port,
        bootstrap_brokers: call.api.components.bootstrap.brokers(cluster),
        tags: &cluster.tags,
    }
}
