//! The simulated store keeps every promise of the conformance suite.

mod conformance;

use std::sync::Arc;

use conformance::conformance;
use headgate_metadata::simulated::SimulatedStore;
use headgate_metadata::store::SharedStore;
use proptest::proptest;

fn simulated() -> SharedStore {
    Arc::new(SimulatedStore::without_faults())
}

conformance!(simulated(), start_paused = true);

#[test]
fn a_store_is_a_map_with_a_counter() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    proptest!(|(steps in conformance::model::steps())| {
        runtime.block_on(conformance::model::a_store_is_a_map_with_a_counter(simulated(), steps));
    });
}
