//! ListGroupsForUser and ListAttachedUserPolicies: there are neither groups nor managed policies, so the lists are empty.
//! Tools ask for them before they delete a user.

use super::names::{USER_NAME_MAX, checked};
use super::{existing, paging, required};
use crate::call::{Call, TagContext};
use crate::error::ApiError;
use crate::percent::Parameters;
use crate::xml::Xml;

pub(super) async fn groups(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    empty(call, form, "Groups").await
}

pub(super) async fn attached_policies(call: &Call<'_>, form: &Parameters) -> Result<Option<Xml>, ApiError> {
    empty(call, form, "AttachedPolicies").await
}

async fn empty(call: &Call<'_>, form: &Parameters, list: &str) -> Result<Option<Xml>, ApiError> {
    let user = checked(required(form, "UserName")?, "userName", USER_NAME_MAX)?;
    call.authorize(&call.user_arn(&user), TagContext::default())?;
    existing(call, &user).await?;
    let xml = Xml::new().element(list, |element| element);
    Ok(Some(paging::end(xml, None)))
}
