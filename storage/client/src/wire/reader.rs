//! Frames out of a stream of bytes. Each frame's body is one allocation of exactly its size, so that a slice of it that is kept
//! (a batch in the tail) keeps no neighbour alive.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frame::{HEADER_BYTES, Header};
use super::pulse::Pulse;

/// What is read ahead at most: many small frames in one system call, and little to copy of a large one.
const READ_AHEAD_BYTES: usize = 16 << 10;

/// Reads frames. Not cancel safe: it is driven by one loop to the end.
pub(super) struct FrameReader<R> {
    stream: R,
    ahead: BytesMut,
    pulse: Arc<Pulse>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, pulse: Arc<Pulse>) -> Self {
        Self { stream, ahead: BytesMut::with_capacity(READ_AHEAD_BYTES), pulse }
    }

    /// The next frame's header; `None` when the peer closed between two frames.
    pub(super) async fn header(&mut self) -> io::Result<Option<Header>> {
        while self.ahead.len() < HEADER_BYTES {
            if self.fill().await? == 0 {
                let between_frames = self.ahead.is_empty();
                return if between_frames { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        let raw = self.ahead.first_chunk().expect("the loop ends with a whole header");
        let header = Header::parse(raw).map_err(invalid)?;
        self.ahead.advance(HEADER_BYTES);
        Ok(Some(header))
    }

    /// The body that follows the header. The caller has checked its length against a limit; the peer is part of the cell, so
    /// the room is taken at once.
    pub(super) async fn body(&mut self, header: &Header) -> io::Result<Bytes> {
        let length = header.body_bytes as usize;
        let mut body = BytesMut::with_capacity(length);
        let known = self.ahead.len().min(length);
        body.extend_from_slice(&self.ahead[..known]);
        self.ahead.advance(known);
        while body.len() < length {
            let missing = length - body.len();
            if missing <= READ_AHEAD_BYTES / 2 {
                // A short rest is read together with what follows it.
                if self.fill().await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let known = self.ahead.len().min(missing);
                body.extend_from_slice(&self.ahead[..known]);
                self.ahead.advance(known);
                continue;
            }
            self.pulse.begin_wait();
            let mut place = (&mut body).limit(missing);
            let read = self.stream.read_buf(&mut place).await?;
            self.pulse.end_wait();
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(body.freeze())
    }

    /// Passes over the body that follows the header.
    pub(super) async fn skip(&mut self, header: &Header) -> io::Result<()> {
        let mut missing = header.body_bytes as usize;
        loop {
            let known = self.ahead.len().min(missing);
            self.ahead.advance(known);
            missing -= known;
            if missing == 0 {
                return Ok(());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_AHEAD_BYTES - self.ahead.len());
        self.pulse.begin_wait();
        let read = self.stream.read_buf(&mut self.ahead).await?;
        // After the end there is nothing to come: what is left to write has as long as a silent peer has.
        if read > 0 {
            self.pulse.end_wait();
        }
        Ok(read)
    }
}

/// What the peer sent cannot be a frame, or not one of ours.
pub(super) fn invalid(defect: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, defect)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::super::Message;
    use super::super::frame::{Outgoing, Role};
    use super::*;

    /// Gives its bytes in pieces of the given sizes, then all that is left.
    struct Pieces {
        bytes: Bytes,
        sizes: VecDeque<usize>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let left = self.bytes.len();
            let size = self.sizes.pop_front().unwrap_or(left).min(left).min(out.remaining());
            out.put_slice(&self.bytes.split_to(size));
            Poll::Ready(Ok(()))
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn frames(payloads: &[usize]) -> (Vec<Message>, Bytes) {
        let mut bytes = BytesMut::new();
        let messages = payloads.iter().zip(1_u8..).map(|(length, seed)| {
            let payload = vec![Bytes::from(vec![seed; *length])];
            let message = Message { kind: u16::from(seed), head: Bytes::from_static(b"head"), payload };
            let frame = Outgoing { role: Role::Request, request: u64::from(seed), message: message.clone() };
            frame.encode_front(frame.size_bytes().expect("small"), &mut bytes);
            bytes.extend_from_slice(&message.payload[0]);
            message
        });
        let messages: Vec<_> = messages.collect();
        (messages, bytes.freeze())
    }

    proptest! {
        #[test]
        fn frames_are_found_however_their_bytes_arrive(
            payloads in vec(prop_oneof![0..100_usize, 8_000..9_000_usize, 0..70_000_usize], 0..8),
            sizes in vec(1..40_000_usize, 0..60),
            skipped in vec(any::<bool>(), 8),
        ) {
            let (messages, bytes) = frames(&payloads);
            block_on(async {
                let stream = Pieces { bytes, sizes: sizes.into() };
                let mut reader = FrameReader::new(stream, Arc::default());
                for (message, skip) in messages.into_iter().zip(skipped) {
                    let header = reader.header().await.expect("whole").expect("one more");
                    if skip {
                        reader.skip(&header).await.expect("whole");
                    } else {
                        let body = reader.body(&header).await.expect("whole");
                        prop_assert_eq!(header.take_apart(body).expect("a frame"), message);
                    }
                }
                prop_assert!(reader.header().await.expect("the end is between two frames").is_none());
                Ok(())
            })?;
        }

        #[test]
        fn a_stream_that_ends_inside_a_frame_is_no_end(payload in 0..20_000_usize, missing in 1..20_000_usize) {
            let (_, bytes) = frames(&[payload]);
            let cut = bytes.len().saturating_sub(missing).max(1);
            block_on(async {
                let stream = Pieces { bytes: bytes.slice(..cut), sizes: VecDeque::new() };
                let mut reader = FrameReader::new(stream, Arc::default());
                let ended = match reader.header().await {
                    Ok(header) => reader.body(&header.expect("something came")).await.map(drop),
                    Err(error) => Err(error),
                };
                prop_assert_eq!(ended.expect_err("it is cut").kind(), io::ErrorKind::UnexpectedEof);
                Ok(())
            })?;
        }
    }
}
