//! Fetch sessions (KIP-227): the client names its partitions once and later only what changed.
//!
//! Invariants: a session belongs to one connection and dies with it; the partitions of all sessions stay within the
//! process's budget; partitions that gave data go to the end of the order, so that none starves.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use uuid::Uuid;

use super::encode::FetchEntry;
use crate::refusal::Refusal;

/// The epoch of a request that begins a session.
const EPOCH_INITIAL: i32 = 0;
/// The epoch of a request outside any session.
const EPOCH_FINAL: i32 = -1;
/// From this version on topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// A connection's session, if it has one.
pub(crate) type FetchSessionSlot = Mutex<Option<FetchSession>>;

/// How many partitions all sessions of the process may remember.
#[derive(Debug)]
pub(crate) struct SessionBudget {
    free: AtomicU32,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<SessionBudget>,
    partitions: u32,
}

impl SessionBudget {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { free: AtomicU32::new(partitions) }
    }

    fn take(self: &Arc<Self>, partitions: usize) -> Option<Share> {
        let partitions = u32::try_from(partitions).ok()?;
        let taken =
            self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(partitions));
        taken.ok().map(|_| Share { budget: Arc::clone(self), partitions })
    }
}

impl Share {
    /// Grows or shrinks to so many partitions; `false` if the budget has no room.
    fn resize(&mut self, partitions: usize) -> bool {
        let Ok(wanted) = u32::try_from(partitions) else { return false };
        if let Some(more) = wanted.checked_sub(self.partitions) {
            let Some(mut share) = self.budget.take(more as usize) else { return false };
            share.partitions = 0;
        } else {
            self.budget.free.fetch_add(self.partitions - wanted, Ordering::AcqRel);
        }
        self.partitions = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.partitions, Ordering::AcqRel);
    }
}

/// A topic as the request names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicRef {
    /// Up to version 12. Copied out of the frame, since it outlives the request.
    Name(Arc<str>),
    /// From version 13 on.
    Id(Uuid),
}

/// A partition the client wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
    pub(crate) leader_epoch: i32,
}

/// What is remembered between the requests of a session.
#[derive(Debug)]
pub(crate) struct FetchSession {
    id: i32,
    /// The epoch the next request must carry.
    epoch: i32,
    by_id: bool,
    /// In the order they are read.
    order: BTreeMap<u64, Remembered>,
    places: HashMap<(TopicRef, i32), u64>,
    next_place: u64,
    share: Share,
}

#[derive(Debug)]
struct Remembered {
    wanted: Wanted,
    /// What the client was last told; -1 = nothing, so that the next answer names the partition.
    high_watermark: i64,
    log_start: i64,
}

/// What a request asks for, after its session was looked up.
#[derive(Debug)]
pub(crate) struct Asked {
    /// In the order they are to be read.
    pub(crate) wanted: Vec<Wanted>,
    /// Whether the answer names only what changed.
    pub(crate) incremental: bool,
    /// What the answer says of the session.
    pub(crate) session_id: i32,
}

/// Looks up, begins, changes or ends the session a request speaks of. `random` gives the id of a new one.
pub(crate) fn begin(
    slot: &FetchSessionSlot,
    budget: &Arc<SessionBudget>,
    version: i16,
    request: &FetchRequest,
    random: u64,
) -> Result<Asked, Refusal> {
    let mut slot = slot.lock().expect("nobody panics while holding a fetch session");
    let by_id = version >= TOPIC_IDS_FROM;
    if is_full(request) {
        // A full request ends the session it names.
        if slot.as_ref().is_some_and(|session| session.id == request.session_id || request.session_id == 0) {
            *slot = None;
        }
        let wanted = wanted_of(&request.topics, by_id);
        let session_id = match request.session_epoch {
            EPOCH_INITIAL => open(&mut slot, budget, by_id, &wanted, random),
            _ => 0,
        };
        return Ok(Asked { wanted, incremental: false, session_id });
    }
    let session = slot.as_mut().filter(|session| session.id == request.session_id);
    let session = session.ok_or(Refusal::FetchSessionUnknown)?;
    if session.epoch != request.session_epoch {
        return Err(Refusal::FetchSessionEpoch);
    }
    if session.by_id != by_id {
        return Err(Refusal::FetchSessionTopicId);
    }
    if !session.change(request) {
        // No room for what was added: the client begins anew, and is then served without a session.
        *slot = None;
        return Err(Refusal::FetchSessionUnknown);
    }
    session.epoch = next_epoch(session.epoch);
    let wanted: Vec<Wanted> = session.order.values().map(|remembered| remembered.wanted.clone()).collect();
    let session_id = session.id;
    if wanted.is_empty() {
        *slot = None;
        return Ok(Asked { wanted, incremental: false, session_id: 0 });
    }
    Ok(Asked { wanted, incremental: true, session_id })
}

