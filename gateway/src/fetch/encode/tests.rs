use std::sync::Arc;

use bytes::Buf;
use headgate_metadata::id::{Offset, ProducerId};
use headgate_storage_client::RequestId;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction as WireAborted, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{self, ApiKey, FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable, Message, StrBytes};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn call(version: i16) -> Call {
    Call { request: RequestId(1), key: 1, version, correlation_id: 77, client_id: Arc::from("c") }
}

prop_compose! {
    fn any_entry()(
        topic in 0..3_u128, partition in 0..5_i32, error_code in prop_oneof![Just(0_i16), Just(29), Just(1)],
        numbers in any::<(i64, i64, i64)>(),
        aborted in proptest::option::of(proptest::collection::vec((0..100_u64, 0..100_u64), 0..3)),
        records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..4),
        preferred in proptest::option::of(1..9_u32),
    ) -> (u128, FetchEntry) {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        let aborted = aborted.map(|aborted| aborted.into_iter().map(|(producer, offset)| AbortedTransaction {
            producer: ProducerId::new(producer),
            first_offset: Offset::new(offset),
        }).collect());
        (topic, FetchEntry {
            topic: TopicRef::Id(Uuid::nil()),
            partition,
            error_code,
            high_watermark: numbers.0,
            last_stable_offset: numbers.1,
            log_start: numbers.2,
            aborted,
            records_bytes: records.iter().map(|slice| slice.len() as u64).sum(),
            records,
            source: None,
            preferred_replica: preferred.map(BrokerId::new),
        })
    }
}

/// What the codec makes of the same answer.
fn by_codec(call: &Call, answer: &FetchAnswer) -> Vec<u8> {
    let topic = |entries: &[FetchEntry]| {
        let partition = |entry: &FetchEntry| {
            let mut data = PartitionData::default()
                .with_partition_index(entry.partition)
                .with_error_code(entry.error_code)
                .with_high_watermark(entry.high_watermark)
                .with_last_stable_offset(entry.last_stable_offset)
                .with_log_start_offset(entry.log_start)
                .with_records(Some(Bytes::from(entry.records.concat())));
            if call.version >= 11 {
                let preferred = entry.preferred_replica.map_or(-1, |broker| broker.get() as i32);
                data = data.with_preferred_read_replica(messages::BrokerId(preferred));
            }
            data.aborted_transactions = entry.aborted.as_ref().map(|aborted| {
                let wire = |transaction: &AbortedTransaction| {
                    WireAborted::default()
                        .with_producer_id(messages::ProducerId(transaction.producer.get() as i64))
                        .with_first_offset(transaction.first_offset.to_wire())
                };
                aborted.iter().map(wire).collect()
            });
            data
        };
        let response =
            FetchableTopicResponse::default().with_partitions(entries.iter().map(partition).collect());
        match &entries[0].topic {
            TopicRef::Id(id) => response.with_topic_id(*id),
            TopicRef::Name(name) => response.with_topic(TopicName(StrBytes::from_string(name.to_string()))),
        }
    };
    let topics = answer.entries.chunk_by(|left, right| left.topic == right.topic).map(topic).collect();
    let mut response = FetchResponse::default().with_responses(topics);
    if call.version >= 7 {
        response = response.with_error_code(answer.error_code).with_session_id(answer.session_id);
    }
    let mut out = BytesMut::new();
    out.put_i32(0);
    put_header(&mut out, ApiKey::Fetch.response_header_version(call.version), call.correlation_id);
    response.encode(&mut out, call.version).expect("the codec encodes it");
    let length = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.to_vec()
}

fn flat(mut response: Response) -> Vec<u8> {
    response.slices.copy_to_bytes(response.slices.remaining()).to_vec()
}

proptest! {
    #[test]
    fn the_response_is_byte_for_byte_the_codecs_at_every_version(
        entries in proptest::collection::vec(any_entry(), 0..8), error_code: i16, session_id in 0..i32::MAX,
    ) {
        for version in FetchResponse::VERSIONS.min..=FetchResponse::VERSIONS.max {
            let named = |(topic, entry): &(u128, FetchEntry)| {
                let topic = match version {
                    ..TOPIC_IDS_FROM => TopicRef::Name(format!("topic-{topic}").into()),
                    _ => TopicRef::Id(Uuid::from_u128(*topic)),
                };
                FetchEntry { topic, ..entry.clone() }
            };
            let entries: Vec<FetchEntry> = entries.iter().map(named).collect();
            let answer = FetchAnswer { error_code, session_id, entries };
            let expected = by_codec(&call(version), &answer);
            prop_assert_eq!(flat(encode(&call(version), &answer, None)), expected, "version {}", version);
        }
    }
}

#[test]
fn records_are_the_slices_that_came_from_storage() {
    let records = Bytes::from_static(b"batch");
    let mut entry = FetchEntry::failure(TopicRef::Name("t".into()), 0, 0);
    (entry.records, entry.records_bytes) = (vec![records.clone()], 5);
    let answer = FetchAnswer { error_code: 0, session_id: 0, entries: vec![entry] };
    let response = encode(&call(11), &answer, None);
    let mut slots = [std::io::IoSlice::new(&[]); 8];
    let count = response.slices.chunks_vectored(&mut slots);
    assert!(slots[..count].iter().any(|slice| slice.as_ptr() == records.as_ptr()));
}
