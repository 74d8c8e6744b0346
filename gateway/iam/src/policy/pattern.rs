//! Compiled patterns: literals, the wildcards `*` and `?`, and policy variables `${…}`.
//!
//! `*` matches any run of characters, slashes and colons included, `?` exactly one character. A variable stands for
//! its value taken literally: a `*` inside it is a star. Matching is linear in practice and at worst
//! O(pattern × text); only patterns with variables allocate.

use std::borrow::Cow;

use super::condition_key::ConditionKey;
use super::context::Reading;

/// How a pattern compares letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Sensitive,
    /// ASCII letters are equal in either case.
    Insensitive,
}

/// What has a meaning of its own in a pattern's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) wildcards: bool,
    pub(crate) variables: bool,
}

/// Outcome of a match: a variable that has no value matches nothing, and its caller must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Yes,
    No,
    /// A variable has no value in this request.
    Unresolved,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    shape: Shape,
    case: Case,
}

/// The common shapes have their own short cuts.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Glob(Box<[Segment]>),
    /// As `Glob`, with at least one variable.
    Template(Box<[Segment]>),
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(Box<str>),
    One,
    Many,
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Clone, Debug, PartialEq)]
struct Variable {
    key: ConditionKey,
    default: Option<Box<str>>,
}

impl Pattern {
    /// Compiles `text`; `None` if a variable is malformed.
    pub(crate) fn compile(text: &str, syntax: Syntax, case: Case) -> Option<Self> {
        let segments = parse_segments(text, syntax)?;
        let shape = match &segments[..] {
            [] => Shape::Exact("".into()),
            [Segment::Many] => Shape::Any,
            [Segment::Literal(literal)] => Shape::Exact(literal.clone()),
            [Segment::Literal(literal), Segment::Many] => Shape::Prefix(literal.clone()),
            segments if segments.iter().any(|segment| matches!(segment, Segment::Variable(_))) => {
                Shape::Template(segments.into())
            }
            segments => Shape::Glob(segments.into()),
        };
        Some(Self { shape, case })
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &str, reading: &Reading<'_>) -> Match {
        let matched = match &self.shape {
            Shape::Any => true,
            Shape::Exact(literal) => {
                literal.len() == text.len() && starts_with(text.as_bytes(), literal, self.case)
            }
            Shape::Prefix(literal) => starts_with(text.as_bytes(), literal, self.case),
            Shape::Glob(segments) => glob(segments, text, self.case),
            Shape::Template(segments) => match resolve(segments, reading) {
                Some(resolved) => glob(&resolved, text, self.case),
                None => return Match::Unresolved,
            },
        };
        if matched { Match::Yes } else { Match::No }
    }

    /// Whether any text could match that is `prefix` and then only characters that are `legal`. A variable counts as
    /// `*`: it could be anything.
    pub(crate) fn could_match_under(&self, prefix: &str, legal: fn(char) -> bool) -> bool {
        let atoms = self.atoms();
        // The positions in the pattern that are reachable after the characters read so far.
        let mut live = vec![false; atoms.len() + 1];
        live[0] = true;
        close(&mut live, &atoms);
        for character in prefix.chars() {
            let mut next = vec![false; atoms.len() + 1];
            for (index, atom) in atoms.iter().enumerate().filter(|(index, _)| live[*index]) {
                match atom {
                    Atom::Many => next[index] = true,
                    Atom::One => next[index + 1] = true,
                    Atom::Character(expected) => next[index + 1] |= self.same(*expected, character),
                }
            }
            close(&mut next, &atoms);
            live = next;
        }
        // What remains of the pattern from some live position must be satisfiable by legal characters.
        let satisfiable_from =
            atoms.iter().rposition(|atom| matches!(atom, Atom::Character(c) if !legal(*c)));
        live[satisfiable_from.map_or(0, |index| index + 1)..].contains(&true)
    }

