//! The steward of a node in a fleet: which slots are its own, by what the metadata store says (`storage/PROTOCOL.md` §5).
//!
//! ```text
//! slot key names the own WAL, slot not open      ─► make its unflushed bytes local and safe, restore, publish
//! slot absent, or its owner's WAL is sealed      ─► take it: the heirs first, after a while anybody
//! slot is asked to go, or home is another node   ─► move it (moving.rs)
//! ```
//!
//! Nobody hands out slots: every node computes the same order of heirs and takes what is its own; the compare-and-swap decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{NodeId, SlotId, WalId};
use headgate_metadata::keys;
use headgate_metadata::record::{Fragment, Record, WalRecord};
use headgate_metadata::store::{Compare, MetadataError, Outcome, SharedStore, Transaction, Write};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cell_watch::CellWatch;
use crate::chain::{CellView, SlotView, WalView};
use crate::claim::{self, Taken};
use crate::clock::SharedClock;
use crate::ensemble::Standing;
use crate::fleet::{Fleet, Member};
use crate::moving::Mover;
use crate::opener::Opener;
use crate::peer::{FetchEnd, FetchError, PeerCall, PeerReply, PeerRequest, fetch_copy};
use crate::recovery::{Stretch, Unflushed};
use crate::rendezvous::first;
use crate::start_error::StartError;

/// How often the steward looks, beside every change of the cell.
const TICK: Duration = Duration::from_millis(200);
/// How long heirs that come first are waited for.
const HEIR_WAIT: Duration = Duration::from_millis(1500);
/// How long a failed opening rests.
const OPEN_PAUSE: Duration = Duration::from_millis(300);
/// How long a holder may take to say that it is one.
const ASK_WAIT: Duration = Duration::from_millis(500);
/// How long another node may take to fetch a second copy.
const FETCH_WAIT: Duration = Duration::from_mins(1);

/// Keeps the node's slots in step with the slot keys.
pub(crate) struct Steward {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: SharedStore,
    pub(crate) cell: Arc<CellWatch>,
    pub(crate) clock: SharedClock,
    pub(crate) standing: Arc<Standing>,
    pub(crate) opener: Arc<Opener>,
    pub(crate) mover: Mover,
    pub(crate) own: WalId,
    pub(crate) copies_min: usize,
}

/// Why slots were not opened. Tried again.
#[derive(Debug, thiserror::Error)]
enum OpenFault {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("WAL {0} has no second live holder, and nobody to copy it to")]
    SingleCopy(WalId),
    #[error("WAL {0} has no live holder")]
    NoHolder(WalId),
}

