//! A store in memory behind a gate, and a facade whose only worker waits there.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use session_postgres::{Error, Key, MemoryStore, Offload, OffloadBuilder, Period, Session, Store};
use tokio::task::JoinHandle;

use super::{
    gate::{Gate, Opener},
    spawn,
};

/// A store in memory behind a gate, which records the batches that pass the gate.
#[derive(Clone, Default)]
pub(super) struct GatedStore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    store: MemoryStore,
    gate: Gate,
    /// The number of batches that have arrived at the gate.
    arrived: AtomicUsize,
    /// The verb and the number of calls of each batch that has passed the gate.
    batches: Mutex<Vec<(&'static str, usize)>>,
}

/// `get` panics if it is called with this key.
pub(super) const PANICKING_KEY: &str = "bad";

impl GatedStore {
    pub(super) fn open(&self) {
        self.0.gate.open();
    }

    pub(super) fn close(&self) {
        self.0.gate.close();
    }

    pub(super) fn opener(&self) -> Opener {
        self.0.gate.opener()
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

    /// Returns the store behind the gate.
    pub(super) fn inner(&self) -> &MemoryStore {
        &self.0.store
    }
}

impl Store for GatedStore {
    fn default_period(&self) -> Period {
        self.0.store.default_period()
    }

    fn set_default_period(&self, period: Period) {
        self.0.store.set_default_period(period);
    }

    fn generate(&self, value: Option<&str>, expiry: Option<Period>) -> Result<Key, Error> {
        self.pass("generate", 1);
        self.0.store.generate(value, expiry)
    }

    fn clear(&self, key: &Key) -> Result<(), Error> {
        self.pass("clear", 1);
        self.0.store.clear(key)
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.pass("get", 1);
        assert_ne!(key.as_str(), PANICKING_KEY);
        self.0.store.get(key)
    }

    fn set(&self, key: &Key, value: &str, expiry: Option<Period>) -> Result<(), Error> {
        self.pass("set", 1);
        self.0.store.set(key, value, expiry)
    }

    fn insert(&self, key: &Key, value: Option<&str>, expiry: Option<Period>) -> Result<(), Error> {
        self.pass("insert", 1);
        self.0.store.insert(key, value, expiry)
    }

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.pass("touch", 1);
        self.0.store.touch(key, expiry)
    }

    fn rotate(&self, key: &Key) -> Result<Key, Error> {
        self.pass("rotate", 1);
        self.0.store.rotate(key)
    }

    fn update(
        &self,
        key: &Key,
        expiry: Option<Period>,
        edit: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        self.pass("update", 1);
        self.0.store.update(key, expiry, edit)
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        self.pass("get", keys.len());
        assert!(keys.iter().all(|key| key.as_str() != PANICKING_KEY));
        self.0.store.get_many(keys)
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.pass("set", calls.len());
        self.0.store.set_many(calls)
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
