//! Appends from gateways: each takes its place when it arrives, if there is room; else it waits for room in its lane, the appends
//! of one client connection to one slot, and later ones of that lane wait behind it.
//!
//! Invariant: within a lane appends are submitted in the order they arrived, and after a refusal nothing of the lane is submitted
//! that was sent before the gateway knew of it (`gateway/PROTOCOL.md` §3).

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use headgate_metadata::id::SlotId;
use headgate_storage_client::remote::message::AppendCall;
use headgate_storage_client::{
    Append, AppendError, Appended, Completion, RecordBatch, Reservation, Storage, Unavailable,
};
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::clock::SharedClock;
use crate::spawn;

/// Old fences are let go when there are this many lanes, and again when there are twice as many as were left.
const LANES_UNSWEPT_MAX: usize = 10_000;
/// What was sent before a refusal has arrived after this long: a connection that delivers nothing for seconds is closed.
const FENCE_AGE_MAX: Duration = Duration::from_mins(1);

/// A client connection and a slot.
type Lane = (u64, SlotId);
type Outcome = Result<Appended, AppendError>;
type Placed = Result<Completion<Outcome>, AppendError>;
type Reserving = BoxFuture<'static, Result<Reservation, Unavailable>>;

/// What is not simply submitted.
pub(super) struct Appends {
    storage: Arc<dyn Storage>,
    clock: SharedClock,
    /// Lanes in which something was refused or waits; of the others nothing is known.
    lanes: DashMap<Lane, Trouble>,
    sweep_at: AtomicUsize,
}

#[derive(Default)]
struct Trouble {
    /// Appends of this round and earlier ones are refused, with the error that began it.
    fence: Option<Fence>,
    /// What waits behind an append that waits for room.
    waiting: Option<VecDeque<Waiting>>,
}

#[derive(Clone, Copy)]
struct Fence {
    round: u64,
    error: AppendError,
    since: Duration,
}

/// An append that has no place yet.
struct Waiting {
    call: AppendCall,
    batch: RecordBatch,
    /// When its caller's patience ends.
    deadline: Instant,
    /// Told when it has one, or none.
    placed: oneshot::Sender<Placed>,
}

impl Appends {
    pub(super) fn new(storage: Arc<dyn Storage>, clock: SharedClock) -> Arc<Self> {
        let sweep_at = AtomicUsize::new(LANES_UNSWEPT_MAX);
        Arc::new(Self { storage, clock, lanes: DashMap::new(), sweep_at })
    }

    /// Takes the append's place now, or its place among those that wait for room. The future only waits for the outcome;
    /// dropping it takes back an append that still waits for room.
    pub(super) fn submit(
        self: Arc<Self>,
        call: AppendCall,
        batch: RecordBatch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let (lane, round) = ((call.caller.connection, call.partition.slot), call.round);
        let placed = self.place(lane, call, batch);
        async move {
            let taken = match placed {
                Place::Taken(completion) => Ok(completion),
                Place::Refused(error) => Err(error),
                // The sender goes only with the whole node.
                Place::Waits(placed) => placed.await.unwrap_or(Err(AppendError::Refused)),
            };
            let outcome = match taken {
                Ok(completion) => completion.await.unwrap_or(Err(AppendError::Unconfirmed)),
                Err(error) => return Err(error),
            };
            if let Err(error @ (AppendError::NotOwner | AppendError::Refused)) = outcome {
                self.fence(lane, round, error);
            }
            outcome
        }
    }

    fn place(self: &Arc<Self>, lane: Lane, call: AppendCall, batch: RecordBatch) -> Place {
        if let Some(mut trouble) = self.lanes.get_mut(&lane) {
            if let Some(fence) = trouble.fence.filter(|fence| call.round <= fence.round) {
                return Place::Refused(fence.error);
            }
            if let Some(waiting) = &mut trouble.waiting {
                let (next, told) = Waiting::new(call, batch);
                waiting.push_back(next);
                return Place::Waits(told);
            }
        }
        // Appends of a lane come by one connection, one after another: nobody else places one meanwhile.
        let mut reserving = self.reserve(&call, &batch);
        match (&mut reserving).now_or_never() {
            Some(Ok(reservation)) => match self.take(lane, &call, batch, reservation) {
                Ok(completion) => Place::Taken(completion),
                Err(error) => Place::Refused(error),
            },
            Some(Err(unavailable)) => {
                let error = refusal(unavailable);
                self.fence(lane, call.round, error);
                Place::Refused(error)
            }
            None => {
                let (first, told) = Waiting::new(call, batch);
                self.lanes.entry(lane).or_default().waiting = Some(VecDeque::new());
                // Ends when nothing of the lane waits; each waits no longer than its caller's patience.
                drop(spawn::task(Arc::clone(self).drain(lane, reserving, first)));
                Place::Waits(told)
            }
        }
    }

