//! Quotas of users and client ids inside a cluster, as Kafka's admin clients set them (KIP-546, KIP-13, KIP-599).

use headgate_metadata::quota::QuotaKey;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreateTopicsRequest, DescribeClientQuotasRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::fetch::fetch;
use crate::produce::{name, produce, produce_bytes, topic};
use crate::support::{Client, Harness, batch_of_bytes};

/// The client id that the tests' connections bear.
const CLIENT_ID: &str = "test";
const INVALID_REQUEST: i16 = 42;
const THROTTLING_QUOTA_EXCEEDED: i16 = 89;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];

fn entry(entity: Entity<'_>, ops: &[(&str, Option<f64>)]) -> EntryData {
    let part = |(kind, name): &(&str, Option<&str>)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    };
    let op = |(key, value): &(&str, Option<f64>)| {
        let op = OpData::default().with_key(text(key)).with_remove(value.is_none());
        op.with_value(value.unwrap_or_default())
    };
    EntryData::default().with_entity(entity.iter().map(part).collect()).with_ops(ops.iter().map(op).collect())
}

/// Alters one entity; the code that is answered, and its text.
async fn alter(
    client: &mut Client,
    entity: Entity<'_>,
    ops: &[(&str, Option<f64>)],
    validate_only: bool,
) -> (i16, String) {
    let request = AlterClientQuotasRequest::default()
        .with_entries(vec![entry(entity, ops)])
        .with_validate_only(validate_only);
    let answer = client.call(1, &request).await;
    let altered = &answer.entries[0];
    (altered.error_code, altered.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

async fn set(client: &mut Client, entity: Entity<'_>, key: &str, value: f64) {
    assert_eq!(alter(client, entity, &[(key, Some(value))], false).await, (0, String::new()));
}

/// Everything that is set, as lines.
async fn all(client: &mut Client) -> Vec<String> {
    let answer = client.call(1, &DescribeClientQuotasRequest::default()).await;
    assert_eq!(answer.error_code, 0);
    let entries = answer.entries.unwrap_or_default();
    let mut lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            let parts = entry.entity.iter().map(|part| {
                format!("{}={}", &*part.entity_type, part.entity_name.as_deref().unwrap_or("<default>"))
            });
            let values = entry.values.iter().map(|value| format!("{}={}", &*value.key, value.value));
            parts.chain(values).collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn quotas_of_clients_are_set_shown_and_removed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    assert_eq!(all(&mut client).await, Vec::<String>::new());
    set(&mut client, &[("client-id", Some("app"))], "producer_byte_rate", 1_000.0).await;
    set(&mut client, &[("client-id", None)], "consumer_byte_rate", 2_000.0).await;
    let user = "arn:aws:iam::111122223333:user/u";
    set(&mut client, &[("user", Some(user)), ("client-id", None)], "request_percentage", 12.5).await;
    let unsaid = alter(&mut client, &[("user", None)], &[("producer_byte_rate", Some(1.0))], true).await;
    assert_eq!(unsaid.0, 0, "it would be right");
    let expected = [
        "client-id=<default> consumer_byte_rate=2000",
        "client-id=app producer_byte_rate=1000",
        &format!("user={user} client-id=<default> request_percentage=12.5"),
    ];
    assert_eq!(all(&mut client).await, expected);
    let component = ComponentData::default().with_entity_type(text("client-id")).with_match_type(1);
    let request = DescribeClientQuotasRequest::default()
        .with_components(vec![component.with_match(None)])
        .with_strict(true);
    let found = client.call(0, &request).await.entries.unwrap_or_default();
    assert_eq!(found.len(), 1, "the default of client ids alone");
    let gone =
        alter(&mut client, &[("client-id", Some("app"))], &[("producer_byte_rate", None)], false).await;
    assert_eq!(gone.0, 0);
    assert_eq!(all(&mut client).await.len(), 2);
}

#[tokio::test]
async fn what_kafka_refuses_is_refused_and_sets_nothing() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let app: Entity<'_> = &[("client-id", Some("app"))];
    let cases: [(Entity<'_>, &str, f64, &str); 7] = [
        (app, "speed", 1.0, "Invalid configuration key speed"),
        (app, "producer_byte_rate", 0.0, "must be greater than 0"),
        (app, "producer_byte_rate", -1.0, "must be greater than 0"),
        (app, "producer_byte_rate", 1.5, "must be a Long value"),
        (&[("ip", Some("10.0.0.1"))], "connection_creation_rate", 1.0, "ip entities are not offered"),
        (&[("shoe", Some("x"))], "producer_byte_rate", 1.0, "Unhandled client quota entity type: shoe"),
        (&[], "producer_byte_rate", 1.0, "Invalid empty client quota entity"),
    ];
    for (entity, key, value, text) in cases {
        let (code, found) = alter(&mut client, entity, &[(key, Some(value))], false).await;
        assert_eq!(code, INVALID_REQUEST, "{key}={value}");
        assert!(found.contains(text), "{found}");
    }
    let twice = vec![entry(app, &[("producer_byte_rate", Some(1.0))]); 2];
    let answer = client.call(1, &AlterClientQuotasRequest::default().with_entries(twice)).await;
    assert!(answer.entries.iter().all(|entry| entry.error_code == INVALID_REQUEST));
    assert_eq!(all(&mut client).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_producer_over_its_rate_is_slowed_and_its_neighbours_are_not() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let large = || produce_bytes("t", 0, Some(batch_of_bytes(50_000)));
    assert_eq!(client.call(9, &large()).await.throttle_time_ms, 0);
    set(&mut client, &[("client-id", Some("somebody else"))], "producer_byte_rate", 1.0).await;
    assert_eq!(client.call(9, &large()).await.throttle_time_ms, 0, "another client id's quota");
    set(&mut client, &[("client-id", None)], "producer_byte_rate", 1_000.0).await;
    let mut told = 0;
    // The first may use what was saved up.
    for _ in 0..3 {
        told = client.call(9, &large()).await.throttle_time_ms;
        if told > 0 {
            break;
        }
    }
    assert!(told > 0, "the default of client ids holds for {CLIENT_ID}");
    let mut reader = harness.client().await;
    assert_eq!(reader.call(12, &MetadataRequest::default()).await.throttle_time_ms, 0);
    let fetched = reader.call(12, &fetch("t", 0, 0, 0)).await;
    assert_eq!(fetched.throttle_time_ms, 0, "only producing is limited");
}

/// The most specific quota holds, in Apache Kafka's order.
#[tokio::test]
async fn a_client_ids_own_quota_goes_before_the_default() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    set(&mut client, &[("client-id", None)], "producer_byte_rate", 1.0).await;
    set(&mut client, &[("client-id", Some(CLIENT_ID))], "producer_byte_rate", 1e12).await;
    for _ in 0..5 {
        assert_eq!(client.call(9, &produce("t", 0, 10)).await.throttle_time_ms, 0);
    }
}

#[tokio::test]
async fn a_consumer_over_its_rate_is_slowed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    client.call(9, &produce_bytes("t", 0, Some(batch_of_bytes(50_000)))).await;
    set(&mut client, &[("client-id", Some(CLIENT_ID))], "consumer_byte_rate", 1_000.0).await;
    let mut told = 0;
    for _ in 0..3 {
        told = client.call(12, &fetch("t", 0, 0, 0)).await.throttle_time_ms;
        if told > 0 {
            break;
        }
    }
    assert!(told > 0);
}

#[tokio::test]
async fn whoever_creates_partitions_too_fast_is_told_when_to_come_again() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::TopicOperationsPerSecond, 1_000)]).await;
    let mut client = harness.client().await;
    set(&mut client, &[("client-id", Some(CLIENT_ID))], "controller_mutation_rate", 1.0).await;
    let mut code = 0;
    for number in 0..20 {
        let topic = CreatableTopic::default()
            .with_name(name(&format!("t{number}")))
            .with_num_partitions(10)
            .with_replication_factor(3);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1);
        let answer = client.call(7, &request).await;
        code = answer.topics[0].error_code;
        if code != 0 {
            assert!(answer.throttle_time_ms > 0);
            break;
        }
    }
    assert_eq!(code, THROTTLING_QUOTA_EXCEEDED);
}
