//! The calls that wait, and how many workers there are. Nothing here starts a worker or executes a call: the
//! queue says when a worker is to be started, and on which runtime.
//!
//! A worker executes calls, is idle, was told of a call and is about to wake up, or has not begun yet. While
//! calls wait, one worker is on its way to them, if any is free, and it sends the next before it sets to
//! work. So a call that comes while a thread wakes up joins its batch, and no caller pays for waking two.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::PoisonError,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    Stats,
    batch::{Call, Work},
    sync::{Condvar, Mutex, has_passed},
    verb::{Clear, Generate, Get, Insert, Set, Touch},
    worker::Context,
};
use crate::{Error, Store, recent::Recent};

/// How long a worker stays without work. A call that comes within this time finds the thread of the call
/// before it. A new worker would not, because that thread is not free again at once.
const LINGER: Duration = Duration::from_millis(10);

/// How long a worker may take to begin before another call has one started.
const START: Duration = Duration::from_millis(50);

/// So few calls are each executed alone, if there are workers for them. Side by side they are done sooner
/// than together, and from about twice as many on, later.
const FEW: usize = 8;

/// How many bytes of values the reads of a batch may be expected to return.
const MAX_BYTES: usize = 16 << 20;

/// A queue for each verb, and one for the calls that may take long.
pub(super) struct Queues<S: Store> {
    pub(super) get: Calls<Call<Get>>,
    pub(super) set: Calls<Call<Set>>,
    pub(super) touch: Calls<Call<Touch>>,
    pub(super) generate: Calls<Call<Generate>>,
    pub(super) insert: Calls<Call<Insert>>,
    pub(super) clear: Calls<Call<Clear>>,
    /// Each is executed alone.
    pub(super) long: Calls<Long<S>>,
}

/// A call that may take long: an update, a closure of the caller, or a write that waits for a lock.
pub(super) type Long<S> = Box<dyn FnOnce(&Context<'_, S>) + Send>;

pub(super) type Calls<J> = VecDeque<Waiting<J>>;

/// A call that waits.
pub(super) struct Waiting<J> {
    pub(super) job: J,
    /// The runtime of its caller.
    pub(super) home: Handle,
    /// The size of the values that it holds.
    pub(super) bytes: usize,
}

/// The calls that a worker executes together.
pub(super) struct Batch<S: Store> {
    pub(super) work: Long<S>,
    pub(super) calls: usize,
    pub(super) is_long: bool,
    bytes: usize,
}

/// A queue of any verb.
trait AnyCalls<S: Store> {
    fn first(&self) -> Option<&Handle>;

    fn take(&mut self, most: usize) -> Option<Batch<S>>;

    /// Takes out the calls of one runtime.
    fn take_from(&mut self, home: runtime::Id) -> Option<Batch<S>>;
}

impl<J: Work<S>, S: Store> AnyCalls<S> for Calls<J> {
    fn first(&self) -> Option<&Handle> {
        self.front().map(|call| &call.home)
    }

    fn take(&mut self, most: usize) -> Option<Batch<S>> {
        Batch::of(self.drain(..most.min(self.len())).collect())
    }

    fn take_from(&mut self, home: runtime::Id) -> Option<Batch<S>> {
        let all = mem::take(self).into_iter();
        let (taken, rest): (Vec<_>, Vec<_>) = all.partition(|call| call.home.id() == home);
        *self = rest.into();
        Batch::of(taken)
    }
}

impl<S: Store> Batch<S> {
    fn of<J: Work<S>>(calls: Vec<Waiting<J>>) -> Option<Batch<S>> {
        (!calls.is_empty()).then(|| Batch {
            calls: calls.len(),
            bytes: calls.iter().map(|call| call.bytes).sum(),
            is_long: J::IS_LONG,
            work: Box::new(|context| {
                J::carry_out(calls.into_iter().map(|call| call.job).collect(), context);
            }),
        })
    }
}

/// How many queues there are for verbs.
const VERBS: usize = 6;

/// The place of the queue of [`Get`].
const GET: usize = 0;

impl<S: Store> Queues<S> {
    fn new() -> Queues<S> {
        Queues {
            get: VecDeque::new(),
            set: VecDeque::new(),
            touch: VecDeque::new(),
            generate: VecDeque::new(),
            insert: VecDeque::new(),
            clear: VecDeque::new(),
            long: VecDeque::new(),
        }
    }

    fn of_verbs(&mut self) -> [&mut dyn AnyCalls<S>; VERBS] {
        [
            &mut self.get,
            &mut self.set,
            &mut self.touch,
            &mut self.generate,
            &mut self.insert,
            &mut self.clear,
        ]
    }
}

/// The next step of a worker. If this names a runtime, it first starts another worker there.
pub(super) enum Next<S: Store> {
    Work(Batch<S>, Option<Handle>),
    Close(Option<Handle>),
}

/// How much there may be at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) workers: usize,
    pub(super) max_batch: usize,
    pub(super) max_waiting: usize,
    pub(super) max_waiting_bytes: usize,
}