    /// Whether every text that begins with `prefix` matches, as far as can be told without looking at the rest of
    /// the text: the pattern ends in `*` and matches the prefix itself.
    pub(crate) fn covers_all_under(&self, prefix: &str) -> bool {
        match &self.shape {
            Shape::Any => true,
            Shape::Prefix(literal) => starts_with(prefix.as_bytes(), literal, self.case),
            Shape::Glob(segments) => {
                segments.last() == Some(&Segment::Many) && glob(segments, prefix, self.case)
            }
            Shape::Exact(_) | Shape::Template(_) => false,
        }
    }

    fn same(&self, left: char, right: char) -> bool {
        left == right || (self.case == Case::Insensitive && left.eq_ignore_ascii_case(&right))
    }

    fn atoms(&self) -> Vec<Atom> {
        let literal = |text: &str| text.chars().map(Atom::Character).collect::<Vec<_>>();
        match &self.shape {
            Shape::Any => vec![Atom::Many],
            Shape::Exact(text) => literal(text),
            Shape::Prefix(text) => [literal(text), vec![Atom::Many]].concat(),
            Shape::Glob(segments) | Shape::Template(segments) => segments
                .iter()
                .flat_map(|segment| match segment {
                    Segment::Literal(text) => literal(text),
                    Segment::One => vec![Atom::One],
                    Segment::Many | Segment::Variable(_) => vec![Atom::Many],
                })
                .collect(),
        }
    }
}

#[derive(Clone, Copy)]
enum Atom {
    Character(char),
    One,
    Many,
}

/// A `*` may match nothing: the position behind it is reachable with it.
fn close(live: &mut [bool], atoms: &[Atom]) {
    for (index, atom) in atoms.iter().enumerate() {
        if live[index] && matches!(atom, Atom::Many) {
            live[index + 1] = true;
        }
    }
}

fn parse_segments(text: &str, syntax: Syntax) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let special = match character {
            '*' if syntax.wildcards => Some((Segment::Many, 1)),
            '?' if syntax.wildcards => Some((Segment::One, 1)),
            '$' if syntax.variables && rest.starts_with("${") => {
                let length = rest.find('}')? + 1;
                match &rest[2..length - 1] {
                    escaped @ ("*" | "?" | "$") => {
                        literal.push_str(escaped);
                        rest = &rest[length..];
                        continue;
                    }
                    inner => Some((Segment::Variable(parse_variable(inner)?), length)),
                }
            }
            _ => None,
        };
        let Some((segment, length)) = special else {
            literal.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        };
        if !literal.is_empty() {
            segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
        }
        // Two stars are one star.
        if segment != Segment::Many || segments.last() != Some(&Segment::Many) {
            segments.push(segment);
        }
        rest = &rest[length..];
    }
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal.into()));
    }
    Some(segments)
}

fn parse_variable(inner: &str) -> Option<Variable> {
    let (key, default) = match inner.split_once(',') {
        None => (inner, None),
        Some((key, default)) => {
            let quoted = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key, Some(quoted.into()))
        }
    };
    let key = key.trim();
    (!key.is_empty()).then(|| Variable { key: ConditionKey::parse(key), default })
}

fn resolve(segments: &[Segment], reading: &Reading<'_>) -> Option<Vec<Segment>> {
    let resolved = |segment: &Segment| match segment {
        Segment::Variable(variable) => {
            let value =
                reading.single_text(&variable.key).or(variable.default.as_deref().map(Cow::Borrowed))?;
            Some(Segment::Literal(value.into()))
        }
        other => Some(other.clone()),
    };
    segments.iter().map(resolved).collect()
}

/// Matches with one point of return: the last `*`. That suffices, because a later star can absorb whatever an
/// earlier one could.
fn glob(segments: &[Segment], text: &str, case: Case) -> bool {
    let bytes = text.as_bytes();
    let (mut index, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let advanced = match segments.get(index) {
            None if position == bytes.len() => return true,
            Some(Segment::Many) if index + 1 == segments.len() => return true,
            Some(Segment::Many) => {
                star = Some((index + 1, position));
                Some(position)
            }
            Some(Segment::One) => character_end(bytes, position),
            Some(Segment::Literal(literal)) => {
                starts_with(&bytes[position..], literal, case).then(|| position + literal.len())
            }
            // Variables are literals by now.
            None | Some(Segment::Variable(_)) => None,
        };
        if let Some(end) = advanced {
            (index, position) = (index + 1, end);
            continue;
        }
        // Let the star take one character more.
        let Some((behind_star, from)) = star else { return false };
        let Some(end) = character_end(bytes, from) else { return false };
        star = Some((behind_star, end));
        (index, position) = (behind_star, end);
    }
}

