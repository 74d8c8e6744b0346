//! `headgate user create`: CreateUser, PutUserPolicy, CreateAccessKey.

use anyhow::{Context as _, Result};

use super::credentials::as_environment;
use crate::api_client::ApiClient;
use crate::cli::UserCommand;

/// The version of IAM's Query API.
pub(crate) const IAM_VERSION: &str = "2010-05-08";

/// Runs the command.
pub(crate) async fn run(command: UserCommand) -> Result<()> {
    let UserCommand::Create { name, policy, api } = command;
    let document = std::fs::read_to_string(&policy)
        .with_context(|| format!("cannot read the policy {}", policy.display()))?;
    let client = ApiClient::from_environment(&api.url)?;
    let call = |parameters: Vec<(&'static str, String)>| {
        let client = &client;
        async move {
            let parameters: Vec<(&str, &str)> =
                parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
            client.query("iam", IAM_VERSION, &parameters).await
        }
    };
    let action = |action: &str| ("Action", action.to_owned());
    call(vec![action("CreateUser"), ("UserName", name.clone())])
        .await
        .with_context(|| format!("user {name} was not created"))?;
    call(vec![
        action("PutUserPolicy"),
        ("UserName", name.clone()),
        ("PolicyName", "headgate-user-create".to_owned()),
        ("PolicyDocument", document),
    ])
    .await
    .with_context(|| format!("user {name} was created, but its policy was not accepted"))?;
    let key = call(vec![action("CreateAccessKey"), ("UserName", name.clone())])
        .await
        .with_context(|| format!("user {name} was created, but has no access key"))?;
    print!("{}", as_environment(&key.element("AccessKeyId")?, &key.element("SecretAccessKey")?, None));
    Ok(())
}
