//! Money in whole nano-dollars, and the one rounding rule.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Nano-dollars of a dollar.
pub const NANO_PER_USD: u128 = 1_000_000_000;

/// An amount or a price in billionths of a US dollar. Never negative; corrections are rows of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NanoUsd(u128);

/// Only prices are ever read, and none comes near 2^64. Read as `u64`, `0.75` is refused as a floating-point number; read
/// as `u128`, serde_json calls it a missing comma.
impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|raw| Self(raw.into()))
    }
}

impl NanoUsd {
    /// Wraps a number of nano-dollars.
    pub const fn new(raw: u128) -> Self {
        Self(raw)
    }
    /// The number of nano-dollars.
    pub const fn get(self) -> u128 {
        self.0
    }
    /// The sum; `None` beyond 2^128.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

/// Dollars with all nine decimals, e.g. `0.750000000`: what is shown adds up as what is stored does.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / NANO_PER_USD, self.0 % NANO_PER_USD)
    }
}

/// `numerator / denominator`, rounded half to even, as IEEE 754 and accountants do: ties do not drift upwards.
///
/// `denominator` must not be 0.
pub fn divide_half_even(numerator: u128, denominator: u128) -> u128 {
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    // Compared without doubling the remainder, which could overflow.
    let above = remainder.cmp(&(denominator - remainder));
    match above {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
    }
}

/// `numerator / denominator` as a decimal number with `digits` decimals, rounded half to even.
///
/// `denominator` must be between 1 and 2^96, `digits` at most 9, so that nothing overflows.
pub fn decimal(numerator: u128, denominator: u128, digits: u32) -> String {
    let scale = 10u128.pow(digits);
    let fraction = divide_half_even(numerator % denominator * scale, denominator);
    // The fraction may have been rounded up to a whole. Its parity decides ties as that of the whole number would,
    // because `scale` is even; without decimals the whole is divided at once.
    if digits == 0 {
        return divide_half_even(numerator, denominator).to_string();
    }
    let whole = numerator / denominator + fraction / scale;
    format!("{whole}.{:0width$}", fraction % scale, width = digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_even_neighbour_and_the_rest_to_the_nearest() {
        for (numerator, denominator, expected) in [
            (1, 2, 0),
            (3, 2, 2),
            (5, 2, 2),
            (7, 2, 4),
            (1, 3, 0),
            (2, 3, 1),
            (9, 10, 1),
            (0, 7, 0),
            (21, 7, 3),
        ] {
            assert_eq!(divide_half_even(numerator, denominator), expected, "{numerator}/{denominator}");
        }
        assert_eq!(divide_half_even(u128::MAX, u128::MAX), 1);
        assert_eq!(divide_half_even(u128::MAX - 1, u128::MAX), 1);
    }

    #[test]
    fn dollars_show_all_nine_decimals() {
        assert_eq!(NanoUsd::new(750_000_000).to_string(), "0.750000000");
        assert_eq!(NanoUsd::new(1).to_string(), "0.000000001");
        assert_eq!(NanoUsd::new(12_345_678_901).to_string(), "12.345678901");
    }

    #[test]
    fn decimals_are_rounded_half_to_even_and_carry() {
        assert_eq!(decimal(1, 3, 6), "0.333333");
        assert_eq!(decimal(2, 3, 6), "0.666667");
        assert_eq!(decimal(5, 2, 0), "2");
        assert_eq!(decimal(7, 2, 0), "4");
        assert_eq!(decimal(1_999_999, 1_000_000, 3), "2.000");
        assert_eq!(decimal(1_500, 1_000_000, 3), "0.002");
        assert_eq!(decimal(2_500, 1_000_000, 3), "0.002");
        assert_eq!(decimal(90_000, 3_600_000, 6), "0.025000");
    }
}
