//! Logins as clients send them: captured ones, the published vectors, and every reason for refusal.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use headgate_iam::{
    AccessRequest, AccountId, BodyHash, ClaimedLogin, KafkaAction, KeyMaterial, KeyStatus, LoginExpectations,
    LoginRejected, MasterKey, Mechanism, PolicySources, Principal, RequestContext, SecretKey, Session,
    SessionClaims, SigningKey, UnixTime, VerifiedLogin, evaluate, session_token,
};
use serde_json::{Map, Value, json};

const SECRET: &str = "secretEXAMPLEkey/0001+abc";
const KEY_ID: &str = "AKIDEXAMPLE00000001";
const REGION: &str = "us-east-1";
const HOST: &str = "boot-abcd1234.c1.kafka-serverless.us-east-1.amazonaws.com";
const REGIONAL_HOST: &str = "kafka.us-east-1.amazonaws.com";
/// The token of the fourth published vector, with a user agent appended.
const SAMPLE_TOKEN: &str = "aHR0cHM6Ly9rYWZrYS51cy1lYXN0LTEuYW1hem9uYXdzLmNvbS8_QWN0aW9uPWthZmthLWNsdXN0ZXIlM0FDb25uZWN0JlgtQW16LUFsZ29yaXRobT1BV1M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QUtJREVYQU1QTEUwMDAwMDAwMSUyRjIwMjYwMTAyJTJGdXMtZWFzdC0xJTJGa2Fma2EtY2x1c3RlciUyRmF3czRfcmVxdWVzdCZYLUFtei1EYXRlPTIwMjYwMTAyVDAzMDQwNVomWC1BbXotRXhwaXJlcz05MDAmWC1BbXotU2lnbmVkSGVhZGVycz1ob3N0JlgtQW16LVNpZ25hdHVyZT00MmQxMzZmZDgwY2FmOTY3MGU2MGM3NTI4ZWI5Y2YzN2YwMTRlNjkxNTc0YWQ3MzJiOTU0ZmE4ODI1Y2U2ZThhJlVzZXItQWdlbnQ9ZXhhbXBsZSUyRjEuMA";

fn signed_at() -> UnixTime {
    UnixTime::parse_amz_date("20260102T030405Z").unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
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

fn long_term() -> KeyMaterial {
    KeyMaterial::long_term(SecretKey::new(SECRET), KeyStatus::Active, principal())
}

fn temporary(access_key_id: &str, expires_at: UnixTime) -> KeyMaterial {
    let session = Session {
        access_key_id: access_key_id.into(),
        issued_at: UnixTime::from_millis(1),
        expires_at,
        policy: None,
    };
    KeyMaterial::temporary(SecretKey::new(SECRET), KeyStatus::Active, session, principal())
}

/// What a client signs, before it is dressed as JSON or as a URL.
#[derive(Clone)]
struct Login {
    host: String,
    region: String,
    service: String,
    action: String,
    algorithm: String,
    signed_headers: String,
    date: UnixTime,
    expires: String,
    token: Option<String>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            host: HOST.into(),
            region: REGION.into(),
            service: "kafka-cluster".into(),
            action: "kafka-cluster:Connect".into(),
            algorithm: "AWS4-HMAC-SHA256".into(),
            signed_headers: "host".into(),
            date: signed_at(),
            expires: "900".into(),
            token: None,
        }
    }
}

fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

