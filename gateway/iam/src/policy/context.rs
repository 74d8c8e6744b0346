//! The facts of a request that policies may ask for, and which kinds of fact a decision read.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;

use super::arn_pattern::ResourceName;
use super::condition_key::ConditionKey;
use crate::principal::{Principal, PrincipalKind};
use crate::unix_time::UnixTime;

/// The facts of a connection or control call. Build it once with [`RequestContext::new`], set what is known.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The server's time: `aws:CurrentTime`, `aws:EpochTime`.
    pub now: UnixTime,
    /// Where from: `aws:SourceIp`. IPv4 addresses written as IPv6 count as IPv4.
    pub source_ip: Option<IpAddr>,
    /// Over TLS: `aws:SecureTransport`.
    pub secure_transport: bool,
    /// What the client says it is: `aws:UserAgent`. Not proven by any signature.
    pub user_agent: Option<&'a str>,
    /// When the temporary credential was issued: `aws:TokenIssueTime`. Absent for long-term keys.
    pub token_issued_at: Option<UnixTime>,
    /// Our region: `aws:RequestedRegion`.
    pub region: Option<&'a str>,
    /// Tags of the principal: `aws:PrincipalTag/<name>`.
    pub principal_tags: &'a [(String, String)],
    /// Tags of the resource (of the cluster; topics and groups have none): `aws:ResourceTag/<name>`.
    pub resource_tags: &'a [(String, String)],
    /// Tags in the request: `aws:RequestTag/<name>`, and their names as `aws:TagKeys`.
    pub request_tags: &'a [(String, String)],
    /// Keys of single services, by lower-case name; a name that comes more than once has several values.
    pub service_keys: &'a [(&'a str, &'a str)],
}

impl<'a> RequestContext<'a> {
    /// A context that knows who and when, and nothing else.
    pub fn new(principal: &'a Principal, now: UnixTime) -> Self {
        Self {
            principal,
            now,
            source_ip: None,
            secure_transport: false,
            user_agent: None,
            token_issued_at: None,
            region: None,
            principal_tags: &[],
            resource_tags: &[],
            request_tags: &[],
            service_keys: &[],
        }
    }
}

/// One question to the policies: may this principal do `action` on `resource`?
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// `service:Name`, compared without regard to case.
    pub action: &'a str,
    /// The resource's ARN, or `*` for actions without one.
    pub resource: &'a str,
    /// Everything else.
    pub context: &'a RequestContext<'a>,
}

/// A fact, in the form it is held; each family of operators asks for the form it compares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Address(IpAddr),
    /// A time that reads as ISO 8601.
    Time(UnixTime),
    /// A time that reads as seconds since the epoch.
    Epoch(UnixTime),
}

impl<'a> Value<'a> {
    pub(crate) fn to_text(&self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Address(address) => Cow::Owned(address.to_string()),
            Self::Time(time) => Cow::Owned(time.to_string()),
            Self::Epoch(time) => Cow::Owned(time.as_seconds().to_string()),
        }
    }

    pub(crate) fn to_time(&self) -> Option<UnixTime> {
        match self {
            Self::Time(time) | Self::Epoch(time) => Some(*time),
            Self::Text(text) => UnixTime::parse_condition_date(text),
            Self::Bool(_) | Self::Address(_) => None,
        }
    }

    pub(crate) fn to_number(&self) -> Option<f64> {
        match self {
            Self::Time(time) | Self::Epoch(time) => Some(time.as_seconds() as f64),
            Self::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Bool(_) | Self::Address(_) => None,
        }
    }

    pub(crate) fn to_address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.to_canonical()),
            Self::Text(text) => text.parse().ok().map(|address: IpAddr| address.to_canonical()),
            _ => None,
        }
    }
}

