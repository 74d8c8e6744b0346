//! A stream of frames in and slices out, and its orderly end.

use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::SliceList;
use super::frame::FrameReader;

/// How long a closing connection is read so that a response just sent is not lost to a reset (`gateway/PROTOCOL.md` §10).
const LINGER_MAX: Duration = Duration::from_secs(5);
/// The same for a connection there is no place to hold: long enough to read what has arrived, since closing over unread bytes
/// resets the connection, and short enough that a flood of them takes few descriptors.
const LINGER_BRIEF: Duration = Duration::from_millis(50);
/// How long the client is given to close first. A client that reads the end of the stream together with our last answer may
/// throw the answer away (kafka-python does), and its user would never see why a login was refused.
const CLIENT_FIRST: Duration = Duration::from_millis(100);

/// Bytes from and to one client: a TCP stream, plain or TLS, or a double in tests.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for S {}

/// A connection's stream and the frame that is arriving on it.
pub(crate) struct Transport<S> {
    pub(crate) stream: S,
    pub(crate) frames: FrameReader,
}

/// The client did not take a response, or is gone. The connection ends.
#[derive(Debug, thiserror::Error)]
#[error("response not taken")]
pub(crate) struct NotTaken;

impl<S: ByteStream> Transport<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, frames: FrameReader::default() }
    }

    /// Writes all slices; returns when the kernel has them. `stall_max` is the longest without any progress.
    pub(crate) async fn write(&mut self, mut slices: SliceList, stall_max: Duration) -> Result<(), NotTaken> {
        while slices.has_remaining() {
            let written =
                timeout(stall_max, self.stream.write_buf(&mut slices)).await.map_err(|_| NotTaken)?;
            if written.map_err(|_| NotTaken)? == 0 {
                return Err(NotTaken);
            }
        }
        timeout(stall_max, self.stream.flush()).await.map_err(|_| NotTaken)?.map_err(|_| NotTaken)
    }

    /// Lets the client close first, for a moment; then shuts down writing (with TLS: says goodbye), reads until the client has
    /// closed too or has had its time, and lets go.
    pub(crate) async fn close(mut self) {
        drop(timeout(CLIENT_FIRST, self.read_to_end()).await);
        self.shut_down(LINGER_MAX).await;
    }

    /// Closes a connection that nothing was said on, at once.
    pub(crate) async fn close_at_once(mut self) {
        self.shut_down(LINGER_BRIEF).await;
    }

    async fn shut_down(&mut self, linger: Duration) {
        let drained = async {
            self.stream.shutdown().await?;
            self.read_to_end().await
        };
        // However it ends, the connection is over.
        drop(timeout(linger, drained).await);
    }

    async fn read_to_end(&mut self) -> std::io::Result<()> {
        let mut sink = [0; 4096];
        while self.stream.read(&mut sink).await? > 0 {}
        Ok(())
    }
}
