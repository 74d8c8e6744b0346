//! GetClusterPolicy, PutClusterPolicy, DeleteClusterPolicy. No cluster has a policy, and none is taken: one that were kept
//! but not evaluated on the data plane would promise a Deny that nobody keeps.

use super::authorized_cluster;
use crate::answer::Answer;
use crate::call::{Call, TagContext};
use crate::error::ApiError;

pub(super) async fn absent(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    authorized_cluster(call, arn, TagContext::default()).await?;
    Err(ApiError::new(ApiError::NOT_FOUND, "The cluster has no cluster policy."))
}

pub(super) async fn put(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    authorized_cluster(call, arn, TagContext::default()).await?;
    Err(ApiError::parameter(
        "policy",
        "Cluster policies are not supported: grant access by policies of users.",
    ))
}
