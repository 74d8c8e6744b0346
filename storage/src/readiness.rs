//! Copies of what slots need to be opened here, should this process end, or another owner fail or move them, while the object store
//! is away (`storage/PROTOCOL.md` §5): manifests with state and lists, and the indexes and state runs of the flush objects above
//! them. The rest lies in the chunks that this node holds.
//!
//! It costs requests and disk, and decides nothing: what was not copied yet is read from the store by whoever opens the slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use headgate_log::manifest::{load_list, load_state};
use headgate_log::object::{ObjectName, ObjectReader};
use headgate_metadata::id::{NodeId, SlotId};
use tokio::time::sleep;
use tracing::debug;

use crate::cell_watch::CellWatch;
use crate::chain::{CellView, SlotView};
use crate::objects::Objects;
use crate::start_error::StartError;

/// Objects that are read at the same time.
const AT_ONCE: usize = 8;
/// After everything was copied, and after a failure: the store is not asked for each change of the cell.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
pub(crate) struct Readiness {
    pub(crate) me: NodeId,
    pub(crate) cell: Arc<CellWatch>,
    pub(crate) objects: Objects,
}

/// An object that opening a slot begins with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    Manifest { slot: SlotId, name: String },
    Flush(ObjectName),
}

/// What was copied, with the objects that each brought with it.
type Copied = BTreeMap<Needed, Vec<ObjectName>>;

impl Readiness {
    /// Keeps copies for ever. Cancel safe.
    pub(crate) async fn run(self) {
        if !self.objects.copied {
            return;
        }
        let mut copied = Copied::new();
        loop {
            let seen = self.cell.changes().version();
            let needed = self.cell.with(|cell| needed(cell, self.me));
            self.forget(&mut copied, &needed);
            let failed = self.copy(&mut copied, needed).await;
            sleep(PAUSE).await;
            if !failed {
                self.cell.changes().changed(seen).await;
            }
        }
    }

    /// Copies what is missing; whether something could not be.
    async fn copy(&self, copied: &mut Copied, needed: BTreeSet<Needed>) -> bool {
        let missing: Vec<Needed> = needed.into_iter().filter(|object| !copied.contains_key(object)).collect();
        let objects = &self.objects;
        let mut reads = stream::iter(missing)
            .map(|object| async move {
                let read = match &object {
                    Needed::Manifest { slot, name } => copy_manifest(objects, *slot, name).await,
                    Needed::Flush(name) => copy_index(objects, name).await,
                };
                (object, read)
            })
            .buffered(AT_ONCE);
        let mut failed = false;
        while let Some((object, read)) = reads.next().await {
            match read {
                Ok(brought) => drop(copied.insert(object, brought)),
                Err(error) => {
                    debug!(?object, %error, "not copied yet");
                    failed = true;
                }
            }
        }
        failed
    }

    /// Drops the copies that nothing needs any more.
    fn forget(&self, copied: &mut Copied, needed: &BTreeSet<Needed>) {
        let (kept, gone): (Copied, Copied) =
            std::mem::take(copied).into_iter().partition(|(object, _)| needed.contains(object));
        // A manifest shares its state and lists with the next.
        let shared: BTreeSet<&ObjectName> = kept.values().flatten().collect();
        for name in gone.values().flatten().filter(|name| !shared.contains(name)) {
            self.objects.store.forget_copies(name);
        }
        *copied = kept;
    }
}

/// What must be copied: for the own slots, and for those whose owner's log is mirrored here.
fn needed(cell: &CellView, me: NodeId) -> BTreeSet<Needed> {
    let held = |view: &&SlotView| {
        let owner = cell.wals.get(&view.record.owner);
        owner.is_some_and(|wal| wal.holders().iter().any(|(node, _)| *node == me))
    };
    let mut needed = BTreeSet::new();
    for (slot, view) in cell.slots.iter().filter(|(_, view)| held(view)) {
        if let Some(name) = &view.record.manifest {
            needed.insert(Needed::Manifest { slot: *slot, name: name.clone() });
        }
        for span in view.spans() {
            let chain = cell.wals.get(&span.wal).map(|wal| wal.chain.as_slice()).unwrap_or_default();
            let above = chain
                .iter()
                .filter(|entry| entry.start < span.to && !view.has_applied(span.epoch, entry.end));
            needed.extend(above.map(|entry| Needed::Flush(entry.object.clone())));
        }
    }
    needed
}

async fn copy_manifest(objects: &Objects, slot: SlotId, name: &str) -> Result<Vec<ObjectName>, StartError> {
    let manifest = objects.load_manifest(name, slot).await?;
    load_state(&objects.store, &manifest).await?;
    let mut brought: Vec<ObjectName> = ObjectName::parse(name).into_iter().collect();
    brought.extend(manifest.state_object.iter().map(|state| state.name.clone()));
    for (key, partition) in manifest.partitions.iter().filter(|(_, partition)| !partition.removed) {
        for list in &partition.lists {
            load_list(&objects.store, key, list).await?;
            brought.push(list.object.clone());
        }
    }
    Ok(brought)
}

async fn copy_index(objects: &Objects, name: &ObjectName) -> Result<Vec<ObjectName>, StartError> {
    let reader = ObjectReader::new(objects.store.clone(), name.clone());
    let index = reader.index().await?;
    objects.copy_states(name, &index).await?;
    Ok(vec![name.clone()])
}