impl Login {
    fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", &self.date.to_amz_date()[..8], self.region, self.service)
    }

    fn query(&self) -> String {
        let credential = format!("{KEY_ID}/{}", self.scope());
        let mut pairs = vec![
            ("Action", self.action.clone()),
            ("X-Amz-Algorithm", self.algorithm.clone()),
            ("X-Amz-Credential", credential),
            ("X-Amz-Date", self.date.to_amz_date()),
            ("X-Amz-Expires", self.expires.clone()),
            ("X-Amz-SignedHeaders", self.signed_headers.clone()),
        ];
        pairs.extend(self.token.clone().map(|token| ("X-Amz-Security-Token", token)));
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }

    fn signature(&self) -> String {
        let empty = BodyHash::of(b"");
        let canonical = format!("GET\n/\n{}\nhost:{}\n\nhost\n{empty}", self.query(), self.host);
        let hash = BodyHash::of(canonical.as_bytes());
        let string_to_sign =
            format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.date.to_amz_date(), self.scope());
        SigningKey::derive(&SecretKey::new(SECRET), self.date, &self.region, &self.service)
            .sign(&string_to_sign)
    }

    fn json(&self) -> Map<String, Value> {
        let mut payload = json!({
            "version": "2020_10_22",
            "host": self.host,
            "user-agent": "test",
            "action": self.action,
            "x-amz-algorithm": self.algorithm,
            "x-amz-credential": format!("{KEY_ID}/{}", self.scope()),
            "x-amz-date": self.date.to_amz_date(),
            "x-amz-expires": self.expires,
            "x-amz-signedheaders": self.signed_headers,
            "x-amz-signature": self.signature(),
        });
        if let Some(token) = &self.token {
            payload["x-amz-security-token"] = token.as_str().into();
        }
        payload.as_object().unwrap().clone()
    }

    fn url(&self) -> String {
        format!(
            "https://{}/?{}&X-Amz-Signature={}&User-Agent=test%2F1",
            self.host,
            self.query(),
            self.signature()
        )
    }
}

fn parse_json(payload: &Map<String, Value>) -> Result<ClaimedLogin, LoginRejected> {
    ClaimedLogin::parse(Mechanism::AwsMskIam, Value::from(payload.clone()).to_string().as_bytes())
}

fn parse_url(url: &str) -> Result<ClaimedLogin, LoginRejected> {
    let message = format!("n,,\x01auth=Bearer {}\x01\x01", URL_SAFE_NO_PAD.encode(url));
    ClaimedLogin::parse(Mechanism::OauthBearer, message.as_bytes())
}

fn verify(
    claimed: &ClaimedLogin,
    material: &KeyMaterial,
    now: UnixTime,
) -> Result<VerifiedLogin, LoginRejected> {
    let accepts_host = |host: &str| host == HOST || host == "localhost";
    let expectations =
        LoginExpectations { region: REGION, accepts_host: &accepts_host, session_max: seconds(3600) };
    claimed.verify(material, &expectations, now)
}

fn check(login: &Login, material: &KeyMaterial, now: UnixTime) -> Result<VerifiedLogin, LoginRejected> {
    verify(&parse_json(&login.json())?, material, now)
}

fn rejection(login: &Login, material: &KeyMaterial, now: UnixTime) -> String {
    check(login, material, now).unwrap_err().answer("id")
}

#[test]
fn all_captured_logins_get_the_verdict_their_harness_gave() {
    let lines: Vec<_> = include_str!("captured_logins.jsonl").lines().collect();
    assert_eq!(lines.len(), 15);
    for line in lines {
        let captured: Value = serde_json::from_str(line).unwrap();
        let now = UnixTime::from_millis((captured["now"].as_f64().unwrap() * 1000.0) as i64);
        let claimed = match Mechanism::from_name(captured["mechanism"].as_str().unwrap()).unwrap() {
            Mechanism::AwsMskIam => parse_json(captured["raw"].as_object().unwrap()).unwrap(),
            Mechanism::OauthBearer => parse_url(captured["raw"]["url"].as_str().unwrap()).unwrap(),
        };
        assert_eq!(claimed.access_key_id(), captured["akid"].as_str().unwrap());
        assert_eq!(claimed.host(), captured["host"].as_str().unwrap());
        let secret = SecretKey::new(captured["secret_key"].as_str().unwrap());
        let material = if claimed.security_token().is_some() {
            let session = Session {
                access_key_id: claimed.access_key_id().into(),
                issued_at: now,
                expires_at: now.plus(seconds(900)),
                policy: None,
            };
            KeyMaterial::temporary(secret, KeyStatus::Active, session, principal())
        } else {
            KeyMaterial::long_term(secret, KeyStatus::Active, principal())
        };
        let verdict = verify(&claimed, &material, now);
        if captured["ok"] == true {
            assert!(verdict.unwrap().session_lifetime(now) > seconds(890), "{line}");
        } else {
            assert_eq!(verdict.unwrap_err(), LoginRejected::SignatureMismatch, "{line}");
        }
    }
}

