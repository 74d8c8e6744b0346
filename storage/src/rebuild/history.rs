//! A slot's history, put together from what its lives say of each other.
//!
//! The newest life whose first record is there says which earlier ones count, and up to where; a life that it does not name was
//! never committed. What cannot be put together is a loss, and then the history ends before it.

use std::collections::BTreeMap;

use headgate_log::state_record::Inherited;
use headgate_metadata::id::{SlotEpoch, SlotId, WalId, WalPosition};
use headgate_metadata::record::{Applied, Span};

use super::Known;
use super::life::Life;
use super::logs::Logs;
use super::loss::Loss;
use super::survey::Survey;

/// A slot's manifest and what lies above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub(super) manifest: Option<String>,
    pub(super) applied: Option<Applied>,
    pub(super) spans: Vec<Span>,
    /// The highest epoch seen anywhere.
    pub(super) epoch: SlotEpoch,
}

/// The lives of one slot, by epoch, each with where it was found.
type LivesOf<'a> = BTreeMap<SlotEpoch, Vec<(WalId, &'a Life)>>;

/// The histories of all slots, and what may be missing of them.
pub(super) fn histories(
    known: &Known,
    survey: &Survey,
    logs: &Logs,
) -> (BTreeMap<SlotId, History>, Vec<Loss>) {
    let mut lives: BTreeMap<SlotId, LivesOf<'_>> = BTreeMap::new();
    for (wal, log) in logs {
        for ((slot, epoch), life) in &log.lives {
            lives.entry(*slot).or_default().entry(*epoch).or_default().push((*wal, life));
        }
    }
    let (mut histories, mut losses) = (BTreeMap::new(), Vec::new());
    for slot in known.slots() {
        let none = LivesOf::new();
        let lives = lives.get(&slot).unwrap_or(&none);
        let history = Gatherer { slot, known, survey, logs, lives, losses: &mut losses }.history();
        histories.insert(slot, history);
    }
    (histories, losses)
}

struct Gatherer<'a> {
    slot: SlotId,
    known: &'a Known,
    survey: &'a Survey,
    logs: &'a Logs,
    lives: &'a LivesOf<'a>,
    losses: &'a mut Vec<Loss>,
}

impl Gatherer<'_> {
    fn history(mut self) -> History {
        let manifest = self.survey.manifests.get(&self.slot);
        let applied = manifest.map(|manifest| manifest.applied);
        let record = self.known.view.slots.get(&self.slot).map(|view| &view.record);
        if let Some(had) = record.and_then(|record| record.applied).filter(|had| applied < Some(*had)) {
            self.losses.push(Loss::Manifest { slot: self.slot, applied: had, found: applied });
        }
        let in_store = record.map(|record| record.epoch);
        let in_names = self.survey.epochs.get(&self.slot).copied();
        let in_lives = self.lives.keys().next_back().copied();
        let epoch = [in_store, in_names, in_lives].into_iter().flatten().max().unwrap_or_default();
        let spans = self.spans(applied);
        History { manifest: manifest.map(|manifest| manifest.name.to_string()), applied, spans, epoch }
    }

    /// The spans above what is applied, as the newest life tells them of which everything is there.
    fn spans(&mut self, applied: Option<Applied>) -> Vec<Span> {
        let lives = self.lives;
        let from = applied.map(|applied| applied.epoch).unwrap_or_default();
        for (epoch, found) in lives.range(from..).rev() {
            let &[(wal, life)] = found.as_slice() else {
                let wals = found.iter().map(|(wal, _)| *wal).collect();
                self.losses.push(Loss::Forked { slot: self.slot, epoch: *epoch, wals });
                continue;
            };
            let own = Span { epoch: *epoch, wal, from: WalPosition::new(0), to: self.end_of(*epoch, wal) };
            if applied.is_some_and(|applied| applied > Applied { epoch: *epoch, position: life.last }) {
                break;
            }
            if applied.is_some_and(|applied| applied.epoch == *epoch) {
                // Its beginning is in the manifest, and so is everything before it.
                return vec![own];
            }
            match self.before(life, wal, applied) {
                Ok(mut spans) => {
                    spans.push(own);
                    return spans;
                }
                Err(loss) => self.losses.push(loss),
            }
        }
        Vec::new()
    }

    /// What the life follows above what is applied.
    fn before(&self, life: &Life, wal: WalId, applied: Option<Applied>) -> Result<Vec<Span>, Loss> {
        let slot = self.slot;
        let Some(Inherited { applied: had, spans }) = &life.inherited else {
            return Err(Loss::Beginning { slot, epoch: life.epoch, wal });
        };
        if let Some(had) = had.filter(|had| applied < Some(*had)) {
            return Err(Loss::Manifest { slot, applied: had, found: applied });
        }
        let mut before = Vec::new();
        for span in spans {
            if applied.is_some_and(|applied| applied > Applied { epoch: span.epoch, position: span.last }) {
                continue;
            }
            let log = self.logs.get(&span.wal);
            let found = log.and_then(|log| log.lives.get(&(slot, span.epoch)));
            let last = found.map(|found| found.last);
            let end = log.map(|log| log.end).unwrap_or_default();
            if last < Some(span.last) || end <= span.last {
                let (epoch, wal, last_found) = (span.epoch, span.wal, last.filter(|last| *last < end));
                return Err(Loss::Life { slot, epoch, wal, found: last_found, last: span.last });
            }
            let is_continued = applied.is_some_and(|applied| applied.epoch == span.epoch);
            if !is_continued && found.is_some_and(|found| found.inherited.is_none()) {
                return Err(Loss::Beginning { slot, epoch: span.epoch, wal: span.wal });
            }
            let (from, to) = (WalPosition::new(0), span.to.min(end));
            before.push(Span { epoch: span.epoch, wal: span.wal, from, to });
        }
        Ok(before)
    }

    /// Where a life ended: where a later one says, or with its WAL.
    fn end_of(&self, epoch: SlotEpoch, wal: WalId) -> WalPosition {
        let later = self.lives.range(epoch..).flat_map(|(_, found)| found);
        let told =
            later.filter_map(|(_, life)| life.inherited.as_ref()).flat_map(|inherited| &inherited.spans);
        let told = told.filter(|span| span.epoch == epoch && span.wal == wal).map(|span| span.to).min();
        let end = self.logs.get(&wal).map(|log| log.end).unwrap_or_default();
        told.map_or(end, |told| told.min(end))
    }
}
