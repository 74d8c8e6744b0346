//! SASL as Kafka carries it: SaslHandshake names a mechanism, SaslAuthenticate (or, after handshake version 0, a bare frame)
//! carries the login; later the same again on the open connection (KIP-368). Answers are those of `gateway/PROTOCOL.md` §7.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use headgate_iam::login::Mechanism;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::{Call, Malformed, WalkedBody, decode, message, respond};
use crate::connection::Response;
use crate::error_code;
use crate::refusal::Refusal;

/// How long a refusal is held back, so that guessing is slow and a client that retries at once does no harm.
pub(crate) const REFUSAL_DELAY: Duration = Duration::from_millis(100);

/// Where an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// No mechanism is agreed on.
    NotBegun,
    /// The next SaslAuthenticate carries the login.
    Login(Mechanism),
    /// The next frame is the login itself (handshake version 0).
    RawLogin(Mechanism),
    /// The client asked for another mechanism than the one it first came with; its login will be refused with these two.
    ChangedMechanism {
        /// What it asks for now.
        wanted: Mechanism,
        /// What it came with.
        first: Mechanism,
    },
}

/// A handshake's outcome.
pub(crate) struct Handshake {
    pub(crate) response: Response,
    /// `None`: the mechanism is not offered, and the connection ends after the response.
    pub(crate) exchange: Option<Exchange>,
}

/// Answers a handshake. `first` is the mechanism of a connection that authenticates again.
pub(crate) fn handshake(
    call: &Call,
    body: WalkedBody,
    first: Option<Mechanism>,
) -> Result<Handshake, Malformed> {
    let request: SaslHandshakeRequest = decode(body)?;
    let wanted = Mechanism::from_name(&request.mechanism);
    let code = match wanted {
        Some(_) => error_code::NONE,
        None => error_code::of_refusal(Refusal::UnsupportedSaslMechanism),
    };
    let offered = [Mechanism::AwsMskIam, Mechanism::OauthBearer];
    let response = SaslHandshakeResponse::default()
        .with_error_code(code)
        .with_mechanisms(offered.map(|mechanism| StrBytes::from_static_str(mechanism.name())).to_vec());
    let exchange = wanted.map(|wanted| match first {
        Some(first) if first != wanted => Exchange::ChangedMechanism { wanted, first },
        _ if call.version == 0 => Exchange::RawLogin(wanted),
        _ => Exchange::Login(wanted),
    });
    Ok(Handshake { response: respond(call, &response)?, exchange })
}

/// The login that a SaslAuthenticate carries.
pub(crate) fn login_message(body: WalkedBody) -> Result<Bytes, Malformed> {
    let request: SaslAuthenticateRequest = decode(body)?;
    Ok(request.auth_bytes)
}

/// The answer to a login that succeeded.
pub(crate) fn accepted(call: &Call, message: &str, lifetime: Duration) -> Result<Response, Malformed> {
    let mut response =
        SaslAuthenticateResponse::default().with_auth_bytes(Bytes::copy_from_slice(message.as_bytes()));
    if call.version >= 1 {
        response.session_lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    }
    respond(call, &response)
}

/// The answer to a login that was refused. `text` is for the client.
pub(crate) fn refused(call: &Call, text: &str) -> Result<Response, Malformed> {
    let response = SaslAuthenticateResponse::default()
        .with_error_code(error_code::of_refusal(Refusal::AuthenticationFailed))
        .with_error_message(Some(message(text)));
    respond(call, &response)
}

/// SaslAuthenticate out of its order.
pub(crate) fn out_of_order(call: &Call) -> Result<Response, Malformed> {
    const TEXT: &str = "SaslAuthenticate request received without a SaslHandshake before it";
    let response = SaslAuthenticateResponse::default()
        .with_error_code(error_code::of_refusal(Refusal::IllegalSaslState))
        .with_error_message(Some(StrBytes::from_static_str(TEXT)));
    respond(call, &response)
}

/// The bare frame that answers a bare login: only success has one.
pub(crate) fn raw_accepted(message: &str) -> Response {
    let mut frame = BytesMut::with_capacity(4 + message.len());
    frame.put_i32(message.len() as i32);
    frame.put_slice(message.as_bytes());
    Response::whole(frame.freeze())
}

/// Kafka's text for a re-authentication under another mechanism.
pub(crate) fn changed_mechanism(wanted: Mechanism, first: Mechanism) -> String {
    let (wanted, first) = (wanted.name(), first.name());
    format!(
        "SASL mechanism '{wanted}' requested by client is not supported for re-authentication of mechanism '{first}'"
    )
}

/// Kafka's text for a re-authentication as another principal.
pub(crate) fn changed_principal(first: &str, now: &str) -> String {
    format!("Cannot change principals during re-authentication from IAM.{first}: IAM.{now}")
}
