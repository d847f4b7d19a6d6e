//! The calls that wait, and the lanes that take them. Nothing here opens a lane or knows what one
//! does: the queue says when a lane is to be opened, and on which runtime.
//!
//! A lane is busy with a batch, idle, told of a call and about to wake up, or not begun yet. While
//! calls wait, one lane is on its way to them, if there is any that is not busy, and it sends the next
//! before it sets to work. So whoever comes while a thread wakes up shares its trip, and nobody pays
//! for waking two.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle};

use super::{
    Stats,
    sync::{Condvar, Mutex},
    verb::{Alone, Clear, Generate, Get, Insert, Job, Set, Touch, Work},
};
use crate::{Error, Store};

/// How long a lane stays without work. A call that comes within this finds the thread of the call
/// before it, which a new lane would not: it is not free again at once.
const LINGER: Duration = Duration::from_millis(10);

/// So few calls each go alone, where there are lanes enough: side by side they are done sooner than
/// together, and from about twice as many on, later.
const FEW: usize = 8;

/// A line for each verb, in which its calls wait.
pub(super) struct Lines<S> {
    pub(super) get: Line<Job<Get>>,
    pub(super) set: Line<Job<Set>>,
    pub(super) touch: Line<Job<Touch>>,
    pub(super) generate: Line<Job<Generate>>,
    pub(super) insert: Line<Job<Insert>>,
    pub(super) clear: Line<Job<Clear>>,
    pub(super) alone: Line<Alone<S>>,
}

pub(super) type Line<J> = VecDeque<Waiting<J>>;

/// A call that waits.
pub(super) struct Waiting<J> {
    pub(super) job: J,
    /// When its caller gives up.
    pub(super) deadline: Instant,
    /// Where its caller runs.
    pub(super) home: Handle,
}

/// What a lane carries out in one go.
pub(super) struct Batch<S> {
    pub(super) work: Box<dyn FnOnce(&S) + Send>,
    pub(super) calls: usize,
    /// When the last of its callers gives up.
    pub(super) deadline: Instant,
}

/// A line, whatever its calls are.
trait AnyLine<S> {
    fn first(&self) -> Option<&Handle>;

    fn take(&mut self, most: usize) -> Option<Batch<S>>;

    /// Takes out the calls from one runtime.
    fn take_from(&mut self, home: runtime::Id) -> Option<Batch<S>>;
}

impl<J: Work<S>, S: Store> AnyLine<S> for Line<J> {
    fn first(&self) -> Option<&Handle> {
        self.front().map(|call| &call.home)
    }

    fn take(&mut self, most: usize) -> Option<Batch<S>> {
        let most = most.min(J::MOST).min(self.len());
        Batch::of(self.drain(..most).collect())
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
        Some(Batch {
            calls: calls.len(),
            deadline: calls.iter().map(|call| call.deadline).max()?,
            work: Box::new(|store| J::carry_out(calls.into_iter().map(|call| call.job), store)),
        })
    }
}

/// How many lines there are.
const LINES: usize = 7;

impl<S: Store> Lines<S> {
    fn new() -> Lines<S> {
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

    /// Where one of the calls that wait longest is from.
    fn first(&mut self) -> Option<&Handle> {
        self.all().into_iter().find_map(|line| line.first())
    }

    fn all(&mut self) -> [&mut dyn AnyLine<S>; LINES] {
        [
            &mut self.get,
            &mut self.set,
            &mut self.touch,
            &mut self.generate,
            &mut self.insert,
            &mut self.clear,
            &mut self.alone,
        ]
    }
}

/// What a lane does next. Where this names a runtime, it first opens another lane there.
pub(super) enum Next<S> {
    Work(Batch<S>, Option<Handle>),
    Close(Option<Handle>),
}

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
    /// Wakes an idle lane that was told of a call.
    told: Condvar,
}

struct State<S> {
    lines: Lines<S>,
    /// The line whose turn is next: one after the other, so that a flood of one verb starves no other.
    turn: usize,
    lanes: Lanes,
    stats: Stats,
}

/// How many lanes there are, and of these, how many are not busy.
#[derive(Default)]
struct Lanes {
    open: usize,
    /// Not begun yet: the runtimes that they are to begin on.
    opening: Vec<runtime::Id>,
    /// Asleep, with nobody having told them of a call.
    idle: usize,
    /// Told of a call, and not awake yet.
    told: usize,
}

impl Lanes {
    fn no_longer_opening(&mut self, home: runtime::Id) {
        if let Some(place) = self.opening.iter().position(|opening| *opening == home) {
            self.opening.swap_remove(place);
        }
    }
}

