//! One mirror's stream: joins, sends what the mirror lacks, then every group as it is written (`storage/PROTOCOL.md` §2.3).
//!
//! Groups are sent without waiting for answers, up to a bound; between them the owner asks whether it is still followed, so that
//! a mirror always has something to answer and silence shows.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use headgate_log::disk::Disk;
use headgate_log::wal::{CopiedGroup, read_groups};
use headgate_metadata::id::WalPosition;
use tokio::task::JoinHandle;
use tracing::debug;

use super::Standing;
use crate::cell_watch::CellWatch;
use crate::clock::SharedClock;
use crate::clocks::Clocks;
use crate::fleet::Member;
use crate::outbox::Next;
use crate::peer::{Network, NoAnswer, PeerCall, PeerReply, PeerRequest};
use crate::sequencer::Sequencer;
use crate::spawn;

/// What may be on its way unanswered. Higher: more memory at the mirror. Lower: long ways are not filled.
const WINDOW_BYTES: u64 = 8 << 20;
/// About how much is read from disk at once for a mirror that has fallen behind.
const PIECE_BYTES: u64 = 4 << 20;
/// How often a mirror is asked whether it still follows.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a broken stream rests.
const REJOIN_PAUSE: Duration = Duration::from_millis(50);

/// What a stream is made of.
pub(super) struct StreamParts {
    pub(super) member: Member,
    pub(super) network: Arc<dyn Network>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) wal_dir: PathBuf,
    pub(super) cell: Arc<CellWatch>,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) clock: SharedClock,
    pub(super) clocks: Arc<Clocks>,
    pub(super) standing: Arc<Standing>,
}

/// A running stream. Dropping it ends it.
pub(super) struct Stream {
    member: Member,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// How a stream stands.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// `None` before the mirror has joined.
    held: Option<WalPosition>,
    /// Since when the oldest question waits.
    asked: Option<Duration>,
    fenced: bool,
}

impl Stream {
    pub(super) fn start(parts: StreamParts) -> Self {
        let member = parts.member;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sender = Sender { parts, seen: Arc::clone(&seen) };
        let task = spawn::task(async move { sender.run().await });
        Self { member, seen, task }
    }

    pub(super) fn member(&self) -> Member {
        self.member
    }

    /// How far the mirror holds the log; `None` before it has joined.
    pub(super) fn held(&self) -> Option<WalPosition> {
        lock(&self.seen).held
    }

    /// Whether a question has waited for an answer for `silence`.
    pub(super) fn is_silent(&self, now: Duration, silence: Duration) -> bool {
        lock(&self.seen).asked.is_some_and(|asked| now.saturating_sub(asked) >= silence)
    }

