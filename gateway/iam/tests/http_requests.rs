//! Header-signed and presigned HTTP requests: AWS's own test suite, requests signed by botocore, and every refusal.
//!
//! `aws_signing_test_suite.jsonl` holds the header-signed cases with normalized paths of AWS's signing test suite
//! (Apache-2.0, as shipped with `aws-sigv4`); `botocore_requests.jsonl` was signed by botocore 1.44.5 with its clock
//! stopped.

use headgate_iam::sigv4::{CLOCK_SKEW_MAX, PRESIGNED_USE_MAX};
use headgate_iam::{
    AccountId, BodyHash, ClaimedRequest, HttpRequest, KeyMaterial, KeyStatus, MasterKey, Principal,
    RequestExpectations, RequestRejected, SecretKey, Session, SessionClaims, SigningKey, UnixTime,
    VerifiedRequest, session_token,
};
use serde_json::Value;
use std::time::Duration;

/// A named change to a request.
type Change = (&'static str, fn(&mut Signed));

/// A request as a test may change it before it is parsed.
#[derive(Clone)]
struct Signed {
    secret: String,
    date: UnixTime,
    service: String,
    region: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    presigned: bool,
}

impl Signed {
    fn from_json(json: &Value) -> Self {
        let text = |key: &str| json[key].as_str().unwrap().to_owned();
        let pair =
            |pair: &Value| (pair[0].as_str().unwrap().to_owned(), pair[1].as_str().unwrap().to_owned());
        Self {
            secret: text("secret"),
            date: UnixTime::parse_amz_date(&text("date")).unwrap(),
            service: text("service"),
            region: text("region"),
            method: text("method"),
            path: text("path"),
            query: text("query"),
            headers: json["headers"].as_array().unwrap().iter().map(pair).collect(),
            body: text("body"),
            presigned: json["presigned"] == true,
        }
    }

    fn parse(&self) -> Result<ClaimedRequest, RequestRejected> {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = HttpRequest {
            method: &self.method,
            raw_path: &self.path,
            raw_query: &self.query,
            headers: &headers,
            body_hash: BodyHash::of(self.body.as_bytes()),
        };
        if self.presigned {
            ClaimedRequest::parse_presigned_caller_identity(&request)
        } else {
            ClaimedRequest::parse(&request)
        }
    }

    fn verify_at(&self, now: UnixTime) -> Result<VerifiedRequest, RequestRejected> {
        let claimed = self.parse()?;
        let services = [self.service.as_str()];
        let expectations = RequestExpectations { services: &services, region: &self.region };
        claimed.verify(&material(&self.secret, &claimed), &expectations, now)
    }

    fn verify(&self) -> Result<VerifiedRequest, RequestRejected> {
        self.verify_at(self.date)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn header(&mut self, name: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(header, _)| header.eq_ignore_ascii_case(name)).unwrap().1
    }
}

fn principal() -> Principal {
    let account = AccountId::parse("123456789012").unwrap();
    Principal::user(
        account,
        "arn:aws:iam::123456789012:user/alice".into(),
        "alice".into(),
        "AIDAALICE".into(),
    )
}

/// The key of whoever claims to sign; a session if a token was sent.
fn material(secret: &str, claimed: &ClaimedRequest) -> KeyMaterial {
    let secret = SecretKey::new(secret);
    if claimed.security_token().is_none() {
        return KeyMaterial::long_term(secret, KeyStatus::Active, principal());
    }
    let session = Session {
        access_key_id: claimed.access_key_id().to_owned(),
        issued_at: UnixTime::from_millis(0),
        expires_at: UnixTime::from_millis(i64::MAX),
        policy: None,
    };
    KeyMaterial::temporary(secret, KeyStatus::Active, session, principal())
}

fn requests(file: &str) -> Vec<(String, Signed)> {
    let parse = |line| {
        let json: Value = serde_json::from_str(line).unwrap();
        (json["name"].as_str().unwrap().to_owned(), Signed::from_json(&json))
    };
    file.lines().map(parse).collect()
}

fn botocore(name: &str) -> Signed {
    let found =
        requests(include_str!("botocore_requests.jsonl")).into_iter().find(|(found, _)| found == name);
    found.unwrap().1
}

fn create_cluster() -> Signed {
    botocore("create cluster")
}

/// Signs `GET /` for the date in its header, as a client would.
fn signed_now(secret: &str, service: &str, region: &str, date: UnixTime) -> Signed {
    let day = &date.to_amz_date()[..8];
    let empty = BodyHash::of(b"");
    let canonical =
        format!("GET\n/\n\nhost:h\nx-amz-date:{}\n\nhost;x-amz-date\n{empty}", date.to_amz_date());
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let hash = BodyHash::of(canonical.as_bytes());
    let string_to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", date.to_amz_date());
    let signature = SigningKey::derive(&SecretKey::new(secret), date, region, service).sign(&string_to_sign);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    Signed {
        secret: secret.to_owned(),
        date,
        service: service.to_owned(),
        region: region.to_owned(),
        method: "GET".to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        headers: vec![
            ("host".to_owned(), "h".to_owned()),
            ("x-amz-date".to_owned(), date.to_amz_date()),
            ("authorization".to_owned(), authorization),
        ],
        body: String::new(),
        presigned: false,
    }
}

#[test]
fn the_aws_signing_test_suite_verifies() {
    let suite = requests(include_str!("aws_signing_test_suite.jsonl"));
    assert_eq!(suite.len(), 31);
    for (name, signed) in suite {
        assert!(signed.verify().is_ok(), "{name}: {:?}", signed.verify());
    }
}

#[test]
fn requests_signed_by_botocore_verify() {
    for (name, signed) in requests(include_str!("botocore_requests.jsonl")) {
        let verified = signed.verify();
        assert!(verified.is_ok(), "{name}: {verified:?}");
        assert_eq!(verified.unwrap().principal, principal());
    }
}

#[test]
fn any_change_behind_the_signature_is_a_mismatch() {
    let changes: &[Change] = &[
        ("method", |signed| signed.method = "PUT".to_owned()),
        ("path", |signed| signed.path.push('x')),
        ("query", |signed| signed.query.push_str("a=1")),
        ("body", |signed| signed.body.push(' ')),
        ("host", |signed| signed.header("host").push('1')),
        ("signed header", |signed| signed.header("content-type").push('x')),
        ("secret", |signed| signed.secret.push('x')),
    ];
    for (what, change) in changes {
        let mut signed = create_cluster();
        change(&mut signed);
        assert_eq!(signed.verify().unwrap_err(), RequestRejected::SignatureMismatch, "{what}");
    }
}

#[test]
fn headers_outside_the_signature_may_be_added() {
    let mut signed = create_cluster();
    signed.set("x-forwarded-for", "10.0.0.1");
    assert!(signed.verify().is_ok());
}

#[test]
fn a_request_without_authorization_is_told_to_authenticate() {
    let mut signed = create_cluster();
    signed.headers.retain(|(name, _)| name != "Authorization");
    let rejected = signed.verify().unwrap_err();
    assert_eq!(rejected, RequestRejected::MissingAuthentication);
    assert_eq!(rejected.code().json, "MissingAuthenticationTokenException");
    assert_eq!(rejected.code().query, "MissingAuthenticationToken");
}

#[test]
fn incomplete_signatures_say_what_is_missing() {
    let changes: &[Change] = &[
        ("'X-Amz-Date'", |signed| signed.headers.retain(|(name, _)| name != "X-Amz-Date")),
        ("ISO-8601", |signed| "yesterday".clone_into(signed.header("x-amz-date"))),
        ("Date in Credential scope", |signed| "20260103T030405Z".clone_into(signed.header("x-amz-date"))),
        ("not in the request", |signed| signed.headers.retain(|(name, _)| name != "Host")),
        ("repeated", |signed| signed.headers.push(("authorization".into(), "x".into()))),
        ("AWS4-HMAC-SHA256", |signed| signed.set("authorization", "Bearer x")),
        ("percent-encoded", |signed| signed.query = "a=%zz".into()),
    ];
    for (what, change) in changes {
        let mut signed = create_cluster();
        change(&mut signed);
        let rejected = signed.verify().unwrap_err();
        assert!(rejected.to_string().contains(what), "{what}: {rejected}");
        assert_eq!((rejected.code().query, rejected.code().status), ("IncompleteSignature", 400));
    }
}

#[test]
fn a_body_must_be_signed_whole() {
    for kind in
        ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
    {
        let mut signed = create_cluster();
        signed.set("x-amz-content-sha256", kind);
        assert_eq!(signed.verify().unwrap_err(), RequestRejected::UnsupportedPayload(kind.to_owned()));
    }
    let mut signed = create_cluster();
    signed.set("content-encoding", "gzip, aws-chunked");
    assert!(matches!(signed.verify().unwrap_err(), RequestRejected::UnsupportedPayload(_)));
}

#[test]
fn a_declared_body_hash_must_be_that_of_the_body() {
    let mut signed = create_cluster();
    signed.set("x-amz-content-sha256", &BodyHash::of(b"other").to_hex());
    assert_eq!(signed.verify().unwrap_err(), RequestRejected::BodyHashMismatch);
    let hash = BodyHash::of(signed.body.as_bytes()).to_hex();
    signed.set("x-amz-content-sha256", &hash);
    assert!(signed.verify().is_ok());
}

#[test]
fn clocks_may_differ_by_five_minutes_and_no_more() {
    let signed = create_cluster();
    let second = Duration::from_secs(1);
    assert!(signed.verify_at(signed.date.plus(CLOCK_SKEW_MAX)).is_ok());
    assert!(signed.verify_at(signed.date.minus(CLOCK_SKEW_MAX)).is_ok());
    let late = signed.verify_at(signed.date.plus(CLOCK_SKEW_MAX + second)).unwrap_err();
    assert_eq!(
        late.to_string(),
        "Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z (20260102T030906Z - 5 min.)"
    );
    assert_eq!(late.code().json, "InvalidSignatureException");
    let early = signed.verify_at(signed.date.minus(CLOCK_SKEW_MAX + second)).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20260102T030405Z is still later than 20260102T030404Z (20260102T025904Z + 5 min.)"
    );
}

