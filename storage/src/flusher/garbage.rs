//! Objects that nothing names (`storage/PROTOCOL.md` §8).
//!
//! Listings of the store find candidates; predicates that never become false again decide; a grace period serves readers
//! that still hold the name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headgate_log::manifest::load_list;
use headgate_log::object::ObjectName;
use headgate_metadata::id::{SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::Applied;
use tracing::info;

use super::{FlushFault, Flusher, Progress};
use crate::chain::CellView;
use crate::planted::{Bug, is_planted};

/// Objects found unnamed, and when for the first time.
#[derive(Debug, Default)]
pub(super) struct Candidates(BTreeMap<ObjectName, Duration>);

impl Candidates {
    /// Keeps `unnamed` only, and returns those that were unnamed for `grace` already.
    fn ripe(&mut self, unnamed: BTreeSet<ObjectName>, now: Duration, grace: Duration) -> Vec<ObjectName> {
        self.0.retain(|name, _| unnamed.contains(name));
        for name in unnamed {
            self.0.entry(name).or_insert(now);
        }
        let ripe = self.0.iter().filter(|(_, since)| now.saturating_sub(**since) >= grace);
        ripe.map(|(name, _)| name.clone()).collect()
    }
}

/// Everything that is named at one revision.
struct Named {
    cell: CellView,
    /// Named by current manifests, their lists included.
    by_manifests: BTreeSet<ObjectName>,
    /// Named by slot keys.
    manifests: BTreeMap<SlotId, Option<String>>,
    garbage: BTreeMap<SlotId, BTreeSet<ObjectName>>,
}

impl Flusher {
    /// Deletes what is ripe; returns how many objects.
    pub(crate) async fn collect_garbage(&self) -> Result<usize, FlushFault> {
        let mut progress = self.progress.lock().await;
        self.collect(&mut progress).await
    }

    pub(super) async fn collect(&self, progress: &mut Progress) -> Result<usize, FlushFault> {
        let mut listed = Vec::new();
        for kind in ["flush", "manifest", "state", "list", "compacted"] {
            listed.extend(self.objects.store.list(kind).await?.into_iter().map(|object| object.name));
        }
        // Listed first, named second: whatever is committed in between is named.
        let named = self.named().await?;
        let mut unnamed = BTreeSet::new();
        for name in listed {
            if self.is_garbage(&name, &named).await? {
                unnamed.insert(name);
            }
        }
        self.remember(named.cell.revision).await?;
        let ripe = progress.candidates.ripe(unnamed, self.clock.monotonic(), self.garbage_grace);
        for name in &ripe {
            self.objects.store.delete(name).await?;
            self.metrics.observe_object_deleted();
            info!(object = %name, "object deleted, nothing names it");
        }
        Ok(ripe.len())
    }

    async fn named(&self) -> Result<Named, FlushFault> {
        let cell = CellView::read(&*self.store).await?;
        let mut named = Named {
            by_manifests: BTreeSet::new(),
            manifests: BTreeMap::new(),
            garbage: BTreeMap::new(),
            cell,
        };
        for (slot, view) in &named.cell.slots {
            named.manifests.insert(*slot, view.record.manifest.clone());
            let Some(name) = &view.record.manifest else { continue };
            let manifest = self.objects.load_manifest(name, *slot).await?;
            named.by_manifests.extend(manifest.objects().into_iter().cloned());
            for (key, partition) in &manifest.partitions {
                for list in &partition.lists {
                    let runs = load_list(&self.objects.store, key, list).await?;
                    named.by_manifests.extend(runs.into_iter().map(|run| run.object));
                }
            }
            named.garbage.insert(*slot, manifest.garbage.into_iter().collect());
        }
        Ok(named)
    }

    async fn is_garbage(&self, name: &ObjectName, named: &Named) -> Result<bool, FlushFault> {
        if is_planted(Bug::DeletionByGraceOnly) {
            return Ok(true);
        }
        if named.by_manifests.contains(name) {
            return Ok(false);
        }
        let parts: Vec<&str> = name.as_str().split('/').collect();
        Ok(match parts[..] {
            ["flush", wal, rest] => match parse_flush(wal, rest) {
                Some((wal, start)) => self.flush_is_garbage(name, wal, start, &named.cell).await?,
                None => false,
            },
            ["manifest", slot, _] => {
                match slot.parse().ok().and_then(|slot: SlotId| named.manifests.get(&slot)) {
                    Some(Some(current)) => current != name.as_str(),
                    // Without a current manifest one may be about to be committed.
                    Some(None) | None => false,
                }
            }
            ["state" | "list" | "compacted", slot, rest] => match parse_slot_object(slot, rest) {
                Some((slot, epoch)) => {
                    let applied = named.cell.slots.get(&slot).and_then(|view| view.record.applied);
                    let listed = named.garbage.get(&slot).is_some_and(|garbage| garbage.contains(name));
                    listed || applied.is_some_and(|Applied { epoch: applied, .. }| applied > epoch)
                }
                None => false,
            },
            _ => false,
        })
    }

    /// Below `flushed` it can no longer be committed; the chain does not name it; no manifest does.
    async fn flush_is_garbage(
        &self,
        name: &ObjectName,
        wal: WalId,
        start: WalPosition,
        cell: &CellView,
    ) -> Result<bool, FlushFault> {
        match cell.wals.get(&wal) {
            Some(view) => Ok(view.flushed > start && view.chain.iter().all(|entry| entry.object != *name)),
            None => Ok(self.store.get(&keys::retired(wal)).await?.is_some()),
        }
    }
}

fn parse_flush(wal: &str, rest: &str) -> Option<(WalId, WalPosition)> {
    let (start, _) = rest.split_once('-')?;
    Some((wal.parse().ok()?, start.parse().ok()?))
}

fn parse_slot_object(slot: &str, rest: &str) -> Option<(SlotId, SlotEpoch)> {
    let (epoch, _) = rest.split_once('-')?;
    Some((slot.parse().ok()?, epoch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_8_an_object_is_ripe_only_after_it_was_unnamed_for_the_grace_period_without_a_break() {
        let name = ObjectName::parse("flush/1-1/00000000000000000000-00").expect("a plain name");
        let unnamed = || BTreeSet::from([name.clone()]);
        let mut candidates = Candidates::default();
        let at = |seconds| Duration::from_secs(seconds);
        assert!(candidates.ripe(unnamed(), at(0), at(100)).is_empty());
        assert!(candidates.ripe(BTreeSet::new(), at(50), at(100)).is_empty());
        assert!(candidates.ripe(unnamed(), at(60), at(100)).is_empty());
        assert!(candidates.ripe(unnamed(), at(120), at(100)).is_empty());
        assert_eq!(candidates.ripe(unnamed(), at(160), at(100)), [name]);
    }
}
