//! Amazon resource names and account ids, as text that has been checked once.

use std::fmt;

/// A 12-digit account id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Box<str>);

impl AccountId {
    /// Accepts exactly twelve ASCII digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| Self(text.into()))
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An ARN: `arn:partition:service:region:account:resource`. Region and account may be empty; the resource may
/// itself contain colons.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn(Box<str>);

impl Arn {
    /// Accepts a text of six colon-separated fields that begins with `arn` and names a partition, a service and a
    /// resource.
    pub fn parse(text: &str) -> Option<Self> {
        let [prefix, partition, service, _, _, resource] = fields(text)?;
        let named = prefix == "arn" && !partition.is_empty() && !service.is_empty() && !resource.is_empty();
        named.then(|| Self(text.into()))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition, usually `aws`.
    pub fn partition(&self) -> &str {
        self.field(1)
    }

    /// The service, such as `kafka` or `iam`.
    pub fn service(&self) -> &str {
        self.field(2)
    }

    /// The region; empty for global services.
    pub fn region(&self) -> &str {
        self.field(3)
    }

    /// The owner's account id as text; empty where a service's names are global.
    pub fn account(&self) -> &str {
        self.field(4)
    }

    /// Everything behind the fifth colon.
    pub fn resource(&self) -> &str {
        self.field(5)
    }

    fn field(&self, index: usize) -> &str {
        fields(&self.0).map_or("", |fields| fields[index])
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Arn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Splits at the first five colons; `None` if there are fewer.
pub(crate) fn fields(text: &str) -> Option<[&str; 6]> {
    let mut parts = text.splitn(6, ':');
    let mut fields = [""; 6];
    for field in &mut fields {
        *field = parts.next()?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_gives_out_its_fields() {
        let arn = Arn::parse("arn:aws:kafka:us-east-1:123456789012:topic/demo/u-s2/a:b").unwrap();
        assert_eq!((arn.partition(), arn.service(), arn.region()), ("aws", "kafka", "us-east-1"));
        assert_eq!((arn.account(), arn.resource()), ("123456789012", "topic/demo/u-s2/a:b"));
    }

    #[test]
    fn texts_that_are_not_arns_are_refused() {
        for text in [
            "",
            "arn",
            "arn:aws:kafka:us-east-1:1",
            "urn:aws:a:b:c:d",
            "arn::kafka:r:a:x",
            "arn:aws:kafka:r:a:",
        ] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_account_id_is_twelve_digits() {
        assert!(AccountId::parse("123456789012").is_some());
        for text in ["", "12345678901", "1234567890123", "12345678901a", "１２３４"] {
            assert!(AccountId::parse(text).is_none(), "{text}");
        }
    }
}
