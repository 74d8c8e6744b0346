//! Order, answers, cancels and limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::super::{CallError, Connection, Message, WireLimits};
use super::memory::{gateway, serve};
use super::{Echo, message};

async fn connected(service: &Arc<Echo>, limits: WireLimits) -> (Connection, super::super::Server) {
    let (dialer, server) = serve(service, limits);
    (Connection::open(&dialer, "anywhere").await.expect("somebody listens"), server)
}

#[tokio::test(start_paused = true)]
async fn requests_reach_the_service_in_the_order_of_the_calls_and_are_answered_in_any() {
    let service = Arc::new(Echo::default());
    let (connection, _server) = connected(&service, WireLimits::default()).await;
    let slow = connection.call(message(16, "wait"));
    let later: Vec<_> = (0..100).map(|index| connection.call(message(16, &index.to_string()))).collect();
    // Polled in reverse: the place was taken by the call.
    for (answer, index) in join_all(later.into_iter().rev()).await.into_iter().zip((0..100).rev()) {
        assert_eq!(answer, Ok(message(16, &index.to_string())));
    }
    service.bell.notify_one();
    assert_eq!(slow.await, Ok(message(16, "wait")));
    let expected: Vec<String> =
        std::iter::once("wait".to_owned()).chain((0..100).map(|index| index.to_string())).collect();
    assert_eq!(service.heads(), expected);
    assert!(service.asked.lock().expect("no panic").iter().all(|(peer, _)| *peer == gateway()));
}

#[tokio::test(start_paused = true)]
async fn payload_arrives_piece_by_piece_as_it_was_sent() {
    let service = Arc::new(Echo::default());
    let (connection, _server) = connected(&service, WireLimits::default()).await;
    let piece = |seed: u8, length: usize| {
        (0..length).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect::<Bytes>()
    };
    for lengths in [&[0][..], &[1, 0, 3], &[16 << 10], &[3 << 20, 7], &[8191, 8192, 8193, 100_000]] {
        let payload = lengths.iter().zip(1..).map(|(length, seed)| piece(seed, *length)).collect();
        let sent = Message { kind: 77, head: Bytes::from_static(b"head"), payload };
        assert_eq!(connection.call(sent.clone()).await, Ok(sent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_cancelled_at_the_service() {
    let service = Arc::new(Echo::default());
    let (connection, _server) = connected(&service, WireLimits::default()).await;
    let mut call = Box::pin(connection.call(message(16, "wait")));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut call).await.is_err());
    drop(call);
    service.dropped.notified().await;
    assert_eq!(connection.call(message(16, "still here")).await, Ok(message(16, "still here")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_lost_and_hurts_nobody_else() {
    let service = Arc::new(Echo::default());
    let (connection, _server) = connected(&service, WireLimits::default()).await;
    let other = connection.call(message(16, "wait"));
    assert_eq!(connection.call(message(16, "panic")).await, Err(CallError::Lost));
    service.bell.notify_one();
    assert_eq!(other.await, Ok(message(16, "wait")));
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_servers_limit_is_refused_and_the_connection_goes_on() {
    let service = Arc::new(Echo::default());
    let limits = WireLimits { frame_bytes_max: 1000, ..WireLimits::default() };
    let (connection, _server) = connected(&service, limits).await;
    let large = Message { payload: vec![Bytes::from(vec![1; 300_000])], ..message(16, "large") };
    assert_eq!(connection.call(large).await, Err(CallError::NotSent));
    assert_eq!(connection.call(message(16, "small")).await, Ok(message(16, "small")));
    assert_eq!(service.heads(), ["small"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_no_frame_may_hold_is_lost_at_once() {
    let service = Arc::new(Echo::default());
    let limits = WireLimits { frame_bytes_max: 1000, ..WireLimits::default() };
    let (connection, _server) = connected(&service, limits).await;
    assert_eq!(connection.call(message(16, "grow")).await, Err(CallError::Lost));
    assert_eq!(connection.call(message(16, "small")).await, Ok(message(16, "small")));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_frame_may_hold_is_not_sent() {
    let service = Arc::new(Echo::default());
    let (dialer, _server) = serve(&service, WireLimits::default());
    let limits = WireLimits { frame_bytes_max: 1000, ..WireLimits::default() };
    let connection = Connection::open_with(&dialer, "anywhere", limits).await.expect("somebody listens");
    let large = Message { payload: vec![Bytes::from(vec![1; 2000])], ..message(16, "large") };
    assert_eq!(connection.call(large).await, Err(CallError::NotSent));
    assert_eq!(service.heads().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_limit_are_refused_on_either_side() {
    let service = Arc::new(Echo::default());
    for (client_max, server_max) in [(2, 100), (100, 2)] {
        let server_limits = WireLimits { calls_max: server_max, ..WireLimits::default() };
        let (dialer, _server) = serve(&service, server_limits);
        let limits = WireLimits { calls_max: client_max, ..WireLimits::default() };
        let connection = Connection::open_with(&dialer, "anywhere", limits).await.expect("somebody listens");
        let waiting = [connection.call(message(16, "wait")), connection.call(message(16, "wait"))];
        assert_eq!(connection.call(message(16, "third")).await, Err(CallError::NotSent));
        tokio::time::sleep(Duration::from_millis(1)).await;
        service.bell.notify_waiters();
        for call in waiting {
            assert_eq!(call.await, Ok(message(16, "wait")));
        }
        assert_eq!(connection.call(message(16, "third")).await, Ok(message(16, "third")));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_given_up_leave_nothing_behind_on_either_side() {
    const CALLS_MAX: usize = 64;
    let service = Arc::new(Echo::default());
    let limits = WireLimits { calls_max: CALLS_MAX, ..WireLimits::default() };
    let (dialer, _server) = serve(&service, limits);
    let connection = Connection::open_with(&dialer, "anywhere", limits).await.expect("somebody listens");
    for round in 0..20 {
        let calls: Vec<_> = (0..CALLS_MAX).map(|_| connection.call(message(16, "wait"))).collect();
        if round % 2 == 0 {
            // Given up at the server, or before they were even sent.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(calls);
    }
    let calls: Vec<_> = (0..CALLS_MAX).map(|_| connection.call(message(16, "last"))).collect();
    for answer in join_all(calls).await {
        assert_eq!(answer, Ok(message(16, "last")));
    }
}
