//! Rating: what the use of one dimension in one hour costs.
//!
//! Integers only. The one rounding is here: an hourly line item (one partition or cluster, one dimension, one hour) is
//! rounded half to even to a nano-dollar. All sums are sums of such items, so every total equals the sum of its parts,
//! however a bill is grouped and wherever a period is split.

use crate::amount::{Amount, Beyond, Dimension, GB_BYTES};
use crate::money::{NanoUsd, divide_half_even};
use crate::period::{HOUR_MS, Hour};
use crate::price::PriceBook;

/// Rates `quantity` (milliseconds, bytes or byte-milliseconds) of `dimension`, used in `hour`.
pub fn rate(dimension: Dimension, quantity: u128, hour: Hour, prices: &PriceBook) -> Result<Amount, Beyond> {
    let hour_ms = u128::from(HOUR_MS);
    let priced_unit = match dimension {
        Dimension::ClusterHours | Dimension::PartitionHours => hour_ms,
        Dimension::DataIn | Dimension::DataOut => GB_BYTES,
        Dimension::Storage => GB_BYTES * hour_ms * u128::from(hour.hours_of_month()),
    };
    let price = prices.price(dimension).get();
    let cost = divide_half_even(quantity.checked_mul(price).ok_or(Beyond)?, priced_unit);
    match dimension {
        Dimension::Storage => Amount::stored(quantity, hour.hours_of_month(), NanoUsd::new(cost)),
        _ => Ok(Amount::new(quantity, NanoUsd::new(cost))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T00:00Z, in a month of 720 hours.
    const NOVEMBER: Hour = Hour::new(498_672);

    fn cost(dimension: Dimension, quantity: u128) -> u128 {
        let amount = rate(dimension, quantity, NOVEMBER, &PriceBook::default()).expect("small");
        assert_eq!(amount.quantity, quantity);
        amount.cost.get()
    }

    #[test]
    fn whole_units_cost_the_list_price() {
        let hour = u128::from(HOUR_MS);
        assert_eq!(cost(Dimension::ClusterHours, hour), 750_000_000);
        assert_eq!(cost(Dimension::PartitionHours, hour), 1_500_000);
        assert_eq!(cost(Dimension::DataIn, GB_BYTES), 100_000_000);
        assert_eq!(cost(Dimension::DataOut, GB_BYTES), 50_000_000);
        assert_eq!(NOVEMBER.hours_of_month(), 720);
        assert_eq!(cost(Dimension::Storage, GB_BYTES * hour * 720), 100_000_000);
    }

    #[test]
    fn parts_of_a_unit_are_rounded_half_to_even() {
        // 0.75 USD × 1 ms ÷ 3,600,000 ms = 208.33 nano-USD.
        assert_eq!(cost(Dimension::ClusterHours, 1), 208);
        // 100,000,000 ÷ 2^30 = 0.093 nano-USD a byte; 5 bytes are 0.466, 6 are 0.559.
        assert_eq!(cost(Dimension::DataIn, 5), 0);
        assert_eq!(cost(Dimension::DataIn, 6), 1);
        let half = PriceBook::default().with_price(Dimension::DataIn, NanoUsd::new(1));
        let ties = [1, 3, 5].map(|halves| {
            rate(Dimension::DataIn, halves * GB_BYTES / 2, NOVEMBER, &half).expect("small").cost.get()
        });
        assert_eq!(ties, [0, 2, 2]);
    }

    #[test]
    fn a_gb_hour_costs_more_in_a_shorter_month() {
        let gb_hour = GB_BYTES * u128::from(HOUR_MS);
        let in_month = |from: &str| {
            let now = headgate_metadata::id::TimestampMs::new(0);
            let period = crate::period::Period::parse(Some(from), Some("2030-01-01"), now).expect("a period");
            rate(Dimension::Storage, gb_hour, period.from(), &PriceBook::default()).expect("small").cost.get()
        };
        assert_eq!(in_month("2026-02-01"), 148_810);
        assert_eq!(in_month("2028-02-01"), 143_678);
        assert_eq!(in_month("2026-11-01"), 138_889);
        assert_eq!(in_month("2026-12-01"), 134_409);
    }

    #[test]
    fn a_quantity_beyond_measure_is_refused_not_wrapped() {
        for dimension in Dimension::ALL {
            assert_eq!(rate(dimension, u128::MAX, NOVEMBER, &PriceBook::default()), Err(Beyond));
        }
    }
}
