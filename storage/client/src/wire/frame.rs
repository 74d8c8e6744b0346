//! One frame: its header, and how it is taken apart and put together. The drawing is in [`super`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Message;

/// The version of the frame's own layout; messages have their own.
pub(super) const FRAME_VERSION: u8 = 1;
/// The fixed part in front of the head, the length included.
pub(super) const HEADER_BYTES: usize = 20;
/// What `length` does not count: itself.
pub(super) const LENGTH_BYTES: usize = 4;
const PIECE_COUNT_BYTES: usize = 2;
const PIECE_LENGTH_BYTES: usize = 4;

/// The kinds that belong to the wire. A service's kinds begin at [`kind::SERVICE_MIN`].
pub mod kind {
    /// Notice: the sender is alive.
    pub const HEARTBEAT: u16 = 0;
    /// Notice: the sender stops; it has accepted requests up to the frame's request id and ignores later ones.
    pub const GOING_AWAY: u16 = 1;
    /// Response: nothing was done (the head says why, as text). Safe to send again, anywhere.
    pub const REFUSED: u16 = 2;
    /// Response: the service failed in the middle; it may have acted.
    pub const FAILED: u16 = 3;
    /// The first kind of the storage interface.
    pub const SERVICE_MIN: u16 = 16;
    /// The first kind of what storage nodes say to each other.
    pub const NODE_MIN: u16 = 1024;
    /// The first kind of what is asked about usage.
    pub const USAGE_MIN: u16 = 2048;
}

/// What a frame is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Notice,
    Request,
    Response,
    Cancel,
}

impl Role {
    fn flags(self) -> u8 {
        match self {
            Self::Notice => 0,
            Self::Request => 1,
            Self::Response => 2,
            Self::Cancel => 4,
        }
    }
    fn from_flags(flags: u8) -> Result<Self, FrameDefect> {
        match flags {
            0 => Ok(Self::Notice),
            1 => Ok(Self::Request),
            2 => Ok(Self::Response),
            4 => Ok(Self::Cancel),
            _ => Err(FrameDefect::Flags(flags)),
        }
    }
}

/// Why bytes are no frame. The connection cannot go on: nobody knows where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameDefect {
    #[error("frame version {0} is not supported; {FRAME_VERSION} is")]
    Version(u8),
    #[error("frame flags {0:#04x} are not known")]
    Flags(u8),
    #[error("the frame's lengths do not add up")]
    Length,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the frame behind this header.
    pub(super) body_bytes: u32,
    pub(super) role: Role,
    pub(super) kind: u16,
    pub(super) request: u64,
    pub(super) head_bytes: u32,
}

impl Header {
    pub(super) fn parse(raw: &[u8; HEADER_BYTES]) -> Result<Self, FrameDefect> {
        let raw: &mut &[u8] = &mut raw.as_slice();
        let length = raw.get_u32();
        let version = raw.get_u8();
        if version != FRAME_VERSION {
            return Err(FrameDefect::Version(version));
        }
        let role = Role::from_flags(raw.get_u8())?;
        let (kind, request, head_bytes) = (raw.get_u16(), raw.get_u64(), raw.get_u32());
        let body_bytes =
            length.checked_sub((HEADER_BYTES - LENGTH_BYTES) as u32).ok_or(FrameDefect::Length)?;
        Ok(Self { body_bytes, role, kind, request, head_bytes })
    }

    /// Slices the body into head and payload. Nothing is copied.
    pub(super) fn take_apart(&self, mut body: Bytes) -> Result<Message, FrameDefect> {
        let head = split(&mut body, self.head_bytes as usize)?;
        let count = usize::from(split(&mut body, PIECE_COUNT_BYTES)?.get_u16());
        let mut lengths = split(&mut body, count * PIECE_LENGTH_BYTES)?;
        let mut payload = Vec::with_capacity(count);
        for _ in 0..count {
            payload.push(split(&mut body, lengths.get_u32() as usize)?);
        }
        if !body.is_empty() {
            return Err(FrameDefect::Length);
        }
        Ok(Message { kind: self.kind, head, payload })
    }
}

fn split(bytes: &mut Bytes, count: usize) -> Result<Bytes, FrameDefect> {
    if count > bytes.len() {
        return Err(FrameDefect::Length);
    }
    Ok(bytes.split_to(count))
}

