//! SASL mechanism AWS_MSK_IAM: one JSON object that carries the parts of a presigned URL.
//!
//! Source: aws-msk-iam-auth, README "Details on authentication" and `AWS4SignedPayloadGenerator`.

use crate::json::Json;
use crate::login::{ACTION, ClaimedLogin, LoginRejected, Mechanism};
use crate::sigv4::presigned::{PresignedClaim, PresignedParameters};

/// The only version of the payload there is; also the version of the answer.
const VERSION: &str = "2020_10_22";

/// Parses the client's message. Key order is free, unknown keys are ignored, repeated keys are refused.
pub(crate) fn parse(message: &[u8]) -> Result<ClaimedLogin, LoginRejected> {
    let Some(Json::Object(entries)) = Json::parse(message) else {
        return Err(LoginRejected::Malformed);
    };
    let text = |key: &str| {
        entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_text().ok_or(LoginRejected::Malformed))
            .transpose()
    };
    let required = |key: &str| text(key)?.ok_or(LoginRejected::Malformed);
    let (host, signed_headers) = (required("host")?, required("x-amz-signedheaders")?);
    let parameters = PresignedParameters {
        action: text("action")?,
        algorithm: text("x-amz-algorithm")?,
        credential: text("x-amz-credential")?,
        date: text("x-amz-date")?,
        expires: text("x-amz-expires")?,
        signed_headers: Some(signed_headers),
        security_token: text("x-amz-security-token")?,
        signature: text("x-amz-signature")?,
    };
    if required("version")? != VERSION || parameters.action != Some(ACTION) || signed_headers != "host" {
        return Err(LoginRejected::Malformed);
    }
    // The URL that the client signed holds exactly these parameters; it is never sent.
    let query = [
        ("Action", parameters.action),
        ("X-Amz-Algorithm", parameters.algorithm),
        ("X-Amz-Credential", parameters.credential),
        ("X-Amz-Date", parameters.date),
        ("X-Amz-Expires", parameters.expires),
        ("X-Amz-Security-Token", parameters.security_token),
        ("X-Amz-SignedHeaders", parameters.signed_headers),
    ];
    let query =
        query.iter().filter_map(|(name, value)| value.map(|value| (name.as_bytes(), value.as_bytes())));
    let headers = [("host".to_owned(), host.to_owned())];
    let presigned = PresignedClaim::new(&parameters, &headers, query).ok_or(LoginRejected::Malformed)?;
    ClaimedLogin::new(Mechanism::AwsMskIam, host, text("user-agent")?, presigned)
}

/// The answer to a login that succeeded: a JSON object of exactly these two keys, because the Java client refuses
/// any third.
pub fn success_answer(request_id: &str) -> String {
    let request_id = serde_json::Value::from(request_id);
    format!(r#"{{"version":"{VERSION}","request-id":{request_id}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_answer_has_exactly_two_keys() {
        assert_eq!(success_answer("4-2"), r#"{"version":"2020_10_22","request-id":"4-2"}"#);
        assert!(Json::parse(success_answer("\"\n\\").as_bytes()).is_some());
    }
}
