//! The ensemble of the own WAL: who holds a copy, and how that changes (`storage/PROTOCOL.md` §3).
//!
//! ```text
//! candidate ─ stream from `flushed` ─► caught up ─► gate waits for it too ─► compare-and-swap ─► member
//! member ─ silent for 500 ms ─► compare-and-swap without it ─► gate waits for it no longer
//! ```
//!
//! Invariants:
//! 1. A node becomes a member only when it holds everything that is not flushed, and everything that is committed. So the last
//!    fragment of a WAL names holders of all its unflushed bytes, and every acknowledged byte is in each of them.
//! 2. While a change is under way, or its outcome unknown, the gate demands the members of both ensembles.
//! 3. No change leaves fewer members than copies are demanded.

mod candidates;
mod standing;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::id::{WalId, WalPosition};
use headgate_metadata::keys;
use headgate_metadata::record::{Fragment, Record, WalRecord, WalState};
use headgate_metadata::store::{Compare, MetadataError, Outcome, SharedStore, Transaction, Write};
use tokio::sync::watch;
use tracing::{info, warn};

use self::candidates::{Conduct, choose};
pub(crate) use self::standing::Standing;
use self::stream::{Stream, StreamParts};
use crate::cell_watch::CellWatch;
use crate::clock::SharedClock;
use crate::fleet::{Fleet, Member};
use crate::peer::{PeerCall, PeerReply, PeerRequest};
use crate::planted::{Bug, is_planted};
use crate::sequencer::Sequencer;

/// A mirror that leaves a question unanswered for this long is replaced.
const SILENCE_MAX: Duration = Duration::from_millis(500);
/// How often the ensemble is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How far a candidate may be behind when the gate begins to wait for it: what it still lacks is on its way.
const LAG_BYTES_MAX: u64 = 1 << 20;
/// How long an unknown outcome rests before the key is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What the ensemble works with.
pub(crate) struct EnsembleParts {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) wal_dir: std::path::PathBuf,
    pub(crate) store: SharedStore,
    pub(crate) cell: Arc<CellWatch>,
    pub(crate) sequencer: Arc<Sequencer>,
    pub(crate) clock: SharedClock,
    pub(crate) standing: Arc<Standing>,
    pub(crate) copies_min: usize,
}

/// Keeps the ensemble of one WAL.
pub(crate) struct Ensemble {
    parts: EnsembleParts,
    wal: WalId,
    owner: Member,
    /// The members beside the owner, as the metadata store has them.
    mirrors: BTreeMap<Member, Stream>,
    candidate: Option<Candidate>,
    conduct: Conduct,
}

/// A node that catches up.
struct Candidate {
    stream: Stream,
    /// The gate waits for it.
    at_gate: bool,
}

/// Why the ensemble ended: the WAL is sealed, by others.
struct Sealed;

impl Ensemble {
    pub(crate) fn new(parts: EnsembleParts) -> Self {
        let wal = parts.sequencer.wal();
        parts.sequencer.outbox().open();
        Self {
            parts,
            wal,
            owner: (wal.node, wal.incarnation),
            mirrors: BTreeMap::new(),
            candidate: None,
            conduct: Conduct::default(),
        }
    }

    /// Keeps the ensemble until the WAL is sealed by others, which `sealed` is then told.
    pub(crate) async fn run(mut self, sealed: watch::Sender<bool>) {
        loop {
            let seen = self.parts.cell.changes().version();
            if let Err(Sealed) = self.step().await {
                warn!(wal = %self.wal, "the WAL was sealed by others");
                self.parts.standing.end();
                sealed.send_replace(true);
                return;
            }
            drop(tokio::time::timeout(TICK, self.parts.cell.changes().changed(seen)).await);
        }
    }

    async fn step(&mut self) -> Result<(), Sealed> {
        let wal = self.wal;
        let state = self.parts.cell.with(|cell| cell.wals.get(&wal).map(|view| view.record.state));
        let is_open = state.is_some_and(|state| state == WalState::Open);
        let streams = self.mirrors.values().chain(self.candidate.as_ref().map(|candidate| &candidate.stream));
        if !is_open || streams.into_iter().any(Stream::is_fenced) {
            // A fence comes from whoever seals; the key will say so.
            return Err(Sealed);
        }
        self.look_after_candidate().await?;
        self.replace_silent().await?;
        if self.candidate.is_none() && self.mirrors.len() + 1 < self.parts.fleet.replication {
            self.candidate = self.next_candidate();
        }
        Ok(())
    }

    /// Begins to stream to the best node that is not in the ensemble yet.
    fn next_candidate(&mut self) -> Option<Candidate> {
        let now = self.parts.clock.monotonic();
        let mirrors: Vec<Member> = self.mirrors.keys().copied().collect();
        let (wal, zone) = (self.wal, &self.parts.fleet.zone);
        let chosen = self.parts.cell.with(|cell| choose(cell, wal, zone, &mirrors, &self.conduct, now))?;
        Some(Candidate { stream: self.stream(chosen), at_gate: false })
    }

    fn stream(&self, member: Member) -> Stream {
        Stream::start(StreamParts {
            member,
            network: Arc::clone(&self.parts.fleet.network),
            disk: self.parts.fleet.mirrors.disk(),
            wal_dir: self.parts.wal_dir.clone(),
            cell: Arc::clone(&self.parts.cell),
            sequencer: Arc::clone(&self.parts.sequencer),
            clock: Arc::clone(&self.parts.clock),
            clocks: Arc::clone(&self.parts.fleet.clocks),
            standing: Arc::clone(&self.parts.standing),
        })
    }