#[test]
fn the_sample_token_verifies() {
    let message = format!("n,,\x01auth=Bearer {SAMPLE_TOKEN}\x01\x01");
    let claimed = ClaimedLogin::parse(Mechanism::OauthBearer, message.as_bytes()).unwrap();
    let verified = verify(&claimed, &long_term(), signed_at()).unwrap();
    assert_eq!(verified.user_agent.as_deref(), Some("example/1.0"));
    assert_eq!(verified.access_key_id, KEY_ID);
    assert_eq!(verified.session_expires_at, signed_at().plus(seconds(900)));
    assert_eq!(verified.principal, principal());
    assert_eq!(verified.token_issued_at, None);
}

#[test]
fn padding_behind_a_token_is_tolerated() {
    for extra in ["", "x", "xx"] {
        let url = Login { host: REGIONAL_HOST.into(), ..Login::default() }.url() + extra;
        let message = format!("n,,\x01auth=Bearer {}\x01\x01", URL_SAFE.encode(url));
        assert!(ClaimedLogin::parse(Mechanism::OauthBearer, message.as_bytes()).is_ok());
    }
}

#[test]
fn a_token_url_may_have_an_empty_path_and_any_order() {
    let login = Login { host: REGIONAL_HOST.into(), ..Login::default() };
    let reordered = {
        let url = login.url();
        let (base, query) = url.split_once('?').unwrap();
        let mut parts: Vec<_> = query.split('&').collect();
        parts.reverse();
        format!("{base}?{}", parts.join("&"))
    };
    for url in [
        login.url().replace("/?", "?"),
        reordered,
        login.url().replace("User-Agent=test%2F1", "User-Agent=a+b"),
    ] {
        assert!(verify(&parse_url(&url).unwrap(), &long_term(), signed_at()).is_ok(), "{url}");
    }
}

#[test]
fn parameters_a_signer_adds_and_signs_take_part_in_the_signature() {
    let login = Login { host: REGIONAL_HOST.into(), ..Login::default() };
    let claimed = parse_url(&login.url().replace("X-Amz-Date", "Extra=1&X-Amz-Date")).unwrap();
    assert_eq!(verify(&claimed, &long_term(), signed_at()).unwrap_err(), LoginRejected::SignatureMismatch);
}

#[test]
fn a_fractional_expiry_is_signed_as_text_and_counted_as_time() {
    let login = Login { expires: "600.111".into(), ..Login::default() };
    let verified = check(&login, &long_term(), signed_at()).unwrap();
    assert_eq!(verified.session_lifetime(signed_at()), Duration::from_millis(600_111));
}

