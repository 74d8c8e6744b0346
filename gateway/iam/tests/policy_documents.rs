//! Which policy documents are accepted, and what is said about the others.

use headgate_iam::{Policy, PolicyError, PolicyKind};

fn identity(document: &str) -> Result<Policy, PolicyError> {
    Policy::parse("p", PolicyKind::Identity, document, 6_144)
}

fn resource(document: &str) -> Result<Policy, PolicyError> {
    Policy::parse("p", PolicyKind::Resource, document, 20_480)
}

fn statement(elements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{{elements}}}]}}"#)
}

#[test]
fn documents_of_every_documented_form_are_accepted() {
    let whole = r#""Sid":"A1","Effect":"Allow","Action":"a:b","Resource":"*""#;
    for document in [
        statement(whole),
        statement(
            r#""Effect":"Deny","NotAction":["a:b","*"],"NotResource":["arn:aws:s3:::x","*"],"Condition":{}"#,
        ),
        statement(r#""Sid":"","Effect":"Allow","Action":"a:b","Resource":"arn:aws:kafka:*""#),
        format!(r#"{{"Statement":{{{whole}}}}}"#),
        format!(r#"{{"Id":"x","Version":"2008-10-17","Statement":[{{{whole}}}]}}"#),
    ] {
        assert!(identity(&document).is_ok(), "{document}: {:?}", identity(&document));
    }
}

#[test]
fn each_defect_of_a_document_has_its_own_message() {
    let ok = r#""Effect":"Allow","Action":"a:b","Resource":"*""#;
    let with_condition = |condition: &str| statement(&format!(r#"{ok},"Condition":{condition}"#));
    for (document, expected) in [
        (String::new(), "Syntax errors in policy."),
        ("[]".into(), "Syntax errors in policy."),
        (statement(&format!(r#"{ok},"Efect":"x""#)), "Syntax errors in policy."),
        (statement(&format!(r#"{ok},"Effect":"Deny""#)), "Syntax errors in policy."),
        (statement(&format!(r#"{ok},"NotAction":"a:b""#)), "Syntax errors in policy."),
        (r#"{"Version":"2012-10-17","Statement":"x"}"#.into(), "Syntax errors in policy."),
        (r#"{"Version":"2012-10-17","Statements":[]}"#.into(), "Syntax errors in policy."),
        (format!(r#"{{"Version":"2020-10-17","Statement":[{{{ok}}}]}}"#), "Policy document must be version"),
        (format!(r#"{{"Version":1,"Statement":[{{{ok}}}]}}"#), "Policy document must be version"),
        (r#"{"Version":"2012-10-17"}"#.into(), "at least one statement"),
        (r#"{"Version":"2012-10-17","Statement":[]}"#.into(), "at least one statement"),
        (format!(r#"{{"Statement":[{{"Sid":"a",{ok}}},{{"Sid":"a",{ok}}}]}}"#), "must be unique"),
        (statement(&format!(r#""Sid":"a b",{ok}"#)), "alpha-numeric"),
        (statement(r#""Action":"a:b","Resource":"*""#), "Effect of Allow or Deny"),
        (statement(r#""Effect":"allow","Action":"a:b","Resource":"*""#), "Effect of Allow or Deny"),
        (statement(r#""Effect":"Allow","Resource":"*""#), "must contain actions"),
        (statement(r#""Effect":"Allow","Action":[],"Resource":"*""#), "must contain actions"),
        (statement(r#""Effect":"Allow","Action":"Connect","Resource":"*""#), "prefaced by a vendor"),
        (statement(r#""Effect":"Allow","Action":"*:Connect","Resource":"*""#), "prefaced by a vendor"),
        (statement(r#""Effect":"Allow","Action":"a:b""#), "must contain resources"),
        (statement(r#""Effect":"Allow","Action":"a:b","Resource":[]"#), "must contain resources"),
        (statement(r#""Effect":"Allow","Action":"a:b","Resource":"topic/x""#), "must be in ARN format"),
        (
            statement(r#""Effect":"Allow","Action":"a:b","Resource":"arn:aws:s3:::${x""#),
            "variable is malformed",
        ),
        (statement(&format!(r#"{ok},"Principal":"*""#)), "should not specify a principal"),
        (with_condition(r#"{"StringIs":{"a":"b"}}"#), "Invalid Condition type : StringIs."),
        (with_condition(r#"{"NullIfExists":{"a":"true"}}"#), "Invalid Condition type"),
        (
            with_condition(r#"{"IpAddress":{"aws:SourceIp":"10.0.0/8"}}"#),
            "Invalid value in Condition: 10.0.0/8",
        ),
        (with_condition(r#"{"NumericEquals":{"a":"x"}}"#), "Invalid value in Condition"),
        (with_condition(r#"{"NumericEquals":{"a":"NaN"}}"#), "Invalid value in Condition"),
        (with_condition(r#"{"DateEquals":{"a":"soon"}}"#), "Invalid value in Condition"),
        (with_condition(r#"{"Bool":{"a":"yes"}}"#), "Invalid value in Condition"),
        (with_condition(r#"{"StringEquals":"x"}"#), "Syntax errors in policy."),
        (with_condition(r#"{"StringEquals":{"a":null}}"#), "Syntax errors in policy."),
        (with_condition("[]"), "Syntax errors in policy."),
    ] {
        let error = identity(&document).unwrap_err();
        assert!(error.to_string().contains(expected), "{document}: {error}");
        assert_eq!(error.code(), "MalformedPolicyDocument");
    }
}

#[test]
fn a_resource_policy_must_name_a_principal_that_can_be() {
    let ok = r#""Effect":"Allow","Action":"a:b","Resource":"*""#;
    let with = |element: &str| resource(&statement(&format!("{ok},{element}")));
    assert!(with(r#""Principal":{"AWS":"123456789012"}"#).is_ok());
    assert!(with(r#""Sid":"any text","Principal":"*""#).is_ok());
    assert_eq!(with(r#""Sid":"a\nb","Principal":"*""#).unwrap_err(), PolicyError::SidInvalid);
    let long = format!(r#""Sid":"{}","Principal":"*""#, "a".repeat(257));
    assert_eq!(with(&long).unwrap_err(), PolicyError::SidInvalid);
    assert_eq!(resource(&statement(ok)).unwrap_err(), PolicyError::PrincipalMissing);
    assert_eq!(with(r#""Principal":{}"#).unwrap_err(), PolicyError::PrincipalMissing);
    assert_eq!(with(r#""Principal":"*","NotPrincipal":"*""#).unwrap_err(), PolicyError::Syntax);
    assert_eq!(with(r#""Principal":["*"]"#).unwrap_err(), PolicyError::Syntax);
    for name in
        ["alice", "12345", "arn:aws:iam::123456789012:user/*", "arn:aws:s3:::x", "arn:aws:iam::1:user/a"]
    {
        let error = with(&format!(r#""Principal":{{"AWS":"{name}"}}"#)).unwrap_err();
        assert_eq!(error, PolicyError::PrincipalInvalid(name.into()), "{name}");
    }
    assert!(matches!(with(r#""Principal":{"Azure":"x"}"#).unwrap_err(), PolicyError::PrincipalInvalid(_)));
    assert!(matches!(with(r#""Principal":"alice""#).unwrap_err(), PolicyError::PrincipalInvalid(_)));
}

#[test]
fn white_space_does_not_count_towards_the_size() {
    let document = statement(r#""Effect":"Allow","Action":"a:b","Resource":"*""#);
    let spaced = document.replace(',', &format!(",{}", " ".repeat(2_000)));
    assert!(Policy::parse("p", PolicyKind::Identity, &spaced, document.len()).is_ok());
    let error = Policy::parse("p", PolicyKind::Identity, &spaced, document.len() - 1).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        ("LimitExceeded", "Cannot exceed quota for PolicySize: 86".into())
    );
    let endless = format!("{document}{}", " ".repeat(200_000));
    assert!(matches!(identity(&endless).unwrap_err(), PolicyError::TooLong(_)));
}

#[test]
fn bytes_from_strangers_never_panic() {
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut next = move |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % bound as u64).unwrap()
    };
    let original: Vec<char> = statement(
        r#""Sid":"S","Effect":"Deny","Action":["a:b*","*"],"NotResource":"arn:aws:s3:::${aws:username, 'x'}/?","Principal":{"AWS":"123456789012"},
        "Condition":{"ForAnyValue:StringLikeIfExists":{"k":["${*}a","é*"]},"DateLessThan":{"aws:CurrentTime":2026},"IpAddress":{"a":"::/0"},"ArnLike":{"b":"arn:aws:*::${c}:d"}}"#,
    )
    .chars()
    .collect();
    assert!(resource(&original.iter().collect::<String>()).is_ok());
    for _ in 0..20_000 {
        let mut characters = original.clone();
        for _ in 0..=next(3) {
            let position = next(characters.len());
            match next(3) {
                0 => {
                    characters[position] =
                        ['"', '{', '}', '[', ']', ',', ':', '$', '*', '0', 'é', '\''][next(12)];
                }
                1 => drop(characters.remove(position)),
                _ => characters.insert(
                    position,
                    ['"', '{', '}', '[', ']', ',', ':', '$', '*', '0', 'é', '\\'][next(12)],
                ),
            }
        }
        let _ = resource(&characters.iter().collect::<String>());
    }
}
