//! `read`: the answer's payload is the batches of all partitions, one after another.

use bytes::{Bytes, BytesMut};
use minicbor::{Decode, Encode};

use super::{Body, Malformed, Operation, kind};
use crate::{Caller, ReadOutcome, ReadRequest};

/// Neighbours shorter than this are copied into one piece: a batch header of 61 bytes is not worth a slice of its own, and
/// the pieces of an answer stay far below the 65,535 a frame can count.
const PIECE_BYTES_MIN: usize = 8 << 10;

/// One read.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadCall {
    /// Who asks.
    #[n(0)]
    pub caller: Caller,
    /// What for; all partitions live at the owner that is asked.
    #[n(1)]
    pub request: ReadRequest,
}

impl Body for ReadCall {}

/// What a read gave, one outcome per partition in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReadAnswer {
    /// The outcomes.
    #[n(0)]
    pub outcomes: Vec<ReadOutcome>,
    /// How many pieces of the payload belong to each.
    #[n(1)]
    pieces: Vec<u32>,
}

impl ReadAnswer {
    /// The answer with these outcomes.
    pub fn new(outcomes: Vec<ReadOutcome>) -> Self {
        Self { outcomes, pieces: Vec::new() }
    }
}

impl Body for ReadAnswer {
    fn take_payload(&mut self) -> Vec<Bytes> {
        let mut payload = Vec::new();
        self.pieces = Vec::with_capacity(self.outcomes.len());
        for outcome in &mut self.outcomes {
            let before = payload.len();
            if let Ok(success) = outcome {
                join_short(std::mem::take(&mut success.records), &mut payload);
            }
            self.pieces.push((payload.len() - before) as u32);
        }
        payload
    }

    fn put_payload(&mut self, payload: Vec<Bytes>) -> Result<(), Malformed> {
        if self.pieces.len() != self.outcomes.len() {
            return Err(Malformed::Payload);
        }
        let mut payload = payload.into_iter();
        for (outcome, pieces) in self.outcomes.iter_mut().zip(std::mem::take(&mut self.pieces)) {
            let records: Vec<Bytes> = payload.by_ref().take(pieces as usize).collect();
            let bytes: usize = records.iter().map(Bytes::len).sum();
            match outcome {
                Ok(success) if success.records_bytes == bytes as u64 => success.records = records,
                Err(_) if records.is_empty() => {}
                _ => return Err(Malformed::Payload),
            }
        }
        if payload.next().is_some() { Err(Malformed::Payload) } else { Ok(()) }
    }
}

impl Operation for ReadCall {
    const KIND: u16 = kind::READ;
    type Answer = ReadAnswer;

    fn is_of_one_cluster(&self) -> bool {
        self.request.partitions.iter().all(|read| read.partition.key.cluster == self.caller.cluster)
    }
}

fn join_short(records: Vec<Bytes>, payload: &mut Vec<Bytes>) {
    let mut joined = BytesMut::new();
    for piece in records {
        if piece.len() < PIECE_BYTES_MIN {
            joined.extend_from_slice(&piece);
            continue;
        }
        if !joined.is_empty() {
            payload.push(joined.split().freeze());
        }
        payload.push(piece);
    }
    if !joined.is_empty() {
        payload.push(joined.freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_neighbours_travel_as_one_piece_and_long_ones_as_they_lie() {
        let long = Bytes::from(vec![9; PIECE_BYTES_MIN]);
        let short = |byte| Bytes::from(vec![byte; 61]);
        let mut payload = Vec::new();
        join_short(vec![short(1), long.clone(), short(2), short(3), long.clone(), short(4)], &mut payload);
        let lengths: Vec<usize> = payload.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [61, PIECE_BYTES_MIN, 122, PIECE_BYTES_MIN, 61]);
        assert_eq!(payload[1].as_ptr(), long.as_ptr(), "not copied");
        assert_eq!(payload[2][60..62], [2, 3]);
    }
}
