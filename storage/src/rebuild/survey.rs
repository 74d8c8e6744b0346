//! What the object store holds: flush objects and manifests, which tell of themselves.
//!
//! A listing finds them; what counts is decided by what they say. Costs one request for each flush object of a WAL that is not
//! retired, one for each of its state runs that no manifest contains, and two or three for each manifest.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use headgate_log::manifest::{Manifest, load_list, load_manifest, load_state};
use headgate_log::object::{ObjectError, ObjectName, ObjectReader};
use headgate_log::store::{Store, StoreError};
use headgate_metadata::id::{PartitionKey, SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::record::Applied;

use super::life::{Life, Lives, Seen};
use super::{Known, RebuildError};

/// Objects read at once.
const READS_AT_ONCE: usize = 16;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Flush objects, by WAL.
    pub(super) flushes: BTreeMap<WalId, Vec<FoundFlush>>,
    /// The newest sound manifest of each slot.
    pub(super) manifests: BTreeMap<SlotId, FoundManifest>,
    /// The highest epoch in the name of anything.
    pub(super) epochs: BTreeMap<SlotId, SlotEpoch>,
    pub(super) seen: Seen,
    /// Objects that cannot be used, and why.
    pub(super) damaged: Vec<String>,
}

/// A flush object.
#[derive(Debug, Clone)]
pub(super) struct FoundFlush {
    pub(super) name: ObjectName,
    pub(super) start: WalPosition,
    pub(super) end: WalPosition,
    pub(super) lives: Vec<Life>,
}

/// A manifest whose objects are all there.
#[derive(Debug, Clone)]
pub(super) struct FoundManifest {
    pub(super) name: ObjectName,
    pub(super) applied: Applied,
    /// Its partitions, and whether each was removed.
    pub(super) partitions: BTreeMap<PartitionKey, bool>,
}

impl Survey {
    pub(super) async fn of(store: &Store, known: &Known) -> Result<Self, RebuildError> {
        let mut survey = Self::default();
        let mut names = BTreeSet::new();
        for kind in ["flush", "manifest", "state", "list", "compacted"] {
            names.extend(store.list(kind).await?.into_iter().map(|object| object.name));
        }
        survey.read_manifests(store, known, &names).await?;
        survey.read_flushes(store, known, &names).await?;
        Ok(survey)
    }

    async fn read_manifests(
        &mut self,
        store: &Store,
        known: &Known,
        names: &BTreeSet<ObjectName>,
    ) -> Result<(), RebuildError> {
        let mut manifests = Vec::new();
        for name in names {
            if let ["manifest" | "state" | "list" | "compacted", slot, rest] = parts(name)[..]
                && let Some((slot, epoch)) = parse_slot_object(slot, rest)
            {
                let highest = self.epochs.entry(slot).or_insert(epoch);
                *highest = epoch.max(*highest);
                if name.as_str().starts_with("manifest/") {
                    manifests.push((name, slot));
                }
            }
        }
        let read = manifests.into_iter().map(|(name, slot)| async move {
            let found = read_manifest(store, name, slot, names).await;
            tolerate(found).map(|found| (name, slot, found))
        });
        let mut read = stream::iter(read).buffered(READS_AT_ONCE);
        while let Some((name, slot, found)) = read.try_next().await? {
            match found {
                Ok(Some((manifest, seen))) => {
                    self.seen.add(&seen);
                    let current =
                        known.view.slots.get(&slot).and_then(|view| view.record.manifest.as_deref());
                    let rank = |found: &FoundManifest| (found.applied, Some(found.name.as_str()) == current);
                    let best = self.manifests.get(&slot);
                    if best.is_none_or(|best| rank(&manifest) > rank(best)) {
                        self.manifests.insert(slot, manifest);
                    }
                }
                Ok(None) => {}
                Err(reason) => self.damaged.push(format!("{name}: {reason}")),
            }
        }
        Ok(())
    }

