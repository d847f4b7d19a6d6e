//! A store in memory behind a gate, and a facade whose only worker waits there.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use session_postgres::{Error, Key, MemoryStore, Offload, OffloadBuilder, Session, Store};
use tokio::task::JoinHandle;

use super::{
    gate::{Gate, Opener},
    spawn,
};
use crate::support::wrapper::{Around, Wrapper};

/// A store in memory behind a gate, which records the batches that pass the gate.
pub(super) type GatedStore = Wrapper<Gated>;

#[derive(Clone, Default)]
pub(super) struct Gated(Arc<Inner>);

#[derive(Default)]
struct Inner {
    store: MemoryStore,
    gate: Gate,
    /// The gate for [`SLOW_KEY`].
    slow: Gate,
    /// The number of batches that have arrived at the gate.
    arrived: AtomicUsize,
    /// The verb and the number of calls of each batch that has passed the gate.
    batches: Mutex<Vec<(&'static str, usize)>>,
    /// The parallelism, if it is not that of the store.
    parallelism: OnceLock<NonZeroUsize>,
}

/// `get` panics if it is called with this key.
pub(super) const PANICKING_KEY: &str = "bad";

/// A call for this key waits at a gate of its own.
pub(super) const SLOW_KEY: &str = "slow";

impl Gated {
    pub(super) fn open(&self) {
        self.0.gate.open();
    }

    pub(super) fn close(&self) {
        self.0.gate.close();
    }

    pub(super) fn set_parallelism(&self, calls: NonZeroUsize) {
        self.0.parallelism.set(calls).unwrap();
    }

    pub(super) fn opener(&self) -> Opener {
        self.0.gate.opener()
    }

    /// Returns a guard that lets the calls for [`SLOW_KEY`] pass when it is dropped.
    pub(super) fn slow_opener(&self) -> Opener {
        self.0.slow.opener()
    }

    fn pass(&self, verb: &'static str, calls: usize) {
        self.0.arrived.fetch_add(1, Ordering::SeqCst);
        self.0.gate.pass();
        self.0.batches.lock().unwrap().push((verb, calls));
    }

    pub(super) fn arrived(&self) -> usize {
        self.0.arrived.load(Ordering::SeqCst)
    }

    pub(super) fn batches(&self) -> Vec<(&'static str, usize)> {
        self.0.batches.lock().unwrap().clone()
    }
}

impl Around for Gated {
    type Inner = MemoryStore;

    fn inner(&self) -> &MemoryStore {
        &self.0.store
    }

    fn parallelism(&self) -> NonZeroUsize {
        let parallelism = self.0.parallelism.get().copied();
        parallelism.unwrap_or_else(|| self.0.store.parallelism())
    }

    fn around<T>(
        &self,
        verb: &'static str,
        keys: &[&Key],
        calls: usize,
        call: impl FnOnce(&MemoryStore) -> T,
    ) -> T {
        self.pass(verb, calls);
        assert!(keys.iter().all(|key| key.as_str() != PANICKING_KEY));
        if keys.iter().any(|key| key.as_str() == SLOW_KEY) {
            self.0.slow.pass();
        }
        call(&self.0.store)
    }
}

/// A facade with one worker, which waits at the gate with a `get`, and a session in the store.
pub(super) struct Busy {
    pub(super) gate: GatedStore,
    pub(super) store: Offload<GatedStore>,
    pub(super) key: Key,
    pub(super) first: JoinHandle<Result<Session, Error>>,
    _opener: Opener,
}

impl Busy {
    /// Must be called in a runtime.
    pub(super) fn new(builder: OffloadBuilder) -> Busy {
        let gate = GatedStore::default();
        let key = gate.inner().generate(Some("lobster"), None).unwrap();
        let store = builder.max_concurrency(1).build(gate.clone());
        let first = spawn(&store, &key, |store, key| async move {
            session_postgres::AsyncStore::get(&store, &key).await
        });
        Busy {
            _opener: gate.opener(),
            gate,
            store,
            key,
            first,
        }
    }

    /// Waits until the worker is at the gate with its call.
    pub(super) async fn worker_is_busy(&self) {
        while self.gate.arrived() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until `count` calls wait, or until one of these calls has returned.
    pub(super) async fn waiting_or_done<T>(&self, count: usize, calls: &[JoinHandle<T>]) {
        let is_done = || calls.iter().any(JoinHandle::is_finished);
        while self.store.stats().waiting != count && !is_done() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this number of calls wait.
    pub(super) async fn waiting(&self, calls: usize) {
        while self.store.stats().waiting != calls {
            tokio::task::yield_now().await;
        }
    }
}
