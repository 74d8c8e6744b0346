//! What the hop to a storage node costs: append calls over loopback, both ends in one process, processor time of both.
//!
//! ```text
//! cargo bench -p headgate-storage-client --bench appends [-- MEBIBYTES]
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use headgate_metadata::id::{ClusterId, Offset, PartitionId, PartitionKey, Revision, SlotId, TopicId};
use headgate_storage_client::remote::message::{AppendCall, Operation};
use headgate_storage_client::wire::{
    Connection, Credentials, Dialer, Message, PeerIdentity, PlainDialer, PlainListener, Server, Service,
    TlsDialer, TlsListener, WireLimits,
};
use headgate_storage_client::{
    Appended, BATCH_HEADER_BYTES, Caller, PartitionAddress, RecordBatch, RequestId,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustix::time::{ClockId, clock_gettime};

const MEBIBYTES_DEFAULT: u64 = 2048;
const IN_FLIGHT: usize = 16;

/// Answers every append at once, having read it.
struct Acknowledge;

impl Service for Acknowledge {
    fn call(&self, _peer: &PeerIdentity, message: Message) -> BoxFuture<'static, Message> {
        let call = AppendCall::from_message(message).expect("our own message");
        drop(call.batch().expect("our own batch"));
        let appended = Appended {
            base_offset: Offset::new(call.round),
            log_start: Offset::new(0),
            log_append_time: None,
        };
        Box::pin(ready(AppendCall::answer_to_message(Ok(appended))))
    }
}

#[tokio::main]
async fn main() {
    let mebibytes = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(MEBIBYTES_DEFAULT);
    println!("{:>8} {:>10} {:>12} {:>10} {:>14}", "stream", "payload", "calls", "GiB/s", "CPU s/GiB");
    for tls in [false, true] {
        let (connection, server) = if tls { over_tls().await } else { over_tcp().await };
        for payload in [16 << 10, 512 << 10] {
            // Once for nothing: caches, buffers and congestion windows.
            run(&connection, payload, mebibytes.div_ceil(8)).await;
            let (calls, wall, processor) = run(&connection, payload, mebibytes).await;
            let gibibytes = calls as f64 * payload as f64 / f64::from(1 << 30);
            println!(
                "{:>8} {:>6} KiB {calls:>12} {:>10.2} {:>14.3}",
                if tls { "mTLS" } else { "TCP" },
                payload >> 10,
                gibibytes / wall.as_secs_f64(),
                processor.as_secs_f64() / gibibytes,
            );
        }
        drop(connection);
        server.shutdown(Duration::from_secs(1)).await;
    }
}

/// Keeps so many calls in flight until all bytes are acknowledged; tells how many, in what time, for what processor time.
async fn run(connection: &Connection, payload: usize, mebibytes: u64) -> (u64, Duration, Duration) {
    let calls = (mebibytes << 20).div_ceil(payload as u64);
    let batch = batch(payload);
    let caller = caller();
    let call = |number| {
        let call = AppendCall::new(caller.clone(), partition(), number, &batch);
        connection.call(call.to_message())
    };
    let (began, processor) = (Instant::now(), processor_time());
    let mut in_flight: FuturesUnordered<_> = (0..calls.min(IN_FLIGHT as u64)).map(call).collect();
    let mut sent = in_flight.len() as u64;
    while let Some(answer) = in_flight.next().await {
        let answer = AppendCall::answer_from_message(answer.expect("nothing is lost"));
        answer.expect("our own answer").expect("appended");
        if sent < calls {
            in_flight.push(call(sent));
            sent += 1;
        }
    }
    (calls, began.elapsed(), processor_time().saturating_sub(processor))
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

async fn over_tcp() -> (Connection, Server) {
    let peer: PeerIdentity = "headgate://cell/storage/1".parse().expect("an identity");
    let listener = PlainListener::bind(([127, 0, 0, 1], 0).into(), peer.clone()).await.expect("bound");
    let address = listener.local_address().expect("bound").to_string();
    let server = Server::start(listener, Arc::new(Acknowledge), WireLimits::default());
    let dialer: Dialer = Arc::new(PlainDialer { peer });
    (Connection::open(&dialer, &address).await.expect("connected"), server)
}

async fn over_tls() -> (Connection, Server) {
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_pem = authority.self_signed(&key).expect("signed").pem();
    let issuer = Issuer::new(authority, key);
    let issue = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(name.try_into().expect("ASCII"))];
        let chain = params.signed_by(&key, &issuer).expect("signed").pem();
        let key = key.serialize_pem();
        Credentials::from_pem(authority_pem.as_bytes(), chain.as_bytes(), key.as_bytes()).expect("usable")
    };
    let node = issue("headgate://cell/storage/1");
    let listener = TlsListener::bind(([127, 0, 0, 1], 0).into(), &node).await.expect("bound");
    let address = listener.local_address().expect("bound").to_string();
    let server = Server::start(listener, Arc::new(Acknowledge), WireLimits::default());
    let dialer: Dialer = Arc::new(TlsDialer::new(&issue("headgate://cell/gateway/bench")).expect("usable"));
    (Connection::open(&dialer, &address).await.expect("connected"), server)
}

fn batch(records: usize) -> RecordBatch {
    let mut header = [0; BATCH_HEADER_BYTES];
    header[8..12].copy_from_slice(&((BATCH_HEADER_BYTES - 12 + records) as i32).to_be_bytes());
    header[16] = 2;
    header[43..57].fill(0xff);
    header[57..61].copy_from_slice(&1_i32.to_be_bytes());
    RecordBatch::from_parts(header, Bytes::from(BytesMut::zeroed(records))).expect("a valid batch")
}

fn partition() -> PartitionAddress {
    let topic = TopicId::from_random(1);
    let key = PartitionKey { cluster: cluster(), topic, partition: PartitionId::new(0) };
    PartitionAddress { key, slot: SlotId::new(0) }
}

fn cluster() -> ClusterId {
    ClusterId::from_random(1)
}

fn caller() -> Caller {
    Caller {
        cluster: cluster(),
        principal: "arn:aws:iam::000000000001:user/bench".into(),
        client_id: "bench".into(),
        client_host: [127, 0, 0, 1].into(),
        patience: Duration::from_secs(30),
        request: RequestId(1),
        revision_seen: Revision::new(1),
        connection: 1,
    }
}
