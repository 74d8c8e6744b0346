//! The bill as JSON.
//!
//! Exact figures are integers: `*_ms`, `bytes_*` and `*_nano_usd` as JSON numbers, `stored_byte_ms` as a string, because
//! it soon passes 2^53, beyond which many readers round numbers. `*_hours`, `gb_*` and `*_gb_months` are decimal numbers
//! rounded half to even, for reading; recompute from the integers. Costs are also given in dollars, as exact decimal strings.
//!
//! ```json
//! {
//!   "v": 1,
//!   "period": {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"},
//!   "as_of": "2026-11-21T09:06:41Z", "provisional": true,
//!   "group_by": "topic", "currency": "USD", "gb_bytes": 1073741824,
//!   "prices": { ... },
//!   "items": [{
//!     "cluster": "abcdefgh", "cluster_name": "demo", "topic": "orders", "topic_id": "…", "partition": 0,
//!     "cluster_ms": 0, "cluster_hours": 0.000000, "partition_ms": 3600000, "partition_hours": 1.000000,
//!     "bytes_in": 1024, "gb_in": 0.000000954, "bytes_out": 0, "gb_out": 0.000000000,
//!     "stored_byte_ms": "3686400000", "stored_byte_hours": 1024.000000, "stored_gb_hours": 0.000000954,
//!     "stored_gb_months": 0.000000001,
//!     "cost_nano_usd": {"cluster_hours": 0, "partition_hours": 1500000, "data_in": 95, "data_out": 0, "storage": 0,
//!                       "total": 1500095},
//!     "cost_usd": "0.001500095"
//!   }],
//!   "total": { the same figures, of everything }
//! }
//! ```
//!
//! Fields that a line has no value for (the topic of a cluster's own line) are left out.

use headgate_metadata::id::PartitionId;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::amount::{Amounts, Beyond, Dimension, GB_BYTES};
use crate::bill::{Bill, GroupBy, Line};
use crate::money::NanoUsd;
use crate::period::text;
use crate::price::PriceBook;

/// The format number of the document.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    v: u32,
    period: Hours,
    as_of: String,
    provisional: bool,
    group_by: &'static str,
    currency: &'static str,
    gb_bytes: u128,
    prices: &'a PriceBook,
    items: Vec<Item<'a>>,
    total: Item<'a>,
}

#[derive(Serialize)]
struct Hours {
    from: String,
    to: String,
}

/// One line, or the total, which has no place.
#[derive(Serialize)]
struct Item<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    cluster_ms: u128,
    cluster_hours: Box<RawValue>,
    partition_ms: u128,
    partition_hours: Box<RawValue>,
    bytes_in: u128,
    gb_in: Box<RawValue>,
    bytes_out: u128,
    gb_out: Box<RawValue>,
    stored_byte_ms: String,
    stored_byte_hours: Box<RawValue>,
    stored_gb_hours: Box<RawValue>,
    stored_gb_months: Box<RawValue>,
    cost_nano_usd: Costs,
    cost_usd: String,
}

#[derive(Serialize)]
struct Costs {
    cluster_hours: NanoUsd,
    partition_hours: NanoUsd,
    data_in: NanoUsd,
    data_out: NanoUsd,
    storage: NanoUsd,
    total: NanoUsd,
}

/// Writes the document, indented.
pub fn render(bill: &Bill, by: GroupBy) -> Result<String, Beyond> {
    let lines = bill.lines(by)?;
    let document = Document {
        v: FORMAT,
        period: Hours { from: text(bill.period.from().start()), to: text(bill.period.to().start()) },
        as_of: text(bill.as_of),
        provisional: bill.provisional,
        group_by: by.name(),
        currency: "USD",
        gb_bytes: GB_BYTES,
        prices: &bill.prices,
        items: lines.iter().map(|line| item_of(bill, line)).collect::<Result<_, _>>()?,
        total: item(&bill.total()?)?,
    };
    let mut json =
        serde_json::to_string_pretty(&document).expect("a bill holds nothing that JSON cannot express");
    json.push('\n');
    Ok(json)
}

fn item_of<'a>(bill: &'a Bill, line: &'a Line) -> Result<Item<'a>, Beyond> {
    let place = line.place;
    let owner = bill.owners.get(&place.cluster);
    Ok(Item {
        cluster: Some(place.cluster.to_string()),
        cluster_name: Some(&line.cluster_name),
        cluster_arn: owner.map(|owner| owner.arn.as_str()),
        account_id: owner.map(|owner| owner.account.to_string()),
        topic: line.topic_name.as_deref(),
        topic_id: place.topic.map(|topic| topic.to_string()),
        partition: place.partition.map(PartitionId::get),
        ..item(&line.amounts)?
    })
}

fn item<'a>(amounts: &Amounts) -> Result<Item<'a>, Beyond> {
    let quantity = |dimension| amounts.of(dimension).quantity;
    let cost = |dimension| amounts.of(dimension).cost;
    let total = amounts.cost()?;
    Ok(Item {
        cluster: None,
        cluster_name: None,
        cluster_arn: None,
        account_id: None,
        topic: None,
        topic_id: None,
        partition: None,
        cluster_ms: quantity(Dimension::ClusterHours),
        cluster_hours: number(amounts.hours(Dimension::ClusterHours)),
        partition_ms: quantity(Dimension::PartitionHours),
        partition_hours: number(amounts.hours(Dimension::PartitionHours)),
        bytes_in: quantity(Dimension::DataIn),
        gb_in: number(amounts.gb(Dimension::DataIn)),
        bytes_out: quantity(Dimension::DataOut),
        gb_out: number(amounts.gb(Dimension::DataOut)),
        stored_byte_ms: quantity(Dimension::Storage).to_string(),
        stored_byte_hours: number(amounts.stored_byte_hours()),
        stored_gb_hours: number(amounts.stored_gb_hours()),
        stored_gb_months: number(amounts.stored_gb_months()),
        cost_nano_usd: Costs {
            cluster_hours: cost(Dimension::ClusterHours),
            partition_hours: cost(Dimension::PartitionHours),
            data_in: cost(Dimension::DataIn),
            data_out: cost(Dimension::DataOut),
            storage: cost(Dimension::Storage),
            total,
        },
        cost_usd: total.to_string(),
    })
}

/// A decimal as a JSON number with exactly these digits; going through a float would change some.
fn number(decimal: String) -> Box<RawValue> {
    RawValue::from_string(decimal).expect("digits, a point and digits are a JSON number")
}
