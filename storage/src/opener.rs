//! Opening slots that this node has taken or was given: restore, then publish (`storage/PROTOCOL.md` §5).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use headgate_log::disk::Disk;
use headgate_log::wal::WalReader;
use headgate_metadata::id::SlotId;
use tracing::info;

use crate::chain::CellView;
use crate::claim::Taken;
use crate::flusher::Flusher;
use crate::group::Coordinator;
use crate::objects::Objects;
use crate::recovery::Recovery;
use crate::slot::Slot;
use crate::slots::Slots;
use crate::start_error::StartError;
use crate::topics::{Tombstone, Topics};

/// What opening takes.
pub(crate) struct Opener {
    pub(crate) slots: Arc<Slots>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) objects: Objects,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) wal_dir: PathBuf,
    pub(crate) wal_reader: Arc<WalReader>,
    pub(crate) groups: Arc<Coordinator>,
    pub(crate) flusher: Arc<Flusher>,
}

impl Opener {
    /// Opens the slots as `cell` has them, all or none. Everything unflushed of their spans must lie on this disk. Slots that
    /// were open here before, under an older epoch, lose what was kept of them.
    pub(crate) async fn open(&self, taken: &Taken, cell: &CellView) -> Result<(), StartError> {
        let ids: BTreeSet<SlotId> = taken.keys().copied().collect();
        self.close(&ids);
        self.flusher.remember(cell.revision).await?;
        let made = |(id, epoch): (&SlotId, _)| (*id, Arc::new(Slot::new(*id, epoch)));
        let opening: BTreeMap<SlotId, Arc<Slot>> =
            taken.iter().map(|(id, epoch)| made((id, *epoch))).collect();
        let recovery = Recovery {
            opening: opening.clone(),
            slots: Arc::clone(&self.slots),
            topics: Arc::clone(&self.topics),
            objects: self.objects.clone(),
            disk: Arc::clone(&self.disk),
            wal_dir: self.wal_dir.clone(),
            wal: Arc::clone(&self.wal_reader),
        };
        let restored = self.restore(recovery, &opening, taken, cell).await;
        if restored.is_err() {
            self.close(&ids);
        }
        restored?;
        let count = opening.len();
        opening.into_values().for_each(|slot| self.slots.publish(slot));
        info!(slots = count, revision = %cell.revision, "slots restored and open");
        Ok(())
    }

    async fn restore(
        &self,
        recovery: Recovery,
        opening: &BTreeMap<SlotId, Arc<Slot>>,
        taken: &Taken,
        cell: &CellView,
    ) -> Result<(), StartError> {
        for (slot, record) in &recovery.run(cell).await? {
            let gone = Tombstone { cluster: record.cluster, topic: None };
            if opening.get(slot).is_some_and(|slot| slot.state().remembers(&gone)) {
                continue;
            }
            self.groups.replay(*slot, record).map_err(|_| StartError::ManifestState(*slot))?;
        }
        self.flusher.opened(taken, cell).await?;
        Ok(())
    }

    /// Drops everything kept of slots: nobody finds them any more, and who waits is told to look elsewhere.
    pub(crate) fn close(&self, slots: &BTreeSet<SlotId>) {
        for slot in slots {
            self.slots.withdraw(*slot);
            self.groups.clear_slot(*slot);
        }
        self.slots.discard(slots);
    }
}
