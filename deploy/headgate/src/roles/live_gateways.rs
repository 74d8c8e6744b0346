//! Which gateways clients are told of: those that are registered and accept connections.
//!
//! A lease tells within seconds that a gateway is gone; its closed port tells at once. Clients that are told of a dead gateway
//! wait for it in vain, so each gateway looks after the others all the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headgate_gateway::{GatewayAddress, LiveGateways};
use headgate_metadata::live::LiveRecords;
use headgate_metadata::record::GatewayRecord;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Between two looks at the same gateway.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How long it may take to accept.
const ACCEPT_MAX: Duration = Duration::from_millis(300);
/// After so many looks in vain it counts as gone. One may have met a moment of its restart.
const MISSED_MAX: u32 = 2;

/// Follows the others for ever; the receiver always lists `own`.
pub(super) fn follow(
    own: GatewayRecord,
    records: LiveRecords<GatewayRecord>,
    tasks: &mut JoinSet<()>,
) -> LiveGateways {
    let (told, live) = watch::channel(listed(&own, &records.now(), &BTreeMap::new()));
    tasks.spawn(async move {
        let mut missed: BTreeMap<String, u32> = BTreeMap::new();
        let mut changes = records.changes();
        loop {
            let registered = records.now();
            missed = look(&own, &registered, &missed).await;
            let now = listed(&own, &registered, &missed);
            told.send_if_modified(|told| {
                let changed = *told != now;
                *told = now;
                changed
            });
            tokio::select! {
                biased;
                // A gateway that comes is listed at once; an error means that this process ends.
                _ = changes.changed() => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    });
    live
}

/// How often each of the others was looked at in vain, by name.
async fn look(
    own: &GatewayRecord,
    registered: &[GatewayRecord],
    missed: &BTreeMap<String, u32>,
) -> BTreeMap<String, u32> {
    let mut looks = JoinSet::new();
    for record in registered.iter().filter(|record| record.name != own.name).cloned() {
        let before = missed.get(&record.name).copied().unwrap_or_default();
        looks.spawn(async move {
            let connected = timeout(ACCEPT_MAX, TcpStream::connect((&*record.host, record.port))).await;
            (record.name, if matches!(connected, Ok(Ok(_))) { 0 } else { before.saturating_add(1) })
        });
    }
    looks.join_all().await.into_iter().collect()
}

fn listed(
    own: &GatewayRecord,
    registered: &[GatewayRecord],
    missed: &BTreeMap<String, u32>,
) -> Arc<[GatewayAddress]> {
    let answers = |record: &&GatewayRecord| {
        record.name != own.name && missed.get(&record.name).is_none_or(|missed| *missed < MISSED_MAX)
    };
    let others = registered.iter().filter(answers);
    let address =
        |record: &GatewayRecord| GatewayAddress { host: record.host.clone(), zone: record.zone.clone() };
    let mut live: Vec<GatewayAddress> = others.chain([own]).map(address).collect();
    live.sort_unstable_by(|left, right| left.host.cmp(&right.host));
    live.into()
}

#[cfg(test)]
mod tests {
    use headgate_metadata::id::Incarnation;

    use super::*;

    fn record(name: &str, port: u16) -> GatewayRecord {
        let (incarnation, zone) = (Incarnation::new(1), "a".to_owned());
        GatewayRecord { name: name.to_owned(), incarnation, zone, host: "127.0.0.1".to_owned(), port }
    }

    #[tokio::test]
    async fn who_does_not_accept_is_missed_and_listed_no_more_and_comes_back() {
        let own = record("own", 1);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let registered = [own.clone(), record("other", address.port())];
        let mut missed = look(&own, &registered, &BTreeMap::new()).await;
        assert_eq!(listed(&own, &registered, &missed).len(), 2);
        drop(listener);
        for expected in [2, 1] {
            missed = look(&own, &registered, &missed).await;
            assert_eq!(listed(&own, &registered, &missed).len(), expected);
        }
        let _again = tokio::net::TcpListener::bind(address).await.expect("the port is still free");
        missed = look(&own, &registered, &missed).await;
        assert_eq!(listed(&own, &registered, &missed).len(), 2);
    }

    #[test]
    fn the_own_gateway_is_listed_whatever_the_metadata_store_says() {
        assert_eq!(listed(&record("own", 1), &[], &BTreeMap::new()).len(), 1);
    }
}
