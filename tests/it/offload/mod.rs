//! The async facade: one module a risk.

mod batches;
mod cancel;
mod causes;
mod crowd;
mod deadlines;
mod drops;
mod locks;
mod overload;
mod panics;
mod runtimes;
mod threads;

use std::{
    future::Future,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use session_postgres::{Error, Key, MemoryStore, Offload, OffloadBuilder, Period, Session, Store};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::support::wait_until;

/// A store in memory with a gate before it, that a test opens: until then calls stay where they are.
#[derive(Clone, Default)]
struct Gated(Arc<Inner>);

#[derive(Default)]
struct Inner {
    store: MemoryStore,
    is_open: Mutex<bool>,
    opened: Condvar,
    /// How many batches came to the gate.
    came: AtomicUsize,
    /// What came through the gate: a verb, and how many calls at once.
    batches: Mutex<Vec<(&'static str, usize)>>,
}

/// A get of this key panics.
const BAD: &str = "bad";

impl Gated {
    fn open(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }

    fn close(&self) {
        *self.0.is_open.lock().unwrap() = false;
    }

    fn pass(&self, verb: &'static str, calls: usize) {
        self.0.came.fetch_add(1, Ordering::SeqCst);
        let is_open = self.0.is_open.lock().unwrap();
        drop(
            self.0
                .opened
                .wait_while(is_open, |is_open| !*is_open)
                .unwrap(),
        );
        self.0.batches.lock().unwrap().push((verb, calls));
    }

    fn came(&self) -> usize {
        self.0.came.load(Ordering::SeqCst)
    }

    fn batches(&self) -> Vec<(&'static str, usize)> {
        self.0.batches.lock().unwrap().clone()
    }
}

impl Store for Gated {
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
        assert_ne!(key.as_str(), BAD);
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
        assert!(keys.iter().all(|key| key.as_str() != BAD));
        self.0.store.get_many(keys)
    }

    fn set_many(&self, calls: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.pass("set", calls.len());
        self.0.store.set_many(calls)
    }
}

/// A facade with one worker, whose call waits at the gate, and a living session behind it.
struct Busy {
    gate: Gated,
    store: Offload<Gated>,
    key: Key,
    first: JoinHandle<Result<Session, Error>>,
    _opener: Opener,
}

/// A test that fails must not leave a worker at the gate, for which its runtime would wait.
struct Opener(Gated);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Busy {
    /// To be called in a runtime.
    fn new(builder: OffloadBuilder) -> Busy {
        let gate = Gated::default();
        let key = gate.0.store.generate(Some("lobster"), None).unwrap();
        let store = builder.max_concurrency(1).build(gate.clone());
        let first = spawn(&store, &key, |store, key| async move {
            session_postgres::AsyncStore::get(&store, &key).await
        });
        Busy {
            _opener: Opener(gate.clone()),
            gate,
            store,
            key,
            first,
        }
    }

    /// Waits until the worker is at the gate with its call.
    async fn taken(&self) {
        while self.gate.came() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many calls wait, or one of these is answered.
    async fn waiting_or_done<T>(&self, count: usize, calls: &[JoinHandle<T>]) {
        let is_done = || calls.iter().any(JoinHandle::is_finished);
        while self.store.stats().waiting != count && !is_done() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many calls wait.
    async fn waiting(&self, calls: usize) {
        while self.store.stats().waiting != calls {
            tokio::task::yield_now().await;
        }
    }
}

/// Makes a call in a task of its own.
fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Offload<Gated>,
    key: &Key,
    call: impl FnOnce(Offload<Gated>, Key) -> F,
) -> JoinHandle<T> {
    tokio::spawn(call(store.clone(), key.clone()))
}

/// Waits, from outside of any runtime, until no call waits or runs.
fn wait_for_rest<S: Store>(store: &Offload<S>) {
    wait_until("the facade to rest", || {
        let stats = store.stats();
        stats.waiting == 0 && stats.running == 0
    });
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_time().build().unwrap()
}

/// Occupies the only worker of a facade until the sender is dropped.
fn occupy<S: Store>(store: &Offload<S>, runtime: &Runtime) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let busy = store.clone();
    runtime.spawn(async move {
        let hold = move |_: &S| {
            begun.send(()).unwrap();
            released.recv()
        };
        busy.run(hold).await
    });
    has_begun.recv().unwrap();
    release
}