#[test]
fn unknown_keys_of_a_payload_are_ignored_and_repeated_ones_refused() {
    let mut payload = Login::default().json();
    payload.insert("new-key".into(), json!({"nested": [1, null]}));
    assert!(verify(&parse_json(&payload).unwrap(), &long_term(), signed_at()).is_ok());
    let text = Value::from(Login::default().json()).to_string();
    let repeated = text.replacen('{', r#"{"host":"localhost","#, 1);
    let parsed = ClaimedLogin::parse(Mechanism::AwsMskIam, repeated.as_bytes());
    assert_eq!(parsed.unwrap_err(), LoginRejected::Malformed);
}

#[test]
fn a_payload_with_a_missing_or_wrong_part_is_malformed() {
    for key in Login::default().json().keys().filter(|key| *key != "user-agent") {
        let mut payload = Login::default().json();
        payload.remove(key);
        assert_eq!(parse_json(&payload).unwrap_err(), LoginRejected::Malformed, "without {key}");
        for wrong in [json!(""), json!(1), json!(null), json!("x y\n")] {
            payload.insert(key.clone(), wrong.clone());
            assert_eq!(parse_json(&payload).unwrap_err(), LoginRejected::Malformed, "{key} = {wrong}");
        }
    }
    for (change, what) in [
        (Login { action: "kafka-cluster:ReadData".into(), ..Login::default() }, "action"),
        (Login { algorithm: "AWS4-ECDSA-P256-SHA256".into(), ..Login::default() }, "algorithm"),
        (Login { service: "kafka".into(), ..Login::default() }, "service"),
        (Login { signed_headers: "host;x-amz-date".into(), ..Login::default() }, "signed headers"),
        (Login { expires: "604801".into(), ..Login::default() }, "expiry"),
        (Login { expires: "0".into(), ..Login::default() }, "no expiry"),
        (Login { host: "a/b".into(), ..Login::default() }, "host"),
    ] {
        assert_eq!(parse_json(&change.json()).unwrap_err(), LoginRejected::Malformed, "{what}");
        assert_eq!(parse_url(&change.url()).unwrap_err(), LoginRejected::Malformed, "{what}");
    }
    assert_eq!(LoginRejected::Malformed.answer("id"), "[id]: Invalid authentication payload");
}

#[test]
fn a_token_url_with_a_wrong_part_is_malformed() {
    let url = Login { host: REGIONAL_HOST.into(), ..Login::default() }.url();
    for wrong in [
        url.replace("https", "http"),
        url.replace("/?", "/x?"),
        url.replace('?', ""),
        url.replace("https://", "https://user@"),
        format!("{url}&Action=kafka-cluster%3AConnect"),
        format!("{url}&User-Agent=again"),
        format!("{url}&a=%zz"),
        format!("{url}&a=%FF"),
        format!("{url}#fragment"),
        url.replace("X-Amz-Signature", "X-Amz-Sig"),
        String::new(),
    ] {
        assert_eq!(parse_url(&wrong).unwrap_err(), LoginRejected::Malformed, "{wrong}");
    }
}

#[test]
fn an_unknown_key_is_named_and_a_temporary_key_misses_its_token() {
    let claimed = parse_json(&Login::default().json()).unwrap();
    assert_eq!(
        claimed.unknown_key().answer("id"),
        format!("[id]: Access denied: unknown access key {KEY_ID}")
    );
    let mut payload = Login::default().json();
    payload.insert("x-amz-credential".into(), "ASIAX/20260102/us-east-1/kafka-cluster/aws4_request".into());
    let claimed = parse_json(&payload).unwrap();
    assert_eq!(claimed.unknown_key(), LoginRejected::SecurityTokenInvalid);
}

#[test]
fn an_inactive_key_is_told_apart_only_behind_a_right_signature() {
    let inactive =
        |secret: &str| KeyMaterial::long_term(SecretKey::new(secret), KeyStatus::Inactive, principal());
    let login = Login::default();
    assert_eq!(
        rejection(&login, &inactive(SECRET), signed_at()),
        "[id]: Access denied: access key is inactive"
    );
    assert_eq!(
        rejection(&login, &inactive("x"), signed_at()),
        "[id]: Access denied: signature does not match"
    );
}

#[test]
fn anything_changed_behind_the_signature_is_a_mismatch() {
    for (key, value) in [
        ("host", "localhost"),
        ("x-amz-expires", "899"),
        ("x-amz-date", "20260102T030406Z"),
        ("x-amz-signature", "0000000000000000000000000000000000000000000000000000000000000000"),
    ] {
        let mut payload = Login::default().json();
        payload.insert(key.into(), value.into());
        let verdict = verify(&parse_json(&payload).unwrap(), &long_term(), signed_at());
        assert_eq!(verdict.unwrap_err(), LoginRejected::SignatureMismatch, "{key}");
    }
}

#[test]
fn a_host_must_be_a_name_of_the_cluster_or_of_the_region() {
    let login = Login { host: "evil.example".into(), ..Login::default() };
    let expected = "[id]: Access denied: host evil.example is not a name of this cluster";
    assert_eq!(rejection(&login, &long_term(), signed_at()), expected);
    for host in
        [HOST, "kafka.eu-west-1.amazonaws.com", "kafka.us-east-1.amazonaws.com.cn", "kafka.amazonaws.com"]
    {
        let claimed = parse_url(&Login { host: host.into(), ..Login::default() }.url()).unwrap();
        let verdict = verify(&claimed, &long_term(), signed_at()).unwrap_err();
        assert_eq!(verdict, LoginRejected::HostNotOfCluster { host: host.into() });
    }
    let elsewhere = LoginRejected::HostOfAnotherCluster { host: "b1".into() };
    assert_eq!(elsewhere.answer("id"), "[id]: Access denied: host b1 belongs to another cluster");
}

#[test]
fn a_login_signed_for_another_region_says_which() {
    let login = Login { region: "eu-west-1".into(), ..Login::default() };
    let expected = "[id]: Access denied: signed for region eu-west-1, but this cluster is in us-east-1";
    assert_eq!(rejection(&login, &long_term(), signed_at()), expected);
}

#[test]
fn an_expired_signature_shows_both_times() {
    let now = signed_at().plus(seconds(901));
    let expected =
        "[id]: Access denied: signature expired at 2026-01-02T03:19:05Z, server time is 2026-01-02T03:19:06Z";
    assert_eq!(rejection(&Login::default(), &long_term(), now), expected);
    let long = Login { expires: "604800".into(), ..Login::default() };
    assert_eq!(rejection(&long, &long_term(), now), expected);
    let short = Login { expires: "300".into(), ..Login::default() };
    let verdict = check(&short, &long_term(), signed_at().plus(seconds(301)));
    assert!(matches!(verdict, Err(LoginRejected::SignatureExpired { .. })));
}

#[test]
fn a_login_from_the_future_is_refused_beyond_five_minutes() {
    let login = Login::default();
    assert!(check(&login, &long_term(), signed_at().minus(seconds(300))).is_ok());
    assert_eq!(
        rejection(&login, &long_term(), signed_at().minus(Duration::from_millis(300_001))),
        "[id]: Access denied: signed in the future; check the clock"
    );
}

#[test]
fn a_security_token_must_be_the_one_of_the_key() {
    let end = signed_at().plus(seconds(600));
    let with_token = Login { token: Some("FwoGtoken/with+chars==".into()), ..Login::default() };
    let invalid = "[id]: Access denied: security token is invalid or belongs to another key";
    assert!(check(&with_token, &temporary(KEY_ID, end), signed_at()).is_ok());
    assert_eq!(rejection(&with_token, &temporary("ASIAOTHER", end), signed_at()), invalid);
    assert_eq!(rejection(&with_token, &long_term(), signed_at()), invalid);
    assert_eq!(rejection(&Login::default(), &temporary(KEY_ID, end), signed_at()), invalid);
}

#[test]
fn an_expired_session_is_told_apart_only_behind_a_right_signature() {
    let login = Login { token: Some("t".into()), ..Login::default() };
    let expired = temporary(KEY_ID, signed_at());
    assert_eq!(rejection(&login, &expired, signed_at()), "[id]: Access denied: security token expired");
    let mut payload = login.json();
    payload.insert("x-amz-expires".into(), "899".into());
    let verdict = verify(&parse_json(&payload).unwrap(), &expired, signed_at());
    assert_eq!(verdict.unwrap_err(), LoginRejected::SignatureMismatch);
}

#[test]
fn a_session_ends_at_the_first_of_signature_credential_and_server_limit() {
    let now = signed_at().plus(seconds(100));
    let lifetime =
        |login: &Login, material: &KeyMaterial| check(login, material, now).unwrap().session_lifetime(now);
    let long = Login { expires: "86400".into(), ..Login::default() };
    assert_eq!(lifetime(&long, &long_term()), seconds(800));
    let short = Login { expires: "300".into(), ..Login::default() };
    assert_eq!(lifetime(&short, &long_term()), seconds(200));
    let with_token = Login { token: Some("t".into()), ..Login::default() };
    assert_eq!(lifetime(&with_token, &temporary(KEY_ID, now.plus(seconds(70)))), seconds(70));
    let accepts_host = |_: &str| true;
    let expectations =
        LoginExpectations { region: REGION, accepts_host: &accepts_host, session_max: seconds(60) };
    let claimed = parse_json(&long.json()).unwrap();
    let verified = claimed.verify(&long_term(), &expectations, now).unwrap();
    assert_eq!(verified.session_lifetime(now), seconds(60));
}

#[test]
fn under_five_seconds_of_life_is_too_short() {
    let login = Login::default();
    assert!(check(&login, &long_term(), signed_at().plus(seconds(895))).is_ok());
    let late = signed_at().plus(Duration::from_millis(895_001));
    assert_eq!(rejection(&login, &long_term(), late), "[id]: Session too short");
    assert_eq!(rejection(&login, &long_term(), signed_at().plus(seconds(900))), "[id]: Session too short");
    let with_token = Login { token: Some("t".into()), ..Login::default() };
    let ending = temporary(KEY_ID, signed_at().plus(seconds(4)));
    assert_eq!(rejection(&with_token, &ending, signed_at()), "[id]: Session too short");
}

#[test]
fn a_session_of_this_service_logs_in_with_its_sealed_token() {
    let master_key = MasterKey::new(&[5; 32]);
    let claims = SessionClaims {
        access_key_id: KEY_ID.into(),
        secret: SecretKey::new(SECRET),
        principal: principal(),
        issued_at: signed_at(),
        expires_at: signed_at().plus(seconds(600)),
        policy: None,
    };
    let token = session_token::seal(&master_key, &claims, &mut |bytes| bytes.fill(1));
    let login = Login { host: REGIONAL_HOST.into(), token: Some(token), ..Login::default() };
    let claimed = parse_url(&login.url()).unwrap();
    let material = claimed.open_session(&master_key).unwrap().unwrap();
    let verified = verify(&claimed, &material, signed_at()).unwrap();
    assert_eq!(verified.session_lifetime(signed_at()), seconds(600));
    assert_eq!(verified.token_issued_at, Some(signed_at()));
    let other = claimed.open_session(&MasterKey::new(&[6; 32])).unwrap_err();
    assert_eq!(other, LoginRejected::SecurityTokenInvalid);
    assert!(parse_json(&Login::default().json()).unwrap().open_session(&master_key).unwrap().is_none());
}

#[test]
fn a_proven_login_that_may_not_connect_is_told_why() {
    let cluster = "arn:aws:kafka:us-east-1:123456789012:cluster/demo/u-s2";
    let verified = check(&Login::default(), &long_term(), signed_at()).unwrap();
    let context = RequestContext::new(&verified.principal, signed_at());
    let request = AccessRequest { action: KafkaAction::Connect.name(), resource: cluster, context: &context };
    let denied = evaluate(PolicySources::default(), &request).into_result(&request).unwrap_err();
    assert_eq!(
        LoginRejected::from(denied).answer("id"),
        format!(
            "[id]: Access denied: kafka-cluster:Connect on {cluster} denied for arn:aws:iam::123456789012:user/alice: \
             no statement allows it"
        )
    );
}

#[test]
fn a_success_answer_is_two_keys_of_json_or_nothing() {
    let answer = Mechanism::AwsMskIam.success_answer("r-1");
    assert_eq!(answer, r#"{"version":"2020_10_22","request-id":"r-1"}"#);
    assert_eq!(Mechanism::OauthBearer.success_answer("r-1"), "");
}

#[test]
fn a_fingerprint_names_a_signature_without_holding_it() {
    let claimed = parse_json(&Login::default().json()).unwrap();
    let other = parse_json(&Login { expires: "800".into(), ..Login::default() }.json()).unwrap();
    assert_eq!(claimed.signature_fingerprint().len(), 16);
    assert_ne!(claimed.signature_fingerprint(), other.signature_fingerprint());
    assert!(!Login::default().signature().contains(&claimed.signature_fingerprint()));
}

#[test]
fn bytes_from_strangers_never_panic_and_never_log_in() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % bound as u64).unwrap()
    };
    let json = Value::from(Login::default().json()).to_string().into_bytes();
    let url = Login { host: REGIONAL_HOST.into(), ..Login::default() }.url();
    let envelope = format!("n,,\x01auth=Bearer {}\x01\x01", URL_SAFE_NO_PAD.encode(&url)).into_bytes();
    let mutate = |original: &[u8], next: &mut dyn FnMut(usize) -> usize| {
        let mut bytes = original.to_vec();
        for _ in 0..=next(4) {
            let position = next(bytes.len());
            match next(4) {
                0 => bytes[position] = next(256) as u8,
                1 => bytes[position] ^= 1 << next(8),
                2 => bytes.truncate(position.max(1)),
                _ => bytes.insert(position, b"\"{}[],:%&=\x01+\\\xff"[next(14)]),
            }
        }
        bytes
    };
    for _ in 0..20_000 {
        for (mechanism, original) in [(Mechanism::AwsMskIam, &json), (Mechanism::OauthBearer, &envelope)] {
            if let Ok(claimed) = ClaimedLogin::parse(mechanism, &mutate(original, &mut next)) {
                let _ = verify(&claimed, &long_term(), signed_at());
            }
        }
        if let Ok(url) = String::from_utf8(mutate(url.as_bytes(), &mut next)) {
            let _ = parse_url(&url).map(|claimed| verify(&claimed, &long_term(), signed_at()));
        }
        let random: Vec<u8> = (0..next(200)).map(|_| next(256) as u8).collect();
        assert!(ClaimedLogin::parse(Mechanism::AwsMskIam, &random).is_err());
        assert!(ClaimedLogin::parse(Mechanism::OauthBearer, &random).is_err());
    }
}
