//! TagUser, UntagUser, ListUserTags, and the same of roles and managed policies; the tags of a creation.

use headgate_metadata::identities::{self, IdentityError};
use headgate_metadata::record::{ManagedPolicyRecord, RoleRecord, UserRecord};

use super::identity::{Called, existing, failed, name_of};
use super::managed_policies::PolicyName;
use super::paging;
use crate::call::{Call, Circumstances};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::tags::{self, Tags};
use crate::xml::Xml;

/// What has tags.
pub(super) trait Tagged: Called {
    fn tags(&self) -> &Tags;
    fn tags_mut(&mut self) -> &mut Tags;
    /// The one a call names.
    fn named(call: &Call<'_>, form: &Parameters) -> Result<String, ApiError>;
}

macro_rules! tagged {
    ($($record:ident: $named:expr;)+) => {$(
        impl Tagged for $record {
            fn tags(&self) -> &Tags {
                &self.tags
            }
            fn tags_mut(&mut self) -> &mut Tags {
                &mut self.tags
            }
            fn named(call: &Call<'_>, form: &Parameters) -> Result<String, ApiError> {
                let named: fn(&Call<'_>, &Parameters) -> Result<String, ApiError> = $named;
                named(call, form)
            }
        }
    )+};
}

tagged! {
    UserRecord: |_, form| name_of::<UserRecord>(form);
    RoleRecord: |_, form| name_of::<RoleRecord>(form);
    ManagedPolicyRecord: |call, form| Ok(PolicyName::of(call, form)?.name);
}

/// `Tags.member.N.Key` and `.Value` of a request.
pub(super) fn given(form: &Parameters) -> Result<Tags, ApiError> {
    let pair = |number: u32| {
        let key = form.get(&format!("Tags.member.{number}.Key"))?;
        let value = form.get(&format!("Tags.member.{number}.Value")).unwrap_or_default();
        Some((key.to_owned(), value.to_owned()))
    };
    let given: Tags = (1..).map_while(pair).collect();
    check(&given)?;
    Ok(given)
}

fn check(tags: &Tags) -> Result<(), ApiError> {
    tags::check(tags).map_err(|message| ApiError::new(ApiError::INVALID_INPUT, message))
}

/// The list as answers show it.
pub(super) fn shown(xml: Xml, tags: &Tags) -> Xml {
    xml.members("Tags", tags, |xml, (key, value)| xml.text("Key", key).text("Value", value))
}

/// The same, left out where it is empty, as descriptions leave it out.
pub(super) fn shown_if_any(xml: Xml, tags: &Tags) -> Xml {
    if tags.is_empty() { xml } else { shown(xml, tags) }
}

pub(super) async fn add<T: Tagged>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let (name, new) = (T::named(call, form)?, given(form)?);
    let request = Circumstances { request_tags: Some(&new), ..Circumstances::default() };
    call.authorize(&call.iam_arn(T::KIND, &name), request)?;
    change::<T>(call, &name, |tags| tags.extend(new.clone())).await
}

pub(super) async fn remove<T: Tagged>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = T::named(call, form)?;
    let keys: Tags = form.members("TagKeys").into_iter().map(|key| (key.to_owned(), String::new())).collect();
    let request = Circumstances { request_tags: Some(&keys), ..Circumstances::default() };
    call.authorize(&call.iam_arn(T::KIND, &name), request)?;
    change::<T>(call, &name, |tags| tags.retain(|key, _| !keys.contains_key(key))).await
}

async fn change<T: Tagged>(
    call: &Call<'_>,
    name: &str,
    change: impl Fn(&mut Tags) + Send + Sync,
) -> Result<Option<Xml>, ApiError> {
    let (store, account) = (&*call.api.components.store, call.caller.account);
    // The limits hold for the whole set that the transaction finds.
    let mut refused = Ok(());
    let changed = identities::change::<T>(store, account, name, |record| {
        let mut tags = record.tags().clone();
        change(&mut tags);
        refused = check(&tags);
        if refused.is_ok() {
            *record.tags_mut() = tags;
        }
        Ok::<(), IdentityError>(())
    });
    let (_, revision) = changed.await.map_err(|error| failed::<T>(error, name, ""))?;
    refused?;
    call.see_principals(revision).await;
    Ok(None)
}

pub(super) async fn list<T: Tagged>(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    let name = T::named(call, form)?;
    call.authorize(&call.iam_arn(T::KIND, &name), Circumstances::default())?;
    let found = existing::<T>(call, &name).await?;
    let page = paging::paged(found.tags(), |(key, _)| key, form)?;
    let xml =
        Xml::new().members("Tags", page.items, |xml, (key, value)| xml.text("Key", key).text("Value", value));
    Ok(Some(paging::end(xml, page.next.as_deref())))
}
