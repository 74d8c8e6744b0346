//! Logging in again on an open connection (KIP-368): same mechanism, same principal, else Kafka's own texts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headgate_iam::{Mechanism, UnixTime};
use kafka_protocol::messages::ApiKey;
use tokio::time::sleep;

use super::Answer;
use crate::api::table::Answering;
use crate::api::{Call, Malformed, WalkedBody};
use crate::login::{LoggedIn, LoginContext, LoginFailed, log_in};
use crate::sasl::{self, Exchange};
use crate::session::Session;

/// How a connection stands with its login.
pub(crate) struct Reauthentication(Arc<Standing>);

struct Standing {
    /// `None` on the plaintext listener, where nobody logs in.
    login: Mutex<Option<Login>>,
    context: LoginContext,
}

#[derive(Clone, Copy)]
struct Login {
    mechanism: Mechanism,
    expires_at: UnixTime,
    exchange: Exchange,
}

impl Reauthentication {
    pub(crate) fn new(login: Option<(Mechanism, UnixTime)>, context: LoginContext) -> Self {
        let login = login.map(|(mechanism, expires_at)| Login {
            mechanism,
            expires_at,
            exchange: Exchange::NotBegun,
        });
        Self(Arc::new(Standing { login: Mutex::new(login), context }))
    }

    /// Whether the client should have authenticated again before now.
    pub(crate) fn is_expired(&self, now: UnixTime) -> bool {
        self.0.current().is_some_and(|login| now >= login.expires_at)
    }

    /// The client is kept from sending for so long: it may authenticate so much later.
    pub(crate) fn put_off(&self, by: Duration) {
        if let Some(login) = self.0.current() {
            self.0.set(Login { expires_at: login.expires_at.plus(by), ..login });
        }
    }

    /// Whether the next frame is a bare login (after handshake version 0).
    pub(crate) fn awaits_raw_login(&self) -> bool {
        self.0.current().is_some_and(|login| matches!(login.exchange, Exchange::RawLogin(_)))
    }

    /// Answers SaslHandshake or SaslAuthenticate.
    pub(crate) fn answer(
        &self,
        session: Arc<Session>,
        key: ApiKey,
        call: Call,
        body: WalkedBody,
    ) -> Answering {
        let standing = Arc::clone(&self.0);
        Box::pin(async move {
            let Some(login) = standing.current() else {
                return Ok(Answer::Close("SASL request on a listener without SASL"));
            };
            match key {
                ApiKey::SaslHandshake => standing.handshake(login, &call, body),
                _ => standing.authenticate(login, &session, &call, body).await,
            }
        })
    }

    /// Takes a bare login.
    pub(crate) async fn raw_login(&self, session: &Session, message: &[u8]) -> Answer {
        let Some(login) = self.0.current() else {
            return Answer::Close("SASL frame on a listener without SASL");
        };
        match self.0.log_in(login, session, message).await {
            Ok((logged_in, _)) => Answer::Respond(sasl::raw_accepted(&logged_in.answer)),
            Err(_) => Answer::Close("re-authentication refused"),
        }
    }
}

impl Standing {
    fn current(&self) -> Option<Login> {
        *self.login.lock().expect("nobody panics while holding the login")
    }

    fn set(&self, login: Login) {
        *self.login.lock().expect("nobody panics while holding the login") = Some(login);
    }

    fn handshake(&self, login: Login, call: &Call, body: WalkedBody) -> Result<Answer, Malformed> {
        let handshake = sasl::handshake(call, body, Some(login.mechanism))?;
        Ok(match handshake.exchange {
            Some(exchange) => {
                self.set(Login { exchange, ..login });
                Answer::Respond(handshake.response)
            }
            None => Answer::RespondThenClose(handshake.response),
        })
    }

    async fn authenticate(
        &self,
        login: Login,
        session: &Session,
        call: &Call,
        body: WalkedBody,
    ) -> Result<Answer, Malformed> {
        let refuse = |text: &str| Ok(Answer::RespondThenClose(sasl::refused(call, text)?));
        match login.exchange {
            Exchange::Login(_) => {}
            Exchange::ChangedMechanism { wanted, first } => {
                sleep(sasl::REFUSAL_DELAY).await;
                return refuse(&sasl::changed_mechanism(wanted, first));
            }
            Exchange::NotBegun | Exchange::RawLogin(_) => {
                return Ok(Answer::RespondThenClose(sasl::out_of_order(call)?));
            }
        }
        let message = sasl::login_message(body)?;
        match self.log_in(login, session, &message).await {
            Ok((logged_in, lifetime)) => {
                Ok(Answer::Respond(sasl::accepted(call, &logged_in.answer, lifetime)?))
            }
            Err(Some(text)) => refuse(&text),
            Err(None) => Ok(Answer::Close("re-authentication could not be checked")),
        }
    }

    /// Proves a login and that it is by the same principal on the same cluster. An error carries the text for the client,
    /// after the delay; none means that nothing could be told.
    async fn log_in(
        &self,
        login: Login,
        session: &Session,
        message: &[u8],
    ) -> Result<(LoggedIn, Duration), Option<String>> {
        let logged_in = match log_in(&session.shared, &self.context, login.mechanism, message).await {
            Ok(logged_in) => logged_in,
            Err(LoginFailed::Unavailable) => return Err(None),
            Err(LoginFailed::Refused(text)) => {
                sleep(sasl::REFUSAL_DELAY).await;
                return Err(Some(text));
            }
        };
        let first = session.identity();
        if logged_in.identity.arn != first.arn {
            sleep(sasl::REFUSAL_DELAY).await;
            return Err(Some(sasl::changed_principal(&first.arn, &logged_in.identity.arn)));
        }
        session.renew(logged_in.identity.clone());
        // The connection looked at the earlier credential if this one was withdrawn just now.
        if session.revoked().is_some() {
            return Err(None);
        }
        self.set(Login { expires_at: logged_in.expires_at, exchange: Exchange::NotBegun, ..login });
        let lifetime = logged_in.lifetime;
        Ok((logged_in, lifetime))
    }
}
