//! Percent-encoding as SigV4 defines it: unreserved characters stay, every other byte becomes `%XX` in upper case.

/// Appends `bytes`, encoded; `/` stays too if `keep_slash` (paths), else it becomes `%2F` (query).
pub(crate) fn encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if unreserved || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Encodes a query name or value.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    encode_into(&mut out, bytes, false);
    out
}

/// Decodes `%XX`; `+` is a plus. `None` if a percent sign is not followed by two hex digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next()?, bytes.next()?);
            out.push(hex_digit(high)? << 4 | hex_digit(low)?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay_bare() {
        assert_eq!(encode(b"aZ09-._~"), "aZ09-._~");
        assert_eq!(encode("/:=+ &%é".as_bytes()), "%2F%3A%3D%2B%20%26%25%C3%A9");
    }

    #[test]
    fn decoding_leaves_plus_alone_and_refuses_broken_escapes() {
        assert_eq!(decode("a%2Fb+c%2b").unwrap(), b"a/b+c+");
        for broken in ["%", "%2", "%zz", "%+1", "a%2"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
