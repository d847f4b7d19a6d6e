//! The `sync` of the models: shuttle decides which thread runs next, and when time passes.
//!
//! Nothing here may use a real clock, a real lock or the current runtime, because all threads of a model run in
//! turns on one thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    future::{Future, poll_fn},
    mem::{self, ManuallyDrop},
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{Arc, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use shuttle::{
    rand::{Rng, thread_rng},
    sync,
    thread::{self, JoinHandle},
};
use tokio::runtime::{self, Handle};

/// The probability that time passes where it may.
const HASTE: f64 = 0.3;

std::thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// The state of one run of a model.
#[derive(Default)]
struct World {
    /// Whether all sleeping threads wake up.
    is_over: bool,
    condvars: Vec<Arc<sync::Condvar>>,
    workers: Vec<JoinHandle<()>>,
    shut_down: HashSet<runtime::Id>,
    /// The number of further workers for which the system has no thread.
    without_thread: usize,
    /// The workers without a thread. After a failed run they stay here, because dropping one takes locks of that run.
    stuck: ManuallyDrop<Vec<Box<dyn FnOnce() + Send>>>,
}

shuttle::thread_local! {
    static HOME: RefCell<Option<Handle>> = RefCell::new(None);
    static IS_IMPATIENT: Cell<bool> = Cell::new(false);
}

/// Resets the state of the last run.
pub(super) fn begin() {
    WORLD.take();
}

/// Makes this thread call from a runtime.
pub(super) fn enter(home: &Handle) {
    HOME.with(|current| current.replace(Some(home.clone())));
}

/// Sets whether the calls of this thread can time out.
pub(super) fn be_impatient(impatient: bool) {
    IS_IMPATIENT.with(|is_impatient| is_impatient.set(impatient));
}

pub(super) fn shut_down(runtime: &Handle) {
    WORLD.with_borrow_mut(|world| world.shut_down.insert(runtime.id()));
}

/// Leaves this many workers without a thread. They begin on the thread of a later worker, as in tokio.
pub(super) fn refuse_threads(count: usize) {
    WORLD.with_borrow_mut(|world| world.without_thread = count);
}

fn has_shut_down(runtime: runtime::Id) -> bool {
    WORLD.with_borrow(|world| world.shut_down.contains(&runtime))
}

/// Lets time pass until all workers have ended. `lock` takes the lock under which they sleep, once.
///
/// Time passes for all threads only here. A caller that waits for a worker which was not notified sleeps until
/// then. But this is called only after all callers have their answers, so such a wait is a deadlock.
pub(super) fn end(lock: impl FnOnce()) {
    WORLD.with_borrow_mut(|world| world.is_over = true);
    begin_stuck();
    // A worker that has checked the time before holds the lock until it sleeps.
    lock();
    for condvar in WORLD.with_borrow(|world| world.condvars.clone()) {
        condvar.notify_all();
    }
    loop {
        let workers = WORLD.with_borrow_mut(|world| mem::take(&mut world.workers));
        if workers.is_empty() {
            return;
        }
        for worker in workers {
            worker.join().expect("no worker panics");
        }
    }
}

pub(in crate::offload) struct Mutex<T>(sync::Mutex<T>);

pub(in crate::offload) struct MutexGuard<'a, T> {
    mutex: &'a sync::Mutex<T>,
    guard: sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    pub(in crate::offload) fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    pub(in crate::offload) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard::of(&self.0)
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn of(mutex: &'a sync::Mutex<T>) -> MutexGuard<'a, T> {
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { mutex, guard }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

pub(in crate::offload) struct Condvar(Arc<sync::Condvar>);

impl Condvar {
    pub(in crate::offload) fn new() -> Condvar {
        let condvar = Arc::new(sync::Condvar::new());
        WORLD.with_borrow_mut(|world| world.condvars.push(condvar.clone()));
        Condvar(condvar)
    }

    pub(in crate::offload) fn notify_one(&self) {
        self.0.notify_one();
    }

    /// By chance, times out at once, or sleeps until it is notified or the model ends.
    pub(in crate::offload) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        // Without this step, shuttle does not notice a worker that loops without sleeping.
        thread::yield_now();
        while condition(&mut guard) {
            let mutex = guard.mutex;
            let is_over = WORLD.with_borrow(|world| world.is_over);
            if is_over || thread_rng().gen_bool(HASTE) {
                drop(guard);
                thread::yield_now();
                return MutexGuard::of(mutex);
            }
            let woken = self.0.wait(guard.guard);
            guard = MutexGuard {
                mutex,
                guard: woken.unwrap_or_else(PoisonError::into_inner),
            };
        }
        guard
    }
}

pub(in crate::offload) fn current_runtime() -> Option<Handle> {
    HOME.with(|home| home.borrow().clone())
}

/// Shuts a runtime down: it drops workers that have not begun, and those that it gets later.
pub(in crate::offload) fn spawn_blocking(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    let runtime = runtime.id();
    if has_shut_down(runtime) {
        return;
    }
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        if !has_shut_down(runtime) {
            work();
        }
    });
    let has_thread = WORLD.with_borrow_mut(|world| {
        world.stuck.push(work);
        let has_thread = world.without_thread == 0;
        world.without_thread = world.without_thread.saturating_sub(1);
        has_thread
    });
    if has_thread {
        begin_stuck();
    }
}

/// Executes the workers that wait for a thread.
fn begin_stuck() {
    let works = WORLD.with_borrow_mut(|world| mem::take(&mut *world.stuck));
    let worker = thread::spawn(|| works.into_iter().for_each(|work| work()));
    WORLD.with_borrow_mut(|world| world.workers.push(worker));
}

/// By chance, times out early if the caller is impatient.
pub(in crate::offload) fn timeout<T>(
    _time: Duration,
    work: impl Future<Output = T>,
) -> impl Future<Output = Option<T>> {
    let is_impatient = IS_IMPATIENT.with(Cell::get);
    async move {
        if is_impatient {
            up_to(thread_rng().gen_range(1..5), work).await
        } else {
            Some(work.await)
        }
    }
}

/// Returns the output of `work` if it is ready after at most this many polls.
pub(super) async fn up_to<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(move |context| {
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

pub(in crate::offload) fn has_passed(_time: Duration, _since: Instant) -> bool {
    thread_rng().gen_bool(HASTE)
}