    /// Whether the mirror has promised a seal.
    pub(super) fn is_fenced(&self) -> bool {
        lock(&self.seen).fenced
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sender {
    parts: StreamParts,
    seen: Arc<Mutex<Seen>>,
}

/// A question on its way.
struct Flying {
    asked: Duration,
    bytes: u64,
    answer: BoxFuture<'static, Result<PeerReply, NoAnswer>>,
}

/// Why a stream ended.
enum Ended {
    /// The mirror has promised a seal.
    Fenced,
    /// Something was lost: join again.
    Broken,
}

impl Sender {
    async fn run(&self) {
        loop {
            if let Ended::Fenced = self.stream().await {
                self.seen().fenced = true;
                return;
            }
            debug!(wal = %self.parts.sequencer.wal(), node = %self.parts.member.0, "mirror stream broken, joining again");
            tokio::time::sleep(REJOIN_PAUSE).await;
        }
    }

    async fn stream(&self) -> Ended {
        let wal = self.parts.sequencer.wal();
        let from =
            self.parts.cell.with(|cell| cell.wals.get(&wal).map_or(WalPosition::new(0), |own| own.flushed));
        let asked = self.asks();
        let mut cursor = match self.call(PeerRequest::Join { wal, from }).await {
            Ok(PeerReply::Held { position, .. }) => position,
            Ok(PeerReply::Promised) => return Ended::Fenced,
            // The question counts as asked until something is answered: a mirror that only refuses is as good as silent.
            _ => return Ended::Broken,
        };
        // The mirror's disk failed, and it has begun anew: what it acknowledged is not there any more. It stays silent, so that
        // it is replaced, and comes again as any other node.
        if self.seen().held.is_some_and(|held| cursor < held) {
            return Ended::Broken;
        }
        self.answered(asked, None);
        self.holds(cursor);
        let mut flying: VecDeque<Flying> = VecDeque::new();
        let mut in_flight = 0;
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Marked before the outbox is looked at, so that no write falls between.
            let writes = self.parts.sequencer.outbox().writes();
            let version = writes.version();
            while in_flight < WINDOW_BYTES {
                let Ok(groups) = self.next(cursor).await else { return Ended::Broken };
                if groups.is_empty() {
                    break;
                }
                for group in groups {
                    cursor = group.end;
                    let bytes = group.end.get() - group.position.get();
                    in_flight += bytes;
                    flying.push_back(self.ask(PeerRequest::Append { wal, group }, bytes));
                }
            }
            let oldest = async {
                match flying.front_mut() {
                    Some(flying) => (&mut flying.answer).await,
                    None => std::future::pending().await,
                }
            };
            let is_full = in_flight >= WINDOW_BYTES;
            tokio::select! {
                biased;
                reply = oldest => {
                    let Some(Flying { asked, bytes, .. }) = flying.pop_front() else { continue };
                    in_flight -= bytes;
                    match reply {
                        Ok(PeerReply::Held { position, free_bytes }) => {
                            self.parts.standing.has_free(self.parts.member, free_bytes);
                            self.holds(position);
                        }
                        Ok(PeerReply::Confirmed { wall }) => {
                            if let Some(wall) = wall {
                                let way = self.parts.clock.monotonic().saturating_sub(asked);
                                self.parts.clocks.answered(self.parts.member.0, way, wall);
                            }
                        }
                        Ok(PeerReply::Promised) => return Ended::Fenced,
                        _ => return Ended::Broken,
                    }
                    self.answered(asked, flying.front().map(|next| next.asked));
                }
                _ = ask.tick() => {
                    let still = Some(self.parts.sequencer.stands_still(self.parts.clock.monotonic()));
                    flying.push_back(self.ask(PeerRequest::Confirm { wal, still }, 0));
                }
                () = writes.changed(version), if !is_full => {}
            }
        }
    }

    /// The next groups from `cursor` on; none if there are none yet.
    async fn next(&self, cursor: WalPosition) -> Result<Vec<CopiedGroup>, Ended> {
        match self.parts.sequencer.outbox().next(cursor) {
            Next::Nothing => Ok(Vec::new()),
            Next::Group(group) => Ok(vec![group]),
            Next::Older(end) => {
                let (disk, dir) = (Arc::clone(&self.parts.disk), self.parts.wal_dir.clone());
                let wal = self.parts.sequencer.wal();
                let read = move || read_groups(&*disk, &dir, wal, cursor, end, PIECE_BYTES);
                match spawn::blocking(read).await {
                    Some(Ok(groups)) if !groups.is_empty() => Ok(groups),
                    _ => Err(Ended::Broken),
                }
            }
        }
    }

    fn ask(&self, request: PeerRequest, bytes: u64) -> Flying {
        let asked = self.asks();
        Flying { asked, bytes, answer: self.call(request) }
    }

    fn call(&self, request: PeerRequest) -> BoxFuture<'static, Result<PeerReply, NoAnswer>> {
        self.parts.network.call(PeerCall { to: self.parts.member, request })
    }

    /// A question goes out now.
    fn asks(&self) -> Duration {
        let now = self.parts.clock.monotonic();
        self.seen().asked.get_or_insert(now);
        now
    }

    /// What was asked at `asked` was answered; the next that waits was asked at `next`.
    fn answered(&self, asked: Duration, next: Option<Duration>) {
        self.seen().asked = next;
        self.parts.standing.confirmed_by(self.parts.member, asked);
    }

    fn holds(&self, position: WalPosition) {
        {
            let mut seen = self.seen();
            seen.held = Some(seen.held.map_or(position, |held| held.max(position)));
        }
        self.parts.sequencer.member_holds(self.parts.member, position);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
