//! `headgate user create|list|describe|delete`: calls of IAM.

use anyhow::{Context as _, Result};

use super::credentials::as_environment;
use crate::api_client::{Answer, ApiClient};
use crate::cli::UserCommand;

/// The version of IAM's Query API.
pub(crate) const IAM_VERSION: &str = "2010-05-08";
/// What the policy of a user is called that was created here.
const POLICY_NAME: &str = "headgate-user-create";

/// Runs the command.
pub(crate) async fn run(command: UserCommand) -> Result<()> {
    match command {
        UserCommand::Create { name, policy, api } => {
            let document = std::fs::read_to_string(&policy)
                .with_context(|| format!("cannot read the policy {}", policy.display()))?;
            create(&Iam::new(&api.url)?, &name, &document).await
        }
        UserCommand::List { api } => {
            let iam = Iam::new(&api.url)?;
            println!("{:<32} {:<22} CREATED", "NAME", "ID");
            let (names, ids, times) = iam.list_users().await?;
            for ((name, id), created) in names.iter().zip(ids).zip(times) {
                println!("{name:<32} {id:<22} {created}");
            }
            Ok(())
        }
        UserCommand::Describe { name, api } => describe(&Iam::new(&api.url)?, &name).await,
        UserCommand::Delete { name, api } => delete(&Iam::new(&api.url)?, &name).await,
    }
}

/// Calls of IAM about users.
struct Iam(ApiClient);

impl Iam {
    fn new(url: &str) -> Result<Self> {
        ApiClient::from_environment(url).map(Self)
    }

    /// A call about one user.
    async fn call(&self, action: &str, user: &str, more: &[(&str, &str)]) -> Result<Answer> {
        let mut parameters = vec![("Action", action), ("UserName", user)];
        parameters.extend_from_slice(more);
        self.0.query("iam", IAM_VERSION, &parameters).await
    }

    /// The texts of one element of a list about one user. There are fewer of these than fit on one page.
    async fn listed(&self, action: &str, user: &str, element: &str) -> Result<Vec<String>> {
        self.call(action, user, &[]).await?.elements(element)
    }

    /// Names, ids and times of all users.
    async fn list_users(&self) -> Result<(Vec<String>, Vec<String>, Vec<String>)> {
        let (mut names, mut ids, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let mut marker: Option<String> = None;
        loop {
            let mut parameters = vec![("Action", "ListUsers"), ("MaxItems", "1000")];
            parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let page = self.0.query("iam", IAM_VERSION, &parameters).await?;
            names.extend(page.elements("UserName")?);
            ids.extend(page.elements("UserId")?);
            times.extend(page.elements("CreateDate")?);
            marker = page.elements("Marker")?.pop();
            if marker.is_none() {
                return Ok((names, ids, times));
            }
        }
    }
}

async fn create(iam: &Iam, name: &str, document: &str) -> Result<()> {
    iam.call("CreateUser", name, &[]).await.with_context(|| format!("user {name} was not created"))?;
    let policy = [("PolicyName", POLICY_NAME), ("PolicyDocument", document)];
    iam.call("PutUserPolicy", name, &policy)
        .await
        .with_context(|| format!("user {name} was created, but its policy was not accepted"))?;
    let key = iam
        .call("CreateAccessKey", name, &[])
        .await
        .with_context(|| format!("user {name} was created, but has no access key"))?;
    print!("{}", as_environment(&key.element("AccessKeyId")?, &key.element("SecretAccessKey")?, None));
    Ok(())
}

async fn describe(iam: &Iam, name: &str) -> Result<()> {
    let user = iam.call("GetUser", name, &[]).await?;
    for (label, element) in [("arn", "Arn"), ("userId", "UserId"), ("created", "CreateDate")] {
        println!("{label}: {}", user.element(element)?);
    }
    let keys = iam.call("ListAccessKeys", name, &[]).await?;
    for (id, status) in keys.elements("AccessKeyId")?.iter().zip(keys.elements("Status")?) {
        println!("accessKey: {id} {status}");
    }
    for (label, action, element) in [
        ("policy", "ListUserPolicies", "member"),
        ("attachedPolicy", "ListAttachedUserPolicies", "PolicyArn"),
        ("group", "ListGroupsForUser", "GroupName"),
    ] {
        for text in iam.listed(action, name, element).await? {
            println!("{label}: {text}");
        }
    }
    Ok(())
}

/// IAM deletes a user only when nothing belongs to it any more, so what does goes first.
async fn delete(iam: &Iam, name: &str) -> Result<()> {
    for key in iam.listed("ListAccessKeys", name, "AccessKeyId").await? {
        iam.call("DeleteAccessKey", name, &[("AccessKeyId", &key)]).await?;
    }
    for group in iam.listed("ListGroupsForUser", name, "GroupName").await? {
        iam.call("RemoveUserFromGroup", name, &[("GroupName", &group)]).await?;
    }
    for policy in iam.listed("ListAttachedUserPolicies", name, "PolicyArn").await? {
        iam.call("DetachUserPolicy", name, &[("PolicyArn", &policy)]).await?;
    }
    for policy in iam.listed("ListUserPolicies", name, "member").await? {
        iam.call("DeleteUserPolicy", name, &[("PolicyName", &policy)]).await?;
    }
    iam.call("DeleteUser", name, &[]).await?;
    println!("{name} is deleted, with its keys and policies");
    Ok(())
}
