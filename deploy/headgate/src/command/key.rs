//! `headgate key create|deactivate`: CreateAccessKey, UpdateAccessKey.

use anyhow::Result;

use super::credentials::as_environment;
use super::user::IAM_VERSION;
use crate::api_client::ApiClient;
use crate::cli::KeyCommand;

/// Runs the command.
pub(crate) async fn run(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create { user, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let key = client
                .query("iam", IAM_VERSION, &[("Action", "CreateAccessKey"), ("UserName", &user)])
                .await?;
            print!(
                "{}",
                as_environment(&key.element("AccessKeyId")?, &key.element("SecretAccessKey")?, None)
            );
        }
        KeyCommand::Deactivate { access_key_id, user, api } => {
            let client = ApiClient::from_environment(&api.url)?;
            let parameters = [
                ("Action", "UpdateAccessKey"),
                ("UserName", &user),
                ("AccessKeyId", &access_key_id),
                ("Status", "Inactive"),
            ];
            client.query("iam", IAM_VERSION, &parameters).await?;
            println!("{access_key_id} is inactive");
        }
    }
    Ok(())
}
