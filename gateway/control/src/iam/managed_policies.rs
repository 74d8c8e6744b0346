//! CreatePolicy, GetPolicy, ListPolicies, DeletePolicy, the versions of a policy, ListEntitiesForPolicy.

use headgate_iam::policy::{IDENTITY_POLICY_CHARACTERS_MAX, Policy, PolicyKind};
use headgate_iam::{Arn, generate_policy_id};
use headgate_metadata::identities::{self, Identity, IdentityError};
use headgate_metadata::managed_policies::{self, InForce};
use headgate_metadata::record::{
    GroupRecord, ManagedPolicyRecord, PolicyVersionRecord, RoleRecord, UserRecord,
};

use super::identity::{failed, name_of, refuse_unsupported};
use super::names::{POLICY_NAME_MAX, checked};
use super::{paging, required, tags, time};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::{self, Parameters};
use crate::xml::Xml;

/// The policy that a `PolicyArn` names.
pub(super) struct PolicyName {
    pub(super) arn: String,
    pub(super) name: String,
}

impl PolicyName {
    /// Policies of other accounts, and AWS's own, are unknown here.
    pub(super) fn of(call: &Call<'_>, form: &Parameters) -> Result<Self, ApiError> {
        let arn = required(form, "PolicyArn")?.to_owned();
        if !Arn::parse(&arn)
            .is_some_and(|arn| arn.service() == "iam" && arn.resource().starts_with("policy/"))
        {
            let message = format!("ARN {arn} is not valid.");
            return Err(ApiError::new(ApiError::INVALID_INPUT, message));
        }
        let name = arn.strip_prefix(&call.iam_arn("policy", "")).ok_or_else(|| unknown_policy(&arn))?;
        let name = checked(name, "policyArn", POLICY_NAME_MAX)?;
        Ok(Self { arn, name })
    }

    /// The same, once the call is allowed on it.
    fn authorized(call: &Call<'_>, form: &Parameters) -> Result<Self, ApiError> {
        let named = Self::of(call, form)?;
        call.authorize(&named.arn, Circumstances::default())?;
        Ok(named)
    }

    fn failed(&self, error: IdentityError) -> ApiError {
        match error {
            IdentityError::Unknown => unknown_policy(&self.arn),
            other => failed::<ManagedPolicyRecord>(other, &self.name, ""),
        }
    }

    async fn existing(&self, call: &Call<'_>) -> Result<ManagedPolicyRecord, ApiError> {
        let found = identities::load(&*call.api.components.store, call.caller.account, &self.name).await?;
        found.ok_or_else(|| unknown_policy(&self.arn))
    }
}

pub(super) fn unknown_policy(arn: &str) -> ApiError {
    ApiError::new(ApiError::NOT_FOUND, format!("Policy {arn} does not exist or is not attachable."))
}

pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, tags) = (name_of::<ManagedPolicyRecord>(form)?, tags::given(form)?);
    let request = Circumstances { request_tags: Some(&tags), ..Circumstances::default() };
    call.authorize(&call.iam_arn("policy", &name), request)?;
    refuse_unsupported(form, "policy")?;
    let document = document_of(form, &name)?;
    let (random, now) = (&call.api.components.random, call.now());
    let policy = ManagedPolicyRecord {
        name: name.clone(),
        policy_id: generate_policy_id(&mut |bytes| random(bytes)),
        account: call.caller.account,
        created: now,
        updated: now,
        description: form.get("Description").unwrap_or_default().to_owned(),
        versions: vec![PolicyVersionRecord { number: 1, document, created: now }],
        default_version: 1,
        next_version: 2,
        attachments: 0,
        tags,
    };
    let created = identities::create(&*call.api.components.store, &policy).await;
    call.see_principals(created.map_err(|error| failed::<ManagedPolicyRecord>(error, &name, ""))?).await;
    Ok(Some(whole(&policy)))
}

pub(super) async fn get(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let policy = PolicyName::authorized(call, form)?.existing(call).await?;
    Ok(Some(whole(&policy)))
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    call.authorize("*", Circumstances::default())?;
    let store = &*call.api.components.store;
    let mut all = identities::list::<ManagedPolicyRecord>(store, call.caller.account).await?;
    // All of them are the account's own.
    if form.get("Scope") == Some("AWS") {
        all.clear();
    }
    if form.get("OnlyAttached") == Some("true") {
        all.retain(|policy| policy.attachments > 0);
    }
    let page = paging::paged(paging::under_path(all, form), |policy| &policy.name, form)?;
    let xml = Xml::new().members("Policies", &page.items, shown);
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let named = PolicyName::authorized(call, form)?;
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let deleted = identities::delete::<ManagedPolicyRecord>(store, account, &named.name).await;
    call.see_principals(deleted.map_err(|error| named.failed(error))?).await;
    Ok(None)
}

pub(super) async fn create_version(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let named = PolicyName::authorized(call, form)?;
    let document = document_of(form, &named.name)?;
    let in_force = if form.get("SetAsDefault") == Some("true") { InForce::AtOnce } else { InForce::Later };
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let created =
        managed_policies::create_version(store, account, &named.name, &document, call.now(), in_force).await;
    let (policy, revision) = created.map_err(|error| named.failed(error))?;
    call.see_principals(revision).await;
    let version = policy.versions.last().ok_or_else(ApiError::internal)?;
    Ok(Some(Xml::new().element("PolicyVersion", |xml| version_shown(xml, &policy, version))))
}

