//! `headgate metadata rebuild`: the metadata of slots and WALs, put together anew from what tells of itself
//! (`storage/PROTOCOL.md` §6.6). For a metadata store that was restored from an old backup, while no process of the cell runs.
//!
//! ```text
//! WAL directories ─► holdings.rs ─┐                  ┌─► logs.rs: what counts of each WAL
//! object store ────► survey.rs ───┼─► lives (life.rs)┤                                      ├─► proof.rs ─► writes
//! metadata store ──► known.rs ────┘                  └─► history.rs: what makes up each slot
//! ```
//!
//! Rules:
//! 1. What the restored store says is believed only as far as it can never become false: a decided end, a retired WAL, a removed
//!    topic; of all other numbers it is a lower bound.
//! 2. Every WAL becomes sealed. Every slot gets its newest sound manifest, the spans above it, and an owner that is sealed and
//!    empty, so that the next start takes it. Numbers that are never given twice are raised beyond everything seen.
//! 3. What may be missing is said, and nothing is written until somebody has accepted it; a slot then ends before what it lacks.
//! 4. Doing it again changes nothing, also after a crash in the middle: the store's life is put last, and without it no node
//!    goes on.

mod history;
mod holdings;
mod known;
mod life;
mod logs;
mod loss;
mod notes;
mod numbers;
mod proof;
mod report;
mod survey;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headgate_log::block_cache::{BlockCache, BlockCacheConfig};
use headgate_log::object::ObjectError;
use headgate_log::store::{Store, StoreError};
use headgate_metadata::id::{NodeId, SlotEpoch, SlotId, TimestampMs, WalId, WalPosition};
use headgate_metadata::record::{Applied, CellLifeRecord, SlotRecord, Span, WalRecord, WalState};
use headgate_metadata::store::{MetadataError, MetadataStore};

use self::history::{History, histories};
pub use self::holdings::{Holdings, HoldingsError};
use self::known::Known;
use self::logs::{Link, Logs, assemble};
pub use self::loss::Loss;
use self::numbers::Numbers;
use self::survey::Survey;
use crate::chain::ChainEntry;
use crate::objects::Objects;

/// The node of the empty WAL that owns all slots until they are taken: nobody has that number.
const REBUILT: NodeId = NodeId::new(0);
/// Why nothing was rebuilt. Nothing was changed, unless it says otherwise; it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The metadata store does not even have the cell: it must come from a backup.
    #[error("metadata store holds no cell: restore a backup first")]
    NoCell,
    /// A directory was given that belongs to a node whose directory was given already.
    #[error("two WAL directories of node {0} were given")]
    NodeTwice(NodeId),
    /// Something that was acknowledged may be missing.
    #[error("{0} losses: nothing was changed")]
    Losses(usize),
    /// Somebody else writes to the metadata store; a part may be written.
    #[error("metadata store was changed meanwhile: stop all processes of the cell and run it again")]
    NotAlone,
    /// The metadata store did not answer; a part may be written.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The object store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// What to do where something that was acknowledged may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// Write nothing.
    Refuse,
    /// Go on with what there is.
    Accept,
}

/// A rebuild that is decided and not yet written. [`fmt::Display`] draws it.
pub struct Rebuild {
    known: Known,
    logs: Logs,
    /// WALs of which nothing is needed any more.
    gone: BTreeSet<WalId>,
    /// The objects that count, of the others.
    chains: BTreeMap<WalId, Vec<ChainEntry>>,
    owner: WalId,
    slots: BTreeMap<SlotId, SlotRecord>,
    life: CellLifeRecord,
    incarnations: u64,
    producer_ids: u64,
    now: TimestampMs,
    notes: Vec<String>,
    losses: Vec<Loss>,
}

impl fmt::Debug for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuild").field("losses", &self.losses).finish_non_exhaustive()
    }
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&report::draw(self))
    }
}

/// The spans in one WAL, each with what its slot has applied.
type Spans = BTreeMap<(SlotId, SlotEpoch), (Span, Option<Applied>)>;

