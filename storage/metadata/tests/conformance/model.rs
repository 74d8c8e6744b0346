//! Random transactions against a model that is too simple to be wrong: a map, and a number that counts.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_metadata::id::Revision;
use headgate_metadata::store::{Compare, Entry, Outcome, SharedStore, Transaction, Write};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Few keys, so that transactions meet.
const KEYS: u8 = 4;

/// A transaction in which revisions are given as distances from the newest.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    compares: Vec<Condition>,
    writes: BTreeMap<u8, Option<u8>>,
}

#[derive(Debug, Clone)]
enum Condition {
    Absent(u8),
    Present(u8),
    Unchanged(u8, u64),
    Value(u8, u8),
}

/// Random steps.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let condition = prop_oneof![
        key().prop_map(Condition::Absent),
        key().prop_map(Condition::Present),
        (key(), 0..4_u64).prop_map(|(key, back)| Condition::Unchanged(key, back)),
        (key(), 0..3_u8).prop_map(|(key, value)| Condition::Value(key, value)),
    ];
    let writes = btree_map(key(), proptest::option::weighted(0.7, 0..3_u8), 0..4);
    let step = (vec(condition, 0..3), writes).prop_map(|(compares, writes)| Step { compares, writes });
    vec(step, 1..40)
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<String, (Bytes, u64)>,
    revision: u64,
}

impl Model {
    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::Present(key) => self.entries.contains_key(key),
            Compare::Unchanged(key, at) => {
                self.entries.get(key).is_some_and(|(_, modified)| *modified == at.get())
            }
            Compare::Value(key, value) => self.entries.get(key).is_some_and(|(held, _)| held == value),
        }
    }

    fn commit(&mut self, transaction: &Transaction) -> Outcome {
        if !transaction.compares.iter().all(|compare| self.holds(compare)) {
            return Outcome::Refused(Revision::new(self.revision));
        }
        let changes = |write: &Write| match write {
            Write::Put(..) => true,
            Write::Delete(key) => self.entries.contains_key(key),
        };
        if transaction.writes.iter().any(changes) {
            self.revision += 1;
        }
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => self.entries.insert(key.clone(), (value.clone(), self.revision)),
                Write::Delete(key) => self.entries.remove(key),
            };
        }
        Outcome::Committed(Revision::new(self.revision))
    }

    fn list(&self) -> Vec<Entry> {
        let entry = |(key, (value, modified)): (&String, &(Bytes, u64))| Entry {
            key: key.clone(),
            value: value.clone(),
            modified: Revision::new(*modified),
        };
        self.entries.iter().map(entry).collect()
    }
}

fn key(index: u8) -> String {
    format!("m/{index}")
}

fn value(number: u8) -> Bytes {
    Bytes::from(vec![number])
}

impl Step {
    fn transaction(&self, newest: u64) -> Transaction {
        let compare = |condition: &Condition| match condition {
            Condition::Absent(index) => Compare::Absent(key(*index)),
            Condition::Present(index) => Compare::Present(key(*index)),
            Condition::Unchanged(index, back) => {
                Compare::Unchanged(key(*index), Revision::new(newest.saturating_sub(*back)))
            }
            Condition::Value(index, number) => Compare::Value(key(*index), value(*number)),
        };
        let write = |(index, number): (&u8, &Option<u8>)| match number {
            Some(number) => Write::Put(key(*index), value(*number)),
            None => Write::Delete(key(*index)),
        };
        Transaction {
            compares: self.compares.iter().map(compare).collect(),
            writes: self.writes.iter().map(write).collect(),
        }
    }
}

/// Outcomes, contents and revisions are the model's, and a watch from the beginning tells enough to rebuild them.
pub(crate) async fn a_store_is_a_map_with_a_counter(store: SharedStore, steps: Vec<Step>) {
    let start = store.revision().await.expect("readable");
    let mut model = Model { revision: start.get(), ..Model::default() };
    let mut watch = store.watch("m/", start).await.expect("watchable");
    for step in steps {
        let transaction = step.transaction(model.revision);
        let outcome = store.commit(transaction.clone()).await.expect("the store is healthy");
        assert_eq!(outcome, model.commit(&transaction), "{step:?}");
        assert_eq!(store.list("m/").await.expect("readable"), model.list(), "{step:?}");
    }
    let mut rebuilt = BTreeMap::new();
    let mut told = start;
    watch.request_progress();
    while told < Revision::new(model.revision) {
        let changes = watch.next().await.expect("the watch is healthy");
        for event in changes.events {
            assert!(event.revision > start && event.revision <= changes.through);
            match event.value {
                Some(value) => drop(rebuilt.insert(event.key, (value, event.revision.get()))),
                None => drop(rebuilt.remove(&event.key)),
            }
        }
        told = changes.through;
    }
    assert_eq!(rebuilt, model.entries);
}
