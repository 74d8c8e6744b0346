//! The messages between storage nodes as they travel: one kind of call, its question and answer as minicbor enums in the head,
//! groups as payload that no codec touches.
//!
//! Numbers of variants and fields are never reused; a new variant is understood one release before it is sent.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headgate_log::wal::CopiedGroup;
use headgate_metadata::id::{Incarnation, NodeId, TimestampMs, WalId, WalPosition};
use headgate_storage_client::remote::message::Malformed;
use headgate_storage_client::wire::{Message, kind};
use minicbor::{Decode, Encode};

use super::{PeerCall, PeerReply, PeerRequest};

/// The one kind.
pub(crate) const PEER: u16 = kind::NODE_MIN;
/// Pieces of payload that a frame counts at most, with room to spare; groups in more pieces are copied together.
const PIECES_MAX: usize = 1 << 14;

#[derive(Encode, Decode)]
struct CallHead {
    #[n(0)]
    node: NodeId,
    #[n(1)]
    incarnation: Incarnation,
    #[n(2)]
    request: RequestHead,
}

#[derive(Encode, Decode)]
enum RequestHead {
    #[n(0)]
    Join {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        from: WalPosition,
    },
    #[n(1)]
    Append {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        group: GroupHead,
    },
    #[n(2)]
    Finish {
        #[n(0)]
        wal: WalId,
    },
    #[n(3)]
    Confirm {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        still_ms: Option<u64>,
    },
    #[n(4)]
    Fence {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        restarted: bool,
    },
    #[n(5)]
    Read {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        from: WalPosition,
        #[n(2)]
        end: WalPosition,
        #[n(3)]
        bytes_max: u64,
    },
    #[n(6)]
    Fetch {
        #[n(0)]
        wal: WalId,
        #[n(1)]
        from: WalPosition,
        #[n(2)]
        end: WalPosition,
        #[n(3)]
        node: NodeId,
        #[n(4)]
        incarnation: Incarnation,
    },
}

#[derive(Encode, Decode)]
enum ReplyHead {
    #[n(0)]
    Held {
        #[n(0)]
        position: WalPosition,
        #[n(1)]
        free_bytes: u64,
    },
    #[n(1)]
    Confirmed {
        #[n(0)]
        wall: Option<TimestampMs>,
    },
    #[n(2)]
    Groups {
        #[n(0)]
        groups: Vec<GroupHead>,
    },
    #[n(3)]
    Promised,
    #[n(4)]
    Gap,
    #[n(5)]
    NotHere,
    #[n(6)]
    Failed,
}

/// A group without its bytes, which are the next pieces of the payload.
#[derive(Encode, Decode)]
struct GroupHead {
    #[n(0)]
    position: WalPosition,
    #[n(1)]
    end: WalPosition,
    #[n(2)]
    chunk_start: WalPosition,
    #[n(3)]
    chunk_bytes: u64,
    #[n(4)]
    pieces: u32,
}

/// A call as a message.
pub(crate) fn call_to_message(call: PeerCall) -> Message {
    let mut payload = Vec::new();
    let request = match call.request {
        PeerRequest::Join { wal, from } => RequestHead::Join { wal, from },
        PeerRequest::Append { wal, group } => {
            RequestHead::Append { wal, group: put_group(group, &mut payload) }
        }
        PeerRequest::Finish { wal } => RequestHead::Finish { wal },
        PeerRequest::Confirm { wal, still } => {
            RequestHead::Confirm { wal, still_ms: still.map(|still| still.as_millis() as u64) }
        }
        PeerRequest::Fence { wal, restarted } => RequestHead::Fence { wal, restarted },
        PeerRequest::Read { wal, from, end, bytes_max } => RequestHead::Read { wal, from, end, bytes_max },
        PeerRequest::Fetch { wal, from, end, source: (node, incarnation) } => {
            RequestHead::Fetch { wal, from, end, node, incarnation }
        }
    };
    let (node, incarnation) = call.to;
    encode(&CallHead { node, incarnation, request }, payload)
}

/// Reads a call.
pub(crate) fn call_from_message(message: Message) -> Result<PeerCall, Malformed> {
    let (head, mut payload) = decode::<CallHead>(message)?;
    let request = match head.request {
        RequestHead::Join { wal, from } => PeerRequest::Join { wal, from },
        RequestHead::Append { wal, group } => {
            PeerRequest::Append { wal, group: take_group(&group, &mut payload)? }
        }
        RequestHead::Finish { wal } => PeerRequest::Finish { wal },
        RequestHead::Confirm { wal, still_ms } => {
            PeerRequest::Confirm { wal, still: still_ms.map(Duration::from_millis) }
        }
        RequestHead::Fence { wal, restarted } => PeerRequest::Fence { wal, restarted },
        RequestHead::Read { wal, from, end, bytes_max } => PeerRequest::Read { wal, from, end, bytes_max },
        RequestHead::Fetch { wal, from, end, node, incarnation } => {
            PeerRequest::Fetch { wal, from, end, source: (node, incarnation) }
        }
    };
    end_of(payload)?;
    Ok(PeerCall { to: (head.node, head.incarnation), request })
}

