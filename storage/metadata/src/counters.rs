//! Numbers that are drawn once and never again.

use crate::attempt::{self, ATTEMPTS_MAX};
use crate::id::{Incarnation, ProducerId};
use crate::keys;
use crate::record::{CounterRecord, ProducerIdBlock, Record};
use crate::store::{Compare, MetadataError, MetadataStore, Transaction, Write};

/// Draws the incarnation of a process start. The first is 1.
pub async fn next_incarnation(store: &dyn MetadataStore) -> Result<Incarnation, MetadataError> {
    draw(store, keys::COUNTER_INCARNATION, 1).await.map(Incarnation::new)
}

/// Draws `count` producer ids that nobody else in the cell will ever get. The first id is 1.
pub async fn producer_ids(store: &dyn MetadataStore, count: u64) -> Result<ProducerIdBlock, MetadataError> {
    let first = draw(store, keys::COUNTER_PRODUCER_ID, count).await?;
    Ok(ProducerIdBlock { first: ProducerId::new(first), count })
}

async fn draw(store: &dyn MetadataStore, key: &str, count: u64) -> Result<u64, MetadataError> {
    for _ in 0..ATTEMPTS_MAX {
        let entry = store.get(key).await?;
        let (next, unchanged) = match &entry {
            Some(entry) => {
                let counter: CounterRecord = attempt::decode(entry)?;
                (counter.next, Compare::Unchanged(key.to_owned(), entry.modified))
            }
            None => (1, Compare::Absent(key.to_owned())),
        };
        // Producer ids are INT64 on the wire, so a counter stops where they do.
        let after = next.checked_add(count).filter(|after| i64::try_from(*after).is_ok());
        let Some(after) = after else {
            return Err(MetadataError::Invalid { reason: format!("counter `{key}` is used up at {next}") });
        };
        let put = Write::Put(key.to_owned(), CounterRecord { next: after }.encode());
        if attempt::commit(store, Transaction::new().when(unchanged).then(put)).await?.is_some() {
            return Ok(next);
        }
    }
    Err(attempt::contended(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::embedded::EmbeddedStore;

    #[tokio::test]
    async fn an_incarnation_is_drawn_once() {
        let store = EmbeddedStore::in_memory();
        assert_eq!(next_incarnation(&store).await.expect("drawn"), Incarnation::new(1));
        assert_eq!(next_incarnation(&store).await.expect("drawn"), Incarnation::new(2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn blocks_drawn_at_the_same_time_never_overlap() {
        let store = Arc::new(EmbeddedStore::in_memory());
        let mut draws = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = Arc::clone(&store);
            draws.spawn(async move { producer_ids(&*store, 100).await.expect("drawn").first });
        }
        let firsts: HashSet<_> = draws.join_all().await.into_iter().collect();
        assert_eq!(firsts, (0..8).map(|block| ProducerId::new(1 + block * 100)).collect());
    }

    #[tokio::test]
    async fn a_counter_that_is_used_up_says_so() {
        let store = EmbeddedStore::in_memory();
        producer_ids(&store, i64::MAX as u64 - 1).await.expect("the last ids");
        assert!(matches!(producer_ids(&store, 1).await, Err(MetadataError::Invalid { .. })));
    }
}
