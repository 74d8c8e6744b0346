//! A cell's part of etcd's keys: everything stands below `/headgate/<cell>/`, so that one etcd can hold several cells.

use bytes::Bytes;

use super::proto::{KeyValue, RangeRequest};
use crate::id::Revision;
use crate::store::{Entry, MetadataError};

/// Where a cell's keys begin.
#[derive(Debug, Clone)]
pub(super) struct Keyspace {
    root: String,
}

impl Keyspace {
    /// The keys of the cell with this name, which is one path segment.
    pub(super) fn of(cell: &str) -> Result<Self, String> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if cell.is_empty() || !cell.chars().all(fits) {
            return Err(format!("cell name `{cell}`: use letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self { root: format!("/headgate/{cell}/") })
    }

    /// A key as etcd knows it.
    pub(super) fn key(&self, key: &str) -> Bytes {
        Bytes::from([self.root.as_str(), key].concat())
    }

    /// All keys that start with `prefix` and are greater than `after`.
    pub(super) fn range(&self, prefix: &str, after: &str) -> RangeRequest {
        let key =
            if after.is_empty() || after < prefix { self.key(prefix) } else { behind(&self.key(after)) };
        RangeRequest { key, range_end: self.end(prefix), ..RangeRequest::default() }
    }

    /// The first key behind all that start with `prefix`. UTF-8 has no byte 0xff, and the root is never empty.
    pub(super) fn end(&self, prefix: &str) -> Bytes {
        let mut end = self.key(prefix).to_vec();
        let last = end.last_mut().expect("the root is not empty");
        *last += 1;
        Bytes::from(end)
    }

    /// A key of etcd as the rest of the system knows it.
    pub(super) fn strip(&self, key: &[u8]) -> Result<String, MetadataError> {
        let foreign = || {
            let reason = format!("etcd key `{}` is no key of this cell", String::from_utf8_lossy(key));
            MetadataError::Invalid { reason }
        };
        let inner = key.strip_prefix(self.root.as_bytes()).ok_or_else(foreign)?;
        String::from_utf8(inner.to_vec()).map_err(|_| foreign())
    }

    /// A key with its value.
    pub(super) fn entry(&self, kv: KeyValue) -> Result<Entry, MetadataError> {
        let modified = Revision::new(kv.mod_revision as u64);
        Ok(Entry { key: self.strip(&kv.key)?, value: kv.value, modified })
    }
}

/// The first key behind this one.
pub(super) fn behind(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_up_to_its_last_byte_plus_one() {
        let keys = Keyspace::of("main").expect("valid");
        let range = keys.range("slot/", "");
        assert_eq!(
            (&range.key[..], &range.range_end[..]),
            (&b"/headgate/main/slot/"[..], &b"/headgate/main/slot0"[..])
        );
        let all = keys.range("", "");
        assert_eq!((&all.key[..], &all.range_end[..]), (&b"/headgate/main/"[..], &b"/headgate/main0"[..]));
    }

    #[test]
    fn a_page_begins_right_behind_its_last_key() {
        let keys = Keyspace::of("main").expect("valid");
        assert_eq!(&keys.range("slot/", "slot/7").key[..], b"/headgate/main/slot/7\0");
    }

    #[test]
    fn a_cell_never_sees_the_keys_of_another() {
        let keys = Keyspace::of("a").expect("valid");
        assert!(keys.strip(b"/headgate/ab/slot/1").is_err());
        assert_eq!(keys.strip(b"/headgate/a/slot/1").expect("its own"), "slot/1");
        for wrong in ["", "a/b", "ü"] {
            assert!(Keyspace::of(wrong).is_err(), "{wrong}");
        }
    }
}
