//! Names of users, groups, roles and policies: what IAM lets them be.

use crate::error::ApiError;

/// The longest user name.
pub(crate) const USER_NAME_MAX: usize = 64;
/// The longest group name.
pub(crate) const GROUP_NAME_MAX: usize = 128;
/// The longest role name.
pub(crate) const ROLE_NAME_MAX: usize = 64;
/// The longest policy name.
pub(crate) const POLICY_NAME_MAX: usize = 128;

/// Letters, digits and `_+=,.@-`, within the length; `parameter` is named where it is not.
pub(crate) fn checked(name: &str, parameter: &str, length_max: usize) -> Result<String, ApiError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if plain && (1..=length_max).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    let message = format!(
        "The specified value for {parameter} is invalid. It must have 1 to {length_max} characters and contain only \
         alphanumeric characters and/or the following: +=,.@_-"
    );
    Err(ApiError::parameter(parameter, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_iams() {
        for name in ["a", "ann@example.com", "A_b+c=d,e.f-g", &"a".repeat(64)] {
            assert!(checked(name, "userName", USER_NAME_MAX).is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
            assert!(checked(name, "userName", USER_NAME_MAX).is_err(), "{name}");
        }
    }
}
