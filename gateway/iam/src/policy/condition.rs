//! One condition of a statement: operator, key and the values it is compared with.

use super::address::Network;
use super::arn_pattern::{ArnPattern, ResourceName};
use super::condition_key::ConditionKey;
use super::context::{Reading, Value};
use super::operator::{Comparison, Operator, Order, Quantifier};
use super::pattern::{Match, Pattern, Syntax};
use super::policy_error::PolicyError;
use crate::json::Json;
use crate::unix_time::UnixTime;

/// A compiled condition. It holds if one of its values compares (for negated operators: if none does).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    operator: Operator,
    key: ConditionKey,
    operand: Operand,
}

/// The policy's values, in the form their operator compares.
#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Texts(Vec<Pattern>),
    Numbers(Order, Vec<f64>),
    Dates(Order, Vec<UnixTime>),
    Bools(Vec<bool>),
    /// Base64 text, compared as it stands.
    Binaries(Vec<String>),
    Networks(Vec<Network>),
    Arns(Vec<ArnPattern>),
    /// Whether the key must be absent.
    Null(Vec<bool>),
}

/// A statement's whole Condition block: every entry must hold.
pub(crate) fn parse_conditions(json: &Json, variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let Json::Object(operators) = json else {
        return Err(PolicyError::Syntax);
    };
    let mut conditions = Vec::new();
    for (name, keys) in operators {
        let operator = Operator::parse(name).ok_or_else(|| PolicyError::ConditionOperator(name.clone()))?;
        let Json::Object(keys) = keys else {
            return Err(PolicyError::Syntax);
        };
        for (key, values) in keys {
            let texts = value_texts(values)?;
            let operand = Operand::compile(operator.comparison, &texts, variables)?;
            conditions.push(Condition { operator, key: ConditionKey::parse(key), operand });
        }
    }
    Ok(conditions)
}

/// A value may be a string, a boolean or a number, or a list of these.
fn value_texts(values: &Json) -> Result<Vec<String>, PolicyError> {
    let text = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Null | Json::List(_) | Json::Object(_) => Err(PolicyError::Syntax),
    };
    match values {
        Json::List(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

impl Operand {
    fn compile(comparison: Comparison, texts: &[String], variables: bool) -> Result<Self, PolicyError> {
        fn all<T>(texts: &[String], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, PolicyError> {
            texts
                .iter()
                .map(|text| parse(text).ok_or_else(|| PolicyError::ConditionValue(text.clone())))
                .collect()
        }
        Ok(match comparison {
            Comparison::Text { wildcards, case } => {
                Self::Texts(all(texts, |text| Pattern::compile(text, Syntax { wildcards, variables }, case))?)
            }
            Comparison::Number(order) => Self::Numbers(
                order,
                all(texts, |text| text.parse().ok().filter(|number: &f64| number.is_finite()))?,
            ),
            Comparison::Date(order) => Self::Dates(order, all(texts, UnixTime::parse_condition_date)?),
            Comparison::Bool => Self::Bools(all(texts, parse_bool)?),
            Comparison::Binary => Self::Binaries(texts.to_vec()),
            Comparison::Address => Self::Networks(all(texts, Network::parse)?),
            Comparison::Arn => Self::Arns(all(texts, |text| ArnPattern::compile(text, variables))?),
            Comparison::Null => Self::Null(all(texts, parse_bool)?),
        })
    }

    /// Whether any of the policy's values compares with `value`.
    fn compares(&self, value: &Value<'_>, reading: &Reading<'_>) -> bool {
        match self {
            Self::Texts(patterns) => {
                let text = value.to_text();
                patterns.iter().any(|pattern| pattern.matches(&text, reading) == Match::Yes)
            }
            Self::Numbers(order, numbers) => {
                value.to_number().is_some_and(|left| numbers.iter().any(|right| order.holds(&left, right)))
            }
            Self::Dates(order, dates) => {
                value.to_time().is_some_and(|left| dates.iter().any(|right| order.holds(&left, right)))
            }
            Self::Bools(bools) => parse_bool(&value.to_text()).is_some_and(|value| bools.contains(&value)),
            Self::Binaries(binaries) => binaries.iter().any(|binary| *binary == value.to_text()),
            Self::Networks(networks) => value
                .to_address()
                .is_some_and(|address| networks.iter().any(|network| network.contains(address))),
            Self::Arns(patterns) => {
                let text = value.to_text();
                let name = ResourceName::new(&text);
                name.is_arn() && patterns.iter().any(|pattern| pattern.matches(&name, reading) == Match::Yes)
            }
            // Null asks for the key, not for its value.
            Self::Null(_) => false,
        }
    }
}

impl Condition {
    /// Whether the condition holds for the request being read.
    pub(crate) fn holds(&self, reading: &Reading<'_>) -> bool {
        let values = reading.values(&self.key);
        if let Operand::Null(absent) = &self.operand {
            return absent.contains(&values.is_none());
        }
        let Some(values) = values else {
            return self.holds_without_value();
        };
        let mut passes = values
            .as_slice()
            .iter()
            .map(|value| self.operand.compares(value, reading) != self.operator.negated);
        match self.operator.quantifier {
            Some(Quantifier::ForAllValues) => passes.all(|pass| pass),
            Some(Quantifier::ForAnyValue) => passes.any(|pass| pass),
            // A key with several values under a plain operator: a negated operator means "none of them".
            None if self.operator.negated => passes.all(|pass| pass),
            None => passes.any(|pass| pass),
        }
    }

    fn holds_without_value(&self) -> bool {
        self.operator.if_exists
            || match self.operator.quantifier {
                Some(Quantifier::ForAllValues) => true,
                Some(Quantifier::ForAnyValue) => false,
                None => self.operator.negated,
            }
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}