#[test]
fn a_request_must_be_signed_for_this_service_and_region() {
    let signed = create_cluster();
    let claimed = signed.parse().unwrap();
    let verify = |services: &[&str], region: &str| {
        let expectations = RequestExpectations { services, region };
        claimed.verify(&material(&signed.secret, &claimed), &expectations, signed.date).map(|_| ())
    };
    assert_eq!(verify(&["iam", "kafka"], "eu-west-1"), Ok(()));
    let rejected = verify(&["iam", "sts"], "eu-west-1").unwrap_err();
    assert_eq!(rejected.to_string(), "Credential should be scoped to correct service: 'iam', 'sts'.");
    let rejected = verify(&["kafka"], "us-east-1").unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "Credential should be scoped to a valid region: 'us-east-1', not 'eu-west-1'."
    );
}

#[test]
fn iam_and_sts_may_be_signed_for_the_global_region_or_ours() {
    let date = UnixTime::from_seconds(1_767_323_045);
    for (service, region, accepted) in [
        ("iam", "us-east-1", true),
        ("sts", "us-east-1", true),
        ("sts", "eu-west-1", true),
        ("sts", "eu-west-2", false),
        ("kafka", "us-east-1", false),
        ("headgate", "eu-west-1", true),
    ] {
        let signed = signed_now("s", service, region, date);
        let claimed = signed.parse().unwrap();
        let expectations = RequestExpectations { services: &[service], region: "eu-west-1" };
        let verified = claimed.verify(&material("s", &claimed), &expectations, date);
        assert_eq!(verified.is_ok(), accepted, "{service} {region}");
    }
}