/// A frame to be written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) role: Role,
    pub(super) request: u64,
    pub(super) message: Message,
}

impl Outgoing {
    /// A frame without head and payload.
    pub(super) fn bare(role: Role, kind: u16, request: u64) -> Self {
        Self { role, request, message: Message { kind, head: Bytes::new(), payload: Vec::new() } }
    }

    /// The frame's bytes on the wire; `None` when a field cannot express it.
    pub(super) fn size_bytes(&self) -> Option<u32> {
        u16::try_from(self.message.payload.len()).ok()?;
        let payload: usize = self.message.payload.iter().map(|piece| PIECE_LENGTH_BYTES + piece.len()).sum();
        u32::try_from(HEADER_BYTES + self.message.head.len() + PIECE_COUNT_BYTES + payload).ok()
    }

    /// Writes everything up to the payload. The head is small, so it is copied beside the header.
    pub(super) fn encode_front(&self, size_bytes: u32, out: &mut BytesMut) {
        out.put_u32(size_bytes - LENGTH_BYTES as u32);
        out.put_u8(FRAME_VERSION);
        out.put_u8(self.role.flags());
        out.put_u16(self.message.kind);
        out.put_u64(self.request);
        out.put_u32(self.message.head.len() as u32);
        out.put_slice(&self.message.head);
        out.put_u16(self.message.payload.len() as u16);
        for piece in &self.message.payload {
            out.put_u32(piece.len() as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frame: &Outgoing) -> Bytes {
        let mut out = BytesMut::new();
        frame.encode_front(frame.size_bytes().expect("small"), &mut out);
        frame.message.payload.iter().for_each(|piece| out.put_slice(piece));
        out.freeze()
    }

    fn decode(mut raw: Bytes) -> Result<(Header, Message), FrameDefect> {
        let header = Header::parse(raw.first_chunk().ok_or(FrameDefect::Length)?)?;
        let message = header.take_apart(raw.split_off(HEADER_BYTES))?;
        Ok((header, message))
    }

    /// The layout is what other releases speak: it may not change under this frame version.
    #[test]
    fn the_frame_is_drawn_in_golden_bytes() {
        let message = Message {
            kind: 0x0102,
            head: Bytes::from_static(b"head"),
            payload: vec![Bytes::from_static(b"abc"), Bytes::new()],
        };
        let frame = Outgoing { role: Role::Request, request: 0x0304_0506_0708_090a, message };
        let golden = [
            &[0, 0, 0, 33, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 4][..],
            b"head",
            &[0, 2, 0, 0, 0, 3, 0, 0, 0, 0],
            b"abc",
        ]
        .concat();
        assert_eq!(encode(&frame), golden);
        let heartbeat = Outgoing::bare(Role::Notice, kind::HEARTBEAT, 0);
        assert_eq!(
            encode(&heartbeat)[..],
            [0, 0, 0, 18, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_frame_of_another_version_or_with_unknown_flags_is_refused() {
        let golden = encode(&Outgoing::bare(Role::Cancel, 16, 9));
        let with = |at: usize, byte| {
            let mut raw = BytesMut::from(&golden[..]);
            raw[at] = byte;
            decode(raw.freeze()).map(drop)
        };
        assert_eq!(with(4, 2), Err(FrameDefect::Version(2)));
        assert_eq!(with(5, 3), Err(FrameDefect::Flags(3)));
        assert_eq!(with(3, 15), Err(FrameDefect::Length));
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_what_was_written(
            kind: u16, request: u64, head: Vec<u8>, payload in prop::collection::vec(any::<Vec<u8>>(), 0..5),
        ) {
            let payload = payload.into_iter().map(Bytes::from).collect();
            let message = Message { kind, head: head.into(), payload };
            let raw = encode(&Outgoing { role: Role::Response, request, message: message.clone() });
            let (header, read) = decode(raw.clone()).expect("our own frame");
            prop_assert_eq!(header.body_bytes as usize, raw.len() - HEADER_BYTES);
            prop_assert_eq!((header.request, read), (request, message));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(raw: Vec<u8>) {
            drop(decode(raw.into()));
        }
    }
}
