//! PutClusterPolicy, GetClusterPolicy, DeleteClusterPolicy.

use headgate_iam::PolicyError;
use headgate_iam::policy::{Policy, PolicyKind, RESOURCE_POLICY_CHARACTERS_MAX};
use headgate_metadata::cluster_policies::{self, ClusterPolicyError};
use headgate_metadata::record::{ClusterPolicyRecord, ClusterRecord, ClusterState};
use serde::{Deserialize, Serialize};

use super::{authorized_cluster, not_found};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

/// Letters and digits of a policy's version behind its `K`.
const VERSION_CHARACTERS: usize = 13;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutClusterPolicyRequest {
    policy: Option<String>,
    current_version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PutClusterPolicyResponse {
    current_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetClusterPolicyResponse {
    current_version: String,
    policy: String,
}

#[derive(Serialize)]
struct DeleteClusterPolicyResponse {}

pub(super) async fn put(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, Circumstances::default()).await?;
    let request: PutClusterPolicyRequest = call.request.json()?;
    let policy = request.policy.ok_or_else(|| ApiError::missing("policy"))?;
    parse(&policy).map_err(|error| ApiError::parameter("policy", error.to_string()))?;
    refuse_unusable(&cluster)?;
    let record = ClusterPolicyRecord { policy, version: draw_version(call) };
    let store = &*call.api.components.store;
    let put = cluster_policies::put(store, cluster.id, &record, request.current_version.as_deref()).await;
    see(call, put.map_err(failed)?).await;
    Ok(Answer::json(&PutClusterPolicyResponse { current_version: record.version }))
}

pub(super) async fn get(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, Circumstances::default()).await?;
    let found = cluster_policies::load(&*call.api.components.store, cluster.id).await?;
    let ClusterPolicyRecord { policy, version: current_version } = found.ok_or_else(absent)?;
    Ok(Answer::json(&GetClusterPolicyResponse { current_version, policy }))
}

pub(super) async fn delete(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized_cluster(call, arn, Circumstances::default()).await?;
    let deleted = cluster_policies::delete(&*call.api.components.store, cluster.id).await;
    see(call, deleted.map_err(failed)?).await;
    Ok(Answer::json(&DeleteClusterPolicyResponse {}))
}

/// The policy that a cluster has, as it takes part in decisions.
pub(super) async fn of(call: &Call<'_>, cluster: Option<&ClusterRecord>) -> Result<Option<Policy>, ApiError> {
    let Some(cluster) = cluster else { return Ok(None) };
    let stored = cluster_policies::load(&*call.api.components.store, cluster.id).await?;
    let Some(stored) = stored else { return Ok(None) };
    parse(&stored.policy).map(Some).map_err(|error| {
        // It could hold a Deny, so nothing is allowed without it.
        tracing::error!(cluster = %cluster.id, %error, "stored cluster policy unusable");
        ApiError::internal()
    })
}

fn parse(policy: &str) -> Result<Policy, PolicyError> {
    Policy::parse("cluster policy", PolicyKind::Resource, policy, RESOURCE_POLICY_CHARACTERS_MAX)
}

/// A cluster that is going takes no policy: nothing would ever evaluate it.
fn refuse_unusable(cluster: &ClusterRecord) -> Result<(), ApiError> {
    match cluster.state {
        ClusterState::Creating | ClusterState::Active => Ok(()),
        ClusterState::Deleting | ClusterState::Failed => {
            let state = super::cluster_info::state(cluster.state);
            Err(ApiError::malformed(format!("The cluster is in the state {state} and takes no policy.")))
        }
    }
}

fn draw_version(call: &Call<'_>) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0; VERSION_CHARACTERS];
    (call.api.components.random)(&mut bytes);
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    std::iter::once('K').chain(letters).collect()
}

/// Waits until this process decides by the change that was just made.
async fn see(call: &Call<'_>, revision: headgate_metadata::id::Revision) {
    if let Err(error) = call.api.components.catalog.reach(revision).await {
        tracing::warn!(%error, "cluster policies are behind");
    }
}

fn absent() -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, "The cluster has no cluster policy.")
}

fn failed(error: ClusterPolicyError) -> ApiError {
    match error {
        ClusterPolicyError::ClusterUnknown(_) => not_found(),
        ClusterPolicyError::Absent(_) => absent(),
        ClusterPolicyError::VersionMoved { .. } => {
            ApiError::parameter("currentVersion", "The policy's current version is another one.")
        }
        ClusterPolicyError::Store(error) => error.into(),
    }
}
