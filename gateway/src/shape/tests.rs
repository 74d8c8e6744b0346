use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
    SyncGroupRequest,
};
use kafka_protocol::protocol::Request;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::notation::{Field, Kind, Shape, Tagged};
use super::{ShapeDefect, walk};
use crate::api::table::APIS;

/// Writes a random request by following the notation: what the table says must be what the codec reads.
struct Author<'r> {
    random: &'r mut StdRng,
    version: i16,
    flexible: bool,
    out: Vec<u8>,
}

fn random_body(shape: &Shape, version: i16, random: &mut StdRng) -> Vec<u8> {
    let flexible = version >= shape.flexible_from;
    let mut author = Author { random, version, flexible, out: Vec::new() };
    author.fields(shape.fields, shape.tagged);
    author.out
}

impl Author<'_> {
    fn fields(&mut self, fields: &'static [Field], tagged: &'static [Tagged]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.value(field.kind);
        }
        if self.flexible {
            self.tagged(tagged);
        }
    }

    fn value(&mut self, kind: Kind) {
        match kind {
            // Small, so that a boolean keeps its value when the codec writes it again.
            Kind::Fixed(1) => self.out.push(self.random.random_range(0..2)),
            Kind::Fixed(size) => (0..size).for_each(|_| self.out.push(self.random.random())),
            Kind::Text => self.sized(2),
            Kind::Bytes => self.sized(4),
            Kind::Each(fields, tagged) => {
                let count = self.random.random_range(0..3);
                self.length(count, 4);
                (0..count).for_each(|_| self.fields(fields, tagged));
            }
            Kind::EachOne(kind) => {
                let count = self.random.random_range(0..4);
                self.length(count, 4);
                (0..count).for_each(|_| self.value(*kind));
            }
            Kind::Struct(fields) => self.fields(fields, &[]),
        }
    }

    fn sized(&mut self, width: usize) {
        let length = self.random.random_range(0..200);
        self.length(length, width);
        (0..length).for_each(|_| self.out.push(b'x'));
    }

    fn tagged(&mut self, tagged: &'static [Tagged]) {
        let present: Vec<&Tagged> =
            tagged.iter().filter(|tagged| tagged.field.is_in(self.version) && self.random.random()).collect();
        let unknown = self.random.random_range(0..2_u32);
        self.varint(present.len() as u32 + unknown);
        for tagged in present {
            let mut inner =
                Author { random: &mut *self.random, version: self.version, flexible: true, out: Vec::new() };
            inner.value(tagged.field.kind);
            let content = inner.out;
            self.varint(tagged.tag);
            self.varint(content.len() as u32);
            self.out.extend(content);
        }
        if unknown == 1 {
            self.varint(900);
            self.varint(3);
            self.out.extend(b"any");
        }
    }

    fn length(&mut self, length: usize, width: usize) {
        match (self.flexible, width) {
            (true, _) => self.varint(length as u32 + 1),
            (false, 2) => self.out.extend((length as i16).to_be_bytes()),
            (false, _) => self.out.extend((length as i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// Decodes with the codec and encodes what came out; `None` if the codec refuses or leaves bytes.
fn recoded(key: ApiKey, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    fn by<R: Request>(version: i16, body: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Bytes::copy_from_slice(body);
        let request = R::decode(&mut bytes, version).ok()?;
        let mut out = bytes::BytesMut::new();
        request.encode(&mut out, version).ok()?;
        bytes.is_empty().then(|| out.to_vec())
    }
    let recode = match key {
        ApiKey::Produce => by::<ProduceRequest>,
        ApiKey::Fetch => by::<FetchRequest>,
        ApiKey::ListOffsets => by::<ListOffsetsRequest>,
        ApiKey::Metadata => by::<MetadataRequest>,
        ApiKey::OffsetCommit => by::<OffsetCommitRequest>,
        ApiKey::OffsetFetch => by::<OffsetFetchRequest>,
        ApiKey::FindCoordinator => by::<FindCoordinatorRequest>,
        ApiKey::JoinGroup => by::<JoinGroupRequest>,
        ApiKey::Heartbeat => by::<HeartbeatRequest>,
        ApiKey::LeaveGroup => by::<LeaveGroupRequest>,
        ApiKey::SyncGroup => by::<SyncGroupRequest>,
        ApiKey::DescribeGroups => by::<DescribeGroupsRequest>,
        ApiKey::ListGroups => by::<ListGroupsRequest>,
        ApiKey::SaslHandshake => by::<SaslHandshakeRequest>,
        ApiKey::ApiVersions => by::<ApiVersionsRequest>,
        ApiKey::CreateTopics => by::<CreateTopicsRequest>,
        ApiKey::DeleteTopics => by::<DeleteTopicsRequest>,
        ApiKey::InitProducerId => by::<InitProducerIdRequest>,
        ApiKey::OffsetForLeaderEpoch => by::<OffsetForLeaderEpochRequest>,
        ApiKey::DescribeConfigs => by::<DescribeConfigsRequest>,
        ApiKey::SaslAuthenticate => by::<SaslAuthenticateRequest>,
        ApiKey::CreatePartitions => by::<CreatePartitionsRequest>,
        ApiKey::DeleteGroups => by::<DeleteGroupsRequest>,
        ApiKey::IncrementalAlterConfigs => by::<IncrementalAlterConfigsRequest>,
        ApiKey::DescribeClientQuotas => by::<DescribeClientQuotasRequest>,
        ApiKey::AlterClientQuotas => by::<AlterClientQuotasRequest>,
        ApiKey::DescribeCluster => by::<DescribeClusterRequest>,
        other => panic!("{other:?} has a row in the table but not here"),
    };
    recode(version, body)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_codec_reads_what_the_table_describes_and_the_walker_accepts_what_the_codec_writes(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        for api in APIS {
            for version in api.served.clone() {
                let body = random_body(api.shape, version, &mut random);
                prop_assert_eq!(walk(api.shape, version, &body), Ok(body.len()), "{} {}", api.name, version);
                let written = recoded(api.key, version, &body);
                let Some(written) = written else {
                    return Err(TestCaseError::fail(format!("codec refuses {} {version}: {body:?}", api.name)));
                };
                prop_assert_eq!(walk(api.shape, version, &written), Ok(written.len()), "{} {}", api.name, version);
            }
        }
    }

    #[test]
    fn changed_bytes_are_refused_or_decoded_but_never_panic_or_exhaust_memory(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        for api in APIS {
            for version in api.served.clone() {
                let mut body = random_body(api.shape, version, &mut random);
                for _ in 0..random.random_range(1..4) {
                    if let Some(at) = (!body.is_empty()).then(|| random.random_range(0..body.len())) {
                        body[at] = *[0x00, 0x7f, 0x80, 0xff, random.random()].get(random.random_range(0..5)).unwrap();
                    }
                }
                if random.random() {
                    body.truncate(random.random_range(0..=body.len()));
                }
                if walk(api.shape, version, &body).is_ok() {
                    recoded(api.key, version, &body);
                }
            }
        }
    }
}

#[test]
fn every_cut_of_a_request_is_refused() {
    let mut random = StdRng::seed_from_u64(7);
    for api in APIS {
        for version in api.served.clone() {
            let body = random_body(api.shape, version, &mut random);
            for length in 0..body.len() {
                assert!(
                    walk(api.shape, version, &body[..length]).is_err(),
                    "{} {version} cut at {length}",
                    api.name
                );
            }
        }
    }
}

#[test]
fn huge_and_negative_counts_are_refused_before_anything_is_reserved() {
    let metadata = APIS.iter().find(|api| api.key == ApiKey::Metadata).expect("served");
    assert_eq!(walk(metadata.shape, 1, &[0x7f, 0xff, 0xff, 0xff]), Err(ShapeDefect::Beyond("topics")));
    assert_eq!(walk(metadata.shape, 1, &[0xff, 0xff, 0xff, 0xfe]), Err(ShapeDefect::Length("topics")));
    assert_eq!(
        walk(metadata.shape, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]),
        Err(ShapeDefect::Beyond("topics"))
    );
    assert_eq!(walk(metadata.shape, 9, &[0xff; 12]), Err(ShapeDefect::Length("topics")));
    assert_eq!(walk(metadata.shape, 1, &[0xff, 0xff, 0xff, 0xff]), Ok(4), "null asks for all topics");
}

#[test]
fn a_request_of_very_many_small_elements_is_refused() {
    let metadata = APIS.iter().find(|api| api.key == ApiKey::Metadata).expect("served");
    let count = 200_001_u32;
    let mut body = count.to_be_bytes().to_vec();
    body.resize(4 + 2 * count as usize, 0);
    assert_eq!(walk(metadata.shape, 1, &body), Err(ShapeDefect::Elements));
}

#[test]
fn a_tagged_field_of_a_later_version_or_of_another_size_is_refused() {
    let fetch = APIS.iter().find(|api| api.key == ApiKey::Fetch).expect("served");
    // Version 12: replica, wait, min, max, isolation, session, epoch, no topics, none forgotten, no rack, one tagged field.
    let fixed = [vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4], vec![1, 1, 1]].concat();
    let with = |tag: u8, content: &[u8]| [&fixed[..], &[1, tag, content.len() as u8], content].concat();
    assert_eq!(walk(fetch.shape, 12, &with(0, &[3, b'i', b'd'])), Ok(fixed.len() + 6));
    assert_eq!(walk(fetch.shape, 12, &with(0, &[3, b'i', b'd', 0])), Err(ShapeDefect::Tagged(0)));
    assert_eq!(walk(fetch.shape, 12, &with(0, &[9, b'i', b'd'])), Err(ShapeDefect::Beyond("cluster_id")));
    assert_eq!(walk(fetch.shape, 12, &with(1, &[0; 13])), Err(ShapeDefect::Tagged(1)));
    assert_eq!(walk(fetch.shape, 12, &with(7, b"unknown")), Ok(fixed.len() + 10));
}

#[test]
fn bytes_behind_the_request_are_ignored_as_kafka_ignores_them() {
    let heartbeat = APIS.iter().find(|api| api.key == ApiKey::Heartbeat).expect("served");
    let body = [&[0, 1, b'g'][..], &[0; 4], &[0, 0]].concat();
    assert_eq!(walk(heartbeat.shape, 0, &body), Ok(body.len()));
    assert_eq!(walk(heartbeat.shape, 0, &[&body[..], &[0]].concat()), Ok(body.len()));
}

#[test]
fn a_null_array_that_librdkafka_writes_in_four_bytes_still_asks_for_all_topics() {
    // Metadata 13 of librdkafka 2.16 without its header, as captured: confluentinc/librdkafka#5049.
    let metadata = APIS.iter().find(|api| api.key == ApiKey::Metadata).expect("served");
    let body = [0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00];
    assert_eq!(walk(metadata.shape, 13, &body), Ok(4));
}
