//! Recovery of WALs whose owner is gone (`storage/PROTOCOL.md` §4, §10): the end of a WAL is decided once, by compare-and-swap,
//! whoever begins and whoever continues.
//!
//! A survivor acts on lost contact: a mirror that has not heard the owner for a second, or, as the backstop, anybody who sees that
//! the owner's lease is gone. An owner that is heard but stands still is another matter (`relief.rs`). Who gets the slots then is
//! decided in `steward.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use headgate_metadata::id::{NodeId, WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{FlushedRecord, Fragment, Record, WalRecord, WalState};
use headgate_metadata::store::{
    Compare, Entry, MetadataError, Outcome, Select, SharedStore, Transaction, Write,
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::cell_watch::CellWatch;
use crate::clock::SharedClock;
use crate::fleet::{Fleet, Member};
use crate::peer::{PeerCall, PeerReply, PeerRequest};
use crate::relief::Relief;

/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(100);
/// A mirror that has not heard the owner for this long begins recovery.
const SILENCE: Duration = Duration::from_secs(1);
/// How long an open WAL without a live owner, or a half-done sealing, is left to others.
const BACKSTOP: Duration = Duration::from_secs(2);
/// How long a member may take to answer a fence, its sync included.
const FENCE_WAIT: Duration = Duration::from_millis(700);
/// How long restarted members that do not answer are waited for, when no incarnation of an ensemble survives.
const RESTART_PATIENCE: Duration = Duration::from_secs(10);

/// Seals the WALs of others that are gone, and those of this node's earlier starts.
pub(crate) struct Recoverer {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: SharedStore,
    pub(crate) cell: Arc<CellWatch>,
    pub(crate) clock: SharedClock,
    /// The own WAL, which this process never seals.
    pub(crate) own: WalId,
    pub(crate) copies_min: usize,
}

/// Why a WAL was not sealed. Tried again.
#[derive(Debug, thiserror::Error)]
enum SealFault {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("no member of the ensemble answers")]
    NobodyAnswers,
}

/// Since when something was seen that others may take care of.
type Since = BTreeMap<WalId, Duration>;

