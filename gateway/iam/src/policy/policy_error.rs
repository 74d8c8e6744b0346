//! Why a policy document was not accepted, in the words of IAM.

/// Why a policy document was refused. `Display` is the message to answer with; [`PolicyError::code`] the error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than allowed.
    #[error("Cannot exceed quota for PolicySize: {0}")]
    TooLong(usize),
    /// Not JSON, a repeated key, an unknown element, or an element of the wrong type.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// A Version other than the two there are.
    #[error("Policy document must be version 2012-10-17 or 2008-10-17.")]
    Version,
    /// No Statement, or an empty list of them.
    #[error("Syntax errors in policy: it must contain at least one statement.")]
    NoStatement,
    /// Two statements with one Sid.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    SidRepeated,
    /// A Sid that is too long or has characters that are not allowed.
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
    )]
    SidInvalid,
    /// Effect is missing or neither Allow nor Deny.
    #[error("Policy statement must contain an Effect of Allow or Deny.")]
    Effect,
    /// Neither Action nor NotAction, both, or an empty list.
    #[error("Policy statement must contain actions.")]
    Actions,
    /// An action without `service:` in front.
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: {0}")]
    ActionVendor(String),
    /// Neither Resource nor NotResource, both, or an empty list.
    #[error("Policy statement must contain resources.")]
    Resources,
    /// A trust policy names a resource.
    #[error("Has prohibited field Resource")]
    ResourceProhibited,
    /// A resource that is neither `*` nor an ARN.
    #[error("Resource {0} must be in ARN format or \"*\".")]
    ResourceFormat(String),
    /// A policy variable without an end, a name or a well-formed default.
    #[error("Policy variable is malformed: {0}")]
    Variable(String),
    /// An identity policy names a principal.
    #[error("Policy document should not specify a principal.")]
    PrincipalProhibited,
    /// A resource policy names none.
    #[error("Missing required field Principal")]
    PrincipalMissing,
    /// A principal that cannot be.
    #[error("Invalid principal in policy: {0}")]
    PrincipalInvalid(String),
    /// An operator that does not exist.
    #[error("Invalid Condition type : {0}.")]
    ConditionOperator(String),
    /// A value its operator cannot compare.
    #[error("Invalid value in Condition: {0}")]
    ConditionValue(String),
}

impl PolicyError {
    /// IAM's error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "LimitExceeded",
            _ => "MalformedPolicyDocument",
        }
    }
}
