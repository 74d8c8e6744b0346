//! Consumers read in their own zone (KIP-392, `gateway/PROTOCOL.md` §1): who names a rack and has come to a gateway of another zone is
//! told, for every partition, of the broker there. Any gateway serves any partition, so that broker is as good as the leader.

use headgate_metadata::id::BrokerId;

use crate::api::Call;
use crate::brokers::ListedBroker;
use crate::session::Session;
use kafka_protocol::messages::FetchRequest;

/// From this version on consumers name their rack.
const RACK_FROM: i16 = 11;

/// The broker that the consumer should ask instead of this gateway; `None` = this one is as near as any.
pub(crate) fn nearer_broker(session: &Session, call: &Call, request: &FetchRequest) -> Option<BrokerId> {
    if call.version < RACK_FROM || request.rack_id.is_empty() {
        return None;
    }
    let zone = session.shared.parts.zone.as_deref()?;
    nearer(&request.rack_id, zone, session.brokers().present())
}

fn nearer<'b>(
    rack: &str,
    zone: &str,
    mut present: impl Iterator<Item = &'b ListedBroker>,
) -> Option<BrokerId> {
    if rack == zone {
        return None;
    }
    present.find(|broker| broker.rack.as_deref() == Some(rack)).map(|broker| broker.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brokers::BROKER_IDS;

    #[test]
    fn a_consumer_is_sent_to_the_broker_of_its_rack_unless_it_is_there() {
        let broker = |(id, zone): (BrokerId, &str)| ListedBroker {
            id,
            host: zone.into(),
            port: 9098,
            rack: Some(zone.into()),
            is_present: true,
        };
        let listed: Vec<_> = BROKER_IDS.into_iter().zip(["a", "b", "c"]).map(broker).collect();
        assert_eq!(nearer("b", "a", listed.iter()), Some(BROKER_IDS[1]));
        assert_eq!(nearer("a", "a", listed.iter()), None, "it is there");
        assert_eq!(nearer("z", "a", listed.iter()), None, "nobody is nearer");
        assert_eq!(nearer("b", "a", listed[..1].iter()), None, "who is not listed cannot be asked");
    }
}