impl Limits {
    /// How many workers may execute calls that may take long: not the last one, if there are several.
    fn long(&self) -> usize {
        (self.workers - 1).max(1)
    }
}

pub(super) struct Queue<S: Store> {
    limits: Limits,
    state: Mutex<State<S>>,
    /// Wakes an idle worker that was told of a call.
    told: Condvar,
    /// The sizes of the values that were read lately, in bytes.
    pub(super) sizes: Recent,
    /// How long batches have taken lately, in microseconds.
    pub(super) durations: Recent,
    /// Why the store has not done the calls of late in time.
    cause: std::sync::Mutex<Option<String>>,
}

struct State<S: Store> {
    queues: Queues<S>,
    /// The queue whose turn is next: one after another, so that many calls of one verb delay no other.
    turn: usize,
    workers: Workers,
    waiting_bytes: usize,
    stats: Stats,
}

#[derive(Default)]
struct Workers {
    /// Those that have begun and not ended.
    running: usize,
    /// Of these, those that execute a call that may take long.
    long: usize,
    /// Of these, those that sleep and were told of no call.
    idle: usize,
    /// Of these, those that were told of a call and do not know it yet.
    told: usize,
    /// How many have not begun yet, by the runtime that they are to begin on, and when the last was started.
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
    /// The runtime of one of the first calls that a worker may take now.
    fn first(&mut self, limits: &Limits) -> Option<Handle> {
        let of_verb = self
            .queues
            .of_verbs()
            .into_iter()
            .find_map(|calls| calls.first().cloned());
        let takes_long = self.workers.long < limits.long();
        of_verb.or_else(|| {
            self.queues
                .long
                .front()
                .filter(|_| takes_long)
                .map(|call| call.home.clone())
        })
    }

    /// Takes a batch out of the queue whose turn it is, or of the next one that has calls.
    fn take(&mut self, limits: &Limits, sizes: &Recent) -> Option<Batch<S>> {
        let calls = self.stats.waiting + self.stats.running;
        let most = if calls <= limits.workers.min(FEW) {
            1
        } else {
            limits.max_batch
        };
        for _ in 0..=VERBS {
            let turn = self.turn;
            self.turn = (turn + 1) % (VERBS + 1);
            let batch = match turn {
                GET => self
                    .queues
                    .get
                    .take(most.min(MAX_BYTES / sizes.typical().max(1)).max(1)),
                VERBS if self.workers.long >= limits.long() => None,
                VERBS => self.queues.long.take(1),
                verb => self.queues.of_verbs()[verb].take(most),
            };
            if let Some(batch) = batch {
                self.stats.taken(batch.calls);
                self.waiting_bytes -= batch.bytes;
                self.workers.long += usize::from(batch.is_long);
                return Some(batch);
            }
        }
        None
    }
}

impl<S: Store> Queue<S> {
    pub(super) fn new(limits: Limits) -> Queue<S> {
        Queue {
            limits,
            state: Mutex::new(State {
                queues: Queues::new(),
                turn: 0,
                workers: Workers::default(),
                waiting_bytes: 0,
                stats: Stats::default(),
            }),
            told: Condvar::new(),
            sizes: Recent::default(),
            durations: Recent::default(),
            cause: std::sync::Mutex::default(),
        }
    }

    /// Lets a call wait. If this names a runtime, a worker is to be started there.
    pub(super) fn enter<J: Work<S>>(
        &self,
        queue: impl FnOnce(&mut Queues<S>) -> &mut Calls<J>,
        call: Waiting<J>,
    ) -> Result<Option<Handle>, Error> {
        let mut state = self.state.lock();
        let waiting = state.stats.waiting;
        let bytes = state.waiting_bytes + call.bytes;
        // A single value may wait, even a larger one.
        let is_too_much =
            call.bytes > 0 && state.waiting_bytes > 0 && bytes > self.limits.max_waiting_bytes;
        if waiting >= self.limits.max_waiting || is_too_much {
            state.stats.overloads += 1;
            return Err(Error::Overloaded { waiting });
        }
        let home = call.home.clone();
        state.stats.waiting += 1;
        state.waiting_bytes = bytes;
        queue(&mut state.queues).push_back(call);
        Ok(self.summon(&mut state, Some(home)))
    }

