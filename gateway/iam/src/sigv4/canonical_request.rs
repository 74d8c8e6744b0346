//! The canonical request: one text that both sides derive from the request and sign.

use std::fmt;

use aws_lc_rs::digest;

use super::encoding::{encode_into, hex};

/// SHA-256 of a request's body, computed by the server over what it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    /// Hashes `body`.
    pub fn of(body: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Self(hash)
    }

    /// Sixty-four lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_hex())
    }
}

/// Puts the six parts together. `headers` are the signed ones, lower-case, sorted, values trimmed.
pub(crate) fn canonical_request(
    method: &str,
    canonical_path: &str,
    canonical_query: &str,
    headers: &[(String, String)],
    payload_hash: BodyHash,
) -> String {
    let mut out = format!("{method}\n{canonical_path}\n{canonical_query}\n");
    for (name, value) in headers {
        out.push_str(name);
        out.push(':');
        out.push_str(value);
        out.push('\n');
    }
    out.push('\n');
    for (index, (name, _)) in headers.iter().enumerate() {
        if index > 0 {
            out.push(';');
        }
        out.push_str(name);
    }
    out.push('\n');
    out.push_str(&payload_hash.to_hex());
    out
}

/// The canonical path of every service but S3: empty and dot segments removed, then encoded a second time (the
/// raw path already carries the first encoding).
pub(crate) fn canonical_path(raw_path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in raw_path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(raw_path.len() + 16);
    for segment in &segments {
        out.push('/');
        encode_into(&mut out, segment.as_bytes(), false);
    }
    if segments.is_empty() || raw_path.ends_with('/') {
        out.push('/');
    }
    out
}

/// Trims a header value and makes each run of spaces one.
pub(crate) fn canonical_header_value(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalized_and_encoded_twice() {
        for (raw, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//b/", "/a/b/"),
            ("/../..", "/"),
            ("/v1/clusters/arn%3Aaws%3Akafka%2Fx", "/v1/clusters/arn%253Aaws%253Akafka%252Fx"),
            ("/a b", "/a%20b"),
            ("/~u", "/~u"),
        ] {
            assert_eq!(canonical_path(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn header_values_lose_outer_space_and_repeated_inner_space() {
        assert_eq!(canonical_header_value("  a   b \t c  "), "a b c");
    }
}
