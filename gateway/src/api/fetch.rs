//! Fetch: batches from any number of partitions, now or when enough of them are there (`gateway/PROTOCOL.md` §4).

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::client_quota::ClientQuotaKey;
use headgate_metadata::id::{BrokerId, TopicId};
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::Direction;
use headgate_storage_client::{Isolation, ReadError, ReadOutcome};
use kafka_protocol::messages::FetchRequest;

use super::{Call, Malformed};
use crate::connection::Answer;
use crate::error_code;
use crate::fetch::{
    Asked, FetchAnswer, FetchEntry, Gathered, Target, TopicRef, Wait, Wanted, begin, encode, finish, forget,
    gather, is_full, nearer_broker, resolve,
};
use crate::quota::{BytesOut, ClientLimits, Limit, Throttle};
use crate::refusal::Refusal;
use crate::session::Session;

pub(super) async fn handle(
    session: &Session,
    call: &Call,
    request: FetchRequest,
) -> Result<Answer, Malformed> {
    let limits = session.client_limits(&call.client_id);
    let wait = wait_of(session, &request, limits.as_deref());
    // Checked before anything is read, and before a session begins (KIP-219).
    let out = set_aside(session, limits.as_deref(), wait.bytes_max).await;
    if let (Err(again), true) = (&out, is_full(&request)) {
        return Ok(throttled(session, call, 0, *again));
    }
    let random = session.shared.parts.random.bits();
    let budget = &session.shared.fetch_sessions;
    let asked = match begin(&session.remembered_fetch, budget, call.version, &request, random) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refused(call, refusal)),
    };
    let out = match out {
        Ok(out) => out,
        Err(again) => return Ok(throttled(session, call, asked.session_id, again)),
    };
    let view = match view_of(session, &asked.wanted).await {
        Ok(view) => view,
        Err(refusal) => return Ok(unseen(call, &asked, refusal)),
    };
    if let Some(broker) = nearer_broker(session, call, &request) {
        return Ok(elsewhere(session, call, &asked, &view, broker));
    }
    let caller = session.caller(call, wait.time_max + Duration::from_secs(30), view.revision);
    let gathered = match gather(session, &caller, &view, &asked.wanted, wait, out).await {
        Ok(gathered) => gathered,
        Err(again) if asked.incremental => {
            return Ok(throttled(session, call, asked.session_id, over_quota(again)));
        }
        Err(again) => {
            forget(&session.remembered_fetch);
            return Ok(throttled(session, call, 0, over_quota(again)));
        }
    };
    let Gathered { targets, outcomes, reserved } = gathered;
    let mut entries = entries(&asked.wanted, &targets, outcomes, wait.isolation);
    finish(&session.remembered_fetch, &asked, &mut entries);
    let bytes = entries.iter().filter_map(|entry| Some((entry.source?, entry.records_bytes)));
    session.charge_partitions(&caller, Direction::Out, bytes).await;
    if let Some(limits) = &limits {
        let sent: u64 = entries.iter().map(|entry| entry.records_bytes).sum();
        limits.charge(ClientQuotaKey::ConsumerByteRate, sent as f64);
    }
    let answer = FetchAnswer { error_code: error_code::NONE, session_id: asked.session_id, entries };
    Ok(Answer::Respond(encode(call, &answer, Some(reserved))))
}

/// Sets bytes aside, of the cluster's, unless the client owes some; the error says what it is to wait for.
async fn set_aside(
    session: &Session,
    limits: Option<&ClientLimits>,
    bytes_max: u64,
) -> Result<BytesOut, Throttle> {
    if let Some(owed) = limits.and_then(|limits| limits.throttle(&[ClientQuotaKey::ConsumerByteRate])) {
        return Err(owed);
    }
    session.quota().reserve_out(bytes_max).await.map_err(over_quota)
}

fn over_quota(time: Duration) -> Throttle {
    Throttle { limit: Limit::Quota(QuotaKey::BytesOutPerSecond), time }
}

/// Over a quota of bytes out: no partition is named, and the client comes again when it is told to. Clients take that for
/// what it is only if there is a time to hold back.
fn throttled(session: &Session, call: &Call, session_id: i32, over: Throttle) -> Answer {
    session.slow_down(Throttle { time: over.time.max(Duration::from_millis(1)), ..over });
    let answer = FetchAnswer { error_code: error_code::NONE, session_id, entries: Vec::new() };
    Answer::Respond(encode(call, &answer, None))
}

