//! The bill: line items by (cluster, topic, partition, dimension), and their sums.
//!
//! Invariants: a bill is a function of its inputs alone; the total equals the sum of its line items however they are
//! grouped; the bills of two periods that touch add up to the bill of both.

use std::collections::{BTreeMap, BTreeSet};

use headgate_metadata::id::{AccountId, ClusterId, PartitionId, PartitionKey, SlotId, TimestampMs, TopicId};

use crate::amount::{Amounts, Beyond, Dimension};
use crate::hours::{ClusterHistory, Existence};
use crate::period::{Hour, Period};
use crate::price::PriceBook;
use crate::rate::rate;
use crate::usage::{FoldedSlot, Horizon, SlotUsage, UsageError};

/// Everything a bill is computed from.
#[derive(Clone, Debug)]
pub struct BillInput<'a> {
    /// The hours to bill.
    pub period: Period,
    /// The moment the usage was read: nothing later is billed.
    pub as_of: TimestampMs,
    /// The prices.
    pub prices: &'a PriceBook,
    /// The clusters' lives.
    pub clusters: &'a [ClusterHistory],
    /// Who owns the clusters, where known.
    pub owners: &'a BTreeMap<ClusterId, Owner>,
    /// The slots' counters; each slot once.
    pub slots: &'a [SlotUsage],
    /// Bill this cluster alone.
    pub only: Option<ClusterId>,
}

/// Whose a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The account that pays.
    pub account: AccountId,
    /// The cluster's ARN.
    pub arn: String,
    /// The region it is in.
    pub region: String,
}

/// Why no bill was made. Nothing was changed; the inputs have to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// The counters contradict each other.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The counters or prices are beyond measure.
    #[error(transparent)]
    Beyond(#[from] Beyond),
}

/// What a line item is for. Cluster-hours have neither topic nor partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Which topic.
    pub topic: Option<TopicId>,
    /// Which partition.
    pub partition: Option<PartitionId>,
}

/// How the lines of a report are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// One line per cluster.
    Cluster,
    /// One line per topic, and one per cluster for what belongs to no topic.
    Topic,
    /// One line per partition, and one per cluster for what belongs to none.
    Partition,
}

impl GroupBy {
    /// The word for it, as in `--by topic`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Topic => "topic",
            Self::Partition => "partition",
        }
    }
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is for, as far as the grouping distinguishes it.
    pub place: Place,
    /// The cluster's name, or its id where no name is known.
    pub cluster_name: String,
    /// The topic's name, or its id where no name is known; `None` for a line without topic.
    pub topic_name: Option<String>,
    /// How much of each dimension, and its cost.
    pub amounts: Amounts,
}

/// A rated period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The hours it covers.
    pub period: Period,
    /// The moment the usage was read.
    pub as_of: TimestampMs,
    /// Whether hours of the period were not over or not marked yet when it was read: a later bill may show more.
    pub provisional: bool,
    /// The prices it was made with.
    pub prices: PriceBook,
    /// Who owns the clusters, where known.
    pub owners: BTreeMap<ClusterId, Owner>,
    items: BTreeMap<Place, Amounts>,
    cluster_names: BTreeMap<ClusterId, String>,
    topic_names: BTreeMap<(ClusterId, TopicId), String>,
}

impl Bill {
    /// Computes the bill. The same input gives the same bill; reading marks twice changes nothing.
    pub fn compute(input: &BillInput<'_>) -> Result<Self, BillError> {
        let mut bill = Self {
            period: input.period,
            as_of: input.as_of,
            provisional: is_provisional(input),
            prices: input.prices.clone(),
            owners: input.owners.clone(),
            items: BTreeMap::new(),
            cluster_names: BTreeMap::new(),
            topic_names: BTreeMap::new(),
        };
        let billed = |cluster: ClusterId| input.only.is_none_or(|only| only == cluster);
        let histories: BTreeMap<ClusterId, &ClusterHistory> =
            input.clusters.iter().map(|history| (history.cluster, history)).collect();
        for history in histories.values().filter(|history| billed(history.cluster)) {
            bill.add_existence(history)?;
        }
        let mut homes = BTreeMap::new();
        for usage in input.slots {
            let folded = FoldedSlot::fold(usage)?;
            for partition in folded.partitions() {
                claim(&mut homes, partition, folded.slot())?;
                if billed(partition.cluster) {
                    let removed =
                        histories.get(&partition.cluster).and_then(|known| known.removed_at(partition.topic));
                    bill.add_usage(&folded, partition, Horizon { as_of: input.as_of, removed })?;
                }
            }
        }
        Ok(bill)
    }

