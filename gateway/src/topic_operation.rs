//! What every request that creates, changes or deletes topics begins with: its quota, and one look at the store.
//!
//! Over a quota such a request is held until its turn, as far as the client's time allows; then it is refused, by the versions
//! that have a code for that with THROTTLING_QUOTA_EXCEEDED and the time to come again (KIP-599), by the others with
//! REQUEST_TIMED_OUT.
//!
//! A quota of partitions that the cluster's administrator set for the client is kept as Apache Kafka keeps it: the same versions
//! are refused while something is owed, the others are served and slowed down afterwards.

use std::sync::Arc;
use std::time::Duration;

use headgate_metadata::catalog::ClusterView;
use headgate_metadata::client_quota::ClientQuotaKey;
use headgate_metadata::quota::QuotaKey;
use headgate_storage_client::quota::Charged;
use kafka_protocol::messages::ApiKey;
use tokio::time::sleep;

use crate::api::Call;
use crate::quota::{Limit, Over, Throttle};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::topic_creation::TopicRefused;

/// What of a client's time limit a request may be held: the rest is for what it asks for.
const HOLD_PART: u32 = 2;

/// Counts the request, holds it until its turn, and looks at the store once for all of it; own changes are seen as they are made.
/// `timeout_ms` is the client's, if it told one.
pub(crate) async fn begin(
    session: &Session,
    call: &Call,
    timeout_ms: Option<i32>,
) -> Result<(), TopicRefused> {
    charge(session, call, timeout_ms, Charged::TopicOperation).await?;
    session.fresh_view().await.map(drop).map_err(|_| unavailable())
}

/// The view as it is now, for the parts of a request that has begun.
pub(crate) async fn view(
    session: &Session,
    begun: &Result<(), TopicRefused>,
) -> Result<Arc<ClusterView>, TopicRefused> {
    begun.clone()?;
    session.view().await.map_err(|_| unavailable())
}

/// Counts partitions that are about to be created or deleted.
pub(crate) async fn change_partitions(
    session: &Session,
    call: &Call,
    timeout_ms: Option<i32>,
    partitions: u32,
) -> Result<(), TopicRefused> {
    charge_client(session, call, partitions)?;
    charge(session, call, timeout_ms, Charged::PartitionChanges { partitions }).await
}

fn charge_client(session: &Session, call: &Call, partitions: u32) -> Result<(), TopicRefused> {
    const KEY: ClientQuotaKey = ClientQuotaKey::ControllerMutationRate;
    let Some(limits) = session.client_limits(&call.client_id) else { return Ok(()) };
    if tells_quota(call) {
        return limits.charge_unless_owing(KEY, f64::from(partitions)).map_err(|over| {
            session.slow_down(over);
            let (rate, again) = (limits.rate(KEY).unwrap_or_default(), over.time.as_secs_f64());
            let text = format!(
                "The quota of {rate} partitions created and deleted a second ({KEY}) is used up; try again in {again:.1} s."
            );
            TopicRefused::new(Refusal::QuotaExceeded, text)
        });
    }
    limits.charge(KEY, f64::from(partitions));
    if let Some(owed) = limits.throttle(&[KEY]) {
        session.slow_down(owed);
    }
    Ok(())
}

async fn charge(
    session: &Session,
    call: &Call,
    timeout_ms: Option<i32>,
    what: Charged,
) -> Result<(), TopicRefused> {
    let longest = session.mute_max();
    let timeout = timeout_ms.map(|raw| Duration::from_millis(u64::try_from(raw).unwrap_or(0)) / HOLD_PART);
    let hold_max = timeout.map_or(longest, |timeout| timeout.min(longest));
    match session.quota().charge_at_coordinator(&session.shared, what, hold_max).await {
        Ok(granted) => {
            sleep(granted.wait).await;
            Ok(())
        }
        Err(over) => {
            if let Some(time) = over.retry_after {
                session.slow_down(Throttle { limit: Limit::Quota(over.quota), time });
            }
            if tells_quota(call) {
                return Err(TopicRefused::new(Refusal::QuotaExceeded, text(session, over)));
            }
            sleep(hold_max).await;
            Err(TopicRefused::new(Refusal::TimedOut, text(session, over)))
        }
    }
}

/// Whether this version has a code for it (KIP-599).
fn tells_quota(call: &Call) -> bool {
    let since = [(ApiKey::CreateTopics, 6), (ApiKey::DeleteTopics, 5), (ApiKey::CreatePartitions, 3)];
    since.iter().any(|(key, version)| call.key == *key as i16 && call.version >= *version)
}

fn text(session: &Session, over: Over) -> String {
    let limit = session.quota().limit(over.quota);
    let again = over.retry_after.unwrap_or_default().as_secs_f64();
    let what = match over.quota {
        QuotaKey::PartitionChangesPer5Minutes => "partitions created and deleted in five minutes",
        _ => "topic operations a second",
    };
    format!("The quota of {limit} {what} ({}) is used up; try again in {again:.1} s.", over.quota)
}

fn unavailable() -> TopicRefused {
    TopicRefused::new(Refusal::ChangeUnavailable, "the cluster's metadata is not available")
}