/// An answer as a message.
pub(crate) fn reply_to_message(reply: PeerReply) -> Message {
    let mut payload = Vec::new();
    let head = match reply {
        PeerReply::Held { position, free_bytes } => ReplyHead::Held { position, free_bytes },
        PeerReply::Confirmed { wall } => ReplyHead::Confirmed { wall },
        PeerReply::Groups(groups) => {
            // Each of several groups is one piece: a frame counts few.
            let heads = groups.into_iter().map(|group| put_group(in_one_piece(group), &mut payload));
            ReplyHead::Groups { groups: heads.collect() }
        }
        PeerReply::Promised => ReplyHead::Promised,
        PeerReply::Gap => ReplyHead::Gap,
        PeerReply::NotHere => ReplyHead::NotHere,
        PeerReply::Failed => ReplyHead::Failed,
    };
    encode(&head, payload)
}

/// Reads an answer.
pub(crate) fn reply_from_message(message: Message) -> Result<PeerReply, Malformed> {
    let (head, mut payload) = decode::<ReplyHead>(message)?;
    let reply = match head {
        ReplyHead::Held { position, free_bytes } => PeerReply::Held { position, free_bytes },
        ReplyHead::Confirmed { wall } => PeerReply::Confirmed { wall },
        ReplyHead::Groups { groups } => {
            let groups = groups.iter().map(|group| take_group(group, &mut payload));
            PeerReply::Groups(groups.collect::<Result<_, _>>()?)
        }
        ReplyHead::Promised => PeerReply::Promised,
        ReplyHead::Gap => PeerReply::Gap,
        ReplyHead::NotHere => PeerReply::NotHere,
        ReplyHead::Failed => PeerReply::Failed,
    };
    end_of(payload)?;
    Ok(reply)
}

type Payload = std::vec::IntoIter<Bytes>;

fn put_group(group: CopiedGroup, payload: &mut Vec<Bytes>) -> GroupHead {
    let group = if group.bytes.len() > PIECES_MAX { in_one_piece(group) } else { group };
    let CopiedGroup { position, end, chunk_start, chunk_bytes, bytes } = group;
    let pieces = bytes.len() as u32;
    payload.extend(bytes);
    GroupHead { position, end, chunk_start, chunk_bytes, pieces }
}

fn in_one_piece(mut group: CopiedGroup) -> CopiedGroup {
    if group.bytes.len() > 1 {
        let mut whole = BytesMut::with_capacity(group.bytes.iter().map(Bytes::len).sum());
        group.bytes.iter().for_each(|piece| whole.extend_from_slice(piece));
        group.bytes = vec![whole.freeze()];
    }
    group
}

fn take_group(head: &GroupHead, payload: &mut Payload) -> Result<CopiedGroup, Malformed> {
    let GroupHead { position, end, chunk_start, chunk_bytes, pieces } = *head;
    let bytes: Vec<Bytes> = payload.by_ref().take(pieces as usize).collect();
    if bytes.len() != pieces as usize {
        return Err(Malformed::Payload);
    }
    Ok(CopiedGroup { position, end, chunk_start, chunk_bytes, bytes })
}

fn end_of(mut payload: Payload) -> Result<(), Malformed> {
    if payload.next().is_none() { Ok(()) } else { Err(Malformed::Payload) }
}

fn encode(head: &impl Encode<()>, payload: Vec<Bytes>) -> Message {
    let head = minicbor::to_vec(head).expect("memory does not fail, and every value has a form");
    Message { kind: PEER, head: head.into(), payload }
}

