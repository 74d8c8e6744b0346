//! CRC-32C (Castagnoli), the one checksum of every format here; Kafka's batches use the same.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The CRC-32C of several slices as if they were one.
pub fn crc32c_of<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = Crc32c::new();
    for slice in slices {
        digest.update(slice);
    }
    digest.finish()
}

/// A CRC-32C that is fed piece by piece.
pub struct Crc32c(Digest);

impl Crc32c {
    /// The sum of nothing.
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The sum of everything added.
    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnolis_as_in_rfc_3720() {
        // RFC 3720 B.4: 32 bytes of zeros, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_sum_by_pieces_is_the_sum_of_the_whole() {
        assert_eq!(crc32c_of([&b"1234"[..], b"", b"56789"]), crc32c(b"123456789"));
    }
}
