//! Each WAL by itself: which objects count, up to where they go, where the log ends, who holds the rest.
//!
//! Objects: every object holds committed bytes and begins where another that counted ended. So an object with such a beginning
//! inside it has lost against the shorter one, and of those that begin alike the longest will do.
//!
//! The end, where nobody decided it: the *longest* sound copy. The shortest would do if it were known who counted, but a mirror that
//! was replaced holds less than what was acknowledged. What the longest holds beyond that, nobody was told of, neither good nor bad:
//! it may last.

use std::collections::{BTreeMap, BTreeSet};

use headgate_log::state_record::InheritedSpan;
use headgate_metadata::id::{NodeId, SlotEpoch, SlotId, WalId, WalPosition};

use super::holdings::{HeldCopy, HeldWal, Holdings};
use super::life::Life;
use super::loss::Loss;
use super::survey::{FoundFlush, Survey};
use super::{Known, REBUILT};
use crate::chain::ChainEntry;

/// A WAL as it is restored.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) flushed: WalPosition,
    pub(super) end: WalPosition,
    /// Every object that may count.
    pub(super) chain: Vec<Link>,
    /// Nodes that hold everything that is not flushed.
    pub(super) holders: Vec<NodeId>,
    /// How many usable copies there are.
    pub(super) copies: usize,
    /// What is wrong with the others.
    pub(super) damage: Vec<String>,
    /// Whether the end was decided before: only then is it known that no copy is needed which reaches further.
    pub(super) is_decided: bool,
    /// Everything found, in objects and copies.
    pub(super) lives: BTreeMap<(SlotId, SlotEpoch), Life>,
    /// What the copy holds that decides the end.
    pub(super) unflushed: Vec<Life>,
}

/// An object that may count, with whose records are in it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) entry: ChainEntry,
    pub(super) lives: BTreeSet<(SlotId, SlotEpoch)>,
}

/// All WALs that are not known to be gone.
pub(super) type Logs = BTreeMap<WalId, Log>;

/// Puts the WALs together. The losses name copies that no other can stand in for.
pub(super) fn assemble(known: &Known, survey: &Survey, given: &[Holdings]) -> (Logs, Vec<Loss>) {
    let mut sources: BTreeMap<WalId, Sources<'_>> = BTreeMap::new();
    for wal in known.view.wals.keys() {
        sources.entry(*wal).or_default();
    }
    for (wal, flushes) in &survey.flushes {
        sources.entry(*wal).or_default().flushes = flushes;
    }
    for holdings in given {
        let newest = holdings.wals.iter().map(|held| held.wal).filter(|wal| wal.node == holdings.node).max();
        for held in &holdings.wals {
            let source = sources.entry(held.wal).or_default();
            source.copies.push((holdings.node, held));
            source.is_newest |= newest == Some(held.wal);
        }
    }
    sources.retain(|wal, _| !known.retired.contains(wal) && wal.node != REBUILT);
    let followed = followed(&sources);
    let (mut logs, mut losses) = (Logs::new(), Vec::new());
    for (wal, sources) in sources {
        let boundaries = boundaries(&sources, survey);
        let spans = followed.get(&wal).map(Vec::as_slice).unwrap_or_default();
        logs.insert(wal, sources.log(wal, known, &boundaries, spans, &mut losses));
    }
    (logs, losses)
}

/// What lives say of the WALs in which those before them were lived.
fn followed(sources: &BTreeMap<WalId, Sources<'_>>) -> BTreeMap<WalId, Vec<InheritedSpan>> {
    let mut followed: BTreeMap<WalId, Vec<InheritedSpan>> = BTreeMap::new();
    let lives = sources.values().flat_map(Sources::lives);
    for span in lives.filter_map(|life| life.inherited.as_ref()).flat_map(|inherited| &inherited.spans) {
        followed.entry(span.wal).or_default().push(*span);
    }
    followed
}

/// Where flush objects of the WAL surely ended: where manifests say that they have applied them.
fn boundaries(sources: &Sources<'_>, survey: &Survey) -> BTreeSet<WalPosition> {
    let applied = sources.lives().filter_map(|life| {
        let applied = survey.manifests.get(&life.slot)?.applied;
        (applied.epoch == life.epoch).then_some(applied.position)
    });
    applied.collect()
}

/// What there is of one WAL.
#[derive(Default)]
struct Sources<'a> {
    flushes: &'a [FoundFlush],
    copies: Vec<(NodeId, &'a HeldWal)>,
    /// Whether it is the last one of a node whose directory was given.
    is_newest: bool,
}