impl Rebuild {
    /// Decides everything from the metadata store as it stands, the objects, and what the surviving nodes hold. Writes nothing.
    /// `random` names the new life of the store; `now` is the time at which WALs are found to be gone.
    pub async fn decide(
        store: &dyn MetadataStore,
        objects: &Store,
        given: &[Holdings],
        random: u64,
        now: TimestampMs,
    ) -> Result<Self, RebuildError> {
        let mut nodes = BTreeSet::new();
        if let Some(twice) = given.iter().find(|holdings| !nodes.insert(holdings.node)) {
            return Err(RebuildError::NodeTwice(twice.node));
        }
        let known = Known::read(store).await?;
        let survey = Survey::of(objects, &known).await?;
        let (logs, mut losses) = assemble(&known, &survey, given);
        let (histories, of_slots) = histories(&known, &survey, &logs);
        losses.extend(of_slots);
        let mut notes: Vec<String> = survey.damaged.iter().map(|what| format!("not used: {what}")).collect();
        losses.extend(notes::absent(&known, &logs, &nodes, &mut notes));
        let seen = numbers::seen(&survey, given);
        notes::topics(&known, &survey, &logs, &seen, &mut notes);
        let numbers = Numbers::of(&known, &logs, &seen, given, random);
        let mut rebuild = Self {
            gone: BTreeSet::new(),
            chains: BTreeMap::new(),
            owner: numbers.owner,
            slots: BTreeMap::new(),
            life: CellLifeRecord { token: numbers.token.clone(), nodes: nodes.into_iter().collect() },
            incarnations: numbers.incarnations,
            producer_ids: numbers.producer_ids,
            known,
            logs,
            now,
            notes,
            losses,
        };
        rebuild.prove(histories, &numbers, objects).await?;
        rebuild.sort_wals();
        Ok(rebuild)
    }

    /// What may be missing of what was acknowledged.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// What else an operator must know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Writes it. Returns how many keys were changed: none if it had been done before.
    pub async fn write(&self, store: &dyn MetadataStore, on_loss: OnLoss) -> Result<usize, RebuildError> {
        if on_loss == OnLoss::Refuse && !self.losses.is_empty() {
            return Err(RebuildError::Losses(self.losses.len()));
        }
        writes::write(self, store).await
    }

    async fn prove(
        &mut self,
        histories: BTreeMap<SlotId, History>,
        numbers: &Numbers,
        objects: &Store,
    ) -> Result<(), RebuildError> {
        let cache = BlockCache::new(objects.clone(), BlockCacheConfig::default());
        let objects = Objects { store: objects.clone(), cache, copied: false };
        let cell = proof::view(&self.logs, self.owner);
        for (slot, mut history) in histories {
            let losses = proof::prove(slot, &mut history, &cell, self.owner, &self.logs, &objects).await?;
            self.losses.extend(losses);
            let epoch = numbers.epoch(&self.known, slot, history.epoch);
            self.slots.insert(slot, proof::record(&history, self.owner, epoch));
        }
        Ok(())
    }

    /// Which objects count, and which WALs are gone.
    fn sort_wals(&mut self) {
        let mut spans: BTreeMap<WalId, Spans> = BTreeMap::new();
        for (slot, record) in &self.slots {
            for span in &record.spans {
                spans.entry(span.wal).or_default().insert((*slot, span.epoch), (*span, record.applied));
            }
        }
        for (wal, log) in &self.logs {
            let spans = spans.get(wal);
            let is_needed = |link: &&Link| {
                link.lives.iter().filter_map(|life| spans?.get(life)).any(|(span, applied)| {
                    let end = Applied { epoch: span.epoch, position: link.entry.end };
                    link.entry.start < span.to && *applied < Some(end)
                })
            };
            let chain: Vec<ChainEntry> =
                log.chain.iter().filter(is_needed).map(|link| link.entry.clone()).collect();
            if log.flushed >= log.end && spans.is_none() {
                self.gone.insert(*wal);
            } else {
                self.chains.insert(*wal, chain);
            }
        }
    }
}

/// A WAL that nobody ever wrote and that is sealed.
fn empty_wal(wal: WalId) -> WalRecord {
    WalRecord { wal, state: WalState::Sealed { end: WalPosition::new(0) }, fragments: Vec::new() }
}
