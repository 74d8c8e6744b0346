//! Tidying: spans, chain entries and WALs that nobody needs any more (`storage/PROTOCOL.md` §6.3, §6.4).

use std::sync::Arc;

use headgate_log::wal::{list_wals, remove_wal};
use headgate_metadata::id::{TimestampMs, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, RetiredRecord, SlotRecord};
use headgate_metadata::store::{Compare, Outcome, Select, TRANSACTION_OPERATIONS_MAX, Transaction, Write};
use tracing::info;

use super::{FlushFault, Flusher, Progress, Touched};
use crate::chain::{CellView, ChainEntry, WalView};
use crate::planted::{Bug, is_planted};
use crate::spawn;

/// How long `retired/{wal}` is kept.
const RETIRED_KEPT_MS: u64 = 7 * 24 * 3_600_000;

impl Flusher {
    /// Each part goes by what the keys say at one revision, and by compare-and-swap.
    pub(super) async fn tidy(&self, progress: &mut Progress) -> Result<(), FlushFault> {
        let cell = CellView::read(&*self.store).await?;
        let now = self.clock.monotonic();
        for slot in Self::with_many_spans(&cell) {
            if self.slots.slot(slot).is_none() {
                continue;
            }
            let touched = progress.touched.entry(slot).or_insert(Touched { flushes: 0, since: now });
            touched.flushes = touched.flushes.max(2 * self.manifest_flushes_max);
        }
        self.drop_spans(&cell).await?;
        if self.is_janitor(&cell) {
            self.tidy_cell().await?;
        }
        let cell = CellView::read(&*self.store).await?;
        self.cell.learn(&cell);
        // Before chunks go, readers here must know of everything that is flushed.
        self.follow(progress).await?;
        self.remove_local(&cell).await
    }

    /// What one node does for the whole cell.
    async fn tidy_cell(&self) -> Result<(), FlushFault> {
        let cell = CellView::read(&*self.store).await?;
        self.drop_chain_entries(&cell).await?;
        let cell = CellView::read(&*self.store).await?;
        for wal in cell.wals.values() {
            self.retire(wal, &cell).await?;
        }
        self.forget_retired().await
    }

    /// Drops spans that are fully applied, also of slots too idle to get a manifest. Many slots share a transaction.
    async fn drop_spans(&self, cell: &CellView) -> Result<(), FlushFault> {
        let mut transactions = vec![Transaction::new()];
        for (slot, view) in cell.slots.iter().filter(|(_, view)| view.record.owner == self.sequencer.wal()) {
            let spans = self.spans_left(*slot, &view.record.spans, view.record.applied, cell).await?;
            if spans.len() == view.record.spans.len() {
                continue;
            }
            let key = keys::slot(*slot);
            let record = SlotRecord { spans, ..view.record.clone() };
            if transactions.last().is_none_or(|last| last.writes.len() == TRANSACTION_OPERATIONS_MAX) {
                transactions.push(Transaction::new());
            }
            if let Some(last) = transactions.last_mut() {
                last.compares.push(Compare::Unchanged(key.clone(), view.modified));
                last.writes.push(Write::Put(key, record.encode()));
            }
        }
        for transaction in transactions.into_iter().filter(|transaction| !transaction.writes.is_empty()) {
            // Refused = a key moved; the next pass sees it.
            let _: Outcome = self.store.commit(transaction).await?;
        }
        Ok(())
    }

