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
            let answer = client.json("headgate", Method::GET, CLUSTERS, None).await?.json()?;
            let clusters = answer["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
            println!("{:<24} {:<10} {:<28} ARN", "NAME", "STATE", "BOOTSTRAP");
            for cluster in clusters {
                let text = |field: &str| cluster[field].as_str().unwrap_or("-").to_owned();
                let bootstrap = text("bootstrapBrokerStringSaslIam");
                println!("{:<24} {:<10} {bootstrap:<28} {}", text("clusterName"), text("state"), text("clusterArn"));
            }
        }
        ClusterCommand::Describe { name, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let path = format!("{CLUSTERS}/{}", percent_encode(&name));
            show(&client.json("headgate", Method::GET, &path, None).await?.json()?);
        }
        ClusterCommand::Delete { name, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let path = format!("{CLUSTERS}/{}", percent_encode(&name));
            show(&client.json("headgate", Method::DELETE, &path, None).await?.json()?);
        }
    }
    Ok(())
}

/// One `name: value` line per field.
fn show(cluster: &Value) {
    for (name, value) in cluster.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => println!("{name}: {text}"),
            other => println!("{name}: {other}"),
        }
    }
}