/// The end of the character at `position`, which is a character boundary; `None` at the end of the text.
fn character_end(bytes: &[u8], position: usize) -> Option<usize> {
    let length = match bytes.get(position)? {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    Some(position + length)
}

fn starts_with(bytes: &[u8], literal: &str, case: Case) -> bool {
    let Some(head) = bytes.get(..literal.len()) else { return false };
    match case {
        Case::Sensitive => head == literal.as_bytes(),
        Case::Insensitive => head.eq_ignore_ascii_case(literal.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::tests::with_context;
    use super::*;

    const GLOB: Syntax = Syntax { wildcards: true, variables: true };

    fn check(pattern: &str, text: &str, expected: Match) {
        let compiled = Pattern::compile(pattern, GLOB, Case::Sensitive).unwrap();
        with_context(|reading| assert_eq!(compiled.matches(text, reading), expected, "{pattern} on {text}"));
    }

    /// The textbook definition, exponential and obviously right.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some('?'), Some(_)) => naive(&pattern[1..], &text[1..]),
            (Some(p), Some(t)) if p == t => naive(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_textbook_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            let expected = if naive(&p, &t) { Match::Yes } else { Match::No };
            check(&pattern, &text, expected);
        }

        #[test]
        fn a_pattern_that_matches_an_extension_could_match_under_the_prefix(
            pattern in "[ab*?]{0,8}", prefix in "[ab]{0,4}", rest in "[ab]{0,4}",
        ) {
            let text: Vec<char> = format!("{prefix}{rest}").chars().collect();
            let compiled = Pattern::compile(&pattern, GLOB, Case::Sensitive).unwrap();
            let matches = naive(&pattern.chars().collect::<Vec<_>>(), &text);
            if matches {
                prop_assert!(compiled.could_match_under(&prefix, |character| "ab".contains(character)));
            }
            if compiled.covers_all_under(&prefix) {
                prop_assert!(matches);
            }
        }

        #[test]
        fn compiling_any_text_never_panics(text in ".{0,64}", star in any::<bool>()) {
            let _ = Pattern::compile(&text, Syntax { wildcards: star, variables: true }, Case::Insensitive);
        }
    }

    #[test]
    fn variables_stand_for_their_value_taken_literally() {
        check("home/${aws:username}/*", "home/alice/x", Match::Yes);
        check("home/${aws:username}/*", "home/bob/x", Match::No);
        check("${aws:PrincipalTag/star}", "*", Match::Yes);
        check("${aws:PrincipalTag/star}", "anything", Match::No);
        check("a${*}b${?}c${$}", "a*b?c$", Match::Yes);
        check("a${*}b", "axxb", Match::No);
    }

    #[test]
    fn a_variable_without_a_value_is_unresolved_unless_it_has_a_default() {
        check("${aws:PrincipalTag/none}", "x", Match::Unresolved);
        check("${aws:PrincipalTag/none, 'x'}", "x", Match::Yes);
        check("${aws:PrincipalTag/none, ''}", "", Match::Yes);
    }

    #[test]
    fn malformed_variables_do_not_compile() {
        for text in ["${", "${}", "${ }", "a${aws:username", "${aws:username, x}", "${aws:username,'x}"] {
            assert_eq!(Pattern::compile(text, GLOB, Case::Sensitive), None, "{text}");
        }
        let old = Syntax { wildcards: true, variables: false };
        assert!(Pattern::compile("${", old, Case::Sensitive).is_some());
    }

    #[test]
    fn a_hostile_pattern_stays_polynomial() {
        check(&format!("{}b", "*a".repeat(200)), &"a".repeat(10_000), Match::No);
    }
}
