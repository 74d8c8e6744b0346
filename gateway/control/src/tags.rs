//! Tags: what AWS lets them be.

use std::collections::BTreeMap;

/// Tags of one resource at most.
const TAGS_MAX: usize = 50;
/// The longest key, in characters.
const KEY_CHARACTERS_MAX: usize = 128;
/// The longest value, in characters.
const VALUE_CHARACTERS_MAX: usize = 256;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Checks a resource's whole set of tags; `Err` says in words what is wrong.
pub(crate) fn check(tags: &Tags) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("A resource can have at most {TAGS_MAX} tags."));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX {
            return Err(format!("A tag key must have 1 to {KEY_CHARACTERS_MAX} characters."));
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return Err(format!("A tag value can have at most {VALUE_CHARACTERS_MAX} characters."));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err("Tag keys starting with aws: are reserved.".to_owned());
        }
        if key.chars().chain(value.chars()).any(char::is_control) {
            return Err("Tags must not contain control characters.".to_owned());
        }
    }
    Ok(())
}

/// The form in which policies ask for tags.
pub(crate) fn pairs(tags: &Tags) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn tags_are_bounded_and_the_reserved_prefix_is_refused() {
        assert!(check(&tags(&[("team", "a"), ("empty", "")])).is_ok());
        assert!(check(&tags(&[("", "a")])).is_err());
        assert!(check(&tags(&[("AWS:x", "a")])).is_err());
        assert!(check(&tags(&[("k\n", "a")])).is_err());
        assert!(check(&tags(&[(&"k".repeat(129), "a")])).is_err());
        assert!(check(&tags(&[("k", &"v".repeat(257))])).is_err());
        let many: Tags = (0..51).map(|index| (index.to_string(), String::new())).collect();
        assert!(check(&many).is_err());
    }
}
