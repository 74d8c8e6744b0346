//! Frames into a stream of bytes: one vectored write for what has gathered since the last one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{Outgoing, Role, kind};
use super::outbox::Outbox;
use super::pulse::HEARTBEAT_PERIOD;

/// A batch ends with the frame that reaches this: enough to fill large writes, little enough for a small frame to wait behind.
const BATCH_BYTES: usize = 512 << 10;

/// Writes what the outbox holds until it is finished and empty, and heartbeats while it is silent. Then closes the writing side.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(mut stream: W, outbox: &Outbox) -> io::Result<()> {
    loop {
        let frames = match timeout(HEARTBEAT_PERIOD, outbox.take(BATCH_BYTES)).await {
            Ok(Some(frames)) => frames,
            Ok(None) => return stream.shutdown().await,
            Err(_) => {
                let heartbeat = Outgoing::bare(Role::Notice, kind::HEARTBEAT, 0);
                vec![(heartbeat.size_bytes().expect("a bare frame is small"), heartbeat)]
            }
        };
        let mut batch = Batch::of(frames);
        stream.write_all_buf(&mut batch).await?;
        stream.flush().await?;
    }
}

/// Frames as the slices to be written; payloads stay where they are.
struct Batch {
    slices: VecDeque<Bytes>,
    bytes: usize,
}

impl Batch {
    fn of(frames: Vec<(u32, Outgoing)>) -> Self {
        let mut fronts = BytesMut::new();
        let mut slices = VecDeque::with_capacity(frames.len() * 2);
        let mut total = 0;
        for (size, frame) in frames {
            frame.encode_front(size, &mut fronts);
            total += size as usize;
            // Frames without payload share one slice.
            let pieces = frame.message.payload.into_iter().filter(|piece| !piece.is_empty());
            for (index, piece) in pieces.enumerate() {
                if index == 0 {
                    slices.push_back(fronts.split().freeze());
                }
                slices.push_back(piece);
            }
        }
        if !fronts.is_empty() {
            slices.push_back(fronts.freeze());
        }
        Self { slices, bytes: total }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&[], |slice| slice)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let filled = out.len().min(self.slices.len());
        for (out, slice) in out.iter_mut().zip(&self.slices) {
            *out = IoSlice::new(slice);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let front = self.slices.front_mut().expect("nobody advances beyond the end");
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[tokio::test]
    async fn a_batch_is_the_frames_one_after_another() {
        let message = |pieces: &[&'static str]| Message {
            kind: 16,
            head: Bytes::from_static(b"h"),
            payload: pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect(),
        };
        let frames = [message(&[]), message(&["first", "", "second"]), message(&[""]), message(&["third"])];
        let outbox = Outbox::new(1 << 20, 1 << 20);
        let mut expected = BytesMut::new();
        for message in frames {
            let frame = Outgoing { role: Role::Request, request: 1, message };
            frame.encode_front(frame.size_bytes().expect("small"), &mut expected);
            frame.message.payload.iter().for_each(|piece| expected.extend_from_slice(piece));
            outbox.push(frame).expect("open");
        }
        outbox.finish();
        // Advancing in small steps crosses every boundary.
        let mut batch = Batch::of(outbox.take(1 << 20).await.expect("frames"));
        let mut read = Vec::new();
        while batch.has_remaining() {
            let step = batch.chunk().len().min(3);
            read.extend_from_slice(&batch.chunk()[..step]);
            batch.advance(step);
        }
        assert_eq!(read, expected);
    }
}
