//! Numbers that are handed out once and never again: incarnations, producer ids, epochs. A restored store would hand some out a second
//! time, so they go on above everything that was seen, and above what may have been handed out unseen.

use headgate_metadata::id::{Incarnation, SlotEpoch, SlotId, WalId};

use super::holdings::Holdings;
use super::life::Seen;
use super::logs::Logs;
use super::survey::Survey;
use super::{Known, REBUILT};

/// By how much incarnations and producer ids are raised beyond what was seen: more than can have been handed out unseen, since
/// nodes hold two thousand producer ids ahead at most, and an incarnation is drawn per start.
const NUMBERS_SKIPPED: u64 = 1 << 20;
/// By how much the epochs of slots are raised: each move or start that wrote nothing has taken one unseen.
const EPOCHS_SKIPPED: u32 = 1000;

/// The next numbers.
pub(super) struct Numbers {
    /// The rebuild was done before, and nobody has gone on from it: it keeps its numbers.
    is_again: bool,
    pub(super) token: String,
    pub(super) owner: WalId,
    pub(super) incarnations: u64,
    pub(super) producer_ids: u64,
}

impl Numbers {
    pub(super) fn of(known: &Known, logs: &Logs, seen: &Seen, given: &[Holdings], random: u64) -> Self {
        let before = known.life.as_ref().filter(|life| !life.nodes.is_empty());
        let before =
            before.filter(|life| given.iter().all(|holdings| holdings.life.as_ref() != Some(&life.token)));
        let owner = known.view.wals.keys().find(|wal| wal.node == REBUILT);
        if let (Some(life), Some(owner)) = (before, owner) {
            return Self {
                is_again: true,
                token: life.token.clone(),
                owner: *owner,
                incarnations: known.incarnations,
                producer_ids: known.producer_ids,
            };
        }
        let of_nodes = known.view.nodes.values().map(|record| record.incarnation.get() + 1);
        let of_wals = logs.keys().map(|wal| wal.incarnation.get() + 1);
        let highest = of_nodes.chain(of_wals).chain([seen.incarnations, known.incarnations]).max();
        let incarnation = highest.unwrap_or(1) + NUMBERS_SKIPPED;
        Self {
            is_again: false,
            token: format!("{random:016x}"),
            owner: WalId { node: REBUILT, incarnation: Incarnation::new(incarnation) },
            incarnations: incarnation + 1,
            producer_ids: known.producer_ids.max(seen.producer_ids) + NUMBERS_SKIPPED,
        }
    }

    /// Above every epoch that can have been handed out.
    pub(super) fn epoch(&self, known: &Known, slot: SlotId, highest: SlotEpoch) -> SlotEpoch {
        let record = known.view.slots.get(&slot).map(|view| &view.record);
        match record.filter(|record| self.is_again && record.owner == self.owner) {
            Some(record) => record.epoch,
            None => SlotEpoch::new(highest.get() + EPOCHS_SKIPPED),
        }
    }
}

/// The numbers in logs and manifests.
pub(super) fn seen(survey: &Survey, given: &[Holdings]) -> Seen {
    let mut seen = survey.seen.clone();
    given.iter().flat_map(|holdings| &holdings.wals).for_each(|held| seen.add(&held.seen));
    seen
}