    async fn read_flushes(
        &mut self,
        store: &Store,
        known: &Known,
        names: &BTreeSet<ObjectName>,
    ) -> Result<(), RebuildError> {
        let wanted = names.iter().filter_map(|name| {
            let ["flush", wal, _] = parts(name)[..] else { return None };
            Some((name, wal.parse::<WalId>().ok()?))
        });
        // What is retired is applied by everybody.
        let wanted: Vec<_> = wanted.filter(|(_, wal)| !known.retired.contains(wal)).collect();
        let manifests = self.manifests.clone();
        let read = wanted.into_iter().map(|(name, wal)| {
            let manifests = &manifests;
            async move {
                let found = read_flush(store, name, manifests).await;
                tolerate(found).map(|found| (name, wal, found))
            }
        });
        let mut read = stream::iter(read).buffered(READS_AT_ONCE);
        while let Some((name, wal, found)) = read.try_next().await? {
            match found {
                Ok((flush, seen)) => {
                    self.seen.add(&seen);
                    self.flushes.entry(wal).or_default().push(flush);
                }
                Err(reason) => self.damaged.push(format!("{name}: {reason}")),
            }
        }
        Ok(())
    }
}

/// `None` = it contains nothing yet.
async fn read_manifest(
    store: &Store,
    name: &ObjectName,
    slot: SlotId,
    names: &BTreeSet<ObjectName>,
) -> Result<Option<(FoundManifest, Seen)>, ObjectError> {
    let manifest = load_manifest(store, name, slot).await?;
    let Some(applied) = manifest.applied else { return Ok(None) };
    let mut needed: BTreeSet<ObjectName> = manifest.objects().into_iter().cloned().collect();
    for (key, partition) in &manifest.partitions {
        for list in &partition.lists {
            needed.extend(load_list(store, key, list).await?.into_iter().map(|run| run.object));
        }
    }
    if let Some(missing) = needed.into_iter().find(|needed| !names.contains(needed)) {
        let (name, place) = (missing.to_string(), store.place().to_owned());
        return Err(StoreError::NotFound { name, place }.into());
    }
    let mut seen = Seen::default();
    let base = load_state(store, &manifest).await?;
    for key in manifest.state(base).into_keys() {
        seen.state(key.kind, key.cluster, &key.key);
    }
    let Manifest { partitions, .. } = manifest;
    for partition in partitions.values() {
        partition.producers.keys().for_each(|producer| seen.producer(producer.get()));
    }
    let partitions = partitions.into_iter().map(|(key, partition)| (key, partition.removed)).collect();
    Ok(Some((FoundManifest { name: name.clone(), applied, partitions }, seen)))
}

async fn read_flush(
    store: &Store,
    name: &ObjectName,
    manifests: &BTreeMap<SlotId, FoundManifest>,
) -> Result<(FoundFlush, Seen), ObjectError> {
    let reader = ObjectReader::new(store.clone(), name.clone());
    let index = reader.stored_index().await?;
    let mut lives = Lives::default();
    lives.index(&index);
    for run in &index.state_runs {
        let at = Applied { epoch: run.slot_epoch, position: index.end };
        if manifests.get(&run.slot).is_none_or(|manifest| manifest.applied < at) {
            for entry in reader.state_run(run).await? {
                lives.entry(run.slot, run.slot_epoch, &entry);
            }
        }
    }
    let seen = std::mem::take(&mut lives.seen);
    let flush =
        FoundFlush { name: name.clone(), start: index.start, end: index.end, lives: lives.into_lives() };
    Ok((flush, seen))
}

/// An object that is damaged or not whole is left out, with the reason; a store that does not answer ends the survey.
fn tolerate<T>(found: Result<T, ObjectError>) -> Result<Result<T, String>, RebuildError> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(
            error @ (ObjectError::Corrupt { .. }
            | ObjectError::Store(StoreError::NotFound { .. } | StoreError::Short { .. })),
        ) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn parts(name: &ObjectName) -> Vec<&str> {
    name.as_str().split('/').collect()
}

fn parse_slot_object(slot: &str, rest: &str) -> Option<(SlotId, SlotEpoch)> {
    let (epoch, _) = rest.split_once('-')?;
    Some((slot.parse().ok()?, epoch.parse().ok()?))
}
