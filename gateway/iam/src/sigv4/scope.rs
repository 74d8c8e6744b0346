//! The credential scope: which key signed, for which day, region and service.

/// `AKID/yyyyMMdd/region/service/aws4_request`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialScope {
    pub(crate) access_key_id: String,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Longest access key id accepted. AWS documents 16 to 128.
const ACCESS_KEY_ID_LENGTH_MAX: usize = 128;
/// Longest region or service name accepted; real ones are below 30.
const SCOPE_PART_LENGTH_MAX: usize = 64;

impl CredentialScope {
    /// Parses the text; `None` unless it has exactly five parts of plain characters that end in `aws4_request`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let [access_key_id, date, region, service, terminator] =
            [parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let plain = |part: &str, length_max: usize| {
            !part.is_empty()
                && part.len() <= length_max
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let well_formed = parts.next().is_none()
            && terminator == "aws4_request"
            && plain(access_key_id, ACCESS_KEY_ID_LENGTH_MAX)
            && date.len() == 8
            && date.bytes().all(|byte| byte.is_ascii_digit())
            && plain(region, SCOPE_PART_LENGTH_MAX)
            && plain(service, SCOPE_PART_LENGTH_MAX);
        well_formed.then(|| Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }

    /// The access key id that signed.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The region signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The service signed for.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// `yyyyMMdd/region/service/aws4_request`: the third line of the string to sign.
    pub(crate) fn signed_part(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_exactly_five_plain_parts() {
        assert!(
            CredentialScope::parse("AKIDEXAMPLE/20260102/us-east-1/kafka-cluster/aws4_request").is_some()
        );
        for text in [
            "",
            "AKID/20260102/us-east-1/kafka-cluster",
            "AKID/20260102/us-east-1/kafka-cluster/aws4_request/x",
            "AKID/20260102/us-east-1/kafka-cluster/aws5_request",
            "/20260102/us-east-1/kafka-cluster/aws4_request",
            "AKID/2026012/us-east-1/kafka-cluster/aws4_request",
            "AK ID/20260102/us-east-1/kafka-cluster/aws4_request",
            "AKID/20260102/us\neast/kafka-cluster/aws4_request",
        ] {
            assert_eq!(CredentialScope::parse(text), None, "{text}");
        }
    }
}
