//! Condition keys: the names under which policies ask for facts of a request.

/// A key, recognised once when its policy is compiled. Names are case-insensitive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConditionKey {
    CurrentTime,
    EpochTime,
    MultiFactorAuthPresent,
    PrincipalAccount,
    PrincipalArn,
    /// `aws:PrincipalTag/<name>`.
    PrincipalTag(Box<str>),
    PrincipalType,
    RequestedRegion,
    /// `aws:RequestTag/<name>`.
    RequestTag(Box<str>),
    ResourceAccount,
    /// `aws:ResourceTag/<name>`.
    ResourceTag(Box<str>),
    SecureTransport,
    SourceIp,
    TagKeys,
    TokenIssueTime,
    UserAgent,
    UserId,
    UserName,
    /// A key of a service, such as `kafka:publicAccessEnabled`; in lower case.
    Other(Box<str>),
}

impl ConditionKey {
    /// Every text is a key: one that nobody sets is absent from every request.
    pub(crate) fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        if let Some((family, name)) = lower.split_once('/') {
            match family {
                "aws:principaltag" => return Self::PrincipalTag(name.into()),
                "aws:requesttag" => return Self::RequestTag(name.into()),
                "aws:resourcetag" => return Self::ResourceTag(name.into()),
                _ => {}
            }
        }
        match lower.as_str() {
            "aws:currenttime" => Self::CurrentTime,
            "aws:epochtime" => Self::EpochTime,
            "aws:multifactorauthpresent" => Self::MultiFactorAuthPresent,
            "aws:principalaccount" => Self::PrincipalAccount,
            "aws:principalarn" => Self::PrincipalArn,
            "aws:principaltype" => Self::PrincipalType,
            "aws:requestedregion" => Self::RequestedRegion,
            "aws:resourceaccount" => Self::ResourceAccount,
            "aws:securetransport" => Self::SecureTransport,
            "aws:sourceip" => Self::SourceIp,
            "aws:tagkeys" => Self::TagKeys,
            "aws:tokenissuetime" => Self::TokenIssueTime,
            "aws:useragent" => Self::UserAgent,
            "aws:userid" => Self::UserId,
            "aws:username" => Self::UserName,
            _ => Self::Other(lower.into()),
        }
    }
}
