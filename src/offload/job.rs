//! The execution of calls: those of one verb together, and others alone.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    call::{Round, Ticket},
    history::History,
    stats::OffloadCounters,
    verb::Verb,
};
use crate::{Error, Store, deadline::Deadline, observe::trace::Span};

/// The context in which a job is executed.
pub(super) struct Context<'a, S: Store> {
    pub(super) store: &'a S,
    pub(super) history: &'a History,
    pub(super) counters: &'a OffloadCounters,
    /// The time limit of a call.
    pub(super) timeout: Duration,
    /// Lets a call wait again, among those that may take long.
    pub(super) enter_again: &'a dyn Fn(Waiting<Work<S>>),
    /// Counts the worker as one that is about to take calls, the first time. A job may do this before it answers its
    /// last calls, so that their callers' next calls do not wake another worker.
    pub(super) done: &'a dyn Fn(),
}

/// A job that waits in a queue.
pub(super) struct Waiting<J> {
    pub(super) job: J,
    /// The runtime of its caller.
    pub(super) home: Handle,
    /// The size of the values that it holds.
    pub(super) bytes: usize,
}

/// Something that a worker executes: calls of a verb together, or one call alone.
pub(super) trait Job<S: Store>: Sized + Send + 'static {
    fn execute(jobs: Vec<Self>, context: &Context<'_, S>);
}

/// A call that is executed alone and may take long: an update, a closure of the caller, or a write that waits
/// for a lock.
pub(super) type Work<S> = Box<dyn FnOnce(&Context<'_, S>) + Send>;

impl<S: Store> Job<S> for Work<S> {
    fn execute(jobs: Vec<Self>, context: &Context<'_, S>) {
        jobs.into_iter().for_each(|job| job(context));
    }
}

/// Makes a job of `work`, which is executed alone and may take long.
pub(super) fn alone<S: Store, T: Send + 'static>(
    work: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
    mut ticket: Ticket<T>,
) -> Work<S> {
    Box::new(move |context| {
        let round = Round::new(Deadline::new(ticket.begun, ticket.deadline));
        if ticket.claim.take(&round) {
            round.is_complete();
            ticket.leaves_queue(&context.counters.queue_seconds);
            let work = || ticket.span.in_scope(|| work(context.store));
            let done = catch(|| round.deadline.scope(work));
            context.history.learn(
                done.iter().flat_map(|done| done.as_ref().err()),
                done.is_ok(),
            );
            ticket.answer(done);
        }
    })
}

/// A call that can be executed together with others of its verb.
pub(super) struct Call<V: Verb> {
    pub(super) args: V::Args,
    pub(super) ticket: Ticket<V::Output>,
}

impl<V: Verb, S: Store> Job<S> for Call<V> {
    /// The statement is cancelled at the earliest deadline. Calls that have time left are then sent again.
    fn execute(mut calls: Vec<Self>, context: &Context<'_, S>) {
        loop {
            calls = context.in_time(calls);
            let Some(end) = calls.iter().map(|call| call.ticket.deadline).min() else {
                return;
            };
            let round = Round::new(Deadline::new(Instant::now(), end));
            calls.retain_mut(|call| {
                let is_taken = call.ticket.claim.take(&round);
                if is_taken {
                    call.ticket.leaves_queue(&context.counters.queue_seconds);
                }
                is_taken
            });
            round.is_complete();
            if calls.is_empty() {
                return;
            }
            let args: Vec<_> = calls.iter().map(|call| &call.args).collect();
            let begun = Instant::now();
            let spans = calls.iter().map(|call| &call.ticket.span);
            let done = catch(|| {
                let many = || V::many(context.store, &args, false);
                let results = Span::execute(spans, || round.deadline.scope(many));
                assert_eq!(results.len(), args.len(), "a store answers every call");
                results
            });
            context.history.executed_batch(begun.elapsed());
            let results = match done {
                Ok(results) => results,
                Err(panic) => return Call::panicked(calls, panic, context),
            };
            context.history.learn(
                results.iter().filter_map(|result| result.as_ref().err()),
                results.iter().any(Result::is_ok),
            );
            let is_over = round.deadline.has_passed();
            if !is_over {
                (context.done)();
            }
            let mut again = Vec::new();
            for (call, result) in calls.into_iter().zip(results) {
                match result {
                    Err(Error::TimedOut { .. })
                        if is_over && !call.ticket.remaining().is_zero() =>
                    {
                        again.push(call);
                    }
                    Err(Error::Locked) => call.wait_for_lock(context),
                    result => {
                        if let Some(bytes) = result.as_ref().ok().and_then(V::read) {
                            context.history.read_value(bytes);
                        }
                        call.ticket.answer(Ok(result));
                    }
                }
            }
            calls = again;
        }
    }
}

impl<V: Verb> Call<V> {
    /// If several calls panic together, each is executed alone, because it is not known which one panicked.
    fn panicked<S: Store>(calls: Vec<Self>, panic: Box<dyn Any + Send>, context: &Context<'_, S>) {
        let is_alone = calls.len() == 1;
        let context = &Context {
            done: &|| {},
            ..*context
        };
        let mut panic = Some(panic);
        for call in calls {
            match panic.take().filter(|_| is_alone) {
                Some(panic) => call.ticket.answer(Err(panic)),
                None => Call::execute(vec![call], context),
            }
        }
    }

    /// Lets the call wait again, to be executed alone, so that it delays no other.
    fn wait_for_lock<S: Store>(self, context: &Context<'_, S>) {
        let Call { args, ticket } = self;
        let (home, bytes) = (ticket.home.clone(), V::bytes(&args));
        ticket.claim.release();
        let wait = move |store: &S| {
            let results = V::many(store, &[&args], true);
            results.into_iter().next().unwrap_or(Err(Error::Locked))
        };
        let job = alone(wait, ticket);
        (context.enter_again)(Waiting { job, home, bytes });
    }
}

impl<S: Store> Context<'_, S> {
    /// Returns the calls that have time for a statement. The others are answered `TimedOut`, because a slow
    /// server would have to cancel them, and the calls that wait behind them would be late, too.
    fn in_time<V: Verb>(&self, calls: Vec<Call<V>>) -> Vec<Call<V>> {
        // A call that has just come is sent, so that there are newer durations.
        let needed = self.history.typical_duration().min(self.timeout / 4);
        let (calls, late): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .partition(|call| call.ticket.remaining() > needed);
        for mut call in late {
            call.ticket.leaves_queue(&self.counters.queue_seconds);
            let reason = self.history.too_late();
            let waited = call.ticket.begun.elapsed();
            call.ticket
                .answer(Ok(Err(Error::TimedOut { waited, reason })));
        }
        calls
    }
}

/// Catches a panic of the store. The caller gets it, and the store stays in use.
fn catch<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
}