    fn reserve(&self, call: &AppendCall, batch: &RecordBatch) -> Reserving {
        let (storage, caller) = (Arc::clone(&self.storage), call.caller.clone());
        let (slot, bytes) = (call.partition.slot, batch.size_bytes());
        Box::pin(async move { storage.reserve(&caller, slot, bytes).await })
    }

    /// Submits an append. A refusal that comes at once raises the fence before the next append of the lane is looked at.
    fn take(
        &self,
        lane: Lane,
        call: &AppendCall,
        batch: RecordBatch,
        reservation: Reservation,
    ) -> Result<Completion<Outcome>, AppendError> {
        let append = Append { partition: call.partition, batch, reservation };
        let mut completion = self.storage.submit_append(&call.caller, append);
        match (&mut completion).now_or_never() {
            Some(Some(Err(error @ (AppendError::NotOwner | AppendError::Refused)))) => {
                self.fence(lane, call.round, error);
                Err(error)
            }
            Some(Some(outcome)) => Ok(Completion::ready(outcome)),
            // It went without an answer, and would go so again.
            Some(None) => Err(AppendError::Unconfirmed),
            None => Ok(completion),
        }
    }

    /// Places the appends of a lane one after another, as room comes.
    async fn drain(self: Arc<Self>, lane: Lane, mut reserving: Reserving, mut next: Waiting) {
        loop {
            self.place_waiting(lane, reserving, next).await;
            let mut trouble = self.lanes.get_mut(&lane).expect("a lane in which something waits stays");
            let Some(waiting) = trouble.waiting.as_mut().and_then(VecDeque::pop_front) else {
                trouble.waiting = None;
                drop(trouble);
                self.lanes.remove_if(&lane, |_, trouble| trouble.is_over());
                return;
            };
            next = waiting;
            reserving = self.reserve(&next.call, &next.batch);
        }
    }

    async fn place_waiting(&self, lane: Lane, reserving: Reserving, next: Waiting) {
        let Waiting { call, batch, deadline, mut placed } = next;
        if let Some(error) = self.fenced(lane, call.round) {
            let _ = placed.send(Err(error));
            return;
        }
        let reserved = select! {
            biased;
            reserved = timeout_at(deadline, reserving) => reserved,
            // Nobody waits any more: as if it had never come.
            () = placed.closed() => return,
        };
        let place = match reserved {
            Ok(Ok(reservation)) => self.take(lane, &call, batch, reservation),
            Ok(Err(unavailable)) => self.refuse(lane, call.round, refusal(unavailable)),
            Err(_) => self.refuse(lane, call.round, AppendError::Refused),
        };
        let _ = placed.send(place);
    }

    fn refuse<T>(&self, lane: Lane, round: u64, error: AppendError) -> Result<T, AppendError> {
        self.fence(lane, round, error);
        Err(error)
    }

    fn fenced(&self, lane: Lane, round: u64) -> Option<AppendError> {
        let trouble = self.lanes.get(&lane)?;
        trouble.fence.filter(|fence| round <= fence.round).map(|fence| fence.error)
    }

    fn fence(&self, lane: Lane, round: u64, error: AppendError) {
        let since = self.clock.monotonic();
        if self.lanes.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(since);
        }
        let mut trouble = self.lanes.entry(lane).or_default();
        if trouble.fence.is_none_or(|fence| fence.round < round) {
            trouble.fence = Some(Fence { round, error, since });
        }
    }
}

impl Appends {
    fn sweep(&self, now: Duration) {
        self.lanes.retain(|_, trouble| {
            trouble.fence = trouble.fence.filter(|fence| now.saturating_sub(fence.since) < FENCE_AGE_MAX);
            !trouble.is_over()
        });
        self.sweep_at.store((self.lanes.len() * 2).max(LANES_UNSWEPT_MAX), Ordering::Relaxed);
    }
}

impl Waiting {
    fn new(call: AppendCall, batch: RecordBatch) -> (Self, oneshot::Receiver<Placed>) {
        let (placed, told) = oneshot::channel();
        // A patience beyond all bounds is a month.
        let deadline = Instant::now() + call.caller.patience.min(Duration::from_hours(720));
        (Self { call, batch, deadline, placed }, told)
    }
}

impl Trouble {
    fn is_over(&self) -> bool {
        self.fence.is_none() && self.waiting.is_none()
    }
}

/// What has become of an append's place.
enum Place {
    Taken(Completion<Outcome>),
    Refused(AppendError),
    Waits(oneshot::Receiver<Placed>),
}

fn refusal(unavailable: Unavailable) -> AppendError {
    match unavailable {
        Unavailable::NotOwner => AppendError::NotOwner,
        Unavailable::Refused => AppendError::Refused,
    }
}
