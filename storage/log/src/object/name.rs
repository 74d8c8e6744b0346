//! Object names. Each ends in random bits: no name is ever used twice (`storage/PROTOCOL.md` §1).
//!
//! ```text
//! flush/<wal>/<start, 20 digits>-<random, 16 hex>
//! manifest/<slot, 5 digits>/<epoch, 10 digits>-<random, 16 hex>
//! state/<slot, 5 digits>/<epoch, 10 digits>-<random, 16 hex>
//! list/<slot, 5 digits>/<epoch, 10 digits>-<random, 16 hex>
//! ```

use std::fmt;

use headgate_metadata::id::{InvalidId, SlotEpoch, SlotId, WalId, WalPosition};

/// The name of an object, below the store's prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

const COMPACTED: &str = "compacted";

impl ObjectName {
    /// Checks that the text is a path of plain names: no empty part, no `.` or `..`, at most 512 bytes of
    /// `[A-Za-z0-9._-]` and `/`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if text.len() <= 512 && text.split('/').all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidId { text: text.to_owned(), expected: "an object name" })
    }
    /// Whether its runs were compacted: such a run may have holes, and supersedes nothing in it.
    pub fn is_compacted(&self) -> bool {
        self.0.split_once('/').is_some_and(|(kind, _)| kind == COMPACTED)
    }
    /// The text form, as metadata records hold it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0
    }
}

/// The name of a flush object. `random` is drawn anew for every attempt to build one.
pub fn flush_name(wal: WalId, start: WalPosition, random: u64) -> ObjectName {
    ObjectName(format!("flush/{wal}/{:020}-{random:016x}", start.get()))
}

/// The name of a slot's manifest.
pub fn manifest_name(slot: SlotId, epoch: SlotEpoch, random: u64) -> ObjectName {
    ObjectName(slot_object("manifest", slot, epoch, random))
}

/// The name of a slot's state object.
pub fn state_name(slot: SlotId, epoch: SlotEpoch, random: u64) -> ObjectName {
    ObjectName(slot_object("state", slot, epoch, random))
}

/// The name of a list object, which holds part of a partition's runs.
pub fn list_name(slot: SlotId, epoch: SlotEpoch, random: u64) -> ObjectName {
    ObjectName(slot_object("list", slot, epoch, random))
}

/// The name of an object with compacted runs of a partition.
pub fn compacted_name(slot: SlotId, epoch: SlotEpoch, random: u64) -> ObjectName {
    ObjectName(slot_object(COMPACTED, slot, epoch, random))
}

fn slot_object(kind: &str, slot: SlotId, epoch: SlotEpoch, random: u64) -> String {
    format!("{kind}/{:05}/{:010}-{random:016x}", slot.get(), epoch.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate_metadata::id::{Incarnation, NodeId};

    #[test]
    fn names_are_as_drawn_and_read_back() {
        let wal = WalId { node: NodeId::new(1), incarnation: Incarnation::new(7) };
        let flush = flush_name(wal, WalPosition::new(4096), 0xabc);
        assert_eq!(flush.as_str(), "flush/1-7/00000000000000004096-0000000000000abc");
        let manifest = manifest_name(SlotId::new(12), SlotEpoch::new(3), u64::MAX);
        assert_eq!(manifest.as_str(), "manifest/00012/0000000003-ffffffffffffffff");
        assert_eq!(ObjectName::parse(flush.as_str()), Ok(flush));
    }

    #[test]
    fn a_name_that_could_leave_the_store_is_refused() {
        for text in ["", "/x", "x/", "a//b", "../x", "a/./b", "a b", "a\\b", "ä"] {
            assert!(ObjectName::parse(text).is_err(), "{text}");
        }
        assert!(ObjectName::parse(&"x".repeat(513)).is_err());
    }
}
