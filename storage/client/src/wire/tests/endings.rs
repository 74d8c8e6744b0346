//! How connections end, and what is known then of each call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use super::super::{CallError, ConnectError, Connection, Dialer, Message, Server, WireLimits};
use super::memory::{network, raw_network, serve};
use super::{Echo, message};

/// A server that has begun a call which it does not answer, and the way to it.
async fn with_a_stuck_call(
    service: &Arc<Echo>,
) -> (Dialer, Server, impl Future<Output = Result<Message, CallError>>) {
    let (dialer, server) = serve(service, WireLimits::default());
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let stuck = connection.call(message(16, "wait"));
    assert!(connection.call(message(16, "answered")).await.is_ok());
    (dialer, server, stuck)
}

fn large(head: &str) -> Message {
    Message { payload: vec![Bytes::from(vec![1; 1 << 20])], ..message(16, head) }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_lost_in_about_two_seconds() {
    let (dialer, mut peers) = raw_network();
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let _silent = peers.recv().await.expect("the other end");
    let began = Instant::now();
    assert_eq!(connection.call(message(16, "hello?")).await, Err(CallError::Lost));
    let silence = began.elapsed();
    assert!(silence >= Duration::from_millis(1900) && silence <= Duration::from_millis(2600), "{silence:?}");
    assert!(connection.is_closed());
    assert_eq!(connection.call(message(16, "again")).await, Err(CallError::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_no_silence() {
    let service = Arc::new(Echo::default());
    let (dialer, _server) = serve(&service, WireLimits::default());
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    assert_eq!(connection.call(message(16, "sleep")).await, Ok(message(16, "sleep")));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_room_leaves_requests_unread_and_is_not_taken_for_dead() {
    let service = Arc::new(Echo::default());
    let limits = WireLimits { in_flight_bytes_max: 1000, ..WireLimits::default() };
    let (dialer, _server) = serve(&service, limits);
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let sleeping =
        connection.call(Message { payload: vec![Bytes::from(vec![1; 990])], ..message(16, "sleep") });
    let mut behind = Box::pin(connection.call(large("behind")));
    assert!(timeout(Duration::from_secs(9), &mut behind).await.is_err());
    assert_eq!(service.heads(), ["sleep"]);
    assert!(sleeping.await.is_ok());
    assert_eq!(behind.await, Ok(large("behind")));
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_when_the_connection_ended_was_not_sent() {
    let (dialer, mut peers) = raw_network();
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let mut peer = peers.recv().await.expect("the other end");
    let begun = connection.call(large("begun"));
    let queued = connection.call(large("queued"));
    let mut first = [0; 100];
    peer.read_exact(&mut first).await.expect("the first frame begins");
    drop(peer);
    assert_eq!(begun.await, Err(CallError::Lost));
    assert_eq!(queued.await, Err(CallError::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_answers_what_it_accepted_and_the_rest_was_not_sent() {
    let service = Arc::new(Echo::default());
    let (dialer, server) = serve(&service, WireLimits::default());
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let accepted = connection.call(message(16, "wait"));
    assert!(connection.call(message(16, "answered")).await.is_ok());
    let stopping = tokio::spawn(server.shutdown(Duration::from_secs(30)));
    while !connection.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(connection.call(message(16, "late")).await, Err(CallError::NotSent));
    service.bell.notify_one();
    assert_eq!(accepted.await, Ok(message(16, "wait")));
    let began = Instant::now();
    stopping.await.expect("it stops");
    assert!(began.elapsed() < Duration::from_secs(1), "the peer has left, nothing is waited for");
    assert_eq!(service.heads(), ["wait", "answered"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_crosses_the_goodbye_was_not_sent() {
    let service = Arc::new(Echo::default());
    let (dialer, server) = serve(&service, WireLimits::default());
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    assert!(connection.call(message(16, "first")).await.is_ok());
    let accepted = connection.call(message(16, "wait"));
    while service.heads().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Polled once, so that the goodbye is written before the server reads on.
    let mut stopping = Box::pin(server.shutdown(Duration::from_secs(30)));
    assert!(timeout(Duration::ZERO, &mut stopping).await.is_err());
    let crossing = connection.call(message(16, "crossing"));
    let outcome = crossing.await;
    service.bell.notify_one();
    assert!(accepted.await.is_ok());
    stopping.await;
    match outcome {
        Err(CallError::NotSent) => assert_eq!(service.heads().len(), 2),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_must_stop_ends_calls_that_outlast_its_grace() {
    let service = Arc::new(Echo::default());
    let (_, server, stuck) = with_a_stuck_call(&service).await;
    server.shutdown(Duration::from_secs(3)).await;
    service.dropped.notified().await;
    assert_eq!(stuck.await, Err(CallError::Lost));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_loses_its_calls_and_takes_the_next_connection() {
    let service = Arc::new(Echo::default());
    let (dialer, server, stuck) = with_a_stuck_call(&service).await;
    server.hang_up().now();
    assert_eq!(stuck.await, Err(CallError::Lost));
    let again = Connection::open(&dialer, "anywhere").await.expect("it listens still");
    assert!(again.call(message(16, "answered again")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_peer_that_went_away_are_dropped() {
    let service = Arc::new(Echo::default());
    let (dialer, _server) = serve(&service, WireLimits::default());
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let call = connection.call(message(16, "wait"));
    assert!(connection.call(message(16, "answered")).await.is_ok());
    service.dropped.notified().await;
    drop((connection, call));
    service.dropped.notified().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_frame_end_the_connection() {
    use tokio::io::AsyncWriteExt;
    let (dialer, mut peers) = raw_network();
    let connection = Connection::open(&dialer, "anywhere").await.expect("somebody listens");
    let mut peer = peers.recv().await.expect("the other end");
    let call = connection.call(message(16, "hello"));
    peer.read_exact(&mut [0; 22]).await.expect("the request");
    peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
    assert_eq!(call.await, Err(CallError::Lost));
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_told_from_a_stranger() {
    let (dialer, listener) = network();
    drop(listener);
    let refused = Connection::open(&dialer, "nowhere").await.expect_err("nobody listens");
    assert!(matches!(refused, ConnectError::Unreachable { .. }), "{refused}");
}
