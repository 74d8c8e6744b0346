//! Gray relief (`storage/PROTOCOL.md` §10): an owner that its mirrors hear, and that says of itself that it does none of its work. Its
//! own disk hangs, or it cannot leave a dead mirror behind. A mirror seals its WAL, as if it were lost.
//!
//! Sealing is safe at any time; what this bounds is the harm of a wrong guess. One relief in a cell in five minutes; none while
//! most of the owners that this node mirrors stand still, which then is not their own fault; and none in the first second
//! after the metadata store was away, in which an owner may still help itself. Load alone stops nobody for that long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::WalId;
use headgate_metadata::keys;
use headgate_metadata::record::{Record, ReliefRecord, WalRecord, WalState};
use headgate_metadata::store::{
    Compare, Entry, MetadataError, Outcome, Select, SharedStore, Transaction, Write,
};
use tracing::{debug, warn};

use crate::clock::SharedClock;
use crate::mirrors::Mirrors;

/// How long an owner stands still until it is relieved. Below it a silent mirror is replaced (`ensemble.rs`).
const STUCK: Duration = Duration::from_secs(3);
/// For how long the metadata store must have answered.
const STORE_WELL: Duration = Duration::from_secs(1);
/// The least time between two reliefs of a cell, in ms.
const APART_MS: u64 = 5 * 60 * 1000;

/// Looks after the owners whose logs this process mirrors.
pub(crate) struct Relief {
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) store: SharedStore,
    pub(crate) clock: SharedClock,
    /// Since when the metadata store has answered about an owner that stands still.
    pub(crate) well: BTreeMap<WalId, Duration>,
}

impl Relief {
    /// Begins to seal the WAL of an owner that stands still, if there is one and it may be done now; the caller goes on with it.
    pub(crate) async fn relieve(&mut self) -> Option<WalId> {
        let stuck = self.mirrors.stuck(STUCK);
        self.well.retain(|wal, _| stuck.contains(wal));
        for wal in stuck {
            match self.relieve_owner_of(wal).await {
                Ok(true) => return Some(wal),
                Ok(false) => {}
                Err(error) => {
                    debug!(%wal, %error, "owner not relieved yet");
                    self.well.remove(&wal);
                }
            }
        }
        None
    }

    async fn relieve_owner_of(&mut self, wal: WalId) -> Result<bool, MetadataError> {
        let (key, relief) = (keys::wal(wal), keys::RELIEF.to_owned());
        let read = self.store.read(&[Select::Key(key.clone()), Select::Key(relief.clone())]).await?;
        let found = |index: usize| read.results.get(index).and_then(|entries| entries.first());
        let now = self.clock.monotonic();
        if now.saturating_sub(*self.well.entry(wal).or_insert(now)) < STORE_WELL {
            return Ok(false);
        }
        let Some(entry) = found(0) else { return Ok(false) };
        let record = WalRecord::decode(&entry.value)?;
        // Of one that is no member any more nobody waits for its copy.
        let is_member = record.has_member(self.mirrors.me());
        if record.state != WalState::Open || !is_member || !self.is_time(found(1))? {
            return Ok(false);
        }
        let unchanged = match found(1) {
            Some(last) => Compare::Unchanged(relief.clone(), last.modified),
            None => Compare::Absent(relief.clone()),
        };
        let by = self.mirrors.me().0;
        let transaction = Transaction::new()
            .when(Compare::Unchanged(key.clone(), entry.modified))
            .when(unchanged)
            .then(Write::Put(key, WalRecord { state: WalState::Sealing, ..record }.encode()))
            .then(Write::Put(relief, ReliefRecord { wal, by, at: self.clock.wall() }.encode()));
        let done = matches!(self.store.commit(transaction).await?, Outcome::Committed(_));
        if done {
            warn!(%wal, %by, "owner stands still, its disk may hang: it is relieved, and its WAL sealed");
        }
        Ok(done)
    }

    fn is_time(&self, last: Option<&Entry>) -> Result<bool, MetadataError> {
        let Some(last) = last else { return Ok(true) };
        let at = ReliefRecord::decode(&last.value)?.at.get();
        // One from the future was written by a clock that is wrong: it must not forbid reliefs until then.
        Ok(self.clock.wall().get().abs_diff(at) >= APART_MS)
    }
}

#[cfg(test)]
mod tests;
