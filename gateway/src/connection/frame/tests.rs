use std::time::Duration;

use futures_util::poll;
use headgate_metadata::id::ClusterId;
use tokio::io::{AsyncWriteExt, duplex};

use super::*;
use crate::budget::{BudgetSizes, InflightBudget};

const MAX: u64 = 8 * 1024 * 1024;

fn budget(bytes: u64) -> InflightBudget {
    InflightBudget::new(BudgetSizes { shared: bytes, cluster_cap: bytes, cluster_guarantee: 0, strangers: 0 })
}

fn lane(budget: &InflightBudget) -> Lane {
    budget.cluster(ClusterId::from_random(1))
}

#[tokio::test]
async fn a_frame_comes_out_whole_however_it_is_cut() {
    let budget = budget(MAX);
    let lane = lane(&budget);
    let body: Vec<u8> = (0..3 * 1024 * 1024).map(|i: u32| i as u8).collect();
    for piece in [1000, 65_537, body.len()] {
        let (mut client, mut server) = duplex(1024 * 1024);
        let sent = body.clone();
        let sending = async move {
            client.write_all(&(sent.len() as u32).to_be_bytes()).await.expect("the server reads");
            for piece in sent.chunks(piece) {
                client.write_all(piece).await.expect("the server reads");
            }
            client
        };
        let mut frames = FrameReader::default();
        let receiving = async {
            frames.announce(&mut server, MAX).await.expect("a good length");
            frames.finish(&mut server, &lane).await.expect("a whole frame")
        };
        let (_client, frame) = tokio::join!(sending, receiving);
        assert!(frame.bytes == body, "piece {piece}");
        assert!(!frames.is_mid_frame());
    }
}

#[tokio::test]
async fn nothing_of_a_body_is_read_before_its_whole_length_is_reserved() {
    let budget = budget(100);
    let lane = lane(&budget);
    let held = lane.try_reserve(50).expect("free");
    let (mut client, mut server) = duplex(1024);
    client.write_all(&60_u32.to_be_bytes()).await.expect("room");
    client.write_all(&[7; 60]).await.expect("room");
    let mut frames = FrameReader::default();
    frames.announce(&mut server, MAX).await.expect("a good length");
    {
        let mut waiting = Box::pin(frames.finish(&mut server, &lane));
        assert!(poll!(&mut waiting).is_pending());
    }
    // Giving up the wait loses neither the place nor a byte.
    drop(held);
    let frame = frames.finish(&mut server, &lane).await.expect("now there is room");
    assert_eq!(&frame.bytes[..], [7; 60]);
    assert_eq!(budget.in_use_bytes(), 60);
    drop(frame);
    assert_eq!(budget.in_use_bytes(), 0);
}

#[tokio::test]
async fn lengths_below_zero_and_beyond_the_limit_are_refused() {
    for length in [-1_i32, i32::MIN, MAX as i32 + 1, i32::MAX] {
        let (mut client, mut server) = duplex(64);
        client.write_all(&length.to_be_bytes()).await.expect("room");
        let refused = FrameReader::default().announce(&mut server, MAX).await;
        assert!(matches!(refused, Err(FrameError::Length { .. })), "{length}");
    }
}

#[tokio::test]
async fn an_end_inside_a_frame_is_an_end() {
    let budget = budget(MAX);
    let lane = lane(&budget);
    for sent in [&[0_u8, 0][..], &[0, 0, 0, 4, 1, 2]] {
        let (mut client, mut server) = duplex(64);
        client.write_all(sent).await.expect("room");
        drop(client);
        let mut frames = FrameReader::default();
        let read = async {
            frames.announce(&mut server, MAX).await?;
            frames.finish(&mut server, &lane).await
        };
        assert!(matches!(read.await, Err(FrameError::Ended)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_slower_than_the_minimum_rate_is_given_up() {
    let budget = budget(MAX);
    let lane = lane(&budget);
    let (mut client, mut server) = duplex(1024);
    client.write_all(&[0, 0, 4, 0, 1]).await.expect("room");
    let mut frames = FrameReader::default();
    frames.announce(&mut server, MAX).await.expect("a good length");
    let began = Instant::now();
    assert!(matches!(frames.finish(&mut server, &lane).await, Err(FrameError::TooSlow)));
    assert_eq!(began.elapsed(), PROGRESS_GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_slow_frame_that_keeps_the_minimum_rate_arrives() {
    let budget = budget(MAX);
    let lane = lane(&budget);
    let (mut client, mut server) = duplex(64 * 1024);
    let length = 2 * 1024 * 1024_u32;
    let sending = async move {
        client.write_all(&length.to_be_bytes()).await.expect("the server reads");
        for _ in 0..length / (64 * 1024) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(&vec![0; 64 * 1024]).await.expect("the server reads");
        }
        client
    };
    let mut frames = FrameReader::default();
    let receiving = async {
        frames.announce(&mut server, MAX).await?;
        frames.finish(&mut server, &lane).await
    };
    let (_client, frame) = tokio::join!(sending, receiving);
    assert_eq!(frame.expect("it kept the rate").bytes.len(), length as usize);
}