    /// Lets a call wait again, among those that may take long.
    pub(super) fn enter_again(&self, call: Waiting<Long<S>>) -> Option<Handle> {
        let mut state = self.state.lock();
        state.stats.waiting += 1;
        state.waiting_bytes += call.bytes;
        state.queues.long.push_back(call);
        self.summon(&mut state, None)
    }

    /// Has a worker come for the calls that wait, if there are any. If none is left to be told, and another
    /// may be started, this names the runtime to start it on.
    ///
    /// That is the caller's own, or one where a call waits. Callers on others do not wait for one whose
    /// threads are all taken, so that a worker does not begin there. If no worker runs and the last one has not
    /// begun soon, a call has another one started, because the system may not have had a thread for it.
    fn summon(&self, state: &mut State<S>, caller: Option<Handle>) -> Option<Handle> {
        let first = state.first(&self.limits)?;
        let workers = &mut state.workers;
        if workers.told > 0 {
            return None;
        }
        if workers.idle > 0 {
            workers.idle -= 1;
            workers.told += 1;
            self.told.notify_one();
            return None;
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
        Some(home)
    }

    /// A worker has begun on this runtime. Returns whether it is needed.
    pub(super) fn begin(&self, home: runtime::Id) -> bool {
        let mut state = self.state.lock();
        let workers = &mut state.workers;
        workers.no_longer_starting(home);
        let is_needed = workers.running < self.limits.workers;
        workers.running += usize::from(is_needed);
        is_needed
    }

    /// A worker has executed a batch of so many calls.
    pub(super) fn done(&self, calls: usize, was_long: bool) {
        let mut state = self.state.lock();
        state.stats.running -= calls;
        state.workers.long -= usize::from(was_long);
    }

    /// The next step of a worker. With `only_while_for` it goes on only while a call of that runtime is first.
    pub(super) fn next(&self, only_while_for: Option<runtime::Id>) -> Next<S> {
        let mut state = self.state.lock();
        loop {
            let first = state.first(&self.limits).map(|home| home.id());
            if only_while_for.is_some() && first.is_some() && first != only_while_for {
                state.workers.running -= 1;
                return Next::Close(self.summon(&mut state, None));
            }
            if let Some(batch) = state.take(&self.limits, &self.sizes) {
                return Next::Work(batch, self.summon(&mut state, None));
            }
            state.workers.idle += 1;
            state = self
                .told
                .wait_timeout_while(state, LINGER, |state| state.workers.told == 0);
            if state.workers.told == 0 {
                state.workers.idle -= 1;
                state.workers.running -= 1;
                return Next::Close(None);
            }
            // The caller that told it has counted it out of the idle. Another worker may have been faster.
            state.workers.told -= 1;
        }
    }

    /// A worker was dropped that had not begun: its runtime has shut down. Names the runtime to start another
    /// on, and returns the calls of the one that has shut down. Their callers learn that there will be no
    /// answer when these are dropped.
    pub(super) fn lost(&self, home: runtime::Id) -> (Option<Handle>, Vec<Batch<S>>) {
        let mut state = self.state.lock();
        state.workers.no_longer_starting(home);
        let of_verbs = state.queues.of_verbs().into_iter();
        let mut lost: Vec<_> = of_verbs.filter_map(|calls| calls.take_from(home)).collect();
        lost.extend(state.queues.long.take_from(home));
        for batch in &lost {
            state.stats.waiting -= batch.calls;
            state.waiting_bytes -= batch.bytes;
        }
        (self.summon(&mut state, None), lost)
    }

    pub(super) fn timed_out(&self) {
        self.state.lock().stats.timeouts += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        self.state.lock().stats
    }

    /// Why the store has not done the last calls in time, until it does one.
    pub(super) fn cause(&self) -> Option<String> {
        let cause = self.cause.lock();
        cause.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a call is late that no worker has taken.
    pub(super) fn too_late(&self) -> String {
        match self.cause() {
            Some(cause) => {
                format!("no worker was free; the calls before it waited too long: {cause}")
            }
            None => "no worker was free".to_owned(),
        }
    }

    pub(super) fn set_cause(&self, cause: Option<String>) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}