    /// The lines of a report: sorted by cluster name, topic name and partition, those of the whole cluster first.
    pub fn lines(&self, by: GroupBy) -> Result<Vec<Line>, Beyond> {
        let mut groups: BTreeMap<Place, Amounts> = BTreeMap::new();
        for (place, amounts) in &self.items {
            groups.entry(place.as_grouped(by)).or_default().add_all(amounts)?;
        }
        let mut lines: Vec<Line> =
            groups.into_iter().map(|(place, amounts)| self.line(place, amounts)).collect();
        lines.sort_by_cached_key(|line| {
            let Place { cluster, topic, partition } = line.place;
            (line.cluster_name.clone(), cluster, line.topic_name.clone(), topic, partition)
        });
        Ok(lines)
    }

    /// Everything together.
    pub fn total(&self) -> Result<Amounts, Beyond> {
        let mut total = Amounts::default();
        self.items.values().try_for_each(|amounts| total.add_all(amounts))?;
        Ok(total)
    }

    fn line(&self, place: Place, amounts: Amounts) -> Line {
        let cluster = place.cluster;
        let cluster_name = self.cluster_names.get(&cluster).cloned().unwrap_or_else(|| cluster.to_string());
        let topic_name = place.topic.map(|topic| {
            self.topic_names.get(&(cluster, topic)).cloned().unwrap_or_else(|| topic.to_string())
        });
        Line { place, cluster_name, topic_name, amounts }
    }

    fn add_existence(&mut self, history: &ClusterHistory) -> Result<(), Beyond> {
        let cluster = history.cluster;
        self.cluster_names.insert(cluster, history.name.clone());
        let whole = Place { cluster, topic: None, partition: None };
        self.add_hours(whole, Dimension::ClusterHours, history.existence())?;
        for (topic, known) in history.topics() {
            self.topic_names.insert((cluster, topic), known.name.clone());
            for (partition, existence) in history.partitions(topic) {
                let place = Place { cluster, topic: Some(topic), partition: Some(partition) };
                self.add_hours(place, Dimension::PartitionHours, existence)?;
            }
        }
        Ok(())
    }

    fn add_hours(&mut self, place: Place, dimension: Dimension, existence: Existence) -> Result<(), Beyond> {
        let (from, to) = existence.hours(self.as_of);
        let Some(lived) = self.period.cut(from, to) else { return Ok(()) };
        for hour in lived.hours() {
            self.add(place, dimension, existence.ms_in(hour, self.as_of).into(), hour)?;
        }
        Ok(())
    }

    fn add_usage(
        &mut self,
        slot: &FoldedSlot,
        partition: PartitionKey,
        horizon: Horizon,
    ) -> Result<(), BillError> {
        let PartitionKey { cluster, topic, partition: index } = partition;
        let place = Place { cluster, topic: Some(topic), partition: Some(index) };
        for used in slot.hours(partition, self.period, horizon)? {
            self.add(place, Dimension::DataIn, used.bytes_in.into(), used.hour)?;
            self.add(place, Dimension::DataOut, used.bytes_out.into(), used.hour)?;
            self.add(place, Dimension::Storage, used.stored_byte_ms, used.hour)?;
        }
        Ok(())
    }

    fn add(&mut self, place: Place, dimension: Dimension, quantity: u128, hour: Hour) -> Result<(), Beyond> {
        if quantity == 0 {
            return Ok(());
        }
        let amount = rate(dimension, quantity, hour, &self.prices)?;
        self.items.entry(place).or_default().add(dimension, &amount)
    }
}

impl Place {
    const fn as_grouped(self, by: GroupBy) -> Self {
        match by {
            GroupBy::Cluster => Self { topic: None, partition: None, ..self },
            GroupBy::Topic => Self { partition: None, ..self },
            GroupBy::Partition => self,
        }
    }
}

/// Notes which slot a partition was found in; two would bill it twice.
fn claim(
    homes: &mut BTreeMap<PartitionKey, SlotId>,
    partition: PartitionKey,
    slot: SlotId,
) -> Result<(), UsageError> {
    match homes.insert(partition, slot) {
        None => Ok(()),
        Some(one) => Err(UsageError::TwoSlots { partition, one, other: slot }),
    }
}

fn is_provisional(input: &BillInput<'_>) -> bool {
    let open: BTreeSet<Hour> =
        input.slots.iter().filter_map(|slot| slot.live.as_ref()).map(|live| live.hour).collect();
    let unmarked = open.range(input.period.from()..input.period.to()).next().is_some();
    input.as_of < input.period.to().start() || unmarked
}

#[cfg(test)]
mod tests;
