//! Prices are data: a price book is a small JSON file, and a bill carries the one it was made with.
//!
//! ```json
//! {
//!   "v": 1,
//!   "name": "msk-serverless us-east-1 list", "edition": "2026-11-21", "currency": "USD",
//!   "cluster_hour_nano_usd": 750000000, "partition_hour_nano_usd": 1500000,
//!   "data_in_gb_nano_usd": 100000000, "data_out_gb_nano_usd": 50000000, "storage_gb_month_nano_usd": 100000000
//! }
//! ```

use serde::{Deserialize, Serialize};

use crate::amount::Dimension;
use crate::money::NanoUsd;

/// The format of price books this version reads and writes.
const FORMAT: u32 = 1;

/// The highest price accepted: a billion dollars per unit. More is a mistake of units, and could overflow sums.
const PRICE_MAX: NanoUsd = NanoUsd::new(1_000_000_000_000_000_000);

/// What each dimension costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBook {
    v: u32,
    /// What the book is called on bills.
    pub name: String,
    /// Which edition of it: prices change, old bills must stay explainable.
    pub edition: String,
    currency: Currency,
    /// Per cluster and hour.
    #[serde(rename = "cluster_hour_nano_usd")]
    pub cluster_hour: NanoUsd,
    /// Per partition and hour.
    #[serde(rename = "partition_hour_nano_usd")]
    pub partition_hour: NanoUsd,
    /// Per GB (2^30 bytes) committed.
    #[serde(rename = "data_in_gb_nano_usd")]
    pub data_in_gb: NanoUsd,
    /// Per GB handed to clients.
    #[serde(rename = "data_out_gb_nano_usd")]
    pub data_out_gb: NanoUsd,
    /// Per GB stored for a calendar month.
    #[serde(rename = "storage_gb_month_nano_usd")]
    pub storage_gb_month: NanoUsd,
}

/// The only currency: amounts are nano-dollars throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Currency {
    Usd,
}

/// Why a text is no price book. The operator corrects the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPriceBook {
    /// Not JSON, or fields are missing, unknown or of another type.
    #[error("not a price book: {reason}")]
    NotABook {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A format this version does not know.
    #[error("price book format {found} found, {FORMAT} supported")]
    Format {
        /// The format number of the file.
        found: u64,
    },
    /// A price that must be a mistake of units.
    #[error("the price of {dimension:?} is {price} USD, more than a billion")]
    TooHigh {
        /// Of what.
        dimension: Dimension,
        /// The price.
        price: NanoUsd,
    },
}

impl Default for PriceBook {
    /// The list prices of MSK Serverless in us-east-1.
    fn default() -> Self {
        Self {
            v: FORMAT,
            name: "msk-serverless us-east-1 list".to_owned(),
            edition: "2026-11-21".to_owned(),
            currency: Currency::Usd,
            cluster_hour: NanoUsd::new(750_000_000),
            partition_hour: NanoUsd::new(1_500_000),
            data_in_gb: NanoUsd::new(100_000_000),
            data_out_gb: NanoUsd::new(50_000_000),
            storage_gb_month: NanoUsd::new(100_000_000),
        }
    }
}

impl PriceBook {
    /// Reads a book from JSON.
    pub fn parse(json: &str) -> Result<Self, InvalidPriceBook> {
        let not_a_book = |error: serde_json::Error| InvalidPriceBook::NotABook { reason: error.to_string() };
        // The format first: a later one may have fields that would otherwise be reported as mistakes.
        let Header { v: found } = serde_json::from_str(json).map_err(not_a_book)?;
        if found != u64::from(FORMAT) {
            return Err(InvalidPriceBook::Format { found });
        }
        let book: Self = serde_json::from_str(json).map_err(not_a_book)?;
        for dimension in Dimension::ALL {
            let price = book.price(dimension);
            if price > PRICE_MAX {
                return Err(InvalidPriceBook::TooHigh { dimension, price });
            }
        }
        Ok(book)
    }

    /// The JSON form, as [`PriceBook::parse`] reads it.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a price book holds nothing that JSON cannot express")
    }

    /// The same book with another price of one dimension.
    #[must_use]
    pub fn with_price(mut self, dimension: Dimension, price: NanoUsd) -> Self {
        *match dimension {
            Dimension::ClusterHours => &mut self.cluster_hour,
            Dimension::PartitionHours => &mut self.partition_hour,
            Dimension::DataIn => &mut self.data_in_gb,
            Dimension::DataOut => &mut self.data_out_gb,
            Dimension::Storage => &mut self.storage_gb_month,
        } = price;
        self
    }

    /// The price of one unit: an hour, a GB or a GB-month.
    pub const fn price(&self, dimension: Dimension) -> NanoUsd {
        match dimension {
            Dimension::ClusterHours => self.cluster_hour,
            Dimension::PartitionHours => self.partition_hour,
            Dimension::DataIn => self.data_in_gb,
            Dimension::DataOut => self.data_out_gb,
            Dimension::Storage => self.storage_gb_month,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    v: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(field: &str, value: &str) -> String {
        let json = PriceBook::default().to_json();
        let (before, rest) = json.split_once(&format!("\"{field}\": ")).expect("the field is there");
        let end = rest.find([',', '\n']).expect("a line ends");
        format!("{before}\"{field}\": {value}{}", &rest[end..])
    }

    #[test]
    fn a_book_reads_back_as_it_was_written() {
        let book = PriceBook::default();
        assert_eq!(PriceBook::parse(&book.to_json()), Ok(book));
    }

    #[test]
    fn the_default_is_the_list_price_of_msk_serverless() {
        let prices = Dimension::ALL.map(|dimension| PriceBook::default().price(dimension).to_string());
        assert_eq!(prices, ["0.750000000", "0.001500000", "0.100000000", "0.050000000", "0.100000000"]);
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        assert_eq!(PriceBook::parse(r#"{"v":2,"tiers":[]}"#), Err(InvalidPriceBook::Format { found: 2 }));
    }

    #[test]
    fn what_is_not_a_book_is_refused_with_the_reason() {
        let cases = [
            (String::from("{"), "EOF"),
            (String::from(r#"{"v":1}"#), "missing field"),
            (with("cluster_hour_nano_usd", "0.75"), "floating point"),
            (with("cluster_hour_nano_usd", "-1"), "invalid value"),
            (with("currency", "\"EUR\""), "unknown variant"),
            (PriceBook::default().to_json().replacen("data_in_gb", "data_inn_gb", 1), "unknown field"),
        ];
        for (json, expected) in cases {
            let refused = PriceBook::parse(&json).expect_err("not a book").to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_price_beyond_reason_is_refused() {
        let refused = PriceBook::parse(&with("storage_gb_month_nano_usd", "1000000000000000001"));
        let price = NanoUsd::new(1_000_000_000_000_000_001);
        assert_eq!(refused, Err(InvalidPriceBook::TooHigh { dimension: Dimension::Storage, price }));
    }
}