impl<S: Store> State<S> {
    /// Takes a batch out of the line whose turn it is, or the next in which calls wait.
    fn take(&mut self, limits: &Limits) -> Option<Batch<S>> {
        let calls = self.stats.waiting + self.stats.running;
        let most = if calls <= limits.lanes.min(FEW) {
            1
        } else {
            limits.max_batch
        };
        for _ in 0..LINES {
            let line = self.turn;
            self.turn = (line + 1) % LINES;
            if let Some(batch) = self.lines.all()[line].take(most) {
                self.stats.taken(batch.calls);
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
                lines: Lines::new(),
                turn: 0,
                lanes: Lanes::default(),
                stats: Stats::default(),
            }),
            told: Condvar::new(),
        }
    }

    /// Lets a call wait, which `enter` puts into its line. Where this names a runtime, a lane is to be
    /// opened there.
    pub(super) fn enter(
        &self,
        home: &Handle,
        enter: impl FnOnce(&mut Lines<S>),
    ) -> Result<Option<Handle>, Error> {
        let mut state = self.state.lock();
        if state.stats.waiting >= self.limits.max_waiting {
            state.stats.overloads += 1;
            return Err(Error::Overloaded {
                waiting: state.stats.waiting,
            });
        }
        state.stats.waiting += 1;
        enter(&mut state.lines);
        Ok(self.send_a_lane(&mut state, Some(home)))
    }

    /// Sees to it that a lane comes for the calls that wait, if there are any. Where none is left to be
    /// told, and another may be opened, this names the runtime to open it on.
    ///
    /// That is the caller's own, or one where a call waits. One whose threads are all taken, so that a
    /// lane does not begin there, is not waited for by callers on others.
    fn send_a_lane(&self, state: &mut State<S>, caller: Option<&Handle>) -> Option<Handle> {
        let lanes = &mut state.lanes;
        if state.stats.waiting == 0 || lanes.told > 0 {
            return None;
        }
        if lanes.idle > 0 {
            lanes.idle -= 1;
            lanes.told += 1;
            self.told.notify_one();
            return None;
        }
        if lanes.open == self.limits.lanes {
            return None;
        }
        let home = caller.or_else(|| state.lines.first())?.clone();
        if lanes.opening.contains(&home.id()) {
            return None;
        }
        lanes.open += 1;
        lanes.opening.push(home.id());
        Some(home)
    }

    /// A lane has begun on this runtime.
    pub(super) fn begun(&self, home: runtime::Id) {
        self.state.lock().lanes.no_longer_opening(home);
    }

    /// What a lane does next that has carried out so many calls. With `only_while_for` it goes on only
    /// while a call from that runtime is first.
    pub(super) fn next(&self, done: usize, only_while_for: Option<runtime::Id>) -> Next<S> {
        let mut state = self.state.lock();
        state.stats.running -= done;
        loop {
            let first = state.lines.first().map(Handle::id);
            if only_while_for.is_some() && first.is_some() && first != only_while_for {
                state.lanes.open -= 1;
                return Next::Close(self.send_a_lane(&mut state, None));
            }
            if let Some(batch) = state.take(&self.limits) {
                return Next::Work(batch, self.send_a_lane(&mut state, None));
            }
            state.lanes.idle += 1;
            state = self
                .told
                .wait_timeout_while(state, LINGER, |state| state.lanes.told == 0);
            if state.lanes.told == 0 {
                state.lanes.idle -= 1;
                state.lanes.open -= 1;
                return Next::Close(None);
            }
            // Who told it has counted it out of the idle. A busy lane may have been faster.
            state.lanes.told -= 1;
        }
    }

    /// A lane was dropped that had not begun: its runtime has shut down. Names the runtime to open
    /// another on, and hands over the calls from the dead one, whose callers learn that nobody will
    /// answer when these are dropped.
    pub(super) fn lost(&self, home: runtime::Id) -> (Option<Handle>, Vec<Batch<S>>) {
        let mut state = self.state.lock();
        state.lanes.no_longer_opening(home);
        state.lanes.open -= 1;
        let lines = state.lines.all().into_iter();
        let given_up: Vec<_> = lines.filter_map(|line| line.take_from(home)).collect();
        state.stats.waiting -= given_up.iter().map(|batch| batch.calls).sum::<usize>();
        (self.send_a_lane(&mut state, None), given_up)
    }

    pub(super) fn timed_out(&self) {
        self.state.lock().stats.timeouts += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        self.state.lock().stats
    }
}
