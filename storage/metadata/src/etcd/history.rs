//! How far etcd has come, as far as this process knows: one that stands below that is another history.
//!
//! Reads and commits are linearizable, so what is answered to a request is never below what was answered before it was sent.
//! Once it is, nothing is asked or believed any more: a compare of the old history could hold by chance in the new one. The
//! process must be started anew, which for a storage node means that it looks at what it remembers (`PROTOCOL.md` §6.6).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::{Failed, WentBack};
use super::proto::ResponseHeader;
use super::reading::revision_of;
use crate::id::Revision;

/// The revisions of the answers so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    highest: AtomicU64,
    went_back: OnceLock<WentBack>,
}

/// What had been answered when a request was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before(u64);

impl Seen {
    /// To be called before a request is sent.
    pub(super) fn before(&self) -> Result<Before, Failed> {
        match self.went_back.get() {
            Some(error) => Err(Failed::WentBack(*error)),
            None => Ok(Before(self.highest.load(Ordering::Acquire))),
        }
    }

    /// The revision of its answer.
    pub(super) fn answered(
        &self,
        before: Before,
        header: Option<&ResponseHeader>,
    ) -> Result<Revision, Failed> {
        let found = revision_of(header)?;
        if found.get() < before.0 {
            let error = WentBack { seen: before.0, found: found.get() };
            let error = self.went_back.get_or_init(|| {
                tracing::error!(%error, "metadata is not used any more");
                error
            });
            return Err(Failed::WentBack(*error));
        }
        self.highest.fetch_max(found.get(), Ordering::AcqRel);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(revision: i64) -> ResponseHeader {
        ResponseHeader { revision }
    }

    #[test]
    fn answers_that_overtake_each_other_are_no_other_history() {
        let seen = Seen::default();
        let (early, late) = (seen.before().expect("usable"), seen.before().expect("usable"));
        assert_eq!(seen.answered(late, Some(&header(9))).expect("newer").get(), 9);
        assert_eq!(seen.answered(early, Some(&header(7))).expect("sent before 9 was known").get(), 7);
        assert!(seen.before().is_ok());
    }

    #[test]
    fn an_answer_below_what_was_known_ends_it_for_ever() {
        let seen = Seen::default();
        let first = seen.before().expect("usable");
        seen.answered(first, Some(&header(9))).expect("newer");
        let next = seen.before().expect("usable");
        let back = seen.answered(next, Some(&header(8)));
        assert!(matches!(back, Err(Failed::WentBack(WentBack { seen: 9, found: 8 }))));
        assert!(matches!(seen.before(), Err(Failed::WentBack(_))));
    }
}