impl Sources<'_> {
    fn lives(&self) -> impl Iterator<Item = &Life> {
        let in_copies = self.copies.iter().flat_map(|(_, held)| &held.lives);
        self.flushes.iter().flat_map(|flush| &flush.lives).chain(in_copies)
    }

    fn log(
        &self,
        wal: WalId,
        known: &Known,
        boundaries: &BTreeSet<WalPosition>,
        followed: &[InheritedSpan],
        losses: &mut Vec<Loss>,
    ) -> Log {
        let chain = chain_of(self.flushes, boundaries);
        let view = known.view.wals.get(&wal);
        let sound: Vec<(NodeId, &HeldWal, WalPosition, WalPosition)> = self
            .copies
            .iter()
            .filter_map(|(node, held)| held.sound().map(|(start, end)| (*node, *held, start, end)))
            .collect();
        let ends_of_objects = chain.iter().map(|link| link.entry.end).chain(boundaries.iter().copied());
        // A copy begins where everything below is in objects.
        let starts = sound.iter().map(|(_, _, start, _)| *start);
        let mut flushed =
            ends_of_objects.chain(starts).chain(view.map(|view| view.flushed)).max().unwrap_or_default();
        let decided = view.and_then(crate::chain::WalView::sealed_end).filter(|end| *end >= flushed);
        let decided = decided.or_else(|| followed.iter().find(|span| span.ends).map(|span| span.to));
        let longest = sound.iter().max_by_key(|(_, _, _, end)| *end);
        let held = longest.map_or(flushed, |(_, _, _, end)| flushed.max(*end));
        let mut end = decided.unwrap_or(held).max(flushed);
        if self.copies.is_empty() {
            // Whoever had it has removed it, which nobody does before everything is in objects.
            flushed = end;
        } else if end > held && !self.damage().is_empty() {
            losses.push(Loss::Copies { wal, from: held, reasons: self.damage() });
            end = held;
        } else if end > held {
            // What is left here is a part that somebody fetched; the whole copies were removed, as above.
            flushed = end;
        } else if sound.is_empty() && decided.is_none() {
            losses.push(Loss::Copies { wal, from: flushed, reasons: self.damage() });
        } else if self.is_newest && decided.is_none() && flushed > WalPosition::new(0) && self.has_no_files()
        {
            losses.push(Loss::Files { wal, from: flushed });
        }
        let holders = sound.iter().filter(|(_, _, _, held)| *held >= end && end > flushed);
        let mut log = Log {
            flushed,
            end,
            chain,
            holders: holders.map(|(node, ..)| *node).collect(),
            copies: sound.len(),
            damage: self.damage(),
            is_decided: decided.is_some(),
            lives: BTreeMap::new(),
            unflushed: longest.map(|(_, held, _, _)| held.lives.clone()).unwrap_or_default(),
        };
        for life in self.lives() {
            log.lives
                .entry((life.slot, life.epoch))
                .and_modify(|known| known.add(life))
                .or_insert_with(|| life.clone());
        }
        log
    }

    fn damage(&self) -> Vec<String> {
        let damaged = self.copies.iter().filter_map(|(node, held)| match &held.copy {
            HeldCopy::Damaged { reason } => Some(format!("node {node}: {reason}")),
            HeldCopy::Sound { .. } => None,
        });
        damaged.collect()
    }

    /// The last chunk of a WAL that is in use is never removed.
    fn has_no_files(&self) -> bool {
        self.copies.iter().all(|(_, held)| held.sound() == Some(Default::default()))
    }
}

/// The objects that count, by position, without overlaps.
fn chain_of(flushes: &[FoundFlush], boundaries: &BTreeSet<WalPosition>) -> Vec<Link> {
    let starts = flushes.iter().map(|flush| flush.start);
    let boundaries: BTreeSet<WalPosition> = starts.chain(boundaries.iter().copied()).collect();
    let mut chain: BTreeMap<WalPosition, &FoundFlush> = BTreeMap::new();
    for flush in flushes {
        let is_whole = boundaries.range(flush.start..flush.end).nth(1).is_none();
        let is_longest = chain.get(&flush.start).is_none_or(|known| known.end < flush.end);
        if is_whole && is_longest {
            chain.insert(flush.start, flush);
        }
    }
    let link = |flush: &FoundFlush| {
        let FoundFlush { name, start, end, lives } = flush;
        let entry = ChainEntry { start: *start, end: *end, object: name.clone() };
        Link { entry, lives: lives.iter().map(|life| (life.slot, life.epoch)).collect() }
    };
    chain.into_values().map(link).collect()
}
