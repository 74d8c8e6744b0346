//! Percent-encoding of paths, queries and form bodies (RFC 3986, and `+` as a space in forms).

use std::collections::BTreeMap;
use std::fmt::Write;

/// Decodes one path segment; `None` for broken escapes and bytes that are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            bytes.push(hex(digits[0])? << 4 | hex(digits[1])?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The segments of a path, each decoded once; an encoded slash stays inside its segment.
pub(crate) fn segments(raw_path: &str) -> Option<Vec<String>> {
    raw_path.strip_prefix('/')?.split('/').map(decode).collect()
}

/// The parameters of a query or form body. A parameter that comes more than once has several values.
#[derive(Debug, Default)]
pub(crate) struct Parameters(BTreeMap<String, Vec<String>>);

impl Parameters {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| decode(&text.replace('+', " "));
            parameters.entry(decoded(name)?).or_default().push(decoded(value)?);
        }
        Some(Self(parameters))
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The members of a list, in their order: `name.member.1`, `name.member.2`, and so on.
    pub(crate) fn members(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|number: u32| self.get(&format!("{name}.member.{number}"))).collect()
    }

    /// The parameters as an audit line shows them: with names as JSON services write them, and without those that say which
    /// call it is or prove who makes it.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (String, serde_json::Value)> {
        let told = |name: &str| !matches!(name, "Action" | "Version") && !name.starts_with("X-Amz-");
        self.0.iter().filter(move |(name, _)| told(name)).map(|(name, values)| {
            let value = match values.as_slice() {
                [one] => one.as_str().into(),
                several => several.into(),
            };
            (crate::xml::lower_camel(name), value)
        })
    }

    /// Whether a parameter, or a member of a list or structure of that name, was sent.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0
            .keys()
            .any(|key| key == name || key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// Encodes as IAM encodes policy documents: everything but the unreserved characters of RFC 3986.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes everything");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let path = "/v1/tags/arn%3Aaws%3Akafka%3A%3A1%3Acluster%2Fdemo%2Fu";
        assert_eq!(
            segments(path).as_deref(),
            Some(&["v1", "tags", "arn:aws:kafka::1:cluster/demo/u"].map(String::from)[..])
        );
        assert_eq!(
            segments("/%252F").as_deref(),
            Some(&["%2F".to_owned()][..]),
            "each segment is decoded once"
        );
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["%", "%4", "%zz", "%ff", "a%"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert!(segments("no slash").is_none());
        assert!(Parameters::parse("a=%").is_none());
    }

    #[test]
    fn a_form_is_read_with_plus_as_space_and_repeated_names() {
        let form =
            Parameters::parse("Action=Create&a=1+2&a=%2B&empty=&Tags.member.1.Key=k&&bare").expect("a form");
        assert_eq!(form.get("Action"), Some("Create"));
        assert_eq!(form.all("a"), ["1 2", "+"]);
        assert_eq!((form.get("empty"), form.get("bare"), form.get("none")), (Some(""), Some(""), None));
        let list = Parameters::parse("l.member.1=a&l.member.2=b&l.member.4=d").expect("a form");
        assert_eq!(list.members("l"), ["a", "b"]);
        assert!(form.shown().any(|shown| shown == ("tags.member.1.Key".into(), "k".into())));
        assert!(!form.shown().any(|(name, _)| name == "action"));
        assert!(form.names("Tags") && form.names("a") && !form.names("Tag"));
    }

    proptest! {
        #[test]
        fn any_text_survives_encoding_and_no_text_breaks_the_decoder(text in ".*", wire in "[ -~]*") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
            drop((decode(&wire), segments(&wire), Parameters::parse(&wire)));
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        let text = "{\"Version\": \"2012-10-17\", \"ä\": \"*~\"}";
        assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        assert_eq!(encode("a b/~"), "a%20b%2F~");
    }
}
