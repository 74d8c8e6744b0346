//! `Marker` and `MaxItems` of the list calls.

use crate::error::ApiError;
use crate::page::{Page, page};
use crate::percent::Parameters;
use crate::xml::Xml;

/// Items on one page at most.
const ITEMS_MAX: usize = 1_000;
/// Items on one page where the caller does not say.
const ITEMS_DEFAULT: usize = 100;

/// The page that was asked for.
pub(super) fn paged<T>(
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    form: &Parameters,
) -> Result<Page<T>, ApiError> {
    let limit = match form.get("MaxItems") {
        None => ITEMS_DEFAULT,
        Some(text) => text.parse().ok().filter(|items| (1..=ITEMS_MAX).contains(items)).ok_or_else(|| {
            ApiError::parameter("maxItems", format!("The value for maxItems must be from 1 to {ITEMS_MAX}."))
        })?,
    };
    page(items, name, form.get("Marker"), limit)
        .map_err(|_| ApiError::parameter("marker", "The value for marker is invalid."))
}

/// Everything has the path `/`, so any longer prefix matches none.
pub(super) fn under_path<T>(items: Vec<T>, form: &Parameters) -> Vec<T> {
    if form.get("PathPrefix").is_none_or(|prefix| prefix == "/") { items } else { Vec::new() }
}

/// Says whether there is more, and how to go on.
pub(super) fn end(xml: Xml, next: Option<&str>) -> Xml {
    xml.text("IsTruncated", if next.is_some() { "true" } else { "false" }).text_if("Marker", next)
}
