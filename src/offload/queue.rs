//! The calls that wait, and the lanes that take them. Nothing here knows threads or tokio's runtime:
//! who opens a lane when it is told to, and how, is the facade's.

use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Stats,
    verb::{self, Clear, Generate, Get, Insert, Job, Set, Touch, Work},
};
use crate::{Error, Store};

/// A line for each verb, in which its calls wait.
pub(super) struct Lines<S> {
    pub(super) get: VecDeque<Job<Get>>,
    pub(super) set: VecDeque<Job<Set>>,
    pub(super) touch: VecDeque<Job<Touch>>,
    pub(super) generate: VecDeque<Job<Generate>>,
    pub(super) insert: VecDeque<Job<Insert>>,
    pub(super) clear: VecDeque<Job<Clear>>,
    /// What goes alone: rotations, updates, and closures of the user's own.
    pub(super) alone: VecDeque<Work<S>>,
}

impl<S> Default for Lines<S> {
    fn default() -> Self {
        Lines {
            get: VecDeque::new(),
            set: VecDeque::new(),
            touch: VecDeque::new(),
            generate: VecDeque::new(),
            insert: VecDeque::new(),
            clear: VecDeque::new(),
            alone: VecDeque::new(),
        }
    }
}

/// A batch that a lane is to carry out.
pub(super) struct Batch<S> {
    pub(super) work: Work<S>,
    /// How many calls it is.
    pub(super) calls: usize,
}

impl<S: Store> Lines<S> {
    const COUNT: usize = 7;

    /// Takes up to `most` calls out of a line, without those whose callers have gone. Says how many
    /// calls left the line in all.
    fn take(&mut self, line: usize, most: usize) -> (usize, Option<Batch<S>>) {
        match line {
            0 => verb::take(&mut self.get, most),
            1 => verb::take(&mut self.set, most),
            2 => verb::take(&mut self.touch, most),
            3 => verb::take(&mut self.generate, most),
            4 => verb::take(&mut self.insert, most),
            5 => verb::take(&mut self.clear, most),
            _ => match self.alone.pop_front() {
                Some(work) => (1, Some(Batch { work, calls: 1 })),
                None => (0, None),
            },
        }
    }
}

/// How long a lane without work stays open. A call that comes within this finds its thread there,
/// where a new lane would need another, for this one is not free at once.
const LINGER: Duration = Duration::from_millis(10);

/// How much there may be at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) lanes: usize,
    pub(super) max_batch: usize,
    pub(super) max_waiting: usize,
}

pub(super) struct Queue<S> {
    limits: Limits,
    state: Mutex<State<S>>,
    /// Tells a lane that lingers of a call.
    arrival: Condvar,
}

struct State<S> {
    lines: Lines<S>,
    /// The line whose turn is next: one after the other, so that a flood of one verb starves no other.
    turn: usize,
    lanes: usize,
    /// How many lanes linger, and have not been told of a call.
    lingering: usize,
    /// How many were told, and have not woken up yet.
    told: usize,
    stats: Stats,
}

impl<S: Store> State<S> {
    /// Takes a batch out of the line whose turn it is, or the next in which calls wait.
    fn take(&mut self, most: usize) -> Option<Batch<S>> {
        for _ in 0..Lines::<S>::COUNT {
            let line = self.turn;
            self.turn = (line + 1) % Lines::<S>::COUNT;
            let (left, batch) = self.lines.take(line, most);
            self.stats.waiting -= left;
            if let Some(batch) = batch {
                self.stats.running += batch.calls;
                self.stats.calls += batch.calls as u64;
                self.stats.batches += 1;
                self.stats.largest_batch = self.stats.largest_batch.max(batch.calls);
                return Some(batch);
            }
        }
        None
    }
}

impl<S: Store> Queue<S> {
    pub(super) fn new(limits: Limits) -> Queue<S> {
        let state = State {
            lines: Lines::default(),
            turn: 0,
            lanes: 0,
            lingering: 0,
            told: 0,
            stats: Stats::default(),
        };
        Queue {
            limits,
            state: Mutex::new(state),
            arrival: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets so many calls wait, which `enter` puts into their lines. Says whether the caller is to
    /// open a lane: there is one for each call that waits, up to the limit.
    pub(super) fn enter(
        &self,
        calls: usize,
        enter: impl FnOnce(&mut Lines<S>),
    ) -> Result<bool, Error> {
        let mut state = self.state();
        if state.stats.waiting + calls > self.limits.max_waiting {
            state.stats.overloads += calls as u64;
            return Err(Error::Overloaded {
                waiting: state.stats.waiting,
            });
        }
        state.stats.waiting += calls;
        enter(&mut state.lines);
        if calls > 0 && state.lingering > 0 {
            state.lingering -= 1;
            state.told += 1;
            self.arrival.notify_one();
            return Ok(false);
        }
        let opens = calls > 0 && state.lanes < self.limits.lanes;
        state.lanes += usize::from(opens);
        Ok(opens)
    }

    /// What a lane does next, after it has `done` so many calls; where it is `None`, the lane is
    /// closed.
    pub(super) fn next(&self, done: usize) -> Option<Batch<S>> {
        let mut state = self.state();
        state.stats.running -= done;
        loop {
            if let Some(batch) = state.take(self.limits.max_batch) {
                return Some(batch);
            }
            state.lingering += 1;
            let untold = |state: &mut State<S>| state.told == 0;
            (state, _) = self
                .arrival
                .wait_timeout_while(state, LINGER, untold)
                .unwrap_or_else(PoisonError::into_inner);
            if state.told == 0 {
                state.lingering -= 1;
                state.lanes -= 1;
                return None;
            }
            // Who told it has taken it off the lingering lanes. A busy lane may have been faster.
            state.told -= 1;
        }
    }

    /// A lane that was to be opened never will: the runtime is shutting down. Where it was the last,
    /// nobody is left to take the calls that wait, and dropping them tells their callers.
    pub(super) fn lane_is_lost(&self) {
        let mut state = self.state();
        state.lanes -= 1;
        if state.lanes == 0 {
            state.stats.waiting = 0;
            let lines = mem::take(&mut state.lines);
            drop(state);
            drop(lines);
        }
    }

    pub(super) fn timed_out(&self) {
        self.state().stats.timeouts += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        self.state().stats
    }
}
