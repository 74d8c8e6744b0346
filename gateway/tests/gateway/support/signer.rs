//! Signs logins as the clients do.

use headgate_iam::{BodyHash, SecretKey, SigningKey, UnixTime};

/// What a login is made of; tests change one thing and see what happens.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) host: String,
    pub(crate) region: String,
    pub(crate) at: UnixTime,
    pub(crate) expires: String,
    pub(crate) security_token: Option<String>,
}

impl Login {
    /// The payload of AWS_MSK_IAM.
    pub(crate) fn msk_iam(&self) -> Vec<u8> {
        let mut fields = vec![
            ("version", "2020_10_22".to_owned()),
            ("host", self.host.clone()),
            ("user-agent", "test".to_owned()),
            ("action", "kafka-cluster:Connect".to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", self.credential()),
            ("x-amz-date", self.at.to_amz_date()),
            ("x-amz-expires", self.expires.clone()),
            ("x-amz-signedheaders", "host".to_owned()),
            ("x-amz-signature", self.signature(&self.host)),
        ];
        fields.extend(self.security_token.clone().map(|token| ("x-amz-security-token", token)));
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    }

    /// The payload of OAUTHBEARER.
    pub(crate) fn oauth_bearer(&self) -> Vec<u8> {
        let host = format!("kafka.{}.amazonaws.com", self.region);
        let url = format!(
            "https://{host}/?{}&X-Amz-Signature={}&User-Agent=test",
            self.query(),
            self.signature(&host)
        );
        [b"n,,\x01auth=Bearer ", base64url(url.as_bytes()).as_bytes(), b"\x01\x01"].concat()
    }

    fn credential(&self) -> String {
        format!("{}/{}", self.access_key_id, self.scope())
    }

    fn scope(&self) -> String {
        format!("{}/{}/kafka-cluster/aws4_request", &self.at.to_amz_date()[..8], self.region)
    }

    fn query(&self) -> String {
        let token =
            self.security_token.as_deref().map(|token| format!("&X-Amz-Security-Token={}", encoded(token)));
        format!(
            "Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={}\
             &X-Amz-Expires={}{}&X-Amz-SignedHeaders=host",
            encoded(&self.credential()),
            self.at.to_amz_date(),
            self.expires,
            token.unwrap_or_default(),
        )
    }

    fn signature(&self, host: &str) -> String {
        let body = BodyHash::of(b"");
        let request = format!("GET\n/\n{}\nhost:{host}\n\nhost\n{}", self.query(), body.to_hex());
        let date = self.at.to_amz_date();
        let hash = BodyHash::of(request.as_bytes()).to_hex();
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hash}", self.scope());
        let secret = SecretKey::new(self.secret.as_str());
        SigningKey::derive(&secret, self.at, &self.region, "kafka-cluster").sign(&to_sign)
    }
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        (0..=group.len())
            .map(|at| char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]))
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
