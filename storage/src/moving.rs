//! Planned moves (`storage/PROTOCOL.md` §5): the old owner stops the slots, waits until everything of them is committed, and
//! swaps their keys. They are served again here only after a refusal, or after a swap of its own on the slot keys.
//!
//! Slots move because somebody said where they shall live (`placement/<slot>`), because this node drains, or because the fleet has changed and another node
//! is their home: the first by rendezvous among the live ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{ClusterId, NodeId, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{Record, WalState};
use headgate_metadata::store::{Compare, MetadataError, Outcome, SharedStore, Transaction, Write};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cell_watch::CellWatch;
use crate::chain::CellView;
use crate::claim::{self, Taken};
use crate::clock::SharedClock;
use crate::fleet::Fleet;
use crate::flusher::Flusher;
use crate::opener::Opener;
use crate::operation::Operation;
use crate::planted::{Bug, is_planted};
use crate::rendezvous::first;
use crate::sequencer::Sequencer;
use crate::slot::Slot;

/// Slots that move in one transaction. Higher: all of them stand still while the largest is opened. Lower: more transactions.
const BATCH_MAX: usize = 32;
/// How long the set of live nodes must be the same before slots go home.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the flush before a move may take: it only shortens what the heir must read.
const FLUSH_WAIT: Duration = Duration::from_secs(5);
/// The same while the object store is away: it is asked, but not waited for.
const FLUSH_WAIT_AWAY: Duration = Duration::from_millis(100);
/// How long what was appended may take to be committed before a move is given up.
const BARRIER_WAIT: Duration = Duration::from_secs(2);
/// How long the swap is tried before the slots are taken back.
const SWAP_ATTEMPTS: usize = 5;
/// How long nothing is moved after a move that did not succeed: each attempt makes its slots stand still.
const REST: Duration = Duration::from_secs(2);
/// How long the metadata store is left alone after it failed.
const STORE_PAUSE: Duration = Duration::from_millis(100);

/// Moves slots away from this node.
pub(crate) struct Mover {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: SharedStore,
    pub(crate) cell: Arc<CellWatch>,
    pub(crate) clock: SharedClock,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) opener: Arc<Opener>,
    /// The live nodes, and since when they are the same.
    pub(crate) settled: Option<(Vec<NodeId>, Duration)>,
    /// Until when nothing is moved after a move that did not succeed.
    pub(crate) rests_until: Option<Duration>,
    /// Whether the last flush before a move came to nothing.
    pub(crate) store_is_away: bool,
}

/// How a swap of slot keys ended.
enum Swapped {
    /// They have another owner.
    Given,
    /// They are ours, and no earlier swap can land any more.
    Kept,
}

impl Mover {
    /// Moves one batch, if something is to move.
    pub(crate) async fn step(&mut self) {
        let now = self.clock.monotonic();
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        let Some((to, slots)) = self.next() else { return };
        // Slots are not stopped for a swap that cannot be sent.
        if CellView::read(&*self.store).await.is_err() {
            self.rests_until = Some(now + REST);
            return;
        }
        let unflushed = self.sequencer.committed();
        let wait = if self.store_is_away { FLUSH_WAIT_AWAY } else { FLUSH_WAIT };
        let flushed = timeout(wait, self.flusher.flush_now()).await;
        self.store_is_away = !flushed.is_ok_and(|flushed| flushed.is_ok());
        // Without the object store only those can open a slot who have copies of what it begins with.
        if self.store_is_away && !self.mirrors_own(to, &slots) {
            self.rests_until = Some(self.clock.monotonic() + REST);
            return;
        }
        let count = slots.len();
        let began = self.clock.monotonic();
        match self.give(&slots, to).await {
            Swapped::Given => {
                let took = self.clock.monotonic().saturating_sub(began);
                info!(slots = count, %to, ?took, position = %unflushed, "slots moved");
            }
            Swapped::Kept => {
                warn!(slots = count, %to, "slots not moved");
                self.rests_until = Some(self.clock.monotonic() + REST);
            }
        }
    }

    /// The next slots to move, all to one node.
    fn next(&mut self) -> Option<(NodeId, Vec<SlotId>)> {
        let now = self.clock.monotonic();
        let own = self.fleet.me.0;
        let owned: Vec<SlotId> = self.opener.slots.owned().map(|slot| slot.id).collect();
        let is_draining = *self.fleet.draining.borrow();
        let (live, asked) = self.cell.with(|cell| {
            let able = |node: &NodeId| {
                cell.wals.values().any(|wal| is_able(*node, wal.record.wal, wal.record.state))
            };
            let live: Vec<NodeId> = cell
                .nodes
                .values()
                .filter(|record| !record.draining)
                .map(|record| record.node)
                .filter(able)
                .collect();
            let asked: BTreeMap<SlotId, NodeId> =
                owned.iter().filter_map(|slot| Some((*slot, *cell.placements.get(slot)?))).collect();
            (live, asked)
        });
        let since = match &self.settled {
            Some((nodes, since)) if *nodes == live => *since,
            _ => {
                self.settled = Some((live.clone(), now));
                now
            }
        };
        let is_settled = now.saturating_sub(since) >= SETTLED;
        let target = |slot: &SlotId| {
            let others = live.iter().copied().filter(|node| *node != own || !is_draining);
            let home = || first(&slot.to_string(), others);
            let wanted = match asked.get(slot) {
                Some(asked) if live.contains(asked) => Some(*asked),
                _ if is_draining || is_settled && !self.is_pinned(*slot) => home(),
                _ => None,
            };
            wanted.filter(|node| *node != own)
        };
        let mut by_target: BTreeMap<NodeId, Vec<SlotId>> = BTreeMap::new();
        for slot in &owned {
            if let Some(to) = target(slot) {
                by_target.entry(to).or_default().push(*slot);
            }
        }
        let (to, mut slots) = by_target.into_iter().next()?;
        slots.truncate(BATCH_MAX);
        Some((to, slots))
    }