#[test]
fn the_state_of_a_key_is_told_only_to_who_holds_its_secret() {
    let signed = create_cluster();
    let claimed = signed.parse().unwrap();
    let expectations = RequestExpectations { services: &["kafka"], region: "eu-west-1" };
    let verify = |secret: &str| {
        let inactive = KeyMaterial::long_term(SecretKey::new(secret), KeyStatus::Inactive, principal());
        claimed.verify(&inactive, &expectations, signed.date).unwrap_err()
    };
    assert_eq!(verify("wrong"), RequestRejected::SignatureMismatch);
    assert_eq!(verify(&signed.secret), RequestRejected::InactiveAccessKey);
    assert_eq!(verify(&signed.secret).code().query, "InvalidClientTokenId");
}

#[test]
fn a_token_must_belong_to_the_key_that_signs() {
    let signed = botocore("describe cluster, ARN in path");
    let claimed = signed.parse().unwrap();
    let expectations = RequestExpectations { services: &["kafka"], region: "eu-west-1" };
    let session = |access_key_id: &str, expires_at| {
        let session = Session {
            access_key_id: access_key_id.into(),
            issued_at: UnixTime::from_millis(0),
            expires_at,
            policy: None,
        };
        KeyMaterial::temporary(SecretKey::new(&*signed.secret), KeyStatus::Active, session, principal())
    };
    let verify = |material: &KeyMaterial| claimed.verify(material, &expectations, signed.date).map(|_| ());
    let later = signed.date.plus(Duration::from_secs(1));
    assert_eq!(verify(&session("AKIDEXAMPLE00000001", later)), Ok(()));
    assert_eq!(verify(&session("AKIDEXAMPLE00000002", later)), Err(RequestRejected::SecurityTokenInvalid));
    assert_eq!(
        verify(&session("AKIDEXAMPLE00000001", signed.date)),
        Err(RequestRejected::SecurityTokenExpired)
    );
    let long_term = KeyMaterial::long_term(SecretKey::new(&*signed.secret), KeyStatus::Active, principal());
    assert_eq!(verify(&long_term), Err(RequestRejected::SecurityTokenInvalid));
}

