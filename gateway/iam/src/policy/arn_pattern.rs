//! Patterns for ARNs: the six fields are compared one by one.
//!
//! A `*` spans slashes but no colon before the resource field. Otherwise an Allow on `arn:aws:kafka:*:*:group/a/*`
//! would reach a group of cluster `b` that somebody named `x:group/a/y`. A pattern with fewer fields, such as `*` or
//! `arn:aws:kafka:*`, is compared with the whole ARN.

use super::context::Reading;
use super::pattern::{Case, Match, Pattern, Syntax};

/// A resource's name, split once for all patterns it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceName<'a> {
    text: &'a str,
    /// `None` if the text is no ARN.
    fields: Option<[&'a str; 6]>,
}

impl<'a> ResourceName<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, fields: crate::arn::fields(text) }
    }

    pub(crate) fn is_arn(&self) -> bool {
        self.fields.is_some()
    }

    /// The account in the ARN; `None` if there is none.
    pub(crate) fn owner(&self) -> Option<&'a str> {
        self.fields.map(|fields| fields[4]).filter(|account| !account.is_empty())
    }
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ArnPattern {
    Whole(Pattern),
    Fields(Box<[Pattern; 6]>),
}

impl ArnPattern {
    /// `None` if a variable is malformed.
    pub(crate) fn compile(text: &str, variables: bool) -> Option<Self> {
        let compile =
            |part: &str| Pattern::compile(part, Syntax { wildcards: true, variables }, Case::Sensitive);
        let Ok(fields) = <[&str; 6]>::try_from(split_fields(text, variables)) else {
            return compile(text).map(Self::Whole);
        };
        let patterns = fields.into_iter().map(compile).collect::<Option<Vec<_>>>()?;
        <[Pattern; 6]>::try_from(patterns).ok().map(|patterns| Self::Fields(Box::new(patterns)))
    }

    /// Whether the pattern matches the name.
    pub(crate) fn matches(&self, name: &ResourceName<'_>, reading: &Reading<'_>) -> Match {
        match (self, name.fields) {
            (Self::Whole(pattern), _) => pattern.matches(name.text, reading),
            (Self::Fields(patterns), Some(fields)) => match_all(patterns.iter().zip(fields), reading),
            (Self::Fields(_), None) => Match::No,
        }
    }

    /// Whether any name could match that is `prefix` and then only characters that are `legal`. The prefix must
    /// reach into the resource field. Variables in that field count as `*`.
    pub(crate) fn could_match_under(
        &self,
        prefix: &ResourceName<'_>,
        legal: fn(char) -> bool,
        reading: &Reading<'_>,
    ) -> bool {
        match (self, prefix.fields) {
            (Self::Whole(pattern), _) => pattern.could_match_under(prefix.text, legal),
            (Self::Fields(patterns), Some(fields)) => {
                match_all(patterns[..5].iter().zip(fields), reading) != Match::No
                    && patterns[5].could_match_under(fields[5], legal)
            }
            (Self::Fields(_), None) => true,
        }
    }

    /// Whether the pattern plainly matches every name that begins with `prefix`.
    pub(crate) fn covers_all_under(&self, prefix: &ResourceName<'_>, reading: &Reading<'_>) -> bool {
        match (self, prefix.fields) {
            (Self::Whole(pattern), _) => pattern.covers_all_under(prefix.text),
            (Self::Fields(patterns), Some(fields)) => {
                match_all(patterns[..5].iter().zip(fields), reading) == Match::Yes
                    && patterns[5].covers_all_under(fields[5])
            }
            (Self::Fields(_), None) => false,
        }
    }
}

/// No if any field does not match, else Unresolved if any has a variable without a value.
fn match_all<'p>(pairs: impl Iterator<Item = (&'p Pattern, &'p str)>, reading: &Reading<'_>) -> Match {
    let mut outcome = Match::Yes;
    for (pattern, field) in pairs {
        match pattern.matches(field, reading) {
            Match::Yes => {}
            Match::No => return Match::No,
            Match::Unresolved => outcome = Match::Unresolved,
        }
    }
    outcome
}

/// Splits at the first five colons that are not inside a variable.
fn split_fields(text: &str, variables: bool) -> Vec<&str> {
    let mut fields = Vec::with_capacity(6);
    let (mut start, mut inside) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if variables && text.as_bytes()[..index].ends_with(b"$") => inside = true,
            b'}' => inside = false,
            b':' if !inside && fields.len() < 5 => {
                fields.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[start..]);
    fields
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::with_context;
    use super::*;

    fn check(pattern: &str, name: &str, expected: Match) {
        let compiled = ArnPattern::compile(pattern, true).unwrap();
        with_context(|reading| {
            assert_eq!(compiled.matches(&ResourceName::new(name), reading), expected, "{pattern} on {name}");
        });
    }

    #[test]
    fn a_star_spans_slashes_but_no_colon_before_the_resource() {
        check("arn:aws:kafka:*:*:group/a/*", "arn:aws:kafka:r:1:group/a/u/g", Match::Yes);
        check("arn:aws:kafka:*:*:group/a/*", "arn:aws:kafka:r:1:group/b/u/x:group/a/y", Match::No);
        check("arn:aws:kafka:r:1:group/*", "arn:aws:kafka:r:1:group/b/u/x:y", Match::Yes);
        check("arn:aws:kafka:*", "arn:aws:kafka:r:1:group/b/u/x", Match::Yes);
        check("*", "not an arn", Match::Yes);
        check("arn:*:*:*:*:*", "not an arn", Match::No);
    }

    #[test]
    fn colons_inside_variables_do_not_split() {
        check("arn:aws:kafka:r:1:topic/${aws:username}/x", "arn:aws:kafka:r:1:topic/alice/x", Match::Yes);
        check(
            "arn:aws:kafka:${aws:PrincipalTag/none}:1:topic/x",
            "arn:aws:kafka:r:1:topic/x",
            Match::Unresolved,
        );
        check("arn:aws:kafka:${aws:PrincipalTag/none}:1:topic/x", "arn:aws:kafka:r:1:topic/y", Match::No);
    }

    #[test]
    fn patterns_reach_under_a_prefix_or_do_not() {
        let prefix = ResourceName::new("arn:aws:kafka:r:1:topic/demo/u/");
        for (pattern, could, covers) in [
            ("*", true, true),
            ("arn:aws:kafka:*", true, true),
            ("arn:aws:kafka:r:1:topic/demo/u/orders", true, false),
            ("arn:aws:kafka:r:1:topic/demo/u/*", true, true),
            ("arn:aws:kafka:r:1:topic/demo/u*", true, true),
            ("arn:aws:kafka:r:1:topic/*/secret", true, false),
            ("arn:aws:kafka:*:?:topic/${aws:username}/u/x", true, false),
            ("arn:aws:kafka:*:*:topic/other/*", false, false),
            ("arn:aws:kafka:r:2:topic/demo/*", false, false),
            ("arn:aws:kafka:r:1:group/demo/u/*", false, false),
            ("arn:aws:kafka:r:1:topic/demo/u", false, false),
            ("arn:aws:kafka:r:1:topic/demo/u/a/b", false, false),
        ] {
            let compiled = ArnPattern::compile(pattern, true).unwrap();
            let legal = |character: char| character.is_ascii_alphanumeric();
            with_context(|reading| {
                assert_eq!(compiled.could_match_under(&prefix, legal, reading), could, "{pattern}");
                assert_eq!(compiled.covers_all_under(&prefix, reading), covers, "{pattern}");
            });
        }
    }
}