impl Steward {
    /// Keeps slots for ever. Cancel safe in the sense of a crash.
    pub(crate) async fn run(mut self) {
        let mut orphaned: BTreeMap<SlotId, Duration> = BTreeMap::new();
        loop {
            let seen = self.cell.changes().version();
            // Without mirrors nothing could be acknowledged; others may have them.
            if self.standing.is_good() {
                if let Err(error) = self.take_orphans(&mut orphaned).await {
                    warn!(%error, "slots not taken yet");
                }
                if let Err(error) = self.open_assigned().await {
                    warn!(%error, "slots not opened yet");
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                self.mover.step().await;
            }
            drop(timeout(TICK, self.cell.changes().changed(seen)).await);
        }
    }

    /// Takes slots that have no owner and are this node's to take.
    async fn take_orphans(&self, orphaned: &mut BTreeMap<SlotId, Duration>) -> Result<(), StartError> {
        let now = self.clock.monotonic();
        let count = self.opener.slots.count();
        let mine: Vec<SlotId> = self.cell.with(|cell| {
            let orphans: BTreeSet<SlotId> = (0..count)
                .map(SlotId::new)
                .filter(|slot| cell.slots.get(slot).is_none_or(|view| is_orphan(view, cell)))
                .collect();
            orphaned.retain(|slot, _| orphans.contains(slot));
            let is_mine = |slot: &SlotId| {
                let since = *orphaned.entry(*slot).or_insert(now);
                heir(*slot, cell) == Some(self.fleet.me.0) || now.saturating_sub(since) >= HEIR_WAIT
            };
            orphans.iter().copied().filter(is_mine).collect()
        });
        if mine.is_empty() || *self.fleet.draining.borrow() || self.fleet.clocks.is_off() {
            return Ok(());
        }
        // Decided at one revision, committed by compare-and-swap on each key.
        let cell = CellView::read(&*self.store).await?;
        let still = |slot: &SlotId| cell.slots.get(slot).is_none_or(|view| is_orphan(view, &cell));
        let mine: Vec<SlotId> = mine.into_iter().filter(still).collect();
        let taken = claim::take(&*self.store, &mine, self.own, &cell).await?;
        if !taken.is_empty() {
            info!(slots = taken.len(), "slots taken");
        }
        Ok(())
    }

    /// Opens the slots whose keys name the own WAL.
    async fn open_assigned(&self) -> Result<(), OpenFault> {
        if self.cell.with(|cell| self.assigned(cell)).is_empty() {
            return Ok(());
        }
        let cell = CellView::read(&*self.store).await?;
        let assigned = self.assigned(&cell);
        if assigned.is_empty() {
            return Ok(());
        }
        let unflushed = Unflushed::of(&cell, assigned.keys().copied());
        for (wal, stretch) in &unflushed.stretches {
            self.make_safe(*wal, *stretch, &cell).await?;
        }
        self.cell.learn(&cell);
        Ok(self.opener.open(&assigned, &cell).await?)
    }

    /// Slots that are the own WAL's and not open under their epoch.
    fn assigned(&self, cell: &CellView) -> Taken {
        let own = cell.slots.iter().filter(|(_, view)| view.record.owner == self.own);
        let closed = own.filter(|(slot, view)| {
            self.opener.slots.slot(**slot).is_none_or(|open| open.epoch != view.record.epoch)
        });
        closed.map(|(slot, view)| (*slot, view.record.epoch)).collect()
    }

    /// Before a slot opens, every unflushed byte it inherits lies on this disk and on at least one other live node's.
    async fn make_safe(&self, wal: WalId, stretch: Stretch, cell: &CellView) -> Result<(), OpenFault> {
        let Some(view) = cell.wals.get(&wal) else { return Ok(()) };
        let mut holders = self.holders(wal, stretch, view, cell).await;
        let source = holders.iter().copied().find(|member| *member != self.fleet.me);
        // Whole, also where slots ended earlier: whoever holds it may have to flush it, or to hand it on.
        let (from, sealed) = (stretch.from, view.sealed_end());
        let end = sealed.map_or(FetchEnd::Open(stretch.end), FetchEnd::Sealed);
        let (network, mirrors) = (&*self.fleet.network, &*self.fleet.mirrors);
        if wal == self.own {
            return Ok(());
        }
        match source {
            Some(source) => fetch_copy(network, mirrors, wal, from, end, source).await?,
            None if holders.contains(&self.fleet.me) => {
                fetch_copy(network, mirrors, wal, from, end, self.fleet.me).await?;
            }
            None => return Err(OpenFault::NoHolder(wal)),
        }
        // What was fetched just now is whole and durable here: a copy like the others.
        if !holders.contains(&self.fleet.me) {
            holders.push(self.fleet.me);
        }
        if holders.len() < self.copies_min && sealed.is_some() {
            self.copy_on(wal, view, &holders, cell).await?;
        }
        Ok(())
    }

    /// The live processes that have the stretch. A copy that its holder's next process found on its disk is as good: of a sealed
    /// WAL nothing is added, and what is read is verified.
    async fn holders(&self, wal: WalId, stretch: Stretch, view: &WalView, cell: &CellView) -> Vec<Member> {
        let mut holders = Vec::new();
        for (node, _) in view.holders() {
            let Some(record) = cell.nodes.get(node) else { continue };
            let to = (record.node, record.incarnation);
            let request = PeerRequest::Read { wal, from: stretch.from, end: stretch.end, bytes_max: 1 };
            let asked = timeout(ASK_WAIT, self.fleet.network.call(PeerCall { to, request })).await;
            if matches!(asked, Ok(Ok(PeerReply::Groups(groups))) if !groups.is_empty()) {
                holders.push(to);
            }
        }
        holders
    }

    /// Lets another live node keep a copy of a sealed WAL, and says so in its record.
    async fn copy_on(
        &self,
        wal: WalId,
        view: &WalView,
        holders: &[Member],
        cell: &CellView,
    ) -> Result<(), OpenFault> {
        let Some(end) = view.sealed_end() else { return Ok(()) };
        let others = cell.nodes.values().map(|record| (record.node, record.incarnation));
        let spare = others.filter(|member| !holders.contains(member) && *member != self.fleet.me);
        for to in spare {
            let request = PeerRequest::Fetch { wal, from: view.flushed, end, source: self.fleet.me };
            let asked = timeout(FETCH_WAIT, self.fleet.network.call(PeerCall { to, request })).await;
            if !matches!(asked, Ok(Ok(PeerReply::Held { .. }))) {
                continue;
            }
            let mut ensemble: Vec<Member> = holders.to_vec();
            ensemble.push(to);
            let fragments = vec![Fragment { start: end, ensemble }];
            let record = WalRecord { fragments, ..view.record.clone() };
            let transaction = Transaction::new()
                .when(Compare::Unchanged(keys::wal(wal), view.modified))
                .then(Write::Put(keys::wal(wal), record.encode()));
            if let Outcome::Committed(_) = self.store.commit(transaction).await? {
                info!(%wal, node = %to.0, "sealed WAL copied to a second node");
                return Ok(());
            }
        }
        Err(OpenFault::SingleCopy(wal))
    }
}

/// Who takes an orphan first: of the live holders of the last owner's WAL, or of all live nodes, the first by rendezvous.
fn heir(slot: SlotId, cell: &CellView) -> Option<NodeId> {
    let is_able = |node: &NodeId| cell.nodes.get(node).is_some_and(|record| !record.draining);
    let name = slot.to_string();
    let last = cell.slots.get(&slot).and_then(|view| cell.wals.get(&view.record.owner));
    let holders = last.map(WalView::holders).unwrap_or_default();
    let holding = holders.iter().map(|(node, _)| *node).filter(is_able);
    first(&name, holding).or_else(|| first(&name, cell.nodes.keys().copied().filter(is_able)))
}

/// Whether the slot's owner can never commit again.
fn is_orphan(view: &SlotView, cell: &CellView) -> bool {
    cell.wals.get(&view.record.owner).is_some_and(|owner| owner.sealed_end().is_some())
}