/// Whether a request stands outside any session or begins one: its answer names every partition asked for.
pub(crate) fn is_full(request: &FetchRequest) -> bool {
    matches!(request.session_epoch, EPOCH_INITIAL | EPOCH_FINAL)
}

/// Ends the session, if there is one.
pub(crate) fn forget(slot: &FetchSessionSlot) {
    *slot.lock().expect("nobody panics while holding a fetch session") = None;
}

/// Takes an answer into account: drops from it what the client already knows, and moves what gave data to the end.
pub(crate) fn finish(slot: &FetchSessionSlot, asked: &Asked, entries: &mut Vec<FetchEntry>) {
    if asked.session_id == 0 {
        return;
    }
    let mut slot = slot.lock().expect("nobody panics while holding a fetch session");
    let Some(session) = slot.as_mut().filter(|session| session.id == asked.session_id) else { return };
    entries.retain(|entry| session.tell(entry) || !asked.incremental);
}

/// Begins a session; 0 = none, for want of room or of partitions.
fn open(
    slot: &mut Option<FetchSession>,
    budget: &Arc<SessionBudget>,
    by_id: bool,
    wanted: &[Wanted],
    random: u64,
) -> i32 {
    if wanted.is_empty() {
        return 0;
    }
    let Some(share) = budget.take(wanted.len()) else { return 0 };
    // Positive, and never 0.
    let id = ((random & 0x7fff_ffff) as i32).max(1);
    let mut session = FetchSession {
        id,
        epoch: next_epoch(EPOCH_INITIAL),
        by_id,
        order: BTreeMap::new(),
        places: HashMap::with_capacity(wanted.len()),
        next_place: 0,
        share,
    };
    for wanted in wanted {
        session.put(wanted.clone());
    }
    *slot = Some(session);
    id
}

/// Epochs go round from the greatest to 1: 0 and -1 mean something else.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl FetchSession {
    /// Adds, changes and forgets partitions as the request says.
    fn change(&mut self, request: &FetchRequest) -> bool {
        let added = wanted_of(&request.topics, self.by_id);
        for topic in &request.forgotten_topics_data {
            let topic_ref = topic_ref(&topic.topic, topic.topic_id, self.by_id);
            for partition in &topic.partitions {
                if let Some(place) = self.places.remove(&(topic_ref.clone(), *partition)) {
                    self.order.remove(&place);
                }
            }
        }
        if !self.share.resize(self.order.len() + added.len()) {
            return false;
        }
        for wanted in added {
            self.put(wanted);
        }
        self.share.resize(self.order.len())
    }

    /// Adds a partition, or replaces what is wanted of one without moving it.
    fn put(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(remembered) = self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            remembered.wanted = wanted;
            return;
        }
        self.places.insert(key, self.next_place);
        self.order.insert(self.next_place, Remembered { wanted, high_watermark: -1, log_start: -1 });
        self.next_place += 1;
    }

    /// Notes what an answer tells of a partition; whether that is news to the client.
    fn tell(&mut self, entry: &FetchEntry) -> bool {
        let key = (entry.topic.clone(), entry.partition);
        let Some(place) = self.places.get(&key).copied() else { return true };
        let Some(remembered) = self.order.get_mut(&place) else { return true };
        let moved =
            remembered.high_watermark != entry.high_watermark || remembered.log_start != entry.log_start;
        remembered.log_start = entry.log_start;
        // After an error the next good answer is news, whatever it says.
        remembered.high_watermark = if entry.failed() { -1 } else { entry.high_watermark };
        if entry.records_bytes > 0 {
            let remembered = self.order.remove(&place).expect("it was found above");
            self.places.insert(key, self.next_place);
            self.order.insert(self.next_place, remembered);
            self.next_place += 1;
        }
        moved || entry.failed() || entry.records_bytes > 0 || entry.preferred_replica.is_some()
    }
}

fn wanted_of(topics: &[FetchTopic], by_id: bool) -> Vec<Wanted> {
    let of_topic = |topic: &FetchTopic| {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id, by_id);
        let wanted = |partition: &FetchPartition| Wanted {
            topic: topic_ref.clone(),
            partition: partition.partition,
            offset: partition.fetch_offset,
            bytes_max: partition.partition_max_bytes,
            leader_epoch: partition.current_leader_epoch,
        };
        topic.partitions.iter().map(wanted).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

fn topic_ref(name: &str, id: Uuid, by_id: bool) -> TopicRef {
    if by_id { TopicRef::Id(id) } else { TopicRef::Name(name.into()) }
}

#[cfg(test)]
mod tests;
