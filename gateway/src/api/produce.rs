//! Produce: batches are checked, take their place in the order of their owners, and are answered when they last.
//!
//! Two steps (`gateway/PROTOCOL.md` §3): [`start`] returns when every batch has its place; what it returns is the answer,
//! which comes when all batches are committed or the client's time is up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use headgate_metadata::id::TopicId;
use headgate_storage_client::quota::{Direction, Flow};
use headgate_storage_client::{Append, AppendError, Appended, Caller, Completion, PartitionAddress};
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::table::Started;
use super::{Call, Malformed, respond, text};
use crate::connection::Answer;
use crate::error_code;
use crate::produce::{Accepted, BatchRefused, TOPIC_IDS_FROM, accept, check_compacted, topic_of};
use crate::refusal::Refusal;
use crate::session::Session;

/// A client's time limit, whatever it asks for.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// A topic of the request and what becomes of its partitions.
struct TopicOutcomes {
    name: TopicName,
    id: Uuid,
    partitions: Vec<PartitionOutcome>,
}

struct PartitionOutcome {
    index: i32,
    outcome: Outcome,
}

/// What is known of one partition.
enum Outcome {
    /// Refused before it reached its owner.
    Refused(BatchRefused),
    /// Checked; waits for room at its owner.
    Checked(Accepted),
    /// It has its place in the order.
    Submitted(Completion<Result<Appended, AppendError>>),
    /// The owner has answered; `None` = not in time.
    Answered(Option<Result<Appended, AppendError>>),
}

pub(super) async fn start(
    session: Arc<Session>,
    call: Call,
    request: ProduceRequest,
) -> Result<Started, Malformed> {
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(TIMEOUT_MAX);
    let deadline = Instant::now() + timeout;
    let acks = request.acks;
    let mut topics = check(&session, &call, request).await;
    let revision = session.view().await.map(|view| view.revision).unwrap_or_default();
    let caller = session.caller(&call, timeout, revision);
    let charged = partition_bytes(&session, &topics);
    submit(&session, &caller, deadline, &mut topics).await;
    let answer: BoxFuture<'static, _> = Box::pin(async move {
        complete(deadline, &mut topics).await;
        session.charge_partitions(&caller, Direction::In, charged.into_iter()).await;
        finish(&call, acks, topics)
    });
    Ok(Started::Pending(answer))
}

/// What goes into each partition; nothing while their cluster has something to lend.
fn partition_bytes(session: &Session, topics: &[TopicOutcomes]) -> Vec<(PartitionAddress, u64)> {
    if !session.quota().has_nothing_to_lend(Flow::BytesIn) {
        return Vec::new();
    }
    let bytes = |partition: &PartitionOutcome| match &partition.outcome {
        Outcome::Checked(accepted) => Some((accepted.partition, accepted.batch.size_bytes())),
        Outcome::Refused(_) | Outcome::Submitted(_) | Outcome::Answered(_) => None,
    };
    topics.iter().flat_map(|topic| &topic.partitions).filter_map(bytes).collect()
}

/// Checks everything that can be told without the owners.
async fn check(session: &Session, call: &Call, request: ProduceRequest) -> Vec<TopicOutcomes> {
    let whole = if request.transactional_id.is_some() {
        Some(BatchRefused::new(Refusal::InvalidRequest, "transactions are not served by this cluster yet"))
    } else if !matches!(request.acks, -1..=1) {
        Some(BatchRefused::new(Refusal::InvalidRequiredAcks, "acks must be 0, 1 or -1"))
    } else {
        None
    };
    // One look at the store at most, however many topics are unknown.
    let view = match call.version {
        TOPIC_IDS_FROM.. => {
            let ids = request.topic_data.iter().filter_map(|data| TopicId::from_uuid(data.topic_id));
            session.view_with_ids(ids).await
        }
        _ => session.view_with(request.topic_data.iter().map(|data| &**data.name)).await,
    };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let found = match &whole {
            Some(refused) => Err(refused.clone()),
            None => topic_of(session, &view, call.version, &data.name, data.topic_id),
        };
        let mut topic = check_topic(session, call, data, &found);
        for partition in &mut topic.partitions {
            if let Outcome::Checked(accepted) = &partition.outcome
                && accepted.compacted
                && let Err(refused) = check_compacted(session, accepted).await
            {
                partition.outcome = Outcome::Refused(refused);
            }
        }
        topics.push(topic);
    }
    topics
}

fn check_topic(
    session: &Session,
    call: &Call,
    data: TopicProduceData,
    found: &Result<crate::produce::ProduceTopic, BatchRefused>,
) -> TopicOutcomes {
    let partitions = data.partition_data.into_iter().map(|partition| {
        let checked = match found {
            Ok(topic) => accept(session, call.version, topic, partition.index, partition.records),
            Err(refused) => Err(refused.clone()),
        };
        let outcome = checked.map_or_else(Outcome::Refused, Outcome::Checked);
        PartitionOutcome { index: partition.index, outcome }
    });
    TopicOutcomes { name: data.name, id: data.topic_id, partitions: partitions.collect() }
}

