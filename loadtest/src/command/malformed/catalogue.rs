//! The catalogue of bad frames. Deterministic: the same broker versions give the same cases in the same order.

mod login;

use std::collections::BTreeMap;

use bytes::BufMut;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

/// Every request carries this, so that an answer to something else is recognised.
pub(super) const CORRELATION_ID: i32 = 0x4845_4144;
/// The last API key that the protocol gave away.
const API_KEY_MAX: i16 = 92;
/// Bytes of zero before a bomb. Zeros read as empty strings, null arrays and small numbers, so that the bomb is taken
/// for a later field.
const PREFIXES: [usize; 8] = [0, 1, 2, 4, 6, 8, 12, 20];

/// Requests that may wait for other members or for data before they are answered: Fetch, JoinGroup, SyncGroup,
/// ConsumerGroupHeartbeat, ShareGroupHeartbeat, ShareFetch, StreamsGroupHeartbeat.
const MAY_WAIT: [i16; 7] = [1, 11, 14, 68, 76, 78, 88];

/// One connection's worth of bytes.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) family: &'static str,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Whether silence is no finding: by chance the request may be valid and wait.
    pub(super) may_wait: bool,
    /// Whether a stranger may be answered at all.
    pub(super) before_login: bool,
    /// More answers than this mean that the server saw requests that were never sent.
    pub(super) answers_max: usize,
}

impl Case {
    /// A case that must be answered at most once, soon, and to no stranger.
    fn new(family: &'static str, name: String, bytes: Vec<u8>) -> Self {
        Self { family, name, bytes, may_wait: false, before_login: false, answers_max: 1 }
    }
}

/// ApiVersions, SaslHandshake and SaslAuthenticate are all that a stranger may ask.
fn comes_before_login(api_key: i16) -> bool {
    [17, 18, 36].contains(&api_key)
}

/// Builds all cases, for the versions that the broker advertises and those around them.
pub(super) fn catalogue(advertised: &ApiVersionsResponse) -> Vec<Case> {
    let mut cases = Vec::new();
    add_bad_lengths(&mut cases);
    add_bad_headers(&mut cases);
    let ranges: BTreeMap<i16, i16> =
        advertised.api_keys.iter().map(|range| (range.api_key, range.max_version)).collect();
    for api_key in 0..=API_KEY_MAX {
        let codec_max = ApiKey::try_from(api_key).map_or(0, |key| key.valid_versions().max);
        let version_max = ranges.get(&api_key).copied().unwrap_or(0).clamp(codec_max, codec_max.max(30));
        for version in (0..=version_max + 1).chain([-1, i16::MAX]) {
            add_bad_bodies(&mut cases, api_key, version);
        }
    }
    login::add_premature(&mut cases);
    login::add_bad_logins(&mut cases);
    cases
}

fn add_bad_lengths(cases: &mut Vec<Case>) {
    let lengths = [i32::MIN, -1, 0, 1, 3, 7, 100 << 20, (100 << 20) + 1, i32::MAX];
    for length in lengths {
        // Bytes behind a short frame would be read as the next frame, which is another case.
        let room = usize::try_from(length).ok().filter(|length| *length > 0).unwrap_or(usize::MAX);
        for tail in [0, 1, 10, 100].into_iter().filter(|tail| *tail <= room) {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.resize(4 + tail, 0);
            cases.push(Case::new(
                "length prefix",
                format!("length {length} followed by {tail} bytes"),
                bytes,
            ));
        }
    }
    for cut in 0..4 {
        cases.push(Case::new("length prefix", format!("{cut} bytes of a length"), vec![0; cut]));
    }
}

fn add_bad_headers(cases: &mut Vec<Case>) {
    let mut add = |name: String, api_key: i16, rest: &[u8]| {
        let mut body = Vec::new();
        body.put_i16(api_key);
        body.put_slice(rest);
        let before_login = comes_before_login(api_key);
        cases.push(Case { before_login, ..Case::new("header", name, framed(&body)) });
    };
    for api_key in [API_KEY_MAX + 1, 200, 1000, i16::MAX, -1, i16::MIN] {
        add(format!("API key {api_key}"), api_key, &header_rest(0, b"\x00\x04test"));
        add(
            format!("API key {api_key} with a body"),
            api_key,
            &header_rest(0, b"\x00\x04test\x00\x00\x00\x00"),
        );
    }
    for api_key in [3, 18] {
        for client_id_length in [i16::MAX, -2, i16::MIN, 100] {
            let rest = header_rest(1, &client_id_length.to_be_bytes());
            add(format!("API key {api_key}, client id of {client_id_length} bytes"), api_key, &rest);
        }
        // Invalid UTF-8 in the client id.
        add(
            format!("API key {api_key}, client id not UTF-8"),
            api_key,
            &header_rest(1, b"\x00\x02\xff\xfe\xff\xff\xff\xff"),
        );
        // ApiVersions 3 and Metadata 9 have tagged fields in the header.
        let version = if api_key == 18 { 3 } else { 9 };
        for tags in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 12]]
        {
            let rest = header_rest(version, &[b"\xff\xff", tags].concat());
            add(format!("API key {api_key}, tagged fields {tags:02x?}"), api_key, &rest);
        }
    }
}

