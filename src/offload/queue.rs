//! The waiting calls and the number of workers. It decides when a worker is woken or started, and on which
//! runtime. It starts no worker itself and executes no call.
//!
//! A worker has not begun yet, is about to take calls, executes calls, or is idle. While a worker is about to take
//! calls, because it wakes up or has executed a batch, no other one is woken. A call that arrives meanwhile joins its
//! batch. If it leaves calls, it wakes the next worker before it executes its batch. So few threads are woken, and
//! none waits for another.
//!
//! The worker that became idle last is woken first, because its connection was used last.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    job::{Job, Waiting, Work},
    load::{Executing, Load},
    queues::{Batch, Calls, Queues, READS, VERBS},
    stats::OpenCalls,
    sync::{Condvar, Mutex, has_passed},
};
use crate::{Error, Store};

/// How long an idle worker waits for calls before it ends. A call within this time uses the thread of the call
/// before it. A new worker would need another thread, because tokio does not free a thread at once.
const LINGER: Duration = Duration::from_millis(10);

/// How long a worker may take to begin. After that, another call has another worker started.
const START: Duration = Duration::from_millis(50);

/// Up to this many calls are each executed alone, if there are workers for them. They are done sooner in
/// parallel than in a batch. From about twice as many on, a batch is faster.
const FEW: usize = 8;

/// The largest number of bytes that the reads of a batch are expected to return.
const MAX_BYTES: usize = 16 << 20;

/// The next step of a worker. Before it, the worker wakes another one, if any.
pub(super) enum Next<S: Store> {
    Work(Batch<S>, Executing, Option<Wake>),
    Close(Option<Wake>),
}

/// How another worker gets to take calls. This is done without the lock of the queue, for which the other worker would
/// wait otherwise.
pub(super) enum Wake {
    /// An idle worker is notified.
    Idle(Arc<Condvar>),
    /// A worker is started on a runtime.
    New(Handle),
}

/// The limits of a facade.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) workers: usize,
    /// The number of processors, by which the number of workers is adapted to the load. `None` if it is fixed.
    pub(super) processors: Option<usize>,
    pub(super) max_batch: usize,
    pub(super) max_waiting: usize,
    pub(super) max_waiting_bytes: usize,
}

impl Limits {
    /// The largest number of workers that execute calls which may take long: all but one, or the only one.
    fn long(&self) -> usize {
        (self.workers - 1).max(1)
    }
}

pub(super) struct Queue<S: Store> {
    limits: Limits,
    state: Mutex<State<S>>,
}

struct State<S: Store> {
    queues: Queues<S>,
    workers: Workers,
    load: Load,
    waiting_bytes: usize,
    open: OpenCalls,
}

#[derive(Default)]
struct Workers {
    /// The workers that have begun and not ended.
    running: usize,
    /// The running workers that execute a call which may take long.
    long: usize,
    /// The running workers that sleep and were not notified.
    idle: Vec<Arc<Condvar>>,
    /// The running workers that are about to take calls.
    coming: usize,
    /// The workers that have not begun yet: how many, and when the last one was started, by runtime.
    starting: HashMap<runtime::Id, (usize, Instant)>,
}

impl Workers {
    fn no_longer_starting(&mut self, home: runtime::Id) {
        if let Some((count, _)) = self.starting.get_mut(&home) {
            *count -= 1;
            if *count == 0 {
                self.starting.remove(&home);
            }
        }
    }
}

impl<S: Store> State<S> {
    /// Whether a worker may take a call that may take long.
    fn takes_long(&self, limits: &Limits) -> bool {
        self.workers.long < limits.long()
    }

    /// A queue with a call that a worker may take now, and the runtime of that call.
    fn first(&mut self, limits: &Limits) -> Option<(usize, Handle)> {
        let takes_long = self.takes_long(limits);
        self.queues.first(takes_long)
    }

    fn take(&mut self, limits: &Limits, value_size: usize) -> Option<(Batch<S>, Executing)> {
        let takes_long = self.takes_long(limits);
        let calls = self.open.waiting + self.open.running;
        let few = limits.workers.min(FEW);
        let most_reads = limits.max_batch.min(MAX_BYTES / value_size.max(1)).max(1);
        let most = |queue| match queue {
            VERBS => usize::from(takes_long),
            _ if calls <= few.min(self.load.most_alone(queue)) => 1,
            ..READS => most_reads,
            _ => limits.max_batch,
        };
        let (queue, batch) = self.queues.take(most)?;
        self.open.waiting -= batch.calls;
        self.open.running += batch.calls;
        self.waiting_bytes -= batch.bytes;
        self.workers.long += usize::from(queue == VERBS);
        let executing = self.load.begin(queue, batch.calls, Instant::now());
        Some((batch, executing))
    }
}

impl<S: Store> Queue<S> {
    pub(super) fn new(limits: Limits) -> Queue<S> {
        Queue {
            limits,
            state: Mutex::new(State {
                queues: Queues::new(),
                workers: Workers::default(),
                load: Load::new(limits.processors),
                waiting_bytes: 0,
                open: OpenCalls::default(),
            }),
        }
    }

    /// Lets a call wait. The caller must wake the worker that this returns, if any.
    pub(super) fn enter<J: Job<S>>(
        &self,
        queue: impl FnOnce(&mut Queues<S>) -> &mut Calls<J>,
        call: Waiting<J>,
    ) -> Result<Option<Wake>, Error> {
        let mut state = self.state.lock();
        let waiting = state.open.waiting;
        let bytes = state.waiting_bytes + call.bytes;
        // A single value may wait, even a larger one.
        let is_too_much =
            call.bytes > 0 && state.waiting_bytes > 0 && bytes > self.limits.max_waiting_bytes;
        if waiting >= self.limits.max_waiting || is_too_much {
            return Err(Error::Overloaded { waiting });
        }
        let home = call.home.clone();
        state.open.waiting += 1;
        state.waiting_bytes = bytes;
        queue(&mut state.queues).push_back(call);
        Ok(self.wake_worker(&mut state, Some(home)))
    }