#[test]
fn a_temporary_key_without_its_token_is_refused() {
    let signed = create_cluster();
    let claimed = signed.parse().unwrap();
    let session = Session {
        access_key_id: claimed.access_key_id().into(),
        issued_at: UnixTime::from_millis(0),
        expires_at: UnixTime::from_millis(i64::MAX),
        policy: None,
    };
    let material =
        KeyMaterial::temporary(SecretKey::new(&*signed.secret), KeyStatus::Active, session, principal());
    let expectations = RequestExpectations { services: &["kafka"], region: "eu-west-1" };
    let rejected = claimed.verify(&material, &expectations, signed.date).unwrap_err();
    assert_eq!(rejected, RequestRejected::SecurityTokenInvalid);
}

#[test]
fn a_session_of_this_service_signs_requests_with_its_sealed_token() {
    let signed = botocore("describe cluster, ARN in path");
    let master_key = MasterKey::new(&[5; 32]);
    let foreign = signed.parse().unwrap().open_session(&master_key).unwrap_err();
    assert_eq!(foreign, RequestRejected::SecurityTokenInvalid);
    assert!(create_cluster().parse().unwrap().open_session(&master_key).unwrap().is_none());

    let date = signed.date;
    let claims = SessionClaims {
        access_key_id: "AKID".into(),
        secret: SecretKey::new("s"),
        principal: principal(),
        issued_at: date,
        expires_at: date.plus(Duration::from_mins(1)),
        policy: None,
    };
    let token = session_token::seal(&master_key, &claims, &mut |bytes| bytes.fill(1));
    let mut signed = signed_now("s", "kafka", "eu-west-1", date);
    signed.set("x-amz-security-token", &token);
    let claimed = signed.parse().unwrap();
    let material = claimed.open_session(&master_key).unwrap().unwrap();
    let expectations = RequestExpectations { services: &["kafka"], region: "eu-west-1" };
    let verified = claimed.verify(&material, &expectations, date).unwrap();
    assert_eq!(verified.token_issued_at, Some(date));
    let gone = material.with_status(KeyStatus::Inactive);
    assert_eq!(claimed.verify(&gone, &expectations, date).unwrap_err(), RequestRejected::InactiveAccessKey);
}

