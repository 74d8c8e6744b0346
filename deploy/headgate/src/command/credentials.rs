//! Credentials as text that a shell can evaluate: `eval "$(headgate session create --user NAME)"`.

/// The lines to print.
pub(crate) fn as_environment(access_key_id: &str, secret: &str, session_token: Option<&str>) -> String {
    // Keys and tokens are base64 and letters; single quotes keep a shell from reading anything into them.
    let token = match session_token {
        Some(token) => format!("export AWS_SESSION_TOKEN='{token}'\n"),
        None => "unset AWS_SESSION_TOKEN\n".to_owned(),
    };
    format!("export AWS_ACCESS_KEY_ID='{access_key_id}'\nexport AWS_SECRET_ACCESS_KEY='{secret}'\n{token}")
}
