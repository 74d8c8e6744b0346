//! What is billed for: five dimensions, how each is counted, and amounts that add up exactly.

use crate::money::{NanoUsd, decimal};
use crate::period::HOUR_MS;

/// Bytes of a billed GB. MSK's pages do not say which GB they mean; here it is 2^30, and every bill says so.
pub const GB_BYTES: u128 = 1 << 30;

/// The least common multiple of 672, 696, 720 and 744, the hours of a month. Counted in this many parts of a month,
/// every GB-month is a whole number, so that months of different lengths add up exactly.
const MONTH_PARTS: u128 = 9_061_920;

/// What a bill has prices for, after the five dimensions of MSK Serverless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Time a cluster existed; counted in milliseconds, priced per hour.
    ClusterHours,
    /// Time each partition existed; counted in milliseconds, priced per hour.
    PartitionHours,
    /// Bytes of data batches committed; priced per GB.
    DataIn,
    /// Bytes of batches handed to clients; priced per GB.
    DataOut,
    /// Bytes stored over time; counted in byte-milliseconds, priced per GB-month.
    Storage,
}

impl Dimension {
    /// All, in the order of a bill.
    pub const ALL: [Self; 5] =
        [Self::ClusterHours, Self::PartitionHours, Self::DataIn, Self::DataOut, Self::Storage];
}

/// A quantity and what it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// In the unit the dimension is counted in.
    pub quantity: u128,
    /// For [`Dimension::Storage`]: byte-milliseconds × [`MONTH_PARTS`] ÷ hours of their month; else 0.
    month_parts: u128,
    /// What it costs: the sum of its hourly line items, each rounded once.
    pub cost: NanoUsd,
}

/// A sum beyond 2^128: the counters cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is beyond measure")]
pub struct Beyond;

impl Amount {
    pub(crate) const fn new(quantity: u128, cost: NanoUsd) -> Self {
        Self { quantity, month_parts: 0, cost }
    }

    /// Stored bytes of one hour in a month of `hours_of_month`, which is 672, 696, 720 or 744.
    pub(crate) fn stored(byte_ms: u128, hours_of_month: u64, cost: NanoUsd) -> Result<Self, Beyond> {
        let parts = MONTH_PARTS / u128::from(hours_of_month);
        Ok(Self { quantity: byte_ms, month_parts: byte_ms.checked_mul(parts).ok_or(Beyond)?, cost })
    }

    fn plus(&self, other: &Self) -> Result<Self, Beyond> {
        let sum = |one: u128, more: u128| one.checked_add(more).ok_or(Beyond);
        Ok(Self {
            quantity: sum(self.quantity, other.quantity)?,
            month_parts: sum(self.month_parts, other.month_parts)?,
            cost: self.cost.plus(other.cost).ok_or(Beyond)?,
        })
    }
}

/// One amount per dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts([Amount; 5]);

impl Amounts {
    /// The amount of one dimension.
    pub const fn of(&self, dimension: Dimension) -> &Amount {
        &self.0[dimension as usize]
    }

    pub(crate) fn add(&mut self, dimension: Dimension, amount: &Amount) -> Result<(), Beyond> {
        let sum = &mut self.0[dimension as usize];
        *sum = sum.plus(amount)?;
        Ok(())
    }

    /// Adds all amounts of `others`.
    pub fn add_all(&mut self, others: &Self) -> Result<(), Beyond> {
        Dimension::ALL.into_iter().try_for_each(|dimension| self.add(dimension, others.of(dimension)))
    }

    /// What all dimensions cost together.
    pub fn cost(&self) -> Result<NanoUsd, Beyond> {
        let total = Dimension::ALL
            .into_iter()
            .try_fold(NanoUsd::default(), |sum, dimension| sum.plus(self.of(dimension).cost));
        total.ok_or(Beyond)
    }

    /// Hours as a decimal number: cluster-hours or partition-hours to six decimals, rounded half to even.
    pub fn hours(&self, dimension: Dimension) -> String {
        decimal(self.of(dimension).quantity, u128::from(HOUR_MS), 6)
    }
    /// GB in or out as a decimal number to nine decimals, rounded half to even.
    pub fn gb(&self, dimension: Dimension) -> String {
        decimal(self.of(dimension).quantity, GB_BYTES, 9)
    }
    /// Stored byte-hours as a decimal number to six decimals, rounded half to even.
    pub fn stored_byte_hours(&self) -> String {
        decimal(self.of(Dimension::Storage).quantity, u128::from(HOUR_MS), 6)
    }
    /// Stored GB-hours as a decimal number to nine decimals, rounded half to even.
    pub fn stored_gb_hours(&self) -> String {
        decimal(self.of(Dimension::Storage).quantity, GB_BYTES * u128::from(HOUR_MS), 9)
    }
    /// Stored GB-months as a decimal number to nine decimals, rounded half to even: Σ over hours of GB-hours ÷ the hours
    /// of the calendar month the hour lies in.
    pub fn stored_gb_months(&self) -> String {
        let month = GB_BYTES * u128::from(HOUR_MS) * MONTH_PARTS;
        decimal(self.of(Dimension::Storage).month_parts, month, 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_whole_parts_whatever_its_length() {
        for hours in [672, 696, 720, 744] {
            assert_eq!(MONTH_PARTS % hours, 0);
        }
    }

    #[test]
    fn a_gb_stored_through_any_month_is_one_gb_month() {
        for hours in [672, 696, 720, 744] {
            let mut amounts = Amounts::default();
            for _ in 0..hours {
                let hour =
                    Amount::stored(GB_BYTES * u128::from(HOUR_MS), hours, NanoUsd::new(1)).expect("small");
                amounts.add(Dimension::Storage, &hour).expect("small");
            }
            assert_eq!(amounts.stored_gb_months(), "1.000000000");
            assert_eq!(amounts.stored_gb_hours(), format!("{hours}.000000000"));
            assert_eq!(amounts.cost(), Ok(NanoUsd::new(u128::from(hours))));
        }
    }

    #[test]
    fn a_sum_beyond_measure_is_refused_not_wrapped() {
        let mut amounts = Amounts::default();
        let huge = Amount::new(u128::MAX, NanoUsd::default());
        amounts.add(Dimension::DataIn, &huge).expect("the first fits");
        assert_eq!(amounts.add(Dimension::DataIn, &Amount::new(1, NanoUsd::default())), Err(Beyond));
        assert_eq!(Amount::stored(u128::MAX, 720, NanoUsd::default()), Err(Beyond));
    }

    #[test]
    fn quantities_read_as_decimals() {
        let mut amounts = Amounts::default();
        amounts.add(Dimension::ClusterHours, &Amount::new(90_000, NanoUsd::default())).expect("small");
        amounts.add(Dimension::DataIn, &Amount::new(1 << 20, NanoUsd::default())).expect("small");
        assert_eq!(amounts.hours(Dimension::ClusterHours), "0.025000");
        assert_eq!(amounts.gb(Dimension::DataIn), "0.000976562");
        assert_eq!(amounts.stored_byte_hours(), "0.000000");
    }
}
