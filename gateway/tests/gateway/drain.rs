//! `gateway/PROTOCOL.md` §10: a process that goes away loses nothing it has begun.

use std::sync::Arc;

use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, JoinGroupRequest, ProduceRequest};

use crate::fetch::fetch;
use crate::groups::join;
use crate::produce::{code, produce, topic};
use crate::support::Harness;

#[tokio::test]
async fn idle_connections_close_at_once_and_draining_ends() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    client.call(0, &ApiVersionsRequest::default()).await;
    let gateway = Arc::clone(&harness.gateway);
    let draining = tokio::spawn(async move { gateway.drain().await });
    client.expect_end().await;
    draining.await.expect("draining does not panic");
}

#[tokio::test]
async fn a_produce_in_flight_is_answered_before_its_connection_closes() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let sent = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(1).await;
    let mut idle = harness.client().await;
    idle.call(0, &ApiVersionsRequest::default()).await;
    let gateway = Arc::clone(&harness.gateway);
    let draining = tokio::spawn(async move { gateway.drain().await });
    idle.expect_end().await;
    harness.storage.release(0);
    assert_eq!(code(&client.receive::<ProduceRequest>(9, sent).await), 0);
    client.expect_end().await;
    draining.await.expect("draining does not panic");
}

#[tokio::test]
async fn long_waits_end_early() {
    let harness = Harness::start().await;
    let (mut reader, mut member) = (harness.client().await, harness.client().await);
    topic(&mut reader, "t", 1).await;
    harness.storage.hang_joins();
    let fetching = reader.send(12, &fetch("t", 0, 0, 60_000)).await;
    let joining = member.send(5, &join("member-1")).await;
    harness.storage.awaited().await;
    harness.storage.joining().await;
    let gateway = Arc::clone(&harness.gateway);
    let draining = tokio::spawn(async move { gateway.drain().await });
    let fetched = reader.receive::<FetchRequest>(12, fetching).await;
    assert_eq!(fetched.responses[0].partitions[0].error_code, 0, "empty, not an error");
    assert_eq!(member.receive::<JoinGroupRequest>(5, joining).await.error_code, 16);
    reader.expect_end().await;
    member.expect_end().await;
    draining.await.expect("draining does not panic");
}

#[tokio::test]
async fn what_was_sent_is_reported_before_the_process_goes() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce("t", 0, 1)).await;
    client.call(12, &fetch("t", 0, 0, 0)).await;
    drop(client);
    harness.gateway.drain().await;
    assert_eq!(harness.storage.sent(), crate::support::batch(1).len() as u64);
}
