use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::protocol::StrBytes;

use super::*;

/// Topic, partition, offset.
type Asks = &'static [(&'static str, i32, i64)];

fn request(session: i32, epoch: i32, asks: Asks) -> FetchRequest {
    let topic = |(name, partition, offset): &(&'static str, i32, i64)| {
        let wanted = FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset);
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str(name)))
            .with_partitions(vec![wanted.with_partition_max_bytes(100)])
    };
    FetchRequest::default()
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(asks.iter().map(topic).collect())
}

struct Client {
    slot: FetchSessionSlot,
    budget: Arc<SessionBudget>,
}

impl Client {
    fn new(partitions: u32) -> Self {
        Self { slot: Mutex::default(), budget: Arc::new(SessionBudget::new(partitions)) }
    }
    fn begin(&self, request: &FetchRequest) -> Result<Asked, Refusal> {
        begin(&self.slot, &self.budget, 12, request, 0x1_8000_0005)
    }
    fn opened(&self, asks: Asks) -> Asked {
        self.begin(&request(0, 0, asks)).expect("a full request is always served")
    }
    fn free(&self) -> u32 {
        self.budget.free.load(Ordering::Acquire)
    }
}

fn entry(name: &str, partition: i32, high_watermark: i64, records: u64) -> FetchEntry {
    let mut entry = FetchEntry::failure(TopicRef::Name(name.into()), partition, 0);
    (entry.high_watermark, entry.log_start, entry.records_bytes) = (high_watermark, 0, records);
    entry
}

fn names(wanted: &[Wanted]) -> Vec<(String, i32, i64)> {
    let name = |wanted: &Wanted| match &wanted.topic {
        TopicRef::Name(name) => (name.to_string(), wanted.partition, wanted.offset),
        TopicRef::Id(_) => unreachable!("these tests use names"),
    };
    wanted.iter().map(name).collect()
}

#[test]
fn a_full_request_opens_a_session_with_a_random_id() {
    let client = Client::new(10);
    let asked = client.opened(&[("a", 0, 5), ("b", 1, 6)]);
    assert_eq!(asked.session_id, 5);
    assert!(!asked.incremental);
    assert_eq!(client.free(), 8);
}

#[test]
fn a_request_outside_any_session_opens_none() {
    let client = Client::new(10);
    let asked = client.begin(&request(0, -1, &[("a", 0, 5)])).expect("served");
    assert_eq!((asked.session_id, client.free()), (0, 10));
}

#[test]
fn an_incremental_request_asks_for_all_it_has_named_with_its_changes() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5), ("b", 1, 6)]).session_id;
    let asked = client.begin(&request(id, 1, &[("a", 0, 9), ("c", 2, 7)])).expect("served");
    assert!(asked.incremental);
    let expected = [("a", 0, 9), ("b", 1, 6), ("c", 2, 7)]
        .map(|(name, partition, offset)| (name.to_owned(), partition, offset));
    assert_eq!(names(&asked.wanted), expected);
    assert_eq!(client.free(), 7);
}

#[test]
fn forgotten_partitions_are_asked_for_no_longer() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5), ("b", 1, 6)]).session_id;
    let forgotten = ForgottenTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("a")))
        .with_partitions(vec![0]);
    let asked =
        client.begin(&request(id, 1, &[]).with_forgotten_topics_data(vec![forgotten])).expect("served");
    assert_eq!(names(&asked.wanted), [("b".to_owned(), 1, 6)]);
    assert_eq!(client.free(), 9);
}

#[test]
fn a_session_that_has_forgotten_everything_ends() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5)]).session_id;
    let forgotten = ForgottenTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str("a")))
        .with_partitions(vec![0]);
    let asked =
        client.begin(&request(id, 1, &[]).with_forgotten_topics_data(vec![forgotten])).expect("served");
    assert_eq!((asked.session_id, asked.wanted.len(), client.free()), (0, 0, 10));
}

