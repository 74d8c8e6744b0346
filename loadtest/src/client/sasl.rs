//! Signs in: SASL `AWS_MSK_IAM` (a signed JSON object) and `OAUTHBEARER` (a signed URL).
//!
//! Both carry a SigV4 *presigned* GET for the action `kafka-cluster:Connect`. AWS_MSK_IAM signs the host that was
//! dialled, OAUTHBEARER the fixed regional name (<https://github.com/aws/aws-msk-iam-auth>).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;

const ACTION: &str = "kafka-cluster:Connect";
const USER_AGENT: &str = concat!("headgate-loadtest/", env!("CARGO_PKG_VERSION"));
/// What the public signers ask for, and the most that a session of MSK lives by one signature.
const EXPIRES: Duration = Duration::from_mins(15);

/// The SASL mechanisms of MSK's IAM access control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mechanism {
    /// A signed JSON object.
    AwsMskIam,
    /// A signed URL as a bearer token.
    Oauthbearer,
}

impl Mechanism {
    /// The name in SaslHandshake.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::AwsMskIam => "AWS_MSK_IAM",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// Keys, and how they are presented.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
    pub(crate) region: String,
    pub(crate) mechanism: Mechanism,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Login({}, secret hidden)", self.access_key_id)
    }
}

impl Login {
    /// The bytes for SaslAuthenticate, signed at `now` for the host that was dialled.
    pub(crate) fn token(&self, host: &str, now: SystemTime) -> anyhow::Result<Vec<u8>> {
        match self.mechanism {
            Mechanism::AwsMskIam => self.signed_json(host, now),
            Mechanism::Oauthbearer => {
                Ok(format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", self.signed_url(now)?).into_bytes())
            }
        }
    }

    fn signed_json(&self, host: &str, now: SystemTime) -> anyhow::Result<Vec<u8>> {
        let mut fields: BTreeMap<String, String> = self
            .presign(host, now)?
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        fields.insert("version".to_owned(), "2020_10_22".to_owned());
        fields.insert("host".to_owned(), host.to_owned());
        fields.insert("user-agent".to_owned(), USER_AGENT.to_owned());
        fields.insert("action".to_owned(), ACTION.to_owned());
        Ok(serde_json::to_vec(&fields)?)
    }

    fn signed_url(&self, now: SystemTime) -> anyhow::Result<String> {
        let host = format!("kafka.{}.amazonaws.com", self.region);
        let mut url = format!("https://{host}/?Action={}", percent_encode(ACTION));
        for (name, value) in self.presign(&host, now)? {
            write!(url, "&{name}={}", percent_encode(&value))?;
        }
        // The user agent is added after signing, as the public signers do.
        write!(url, "&User-Agent={}", percent_encode(USER_AGENT))?;
        Ok(URL_SAFE_NO_PAD.encode(url))
    }

    /// The query parameters that SigV4 adds to the URL, not yet encoded.
    fn presign(&self, host: &str, now: SystemTime) -> anyhow::Result<Vec<(&'static str, String)>> {
        let credentials = Credentials::new(
            &self.access_key_id,
            &self.secret_access_key,
            self.session_token.clone(),
            None,
            "loadtest",
        );
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(EXPIRES);
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("kafka-cluster")
            .time(now)
            .settings(settings)
            .build()?
            .into();
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("https://{bracketed}/?Action={}", percent_encode(ACTION));
        let headers = [("host", host)];
        let request = SignableRequest::new("GET", url, headers.into_iter(), SignableBody::Bytes(&[]))
            .context("the host cannot be signed")?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let (_, parameters) = instructions.into_parts();
        Ok(parameters.into_iter().map(|(name, value)| (name, value.into_owned())).collect())
    }
}

/// RFC 3986: everything but unreserved characters becomes %XX.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Utc};

    use super::*;

    const HOST: &str = "boot-abcd1234.c1.kafka-serverless.us-east-1.amazonaws.com";

    fn login(mechanism: Mechanism, with_token: bool) -> Login {
        Login {
            access_key_id: "AKIDEXAMPLE00000001".to_owned(),
            secret_access_key: "secretEXAMPLEkey/0001+abc".to_owned(),
            session_token: with_token.then(|| "FwoGtoken/with+chars==".to_owned()),
            region: "us-east-1".to_owned(),
            mechanism,
        }
    }

    fn now() -> SystemTime {
        Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("a valid time").into()
    }

    fn json(with_token: bool) -> BTreeMap<String, String> {
        let token = login(Mechanism::AwsMskIam, with_token).token(HOST, now()).expect("signs");
        serde_json::from_slice(&token).expect("an object of strings")
    }

    fn url(with_token: bool) -> String {
        let token = login(Mechanism::Oauthbearer, with_token).token(HOST, now()).expect("signs");
        let token = String::from_utf8(token).expect("text");
        let bearer =
            token.strip_prefix("n,,\u{1}auth=Bearer ").and_then(|rest| rest.strip_suffix("\u{1}\u{1}"));
        let url = URL_SAFE_NO_PAD.decode(bearer.expect("the RFC 7628 envelope")).expect("base64url");
        String::from_utf8(url).expect("text")
    }

    // Signatures cross-checked against botocore's SigV4QueryAuth with the clock frozen at 20260102T030405Z.
    #[test]
    fn aws_msk_iam_signs_the_dialled_host() {
        let signature = |with_token| json(with_token).remove("x-amz-signature").expect("a signature");
        assert_eq!(signature(true), "fe2d17fc1a841581544e511c8065b94345c74da8e8976815b119b122b040fbfb");
        assert_eq!(signature(false), "bacc8e12b7f8a1ddfc9847ba45c009759bf7fdadbed91251767b637674f2f1bc");
    }

    #[test]
    fn the_json_holds_exactly_the_fields_of_version_2020_10_22() {
        let fields = json(true);
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "action",
                "host",
                "user-agent",
                "version",
                "x-amz-algorithm",
                "x-amz-credential",
                "x-amz-date",
                "x-amz-expires",
                "x-amz-security-token",
                "x-amz-signature",
                "x-amz-signedheaders",
            ]
        );
        assert_eq!(fields["version"], "2020_10_22");
        assert_eq!(
            fields["x-amz-credential"],
            "AKIDEXAMPLE00000001/20260102/us-east-1/kafka-cluster/aws4_request"
        );
        assert_eq!(fields["x-amz-date"], "20260102T030405Z");
        assert_eq!(fields["x-amz-expires"], "900");
        assert_eq!(fields["x-amz-security-token"], "FwoGtoken/with+chars==");
        assert_eq!(fields["x-amz-signedheaders"], "host");
        assert_eq!(json(false).len(), 10);
    }

    #[test]
    fn oauthbearer_signs_the_regional_name() {
        let with_token = url(true);
        assert!(
            with_token.starts_with("https://kafka.us-east-1.amazonaws.com/?Action=kafka-cluster%3AConnect&")
        );
        assert!(with_token.contains("X-Amz-Security-Token=FwoGtoken%2Fwith%2Bchars%3D%3D"));
        assert!(
            with_token.contains(
                "&X-Amz-Signature=3fa6f2d625f02754bd67db347a35e64d87d85aa446227014fc037dc8dda9290a"
            )
        );
        assert!(
            url(false).contains(
                "&X-Amz-Signature=42d136fd80caf9670e60c7528eb9cf37f014e691574ad732b954fa8825ce6e8a"
            )
        );
        assert!(with_token.ends_with("&User-Agent=headgate-loadtest%2F0.1.0"));
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", login(Mechanism::AwsMskIam, true)).contains("secretEXAMPLE"));
    }
}
