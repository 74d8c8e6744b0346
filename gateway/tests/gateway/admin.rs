//! Topics created, grown, configured and deleted, by MSK Serverless's rules.

use headgate_metadata::quota::QuotaKey;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::produce::{name, topic, topic_with};
use crate::support::{Client, Harness};

fn new(text: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(name(text)).with_num_partitions(2).with_replication_factor(-1)
}

async fn create(client: &mut Client, topic: CreatableTopic) -> CreatableTopicResult {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    client.call(7, &request).await.topics.remove(0)
}

fn config(name: &'static str, value: Option<&'static str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(value.map(StrBytes::from_static_str))
}

#[tokio::test]
async fn a_created_topic_is_there_for_the_next_request_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 2..=7 {
        let text = format!("t{version}");
        let request = CreateTopicsRequest::default().with_topics(vec![new(&text)]);
        let created = client.call(version, &request).await;
        assert_eq!(created.topics[0].error_code, 0);
        if version >= 5 {
            assert_eq!((created.topics[0].num_partitions, created.topics[0].replication_factor), (2, 3));
        }
        let all = client.call(1, &MetadataRequest::default().with_topics(None)).await;
        assert!(all.topics.iter().any(|topic| topic.name.as_ref().is_some_and(|name| name.as_str() == text)));
    }
}

#[tokio::test]
async fn what_cannot_be_created_says_why() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "taken", 1).await;
    topic(&mut client, "a_b", 1).await;
    let assignment = CreatableReplicaAssignment::default().with_broker_ids(vec![1.into()]);
    for (topic, code, text) in [
        (new("taken"), 36, "already exists"),
        (new("a b"), 17, "Topic name is invalid"),
        (new("a.b"), 17, "collides with existing topics: a_b"),
        (new("t").with_num_partitions(0), 37, "larger than 0"),
        (new("t").with_num_partitions(-2), 37, "larger than 0"),
        (new("t").with_num_partitions(2_401), 44, "more than the 2400"),
        (new("t").with_replication_factor(0), 38, "Replication factor"),
        (new("t").with_assignments(vec![assignment]), 42, "replica assignments"),
        (new("t").with_configs(vec![config("segment.bytes", Some("1000"))]), 40, "cannot be set"),
        (new("t").with_configs(vec![config("retention.ms", Some("x"))]), 40, "Not a number"),
        (new("t").with_configs(vec![config("retention.ms", None)]), 40, "Null value"),
    ] {
        let result = create(&mut client, topic).await;
        assert_eq!(result.error_code, code, "{result:?}");
        assert!(result.error_message.as_ref().is_some_and(|message| message.contains(text)), "{result:?}");
    }
}

#[tokio::test]
async fn defaults_and_any_replication_factor_are_accepted() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let result = create(&mut client, new("a").with_num_partitions(-1).with_replication_factor(7)).await;
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 1, 3));
}

#[tokio::test]
async fn validate_only_changes_nothing() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let request = CreateTopicsRequest::default().with_topics(vec![new("t")]).with_validate_only(true);
    assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
    assert_eq!(create(&mut client, new("t")).await.error_code, 0, "it was not there yet");
}

#[tokio::test]
async fn a_name_that_comes_twice_in_a_request_is_refused_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let request = CreateTopicsRequest::default().with_topics(vec![new("t"), new("u"), new("t")]);
    let mut codes: Vec<(String, i16)> = client
        .call(7, &request)
        .await
        .topics
        .iter()
        .map(|topic| (topic.name.to_string(), topic.error_code))
        .collect();
    codes.sort();
    assert_eq!(codes, [("t".to_owned(), 42), ("u".to_owned(), 0)]);
}

#[tokio::test]
async fn a_deleted_topic_is_gone_by_name_and_by_id() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    for version in 1..=5 {
        topic(&mut client, "t", 1).await;
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name("t"), name("nope")]);
        let response = client.call(version, &request).await;
        assert_eq!((response.responses[0].error_code, response.responses[1].error_code), (0, 3));
    }
    let id = topic(&mut client, "t", 1).await;
    let by = |name: Option<_>, id| DeleteTopicState::default().with_name(name).with_topic_id(id);
    let states = vec![
        by(None, id),
        by(None, Uuid::from_u128(5)),
        by(None, Uuid::nil()),
        by(Some(name("t")), Uuid::nil()),
    ];
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(states)).await;
    let codes: Vec<i16> = response.responses.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, 100, 42, 3]);
    assert_eq!(response.responses[0].name.as_ref().map(|name| name.as_str()), Some("t"));
}

