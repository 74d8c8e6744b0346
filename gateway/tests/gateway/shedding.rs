//! `gateway/PROTOCOL.md` §10: when a gateway comes, or comes back, connections that were told of brokers without it make room for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headgate_gateway::{GatewayAddress, Gateways, LiveGateways, LiveGatewaysTeller};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};

use crate::produce::{code, produce, topic};
use crate::support::{Client, Harness};

const OWN: (&str, &str) = ("localhost", "a");
const OTHER: (&str, &str) = ("h2", "b");
/// Longer than the turn of one connection can be.
const LONG: Duration = Duration::from_millis(1500);

fn gateways(live: &[(&str, &str)], away: &[(&str, &str)]) -> Arc<Gateways> {
    let [live, away] = [live, away].map(|these| {
        let address = |(host, zone): &(&str, &str)| GatewayAddress {
            host: (*host).to_owned(),
            zone: (*zone).to_owned(),
        };
        these.iter().map(address).collect()
    });
    Arc::new(Gateways { live, away, zones: BTreeSet::new() })
}

async fn harness(first: Arc<Gateways>) -> (LiveGatewaysTeller, Harness) {
    let (teller, live) = LiveGateways::begin(first);
    (teller, Harness::in_fleet(live).await)
}

/// The brokers that the client is told of, and how many partitions each of them leads.
async fn metadata(client: &mut Client) -> (Vec<String>, BTreeMap<i32, usize>) {
    let told = client.call(9, &MetadataRequest::default().with_topics(None)).await;
    let mut leads = BTreeMap::new();
    for partition in told.topics.iter().flat_map(|topic| &topic.partitions) {
        *leads.entry(*partition.leader_id).or_insert(0) += 1;
    }
    (told.brokers.iter().map(|broker| broker.host.to_string()).collect(), leads)
}

#[tokio::test]
async fn who_was_told_that_a_gateway_is_away_asks_again_when_it_is_back() {
    let (teller, harness) = harness(gateways(&[OWN], &[OTHER])).await;
    let (mut told, mut silent) = (harness.client().await, harness.client().await);
    topic(&mut told, "t", 40).await;
    assert_eq!(metadata(&mut told).await, (vec!["localhost".into(), "h2".into()], [(1, 40)].into()));
    silent.call(0, &ApiVersionsRequest::default()).await;
    teller.now.send_replace(gateways(&[OWN, OTHER], &[]));
    told.expect_end().await;
    let (listed, leads) = metadata(&mut harness.client().await).await;
    assert_eq!((listed.len(), leads.len()), (2, 2), "both lead: {leads:?}");
    // Whoever was told of no brokers here goes by what it heard elsewhere.
    silent.call(0, &ApiVersionsRequest::default()).await;
}

#[tokio::test]
async fn what_is_in_flight_is_answered_first() {
    let (teller, harness) = harness(gateways(&[OWN], &[OTHER])).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    metadata(&mut client).await;
    harness.storage.hold_appends();
    let sent = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(1).await;
    teller.now.send_replace(gateways(&[OWN, OTHER], &[]));
    tokio::time::sleep(LONG).await;
    harness.storage.release(0);
    assert_eq!(code(&client.receive::<ProduceRequest>(9, sent).await), 0);
    client.expect_end().await;
}

#[tokio::test]
async fn who_knows_one_broker_only_or_loses_one_is_left_in_peace() {
    let (teller, harness) = harness(gateways(&[OWN], &[])).await;
    let mut client = harness.client().await;
    assert_eq!(metadata(&mut client).await.0, ["localhost"]);
    teller.now.send_replace(gateways(&[OWN, OTHER], &[]));
    tokio::time::sleep(LONG).await;
    assert_eq!(metadata(&mut client).await.0.len(), 2, "its connection is still there");
    teller.now.send_replace(gateways(&[OWN], &[OTHER]));
    tokio::time::sleep(LONG).await;
    assert_eq!(metadata(&mut client).await.0.len(), 2);
}

/// The clients of a gateway that dies ask where to go before anybody else has noticed.
#[tokio::test]
async fn metadata_waits_for_a_fresh_look_at_the_other_gateways() {
    let (mut teller, harness) = harness(gateways(&[OWN, OTHER], &[])).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 40).await;
    teller.asked.mark_unchanged();
    let looking = tokio::spawn(async move {
        teller.asked.changed().await.expect("it asks");
        let ticket = *teller.asked.borrow();
        teller.now.send_replace(gateways(&[OWN], &[OTHER]));
        teller.looked.send_replace(ticket);
        teller
    });
    let (listed, leads) = metadata(&mut client).await;
    assert_eq!((listed.len(), leads), (2, [(1, 40)].into()), "what the look found");
    looking.await.expect("no panic");
}