    /// Whether the node holds a copy of the WAL that the slots live in, and so what goes with it (`readiness.rs`).
    fn mirrors_own(&self, node: NodeId, slots: &[SlotId]) -> bool {
        self.cell.with(|cell| {
            slots.iter().all(|slot| {
                let owner = cell.slots.get(slot).map(|view| view.record.owner);
                let wal = owner.and_then(|owner| cell.wals.get(&owner));
                wal.is_some_and(|wal| wal.holders().iter().any(|(holder, _)| *holder == node))
            })
        })
    }

    /// Whether somebody said where the slot shall live.
    fn is_pinned(&self, slot: SlotId) -> bool {
        self.cell.with(|cell| cell.placements.contains_key(&slot))
    }

    async fn give(&self, ids: &[SlotId], to: NodeId) -> Swapped {
        let set: BTreeSet<SlotId> = ids.iter().copied().collect();
        let stopped: Vec<Arc<Slot>> =
            ids.iter().filter_map(|slot| self.opener.slots.withdraw(*slot)).collect();
        self.opener.slots.end_waits(&set);
        let end = self.barrier().await;
        let epochs = stopped.iter().map(|slot| (slot.id, slot.epoch)).collect();
        let swapped = match end {
            Some(end) => self.swap(&epochs, end, to).await,
            None => Swapped::Kept,
        };
        match swapped {
            Swapped::Given => self.opener.close(&set),
            Swapped::Kept => stopped.into_iter().for_each(|slot| self.opener.slots.publish(slot)),
        }
        swapped
    }

    /// Waits until everything that was ordered is committed; `None` = it is not, in time.
    async fn barrier(&self) -> Option<WalPosition> {
        let (done, committed) = oneshot::channel();
        // The queue of a cluster that nobody has: a barrier waits behind nobody's burst.
        self.sequencer.submit(ClusterId::from_random(0), Operation::Barrier { done });
        timeout(BARRIER_WAIT, committed).await.ok()?.ok()
    }

    /// `stopped` has the epochs under which the slots were open here. An owner alone says nothing: a move of which the reply was lost
    /// may have been followed by one back, and what the other owner wrote meanwhile is not known here.
    async fn swap(&self, stopped: &Taken, end: WalPosition, to: NodeId) -> Swapped {
        let own = self.sequencer.wal();
        let ids: &[SlotId] = &stopped.keys().copied().collect::<Vec<_>>();
        let mut is_unknown = false;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let cell = match CellView::read(&*self.store).await {
                Ok(cell) => cell,
                // Nothing is known of an earlier attempt: the slots stay stopped until something is.
                Err(_) if is_unknown => {
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
                Err(_) => return Swapped::Kept,
            };
            self.cell.learn(&cell);
            let is_gone = |(slot, epoch): (&SlotId, &SlotEpoch)| {
                let record = cell.slots.get(slot).map(|view| &view.record);
                record.is_some_and(|record| (record.owner, record.epoch) != (own, *epoch))
            };
            if stopped.iter().all(is_gone) {
                return Swapped::Given;
            }
            let heir = cell.wals.values().map(|wal| (wal.record.wal, wal.record.state));
            let heir = heir.filter(|(wal, state)| is_able(to, *wal, *state)).map(|(wal, _)| wal).max();
            let outcome = match heir.filter(|_| attempts <= SWAP_ATTEMPTS) {
                Some(heir) => claim::give(&*self.store, ids, own, end, heir, &cell).await,
                None if !is_unknown || is_planted(Bug::MoveEndedByRead) => return Swapped::Kept,
                None => match self.touch(ids, &cell).await {
                    Ok(Outcome::Committed(_)) => return Swapped::Kept,
                    other => other,
                },
            };
            match outcome {
                Ok(Outcome::Committed(_)) => return Swapped::Given,
                Ok(Outcome::Refused(_)) => {}
                Err(MetadataError::OutcomeUnknown { reason }) => {
                    warn!(reason, "outcome of a move unknown");
                    is_unknown = true;
                    if is_planted(Bug::MoveEndedByRead) {
                        attempts = SWAP_ATTEMPTS;
                    }
                }
                Err(_) if is_unknown => {}
                Err(_) => return Swapped::Kept,
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// Puts the slot keys as they are: whatever was sent before can no longer be committed.
    async fn touch(&self, ids: &[SlotId], cell: &CellView) -> Result<Outcome, MetadataError> {
        let mut transaction = Transaction::new();
        for slot in ids {
            let Some(view) = cell.slots.get(slot) else { continue };
            let key = keys::slot(*slot);
            transaction = transaction
                .when(Compare::Unchanged(key.clone(), view.modified))
                .then(Write::Put(key, view.record.encode()));
        }
        self.store.commit(transaction).await
    }
}

fn is_able(node: NodeId, wal: WalId, state: WalState) -> bool {
    wal.node == node && state == WalState::Open
}