pub(super) async fn get_version(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let named = PolicyName::authorized(call, form)?;
    let number = version_of(form)?;
    let policy = named.existing(call).await?;
    let version = policy.version(number).ok_or_else(|| unknown_version(&named, number))?;
    let xml = Xml::new().element("PolicyVersion", |xml| {
        version_shown(xml, &policy, version).text("Document", &percent::encode(&version.document))
    });
    Ok(Some(xml))
}

pub(super) async fn list_versions(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let policy = PolicyName::authorized(call, form)?.existing(call).await?;
    // The newest first, as AWS lists them; there are too few for a second page.
    let versions = policy.versions.iter().rev();
    let xml = Xml::new().members("Versions", versions, |xml, version| version_shown(xml, &policy, version));
    Ok(Some(paging::end(xml, None)))
}

pub(super) async fn delete_version(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (named, number) = (PolicyName::authorized(call, form)?, version_of(form)?);
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let deleted = managed_policies::delete_version(store, account, &named.name, number, call.now()).await;
    call.see_principals(deleted.map_err(|error| of_version(error, &named, number))?).await;
    Ok(None)
}

pub(super) async fn set_default_version(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (named, number) = (PolicyName::authorized(call, form)?, version_of(form)?);
    let (store, account) = (&*call.api.components.store, call.caller.account);
    let set = managed_policies::set_default_version(store, account, &named.name, number, call.now()).await;
    call.see_principals(set.map_err(|error| of_version(error, &named, number))?).await;
    Ok(None)
}

/// To whom the policy is attached. There are no pages: the attachments of one policy are found by one look at each list.
pub(super) async fn entities(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let named = PolicyName::authorized(call, form)?;
    named.existing(call).await?;
    let wanted = |kind: &str| form.get("EntityFilter").is_none_or(|filter| filter == kind);
    let (mut groups, mut users, mut roles) = (Vec::new(), Vec::new(), Vec::new());
    if wanted("Group") {
        groups = attached_to::<GroupRecord>(call, &named.name).await?;
    }
    if wanted("User") {
        users = attached_to::<UserRecord>(call, &named.name).await?;
    }
    if wanted("Role") {
        roles = attached_to::<RoleRecord>(call, &named.name).await?;
    }
    let xml = Xml::new()
        .members("PolicyGroups", groups, |xml, group| {
            xml.text("GroupName", &group.name).text("GroupId", &group.group_id)
        })
        .members("PolicyUsers", users, |xml, user| {
            xml.text("UserName", &user.name).text("UserId", &user.user_id)
        })
        .members("PolicyRoles", roles, |xml, role| {
            xml.text("RoleName", &role.name).text("RoleId", &role.role_id)
        });
    Ok(Some(paging::end(xml, None)))
}

async fn attached_to<I: Identity>(call: &Call<'_>, policy: &str) -> Result<Vec<I>, ApiError> {
    let mut all = identities::list::<I>(&*call.api.components.store, call.caller.account).await?;
    all.retain(|identity| identity.attached().contains(policy));
    Ok(all)
}

fn document_of(form: &Parameters, name: &str) -> Result<String, ApiError> {
    let document = required(form, "PolicyDocument")?;
    Policy::parse(name, PolicyKind::Identity, document, IDENTITY_POLICY_CHARACTERS_MAX)?;
    Ok(document.to_owned())
}

/// `VersionId`, such as `v1`.
fn version_of(form: &Parameters) -> Result<u32, ApiError> {
    let text = required(form, "VersionId")?;
    let number = text.strip_prefix('v').and_then(|number| number.parse().ok());
    number.ok_or_else(|| ApiError::parameter("versionId", "The value for versionId must be such as v1."))
}

fn of_version(error: IdentityError, named: &PolicyName, number: u32) -> ApiError {
    match error {
        IdentityError::UnknownPolicy => unknown_version(named, number),
        other => named.failed(other),
    }
}

fn unknown_version(named: &PolicyName, number: u32) -> ApiError {
    let message = format!("Policy {} version v{number} does not exist or is not attachable.", named.arn);
    ApiError::new(ApiError::NOT_FOUND, message)
}

fn version_shown(xml: Xml, policy: &ManagedPolicyRecord, version: &PolicyVersionRecord) -> Xml {
    let is_default = if version.number == policy.default_version { "true" } else { "false" };
    xml.text("VersionId", &format!("v{}", version.number))
        .text("IsDefaultVersion", is_default)
        .text("CreateDate", &time(version.created))
}

fn whole(policy: &ManagedPolicyRecord) -> Xml {
    Xml::new().element("Policy", |xml| {
        let xml = shown(xml, policy)
            .text_if("Description", Some(&*policy.description).filter(|text| !text.is_empty()));
        tags::shown_if_any(xml, &policy.tags)
    })
}

fn shown(xml: Xml, policy: &ManagedPolicyRecord) -> Xml {
    xml.text("PolicyName", &policy.name)
        .text("PolicyId", &policy.policy_id)
        .text("Arn", &policy.arn())
        .text("Path", "/")
        .text("DefaultVersionId", &format!("v{}", policy.default_version))
        .text("AttachmentCount", &policy.attachments.to_string())
        .text("PermissionsBoundaryUsageCount", "0")
        .text("IsAttachable", "true")
        .text("CreateDate", &time(policy.created))
        .text("UpdateDate", &time(policy.updated))
}
