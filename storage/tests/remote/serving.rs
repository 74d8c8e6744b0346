//! The service by itself: what it does with messages no gateway of ours would send.

use std::sync::Arc;

use bytes::Bytes;
use headgate_storage_client::remote::message::{AppendCall, Operation, kind};
use headgate_storage_client::wire::{Connection, Message, TlsDialer};

use crate::cell::{Cell, batch, partition, patient};

#[tokio::test]
async fn what_is_not_understood_is_rejected_and_the_connection_goes_on() {
    let (cell, nodes) = Cell::new(1, 1).await;
    let gateway = cell.gateway().await;
    // The address is in the record that routing reads.
    let owners =
        headgate_metadata::slot_owners::SlotOwners::start(Arc::clone(&cell.store)).await.expect("read");
    let address = owners.nodes()[0].address.clone();
    let dialer: headgate_storage_client::wire::Dialer =
        Arc::new(TlsDialer::new(&cell.authority.issue("gateway/odd")).expect("usable"));
    let connection = Connection::open(&dialer, &address).await.expect("admitted");
    let valid = AppendCall::new(patient(1), partition(0), 1, &batch(1, None)).to_message();
    let other_cluster =
        headgate_storage_client::Caller { cluster: "zzzzzzzz".parse().expect("an id"), ..patient(1) };
    let mixed = AppendCall::new(other_cluster, partition(0), 1, &batch(1, None)).to_message();
    let short = Message { payload: vec![Bytes::from_static(b"x")], ..valid.clone() };
    let odd = [
        Message { kind: 999, ..valid.clone() },
        Message { kind: kind::REJECTED, ..valid.clone() },
        Message { head: Bytes::from_static(b"\xff\xff"), ..valid.clone() },
        Message { head: Bytes::new(), ..valid.clone() },
        Message { kind: kind::READ, ..valid.clone() },
        Message { payload: Vec::new(), ..valid.clone() },
        mixed,
        short,
    ];
    for message in odd {
        let answer = connection.call(message.clone()).await.expect("an answer");
        assert_eq!(answer.kind, kind::REJECTED, "{message:?}");
    }
    assert_eq!(connection.call(valid).await.expect("an answer").kind, kind::APPEND);
    assert_eq!(nodes[0].owner.numbers(0), [1]);
    drop(gateway);
}

/// Sweeps through every kind with bytes that are mostly no message.
#[tokio::test]
async fn no_bytes_make_the_service_panic() {
    let (cell, _nodes) = Cell::new(1, 1).await;
    let owners =
        headgate_metadata::slot_owners::SlotOwners::start(Arc::clone(&cell.store)).await.expect("read");
    let dialer: headgate_storage_client::wire::Dialer =
        Arc::new(TlsDialer::new(&cell.authority.issue("gateway/odd")).expect("usable"));
    let connection = Connection::open(&dialer, &owners.nodes()[0].address).await.expect("admitted");
    let mut state = 1_u64;
    let mut random = move || {
        // Xorshift: any bytes will do, the same each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for kind in 16..40 {
        for _ in 0..50 {
            let bytes = |random: &mut dyn FnMut() -> u64| -> Bytes {
                (0..random() % 40).map(|_| random() as u8).collect()
            };
            let payload = (0..random() % 3).map(|_| bytes(&mut random)).collect();
            let message = Message { kind, head: bytes(&mut random), payload };
            let answer = connection.call(message).await.expect("an answer, not a panic");
            assert!(answer.kind == kind::REJECTED || answer.kind == kind);
        }
    }
}
