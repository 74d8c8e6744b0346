//! Reading frames: a length, then so many bytes.
//!
//! Invariants: the whole length is reserved before the first body byte is read; a frame that has begun keeps a minimum
//! rate; a large buffer never holds more than twice what arrived. Both reads are cancel safe: what was read stays here.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::budget::{InflightBytes, Lane};

/// The slowest a client may send a frame it has begun.
const PROGRESS_BYTES_PER_SECOND: u64 = 64 * 1024;
/// What every frame gets on top of that: room for one lost packet and its retransmission on a bad link.
const PROGRESS_GRACE: Duration = Duration::from_secs(10);
/// Up to this size a frame's buffer is allocated at once; beyond, it grows with what arrived.
const EAGER_BUFFER_BYTES: usize = 1024 * 1024;

/// Why a frame could not be read. The connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The client closed, or the connection broke.
    #[error("connection ended")]
    Ended,
    /// The length is negative or beyond the limit.
    #[error("frame length {length} is not within 0..={max}")]
    Length { length: i32, max: u64 },
    /// The frame came slower than the minimum rate.
    #[error("frame came too slowly")]
    TooSlow,
}

/// A whole frame, and the memory it stands for.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) reserved: InflightBytes,
}

/// Reads the frames of one connection, one at a time.
#[derive(Default)]
pub(crate) struct FrameReader {
    stage: Stage,
}

enum Stage {
    /// Up to four bytes of the length are there.
    Length { bytes: [u8; 4], have: usize },
    /// The length is known; nothing is reserved.
    Announced { length: usize },
    /// Waiting for room.
    Reserving { length: usize, room: Pin<Box<dyn Future<Output = InflightBytes> + Send + Sync>> },
    /// Room is reserved; the body is coming.
    Body { length: usize, buffer: BytesMut, reserved: InflightBytes, began: Instant },
}

impl Default for Stage {
    fn default() -> Self {
        Self::Length { bytes: [0; 4], have: 0 }
    }
}

impl FrameReader {
    /// Whether a frame has begun to arrive.
    pub(crate) fn is_mid_frame(&self) -> bool {
        !matches!(self.stage, Stage::Length { have: 0, .. })
    }

    /// The next frame's length, once it is known.
    pub(crate) fn announced(&self) -> Option<usize> {
        match &self.stage {
            Stage::Length { .. } => None,
            Stage::Announced { length } | Stage::Reserving { length, .. } | Stage::Body { length, .. } => {
                Some(*length)
            }
        }
    }

    /// Reads the next frame's length and no more, which is also how the end of the connection is noticed while a request
    /// is being served.
    pub(crate) async fn announce(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        max: u64,
    ) -> Result<(), FrameError> {
        while let Stage::Length { bytes, have } = &mut self.stage {
            let count = stream.read(&mut bytes[*have..]).await.map_err(|_| FrameError::Ended)?;
            if count == 0 {
                return Err(FrameError::Ended);
            }
            *have += count;
            if *have == bytes.len() {
                let length = i32::from_be_bytes(*bytes);
                let accepted = usize::try_from(length).ok().filter(|length| *length as u64 <= max);
                let length = accepted.ok_or(FrameError::Length { length, max })?;
                self.stage = Stage::Announced { length };
            }
        }
        Ok(())
    }

    /// Reads the rest of the frame whose length is known.
    pub(crate) async fn finish(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        lane: &Lane,
    ) -> Result<Frame, FrameError> {
        loop {
            match &mut self.stage {
                Stage::Length { .. } => unreachable!("announce has returned before"),
                Stage::Announced { length } => {
                    let length = *length;
                    self.stage = match lane.try_reserve(length as u32) {
                        Some(reserved) => Stage::body(length, reserved),
                        None => {
                            Stage::Reserving { length, room: Box::pin(lane.clone().reserve(length as u32)) }
                        }
                    };
                }
                Stage::Reserving { length, room } => {
                    let reserved = room.await;
                    self.stage = Stage::body(*length, reserved);
                }
                Stage::Body { length, buffer, began, .. } => {
                    read_body(stream, buffer, *length, *began).await?;
                    return Ok(self.take());
                }
            }
        }
    }

    fn take(&mut self) -> Frame {
        match std::mem::take(&mut self.stage) {
            Stage::Body { buffer, reserved, .. } => Frame { bytes: buffer.freeze(), reserved },
            _ => unreachable!("only a body that is complete is taken"),
        }
    }
}

impl Stage {
    fn body(length: usize, reserved: InflightBytes) -> Self {
        let buffer = BytesMut::with_capacity(length.min(EAGER_BUFFER_BYTES));
        Self::Body { length, buffer, reserved, began: Instant::now() }
    }
}

async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    length: usize,
    began: Instant,
) -> Result<(), FrameError> {
    while buffer.len() < length {
        if buffer.len() == buffer.capacity() {
            buffer.reserve(buffer.len().min(length - buffer.len()));
        }
        let due =
            began + PROGRESS_GRACE + Duration::from_secs(buffer.len() as u64 / PROGRESS_BYTES_PER_SECOND);
        let room = (buffer.capacity() - buffer.len()).min(length - buffer.len());
        let mut limited = (&mut *buffer).limit(room);
        let read = timeout_at(due, stream.read_buf(&mut limited)).await.map_err(|_| FrameError::TooSlow)?;
        if read.map_err(|_| FrameError::Ended)? == 0 {
            return Err(FrameError::Ended);
        }
    }
    debug_assert_eq!(buffer.remaining(), length);
    Ok(())
}

#[cfg(test)]
mod tests;
