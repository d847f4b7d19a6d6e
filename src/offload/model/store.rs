//! The store of the models: it answers with the key, and counts its callers.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
    sync::mpsc,
    thread,
};

use crate::{
    Error, Key, OwnedSession, Period, Pruned, Session, SessionFields, ShardMap, Store,
    deadline::Deadline,
};

/// A store that answers with the key and records it.
#[derive(Default)]
pub(super) struct Echo {
    served: Mutex<Vec<String>>,
    /// The number of workers in the store.
    pub(super) busy: Gauge,
    /// The number of workers that execute calls which may take long.
    pub(super) long: Gauge,
    /// Whether some deadlines pass before a batch is executed, and some rows are locked.
    pub(super) is_troubled: AtomicBool,
    /// The number of calls that were `Locked`, which are taken twice.
    pub(super) locked: AtomicUsize,
    pub(super) has_served_the_gone: AtomicBool,
    /// The parallelism of the store, at least 1.
    pub(super) parallelism: AtomicUsize,
    /// Whether `get` was called with [`SENT_TWICE`].
    was_sent: AtomicBool,
    /// The second `get` with [`SENT_TWICE`] sends to one of these, and waits for the other.
    pub(super) held: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

/// A `get` of this key is cancelled at a deadline the first time.
pub(super) const SENT_TWICE: &str = "twice";

#[derive(Default)]
pub(super) struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let done = work();
        self.now.fetch_sub(1, SeqCst);
        done
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

impl Echo {
    pub(super) fn serve<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        self.busy.during(|| {
            let mut served = self.served.lock().expect("no thread panics");
            served.extend(keys.map(str::to_owned));
            drop(served);
            thread::yield_now();
        });
    }

    pub(super) fn served(&self) -> Vec<String> {
        let mut served = self.served.lock().expect("no thread panics").clone();
        served.sort();
        served
    }

    /// Returns true by chance, if the store is troubled.
    fn fails(&self) -> bool {
        self.is_troubled.load(SeqCst) && thread_rng().gen_bool(0.3)
    }

    /// By chance, the deadline passes during the statement, which then has no effect.
    fn is_cancelled(&self) -> bool {
        let is_cancelled = self.fails();
        if is_cancelled {
            let deadline = Deadline::current().expect("every call has one");
            self.busy.during(thread::yield_now);
            deadline.expire();
        }
        is_cancelled
    }

    /// The first time, the deadline passes. The second time, waits.
    fn is_cancelled_once(&self) -> bool {
        let is_first = !self.was_sent.swap(true, SeqCst);
        let mut held = self.held.lock().expect("no thread panics");
        if is_first {
            Deadline::current().expect("every call has one").expire();
        } else if let Some((is_held, open)) = held.take() {
            drop(held);
            is_held.send(()).expect("it is waited for");
            open.recv().expect("it is sent");
        }
        is_first
    }
}

fn too_late() -> Error {
    Error::TimedOut {
        waited: Duration::ZERO,
        reason: String::new(),
    }
}

fn answer(key: &Key) -> Result<Session, Error> {
    Ok(Session::new(key.to_string(), Period::MAX))
}

impl Store for Echo {
    fn default_period(&self) -> Period {
        Period::MAX
    }

    fn set_default_period(&self, _: Period) {}

    fn generate_many(&self, _: &[SessionFields<'_>]) -> Vec<Result<Key, Error>> {
        unreachable!("no model calls this")
    }

    fn clear(&self, _: &Key) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn set(&self, _: &Key, _: &str, _: Option<Period>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn insert(&self, _: &Key, _: Option<&str>, _: Option<Period>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    /// Waits for the lock, so it may take long.
    fn touch(&self, key: &Key, _: Option<Period>) -> Result<(), Error> {
        self.long.during(|| self.serve([key.as_str()].into_iter()));
        Ok(())
    }

    fn rotate_to(&self, _: &Key, _: &Key, _: SessionFields<'_>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn set_owner(&self, _: &Key, _: Option<&str>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn owned(&self, _: &str) -> Result<Vec<OwnedSession>, Error> {
        unreachable!("no model calls this")
    }

    fn clear_owned(&self, _: &str, _: Option<&Key>) -> Result<u64, Error> {
        unreachable!("no model calls this")
    }

    fn clear_handle(&self, _: &str, _: &str) -> Result<bool, Error> {
        unreachable!("no model calls this")
    }

    fn new_key(&self, _: Option<&Key>) -> Result<Key, Error> {
        Key::generate()
    }

    fn join_map(&self, _: &str, _: &ShardMap) -> Result<Option<ShardMap>, Error> {
        unreachable!("the model has one server")
    }

    fn prune_pass(&self, _: u64) -> Pruned {
        unreachable!("no model calls this")
    }

    fn renew_many(&self, _: &[(&Key, Option<Period>)]) -> Vec<Result<Session, Error>> {
        unreachable!("no model calls this")
    }

    fn try_clear_many(&self, _: &[&Key]) -> Vec<Result<(), Error>> {
        unreachable!("no model calls this")
    }

    fn try_set_many(&self, _: &[(&Key, &str, Option<Period>)]) -> Vec<Result<(), Error>> {
        unreachable!("no model calls this")
    }

    fn try_insert_many(
        &self,
        _: &[(&Key, Option<&str>, Option<Period>)],
    ) -> Vec<Result<(), Error>> {
        unreachable!("no model calls this")
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.parallelism.load(SeqCst)).unwrap_or(NonZeroUsize::MIN)
    }

    fn update(
        &self,
        _: &Key,
        _: Option<Period>,
        _: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        unreachable!("no model calls this")
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        let is_special = keys.iter().any(|key| key.as_str() == SENT_TWICE);
        if self.is_cancelled() || is_special && self.is_cancelled_once() {
            return keys.iter().map(|_| Err(too_late())).collect();
        }
        self.serve(keys.iter().map(|key| key.as_str()));
        keys.iter().map(|key| answer(key)).collect()
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        let touch = |(key, expiry): &(&Key, _)| self.touch(key, *expiry);
        calls.iter().map(touch).collect()
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        if self.is_cancelled() {
            return calls.iter().map(|_| Err(too_late())).collect();
        }
        let results: Vec<_> = calls
            .iter()
            .map(|_| match self.fails() {
                true => Err(Error::Locked),
                false => Ok(()),
            })
            .collect();
        let locked = results.iter().filter(|result| result.is_err()).count();
        self.locked.fetch_add(locked, SeqCst);
        let done = calls.iter().zip(&results).filter(|(_, done)| done.is_ok());
        self.serve(done.map(|((key, _), _)| key.as_str()));
        results
    }
}
