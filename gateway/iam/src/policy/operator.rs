//! Names of condition operators: `[ForAllValues:|ForAnyValue:]<comparison>[IfExists]`.

use super::pattern::Case;

/// How two numbers or two times compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    pub(crate) fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// What an operator compares, without its negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Text { wildcards: bool, case: Case },
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

/// How an operator meets keys with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// Every value of the request must pass; none at all passes.
    ForAllValues,
    /// At least one value of the request must pass; none at all fails.
    ForAnyValue,
}

/// A condition operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) comparison: Comparison,
    pub(crate) negated: bool,
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) if_exists: bool,
}

impl Operator {
    /// Names are case-insensitive. `None` for an unknown operator, and for `Null` with a suffix or prefix.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let (quantifier, rest) = match lower.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("foranyvalue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some(_) => return None,
            None => (None, lower.as_str()),
        };
        let (rest, if_exists) = match rest.strip_suffix("ifexists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (comparison, negated) = comparison(rest)?;
        if comparison == Comparison::Null && (if_exists || quantifier.is_some()) {
            return None;
        }
        Some(Self { comparison, negated, quantifier, if_exists })
    }
}

fn comparison(name: &str) -> Option<(Comparison, bool)> {
    let text = |wildcards, case| Comparison::Text { wildcards, case };
    Some(match name {
        "stringequals" => (text(false, Case::Sensitive), false),
        "stringnotequals" => (text(false, Case::Sensitive), true),
        "stringequalsignorecase" => (text(false, Case::Insensitive), false),
        "stringnotequalsignorecase" => (text(false, Case::Insensitive), true),
        "stringlike" => (text(true, Case::Sensitive), false),
        "stringnotlike" => (text(true, Case::Sensitive), true),
        "bool" => (Comparison::Bool, false),
        "binaryequals" => (Comparison::Binary, false),
        "ipaddress" => (Comparison::Address, false),
        "notipaddress" => (Comparison::Address, true),
        "arnequals" | "arnlike" => (Comparison::Arn, false),
        "arnnotequals" | "arnnotlike" => (Comparison::Arn, true),
        "null" => (Comparison::Null, false),
        name => {
            if let Some(order) = name.strip_prefix("numeric") {
                let (order, negated) = order_named(order)?;
                (Comparison::Number(order), negated)
            } else {
                let (order, negated) = order_named(name.strip_prefix("date")?)?;
                (Comparison::Date(order), negated)
            }
        }
    })
}

fn order_named(name: &str) -> Option<(Order, bool)> {
    Some(match name {
        "equals" => (Order::Equal, false),
        "notequals" => (Order::Equal, true),
        "lessthan" => (Order::Less, false),
        "lessthanequals" => (Order::LessOrEqual, false),
        "greaterthan" => (Order::Greater, false),
        "greaterthanequals" => (Order::GreaterOrEqual, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_operator_is_known_with_suffix_and_prefix() {
        for name in [
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
            "Bool",
            "BinaryEquals",
            "IpAddress",
            "NotIpAddress",
            "ArnEquals",
            "ArnLike",
            "ArnNotEquals",
            "ArnNotLike",
        ] {
            assert!(Operator::parse(name).is_some(), "{name}");
            assert!(Operator::parse(&format!("{name}IfExists")).unwrap().if_exists, "{name}");
            assert!(
                Operator::parse(&format!("ForAnyValue:{name}IfExists")).unwrap().quantifier.is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn unknown_operators_and_dressed_up_nulls_are_refused() {
        assert!(Operator::parse("Null").is_some());
        for name in
            ["", "String", "StringEqual", "NullIfExists", "ForAllValues:Null", "ForSome:Bool", "NotBool"]
        {
            assert_eq!(Operator::parse(name), None, "{name}");
        }
    }
}