fn decode<H: for<'b> Decode<'b, ()>>(message: Message) -> Result<(H, Payload), Malformed> {
    if message.kind != PEER {
        return Err(Malformed::Kind { expected: PEER, found: message.kind });
    }
    Ok((minicbor::decode(&message.head)?, message.payload.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wal() -> WalId {
        WalId { node: NodeId::new(3), incarnation: Incarnation::new(17) }
    }

    fn at(position: u64) -> WalPosition {
        WalPosition::new(position)
    }

    fn group(position: u64, pieces: &[&'static [u8]]) -> CopiedGroup {
        let bytes: Vec<Bytes> = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
        let length: u64 = bytes.iter().map(|piece| piece.len() as u64).sum();
        let (end, chunk_start) = (at(position + length), at(0));
        CopiedGroup { position: at(position), end, chunk_start, chunk_bytes: 64, bytes }
    }

    fn golden(message: &Message, head: &[u8], payload: &[&[u8]]) {
        assert_eq!(message.kind, 1024);
        assert_eq!(&message.head[..], head);
        assert_eq!(message.payload, payload);
    }

    #[test]
    fn every_question_is_pinned_by_golden_bytes_and_reads_back() {
        // [node, incarnation, [variant, [fields]]]; a WAL is [node, incarnation].
        let cases: Vec<(PeerRequest, Vec<u8>)> = vec![
            (PeerRequest::Join { wal: wal(), from: at(5) }, vec![0, 0x82, 0x82, 3, 17, 5]),
            (PeerRequest::Finish { wal: wal() }, vec![2, 0x81, 0x82, 3, 17]),
            (PeerRequest::Confirm { wal: wal(), still: None }, vec![3, 0x81, 0x82, 3, 17]),
            (
                PeerRequest::Confirm { wal: wal(), still: Some(Duration::from_millis(5)) },
                vec![3, 0x82, 0x82, 3, 17, 5],
            ),
            (PeerRequest::Fence { wal: wal(), restarted: true }, vec![4, 0x82, 0x82, 3, 17, 0xf5]),
            (
                PeerRequest::Read { wal: wal(), from: at(5), end: at(9), bytes_max: 20 },
                vec![5, 0x84, 0x82, 3, 17, 5, 9, 20],
            ),
            (
                PeerRequest::Fetch {
                    wal: wal(),
                    from: at(5),
                    end: at(9),
                    source: (NodeId::new(2), Incarnation::new(8)),
                },
                vec![6, 0x85, 0x82, 3, 17, 5, 9, 2, 8],
            ),
        ];
        for (request, fields) in cases {
            let call = PeerCall { to: (NodeId::new(1), Incarnation::new(4)), request };
            let message = call_to_message(call.clone());
            golden(&message, &[&[0x83, 1, 4, 0x82][..], &fields].concat(), &[]);
            assert_eq!(call_from_message(message).expect("our own"), call);
        }
    }

    #[test]
    fn a_group_travels_as_the_pieces_it_lies_in() {
        let request = PeerRequest::Append { wal: wal(), group: group(5, &[b"ab", b"c"]) };
        let call = PeerCall { to: (NodeId::new(1), Incarnation::new(4)), request };
        let message = call_to_message(call.clone());
        let head = [0x83, 1, 4, 0x82, 1, 0x82, 0x82, 3, 17, 0x85, 5, 8, 0, 0x18, 64, 2];
        golden(&message, &head, &[b"ab", b"c"]);
        assert_eq!(call_from_message(message).expect("our own"), call);
    }

    #[test]
    fn every_answer_is_pinned_by_golden_bytes_and_reads_back() {
        let cases: Vec<(PeerReply, Vec<u8>)> = vec![
            (PeerReply::Held { position: at(5), free_bytes: 9 }, vec![0x82, 0, 0x82, 5, 9]),
            (PeerReply::Confirmed { wall: None }, vec![0x82, 1, 0x80]),
            (PeerReply::Confirmed { wall: Some(TimestampMs::new(5)) }, vec![0x82, 1, 0x81, 5]),
            (PeerReply::Promised, vec![0x82, 3, 0x80]),
            (PeerReply::Gap, vec![0x82, 4, 0x80]),
            (PeerReply::NotHere, vec![0x82, 5, 0x80]),
            (PeerReply::Failed, vec![0x82, 6, 0x80]),
        ];
        for (reply, head) in cases {
            let message = reply_to_message(reply.clone());
            golden(&message, &head, &[]);
            assert_eq!(reply_from_message(message).expect("our own"), reply);
        }
    }

    #[test]
    fn several_groups_come_back_in_their_places() {
        let reply = PeerReply::Groups(vec![group(0, &[b"ab", b"c"]), group(3, &[b"def"])]);
        let message = reply_to_message(reply);
        assert_eq!(message.payload, [&b"abc"[..], b"def"]);
        let read = reply_from_message(message).expect("our own");
        assert_eq!(read, PeerReply::Groups(vec![group(0, &[b"abc"]), group(3, &[b"def"])]));
    }

    #[test]
    fn a_payload_that_does_not_fit_the_head_is_malformed() {
        let request = PeerRequest::Append { wal: wal(), group: group(5, &[b"ab", b"c"]) };
        let mut message = call_to_message(PeerCall { to: (NodeId::new(1), Incarnation::new(4)), request });
        message.payload.push(Bytes::from_static(b"more"));
        assert!(matches!(call_from_message(message.clone()), Err(Malformed::Payload)));
        message.payload.truncate(1);
        assert!(matches!(call_from_message(message.clone()), Err(Malformed::Payload)));
        message.head = Bytes::from_static(&[0x83, 1, 4, 0x82, 9, 0x80]);
        assert!(matches!(call_from_message(message), Err(Malformed::Head(_))));
    }
}
