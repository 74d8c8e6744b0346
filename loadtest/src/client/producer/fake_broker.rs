//! A broker for tests: one topic in memory, idempotence by the book, and faults planned request by request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, BrokerId, CreateTopicsRequest, FetchRequest,
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::batch::RecordBatch;
use crate::client::api::PinnedApi;
use crate::endpoint::{Endpoint, HostPort, Security};
use crate::partition_scan::PartitionScan;

pub(super) const TOPIC: &str = "orders";

/// What happens to one Produce request, instead of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing special.
    None,
    /// The connection dies before anything is stored.
    LoseRequest,
    /// Everything is stored, then the connection dies.
    LoseAnswer,
    /// Nothing is stored, the answer is this error.
    Refuse(i16),
    /// Everything is stored, the answer is this error all the same.
    StoreButAnswer(i16),
}

/// A stored batch: producer id, base sequence, offset.
struct Stored {
    producer_id: i64,
    base_sequence: i32,
    base_offset: i64,
}

#[derive(Default)]
struct Partition {
    stored: Vec<Stored>,
    bytes: Vec<Bytes>,
    next_sequence: BTreeMap<i64, i32>,
    next_offset: i64,
}

struct State {
    partitions: Vec<Partition>,
    faults: VecDeque<Fault>,
    produce_requests: usize,
}

/// The running broker; stops when dropped.
pub(super) struct FakeBroker {
    state: Arc<Mutex<State>>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl FakeBroker {
    /// Listens on a free loopback port. The n-th Produce request meets the n-th fault.
    pub(super) async fn start(partitions: usize, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(Mutex::new(State {
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            faults: faults.iter().copied().collect(),
            produce_requests: 0,
        }));
        let mut tasks = JoinSet::new();
        let accepted = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = accepted.clone();
                // An error ends this connection, as it would at a real broker.
                connections.spawn(async move { serve(stream, &state, port).await.unwrap_or_default() });
            }
        });
        Self { state, port, _tasks: tasks }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        let bootstrap = vec![HostPort { host: "127.0.0.1".to_owned(), port: self.port }];
        Endpoint { bootstrap, security: Security::Plaintext }
    }

    pub(super) fn produce_requests(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).produce_requests
    }

    /// Every partition as a reader would find it.
    pub(super) fn scans(&self) -> Vec<PartitionScan> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (0..)
            .zip(&state.partitions)
            .map(|(number, partition)| {
                let mut scan = PartitionScan::starting_at(number, 0);
                for mut bytes in partition.bytes.iter().cloned() {
                    scan.observe(
                        &RecordBatch::split_first(&mut bytes).expect("stored whole").expect("stored whole"),
                    );
                }
                scan
            })
            .collect()
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>, port: u16) -> anyhow::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await?;
        let frame = Bytes::from(frame);
        let api_key = frame.slice(..2).get_i16();
        let answer = if api_key == ProduceRequest::KEY {
            let (header, request) = decode::<ProduceRequest>(frame)?;
            match state.lock().unwrap_or_else(PoisonError::into_inner).produce(&request) {
                Some(response) => encode::<ProduceRequest>(&header, &response)?,
                None => return Ok(()),
            }
        } else if api_key == ApiVersionsRequest::KEY {
            encode::<ApiVersionsRequest>(&decode::<ApiVersionsRequest>(frame)?.0, &versions())?
        } else if api_key == MetadataRequest::KEY {
            let count = state.lock().unwrap_or_else(PoisonError::into_inner).partitions.len();
            encode::<MetadataRequest>(&decode::<MetadataRequest>(frame)?.0, &metadata(count, port))?
        } else {
            let response =
                InitProducerIdResponse::default().with_producer_id(1000.into()).with_producer_epoch(0);
            encode::<InitProducerIdRequest>(&decode::<InitProducerIdRequest>(frame)?.0, &response)?
        };
        stream.write_all(&answer).await?;
    }
}

impl State {
    /// `None` closes the connection.
    fn produce(&mut self, request: &ProduceRequest) -> Option<ProduceResponse> {
        self.produce_requests += 1;
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        if fault == Fault::LoseRequest {
            return None;
        }
        let mut topics = Vec::new();
        for topic in &request.topic_data {
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let records = data.records.clone().expect("this client always sends records");
                let (error_code, base_offset) = match fault {
                    Fault::Refuse(error_code) => (error_code, -1),
                    _ => self.partitions[data.index as usize].append(&records),
                };
                let error_code =
                    if let Fault::StoreButAnswer(error_code) = fault { error_code } else { error_code };
                answers.push(
                    PartitionProduceResponse::default()
                        .with_index(data.index)
                        .with_error_code(error_code)
                        .with_base_offset(base_offset),
                );
            }
            topics.push(
                TopicProduceResponse::default()
                    .with_name(topic.name.clone())
                    .with_partition_responses(answers),
            );
        }
        (fault != Fault::LoseAnswer).then(|| ProduceResponse::default().with_responses(topics))
    }
}

impl Partition {
    /// (error code, base offset), by the rules of KIP-98.
    fn append(&mut self, records: &Bytes) -> (i16, i64) {
        let mut header = records.slice(43..61);
        let (producer_id, _epoch) = (header.get_i64(), header.get_i16());
        let (base_sequence, count) = (header.get_i32(), header.get_i32());
        let known = self
            .stored
            .iter()
            .find(|stored| (stored.producer_id, stored.base_sequence) == (producer_id, base_sequence));
        if let Some(stored) = known {
            return (0, stored.base_offset);
        }
        let expected = self.next_sequence.entry(producer_id).or_default();
        if *expected != base_sequence {
            return (45, -1);
        }
        *expected += count;
        let base_offset = self.next_offset;
        self.next_offset += i64::from(count);
        self.stored.push(Stored { producer_id, base_sequence, base_offset });
        let mut bytes = BytesMut::from(&records[..]);
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        self.bytes.push(bytes.freeze());
        (0, base_offset)
    }
}

fn versions() -> ApiVersionsResponse {
    fn range<R: PinnedApi>() -> ApiVersion {
        ApiVersion::default().with_api_key(R::KEY).with_min_version(0).with_max_version(R::VERSION)
    }
    ApiVersionsResponse::default().with_api_keys(vec![
        range::<MetadataRequest>(),
        range::<ProduceRequest>(),
        range::<FetchRequest>(),
        range::<ListOffsetsRequest>(),
        range::<InitProducerIdRequest>(),
        range::<CreateTopicsRequest>(),
    ])
}

fn metadata(partitions: usize, port: u16) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(port));
    let partitions = (0..partitions as i32)
        .map(|index| {
            MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(1))
        })
        .collect();
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
        .with_partitions(partitions);
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
}

fn decode<R: PinnedApi>(mut frame: Bytes) -> anyhow::Result<(RequestHeader, R)> {
    let header = RequestHeader::decode(&mut frame, R::header_version(R::VERSION))?;
    let request = R::decode(&mut frame, R::VERSION).context("a request of another version")?;
    Ok((header, request))
}

fn encode<R: PinnedApi>(header: &RequestHeader, response: &R::Response) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::new();
    body.put_i32(header.correlation_id);
    if <R::Response as HeaderVersion>::header_version(R::VERSION) > 0 {
        body.put_u8(0);
    }
    response.encode(&mut body, R::VERSION)?;
    let mut frame = BytesMut::new();
    frame.put_u32(body.len() as u32);
    frame.put_slice(&body);
    Ok(frame.freeze())
}