    /// Lets the candidate in when it has caught up, and go when it does not answer.
    async fn look_after_candidate(&mut self) -> Result<(), Sealed> {
        let Some(candidate) = &mut self.candidate else { return Ok(()) };
        let member = candidate.stream.member();
        let now = self.parts.clock.monotonic();
        if candidate.stream.is_silent(now, SILENCE_MAX) {
            self.conduct.left(member.0, now);
            self.give_up_candidate();
            return Ok(());
        }
        let Some(held) = candidate.stream.held() else { return Ok(()) };
        let written = self.parts.sequencer.outbox().written();
        if !candidate.at_gate {
            let lags = written.get() - held.get().min(written.get()) > LAG_BYTES_MAX;
            if lags && !is_planted(Bug::SwapBeforeCatchUp) || !self.finishes(member).await {
                return Ok(());
            }
            let held = self.candidate.as_ref().and_then(|candidate| candidate.stream.held()).unwrap_or(held);
            if !self.parts.sequencer.admit(member, held).await {
                return Ok(());
            }
            if let Some(candidate) = &mut self.candidate {
                candidate.at_gate = true;
            }
        }
        let mut members = self.members();
        members.push(member);
        match self.change(&members).await? {
            Changed::Yes => {
                info!(wal = %self.wal, node = %member.0, copies = members.len(), "mirror is a member");
                let Some(Candidate { stream, .. }) = self.candidate.take() else { return Ok(()) };
                self.mirrors.insert(member, stream);
                self.parts.standing.set(self.mirrors.keys().copied(), self.is_enough());
            }
            Changed::No => {
                self.conduct.left(member.0, now);
                self.give_up_candidate();
            }
        }
        Ok(())
    }

    /// Tells the candidate that its copy is about to count.
    async fn finishes(&self, to: Member) -> bool {
        let request = PeerRequest::Finish { wal: self.wal };
        let asked = self.parts.fleet.network.call(PeerCall { to, request });
        matches!(tokio::time::timeout(SILENCE_MAX, asked).await, Ok(Ok(PeerReply::Held { .. })))
    }

    fn give_up_candidate(&mut self) {
        if let Some(Candidate { stream, at_gate }) = self.candidate.take()
            && at_gate
        {
            self.parts.sequencer.dismiss(stream.member());
        }
    }

    /// Goes on without a member that does not answer, if enough others are left.
    async fn replace_silent(&mut self) -> Result<(), Sealed> {
        let now = self.parts.clock.monotonic();
        let silent = self.mirrors.iter().find(|(_, stream)| stream.is_silent(now, SILENCE_MAX));
        let Some(member) = silent.map(|(member, _)| *member) else { return Ok(()) };
        let others: Vec<Member> = self.members().into_iter().filter(|other| *other != member).collect();
        if others.len() < self.parts.copies_min {
            return Ok(());
        }
        if is_planted(Bug::NoStopDuringChange) {
            self.parts.sequencer.dismiss(member);
        }
        if let Changed::Yes = self.change(&others).await? {
            warn!(wal = %self.wal, node = %member.0, copies = others.len(), "mirror silent, goes on without it");
            self.mirrors.remove(&member);
            self.conduct.left(member.0, now);
            self.parts.standing.set(self.mirrors.keys().copied(), self.is_enough());
            self.parts.sequencer.dismiss(member);
        }
        Ok(())
    }

    fn members(&self) -> Vec<Member> {
        [self.owner].into_iter().chain(self.mirrors.keys().copied()).collect()
    }

    fn is_enough(&self) -> bool {
        self.mirrors.len() + 1 >= self.parts.copies_min
    }

    /// Swaps the ensemble in the metadata store. Returns when the outcome is known, or when it is known that nothing was
    /// changed; an unknown one is asked after for as long as it takes.
    async fn change(&self, ensemble: &[Member]) -> Result<Changed, Sealed> {
        let key = keys::wal(self.wal);
        let mut is_unknown = false;
        loop {
            let entry = match self.parts.store.get(&key).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Err(Sealed),
                Err(_) if is_unknown => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return Ok(self.not_changed(&error)),
            };
            let Ok(record) = WalRecord::decode(&entry.value) else { return Ok(Changed::No) };
            if record.state != WalState::Open {
                return Err(Sealed);
            }
            if record.fragments.last().is_some_and(|last| last.ensemble == ensemble) {
                return Ok(Changed::Yes);
            }
            let start: WalPosition = self.parts.sequencer.committed();
            let fragments = vec![Fragment { start, ensemble: ensemble.to_vec() }];
            let changed = WalRecord { fragments, ..record };
            let transaction = Transaction::new()
                .when(Compare::Unchanged(key.clone(), entry.modified))
                .then(Write::Put(key.clone(), changed.encode()));
            match self.parts.store.commit(transaction).await {
                Ok(Outcome::Committed(_)) => return Ok(Changed::Yes),
                Ok(Outcome::Refused(_)) => {}
                Err(MetadataError::OutcomeUnknown { reason }) => {
                    warn!(reason, "outcome of a change of the ensemble unknown");
                    is_unknown = true;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(_) if is_unknown => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Ok(self.not_changed(&error)),
            }
        }
    }

    fn not_changed(&self, error: &MetadataError) -> Changed {
        warn!(wal = %self.wal, %error, "ensemble not changed");
        Changed::No
    }
}

/// Whether a change of the ensemble stands in the metadata store.
enum Changed {
    Yes,
    No,
}
