//! What waits to be written on one connection, in order.
//!
//! Invariant: a frame still in here has not touched the stream. Whoever closes the outbox learns which requests those are.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::frame::Outgoing;

/// Frames of less than this many bytes count as so many: bookkeeping is not free.
const FRAME_COST_MIN: usize = 256;

/// The frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// The connection has ended.
    Closed,
    /// Too much is queued already.
    Full,
    /// No frame can hold it, or it is longer than the limit.
    TooLarge,
}

/// The queue. Many push, one writer takes.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    drained: Notify,
    bytes_max: usize,
    frame_bytes_max: u32,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<(u32, Outgoing)>,
    cost: usize,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize, frame_bytes_max: u32) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            bytes_max,
            frame_bytes_max,
        }
    }

    /// Queues a frame unless the queue is full. A single frame larger than the whole queue has it for itself.
    pub(super) fn offer(&self, frame: Outgoing) -> Result<(), NotQueued> {
        let mut state = self.lock();
        if state.cost >= self.bytes_max {
            return Err(if state.closed { NotQueued::Closed } else { NotQueued::Full });
        }
        self.append(&mut state, frame)
    }

    /// Queues a frame even if the queue is full: answers, cancels and notices, whose number is bounded by the calls.
    pub(super) fn push(&self, frame: Outgoing) -> Result<(), NotQueued> {
        self.append(&mut self.lock(), frame)
    }

    fn append(&self, state: &mut State, frame: Outgoing) -> Result<(), NotQueued> {
        if state.closed {
            return Err(NotQueued::Closed);
        }
        let size = frame.size_bytes().filter(|size| *size <= self.frame_bytes_max);
        let size = size.ok_or(NotQueued::TooLarge)?;
        state.cost += cost(size);
        state.frames.push_back((size, frame));
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for frames and takes them from the front, at least one, until `bytes` are reached. `None` = closed and empty.
    pub(super) async fn take(&self, bytes: usize) -> Option<Vec<(u32, Outgoing)>> {
        loop {
            {
                let mut state = self.lock();
                let taken = state.take(bytes);
                if !taken.is_empty() {
                    if state.cost < self.bytes_max {
                        self.drained.notify_one();
                    }
                    return Some(taken);
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Waits until less is queued than the limit. For the one reader of the connection.
    pub(super) async fn has_room(&self) {
        while self.lock().cost >= self.bytes_max {
            self.drained.notified().await;
        }
    }

    /// Takes no more frames; what is queued is still written.
    pub(super) fn finish(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Takes no more frames and gives back what was never written.
    pub(super) fn close(&self) -> impl Iterator<Item = Outgoing> + use<> {
        let mut state = self.lock();
        state.closed = true;
        state.cost = 0;
        self.filled.notify_one();
        self.drained.notify_one();
        std::mem::take(&mut state.frames).into_iter().map(|(_, frame)| frame)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, bytes: usize) -> Vec<(u32, Outgoing)> {
        let (mut count, mut total) = (0, 0);
        for (size, _) in &self.frames {
            if total >= bytes {
                break;
            }
            (count, total) = (count + 1, total + *size as usize);
            self.cost -= cost(*size);
        }
        self.frames.drain(..count).collect()
    }
}

fn cost(size: u32) -> usize {
    (size as usize).max(FRAME_COST_MIN)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Message;
    use super::super::frame::Role;
    use super::*;

    fn frame(request: u64, bytes: usize) -> Outgoing {
        let message = Message { kind: 16, head: Bytes::new(), payload: vec![Bytes::from(vec![0; bytes])] };
        Outgoing { role: Role::Request, request, message }
    }

    fn requests(taken: &[(u32, Outgoing)]) -> Vec<u64> {
        taken.iter().map(|(_, frame)| frame.request).collect()
    }

    #[tokio::test]
    async fn frames_leave_in_order_and_in_bounded_batches() {
        let outbox = Outbox::new(1 << 20, 1 << 20);
        for request in 1..=3 {
            outbox.offer(frame(request, 1000)).expect("there is room");
        }
        assert_eq!(requests(&outbox.take(1500).await.expect("open")), [1, 2]);
        assert_eq!(requests(&outbox.take(1500).await.expect("open")), [3]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_calls_but_takes_answers() {
        let outbox = Outbox::new(1000, 1 << 20);
        outbox.offer(frame(1, 5000)).expect("the queue was empty");
        assert_eq!(outbox.offer(frame(2, 1)), Err(NotQueued::Full));
        outbox.push(frame(3, 1)).expect("answers are always taken");
        outbox.take(1 << 20).await.expect("open");
        outbox.has_room().await;
        outbox.offer(frame(4, 1)).expect("there is room again");
    }

    #[tokio::test]
    async fn closing_gives_back_what_was_never_written() {
        let outbox = Outbox::new(1 << 20, 1 << 20);
        outbox.offer(frame(1, 1000)).expect("there is room");
        outbox.offer(frame(2, 1000)).expect("there is room");
        outbox.take(1).await.expect("open");
        assert_eq!(outbox.close().map(|frame| frame.request).collect::<Vec<_>>(), [2]);
        assert_eq!(outbox.offer(frame(3, 1)), Err(NotQueued::Closed));
        assert!(outbox.take(1).await.is_none());
    }

    #[tokio::test]
    async fn a_finished_queue_is_still_written_to_its_end() {
        let outbox = Outbox::new(1 << 20, 1 << 20);
        outbox.offer(frame(1, 1000)).expect("there is room");
        outbox.finish();
        assert_eq!(outbox.push(frame(2, 1)), Err(NotQueued::Closed));
        assert_eq!(requests(&outbox.take(1).await.expect("one is left")), [1]);
        assert!(outbox.take(1).await.is_none());
    }

    #[test]
    fn a_frame_above_the_limit_is_not_queued() {
        let outbox = Outbox::new(1 << 20, 1000);
        assert_eq!(outbox.offer(frame(1, 1000)), Err(NotQueued::TooLarge));
    }
}