#[test]
fn an_unknown_key_is_named() {
    let rejected = create_cluster().parse().unwrap().unknown_key();
    assert!(rejected.to_string().ends_with("unknown access key AKIDEXAMPLE00000001."));
    assert_eq!(rejected.code().json, "UnrecognizedClientException");
}

#[test]
fn only_get_caller_identity_may_be_presigned() {
    let presigned = botocore("presigned caller identity");
    let changes: &[Change] = &[
        ("another action", |signed| {
            signed.query = signed.query.replace("GetCallerIdentity", "GetSessionToken");
        }),
        ("another method", |signed| signed.method = "POST".into()),
        ("a body", |signed| signed.body.push('x')),
        ("a path", |signed| signed.path.push('x')),
        ("a repeated name", |signed| signed.query.push_str("&Action=GetCallerIdentity")),
        ("no expiry", |signed| signed.query = signed.query.replace("X-Amz-Expires", "X-Amz-Expired")),
    ];
    for (what, change) in changes {
        let mut signed = presigned.clone();
        change(&mut signed);
        assert!(matches!(signed.verify().unwrap_err(), RequestRejected::Incomplete(_)), "{what}");
    }
    let mut signed = presigned.clone();
    signed.query = "Action=GetCallerIdentity".into();
    assert_eq!(signed.verify().unwrap_err(), RequestRejected::MissingAuthentication);
    let mut signed = presigned;
    signed.query.push_str("&extra=1");
    assert_eq!(signed.verify().unwrap_err(), RequestRejected::SignatureMismatch);
}

#[test]
fn a_presigned_call_lives_as_long_as_it_was_signed_for_and_at_most_fifteen_minutes() {
    let second = Duration::from_secs(1);
    for (name, lifetime) in [
        ("presigned caller identity", Duration::from_mins(1)),
        ("presigned caller identity with token and header", PRESIGNED_USE_MAX),
    ] {
        let signed = botocore(name);
        assert!(signed.verify_at(signed.date.plus(lifetime)).is_ok(), "{name}");
        let late = signed.verify_at(signed.date.plus(lifetime + second)).unwrap_err();
        assert!(matches!(late, RequestRejected::SignatureExpired { .. }), "{name}");
        let early = signed.verify_at(signed.date.minus(CLOCK_SKEW_MAX + second)).unwrap_err();
        assert!(matches!(early, RequestRejected::SignatureNotYetCurrent { .. }), "{name}");
    }
}

#[test]
fn bytes_from_strangers_never_panic() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % bound as u64).unwrap()
    };
    let originals: Vec<_> = requests(include_str!("botocore_requests.jsonl"));
    for _ in 0..20_000 {
        let mut signed = originals[next(originals.len())].1.clone();
        let header = next(signed.headers.len());
        let target = match next(4) {
            0 => &mut signed.path,
            1 => &mut signed.query,
            2 => &mut signed.headers[header].0,
            _ => &mut signed.headers[header].1,
        };
        let mut characters: Vec<char> = target.chars().collect();
        for _ in 0..=next(3) {
            let inserted = ['%', '&', '=', '/', ',', ';', ' ', '\0', 'é', 'A', '9', '.'][next(12)];
            let position = next(characters.len() + 1);
            if next(2) == 0 || characters.is_empty() {
                characters.insert(position, inserted);
            } else {
                characters.remove(position.min(characters.len() - 1));
            }
        }
        *target = characters.into_iter().collect();
        let _ = signed.verify();
    }
}
