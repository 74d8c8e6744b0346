//! ListQuotas, SetQuotas, ExplainQuotas.
//!
//! Who may see a cluster may see its quotas; setting them is for the operator alone: a tenant that could would have none.

use std::collections::BTreeMap;

use headgate_iam::ErrorCode;
use headgate_metadata::clusters;
use headgate_metadata::id::AccountId;
use headgate_metadata::quota::{QuotaKey, QuotaLimits};
use headgate_metadata::quotas::{self, SetQuotasError};
use headgate_metadata::record::{ClusterRecord, QuotaRecord};
use headgate_storage_client::quota::QuotaExplanation;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetQuotasRequest {
    /// Values by quota; `null` puts one back to its default.
    quotas: BTreeMap<String, Option<u64>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListQuotasResponse<'a> {
    cluster_name: &'a str,
    cluster_arn: String,
    quotas: Vec<Shown>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: &'static str,
    value: u64,
    default_value: u64,
    /// Whether an operator set it.
    is_set: bool,
    what: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainQuotasResponse<'a> {
    cluster_name: &'a str,
    cluster_arn: String,
    /// Absent while no client of the cluster is connected to this gateway: nobody can be slowed down.
    #[serde(flatten)]
    explanation: Option<QuotaExplanation>,
    partitions: Count,
    compacted_partitions: Count,
}

#[derive(Serialize)]
struct Count {
    used: u64,
    limit: u64,
}

pub(super) async fn list(call: &Call<'_>, name: &str) -> Result<Answer, ApiError> {
    let cluster = find(call, name).await?;
    let record = quotas::load(&*call.api.components.store, cluster.id).await?;
    Ok(shown(call, &cluster, &record))
}

pub(super) async fn set(call: &Call<'_>, name: &str) -> Result<Answer, ApiError> {
    let request: SetQuotasRequest = call.request.json()?;
    let cluster = find(call, name).await?;
    if call.api.config.operator_account != Some(call.caller.account) {
        return Err(ApiError::new(
            ErrorCode::ACCESS_DENIED,
            "Quotas are set by the operator of this service.",
        ));
    }
    let mut changes = BTreeMap::new();
    for (name, value) in request.quotas {
        let wrong = |error: headgate_metadata::quota::QuotaInvalid| {
            ApiError::parameter(&name, format!("{}.", upper_first(&error.to_string())))
        };
        let key: QuotaKey = name.parse().map_err(wrong)?;
        let value = value.map(|value| key.check(value)).transpose().map_err(wrong)?;
        changes.insert(key, value);
    }
    if changes.is_empty() {
        return Err(ApiError::missing("quotas"));
    }
    let set = quotas::set(&*call.api.components.store, cluster.id, &changes).await;
    let (record, _) = set.map_err(|error| match error {
        SetQuotasError::ClusterUnknown(_) => not_found(name),
        SetQuotasError::Store(error) => error.into(),
    })?;
    Ok(shown(call, &cluster, &record))
}

pub(super) async fn explain(call: &Call<'_>, name: &str) -> Result<Answer, ApiError> {
    let cluster = find(call, name).await?;
    let components = &call.api.components;
    let limits = QuotaLimits::with(&quotas::load(&*components.store, cluster.id).await?.set);
    let topics = headgate_metadata::topics::list(&*components.store, cluster.id).await?;
    let is_compacted = |configs: &BTreeMap<String, String>| {
        configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
    };
    let partitions = |compacted: bool| -> u64 {
        let alike = topics.iter().filter(|topic| is_compacted(&topic.configs) == compacted);
        alike.map(|topic| u64::from(topic.partitions)).sum()
    };
    let count = |compacted, quota| Count { used: partitions(compacted), limit: limits.get(quota) };
    Ok(Answer::json(&ExplainQuotasResponse {
        cluster_name: &cluster.name,
        cluster_arn: cluster.arn(&call.api.config.region),
        explanation: (components.quotas)(cluster.id),
        partitions: count(false, QuotaKey::PartitionsMax),
        compacted_partitions: count(true, QuotaKey::CompactedPartitionsMax),
    }))
}

/// The cluster of this name, if the caller may do this on it. The operator may name another account's.
async fn find(call: &Call<'_>, name: &str) -> Result<ClusterRecord, ApiError> {
    let store = &*call.api.components.store;
    let account = match call.request.query()?.get("account") {
        Some(account) if call.api.config.operator_account == Some(call.caller.account) => account
            .parse::<AccountId>()
            .map_err(|_| ApiError::parameter("account", "account must be a 12-digit account id."))?,
        Some(_) => {
            return Err(ApiError::new(ErrorCode::ACCESS_DENIED, "Only the operator names other accounts."));
        }
        None => call.caller.account,
    };
    let found = clusters::by_name(store, account, name).await?;
    let resource =
        found.as_ref().map_or_else(|| "*".to_owned(), |cluster| cluster.arn(&call.api.config.region));
    let tags = found.as_ref().map(|cluster| &cluster.tags);
    call.authorize(&resource, Circumstances { resource_tags: tags, ..Circumstances::default() })?;
    let cluster = found.ok_or_else(|| not_found(name))?;
    call.note_cluster(cluster.id);
    Ok(cluster)
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, format!("There is no cluster named {name}."))
}

fn shown(call: &Call<'_>, cluster: &ClusterRecord, record: &QuotaRecord) -> Answer {
    let limits = QuotaLimits::with(&record.set);
    let quotas = QuotaKey::ALL.iter().map(|key| Shown {
        name: key.name(),
        value: limits.get(*key),
        default_value: key.default_value(),
        is_set: record.set.contains_key(key.name()),
        what: key.what(),
    });
    Answer::json(&ListQuotasResponse {
        cluster_name: &cluster.name,
        cluster_arn: cluster.arn(&call.api.config.region),
        quotas: quotas.collect(),
    })
}

fn upper_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
