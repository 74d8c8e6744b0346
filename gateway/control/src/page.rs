//! Pages of a list: what comes after a token, at most so many.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// One page of items, with the token of the next where there is one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// A token that was not issued here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidToken;

/// Takes a page out of `items`, which stand in the order of their names. A token says which name was last, so a page
/// continues rightly when items came or went meanwhile.
pub(crate) fn page<T>(
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    token: Option<&str>,
    limit: usize,
) -> Result<Page<T>, InvalidToken> {
    let after = token.map(open).transpose()?;
    let mut items: Vec<T> = items
        .into_iter()
        .filter(|item| after.as_deref().is_none_or(|after| name(item) > after))
        .take(limit + 1)
        .collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(name(last)));
    Ok(Page { items, next })
}

fn open(token: &str) -> Result<String, InvalidToken> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)?;
    String::from_utf8(bytes).map_err(|_| InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(token: Option<&str>, limit: usize) -> Page<&'static str> {
        page(["a", "b", "c"], |name| name, token, limit).expect("the token is ours")
    }

    #[test]
    fn pages_cover_the_list_once() {
        let first = names(None, 2);
        assert_eq!(first.items, ["a", "b"]);
        let second = names(first.next.as_deref(), 2);
        assert_eq!(second, Page { items: vec!["c"], next: None });
    }

    #[test]
    fn a_page_that_ends_with_the_list_has_no_next() {
        assert_eq!(names(None, 3).next, None);
    }

    #[test]
    fn a_token_of_another_kind_is_refused() {
        assert_eq!(page(["a"], |name| name, Some("***"), 1), Err(InvalidToken));
    }
}
