//! One walk over the records of an uncompressed batch: a batch whose records do not add up would stop every consumer of its
//! partition.

use headgate_storage_client::records::{Record, Records};

/// Whether `bytes` hold exactly `count` records, each as long as it says, with offset deltas 0, 1, 2, …
pub(super) fn records_are_sound(bytes: &[u8], count: u32) -> bool {
    walk(bytes, count, |_| true)
}

/// The same, and every record has a key.
pub(super) fn records_have_keys(bytes: &[u8], count: u32) -> bool {
    walk(bytes, count, |record| record.key.is_some())
}

fn walk(bytes: &[u8], count: u32, fits: impl Fn(&Record<'_>) -> bool) -> bool {
    let mut deltas = 0..i64::from(count);
    let is_next = |record: Result<Record<'_>, _>| {
        record.is_ok_and(|record| deltas.next() == Some(record.offset_delta) && fits(&record))
    };
    Records::new(bytes).all(is_next) && deltas.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key `k`, value `v`, one header `h` with a null value.
    const FIRST: &[u8] = &[22, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 1];
    /// Offset delta 1, null key, null value, no headers.
    const SECOND: &[u8] = &[12, 0, 0, 2, 1, 1, 0];

    #[test]
    fn records_that_add_up_are_sound() {
        assert!(records_are_sound(FIRST, 1));
        assert!(records_are_sound(&[FIRST, SECOND].concat(), 2));
        assert!(records_have_keys(FIRST, 1) && !records_have_keys(&[FIRST, SECOND].concat(), 2));
    }

    #[test]
    fn a_wrong_count_or_order_is_noticed() {
        assert!(!records_are_sound(FIRST, 2));
        assert!(!records_are_sound(&[FIRST, SECOND].concat(), 1));
        assert!(!records_are_sound(SECOND, 1), "the first offset delta is 0");
    }
}