impl Recoverer {
    /// Recovers for ever. Cancel safe: a half-done sealing is continued by whoever finds it.
    pub(crate) async fn run(&self) {
        let (mut orphaned, mut unanswered) = (Since::new(), Since::new());
        let mut relief = Relief {
            mirrors: Arc::clone(&self.fleet.mirrors),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            well: Since::new(),
        };
        loop {
            for wal in self.due(&mut orphaned).into_iter().chain(relief.relieve().await) {
                match self.seal(wal, &mut unanswered).await {
                    Ok(()) => {
                        unanswered.remove(&wal);
                    }
                    Err(error) => warn!(%wal, %error, "WAL not sealed yet"),
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The WALs that are to be sealed now.
    fn due(&self, orphaned: &mut Since) -> Vec<WalId> {
        let now = self.clock.monotonic();
        let silent = self.fleet.mirrors.silent(SILENCE);
        self.cell.with(|cell| {
            let unsealed = cell.wals.iter().filter(|(wal, view)| {
                **wal != self.own && !matches!(view.record.state, WalState::Sealed { .. })
            });
            let mut due = Vec::new();
            let mut alone = Vec::new();
            for (wal, view) in unsealed {
                let is_member = view.holders().contains(&self.fleet.me);
                if is_member && silent.contains(wal) || wal.node == self.fleet.me.0 {
                    due.push(*wal);
                } else if view.record.state == WalState::Sealing || !cell.is_live(wal.node) {
                    alone.push(*wal);
                }
            }
            orphaned.retain(|wal, _| alone.contains(wal));
            for wal in alone {
                if now.saturating_sub(*orphaned.entry(wal).or_insert(now)) >= BACKSTOP {
                    due.push(wal);
                }
            }
            due
        })
    }

    /// Seals one WAL, or continues a half-done sealing.
    async fn seal(&self, wal: WalId, unanswered: &mut Since) -> Result<(), SealFault> {
        let key = keys::wal(wal);
        loop {
            let Some(entry) = self.store.get(&key).await? else { return Ok(()) };
            let record = WalRecord::decode(&entry.value)?;
            match record.state {
                WalState::Sealed { .. } => return Ok(()),
                // A member that stood still itself takes others for silent, and may have been left behind meanwhile.
                WalState::Open
                    if !may_begin(self.fleet.me, &record, self.cell.with(|cell| cell.is_live(wal.node))) =>
                {
                    return Ok(());
                }
                WalState::Open => {
                    info!(%wal, by = %self.fleet.me.0, "owner lost, sealing its WAL");
                    self.swap(&entry, &WalRecord { state: WalState::Sealing, ..record }).await?;
                }
                WalState::Sealing => {
                    let (end, holders) = self.fence(wal, &record, unanswered).await?;
                    let fragments = vec![Fragment { start: end, ensemble: holders }];
                    let sealed = WalRecord { state: WalState::Sealed { end }, fragments, ..record };
                    if self.swap(&entry, &sealed).await? {
                        info!(%wal, %end, "WAL sealed");
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Fences whoever can be reached of the ensemble. The end is the shortest copy among them: every acknowledged byte is in
    /// all of them.
    async fn fence(
        &self,
        wal: WalId,
        record: &WalRecord,
        unanswered: &mut Since,
    ) -> Result<(WalPosition, Vec<Member>), SealFault> {
        let snapshot = self.store.read(&[Select::Key(keys::flushed(wal))]).await?;
        let flushed = match snapshot.results.iter().flatten().next() {
            Some(entry) => FlushedRecord::decode(&entry.value)?.position,
            None => WalPosition::new(0),
        };
        let ensemble = record.fragments.last().map(|last| last.ensemble.clone()).unwrap_or_default();
        let mut held = self.ask(wal, &ensemble, false).await;
        if held.is_empty() {
            held = self.fence_restarted(wal, &ensemble, unanswered).await?;
        }
        // A copy that holds nothing above what is flushed lacks nothing that was acknowledged: it was never sent any.
        let end = held.iter().map(|(_, position)| *position).filter(|position| *position > flushed).min();
        let end = end.unwrap_or(flushed);
        let holders = held.into_iter().filter(|(_, position)| *position >= end).map(|(member, _)| member);
        Ok((end, holders.collect()))
    }

    /// Only if no incarnation of the ensemble survives may restarted copies be used, and then all that can be reached.
    async fn fence_restarted(
        &self,
        wal: WalId,
        ensemble: &[Member],
        unanswered: &mut Since,
    ) -> Result<Vec<(Member, WalPosition)>, SealFault> {
        let nodes: Vec<NodeId> = ensemble.iter().map(|(node, _)| *node).collect();
        let live: Vec<Member> = self.cell.with(|cell| {
            let known = nodes.iter().filter_map(|node| cell.nodes.get(node));
            known.map(|record| (record.node, record.incarnation)).collect()
        });
        // The owner's own place in the ensemble bears its WAL's incarnation: that of a start which is over or which is fenced.
        if live.iter().any(|member| ensemble.contains(member) && member.0 != wal.node) {
            return Err(SealFault::NobodyAnswers);
        }
        let now = self.clock.monotonic();
        let since = *unanswered.entry(wal).or_insert(now);
        let held = self.ask(wal, &live, true).await;
        let is_everybody = held.len() == nodes.len();
        // An owner that never had a mirror has acknowledged nothing: slots open with the second copy, and an ensemble never
        // becomes smaller than that. It may have died before its directory was there.
        if held.is_empty()
            && ensemble.len() < self.copies_min
            && now.saturating_sub(since) >= RESTART_PATIENCE
        {
            return Ok(held);
        }
        if held.is_empty() || !is_everybody && now.saturating_sub(since) < RESTART_PATIENCE {
            return Err(SealFault::NobodyAnswers);
        }
        warn!(%wal, copies = held.len(), of = nodes.len(), "no incarnation of the ensemble survives, using restarted copies");
        Ok(held)
    }

    async fn ask(&self, wal: WalId, members: &[Member], restarted: bool) -> Vec<(Member, WalPosition)> {
        let calls = members.iter().map(|to| {
            let request = PeerRequest::Fence { wal, restarted };
            timeout(FENCE_WAIT, self.fleet.network.call(PeerCall { to: *to, request }))
        });
        let answers = members.iter().zip(join_all(calls).await);
        let held = answers.filter_map(|(member, answer)| match answer {
            Ok(Ok(PeerReply::Held { position, .. })) => Some((*member, position)),
            _ => None,
        });
        held.collect()
    }

    /// `false` = the key moved, or may have: it is read again.
    async fn swap(&self, before: &Entry, record: &WalRecord) -> Result<bool, MetadataError> {
        let transaction = Transaction::new()
            .when(Compare::Unchanged(before.key.clone(), before.modified))
            .then(Write::Put(before.key.clone(), record.encode()));
        match self.store.commit(transaction).await {
            Ok(outcome) => Ok(matches!(outcome, Outcome::Committed(_))),
            Err(MetadataError::OutcomeUnknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether a node may begin to seal a WAL whose record is this: as a member, as the owner's next start, or because the owner's
/// lease is gone.
fn may_begin(me: Member, record: &WalRecord, is_owner_live: bool) -> bool {
    record.has_member(me) || record.wal.node == me.0 || !is_owner_live
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::Incarnation;

    use super::*;

    fn member(node: u32) -> Member {
        (NodeId::new(node), Incarnation::new(7))
    }

    /// A process that stood still for a while has heard nobody; its owners were well, and have gone on without it.
    #[test]
    fn section_10_who_was_left_behind_seals_nothing_of_a_live_owner() {
        let wal = WalId { node: NodeId::new(1), incarnation: Incarnation::new(7) };
        let fragments = vec![Fragment { start: WalPosition::new(0), ensemble: vec![member(1), member(2)] }];
        let record = WalRecord { wal, state: WalState::Open, fragments };
        assert!(may_begin(member(2), &record, true), "a member");
        assert!(!may_begin(member(3), &record, true), "left behind");
        assert!(may_begin(member(3), &record, false), "the backstop");
        let restarted = (NodeId::new(2), Incarnation::new(9));
        assert!(!may_begin(restarted, &record, true), "another start than the member's");
        assert!(may_begin((NodeId::new(1), Incarnation::new(9)), &record, true), "the owner's next start");
    }
}
