//! What to flush next: decisions only, no I/O (`storage/PROTOCOL.md` §6.1, §6.4).

use headgate_metadata::id::{WalId, WalPosition};

/// A stretch of a WAL for one flush object. Both positions lie between write groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) wal: WalId,
    pub(crate) start: WalPosition,
    pub(crate) end: WalPosition,
}

/// A WAL with something left to flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) wal: WalId,
    /// Everything below is flushed.
    pub(crate) flushed: WalPosition,
    /// Everything below may be flushed: the sealed end, or what is committed.
    pub(crate) end: WalPosition,
}

/// Why the own WAL would be flushed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urge {
    /// Only whole chunks.
    FullChunks,
    /// Everything committed: it is old, or somebody asked.
    Everything,
}

/// The next stretch of a WAL. `boundaries` are the starts of its chunks. One object holds about one chunk, so that its bytes
/// fit the memory budget; the end of a chunk is a valid cut as is any committed position.
pub(crate) fn next_stretch(left: Left, boundaries: &[WalPosition], urge: Urge) -> Option<Stretch> {
    if left.flushed >= left.end {
        return None;
    }
    let chunk_end =
        boundaries.iter().copied().find(|boundary| *boundary > left.flushed && *boundary <= left.end);
    let end = match (chunk_end, urge) {
        (Some(boundary), _) => boundary,
        (None, Urge::Everything) => left.end,
        (None, Urge::FullChunks) => return None,
    };
    Some(Stretch { wal: left.wal, start: left.flushed, end })
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::{Incarnation, NodeId};

    use super::*;

    fn wal(incarnation: u64) -> WalId {
        WalId { node: NodeId::new(1), incarnation: Incarnation::new(incarnation) }
    }

    fn left(incarnation: u64, flushed: u64, end: u64) -> Left {
        Left { wal: wal(incarnation), flushed: WalPosition::new(flushed), end: WalPosition::new(end) }
    }

    fn check(left: Left, boundaries: &[u64], urge: Urge, expected: Option<(u64, u64)>) {
        let boundaries: Vec<_> = boundaries.iter().copied().map(WalPosition::new).collect();
        let found = next_stretch(left, &boundaries, urge).map(|next| (next.start.get(), next.end.get()));
        assert_eq!(found, expected);
    }

    #[test]
    fn section_6_1_a_full_chunk_is_flushed_and_a_young_rest_is_not() {
        check(left(1, 0, 150), &[0, 100], Urge::FullChunks, Some((0, 100)));
        check(left(1, 100, 150), &[0, 100], Urge::FullChunks, None);
        check(left(1, 100, 150), &[100], Urge::Everything, Some((100, 150)));
    }

    #[test]
    fn section_6_1_only_committed_bytes_are_flushed() {
        check(left(1, 0, 90), &[0, 100], Urge::FullChunks, None);
        check(left(1, 0, 90), &[0, 100], Urge::Everything, Some((0, 90)));
        check(left(1, 90, 90), &[0, 100], Urge::Everything, None);
    }

    #[test]
    fn a_backlog_of_chunks_is_flushed_one_object_a_chunk() {
        check(left(1, 0, 1000), &[0, 300, 600], Urge::Everything, Some((0, 300)));
        check(left(1, 300, 1000), &[0, 300, 600], Urge::Everything, Some((300, 600)));
        check(left(1, 600, 1000), &[600], Urge::Everything, Some((600, 1000)));
    }
}