/// A view that knows all topics asked for, or is fresh.
async fn view_of(session: &Session, wanted: &[Wanted]) -> Result<Arc<ClusterView>, Refusal> {
    let view = session.view().await?;
    let known = |wanted: &Wanted| match &wanted.topic {
        TopicRef::Name(name) => view.topic(name).is_some(),
        TopicRef::Id(id) => TopicId::from_uuid(*id).is_some_and(|id| view.topic_by_id(id).is_some()),
    };
    if wanted.iter().all(known) { Ok(view) } else { session.fresh_view().await }
}

fn wait_of(session: &Session, request: &FetchRequest, limits: Option<&ClientLimits>) -> Wait {
    let positive = |raw: i32| u64::try_from(raw).unwrap_or(0);
    let quota = session.quota().limit(QuotaKey::FetchBytesMax);
    // No more at once than a second of the client's quota, or it would wait for the rest afterwards.
    let rate = limits.and_then(|limits| limits.rate(ClientQuotaKey::ConsumerByteRate));
    let second = rate.map_or(u64::MAX, |rate| (rate as u64).max(1));
    Wait {
        bytes_min: positive(request.min_bytes),
        bytes_max: positive(request.max_bytes)
            .min(quota)
            .min(second)
            .min(session.shared.config.fetch_bytes_max),
        time_max: Duration::from_millis(positive(request.max_wait_ms)),
        isolation: match request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        },
    }
}

fn entries(
    wanted: &[Wanted],
    targets: &[Target],
    outcomes: Vec<ReadOutcome>,
    isolation: Isolation,
) -> Vec<FetchEntry> {
    let mut outcomes = outcomes.into_iter();
    let mut entries = Vec::with_capacity(wanted.len());
    for (wanted, target) in wanted.iter().zip(targets) {
        let (topic, partition) = (wanted.topic.clone(), wanted.partition);
        entries.push(match target {
            Target::Failed(code) => FetchEntry::failure(topic, partition, *code),
            Target::Read(read) => {
                let outcome = outcomes.next().unwrap_or(Err(ReadError::NotOwner));
                match outcome {
                    Ok(success) => FetchEntry {
                        error_code: error_code::NONE,
                        high_watermark: success.high_watermark.to_wire(),
                        last_stable_offset: success.last_stable_offset.to_wire(),
                        log_start: success.log_start.to_wire(),
                        aborted: (isolation == Isolation::ReadCommitted).then_some(success.aborted),
                        records: success.records,
                        records_bytes: success.records_bytes,
                        source: Some(read.partition),
                        preferred_replica: None,
                        topic,
                        partition,
                    },
                    Err(error) => FetchEntry::failure(topic, partition, error_code::of_read(error)),
                }
            }
        });
    }
    entries
}

/// What may be read is read at another broker (KIP-392).
fn elsewhere(session: &Session, call: &Call, asked: &Asked, view: &ClusterView, broker: BrokerId) -> Answer {
    let targets = resolve(session, view, &asked.wanted);
    let entry = |(wanted, target): (&Wanted, Target)| match target {
        Target::Failed(code) => FetchEntry::failure(wanted.topic.clone(), wanted.partition, code),
        Target::Read(_) => FetchEntry::elsewhere(wanted.topic.clone(), wanted.partition, broker),
    };
    let mut entries: Vec<FetchEntry> = asked.wanted.iter().zip(targets).map(entry).collect();
    finish(&session.remembered_fetch, asked, &mut entries);
    let answer = FetchAnswer { error_code: error_code::NONE, session_id: asked.session_id, entries };
    Answer::Respond(encode(call, &answer, None))
}

/// The whole request is refused: a session that is not there, or not as the client thinks.
fn refused(call: &Call, refusal: Refusal) -> Answer {
    let answer =
        FetchAnswer { error_code: error_code::of_refusal(refusal), session_id: 0, entries: Vec::new() };
    Answer::Respond(encode(call, &answer, None))
}

/// The cluster's metadata cannot be had: every partition says so, and is asked again.
fn unseen(call: &Call, asked: &Asked, refusal: Refusal) -> Answer {
    let code = match refusal {
        Refusal::MetadataUnavailable => error_code::of_read(ReadError::NotOwner),
        refusal => error_code::of_refusal(refusal),
    };
    let failure = |wanted: &Wanted| FetchEntry::failure(wanted.topic.clone(), wanted.partition, code);
    let entries = asked.wanted.iter().map(failure).collect();
    let answer = FetchAnswer { error_code: error_code::NONE, session_id: asked.session_id, entries };
    Answer::Respond(encode(call, &answer, None))
}
