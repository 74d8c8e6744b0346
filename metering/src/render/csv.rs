//! The bill as CSV (RFC 4180) in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.
//!
//! One row per line and dimension with use. `BilledCost`, `EffectiveCost`, `ListCost` and `ContractedCost` are equal:
//! there are no discounts. `PricingQuantity` and unit prices are per `PricingUnit`; sizes are GiB and B, as FOCUS names
//! 2^30 bytes and bytes. `ConsumedQuantity` is what was counted: bytes, or hours, or byte-hours to six decimals.
//! Two columns follow that FOCUS leaves to the provider, `x_QuantityExact` and `x_QuantityUnit`: the integer
//! everything else is computed from. The billing period is the calendar month (UTC), or months, of the charge period.

use crate::amount::{Amounts, Beyond, Dimension};
use crate::bill::{Bill, GroupBy, Line};
use crate::period::text;

/// The columns, in order.
pub const COLUMNS: [&str; 42] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_QuantityExact",
    "x_QuantityUnit",
];

/// Who provides, publishes and invoices: whoever runs this service bills in its name.
const PROVIDER: &str = "Headgate";

/// How one dimension is called.
struct Sku {
    id: &'static str,
    meter: &'static str,
    pricing_unit: &'static str,
    consumed_unit: &'static str,
    exact_unit: &'static str,
}

const fn sku(dimension: Dimension) -> Sku {
    let (id, meter, pricing_unit, consumed_unit, exact_unit) = match dimension {
        Dimension::ClusterHours => {
            ("cluster-hours", "Cluster hours", "Cluster-Hours", "Cluster-Hours", "Milliseconds")
        }
        Dimension::PartitionHours => {
            ("partition-hours", "Partition hours", "Partition-Hours", "Partition-Hours", "Milliseconds")
        }
        Dimension::DataIn => ("data-in", "Data in", "GiB", "B", "B"),
        Dimension::DataOut => ("data-out", "Data out", "GiB", "B", "B"),
        Dimension::Storage => ("storage", "Storage", "GiB-Months", "B-Hours", "B-Milliseconds"),
    };
    Sku { id, meter, pricing_unit, consumed_unit, exact_unit }
}

/// Writes the header and the rows.
pub fn render(bill: &Bill, by: GroupBy) -> Result<String, Beyond> {
    let mut csv = COLUMNS.join(",");
    csv.push_str("\r\n");
    for line in bill.lines(by)? {
        for dimension in Dimension::ALL {
            if line.amounts.of(dimension).quantity > 0 {
                push_row(&mut csv, &row(bill, &line, dimension));
            }
        }
    }
    Ok(csv)
}

fn row(bill: &Bill, line: &Line, dimension: Dimension) -> [String; COLUMNS.len()] {
    let owner = bill.owners.get(&line.place.cluster);
    let account = owner.map(|owner| owner.account.to_string()).unwrap_or_default();
    let region = owner.map(|owner| owner.region.clone()).unwrap_or_default();
    let (resource_id, resource_name, resource_type) = resource(bill, line);
    let (month_start, month_end) = bill.period.months();
    let Sku { id, meter, pricing_unit, consumed_unit, exact_unit } = sku(dimension);
    let price = bill.prices.price(dimension).to_string();
    let amount = line.amounts.of(dimension);
    let cost = amount.cost.to_string();
    let words = |text: &str| text.to_owned();
    [
        cost.clone(),
        account.clone(),
        account,
        words("Account"),
        words("USD"),
        text(month_end),
        text(month_start),
        words("Usage"),
        String::new(),
        format!(
            "{meter} of {} {resource_name} at {price} USD per {pricing_unit}",
            resource_type.to_lowercase()
        ),
        words("Usage-Based"),
        text(bill.period.to().start()),
        text(bill.period.from().start()),
        consumed(&line.amounts, dimension),
        words(consumed_unit),
        cost.clone(),
        price.clone(),
        cost.clone(),
        words(PROVIDER),
        cost,
        price,
        words("Standard"),
        pricing_quantity(&line.amounts, dimension),
        words(pricing_unit),
        words(PROVIDER),
        words(PROVIDER),
        region.clone(),
        region,
        resource_id,
        resource_name,
        words(resource_type),
        words("Integration"),
        words("Headgate"),
        words("Messaging"),
        words(id),
        words(meter),
        format!("{}/{}/{id}", bill.prices.name, bill.prices.edition),
        line.place.cluster.to_string(),
        line.cluster_name.clone(),
        tags(line),
        amount.quantity.to_string(),
        words(exact_unit),
    ]
}

/// The id, name and type of what a line is for. Ids are ARNs where the owner is known.
fn resource(bill: &Bill, line: &Line) -> (String, String, &'static str) {
    let place = line.place;
    let arn = bill.owners.get(&place.cluster).map(|owner| owner.arn.clone());
    let cluster = arn.unwrap_or_else(|| place.cluster.to_string());
    let Some((topic, topic_name)) = place.topic.zip(line.topic_name.as_ref()) else {
        return (cluster, line.cluster_name.clone(), "Cluster");
    };
    match place.partition {
        None => (format!("{cluster}/{topic}"), topic_name.clone(), "Topic"),
        Some(partition) => {
            (format!("{cluster}/{topic}/{partition}"), format!("{topic_name}-{partition}"), "Partition")
        }
    }
}

fn tags(line: &Line) -> String {
    let mut tags = serde_json::Map::new();
    tags.insert("cluster".to_owned(), line.cluster_name.clone().into());
    if let Some(topic) = &line.topic_name {
        tags.insert("topic".to_owned(), topic.clone().into());
    }
    if let Some(partition) = line.place.partition {
        tags.insert("partition".to_owned(), partition.to_string().into());
    }
    serde_json::Value::Object(tags).to_string()
}

fn consumed(amounts: &Amounts, dimension: Dimension) -> String {
    match dimension {
        Dimension::ClusterHours | Dimension::PartitionHours => amounts.hours(dimension),
        Dimension::DataIn | Dimension::DataOut => amounts.of(dimension).quantity.to_string(),
        Dimension::Storage => amounts.stored_byte_hours(),
    }
}

fn pricing_quantity(amounts: &Amounts, dimension: Dimension) -> String {
    match dimension {
        Dimension::ClusterHours | Dimension::PartitionHours => amounts.hours(dimension),
        Dimension::DataIn | Dimension::DataOut => amounts.gb(dimension),
        Dimension::Storage => amounts.stored_gb_months(),
    }
}

fn push_row(csv: &mut String, fields: &[String]) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            csv.push(',');
        }
        push_field(csv, field);
    }
    csv.push_str("\r\n");
}

fn push_field(csv: &mut String, field: &str) {
    if !field.contains([',', '"', '\r', '\n']) {
        csv.push_str(field);
        return;
    }
    csv.push('"');
    csv.push_str(&field.replace('"', "\"\""));
    csv.push('"');
}
