//! The number of workers is adapted to the store.

use std::{num::NonZeroUsize, thread::available_parallelism};

use session_postgres::{AsyncStore, Offload, Store};

use super::{gated_store::GatedStore, runtime, spawn};
use crate::support::wait_until;

/// While batches were short, a batch occupies a processor. So at first there is a worker for each processor.
#[test]
fn a_call_does_not_wait_for_batches_that_take_long() {
    let gate = GatedStore::default();
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = processors + 3;
    gate.set_parallelism(NonZeroUsize::new(workers).unwrap());
    let key = gate.inner().generate(Some("lobster"), None).unwrap();
    let runtime = runtime();
    // Dropped before the runtime, which waits for its workers.
    let _opener = gate.opener();
    let _guard = runtime.enter();
    let store = Offload::new(gate.clone());

    gate.open();
    for _ in 0..10 {
        runtime.block_on(store.get(&key)).unwrap();
    }
    gate.close();
    let arrived = gate.arrived();
    let calls: Vec<_> = (1..=workers)
        .map(|call| {
            let call_is_at_the_gate = || gate.arrived() == arrived + call;
            let get = spawn(
                &store,
                &key,
                |store, key| async move { store.get(&key).await },
            );
            wait_until("a worker is at the gate", call_is_at_the_gate);
            get
        })
        .collect();
    gate.open();
    for call in calls {
        assert_eq!(runtime.block_on(call).unwrap().unwrap().value, "lobster");
    }
}
