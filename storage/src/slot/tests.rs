use headgate_metadata::id::{PartitionId, TopicId};
use headgate_storage_client::PartitionAddress;

use super::*;
use crate::topics::TopicSettings;

fn partition() -> Arc<Partition> {
    let key = PartitionKey {
        cluster: ClusterId::from_random(1),
        topic: TopicId::from_random(1),
        partition: PartitionId::new(0),
    };
    let address = PartitionAddress { key, slot: SlotId::new(0) };
    Arc::new(Partition::new(address, Arc::new(TopicSettings::default())))
}

fn at(hours: u64, ms: u64) -> TimestampMs {
    TimestampMs::new(hours * HOUR_MS + ms)
}

#[test]
fn section_13_slot_time_never_goes_back() {
    let mut state = SlotState::default();
    assert_eq!(state.advance(at(5, 7)), at(5, 7));
    assert_eq!(state.advance(at(5, 3)), at(5, 7));
    assert_eq!(state.advance(at(5, 9)), at(5, 9));
}

#[test]
fn section_13_the_mark_of_an_hour_is_due_once_and_carries_the_hours_last_millisecond() {
    let (mut state, partition) = (SlotState::default(), partition());
    state.advance(at(5, 0));
    state.changed(&partition, &mut partition.log().unmarked);
    state.changed(&partition, &mut partition.log().unmarked);
    assert!(state.take_due_marks(at(5, HOUR_MS - 1)).is_none());
    assert_eq!(state.mark_due(at(6, 0)), Some(partition.address.key.cluster));
    let (hour, time, marked) = state.take_due_marks(at(8, 0)).expect("the hour is over");
    assert_eq!((hour, time, marked.len()), (5, at(6, 0).minus_one(), 1));
    assert!(state.take_due_marks(at(9, 0)).is_none());
    assert_eq!(state.time(), at(6, 0).minus_one());
}

trait MinusOne {
    fn minus_one(self) -> Self;
}

impl MinusOne for TimestampMs {
    fn minus_one(self) -> Self {
        Self::new(self.get() - 1)
    }
}
