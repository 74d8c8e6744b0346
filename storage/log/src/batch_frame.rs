//! The little that this crate knows of a Kafka record batch (message format 2): where its checksum stands.
//!
//! ```text
//!  0  i64 BE  base offset          assigned by the owner; outside the checksum
//!  8  i32 BE  batch length         bytes after this field
//! 12  i32 BE  leader epoch         assigned by the owner; outside the checksum
//! 16  i8      magic                2
//! 17  u32 BE  CRC-32C of bytes 21.. to the end of the batch
//! 21  …       attributes and the rest of the header, up to byte 61, then the records
//! ```
//!
//! Bytes `0..21` have no checksum of their own, so the WAL's record header covers them (`storage/PROTOCOL.md` §7).

use crate::checksum::Crc32c;

/// The bytes of a batch header.
pub const BATCH_HEADER_BYTES: usize = 61;

/// The bytes at a batch's start that its own checksum does not cover.
pub const UNSUMMED_BYTES: usize = 21;

const CHECKSUM_AT: usize = 17;

/// Whether the batch, given as consecutive slices, carries its right checksum. The first slice must hold at least
/// [`UNSUMMED_BYTES`]; a shorter one is no batch, and the answer is `false`.
pub fn checksum_holds(first: &[u8], rest: &[&[u8]]) -> bool {
    let Some(stored) = first.get(CHECKSUM_AT..UNSUMMED_BYTES).and_then(|raw| raw.try_into().ok()) else {
        return false;
    };
    let mut sum = Crc32c::new();
    sum.update(&first[UNSUMMED_BYTES..]);
    for slice in rest {
        sum.update(slice);
    }
    sum.finish() == u32::from_be_bytes(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::crc32c;

    #[test]
    fn a_batch_is_right_whole_or_in_slices_and_wrong_after_any_flip_of_a_summed_byte() {
        let mut batch = vec![7_u8; 90];
        let sum = crc32c(&batch[21..]).to_be_bytes();
        batch[17..21].copy_from_slice(&sum);
        assert!(checksum_holds(&batch, &[]));
        assert!(checksum_holds(&batch[..61], &[&batch[61..70], &batch[70..]]));
        for at in 17..90 {
            batch[at] ^= 1;
            assert!(!checksum_holds(&batch, &[]), "flip at {at}");
            batch[at] ^= 1;
        }
    }

    #[test]
    fn bytes_too_short_for_a_batch_have_no_right_checksum() {
        assert!(!checksum_holds(&[0; 20], &[]));
    }
}
