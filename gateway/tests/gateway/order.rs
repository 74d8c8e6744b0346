//! `gateway/PROTOCOL.md` §3: what runs together, what waits, and in which order answers leave.

use headgate_storage_client::AppendError;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};

use crate::produce::{code, produce, topic};
use crate::support::Harness;

#[tokio::test]
async fn produces_wait_for_durability_together_and_are_answered_in_order() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let first = client.send(9, &produce("t", 0, 1)).await;
    let second = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(2).await;
    // The later one is durable first, and waits for its turn.
    harness.storage.release(1);
    harness.storage.release(0);
    let first = client.receive::<ProduceRequest>(9, first).await;
    let second = client.receive::<ProduceRequest>(9, second).await;
    let offset = |response: &kafka_protocol::messages::ProduceResponse| {
        response.responses[0].partition_responses[0].base_offset
    };
    assert_eq!((offset(&first), offset(&second)), (0, 1));
}

#[tokio::test]
async fn another_request_waits_until_earlier_produces_are_answered() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let held = client.send(9, &produce("t", 0, 1)).await;
    let after = client.send(12, &MetadataRequest::default()).await;
    let behind = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(1).await;
    harness.storage.release(0);
    client.receive::<ProduceRequest>(9, held).await;
    client.receive::<MetadataRequest>(12, after).await;
    harness.storage.submitted(2).await;
    harness.storage.release(0);
    client.receive::<ProduceRequest>(9, behind).await;
}

#[tokio::test]
async fn nothing_starts_behind_a_request_that_runs_alone() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let waiting = client.send(12, &crate::fetch::fetch("t", 0, 0, 60_000)).await;
    let behind = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.awaited().await;
    assert_eq!(harness.storage.submitted_count(), 0);
    let mut other = harness.client().await;
    other.call(9, &produce("t", 0, 1)).await;
    client.receive::<kafka_protocol::messages::FetchRequest>(12, waiting).await;
    let behind = client.receive::<ProduceRequest>(9, behind).await;
    assert_eq!(behind.responses[0].partition_responses[0].base_offset, 1);
}

#[tokio::test]
async fn a_connection_has_at_most_64_produces_in_flight() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let mut sent = Vec::new();
    for _ in 0..70 {
        sent.push(client.send(9, &produce("t", 0, 1)).await);
    }
    harness.storage.submitted(64).await;
    // Another connection is served meanwhile, and shows that the first has had its chance to go too far.
    harness.client().await.call(0, &ApiVersionsRequest::default()).await;
    assert_eq!(harness.storage.submitted_count(), 64);
    for (done, correlation) in sent.into_iter().enumerate() {
        harness.storage.submitted(done + 1).await;
        harness.storage.release(0);
        client.receive::<ProduceRequest>(9, correlation).await;
    }
}

#[tokio::test]
async fn acks_0_takes_its_place_and_leaves_no_answer() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.send(9, &produce("t", 0, 1).with_acks(0)).await;
    let answered = client.call(9, &produce("t", 0, 1)).await;
    assert_eq!(answered.responses[0].partition_responses[0].base_offset, 1);
}

#[tokio::test]
async fn an_error_behind_acks_0_ends_the_connection_after_earlier_answers() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let first = client.send(9, &produce("t", 0, 1)).await;
    harness.storage.submitted(1).await;
    harness.storage.fail_appends(AppendError::OutOfOrderSequence);
    client.send(9, &produce("t", 0, 1).with_acks(0)).await;
    harness.storage.submitted(2).await;
    harness.storage.release(1);
    harness.storage.release(0);
    assert_eq!(code(&client.receive::<ProduceRequest>(9, first).await), 0);
    client.expect_end().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_wait_for_data() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.send(12, &crate::fetch::fetch("t", 0, 0, 60_000)).await;
    harness.storage.awaited().await;
    drop(client);
    harness.storage.no_longer_awaited().await;
}

#[tokio::test]
async fn what_a_client_sent_before_it_closed_its_side_is_done_and_answered() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    harness.storage.hold_appends();
    let first = client.send(9, &produce("t", 0, 1)).await;
    let second = client.send(12, &MetadataRequest::default()).await;
    let third = client.send(9, &produce("t", 0, 1)).await;
    client.send_end().await;
    for (submitted, produced) in [(1, first), (2, third)] {
        harness.storage.submitted(submitted).await;
        harness.storage.release(0);
        client.receive::<ProduceRequest>(9, produced).await;
        if submitted == 1 {
            client.receive::<MetadataRequest>(12, second).await;
        }
    }
    client.expect_end().await;
}
