//! The object store with its cache, and what slots need of it: their manifests and the objects above them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headgate_log::block_cache::{BlockCache, BlockCacheConfig};
use headgate_log::disk::{Disk, DiskError};
use headgate_log::manifest::{FoldInput, Manifest, fold, load_manifest};
use headgate_log::object::{FlushIndex, ObjectError, ObjectName, ObjectReader, StateEntry};
use headgate_log::store::{CopiesConfig, Store};
use headgate_metadata::id::{SlotEpoch, SlotId, WalPosition};
use headgate_metadata::record::Span;

use crate::chain::{CellView, SlotView};
use crate::start_error::StartError;

/// The directory of local copies, beside the WALs.
const COPIES: &str = "copies";

/// The object store as the node uses it.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub(crate) store: Store,
    pub(crate) cache: BlockCache,
    /// Whether small objects are copied to the local disk by name, so that a restart needs no object store (§5).
    pub(crate) copied: bool,
}

/// A slot's manifest with what lies above it.
pub(crate) struct Folded {
    pub(crate) manifest: Manifest,
    /// The last record of each life that has one above what the slot's key says is applied.
    pub(crate) last: BTreeMap<SlotEpoch, WalPosition>,
}

/// One flush object above a slot's manifest.
struct Above {
    span: Span,
    object: ObjectName,
    index: Arc<FlushIndex>,
    states: Vec<StateEntry>,
}

impl Objects {
    /// The slot's manifest with everything of the chains folded onto it: a pure function of what the stores hold.
    pub(crate) async fn fold_slot(
        &self,
        slot: SlotId,
        view: &SlotView,
        cell: &CellView,
    ) -> Result<Folded, StartError> {
        let previous = match (&view.record.manifest, view.record.applied) {
            (Some(name), _) => Some(self.load_manifest(name, slot).await?),
            (None, None) => None,
            (None, Some(_)) => return Err(StartError::NoManifest(slot)),
        };
        let above = self.above(slot, view, cell).await?;
        let inputs: Vec<FoldInput<'_>> = above.iter().map(Above::input).collect();
        let last = above.iter().filter_map(|above| Some((above.span.epoch, above.last_of(slot)?))).collect();
        if inputs.is_empty() {
            return Ok(Folded { manifest: previous.unwrap_or_else(|| Manifest::empty(slot)), last });
        }
        let manifest = fold(slot, previous, &inputs).map_err(|error| StartError::Fold { slot, error })?;
        Ok(Folded { manifest, last })
    }

    /// Opens the store for a node whose WALs lie in `wal_dir`. A store on a local directory needs no copies. Blocks.
    pub(crate) fn open(
        store: Store,
        cache: BlockCacheConfig,
        disk: Arc<dyn Disk>,
        wal_dir: &Path,
    ) -> Result<Self, DiskError> {
        let copied = !store.place().starts_with("file:");
        let store = if copied {
            store.with_copies(disk, &wal_dir.join(COPIES), CopiesConfig::default())?
        } else {
            store
        };
        Ok(Self { cache: BlockCache::new(store.clone(), cache), store, copied })
    }

    /// Copies the state runs of a new flush object; its index was copied when it was read back.
    pub(crate) async fn copy_states(
        &self,
        object: &ObjectName,
        index: &FlushIndex,
    ) -> Result<(), ObjectError> {
        if self.copied {
            let reader = ObjectReader::new(self.store.clone(), object.clone());
            for run in &index.state_runs {
                reader.state_run(run).await?;
            }
        }
        Ok(())
    }

    /// Reads the manifest that a slot key names.
    pub(crate) async fn load_manifest(&self, name: &str, slot: SlotId) -> Result<Manifest, StartError> {
        let name = ObjectName::parse(name).map_err(|_| StartError::NoManifest(slot))?;
        Ok(load_manifest(&self.store, &name, slot).await?)
    }

    /// The flush objects above what the slot has applied, in log order. Those without anything of the slot are left out,
    /// except the last, which says how far the fold came.
    async fn above(&self, slot: SlotId, view: &SlotView, cell: &CellView) -> Result<Vec<Above>, StartError> {
        let mut above: Vec<Above> = Vec::new();
        for span in view.spans() {
            let wal = cell.wals.get(&span.wal).ok_or(StartError::WalUnknown { slot, wal: span.wal })?;
            for entry in wal.chain.iter().filter(|entry| entry.start < span.to) {
                if view.has_applied(span.epoch, entry.end) {
                    continue;
                }
                let index = self.cache.index(&entry.object).await?;
                if above.last().is_some_and(|last| !holds(&last.index, slot, last.span.epoch)) {
                    above.pop();
                }
                let states = self.states(&entry.object, &index, slot, span.epoch).await?;
                above.push(Above { span, object: entry.object.clone(), index, states });
            }
            if wal.flushed < span.to {
                // What follows in later spans must not be folded before the rest of this one. The last span is open.
                break;
            }
        }
        Ok(above)
    }

    async fn states(
        &self,
        object: &ObjectName,
        index: &FlushIndex,
        slot: SlotId,
        epoch: SlotEpoch,
    ) -> Result<Vec<StateEntry>, ObjectError> {
        let run = index.state_runs.iter().find(|run| run.slot == slot && run.slot_epoch == epoch);
        match run {
            Some(run) => ObjectReader::new(self.store.clone(), object.clone()).state_run(run).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Above {
    fn input(&self) -> FoldInput<'_> {
        FoldInput { span: self.span, object: &self.object, index: &self.index, states: &self.states }
    }

    /// The last record of the slot's life in the object.
    fn last_of(&self, slot: SlotId) -> Option<WalPosition> {
        let lives = (slot, self.span.epoch);
        let runs = self.index.runs.iter().filter(|run| (run.slot, run.slot_epoch) == lives);
        let states = self.index.state_runs.iter().filter(|run| (run.slot, run.slot_epoch) == lives);
        runs.map(|run| run.last_position).chain(states.map(|run| run.last_position)).max()
    }
}

/// Whether a flush object holds anything of the slot under that epoch.
pub(crate) fn holds(index: &FlushIndex, slot: SlotId, epoch: SlotEpoch) -> bool {
    index.runs.iter().any(|run| run.slot == slot && run.slot_epoch == epoch)
        || index.state_runs.iter().any(|run| run.slot == slot && run.slot_epoch == epoch)
}
