//! TagResource, UntagResource, ListTagsForResource.

use headgate_metadata::clusters::{self, ClusterError};
use headgate_metadata::record::ClusterRecord;
use serde::{Deserialize, Serialize};

use super::{authorized_cluster, not_found};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::tags::{self, Tags};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagResourceRequest {
    tags: Option<Tags>,
}

#[derive(Serialize)]
struct ListTagsResponse<'a> {
    tags: &'a Tags,
}

pub(super) async fn list(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, Circumstances::default()).await?;
    Ok(Answer::json(&ListTagsResponse { tags: &cluster.tags }))
}

pub(super) async fn add(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let request: TagResourceRequest = call.request.json()?;
    let new = request.tags.ok_or_else(|| ApiError::missing("tags"))?;
    let cluster =
        authorized_cluster(call, arn, Circumstances { request_tags: Some(&new), ..Circumstances::default() })
            .await?;
    let with_new = |tags: &Tags| {
        let mut tags = tags.clone();
        tags.extend(new.clone());
        tags
    };
    change(call, &cluster, with_new).await
}

pub(super) async fn remove(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let query = call.request.query()?;
    let keys = query.all("tagKeys");
    let named: Tags = keys.iter().map(|key| (key.clone(), String::new())).collect();
    let cluster = authorized_cluster(
        call,
        arn,
        Circumstances { request_tags: Some(&named), ..Circumstances::default() },
    )
    .await?;
    if keys.is_empty() {
        return Err(ApiError::missing("tagKeys"));
    }
    let without = |tags: &Tags| {
        let mut tags = tags.clone();
        tags.retain(|key, _| !named.contains_key(key));
        tags
    };
    change(call, &cluster, without).await
}

async fn change(
    call: &Call<'_>,
    cluster: &ClusterRecord,
    next: impl Fn(&Tags) -> Tags + Send + Sync,
) -> Result<Answer, ApiError> {
    // The limits hold for the whole set, so they are asked again for what the transaction really found.
    let mut refused = tags::check(&next(&cluster.tags));
    if refused.is_ok() {
        let changed = clusters::update(&*call.api.components.store, cluster.id, |record| {
            let tags = next(&record.tags);
            refused = tags::check(&tags);
            if refused.is_ok() {
                record.tags = tags;
            }
        });
        changed.await.map_err(|error| match error {
            ClusterError::Unknown(_) => not_found(),
            ClusterError::Store(error) => error.into(),
        })?;
    }
    refused.map_err(|message| ApiError::parameter("tags", message))?;
    Ok(Answer::no_content())
}