    /// Removes chain entries that all slots in their index have applied.
    async fn drop_chain_entries(&self, cell: &CellView) -> Result<(), FlushFault> {
        for (wal, view) in &cell.wals {
            for entry in &view.chain {
                if self.is_applied_everywhere(entry, cell).await? {
                    let key = keys::chain(*wal, entry.start);
                    let transaction =
                        Transaction::new().when(Compare::Present(key.clone())).then(Write::Delete(key));
                    let _: Outcome = self.store.commit(transaction).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_applied_everywhere(&self, entry: &ChainEntry, cell: &CellView) -> Result<bool, FlushFault> {
        let index = self.objects.cache.index(&entry.object).await?;
        let runs = index.runs.iter().map(|run| (run.slot, run.slot_epoch));
        let states = index.state_runs.iter().map(|run| (run.slot, run.slot_epoch));
        let applied =
            |(slot, epoch)| cell.slots.get(&slot).is_some_and(|view| view.has_applied(epoch, entry.end));
        Ok(runs.chain(states).all(applied))
    }

    /// Replaces the keys of a WAL that is sealed, flushed to its end, and named by no slot, by `retired/{wal}`.
    async fn retire(&self, view: &WalView, cell: &CellView) -> Result<(), FlushFault> {
        let wal = view.record.wal;
        let done = view.sealed_end().is_some_and(|end| view.flushed >= end) && view.chain.is_empty();
        // Once no slot key names a sealed WAL none ever will: slots are only ever taken for open ones.
        let is_named = cell.slots.values().any(|slot| names(&slot.record, wal));
        if !done || is_named && !is_planted(Bug::RetireWhileNamed) {
            return Ok(());
        }
        let (wal_key, retired_key) = (keys::wal(wal), keys::retired(wal));
        let transaction = Transaction::new()
            .when(Compare::Unchanged(wal_key.clone(), view.modified))
            .then(Write::Delete(wal_key))
            .then(Write::Delete(keys::flushed(wal)))
            .then(Write::Put(retired_key, RetiredRecord { at: self.clock.wall() }.encode()));
        if let Outcome::Committed(_) = self.store.commit(transaction).await? {
            info!(%wal, "WAL retired");
        }
        Ok(())
    }

    /// Removes the directories of WALs that are flushed to their sealed end, or positively retired, and of copies of other
    /// nodes' WALs the chunks that are flushed.
    async fn remove_local(&self, cell: &CellView) -> Result<(), FlushFault> {
        let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
        let listed =
            spawn::blocking(move || list_wals(&*disk, &dir)).await.ok_or(FlushFault::Interrupted)??;
        for wal in listed {
            let covered = match cell.wals.get(&wal) {
                Some(view) => view.sealed_end().is_some_and(|end| view.flushed >= end),
                None if is_planted(Bug::DeletionBecauseAbsent) => true,
                None => self.store.get(&keys::retired(wal)).await?.is_some(),
            };
            if !covered && wal != self.sequencer.wal() {
                self.trim_chunks(wal).await?;
            }
            if covered {
                self.remember(cell.revision).await?;
                let (disk, dir) = (Arc::clone(&self.disk), self.wal_dir.clone());
                self.wal_reader.forget(wal);
                spawn::blocking(move || remove_wal(&*disk, &dir, wal))
                    .await
                    .ok_or(FlushFault::Interrupted)??;
            }
        }
        Ok(())
    }

    async fn forget_retired(&self) -> Result<(), FlushFault> {
        let snapshot = self.store.read(&[Select::Prefix(keys::RETIRED.to_owned())]).await?;
        let now = self.clock.wall();
        for entry in snapshot.results.into_iter().flatten() {
            let RetiredRecord { at } = RetiredRecord::decode(&entry.value)?;
            if is_older(at, now) {
                let transaction = Transaction::new()
                    .when(Compare::Unchanged(entry.key.clone(), entry.modified))
                    .then(Write::Delete(entry.key));
                let _: Outcome = self.store.commit(transaction).await?;
            }
        }
        Ok(())
    }
}

fn is_older(at: TimestampMs, now: TimestampMs) -> bool {
    now.get().saturating_sub(at.get()) > RETIRED_KEPT_MS
}

fn names(record: &SlotRecord, wal: WalId) -> bool {
    record.owner == wal || record.spans.iter().any(|span| span.wal == wal)
}