/// Takes the batches' places. Room is asked for one slot after the other and used at once, so that two requests never hold
/// what the other waits for.
async fn submit(session: &Session, caller: &Caller, deadline: Instant, topics: &mut [TopicOutcomes]) {
    let storage = &session.shared.parts.storage;
    let mut checked: Vec<(PartitionAddress, u64, &mut Outcome)> = Vec::new();
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let Outcome::Checked(accepted) = &partition.outcome {
            let (address, bytes) = (accepted.partition, accepted.batch.size_bytes());
            checked.push((address, bytes, &mut partition.outcome));
        }
    }
    // Stable: two batches for one partition keep their order.
    checked.sort_by_key(|(address, ..)| address.slot);
    for of_slot in checked.chunk_by_mut(|left, right| left.0.slot == right.0.slot) {
        let slot = of_slot[0].0.slot;
        let bytes = of_slot.iter().map(|(_, bytes, _)| bytes).sum();
        let room = timeout_at(deadline, storage.reserve(caller, slot, bytes)).await;
        let mut reservation = match room {
            Ok(Ok(reservation)) => reservation,
            Ok(Err(unavailable)) => {
                let refused = BatchRefused::unavailable(unavailable);
                for (_, _, outcome) in of_slot {
                    **outcome = Outcome::Refused(refused.clone());
                }
                continue;
            }
            Err(_) => {
                for (_, _, outcome) in of_slot {
                    **outcome = Outcome::Answered(None);
                }
                continue;
            }
        };
        for (partition, bytes, outcome) in of_slot {
            let Outcome::Checked(accepted) = std::mem::replace(*outcome, Outcome::Answered(None)) else {
                continue;
            };
            let append = Append {
                partition: *partition,
                batch: accepted.batch,
                reservation: reservation.take(*bytes),
            };
            **outcome = Outcome::Submitted(storage.submit_append(caller, append));
        }
    }
}

/// Waits for the owners, each partition until the deadline.
async fn complete(deadline: Instant, topics: &mut [TopicOutcomes]) {
    let open = topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter_map(|partition| {
        match std::mem::replace(&mut partition.outcome, Outcome::Answered(None)) {
            Outcome::Submitted(completion) => Some(async move {
                partition.outcome = Outcome::Answered(answer_of(completion, deadline).await);
            }),
            known => {
                partition.outcome = known;
                None
            }
        }
    });
    join_all(open).await;
}

/// The owner's answer; `None` = not in time.
async fn answer_of(
    mut completion: Completion<Result<Appended, AppendError>>,
    deadline: Instant,
) -> Option<Result<Appended, AppendError>> {
    // What is answered already is taken even when the time is up.
    let answered = match (&mut completion).now_or_never() {
        Some(answered) => answered,
        None => timeout_at(deadline, completion).await.ok()?,
    };
    // Without an answer from its owner a batch may or may not last.
    Some(answered.unwrap_or(Err(AppendError::Unconfirmed)))
}

fn finish(call: &Call, acks: i16, topics: Vec<TopicOutcomes>) -> Result<Answer, Malformed> {
    let mut failed = false;
    let responses: Vec<TopicProduceResponse> = topics
        .into_iter()
        .map(|topic| {
            let entry = |partition: &PartitionOutcome| {
                let entry = partition_entry(call.version, partition);
                failed |= entry.error_code != error_code::NONE;
                entry
            };
            let partitions = topic.partitions.iter().map(entry).collect();
            let response = TopicProduceResponse::default().with_partition_responses(partitions);
            if call.version >= TOPIC_IDS_FROM {
                response.with_topic_id(topic.id)
            } else {
                response.with_name(topic.name)
            }
        })
        .collect();
    match acks {
        // The only way to tell a client that wants no answer.
        0 if failed => Ok(Answer::Close("produce with acks=0 failed")),
        0 => Ok(Answer::Silence { throttle: Duration::ZERO }),
        _ => Ok(Answer::Respond(respond(call, &ProduceResponse::default().with_responses(responses))?)),
    }
}

fn partition_entry(version: i16, partition: &PartitionOutcome) -> PartitionProduceResponse {
    let entry = PartitionProduceResponse::default().with_index(partition.index).with_base_offset(-1);
    match &partition.outcome {
        Outcome::Refused(refused) => failed_entry(version, entry, refused.code, Some(&refused.text)),
        Outcome::Answered(Some(Ok(appended))) => {
            let mut entry = entry.with_base_offset(appended.base_offset.to_wire());
            entry.log_append_time_ms = appended.log_append_time.map_or(-1, |time| time.get() as i64);
            if version >= 5 {
                entry.log_start_offset = appended.log_start.to_wire();
            }
            entry
        }
        Outcome::Answered(Some(Err(error))) => {
            failed_entry(version, entry, error_code::of_append(*error), Some(&error.to_string()))
        }
        Outcome::Checked(_) | Outcome::Submitted(_) | Outcome::Answered(None) => {
            failed_entry(version, entry, error_code::of_refusal(Refusal::TimedOut), None)
        }
    }
}

fn failed_entry(
    version: i16,
    entry: PartitionProduceResponse,
    code: i16,
    message: Option<&str>,
) -> PartitionProduceResponse {
    let mut entry = entry.with_error_code(code).with_log_append_time_ms(-1);
    if version >= 8 {
        entry.error_message = message.map(|message| -> StrBytes { text(message) });
    }
    entry
}