#[tokio::test]
async fn partitions_are_only_ever_added() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 2).await;
    let grow = |text: &str, count| {
        CreatePartitionsTopic::default().with_name(name(text)).with_count(count).with_assignments(None)
    };
    for (topic, code, text) in [
        (grow("t", 2), 37, "Topic already has 2 partition(s)."),
        (grow("t", 1), 37, "would not be an increase"),
        (grow("t", -1), 37, "would not be an increase"),
        (grow("t", 9_999), 37, "more than the 2400"),
        (grow("nope", 3), 3, "does not host"),
        (
            grow("t", 3).with_assignments(Some(vec![CreatePartitionsAssignment::default()])),
            42,
            "replica assignments",
        ),
        (grow("t", 3), 0, ""),
    ] {
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        let result = client.call(3, &request).await.results.remove(0);
        assert_eq!(result.error_code, code, "{result:?}");
        assert!(result.error_message.as_deref().unwrap_or_default().contains(text), "{result:?}");
    }
    let request = CreatePartitionsRequest::default().with_topics(vec![grow("t", 5)]).with_validate_only(true);
    assert_eq!(client.call(3, &request).await.results[0].error_code, 0);
    let seen = client.call(1, &MetadataRequest::default().with_topics(None)).await;
    assert_eq!(seen.topics[0].partitions.len(), 3);
}

async fn describe(client: &mut Client, version: i16, kind: i8, text: &'static str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_static_str(text))
        .with_configuration_keys(None);
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    client.call(version, &request).await.results.remove(0)
}

#[tokio::test]
async fn configs_show_what_is_set_what_the_cluster_chose_and_what_cannot_be_changed() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic_with(&mut client, "t", 1, &[("retention.ms", "1000")]).await;
    for version in 1..=4 {
        let result = describe(&mut client, version, 2, "t").await;
        let shown = |name: &str| {
            let config = result.configs.iter().find(|config| &*config.name == name).expect(name);
            (config.value.as_deref().expect("a value").to_owned(), config.config_source, config.read_only)
        };
        assert_eq!(shown("retention.ms"), ("1000".into(), 1, false));
        assert_eq!(shown("retention.bytes"), ("268435456000".into(), 4, false));
        assert_eq!(shown("max.message.bytes"), ("1048588".into(), 5, false));
        assert_eq!(shown("min.insync.replicas"), ("2".into(), 4, true));
        assert_eq!(shown("segment.bytes"), ("134217728".into(), 4, true));
    }
    assert_eq!(describe(&mut client, 4, 2, "nope").await.error_code, 3);
    assert_eq!(describe(&mut client, 4, 4, "1").await.error_code, 42, "brokers have no configs");
    assert_eq!(describe(&mut client, 4, 99, "x").await.error_code, 42);
}

