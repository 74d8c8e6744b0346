//! The codecs of record batches, for the few places where a server must look inside.
//!
//! What is read here came from a client and is trusted for nothing: what a codec may expand to is bounded.
//! Source: <https://kafka.apache.org/documentation/#recordbatch>.

use std::io::{Read, Write};

use bytes::Bytes;

use crate::records::Undecodable;

/// The most a batch may expand to. Higher: one lookup may hold more memory. Lower: a legitimately well-compressed batch cannot be
/// looked into.
pub const DECOMPRESSED_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// zstd windows above 2^27 bytes are refused, as the reference decoder does by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const ZSTD_LEVEL: i32 = 3;
/// Magic, version 1, compatible with version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC_BYTES: usize = 8;
/// What Java's `SnappyOutputStream` puts into a block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// snappy (xerial framing, or one raw block).
    Snappy,
    /// lz4 frames.
    Lz4,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The codec that a batch's attributes name; `None` when nobody knows it.
    pub fn of_attributes(attributes: i16) -> Option<Self> {
        Some(match attributes & 0x07 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// The records as they were before compression: at most [`DECOMPRESSED_BYTES_MAX`].
    pub fn decompress(self, records: &Bytes) -> Result<Bytes, Undecodable> {
        match self {
            Self::None => Ok(records.clone()),
            Self::Gzip => bounded(flate2::read::MultiGzDecoder::new(&records[..])),
            Self::Snappy => snappy(records),
            Self::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(&records[..])),
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(&records[..]).map_err(|_| Undecodable("zstd"))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Undecodable("zstd"))?;
                bounded(decoder)
            }
        }
    }

    /// Compresses records as the Java client does, which reads less than the others.
    pub fn compress(self, records: Vec<u8>) -> Bytes {
        const WRITTEN: &str = "memory takes everything";
        let compressed = match self {
            Self::None => records,
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&records).expect(WRITTEN);
                encoder.finish().expect(WRITTEN)
            }
            Self::Snappy => {
                let mut framed = XERIAL_HEADER.to_vec();
                for block in records.chunks(XERIAL_BLOCK_BYTES) {
                    let block = snap::raw::Encoder::new().compress_vec(block).expect(WRITTEN);
                    framed.extend((block.len() as u32).to_be_bytes());
                    framed.extend(block);
                }
                framed
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(&records).expect(WRITTEN);
                encoder.finish().expect(WRITTEN)
            }
            Self::Zstd => zstd::encode_all(&records[..], ZSTD_LEVEL).expect(WRITTEN),
        };
        compressed.into()
    }
}

fn bounded(decoder: impl Read) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    let read = decoder.take(DECOMPRESSED_BYTES_MAX + 1).read_to_end(&mut out);
    read.map_err(|_| Undecodable("compressed data"))?;
    if out.len() as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(Undecodable("expands beyond the bound"));
    }
    Ok(out.into())
}

/// Java clients write xerial's framing, others write one raw block.
fn snappy(records: &[u8]) -> Result<Bytes, Undecodable> {
    let mut out = Vec::new();
    if !records.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        snappy_block(records, &mut out)?;
        return Ok(out.into());
    }
    let mut rest = records.get(XERIAL_HEADER.len()..).ok_or(Undecodable("snappy header"))?;
    while !rest.is_empty() {
        let (length, blocks) = rest.split_first_chunk().ok_or(Undecodable("snappy block length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = blocks.get(..length).ok_or(Undecodable("snappy block"))?;
        snappy_block(block, &mut out)?;
        rest = &blocks[length..];
    }
    Ok(out.into())
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
    let length = snap::raw::decompress_len(block).map_err(|_| Undecodable("snappy block"))?;
    let from = out.len();
    if (from + length) as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(Undecodable("expands beyond the bound"));
    }
    out.resize(from + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..]).map_err(|_| Undecodable("snappy block"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_codec_reads_what_it_wrote() {
        for length in [0, 1, 100_000] {
            let plain: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            for codec in ALL {
                let compressed = codec.compress(plain.clone());
                assert_eq!(codec.decompress(&compressed), Ok(plain.clone().into()), "{codec:?} of {length}");
            }
        }
    }

    /// Java's decoder refuses blocks that depend on each other.
    #[test]
    fn lz4_blocks_are_independent() {
        const INDEPENDENT: u8 = 0x20;
        let frame = Compression::Lz4.compress(vec![7; 100]);
        assert_eq!(frame[4] & INDEPENDENT, INDEPENDENT);
    }

    #[test]
    fn codecs_are_numbered_as_kafka_does() {
        for (number, codec) in (0..).zip(ALL) {
            assert_eq!(Compression::of_attributes(0x38 | number), Some(codec));
        }
        assert_eq!(Compression::of_attributes(5), None);
    }

    #[test]
    fn a_raw_snappy_block_is_read_too() {
        let block = snap::raw::Encoder::new().compress_vec(b"records").expect("small input compresses");
        assert_eq!(Compression::Snappy.decompress(&block.into()), Ok(Bytes::from_static(b"records")));
    }

    #[test]
    fn what_expands_beyond_the_bound_is_refused() {
        let zeros = std::io::repeat(0).take(DECOMPRESSED_BYTES_MAX + 2);
        let bomb = zstd::encode_all(zeros, 1).expect("zeros compress");
        let refused = Compression::Zstd.decompress(&bomb.into());
        assert_eq!(refused, Err(Undecodable("expands beyond the bound")));
    }

    #[test]
    fn nonsense_is_undecodable_and_never_panics() {
        for codec in ALL.into_iter().skip(1) {
            let whole = codec.compress(vec![5; 100]);
            for length in 1..whole.len() {
                let _ = codec.decompress(&whole.slice(..length));
            }
            assert!(
                codec.decompress(&Bytes::from_static(b"nonsense that is no frame")).is_err(),
                "{codec:?}"
            );
        }
    }
}
