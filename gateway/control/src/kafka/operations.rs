//! ListClusterOperationsV2 and DescribeClusterOperationV2. Every change of a cluster is done when its call is answered, so
//! there is never an operation to show.

use serde::Serialize;

use super::{authorized_cluster, not_found};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOperationsResponse {
    cluster_operation_info_list: [(); 0],
}

pub(super) async fn list(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    authorized_cluster(call, arn, Circumstances::default()).await?;
    Ok(Answer::json(&ListOperationsResponse { cluster_operation_info_list: [] }))
}

pub(super) fn describe(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    call.authorize(arn, Circumstances::default())?;
    Err(not_found())
}