async fn alter(client: &mut Client, configs: &[(&'static str, i8, Option<&'static str>)]) -> (i16, String) {
    let config = |(name, operation, value): &(&'static str, i8, Option<&'static str>)| {
        AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(*operation)
            .with_value(value.map(StrBytes::from_static_str))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configs(configs.iter().map(config).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.call(1, &request).await.responses.remove(0);
    (response.error_code, response.error_message.as_deref().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn configs_are_set_and_removed_all_or_none() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    assert_eq!(
        alter(&mut client, &[("retention.ms", 0, Some("5")), ("max.message.bytes", 0, Some("100"))]).await.0,
        0
    );
    let bad =
        alter(&mut client, &[("retention.ms", 0, Some("6")), ("max.message.bytes", 0, Some("-1"))]).await;
    assert_eq!(bad.0, 40);
    let value = |result: &DescribeConfigsResult, name: &str| {
        let config = result.configs.iter().find(|config| &*config.name == name).expect("shown");
        config.value.as_deref().expect("a value").to_owned()
    };
    let shown = describe(&mut client, 4, 2, "t").await;
    assert_eq!(
        (value(&shown, "retention.ms"), value(&shown, "max.message.bytes")),
        ("5".into(), "100".into())
    );
    assert_eq!(alter(&mut client, &[("retention.ms", 1, None)]).await.0, 0);
    assert_eq!(value(&describe(&mut client, 4, 2, "t").await, "retention.ms"), "604800000");
}

#[tokio::test]
async fn configs_that_cannot_be_altered_say_why() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    for (config, code, text) in [
        (("cleanup.policy", 0, Some("compact")), 40, "only be set when the topic is created"),
        (("segment.bytes", 0, Some("5")), 40, "cannot be set"),
        (("retention.ms", 2, Some("5")), 40, "append is not allowed"),
        (("retention.ms", 9, Some("5")), 42, "operation 9"),
        (("retention.ms", 0, None), 42, "operation 0"),
    ] {
        let (got, message) = alter(&mut client, &[config]).await;
        assert_eq!(got, code, "{config:?}: {message}");
        assert!(message.contains(text), "{message}");
    }
    let twice = alter(&mut client, &[("retention.ms", 0, Some("5")), ("retention.ms", 1, None)]).await;
    assert_eq!(twice.0, 42);
}

#[tokio::test]
async fn a_cluster_at_its_limit_of_partitions_says_so() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::PartitionsMax, 4)]).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 3).await;
    let result = create(&mut client, new("u")).await;
    let text =
        "the cluster has 3 partitions; with 2 more it would have more than its limit of 4 (partitions_max)";
    assert_eq!((result.error_code, result.error_message.as_deref()), (44, Some(text)));
    let grow = |count| {
        let topic = CreatePartitionsTopic::default().with_name(name("t")).with_count(count);
        CreatePartitionsRequest::default().with_topics(vec![topic.with_assignments(None)])
    };
    let result = client.call(3, &grow(5)).await.results.remove(0);
    assert_eq!((result.error_code, result.error_message.as_deref()), (37, Some(text)));
    assert_eq!(client.call(3, &grow(4)).await.results[0].error_code, 0);
}

#[tokio::test]
async fn partitions_of_compacted_topics_have_a_limit_of_their_own() {
    let harness = Harness::start().await;
    harness.set_quotas(&[(QuotaKey::PartitionsMax, 4), (QuotaKey::CompactedPartitionsMax, 3)]).await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 4).await;
    let compacted = |name| new(name).with_configs(vec![config("cleanup.policy", Some("compact,delete"))]);
    assert_eq!(create(&mut client, compacted("c")).await.error_code, 0, "t does not count");
    let result = create(&mut client, compacted("d")).await;
    let text = "the cluster has 2 partitions of compacted topics; with 2 more it would have more than its limit of 3 \
         (compacted_partitions_max)";
    assert_eq!((result.error_code, result.error_message.as_deref()), (44, Some(text)));
}

#[tokio::test]
async fn an_error_that_repeats_a_very_long_name_is_answered_at_every_version() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let long: &'static str = "x".repeat(i16::MAX as usize).leak();
    for version in 2..=7 {
        let request = CreateTopicsRequest::default().with_topics(vec![new(long)]);
        assert_eq!(client.call(version, &request).await.topics[0].error_code, 17, "version {version}");
    }
    for version in 1..=4 {
        assert_eq!(describe(&mut client, version, 2, long).await.error_code, 3, "version {version}");
    }
}

#[tokio::test]
async fn spaces_around_a_value_are_not_kept_so_that_everybody_reads_the_same_number() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let created = new("t").with_configs(vec![config("retention.ms", Some(" -1 "))]);
    assert_eq!(create(&mut client, created).await.error_code, 0);
    assert_eq!(alter(&mut client, &[("retention.bytes", 0, Some(" -1"))]).await.0, 0);
    let view = headgate_metadata::topics::load(&*harness.store, harness.cluster.id, "t").await;
    let record = view.expect("the store is in memory").expect("it was just made");
    assert_eq!((&*record.configs["retention.ms"], &*record.configs["retention.bytes"]), ("-1", "-1"));
}

#[tokio::test]
async fn a_topic_whose_configs_are_asked_for_often_is_described_once() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    topic(&mut client, "t", 1).await;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 3]);
    assert_eq!(client.call(4, &request).await.results.len(), 1);
}
