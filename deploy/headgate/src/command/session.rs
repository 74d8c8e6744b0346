//! `headgate session create`: temporary credentials with a session token.

use anyhow::{Context as _, Result};
use hyper::Method;
use serde_json::json;

use super::credentials::as_environment;
use crate::api_client::ApiClient;
use crate::cli::SessionCommand;

/// Runs the command.
pub(crate) async fn run(command: SessionCommand) -> Result<()> {
    let SessionCommand::Create { user, seconds, api } = command;
    let client = ApiClient::from_environment(&api.url)?;
    let body = json!({ "userName": user, "durationSeconds": seconds });
    let answer = client.json("headgate", Method::POST, "/headgate/v1/sessions", Some(&body)).await?.json()?;
    let text =
        |field: &str| answer[field].as_str().with_context(|| format!("the server's answer has no {field}"));
    print!("{}", as_environment(text("accessKeyId")?, text("secretAccessKey")?, Some(text("sessionToken")?)));
    Ok(())
}