    /// Lets a call wait again, among those that may take long. The caller must wake the worker that this returns, if
    /// any.
    pub(super) fn enter_again(&self, call: Waiting<Work<S>>) -> Option<Wake> {
        let mut state = self.state.lock();
        state.open.waiting += 1;
        state.waiting_bytes += call.bytes;
        state.queues.long.push_back(call);
        self.wake_worker(&mut state, None)
    }

    /// Returns the worker to wake for a call that has waited for some time, because workers may execute batches that
    /// take long.
    pub(super) fn wake(&self, home: Handle) -> Option<Wake> {
        self.wake_worker(&mut self.state.lock(), Some(home))
    }

    /// Chooses the worker to wake, if calls wait, none is about to take them, and another one pays: an idle one, or a new
    /// one if another may be started.
    ///
    /// Another one pays if the processors have room for its batch, or if enough calls wait for a full one.
    ///
    /// A new one is started on the caller's runtime, or else on that of a waiting call. A runtime may have no free
    /// thread, so that a worker does not begin there. Therefore workers that have not begun are counted by runtime, and
    /// calls on another runtime start their own. If no worker runs and the last one has not begun within [`START`],
    /// another one is started, because the system may have had no thread for it.
    fn wake_worker(&self, state: &mut State<S>, caller: Option<Handle>) -> Option<Wake> {
        if state.workers.coming > 0 {
            return None;
        }
        let (queue, first) = state.first(&self.limits)?;
        let waiting = state.open.waiting;
        let is_full = waiting >= self.limits.max_batch;
        if !(is_full || state.load.has_room(queue, waiting, Instant::now())) {
            return None;
        }
        let workers = &mut state.workers;
        if let Some(idle) = workers.idle.pop() {
            workers.coming += 1;
            return Some(Wake::Idle(idle));
        }
        if workers.running >= self.limits.workers {
            return None;
        }
        let home = caller.unwrap_or(first);
        let starting = workers.starting.entry(home.id());
        let (count, since) = starting.or_insert((0, Instant::now()));
        if *count > 0 && !(workers.running == 0 && has_passed(START, *since)) {
            return None;
        }
        *count += 1;
        *since = Instant::now();
        Some(Wake::New(home))
    }

    /// Counts a worker that has begun on this runtime. Returns whether it is needed.
    pub(super) fn begin(&self, home: runtime::Id) -> bool {
        let mut state = self.state.lock();
        let workers = &mut state.workers;
        workers.no_longer_starting(home);
        let is_needed = workers.running < self.limits.workers;
        workers.running += usize::from(is_needed);
        workers.coming += usize::from(is_needed);
        is_needed
    }

    /// Counts a batch that a worker has executed. It is about to take calls.
    pub(super) fn done(&self, batch: Executing) {
        let mut state = self.state.lock();
        state.load.end(batch, Instant::now());
        state.open.running -= batch.calls;
        state.workers.long -= usize::from(batch.queue == VERBS);
        state.workers.coming += 1;
    }

    /// Returns the next step of a worker, which sleeps on `idle`. With `only_while_for`, the worker continues only
    /// while a call of that runtime is first. `value_size` returns the typical size of a value that a call reads, in
    /// bytes.
    pub(super) fn next(
        &self,
        idle: &Arc<Condvar>,
        only_while_for: Option<runtime::Id>,
        value_size: impl Fn() -> usize,
    ) -> Next<S> {
        let is_idle = |state: &mut State<S>| {
            let mut all = state.workers.idle.iter();
            all.position(|other| Arc::ptr_eq(other, idle))
        };
        let mut state = self.state.lock();
        loop {
            state.workers.coming -= 1;
            let first = state.first(&self.limits).map(|(_, home)| home.id());
            if only_while_for.is_some() && first.is_some() && first != only_while_for {
                state.workers.running -= 1;
                return Next::Close(self.wake_worker(&mut state, None));
            }
            if let Some((batch, executing)) = state.take(&self.limits, value_size()) {
                return Next::Work(batch, executing, self.wake_worker(&mut state, None));
            }
            state.workers.idle.push(idle.clone());
            state = idle.wait_timeout_while(state, LINGER, |state| is_idle(state).is_some());
            if let Some(place) = is_idle(&mut state) {
                state.workers.idle.remove(place);
                state.workers.running -= 1;
                return Next::Close(None);
            }
            // It was notified, and is counted as coming. Another worker may have taken the calls.
        }
    }

    /// Counts a worker that was dropped before it had begun, because its runtime has shut down. Returns the worker
    /// to wake, if any, and the calls of the runtime that has shut down. When they are dropped, their callers get an
    /// error.
    pub(super) fn lost(&self, home: runtime::Id) -> (Option<Wake>, Vec<Batch<S>>) {
        let mut state = self.state.lock();
        state.workers.no_longer_starting(home);
        let lost = state.queues.take_from(home);
        for batch in &lost {
            state.open.waiting -= batch.calls;
            state.waiting_bytes -= batch.bytes;
        }
        (self.wake_worker(&mut state, None), lost)
    }

    pub(super) fn open_calls(&self) -> OpenCalls {
        self.state.lock().open
    }
}
