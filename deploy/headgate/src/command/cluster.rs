//! `headgate cluster create|list|describe|delete`.

use anyhow::{Context as _, Result};
use hyper::Method;
use serde_json::{Value, json};

use crate::api_client::{ApiClient, percent_encode};
use crate::cli::ClusterCommand;

const CLUSTERS: &str = "/headgate/v1/clusters";

/// Runs the command.
pub(crate) async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Create { name, auto_create_topics, api } => {
            let body = json!({ "clusterName": name, "autoCreateTopics": auto_create_topics });
            let client = ApiClient::from_environment(&api.url)?;
            let answer = client.json("headgate", Method::POST, CLUSTERS, Some(&body)).await;
            show(&answer.with_context(|| format!("cluster {name} was not created"))?.json()?);
        }
        ClusterCommand::List { api } => {
            let client = ApiClient::from_environment(&api.url)?;
            println!("{:<24} {:<10} {:<28} ARN", "NAME", "STATE", "BOOTSTRAP");
            for cluster in &clusters(&client).await? {
                let text = |field: &str| cluster[field].as_str().unwrap_or("-");
                let (name, state, bootstrap) = (text("clusterName"), text("state"), text("bootstrapBrokers"));
                println!("{name:<24} {state:<10} {bootstrap:<28} {}", text("clusterArn"));
            }
        }
        ClusterCommand::Describe { name, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            show(&find(&client, &name).await?);
        }
        ClusterCommand::Delete { name, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let arn = arn_of(&client, &name).await?;
            let path = format!("/v1/clusters/{}", percent_encode(&arn));
            show(&client.json("kafka", Method::DELETE, &path, None).await?.json()?);
        }
    }
    Ok(())
}

async fn clusters(client: &ApiClient) -> Result<Vec<Value>> {
    let (mut clusters, mut query) = (Vec::new(), String::new());
    loop {
        let mut page =
            client.json("headgate", Method::GET, &format!("{CLUSTERS}{query}"), None).await?.json()?;
        clusters.extend(page["clusters"].as_array_mut().map(std::mem::take).unwrap_or_default());
        match page["nextToken"].as_str() {
            Some(token) => query = format!("?nextToken={}", percent_encode(token)),
            None => return Ok(clusters),
        }
    }
}

/// Names are unique in the account; AWS's calls go by ARN.
pub(super) async fn find(client: &ApiClient, name: &str) -> Result<Value> {
    let path = format!("{CLUSTERS}?clusterName={}", percent_encode(name));
    let mut answer = client.json("headgate", Method::GET, &path, None).await?.json()?;
    let found = answer["clusters"].as_array_mut().and_then(Vec::pop);
    found.with_context(|| {
        format!("this account has no cluster named {name}; `headgate cluster list` shows them")
    })
}

/// The ARN of the cluster of this name.
pub(super) async fn arn_of(client: &ApiClient, name: &str) -> Result<String> {
    let cluster = find(client, name).await?;
    let arn = cluster["clusterArn"].as_str().context("the server's answer has no clusterArn")?;
    Ok(arn.to_owned())
}

/// One `name: value` line per field.
pub(super) fn show(thing: &Value) {
    for (name, value) in thing.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => println!("{name}: {text}"),
            other => println!("{name}: {other}"),
        }
    }
}
