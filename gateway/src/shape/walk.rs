//! The walk itself: a cursor over borrowed bytes, no allocation, recursion bounded by the tables.

use super::notation::{Field, Kind, Shape, Tagged};

/// Elements of all arrays and tagged fields of one request at most. The codec's structs take up to about 200 bytes for an
/// element of a few wire bytes, so this bounds a decoded request to some 40 MiB; the largest honest requests name some
/// ten thousand partitions.
const ELEMENTS_MAX: usize = 200_000;

/// Why a request's bytes do not have the shape of their API and version. The connection is closed: what the client meant
/// cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeDefect {
    /// A count, a length or a fixed field reaches beyond the end.
    #[error("field `{0}` reaches beyond the request")]
    Beyond(&'static str),
    /// A length below -1, or a variable-length number that does not end.
    #[error("field `{0}` has an impossible length")]
    Length(&'static str),
    /// More elements in all than any honest request has.
    #[error("more than {ELEMENTS_MAX} elements")]
    Elements,
    /// A known tagged field that its version does not have, or whose size disagrees with its content.
    #[error("tagged field {0} does not fit its version or size")]
    Tagged(u32),
}

/// Checks that `bytes` begin with one request of this shape and version; returns its length. What stands behind the last
/// field is ignored, as Apache Kafka ignores it: librdkafka writes a null array of Metadata 9 and later in four bytes instead
/// of one, so three are left over (confluentinc/librdkafka#5049).
pub(crate) fn walk(shape: &Shape, version: i16, bytes: &[u8]) -> Result<usize, ShapeDefect> {
    let mut walker = Walker { rest: bytes, version, flexible: version >= shape.flexible_from, elements: 0 };
    walker.fields(shape.fields, shape.tagged)?;
    Ok(bytes.len() - walker.rest.len())
}

struct Walker<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walker<'_> {
    fn fields(&mut self, fields: &'static [Field], tagged: &'static [Tagged]) -> Result<(), ShapeDefect> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            self.value(field.name, field.kind)?;
        }
        if self.flexible { self.tagged(tagged) } else { Ok(()) }
    }

    fn value(&mut self, name: &'static str, kind: Kind) -> Result<(), ShapeDefect> {
        match kind {
            Kind::Fixed(size) => self.skip(name, size),
            Kind::Text => {
                let length = self.length(name, 2)?;
                self.skip(name, length)
            }
            Kind::Bytes => {
                let length = self.length(name, 4)?;
                self.skip(name, length)
            }
            Kind::Each(fields, tagged) => {
                for _ in 0..self.count(name)? {
                    self.fields(fields, tagged)?;
                }
                Ok(())
            }
            Kind::EachOne(kind) => {
                for _ in 0..self.count(name)? {
                    self.value(name, *kind)?;
                }
                Ok(())
            }
            Kind::Struct(fields) => self.fields(fields, &[]),
        }
    }

    /// The known tagged fields are walked inside their stated size: the codec decodes them and ignores the size.
    fn tagged(&mut self, known: &'static [Tagged]) -> Result<(), ShapeDefect> {
        let count = self.varint("tagged fields")?;
        self.admit("tagged fields", count as usize)?;
        for _ in 0..count {
            let tag = self.varint("tag")?;
            let size = self.varint("tag size")? as usize;
            let content = self.rest.get(..size).ok_or(ShapeDefect::Beyond("tagged field"))?;
            if let Some(tagged) = known.iter().find(|tagged| tagged.tag == tag) {
                if !tagged.field.is_in(self.version) {
                    return Err(ShapeDefect::Tagged(tag));
                }
                let mut inner = Walker {
                    rest: content,
                    version: self.version,
                    flexible: self.flexible,
                    elements: self.elements,
                };
                inner.value(tagged.field.name, tagged.field.kind)?;
                if !inner.rest.is_empty() {
                    return Err(ShapeDefect::Tagged(tag));
                }
                self.elements = inner.elements;
            }
            self.rest = &self.rest[size..];
        }
        Ok(())
    }

    /// An array's count; null counts as none. Every element takes at least one byte.
    fn count(&mut self, name: &'static str) -> Result<usize, ShapeDefect> {
        let count = self.length(name, 4)?;
        self.admit(name, count)?;
        Ok(count)
    }

    fn admit(&mut self, name: &'static str, count: usize) -> Result<(), ShapeDefect> {
        if count > self.rest.len() {
            return Err(ShapeDefect::Beyond(name));
        }
        self.elements += count;
        if self.elements > ELEMENTS_MAX { Err(ShapeDefect::Elements) } else { Ok(()) }
    }

    /// A length in its classic form of `width` bytes or in its compact form; null counts as 0.
    fn length(&mut self, name: &'static str, width: usize) -> Result<usize, ShapeDefect> {
        if self.flexible {
            return Ok((self.varint(name)? as usize).saturating_sub(1));
        }
        let raw = match *self.rest {
            [a, b, ..] if width == 2 => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d, ..] if width == 4 => i32::from_be_bytes([a, b, c, d]),
            _ => return Err(ShapeDefect::Beyond(name)),
        };
        self.rest = &self.rest[width..];
        match raw {
            -1 => Ok(0),
            raw => usize::try_from(raw).map_err(|_| ShapeDefect::Length(name)),
        }
    }

    /// An unsigned LEB128 number of at most 32 bits.
    fn varint(&mut self, name: &'static str) -> Result<u32, ShapeDefect> {
        let mut value = 0_u64;
        for index in 0..5 {
            let byte = *self.rest.get(index).ok_or(ShapeDefect::Beyond(name))?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return u32::try_from(value).map_err(|_| ShapeDefect::Length(name));
            }
        }
        Err(ShapeDefect::Length(name))
    }

    fn skip(&mut self, name: &'static str, size: usize) -> Result<(), ShapeDefect> {
        self.rest = self.rest.get(size..).ok_or(ShapeDefect::Beyond(name))?;
        Ok(())
    }
}