/// The values of a key that is present.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values<'a> {
    One(Value<'a>),
    Many(Vec<Value<'a>>),
}

impl<'a> Values<'a> {
    pub(crate) fn as_slice(&self) -> &[Value<'a>] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// A reading of a context: gives out values and notes which kinds were asked for.
pub(crate) struct Reading<'a> {
    context: &'a RequestContext<'a>,
    resource: ResourceName<'a>,
    time: Cell<bool>,
    source: Cell<bool>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(context: &'a RequestContext<'a>, resource: &'a str) -> Self {
        Self {
            context,
            resource: ResourceName::new(resource),
            time: Cell::new(false),
            source: Cell::new(false),
        }
    }

    pub(crate) fn principal(&self) -> &'a Principal {
        self.context.principal
    }

    /// The resource asked about, or the prefix of those asked about.
    pub(crate) fn resource(&self) -> &ResourceName<'a> {
        &self.resource
    }

    /// Whether the decision so far depends on the clock.
    pub(crate) fn read_time(&self) -> bool {
        self.time.get()
    }

    /// Whether it depends on the connection, the session, tags or the request's own keys.
    pub(crate) fn read_source(&self) -> bool {
        self.source.get()
    }

    /// The values of a key; `None` if it is absent from this request.
    pub(crate) fn values(&self, key: &ConditionKey) -> Option<Values<'a>> {
        use ConditionKey as Key;
        self.note(key);
        let context = self.context;
        let text = |text: &'a str| Some(Values::One(Value::Text(Cow::Borrowed(text))));
        match key {
            Key::CurrentTime => Some(Values::One(Value::Time(context.now))),
            Key::EpochTime => Some(Values::One(Value::Epoch(context.now))),
            // There is no multi-factor sign-in. As in AWS, temporary credentials say so and others say nothing.
            Key::MultiFactorAuthPresent => context.token_issued_at.map(|_| Values::One(Value::Bool(false))),
            Key::PrincipalAccount => text(context.principal.account().as_str()),
            Key::PrincipalArn => text(context.principal.policy_arn()),
            Key::PrincipalType => text(match context.principal.kind() {
                PrincipalKind::Root => "Account",
                PrincipalKind::User { .. } => "User",
                PrincipalKind::RoleSession { .. } => "AssumedRole",
            }),
            Key::RequestedRegion => context.region.and_then(text),
            Key::ResourceAccount => self.resource.owner().and_then(text),
            Key::SecureTransport => Some(Values::One(Value::Bool(context.secure_transport))),
            Key::SourceIp => {
                context.source_ip.map(|address| Values::One(Value::Address(address.to_canonical())))
            }
            Key::TokenIssueTime => context.token_issued_at.map(|time| Values::One(Value::Time(time))),
            Key::UserAgent => context.user_agent.and_then(text),
            Key::UserId => Some(context.principal.id()).filter(|id| !id.is_empty()).and_then(text),
            Key::UserName => match context.principal.kind() {
                PrincipalKind::User { name } => text(name),
                PrincipalKind::Root | PrincipalKind::RoleSession { .. } => None,
            },
            Key::PrincipalTag(name) => tag(context.principal_tags, name).and_then(text),
            Key::ResourceTag(name) => tag(context.resource_tags, name).and_then(text),
            Key::RequestTag(name) => tag(context.request_tags, name).and_then(text),
            Key::TagKeys => several(context.request_tags.iter().map(|(name, _)| name.as_str())),
            Key::Other(name) => several(
                context.service_keys.iter().filter(|(key, _)| **key == **name).map(|(_, value)| *value),
            ),
        }
    }

    /// The text of a key with exactly one value: what a policy variable may stand for.
    pub(crate) fn single_text(&self, key: &ConditionKey) -> Option<Cow<'a, str>> {
        match self.values(key)?.as_slice() {
            [value] => Some(value.to_text()),
            _ => None,
        }
    }

    fn note(&self, key: &ConditionKey) {
        use ConditionKey as Key;
        match key {
            Key::CurrentTime | Key::EpochTime => self.time.set(true),
            Key::MultiFactorAuthPresent
            | Key::PrincipalTag(_)
            | Key::RequestTag(_)
            | Key::ResourceTag(_)
            | Key::SecureTransport
            | Key::SourceIp
            | Key::TagKeys
            | Key::TokenIssueTime
            | Key::UserAgent
            | Key::Other(_) => self.source.set(true),
            Key::PrincipalAccount
            | Key::PrincipalArn
            | Key::PrincipalType
            | Key::RequestedRegion
            | Key::ResourceAccount
            | Key::UserId
            | Key::UserName => {}
        }
    }
}

fn tag<'a>(tags: &'a [(String, String)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn several<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Values<'a>> {
    let mut values: Vec<_> = texts.map(|text| Value::Text(Cow::Borrowed(text))).collect();
    match values.len() {
        0 => None,
        1 => values.pop().map(Values::One),
        _ => Some(Values::Many(values)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arn::AccountId;

    /// Runs `test` with a reading of a plain user's request.
    pub(crate) fn with_context(test: impl FnOnce(&Reading<'_>)) {
        let account = AccountId::parse("123456789012").unwrap();
        let arn = "arn:aws:iam::123456789012:user/alice".to_owned();
        let principal = Principal::user(account, arn, "alice".to_owned(), "AIDAALICE".to_owned());
        let tags = [("star".to_owned(), "*".to_owned())];
        let mut context = RequestContext::new(&principal, UnixTime::from_seconds(1_767_323_045));
        context.principal_tags = &tags;
        test(&Reading::new(&context, "*"));
    }

    #[test]
    fn only_keys_of_the_clock_and_the_source_are_noted() {
        with_context(|reading| {
            for key in ["aws:username", "aws:PrincipalArn", "aws:PrincipalType"] {
                assert!(reading.values(&ConditionKey::parse(key)).is_some(), "{key}");
            }
            assert!(!reading.read_time() && !reading.read_source());
        });
        for key in ["AWS:SOURCEIP", "aws:PrincipalTag/star", "aws:ResourceTag/none"] {
            with_context(|reading| {
                reading.values(&ConditionKey::parse(key));
                assert!(!reading.read_time() && reading.read_source(), "{key}");
            });
        }
        with_context(|reading| {
            reading.values(&ConditionKey::parse("aws:currenttime"));
            assert!(reading.read_time());
        });
    }
}
