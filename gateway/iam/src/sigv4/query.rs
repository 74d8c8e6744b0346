//! The raw query of a URL, split and decoded once, and its canonical form.

use super::encoding::{decode, encode};

/// One decoded `name=value`; a name without `=` has an empty value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryParameter {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What a bare `+` in a query is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A plus: in tokens, whose signers escape spaces as `%20`.
    Literal,
    /// A space, as in forms: in HTTP requests, because SDKs sign the space and may send the plus.
    Space,
}

/// Splits the raw query at `&`. Empty parts (`a=1&&b=2`) carry nothing and are skipped, as signers skip them.
/// `None` if a part cannot be decoded.
pub(crate) fn parse_query(raw: &str, plus: Plus) -> Option<Vec<QueryParameter>> {
    let decoded = |text: &str| match plus {
        Plus::Literal => decode(text),
        Plus::Space => decode(&text.replace('+', " ")),
    };
    raw.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some(QueryParameter { name: decoded(name)?, value: decoded(value)? })
        })
        .collect()
}

/// Encoded, sorted by encoded name and then value, joined by `&`.
pub(crate) fn canonical_query<'q>(parameters: impl Iterator<Item = (&'q [u8], &'q [u8])>) -> String {
    let mut encoded: Vec<_> = parameters.map(|(name, value)| (encode(name), encode(value))).collect();
    encoded.sort_unstable();
    let mut out = String::new();
    for (name, value) in &encoded {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// The view that [`canonical_query`] takes.
pub(crate) fn as_pairs(parameters: &[QueryParameter]) -> impl Iterator<Item = (&[u8], &[u8])> {
    parameters.iter().map(|parameter| (&parameter.name[..], &parameter.value[..]))
}

/// Whether any name appears twice. A presigned query in which one does could mean two things.
pub(crate) fn has_repeated_name(parameters: &[QueryParameter]) -> bool {
    let mut names: Vec<_> = parameters.iter().map(|parameter| &parameter.name).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_query_is_sorted_after_encoding() {
        let parsed = parse_query("b=2&a=%2f&a=+&c&B=1", Plus::Literal).unwrap();
        assert_eq!(canonical_query(as_pairs(&parsed)), "B=1&a=%2B&a=%2F&b=2&c=");
    }

    #[test]
    fn a_bare_plus_is_a_plus_or_a_space() {
        let canonical = |plus| canonical_query(as_pairs(&parse_query("a=b+c%2Bd", plus).unwrap()));
        assert_eq!(canonical(Plus::Literal), "a=b%2Bc%2Bd");
        assert_eq!(canonical(Plus::Space), "a=b%20c%2Bd");
    }

    #[test]
    fn names_repeated_under_different_spelling_are_still_repeated() {
        assert!(has_repeated_name(&parse_query("a=1&%61=2", Plus::Space).unwrap()));
        assert!(!has_repeated_name(&parse_query("a=1&A=2", Plus::Space).unwrap()));
    }
}
