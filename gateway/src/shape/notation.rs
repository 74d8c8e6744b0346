//! How a request's fields are written down.

/// The fields of one request, for all versions served.
#[derive(Debug)]
pub(crate) struct Shape {
    /// From this version on lengths are compact (KIP-482) and every struct ends with tagged fields.
    pub(crate) flexible_from: i16,
    /// The fields in wire order.
    pub(crate) fields: &'static [Field],
    /// Known tagged fields of the outermost struct.
    pub(crate) tagged: &'static [Tagged],
}

/// One field and the versions that have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Kafka's name for it; for readers and for error texts.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) since: i16,
    pub(crate) until: i16,
}

/// A tagged field that the codec decodes: its content must have this shape from version `since` on, and must be absent before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tagged {
    pub(crate) tag: u32,
    pub(crate) field: Field,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A number, boolean or UUID of so many bytes.
    Fixed(usize),
    /// A text, possibly null.
    Text,
    /// Bytes, possibly null.
    Bytes,
    /// An array of structs, possibly null.
    Each(&'static [Field], &'static [Tagged]),
    /// An array of single values, possibly null.
    EachOne(&'static Kind),
    /// One struct.
    Struct(&'static [Field]),
}

impl Kind {
    pub(crate) const INT8: Self = Self::Fixed(1);
    pub(crate) const INT16: Self = Self::Fixed(2);
    pub(crate) const INT32: Self = Self::Fixed(4);
    pub(crate) const INT64: Self = Self::Fixed(8);
    pub(crate) const FLOAT64: Self = Self::Fixed(8);
    pub(crate) const BOOLEAN: Self = Self::Fixed(1);
    pub(crate) const UUID: Self = Self::Fixed(16);
    /// An array of INT32.
    pub(crate) const INT32S: Self = Self::EachOne(&Self::INT32);
    /// An array of texts.
    pub(crate) const TEXTS: Self = Self::EachOne(&Self::Text);
}

/// A field that every version has.
pub(crate) const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, until: i16::MAX }
}

/// An array of structs without known tagged fields.
pub(crate) const fn each(fields: &'static [Field]) -> Kind {
    Kind::Each(fields, &[])
}

impl Field {
    /// Only from this version on.
    pub(crate) const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }
    /// Only up to this version.
    pub(crate) const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }
    /// Whether the version has it.
    pub(crate) fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}
