//! How a worker executes calls: those of one verb together, and others alone.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use super::{
    Shared,
    call::{Round, Ticket},
    queue::{Long, Waiting},
    verb::Verb,
    worker::Context,
};
use crate::{Error, Store, deadline::Deadline};

/// A job that waits in a queue, and its execution by a worker.
pub(super) trait Work<S: Store>: Sized + Send + 'static {
    /// Whether it may take long.
    const IS_LONG: bool;

    fn carry_out(jobs: Vec<Self>, context: &Context<'_, S>);
}

impl<S: Store> Work<S> for Long<S> {
    const IS_LONG: bool = true;

    fn carry_out(jobs: Vec<Self>, context: &Context<'_, S>) {
        jobs.into_iter().for_each(|job| job(context));
    }
}

/// Work that is executed alone, and may take long.
pub(super) fn long<S: Store, T: Send + 'static>(
    work: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
    ticket: Ticket<T>,
) -> Long<S> {
    Box::new(move |context| {
        let round = Round::new(Deadline::new(ticket.begun, ticket.deadline));
        if ticket.claim.take(&round) {
            round.is_complete();
            let store = &*context.shared.store;
            let done = catch(|| round.deadline.scope(|| work(store)));
            context.learn(
                done.iter().flat_map(|done| done.as_ref().err()),
                done.is_ok(),
            );
            ticket.answer(done);
        }
    })
}

/// A call of a verb.
pub(super) struct Call<V: Verb> {
    pub(super) args: V::Args,
    pub(super) ticket: Ticket<V::Output>,
}

impl<V: Verb, S: Store> Work<S> for Call<V> {
    const IS_LONG: bool = false;

    /// The statement is cancelled at the earliest deadline. Calls that have time left are then sent again.
    fn carry_out(mut calls: Vec<Self>, context: &Context<'_, S>) {
        loop {
            calls = context.in_time(calls);
            let Some(end) = calls.iter().map(|call| call.ticket.deadline).min() else {
                return;
            };
            let round = Round::new(Deadline::new(Instant::now(), end));
            calls.retain(|call| call.ticket.claim.take(&round));
            round.is_complete();
            if calls.is_empty() {
                return;
            }
            let args: Vec<_> = calls.iter().map(|call| &call.args).collect();
            let begun = Instant::now();
            let done = catch(|| {
                let store = &*context.shared.store;
                let results = round.deadline.scope(|| V::many(store, &args, false));
                assert_eq!(results.len(), args.len(), "a store answers every call");
                results
            });
            context.took(begun.elapsed());
            let results = match done {
                Ok(results) => results,
                Err(panic) => return Call::panicked(calls, panic, context),
            };
            context.learn(
                results.iter().filter_map(|result| result.as_ref().err()),
                results.iter().any(Result::is_ok),
            );
            let is_over = round.deadline.has_passed();
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
                            context.shared.queue.sizes.saw(bytes);
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
    /// If several calls panic together, each is executed alone, because it is not known whose fault it was.
    fn panicked<S: Store>(calls: Vec<Self>, panic: Box<dyn Any + Send>, context: &Context<'_, S>) {
        let is_alone = calls.len() == 1;
        let mut panic = Some(panic);
        for call in calls {
            match panic.take().filter(|_| is_alone) {
                Some(panic) => call.ticket.answer(Err(panic)),
                None => Call::carry_out(vec![call], context),
            }
        }
    }

    /// Has the call executed alone, so that it delays no other, and not by the last worker.
    fn wait_for_lock<S: Store>(self, context: &Context<'_, S>) {
        let Call { args, ticket } = self;
        let (home, bytes) = (ticket.home.clone(), V::bytes(&args));
        ticket.claim.release();
        let wait = move |store: &S| {
            let results = V::many(store, &[&args], true);
            results.into_iter().next().unwrap_or(Err(Error::Locked))
        };
        let job = long(wait, ticket);
        context.enter_again(Waiting { job, home, bytes });
    }
}

impl<S: Store> Context<'_, S> {
    /// The calls that have time for a statement. The others are told that their time is up: a server that
    /// is slow would have to cancel them, and the calls that wait behind them would be too late as well.
    fn in_time<V: Verb>(&self, calls: Vec<Call<V>>) -> Vec<Call<V>> {
        let Shared { queue, timeout, .. } = &**self.shared;
        let typical = Duration::from_micros(queue.durations.typical() as u64);
        // A call that has just come is sent, so that there are newer durations.
        let needed = typical.min(*timeout / 4);
        let (calls, late): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .partition(|call| call.ticket.remaining() > needed);
        for call in late {
            let reason = queue.too_late();
            let waited = call.ticket.begun.elapsed();
            call.ticket
                .answer(Ok(Err(Error::TimedOut { waited, reason })));
        }
        calls
    }

    fn took(&self, time: Duration) {
        let micros = time.as_micros().try_into().unwrap_or(usize::MAX);
        self.shared.queue.durations.saw(micros);
    }

    /// Keeps why calls were not done in time, for those that wait behind them, until one is done.
    fn learn<'e>(&self, mut errors: impl Iterator<Item = &'e Error>, is_done: bool) {
        let cause = errors.find_map(|error| match error {
            Error::TimedOut { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        if cause.is_some() || is_done && self.shared.queue.cause().is_some() {
            self.shared.queue.set_cause(cause);
        }
    }
}

/// A panic of the store is its caller's, who will see it. The store is used on.
fn catch<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
}
