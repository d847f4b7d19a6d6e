//! The queues: one for each verb, and one for calls that are executed alone.

use std::{collections::VecDeque, mem};

use tokio::runtime::{self, Handle};

use super::{
    job::{Call, Job, Waiting, Work},
    verb::{Clear, Generate, Get, Insert, Renew, Set, Touch},
};
use crate::Store;

/// A queue for each verb, and one for the calls that may take long.
pub(super) struct Queues<S: Store> {
    pub(super) get: Calls<Call<Get>>,
    pub(super) renew: Calls<Call<Renew>>,
    pub(super) set: Calls<Call<Set>>,
    pub(super) touch: Calls<Call<Touch>>,
    pub(super) generate: Calls<Call<Generate>>,
    pub(super) insert: Calls<Call<Insert>>,
    pub(super) clear: Calls<Call<Clear>>,
    /// The calls that are executed alone.
    pub(super) long: Calls<Work<S>>,
    /// The index of the queue whose turn is next. Each has its turn, so that many calls of one verb delay no
    /// other.
    turn: usize,
}

pub(super) type Calls<J> = VecDeque<Waiting<J>>;

/// The calls that a worker executes together.
pub(super) struct Batch<S: Store> {
    pub(super) work: Work<S>,
    pub(super) calls: usize,
    /// The size of the values that the calls hold.
    pub(super) bytes: usize,
}

/// A queue of any verb.
trait AnyCalls<S: Store> {
    fn first(&self) -> Option<&Handle>;

    /// Takes up to `most` calls.
    fn take(&mut self, most: usize) -> Option<Batch<S>>;

    /// Takes out the calls of one runtime.
    fn take_from(&mut self, home: runtime::Id) -> Option<Batch<S>>;
}

impl<J: Job<S>, S: Store> AnyCalls<S> for Calls<J> {
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
    fn of<J: Job<S>>(calls: Vec<Waiting<J>>) -> Option<Batch<S>> {
        (!calls.is_empty()).then(|| Batch {
            calls: calls.len(),
            bytes: calls.iter().map(|call| call.bytes).sum(),
            work: Box::new(|context| {
                J::execute(calls.into_iter().map(|call| call.job).collect(), context);
            }),
        })
    }
}

/// The number of queues for verbs, and the index of the one for calls that may take long.
pub(super) const VERBS: usize = 7;

/// The number of queues for verbs that read. They come first.
pub(super) const READS: usize = 2;

impl<S: Store> Queues<S> {
    pub(super) fn new() -> Queues<S> {
        Queues {
            get: VecDeque::new(),
            renew: VecDeque::new(),
            set: VecDeque::new(),
            touch: VecDeque::new(),
            generate: VecDeque::new(),
            insert: VecDeque::new(),
            clear: VecDeque::new(),
            long: VecDeque::new(),
            turn: 0,
        }
    }

    fn all(&mut self) -> [&mut dyn AnyCalls<S>; VERBS + 1] {
        [
            &mut self.get,
            &mut self.renew,
            &mut self.set,
            &mut self.touch,
            &mut self.generate,
            &mut self.insert,
            &mut self.clear,
            &mut self.long,
        ]
    }

    /// Returns the index of a queue that has calls, and the runtime of its first call. Calls that may take long count
    /// only if `takes_long`.
    pub(super) fn first(&mut self, takes_long: bool) -> Option<(usize, Handle)> {
        let queues = VERBS + usize::from(takes_long);
        let all = self.all();
        let mut all = all[..queues].iter().enumerate();
        all.find_map(|(queue, calls)| Some((queue, calls.first()?.clone())))
    }

    /// Takes a batch out of the next queue that has calls, and returns the index of the queue. `most` returns the
    /// largest number of calls for that index.
    pub(super) fn take(&mut self, most: impl Fn(usize) -> usize) -> Option<(usize, Batch<S>)> {
        for _ in 0..=VERBS {
            let queue = self.turn;
            self.turn = (queue + 1) % (VERBS + 1);
            if let Some(batch) = self.all()[queue].take(most(queue)) {
                return Some((queue, batch));
            }
        }
        None
    }

    /// Takes out all calls of one runtime.
    pub(super) fn take_from(&mut self, home: runtime::Id) -> Vec<Batch<S>> {
        let all = self.all().into_iter();
        all.filter_map(|calls| calls.take_from(home)).collect()
    }
}
