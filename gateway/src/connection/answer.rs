//! What a handler gives back, and how it goes out: a list of slices, never copied into one buffer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes};
use headgate_storage_client::PartitionAddress;

use super::throttle_field::ThrottleField;
use crate::budget::InflightBytes;

/// What becomes of one request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A response.
    Respond(Response),
    /// Nothing: the client wants no answer (acks=0). It is to hold back all the same.
    Silence {
        /// How long.
        throttle: Duration,
    },
    /// A response, and then the end of the connection.
    RespondThenClose(Response),
    /// The end of the connection without a response.
    Close(&'static str),
}

/// A response frame, length and header included.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// The frame, to be written one slice after the other.
    pub(crate) slices: SliceList,
    /// What counts as sent once the kernel has all of it: bytes of batches per partition.
    pub(crate) billable: Vec<(PartitionAddress, u64)>,
    /// The memory it stands for, given back when it is written.
    pub(crate) reserved: Option<InflightBytes>,
    /// How long the client is to hold back; set as the response leaves. The connection is left unread that long.
    pub(crate) throttle: Duration,
    /// Where it is told that.
    pub(crate) throttle_field: Option<ThrottleField>,
}

impl Response {
    /// A response of one piece.
    pub(crate) fn whole(frame: Bytes) -> Self {
        Self { slices: SliceList::from(vec![frame]), ..Self::default() }
    }
}

/// Slices that are written in order. A `Buf`, so that `write_buf` hands several of them to the kernel at once.
#[derive(Debug, Default)]
pub(crate) struct SliceList {
    slices: VecDeque<Bytes>,
    remaining: usize,
}

impl SliceList {
    pub(crate) fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.remaining += slice.len();
            self.slices.push_back(slice);
        }
    }

    /// Replaces four bytes, counted from the first that is still to be written. They must lie in one slice.
    pub(crate) fn overwrite(&mut self, offset: usize, bytes: [u8; 4]) {
        let mut start = 0;
        let index = self.slices.iter().position(|slice| {
            start += slice.len();
            start > offset
        });
        let index = index.expect("the offset lies within the response");
        let slice = self.slices.remove(index).expect("it was found just now");
        let at = offset - (start - slice.len());
        assert!(at + bytes.len() <= slice.len(), "a number is never split");
        // Never copied as a whole: a response may be long.
        let parts = [slice.slice(..at), Bytes::copy_from_slice(&bytes), slice.slice(at + bytes.len()..)];
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            self.slices.insert(index, part);
        }
    }

    /// Puts a slice in front of all others.
    pub(crate) fn push_front(&mut self, slice: Bytes) {
        self.remaining += slice.len();
        self.slices.push_front(slice);
    }
}

impl From<Vec<Bytes>> for SliceList {
    fn from(slices: Vec<Bytes>) -> Self {
        let mut list = Self::default();
        for slice in slices {
            list.push(slice);
        }
        list
    }
}

impl Buf for SliceList {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.slices.front().map_or(&[], |slice| &slice[..])
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slot, slice) in into.iter_mut().zip(&self.slices) {
            *slot = IoSlice::new(slice);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "the writer advances by what it wrote");
        self.remaining -= count;
        while count > 0 {
            let front = self.slices.front_mut().expect("remaining counts the bytes of the slices");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_come_out_in_order_whatever_the_steps() {
        for step in 1..=7 {
            let parts = vec![Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cdefg")];
            let mut list = SliceList::from(parts);
            let mut out = Vec::new();
            while list.has_remaining() {
                let chunk = list.chunk();
                let count = chunk.len().min(step);
                out.extend_from_slice(&chunk[..count]);
                list.advance(count);
            }
            assert_eq!(out, b"abcdefg", "step {step}");
        }
    }

    #[test]
    fn four_bytes_are_replaced_wherever_they_stand() {
        let whole = |mut list: SliceList| list.copy_to_bytes(list.remaining());
        for offset in [0, 1, 4] {
            let mut list =
                SliceList::from(vec![Bytes::from_static(b"abcdefgh"), Bytes::from_static(b"xyz!")]);
            list.overwrite(offset, *b"1234");
            let mut expected = *b"abcdefghxyz!";
            expected[offset..offset + 4].copy_from_slice(b"1234");
            assert_eq!(whole(list), expected[..], "offset {offset}");
        }
        let mut list = SliceList::from(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"wxyz")]);
        list.overwrite(2, *b"1234");
        assert_eq!(whole(list), &b"ab1234"[..]);
    }

    #[test]
    fn several_slices_are_offered_to_one_write() {
        let list = SliceList::from(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        let mut slots = [IoSlice::new(&[]); 8];
        assert_eq!(list.chunks_vectored(&mut slots), 2);
        assert_eq!((&*slots[0], &*slots[1]), (&b"ab"[..], &b"c"[..]));
    }
}
