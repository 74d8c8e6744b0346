//! Write groups on their way to the mirrors: kept from the write until they are committed, so that live streams need no disk.
//!
//! A stream that has fallen behind what is kept reads the owner's own files instead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use headgate_log::wal::{CopiedGroup, WrittenGroup};
use headgate_metadata::id::WalPosition;

use crate::bell::Bell;

/// The outbox of one WAL.
#[derive(Debug)]
pub(crate) struct Outbox {
    kept: Mutex<VecDeque<CopiedGroup>>,
    /// Whether anybody streams: without mirrors nothing is kept.
    wanted: AtomicBool,
    written: Bell<WalPosition>,
}

/// What comes next on a stream.
#[derive(Debug)]
pub(crate) enum Next {
    /// This group.
    Group(CopiedGroup),
    /// Groups that are not kept any more: read them from the files, up to this position.
    Older(WalPosition),
    /// Nothing yet.
    Nothing,
}

impl Outbox {
    pub(crate) fn new(position: WalPosition) -> Self {
        Self { kept: Mutex::default(), wanted: AtomicBool::new(false), written: Bell::new(position) }
    }

    /// From now on groups are kept.
    pub(crate) fn open(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// A group was written.
    pub(crate) fn wrote(&self, group: &WrittenGroup) {
        if self.wanted.load(Ordering::Acquire) {
            self.kept().push_back(group.copied());
        }
        self.written.set(group.end);
    }

    /// Everything below is committed: every member has it.
    pub(crate) fn committed(&self, position: WalPosition) {
        let mut kept = self.kept();
        while kept.front().is_some_and(|group| group.end <= position) {
            kept.pop_front();
        }
    }

    /// The end of what is written.
    pub(crate) fn written(&self) -> WalPosition {
        self.written.get()
    }

    /// Rings at every write.
    pub(crate) fn writes(&self) -> &Bell<WalPosition> {
        &self.written
    }

    /// What a stream that stands at `position` sends next.
    pub(crate) fn next(&self, position: WalPosition) -> Next {
        let kept = self.kept();
        let written = self.written();
        if position >= written {
            return Next::Nothing;
        }
        match kept.front() {
            Some(first) if first.position <= position => {
                let at = kept.partition_point(|group| group.end <= position);
                kept.get(at).map_or(Next::Older(written), |group| Next::Group(group.clone()))
            }
            Some(first) => Next::Older(first.position),
            None => Next::Older(written),
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<CopiedGroup>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
