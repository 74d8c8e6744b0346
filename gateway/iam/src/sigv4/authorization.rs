//! The Authorization header of a SigV4 request.

use super::scope::CredentialScope;
use super::{ALGORITHM, Signature};

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, parsed.
#[derive(Debug)]
pub(crate) struct Authorization {
    pub(crate) scope: CredentialScope,
    pub(crate) signed_headers: Vec<String>,
    pub(crate) signature: Signature,
}

/// Which part of the header is missing or malformed, as the answer names it.
pub(crate) type AuthorizationDefect = &'static str;

impl Authorization {
    /// The three fields may come in any order, separated by commas and spaces; each exactly once.
    pub(crate) fn parse(header: &str) -> Result<Self, AuthorizationDefect> {
        let fields = header
            .trim()
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or("Authorization must use AWS4-HMAC-SHA256.")?;
        let (mut scope, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',').map(str::trim) {
            let (name, value) = field.split_once('=').ok_or("Authorization has a field without a value.")?;
            let repeated = match name {
                "Credential" => scope.replace(value).is_some(),
                "SignedHeaders" => signed_headers.replace(value).is_some(),
                "Signature" => signature.replace(value).is_some(),
                _ => true,
            };
            if repeated {
                return Err("Authorization has an unknown or repeated field.");
            }
        }
        let scope = scope.ok_or("Authorization header requires 'Credential' parameter.")?;
        let signed_headers =
            signed_headers.ok_or("Authorization header requires 'SignedHeaders' parameter.")?;
        let signature = signature.ok_or("Authorization header requires 'Signature' parameter.")?;
        Ok(Self {
            scope: CredentialScope::parse(scope)
                .ok_or("Credential must have exactly 5 slash-delimited elements.")?,
            signed_headers: parse_signed_headers(signed_headers).ok_or("SignedHeaders is malformed.")?,
            signature: Signature::parse(signature).ok_or("Signature must be 64 lower-case hex digits.")?,
        })
    }
}

/// Lower-case names, sorted, none twice, `host` among them. The order is part of what was signed, so a list in
/// another order could not verify anyway.
pub(crate) fn parse_signed_headers(text: &str) -> Option<Vec<String>> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    let well_formed = names.iter().all(|name| !name.is_empty() && name.bytes().all(is_header_byte))
        && names.windows(2).all(|pair| pair[0] < pair[1])
        && names.iter().any(|name| name == "host");
    well_formed.then_some(names)
}

/// The lower-case half of RFC 9110's token characters.
fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "5841b4938fad01d2db99d8623f5fc58a9994e1ba12e2d953a785b7d852408259";

    #[test]
    fn the_fields_may_come_in_any_order_and_without_spaces() {
        let credential = "Credential=AKID/20260102/us-east-1/kafka/aws4_request";
        for header in [
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"),
            format!("AWS4-HMAC-SHA256 Signature={SIGNATURE},SignedHeaders=host;x-amz-date,{credential}"),
        ] {
            assert_eq!(Authorization::parse(&header).unwrap().signed_headers, ["host", "x-amz-date"]);
        }
    }

    #[test]
    fn each_defect_is_named() {
        let credential = "Credential=AKID/20260102/us-east-1/kafka/aws4_request";
        for (header, defect) in [
            ("Basic abc".to_owned(), "AWS4-HMAC-SHA256"),
            ("AWS4-HMAC-SHA256".to_owned(), "AWS4-HMAC-SHA256"),
            ("AWS4-HMAC-SHA256 x".to_owned(), "without a value"),
            (format!("AWS4-HMAC-SHA256 {credential}, Signature={SIGNATURE}"), "'SignedHeaders'"),
            (format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host"), "'Signature'"),
            (format!("AWS4-HMAC-SHA256 SignedHeaders=host, Signature={SIGNATURE}"), "'Credential'"),
            (format!("AWS4-HMAC-SHA256 {credential}, {credential}"), "repeated"),
            (
                format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=date, Signature={SIGNATURE}"),
                "SignedHeaders is",
            ),
            (format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=AB"), "64"),
        ] {
            assert!(Authorization::parse(&header).unwrap_err().contains(defect), "{header}");
        }
    }

    #[test]
    fn signed_headers_are_sorted_lower_case_and_include_host() {
        assert!(parse_signed_headers("host;x-amz-date").is_some());
        for text in ["", "x-amz-date", "x-amz-date;host", "host;host", "Host", "host;", "host;x y"] {
            assert!(parse_signed_headers(text).is_none(), "{text}");
        }
    }
}