fn add_bad_bodies(cases: &mut Vec<Case>, api_key: i16, version: i16) {
    let flexible = ApiKey::try_from(api_key).is_ok_and(|key| key.request_header_version(version.max(0)) >= 2);
    let mut add = |family: &'static str, name: String, body: &[u8]| {
        let mut rest = header_rest(version, b"\xff\xff");
        if flexible {
            rest.put_u8(0);
        }
        rest.put_slice(body);
        let mut message = api_key.to_be_bytes().to_vec();
        message.put_slice(&rest);
        let name = format!("API key {api_key} version {version}: {name}");
        let (may_wait, before_login) = (MAY_WAIT.contains(&api_key), comes_before_login(api_key));
        cases.push(Case { may_wait, before_login, ..Case::new(family, name, framed(&message)) });
    };
    add("truncated", "no body".to_owned(), &[]);
    add("truncated", "one byte".to_owned(), &[1]);
    add("truncated", "a string cut short".to_owned(), &[0, 9, b'a', b'b']);
    for prefix in PREFIXES {
        let bombs: [(&str, &[u8]); 5] = [
            ("count 2^31-1", &[0x7f, 0xff, 0xff, 0xff]),
            ("count -2", &[0xff, 0xff, 0xff, 0xfe]),
            ("count 2^24", &[0x01, 0, 0, 0]),
            ("compact count 2^32-2", &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            ("varint without end", &[0xff; 11]),
        ];
        for (what, bomb) in bombs {
            let body = [&vec![0; prefix][..], bomb].concat();
            add("counts", format!("{what} after {prefix} bytes"), &body);
        }
    }
    add("noise", "200 bytes of 0xff".to_owned(), &[0xff; 200]);
    add("noise", "200 bytes of noise".to_owned(), &noise(api_key, version));
}

/// Version, correlation id and then whatever the case wants.
fn header_rest(version: i16, tail: &[u8]) -> Vec<u8> {
    let mut rest = version.to_be_bytes().to_vec();
    rest.put_i32(CORRELATION_ID);
    rest.put_slice(tail);
    rest
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as i32).to_be_bytes().to_vec();
    bytes.put_slice(message);
    bytes
}

/// Bytes without structure that are the same in every run (xorshift, seeded by key and version).
fn noise(api_key: i16, version: i16) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ ((api_key as u64) << 16) ^ version as u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(200)
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_api_key_is_there_with_all_its_versions_and_one_more() {
        let cases = catalogue(&ApiVersionsResponse::default());
        for api_key in 0..=API_KEY_MAX {
            let max = ApiKey::try_from(api_key).map_or(0, |key| key.valid_versions().max);
            for version in 0..=max + 1 {
                let start = format!("API key {api_key} version {version}:");
                assert!(cases.iter().any(|case| case.name.starts_with(&start)), "{start}");
            }
        }
    }

    #[test]
    fn names_are_unique_so_that_a_finding_points_to_one_case() {
        let cases = catalogue(&ApiVersionsResponse::default());
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn the_catalogue_is_the_same_every_time() {
        let bytes = || -> Vec<Vec<u8>> {
            catalogue(&ApiVersionsResponse::default()).into_iter().map(|case| case.bytes).collect()
        };
        assert!(bytes() == bytes());
    }

    #[test]
    fn requests_are_framed_by_their_true_length() {
        for case in catalogue(&ApiVersionsResponse::default()) {
            if !["length prefix", "login"].contains(&case.family) {
                let length = i32::from_be_bytes(case.bytes[..4].try_into().expect("four bytes"));
                assert_eq!(length as usize, case.bytes.len() - 4, "{}", case.name);
            }
        }
    }
}
