//! `headgate topic create|list|describe|delete`: the topic calls of the `kafka` service.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::cluster::{arn_of, show};
use crate::api_client::{ApiClient, percent_encode};
use crate::cli::TopicCommand;

/// What every topic has; the number that is asked for makes no difference.
const REPLICATION_FACTOR: u32 = 3;

/// Runs the command.
pub(crate) async fn run(command: TopicCommand) -> Result<()> {
    match command {
        TopicCommand::Create { name, cluster, partitions, config, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let mut body = json!({
                "topicName": name, "partitionCount": partitions, "replicationFactor": REPLICATION_FACTOR,
            });
            if !config.is_empty() {
                let configs: Map<String, Value> =
                    config.into_iter().map(|(name, value)| (name, value.into())).collect();
                body["configs"] = STANDARD.encode(Value::Object(configs).to_string()).into();
            }
            let path = topics_of(&client, &cluster).await?;
            let answer = client.json("kafka", Method::POST, &path, Some(&body)).await;
            show(&answer.with_context(|| format!("topic {name} was not created"))?.json()?);
        }
        TopicCommand::List { cluster, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            println!("{:<40} PARTITIONS", "NAME");
            for topic in topics(&client, &topics_of(&client, &cluster).await?).await? {
                println!("{:<40} {}", topic["topicName"].as_str().unwrap_or("-"), topic["partitionCount"]);
            }
        }
        TopicCommand::Describe { name, cluster, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let path = format!("{}/{}", topics_of(&client, &cluster).await?, percent_encode(&name));
            let mut topic = client.json("kafka", Method::GET, &path, None).await?.json()?;
            // The service wraps the configs for the wire; people read them.
            let configs = topic["configs"].as_str().and_then(|text| STANDARD.decode(text).ok());
            if let Some(configs) = configs.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                topic["configs"] = configs;
            }
            show(&topic);
        }
        TopicCommand::Delete { name, cluster, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let path = format!("{}/{}", topics_of(&client, &cluster).await?, percent_encode(&name));
            show(&client.json("kafka", Method::DELETE, &path, None).await?.json()?);
        }
    }
    Ok(())
}

async fn topics_of(client: &ApiClient, cluster: &str) -> Result<String> {
    Ok(format!("/v1/clusters/{}/topics", percent_encode(&arn_of(client, cluster).await?)))
}

async fn topics(client: &ApiClient, path: &str) -> Result<Vec<Value>> {
    let (mut topics, mut query) = (Vec::new(), String::new());
    loop {
        let mut page = client.json("kafka", Method::GET, &format!("{path}{query}"), None).await?.json()?;
        topics.extend(page["topics"].as_array_mut().map(std::mem::take).unwrap_or_default());
        match page["nextToken"].as_str() {
            Some(token) => query = format!("?nextToken={}", percent_encode(token)),
            None => return Ok(topics),
        }
    }
}
