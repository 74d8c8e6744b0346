//! CreateAccessKey, UpdateAccessKey, DeleteAccessKey, ListAccessKeys, GetAccessKeyLastUsed.

use headgate_iam::{AccessKeyKind, SecretKey, generate_access_key_id, secret_box};
use headgate_metadata::identities::IdentityError;
use headgate_metadata::record::{AccessKeyRecord, AccessKeyStatus, UserRecord};
use headgate_metadata::users;

use super::identity::{existing, failed};
use super::{paging, required, subject, time};
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

/// The secret is shown in this answer and never again.
pub(super) async fn create(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let user = subject(call, form)?;
    call.authorize(&call.user_arn(&user), Circumstances::default())?;
    let components = &call.api.components;
    let mut random = |bytes: &mut [u8]| (components.random)(bytes);
    let access_key_id = generate_access_key_id(AccessKeyKind::LongTerm, &mut random);
    let secret = SecretKey::generate(&mut random);
    let key = AccessKeyRecord {
        sealed_secret: secret_box::seal(&components.master_key, &access_key_id, &secret, &mut random),
        access_key_id,
        account: call.caller.account,
        user: user.clone(),
        status: AccessKeyStatus::Active,
        created: call.now(),
    };
    let created = users::create_key(&*components.store, &key).await;
    let revision = created.map_err(|error| match error {
        // Two ids of 80 random bits do not meet by accident.
        IdentityError::Exists => {
            tracing::error!("the random source repeats itself");
            ApiError::internal()
        }
        other => failed::<UserRecord>(other, &user, &key.access_key_id),
    })?;
    call.see_principals(revision).await;
    let xml = Xml::new().element("AccessKey", |xml| {
        xml.text("UserName", &user)
            .text("AccessKeyId", &key.access_key_id)
            .text("Status", word(key.status))
            .secret("SecretAccessKey", secret.expose())
            .text("CreateDate", &time(key.created))
    });
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (user, id) = owned_key(call, form).await?;
    let status = match required(form, "Status")? {
        "Active" => AccessKeyStatus::Active,
        "Inactive" => AccessKeyStatus::Inactive,
        _ => return Err(ApiError::parameter("status", "The value for status must be Active or Inactive.")),
    };
    let changed = users::set_key_status(&*call.api.components.store, call.caller.account, &id, status).await;
    let revision = changed.map_err(|error| failed::<UserRecord>(error, &user, &id))?;
    call.see_principals(revision).await;
    Ok(None)
}

pub(super) async fn delete(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (user, id) = owned_key(call, form).await?;
    let deleted = users::delete_key(&*call.api.components.store, call.caller.account, &id).await;
    let revision = deleted.map_err(|error| failed::<UserRecord>(error, &user, &id))?;
    call.see_principals(revision).await;
    Ok(None)
}

pub(super) async fn list(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let user = subject(call, form)?;
    call.authorize(&call.user_arn(&user), Circumstances::default())?;
    let found = existing::<UserRecord>(call, &user).await?;
    let mut keys = users::keys_of(&*call.api.components.store, &found).await?;
    keys.sort_unstable_by(|left, right| left.access_key_id.cmp(&right.access_key_id));
    let page = paging::paged(keys, |key| &key.access_key_id, form)?;
    let xml = Xml::new().text("UserName", &user).members("AccessKeyMetadata", &page.items, |xml, key| {
        xml.text("UserName", &user)
            .text("AccessKeyId", &key.access_key_id)
            .text("Status", word(key.status))
            .text("CreateDate", &time(key.created))
    });
    Ok(Some(paging::end(xml, page.next.as_deref())))
}

/// When, for what and where a key was last used. The key alone is named; whose it is, is part of the answer.
pub(super) async fn last_used(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let id = required(form, "AccessKeyId")?;
    let (store, principals) = (&*call.api.components.store, &call.api.components.principals);
    let found = users::load_key(store, id).await?.filter(|key| key.account == call.caller.account);
    // Who may not ask for every user does not learn whose an unknown one is.
    let resource = found.as_ref().map_or_else(|| call.user_arn("*"), |key| call.user_arn(&key.user));
    call.authorize(&resource, Circumstances::default())?;
    let key = found.ok_or_else(|| {
        ApiError::new(ApiError::NOT_FOUND, format!("The Access Key with id {id} cannot be found."))
    })?;
    let used = principals.uses().last(store, id).await?;
    let shown = |xml: Xml| match &used {
        Some(used) => xml
            .text("LastUsedDate", &time(used.at))
            .text("ServiceName", &used.service)
            .text("Region", &used.region),
        None => xml.text("ServiceName", "N/A").text("Region", "N/A"),
    };
    Ok(Some(Xml::new().text("UserName", &key.user).element("AccessKeyLastUsed", shown)))
}

/// The key a call names with its user, once it is allowed on the user and the key is that user's.
async fn owned_key(call: &Call<'_>, form: &Parameters) -> Result<(String, String), ApiError> {
    let user = subject(call, form)?;
    call.authorize(&call.user_arn(&user), Circumstances::default())?;
    let id = required(form, "AccessKeyId")?;
    let found = existing::<UserRecord>(call, &user).await?;
    if found.access_keys.iter().any(|held| held == id) {
        Ok((user, id.to_owned()))
    } else {
        Err(failed::<UserRecord>(IdentityError::UnknownKey, &user, id))
    }
}

fn word(status: AccessKeyStatus) -> &'static str {
    match status {
        AccessKeyStatus::Active => "Active",
        AccessKeyStatus::Inactive => "Inactive",
    }
}
