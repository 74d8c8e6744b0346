use bytes::{BufMut, BytesMut};

use super::*;

fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(42);
    frame.put_slice(rest);
    frame.freeze()
}

fn parsed(frame: Bytes) -> Result<Incoming, NoRequest> {
    parse(frame, RequestId(1))
}

#[test]
fn a_header_gives_api_version_correlation_and_client() {
    // Heartbeat 4 is flexible: client id `app`, no tagged fields; then the body.
    let body = [2, b'g', 0, 0, 0, 7, 2, b'm', 0, 0];
    let incoming =
        parsed(frame(12, 4, &[&[0, 3][..], b"app", &[0], &body].concat())).expect("a good request");
    assert_eq!((incoming.call.key, incoming.call.version, incoming.call.correlation_id), (12, 4, 42));
    assert_eq!(&*incoming.call.client_id, "app");
    assert_eq!(incoming.api.name, "Heartbeat");
}

#[test]
fn a_null_client_id_is_an_empty_one() {
    let incoming = parsed(frame(17, 1, &[0xff, 0xff, 0, 1, b'X'])).expect("a good request");
    assert_eq!(&*incoming.call.client_id, "");
}

#[test]
fn headers_that_are_cut_or_lie_about_their_length_are_refused() {
    let whole = frame(12, 4, &[&[0, 3][..], b"app", &[0]].concat());
    for length in 0..whole.len() {
        assert!(
            matches!(parsed(whole.slice(..length)), Err(NoRequest::Header | NoRequest::Shape { .. })),
            "{length}"
        );
    }
    assert!(matches!(parsed(frame(12, 4, &[0x7f, 0xff])), Err(NoRequest::Header)));
    assert!(matches!(parsed(frame(12, 4, &[0xff, 0xfe, 0])), Err(NoRequest::Header)));
    assert!(matches!(parsed(frame(12, 4, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])), Err(NoRequest::Header)));
}

#[test]
fn what_is_not_advertised_is_not_served() {
    assert_eq!(parsed(frame(99, 0, &[0, 0])).err(), Some(NoRequest::UnknownApi(99)));
    assert_eq!(parsed(frame(-1, 0, &[0, 0])).err(), Some(NoRequest::UnknownApi(-1)));
    assert_eq!(parsed(frame(12, 5, &[0, 0])).err(), Some(NoRequest::UnknownVersion { key: 12, version: 5 }));
    assert_eq!(
        parsed(frame(12, -1, &[0, 0])).err(),
        Some(NoRequest::UnknownVersion { key: 12, version: -1 })
    );
}

#[test]
fn old_produce_versions_are_advertised_but_not_served() {
    let produce = table::find(0).expect("served");
    assert_eq!(*produce.advertised.start(), 0);
    for version in 0..3 {
        assert_eq!(
            parsed(frame(0, version, &[0, 0])).err(),
            Some(NoRequest::UnknownVersion { key: 0, version })
        );
    }
}

#[test]
fn an_unknown_version_of_api_versions_can_be_answered() {
    let unknown = parsed(frame(18, 77, b"whatever"));
    assert_eq!(unknown.err(), Some(NoRequest::ApiVersionsUnknown { correlation_id: 42 }));
}
