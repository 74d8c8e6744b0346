//! The topic calls. Amazon MSK refuses them for serverless clusters; here they work, under the rights that the Kafka requests
//! need (Amazon MSK Developer Guide, "MSK topic operations").

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headgate_iam::{ErrorCode, Policy};
use headgate_metadata::record::{ClusterRecord, TopicRecord, partitions as indexes};
use headgate_metadata::topics as records;
use headgate_storage_client::routing;
use serde::{Deserialize, Serialize};

use super::{TopicPath, active, find_cluster, invalid_token, max_results, not_found, policy};
use crate::answer::Answer;
use crate::call::{Call, Circumstances};
use crate::components::{NewTopic, Requester, TopicRefusal, TopicRefused, TopicUpdate};
use crate::error::ApiError;
use crate::page::page;

/// Replicas that every partition is shown with (`gateway/PROTOCOL.md` §1).
const REPLICAS: [u32; 3] = [1, 2, 3];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateTopicRequest {
    topic_name: Option<String>,
    partition_count: Option<u32>,
    replication_factor: Option<u32>,
    configs: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateTopicRequest {
    partition_count: Option<u32>,
    configs: Option<String>,
}

/// The answer of every change.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'t> {
    topic_arn: String,
    topic_name: &'t str,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeTopicResponse<'t> {
    topic_arn: String,
    topic_name: &'t str,
    replication_factor: usize,
    partition_count: u32,
    configs: String,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'t> {
    topic_arn: String,
    topic_name: &'t str,
    replication_factor: usize,
    partition_count: u32,
    out_of_sync_replica_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListTopicsResponse<'t> {
    topics: Vec<Listed<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
struct Partition {
    #[serde(rename = "partition")]
    index: u32,
    leader: u32,
    replicas: [u32; 3],
    isr: [u32; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeTopicPartitionsResponse {
    partitions: Vec<Partition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) async fn create(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let request: CreateTopicRequest = call.request.json()?;
    let name = request.topic_name.ok_or_else(|| ApiError::missing("topicName"))?;
    let cluster = authorized(call, arn, Some(&name), &["CreateTopic"]).await?;
    let partitions = request.partition_count.ok_or_else(|| ApiError::missing("partitionCount"))?;
    match request.replication_factor {
        None => return Err(ApiError::missing("replicationFactor")),
        Some(0) => {
            return Err(ApiError::parameter("replicationFactor", "replicationFactor must be at least 1."));
        }
        // Any other is shown as three, as Amazon MSK Serverless shows it.
        Some(_) => {}
    }
    let configs = request.configs.as_deref().map(parse_configs).transpose()?.unwrap_or_default();
    let new = NewTopic { name, partitions, configs };
    let created = call.api.components.topics.create(requester(call, &cluster), new).await;
    Ok(changed(call, &cluster, &created?, "ACTIVE"))
}

pub(super) async fn update(call: &Call<'_>, path: &TopicPath) -> Result<Answer, ApiError> {
    let request: UpdateTopicRequest = call.request.json()?;
    let needed = ["DescribeTopic", "AlterTopic", "AlterTopicDynamicConfiguration"];
    let cluster = authorized(call, &path.cluster, Some(&path.topic), &needed).await?;
    let configs = request.configs.as_deref().map(parse_configs).transpose()?.unwrap_or_default();
    if request.partition_count.is_none() && configs.is_empty() {
        return Err(ApiError::malformed("The request must contain partitionCount or configs."));
    }
    let update = TopicUpdate { name: path.topic.clone(), partitions: request.partition_count, configs };
    let updated = call.api.components.topics.update(requester(call, &cluster), update).await;
    Ok(changed(call, &cluster, &updated?, "ACTIVE"))
}

pub(super) async fn delete(call: &Call<'_>, path: &TopicPath) -> Result<Answer, ApiError> {
    let needed = ["DescribeTopic", "DeleteTopic"];
    let cluster = authorized(call, &path.cluster, Some(&path.topic), &needed).await?;
    let deleted = call.api.components.topics.delete(requester(call, &cluster), &path.topic).await;
    Ok(changed(call, &cluster, &deleted?, "DELETING"))
}

pub(super) async fn describe(call: &Call<'_>, path: &TopicPath) -> Result<Answer, ApiError> {
    let (cluster, topic) = described(call, path).await?;
    let configs = serde_json::to_vec(&topic.configs).expect("texts are JSON");
    Ok(Answer::json(&DescribeTopicResponse {
        topic_arn: topic_arn(call, &cluster, &topic.name),
        topic_name: &topic.name,
        replication_factor: REPLICAS.len(),
        partition_count: topic.partitions,
        configs: STANDARD.encode(configs),
        status: "ACTIVE",
    }))
}

pub(super) async fn partitions(call: &Call<'_>, path: &TopicPath) -> Result<Answer, ApiError> {
    let (cluster, topic) = described(call, path).await?;
    let query = call.request.query()?;
    let brokers = call.api.components.bootstrap.broker_ids(&cluster);
    // Names that stand in the order of their numbers, as the pages need them.
    let all = indexes(topic.partitions).map(|index| (format!("{:010}", index.get()), index));
    let page = page(all, |(name, _)| name, query.get("nextToken"), max_results(query.get("maxResults"))?)
        .map_err(|_| invalid_token())?;
    let shown = page.items.into_iter().map(|(_, index)| Partition {
        index: index.get(),
        leader: routing::broker_of_partition(topic.id, index, &brokers).get(),
        replicas: REPLICAS,
        isr: REPLICAS,
    });
    let partitions = shown.collect();
    Ok(Answer::json(&DescribeTopicPartitionsResponse { partitions, next_token: page.next }))
}

pub(super) async fn list(call: &Call<'_>, arn: &str) -> Result<Answer, ApiError> {
    let cluster = authorized(call, arn, None, &[]).await?;
    let policy = policy::of(call, Some(&cluster)).await?;
    let circumstances = circumstances(Some(&cluster), policy.as_ref());
    let query = call.request.query()?;
    let prefix = query.get("topicNameFilter").unwrap_or_default();
    let mut topics = records::list(&*call.api.components.store, cluster.id).await?;
    // As a Metadata request of Kafka: what may not be described is not there.
    topics.retain(|topic| {
        let arn = topic_arn(call, &cluster, &topic.name);
        topic.name.starts_with(prefix) && call.may("kafka-cluster:DescribeTopic", &arn, circumstances)
    });
    let limit = max_results(query.get("maxResults"))?;
    let page =
        page(&topics, |topic| &topic.name, query.get("nextToken"), limit).map_err(|_| invalid_token())?;
    let listed = page.items.into_iter().map(|topic| Listed {
        topic_arn: topic_arn(call, &cluster, &topic.name),
        topic_name: &topic.name,
        replication_factor: REPLICAS.len(),
        partition_count: topic.partitions,
        out_of_sync_replica_count: 0,
    });
    Ok(Answer::json(&ListTopicsResponse { topics: listed.collect(), next_token: page.next }))
}

async fn described(call: &Call<'_>, path: &TopicPath) -> Result<(ClusterRecord, TopicRecord), ApiError> {
    let needed = ["DescribeTopic", "DescribeTopicDynamicConfiguration"];
    let cluster = authorized(call, &path.cluster, Some(&path.topic), &needed).await?;
    let topic = records::load(&*call.api.components.store, cluster.id, &path.topic).await?;
    Ok((cluster, topic.ok_or_else(not_found)?))
}

/// Finds the cluster, if the caller may connect to it and may do all that is needed on the topic.
async fn authorized(
    call: &Call<'_>,
    arn: &str,
    topic: Option<&str>,
    needed: &[&str],
) -> Result<ClusterRecord, ApiError> {
    let found = find_cluster(call, arn).await?;
    let policy = policy::of(call, found.as_ref()).await?;
    let circumstances = circumstances(found.as_ref(), policy.as_ref());
    call.authorize_action("kafka-cluster:Connect", arn, circumstances)?;
    if let Some(topic) = topic {
        let topic = format!("{}/{topic}", arn.replacen(":cluster/", ":topic/", 1));
        for action in needed {
            call.authorize_action(&format!("kafka-cluster:{action}"), &topic, circumstances)?;
        }
    }
    active(found.ok_or_else(not_found)?)
}

fn circumstances<'c>(cluster: Option<&'c ClusterRecord>, policy: Option<&'c Policy>) -> Circumstances<'c> {
    let resource_tags = cluster.map(|cluster| &cluster.tags);
    Circumstances { resource_tags, policy, ..Circumstances::default() }
}

fn requester<'r>(call: &'r Call<'_>, cluster: &'r ClusterRecord) -> Requester<'r> {
    Requester {
        cluster,
        principal: &call.caller.principal,
        session_policy: call.caller.session_policy.as_deref(),
        token_issued_at: call.caller.token_issued_at,
        source: call.request.source,
        secure: call.request.secure,
        user_agent: call.request.header("user-agent"),
    }
}

fn topic_arn(call: &Call<'_>, cluster: &ClusterRecord, name: &str) -> String {
    cluster.arn_of(&call.api.config.region, "topic", Some(name))
}

fn changed(call: &Call<'_>, cluster: &ClusterRecord, topic: &TopicRecord, status: &'static str) -> Answer {
    let topic_arn = topic_arn(call, cluster, &topic.name);
    Answer::json(&Changed { topic_arn, topic_name: &topic.name, status })
}

/// Base64 of a JSON object of names and values, or of lines `name=value` as in Kafka's property files.
fn parse_configs(encoded: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let wrong = || {
        let message = "configs must be the Base64 text of a JSON object of texts, or of lines name=value.";
        ApiError::parameter("configs", message)
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|_| wrong());
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.map(|line| pair(line).ok_or_else(wrong)).collect()
}

impl From<TopicRefused> for ApiError {
    fn from(refused: TopicRefused) -> Self {
        let code = match refused.kind {
            TopicRefusal::Exists => Self::TOPIC_EXISTS,
            TopicRefusal::Unknown => Self::NOT_FOUND,
            TopicRefusal::Denied => ErrorCode::ACCESS_DENIED,
            TopicRefusal::Throttled => Self::THROTTLED,
            TopicRefusal::Invalid => Self::MALFORMED,
            TopicRefusal::Unavailable => Self::UNAVAILABLE,
        };
        Self::new(code, refused.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_are_json_or_properties_in_base64() {
        let parsed = |text: &str| parse_configs(&STANDARD.encode(text));
        let expected = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        assert_eq!(parsed(r#"{"retention.ms": "5"}"#), Ok(expected.clone()));
        assert_eq!(parsed("# kept for\nretention.ms = 5\n"), Ok(expected));
        for wrong in ["{", "retention.ms", r#"{"a": 1}"#] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert!(parse_configs("***").is_err());
    }
}
