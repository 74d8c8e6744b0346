//! Walks the fields of an answer before it is decoded.
//!
//! The codec reserves memory for as many elements as the wire claims; four bad bytes would abort the process. The
//! walk proves that every length and count fits the bytes that are there.

use bytes::{Buf, Bytes};

/// One field of a message, in the order of the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    /// A number or flag of so many bytes.
    Fixed(usize),
    /// STRING: INT16 length, not null.
    String,
    /// COMPACT_STRING, COMPACT_BYTES, COMPACT_RECORDS and their nullable forms: UNSIGNED_VARINT length + 1.
    Compact,
    /// ARRAY: INT32 count.
    Array(&'static [Field]),
    /// COMPACT_ARRAY, also nullable: UNSIGNED_VARINT count + 1.
    CompactArray(&'static [Field]),
    /// Tagged fields (KIP-482).
    Tags,
}

/// Why an answer is not decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeDefect {
    /// A length or count points past the end.
    #[error("a length or count exceeds the {0} bytes that are left")]
    Overrun(usize),
    /// Bytes are left when all fields are read.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
}

/// Requires that `fields` describe exactly the bytes given.
pub(crate) fn walk(fields: &[Field], mut bytes: &[u8]) -> Result<(), ShapeDefect> {
    walk_fields(fields, &mut bytes)?;
    if bytes.is_empty() { Ok(()) } else { Err(ShapeDefect::Trailing(bytes.len())) }
}

/// Takes the tagged fields of an answer's header off the front.
pub(crate) fn skip_tags(bytes: &mut Bytes) -> Result<(), ShapeDefect> {
    let mut rest = &bytes[..];
    walk_fields(&[Field::Tags], &mut rest)?;
    let taken = bytes.len() - rest.len();
    bytes.advance(taken);
    Ok(())
}

fn walk_fields(fields: &[Field], bytes: &mut &[u8]) -> Result<(), ShapeDefect> {
    for field in fields {
        match *field {
            Field::Fixed(length) => skip(bytes, length)?,
            Field::String => {
                let length = take::<2>(bytes)?;
                skip(bytes, usize::from(u16::from_be_bytes(length)))?;
            }
            Field::Compact => {
                let length = unsigned_varint(bytes)?;
                skip(bytes, (length as usize).saturating_sub(1))?;
            }
            Field::Array(element) => {
                let count = u32::from_be_bytes(take::<4>(bytes)?);
                walk_elements(element, count, bytes)?;
            }
            Field::CompactArray(element) => {
                let count = unsigned_varint(bytes)?;
                walk_elements(element, count.saturating_sub(1), bytes)?;
            }
            Field::Tags => {
                for _ in 0..unsigned_varint(bytes)? {
                    unsigned_varint(bytes)?;
                    let length = unsigned_varint(bytes)?;
                    skip(bytes, length as usize)?;
                }
            }
        }
    }
    Ok(())
}

fn walk_elements(element: &[Field], count: u32, bytes: &mut &[u8]) -> Result<(), ShapeDefect> {
    // Every element takes at least one byte, so a larger count cannot be true.
    if count as usize > bytes.len() {
        return Err(ShapeDefect::Overrun(bytes.len()));
    }
    (0..count).try_for_each(|_| walk_fields(element, bytes))
}

fn skip(bytes: &mut &[u8], length: usize) -> Result<(), ShapeDefect> {
    if length > bytes.len() {
        return Err(ShapeDefect::Overrun(bytes.len()));
    }
    bytes.advance(length);
    Ok(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ShapeDefect> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or(ShapeDefect::Overrun(bytes.len()))?;
    *bytes = rest;
    Ok(*taken)
}

fn unsigned_varint(bytes: &mut &[u8]) -> Result<u32, ShapeDefect> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let [byte] = take::<1>(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| ShapeDefect::Overrun(bytes.len()));
        }
    }
    Err(ShapeDefect::Overrun(bytes.len()))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::fetch_response::{
        AbortedTransaction, FetchableTopicResponse, PartitionData,
    };
    use kafka_protocol::messages::{FetchResponse, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;
    use crate::client::api::PinnedApi;
    use kafka_protocol::messages::FetchRequest;

    fn fetch_answer() -> Vec<u8> {
        let partition = PartitionData::default()
            .with_aborted_transactions(Some(vec![AbortedTransaction::default(); 3]))
            .with_records(Some(Bytes::from_static(b"some records")));
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("orders")))
            .with_partitions(vec![partition; 2]);
        let mut bytes = BytesMut::new();
        FetchResponse::default()
            .with_responses(vec![topic])
            .encode(&mut bytes, FetchRequest::VERSION)
            .expect("encodes");
        bytes.to_vec()
    }

    #[test]
    fn what_the_codec_writes_has_the_shape() {
        assert_eq!(walk(FetchRequest::RESPONSE, &fetch_answer()), Ok(()));
    }

    #[test]
    fn a_cut_answer_and_one_with_more_bytes_are_refused() {
        let whole = fetch_answer();
        for length in 0..whole.len() {
            assert!(walk(FetchRequest::RESPONSE, &whole[..length]).is_err(), "cut at {length}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(walk(FetchRequest::RESPONSE, &longer), Err(ShapeDefect::Trailing(1)));
    }

    #[test]
    fn a_huge_or_negative_count_is_refused() {
        for count in [i32::MAX, -2, 1000] {
            let bytes = [&[0, 0], &count.to_be_bytes()[..]].concat();
            assert!(walk(&[Field::Fixed(2), Field::Array(&[Field::String])], &bytes).is_err());
        }
        assert!(walk(&[Field::CompactArray(&[Field::Fixed(4)])], &[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(walk(&[Field::Compact], &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = walk(FetchRequest::RESPONSE, &bytes);
        }
    }
}
