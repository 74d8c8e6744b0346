//! ListKafkaVersions and GetCompatibleKafkaVersions. A serverless cluster has no version that anyone chooses; the one told
//! is what clients may take the protocol for.

use serde::Serialize;

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

/// The version whose protocol is spoken.
const VERSION: &str = "4.1.0";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListKafkaVersionsResponse {
    kafka_versions: [KafkaVersion; 1],
}

#[derive(Serialize)]
struct KafkaVersion {
    version: &'static str,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CompatibleKafkaVersionsResponse {
    compatible_kafka_versions: [CompatibleKafkaVersion; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CompatibleKafkaVersion {
    source_version: &'static str,
    target_versions: [&'static str; 0],
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let version = KafkaVersion { version: VERSION, status: "ACTIVE" };
    Ok(Answer::json(&ListKafkaVersionsResponse { kafka_versions: [version] }))
}

pub(super) fn compatible(call: &Call<'_>) -> Result<Answer, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let version = CompatibleKafkaVersion { source_version: VERSION, target_versions: [] };
    Ok(Answer::json(&CompatibleKafkaVersionsResponse { compatible_kafka_versions: [version] }))
}