#[test]
fn a_foreign_id_and_a_wrong_epoch_are_refused() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5)]).session_id;
    assert_eq!(client.begin(&request(id + 1, 1, &[])).err(), Some(Refusal::FetchSessionUnknown));
    assert_eq!(client.begin(&request(id, 2, &[])).err(), Some(Refusal::FetchSessionEpoch));
    assert!(client.begin(&request(id, 1, &[])).is_ok(), "the refusals have changed nothing");
    assert_eq!(
        client.begin(&request(id, 1, &[])).err(),
        Some(Refusal::FetchSessionEpoch),
        "each epoch is used once"
    );
}

#[test]
fn a_session_begun_with_names_does_not_go_on_with_ids() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5)]).session_id;
    let refused = begin(&client.slot, &client.budget, 13, &request(id, 1, &[]), 1);
    assert_eq!(refused.err(), Some(Refusal::FetchSessionTopicId));
}

#[test]
fn the_final_epoch_ends_the_session() {
    let client = Client::new(10);
    let id = client.opened(&[("a", 0, 5)]).session_id;
    assert_eq!(client.begin(&request(id, -1, &[])).expect("served").session_id, 0);
    assert_eq!(client.begin(&request(id, 1, &[])).err(), Some(Refusal::FetchSessionUnknown));
    assert_eq!(client.free(), 10);
}

#[test]
fn over_the_budget_a_full_request_is_served_without_a_session() {
    let client = Client::new(1);
    let asked = client.opened(&[("a", 0, 5), ("b", 1, 6)]);
    assert_eq!((asked.session_id, asked.wanted.len(), client.free()), (0, 2, 1));
}

#[test]
fn a_session_that_outgrows_the_budget_must_begin_anew() {
    let client = Client::new(2);
    let id = client.opened(&[("a", 0, 5)]).session_id;
    let refused = client.begin(&request(id, 1, &[("b", 0, 0), ("c", 0, 0)]));
    assert_eq!(refused.err(), Some(Refusal::FetchSessionUnknown));
    assert_eq!(client.free(), 2);
}

#[test]
fn a_closed_connection_gives_its_share_back() {
    let client = Client::new(10);
    client.opened(&[("a", 0, 5), ("b", 0, 5)]);
    drop(client.slot);
    assert_eq!(client.budget.free.load(Ordering::Acquire), 10);
}

#[test]
fn an_incremental_answer_names_only_what_is_news() {
    let client = Client::new(10);
    let first = client.opened(&[("a", 0, 5), ("b", 1, 6)]);
    let mut entries = vec![entry("a", 0, 5, 0), entry("b", 1, 6, 0)];
    finish(&client.slot, &first, &mut entries);
    assert_eq!(entries.len(), 2, "a full answer names all");
    let second = client.begin(&request(first.session_id, 1, &[])).expect("served");
    let mut entries = vec![entry("a", 0, 5, 0), entry("b", 1, 7, 0)];
    finish(&client.slot, &second, &mut entries);
    assert_eq!(entries.len(), 1, "only b's high watermark has moved");
    assert_eq!(entries[0].partition, 1);
}

#[test]
fn errors_are_always_news_and_so_is_the_answer_after_one() {
    let client = Client::new(10);
    let first = client.opened(&[("a", 0, 5)]);
    finish(&client.slot, &first, &mut vec![entry("a", 0, 5, 0)]);
    for (epoch, code, named) in [(1, 3, 1), (2, 3, 1), (3, 0, 1), (4, 0, 0)] {
        let asked = client.begin(&request(first.session_id, epoch, &[])).expect("served");
        let mut entries = vec![FetchEntry { error_code: code, ..entry("a", 0, 5, 0) }];
        finish(&client.slot, &asked, &mut entries);
        assert_eq!(entries.len(), named, "epoch {epoch}");
    }
}

#[test]
fn a_partition_that_gave_data_goes_to_the_end() {
    let client = Client::new(10);
    let first = client.opened(&[("a", 0, 5), ("b", 1, 6)]);
    finish(&client.slot, &first, &mut vec![entry("a", 0, 9, 100), entry("b", 1, 6, 0)]);
    let second = client.begin(&request(first.session_id, 1, &[])).expect("served");
    let order: Vec<String> = names(&second.wanted).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(order, ["b", "a"]);
}

#[test]
fn the_epoch_after_the_greatest_is_one() {
    assert_eq!(next_epoch(i32::MAX), 1);
}
