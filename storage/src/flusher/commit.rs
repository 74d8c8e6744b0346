//! The commit of a flush object, and the deletion of the chunks it covers (`storage/PROTOCOL.md` §6.1, §6.5).

use std::sync::Arc;

use headgate_log::object::ObjectName;
use headgate_log::wal::{list_chunks, remove_chunks_below};
use headgate_metadata::id::{WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{ChainRecord, FlushedRecord, Record};
use headgate_metadata::store::{Compare, MetadataError, Outcome, Select, Transaction, Write};
use tracing::warn;

use super::{FlushFault, Flusher};
use crate::flush_plan::Stretch;
use crate::planted::{Bug, is_planted};
use crate::spawn;

/// How often an unknown outcome is asked after before the flush is given up for now.
const ATTEMPTS_MAX: usize = 5;

impl Flusher {
    /// Commits the object for the stretch. Returns the object that counts from its start, and where that ends: this one, or
    /// another writer's, which then holds the same bytes; this one is garbage then.
    pub(super) async fn commit_flush(
        &self,
        stretch: Stretch,
        object: &ObjectName,
    ) -> Result<(ObjectName, WalPosition), FlushFault> {
        let Stretch { wal, start, end } = stretch;
        let (flushed_key, chain_key) = (keys::flushed(wal), keys::chain(wal, start));
        let before = if start == WalPosition::new(0) {
            Compare::Absent(flushed_key.clone())
        } else {
            Compare::Value(flushed_key.clone(), FlushedRecord { position: start }.encode())
        };
        let chain = ChainRecord { end, object: object.to_string() };
        let unchecked = Compare::Present(keys::wal(wal));
        let transaction = Transaction::new()
            .when(if is_planted(Bug::FlushWithoutStart) { unchecked } else { before })
            // A retired WAL has no keys any more; nothing may be chained to it again.
            .when(Compare::Present(keys::wal(wal)))
            .then(Write::Put(flushed_key, FlushedRecord { position: end }.encode()))
            .then(Write::Put(chain_key, chain.encode()));
        for _ in 0..ATTEMPTS_MAX {
            match self.store.commit(transaction.clone()).await {
                Ok(Outcome::Committed(_)) => return Ok((object.clone(), end)),
                Ok(Outcome::Refused(_)) if is_planted(Bug::ForeignFlushTakenForOwn) => {
                    return Ok((object.clone(), end));
                }
                Ok(Outcome::Refused(_)) => {}
                // The reply is lost: the transaction may have been committed. Its keys say so.
                Err(MetadataError::OutcomeUnknown { reason }) => {
                    warn!(reason, "outcome of a flush commit unknown");
                }
                Err(error) => return Err(error.into()),
            }
            if let Some(counting) = self.chain_at(wal, start).await? {
                return Ok(counting);
            }
        }
        Err(MetadataError::OutcomeUnknown { reason: format!("flush of {wal} from {start}") }.into())
    }

    /// The object that counts from `start` on; `None` when the WAL is not flushed beyond it.
    async fn chain_at(
        &self,
        wal: WalId,
        start: WalPosition,
    ) -> Result<Option<(ObjectName, WalPosition)>, FlushFault> {
        let selects = [Select::Key(keys::chain(wal, start)), Select::Key(keys::flushed(wal))];
        let snapshot = self.store.read(&selects).await?;
        let flushed = match snapshot.results[1].first() {
            Some(entry) => FlushedRecord::decode(&entry.value)?.position,
            None => WalPosition::new(0),
        };
        match snapshot.results[0].first() {
            Some(entry) => {
                let record = ChainRecord::decode(&entry.value)?;
                let object = ObjectName::parse(&record.object)
                    .map_err(|error| MetadataError::Invalid { reason: error.to_string() })?;
                Ok(Some((object, record.end)))
            }
            None if flushed > start => Err(FlushFault::ChainBroken { wal, start, flushed }),
            None => Ok(None),
        }
    }

    /// Deletes the chunks that lie below what the metadata store says is flushed. Never because a key is absent.
    pub(super) async fn trim_chunks(&self, wal: WalId) -> Result<(), FlushFault> {
        let snapshot = self.store.read(&[Select::Key(keys::flushed(wal))]).await?;
        let Some(entry) = snapshot.results[0].first() else { return Ok(()) };
        let flushed = FlushedRecord::decode(&entry.value)?.position;
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let listed = spawn::blocking(move || list_chunks(&*disk, &dir, wal)).await;
        let chunks = listed.ok_or(FlushFault::Interrupted)??;
        if chunks.iter().any(|chunk| chunk.end.is_some_and(|end| end <= flushed)) {
            self.remember(snapshot.revision).await?;
            self.remove_chunks(wal, flushed).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_chunks(&self, wal: WalId, flushed: WalPosition) -> Result<(), FlushFault> {
        let (disk, dir, reader) =
            (Arc::clone(&self.disk), self.wal_dir.clone(), Arc::clone(&self.wal_reader));
        let trim = move || {
            let removed = remove_chunks_below(&*disk, &dir, wal, flushed);
            reader.forget_below(wal, flushed);
            removed
        };
        spawn::blocking(trim).await.ok_or(FlushFault::Interrupted)??;
        Ok(())
    }
}
