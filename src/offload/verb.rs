//! What a call is made of while it waits, and how calls of one verb are carried out together.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use tokio::sync::oneshot;

use super::queue::{Line, Lines};
use crate::{Error, Key, Period, Session, Store, deadline};

/// What a caller is told: the call's result, or the panic that it ended in.
pub(super) type Answer<T> = thread::Result<Result<T, Error>>;

/// Where a caller is told.
pub(super) type Reply<T> = oneshot::Sender<Answer<T>>;

/// What waits in a line, and how a lane carries it out.
pub(super) trait Work<S>: Sized + Send + 'static {
    /// The most of it that make a trip together.
    const MOST: usize;

    fn carry_out(jobs: impl Iterator<Item = Self>, store: &S);
}

/// A call that makes its trip alone: a rotation, an update, or a closure of the user's own.
pub(super) type Alone<S> = Box<dyn FnOnce(&S) + Send>;

impl<S: Store> Work<S> for Alone<S> {
    const MOST: usize = 1;

    fn carry_out(jobs: impl Iterator<Item = Self>, store: &S) {
        jobs.for_each(|job| job(store));
    }
}

/// A call of its caller's own.
pub(super) fn alone<S, T: Send + 'static>(
    work: impl FnOnce(&S) -> T + Send + 'static,
    reply: Reply<T>,
) -> Alone<S> {
    Box::new(move |store| {
        if !reply.is_closed() {
            answer(reply, catch(|| Ok(work(store))));
        }
    })
}

/// A verb whose calls can share a trip.
pub(super) trait Verb: Sized + Send + 'static {
    /// What a call brings, owned, for it crosses threads.
    type Args: Send + 'static;
    type Output: Send + 'static;

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>>;

    fn one<S: Store>(store: &S, args: &Self::Args) -> Result<Self::Output, Error>;

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<Self::Output, Error>>;
}

/// A call of a verb.
pub(super) struct Job<V: Verb> {
    pub(super) args: V::Args,
    pub(super) reply: Reply<V::Output>,
}

impl<V: Verb, S: Store> Work<S> for Job<V> {
    const MOST: usize = usize::MAX;

    /// Where a trip of several panics, nobody can tell whose fault it was: each then goes alone. So do calls
    /// that wait for a lock of somebody else's, once the others have their answers.
    fn carry_out(jobs: impl Iterator<Item = Self>, store: &S) {
        let (args, replies): (Vec<_>, Vec<_>) = jobs
            .filter(|job| !job.reply.is_closed())
            .map(|job| (job.args, job.reply))
            .unzip();
        let together = if args.len() > 1 {
            let results = catch(|| {
                let end = deadline::after(deadline::LOCK_WAIT);
                let results = deadline::LOCKS.within(end, || V::many(store, &args));
                assert_eq!(results.len(), args.len(), "a store answers every call");
                results
            });
            results.ok()
        } else {
            None
        };
        let mut alone = Vec::new();
        match together {
            Some(results) => {
                for ((reply, args), result) in replies.into_iter().zip(&args).zip(results) {
                    match result {
                        Err(e) if e.is_about_lock() => alone.push((reply, args)),
                        result => answer(reply, Ok(result)),
                    }
                }
            }
            None => alone.extend(replies.into_iter().zip(&args)),
        }
        for (reply, args) in alone {
            answer(reply, catch(|| V::one(store, args)));
        }
    }
}

/// A panic of the store is its caller's, who will see it; the store is used on.
fn catch<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
}

fn answer<T>(reply: Reply<T>, answer: Answer<T>) {
    // A caller who has gone wants no answer.
    let _ = reply.send(answer);
}

/// `(value, expiry)`
pub(super) struct Generate;

impl Verb for Generate {
    type Args = (Option<String>, Option<Period>);
    type Output = Key;

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.generate
    }

    fn one<S: Store>(store: &S, (value, expiry): &Self::Args) -> Result<Key, Error> {
        store.generate(value.as_deref(), *expiry)
    }

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<Key, Error>> {
        let calls = args
            .iter()
            .map(|(value, expiry)| (value.as_deref(), *expiry));
        store.generate_many(&calls.collect::<Vec<_>>())
    }
}

/// `key`
pub(super) struct Clear;

impl Verb for Clear {
    type Args = Key;
    type Output = ();

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.clear
    }

    fn one<S: Store>(store: &S, key: &Key) -> Result<(), Error> {
        store.clear(key)
    }

    fn many<S: Store>(store: &S, keys: &[Key]) -> Vec<Result<(), Error>> {
        store.clear_many(&keys.iter().collect::<Vec<_>>())
    }
}

/// `key`
pub(super) struct Get;

impl Verb for Get {
    type Args = Key;
    type Output = Session;

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.get
    }

    fn one<S: Store>(store: &S, key: &Key) -> Result<Session, Error> {
        store.get(key)
    }

    fn many<S: Store>(store: &S, keys: &[Key]) -> Vec<Result<Session, Error>> {
        store.get_many(&keys.iter().collect::<Vec<_>>())
    }
}

/// `(key, value, expiry)`
pub(super) struct Set;

impl Verb for Set {
    type Args = (Key, String, Option<Period>);
    type Output = ();

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.set
    }

    fn one<S: Store>(store: &S, (key, value, expiry): &Self::Args) -> Result<(), Error> {
        store.set(key, value, *expiry)
    }

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<(), Error>> {
        let calls = args
            .iter()
            .map(|(key, value, expiry)| (key, value.as_str(), *expiry));
        store.set_many(&calls.collect::<Vec<_>>())
    }
}

/// `(key, value, expiry)`
pub(super) struct Insert;

impl Verb for Insert {
    type Args = (Key, Option<String>, Option<Period>);
    type Output = ();

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.insert
    }

    fn one<S: Store>(store: &S, (key, value, expiry): &Self::Args) -> Result<(), Error> {
        store.insert(key, value.as_deref(), *expiry)
    }

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<(), Error>> {
        let calls = args
            .iter()
            .map(|(key, value, expiry)| (key, value.as_deref(), *expiry));
        store.insert_many(&calls.collect::<Vec<_>>())
    }
}

/// `(key, expiry)`
pub(super) struct Touch;

impl Verb for Touch {
    type Args = (Key, Option<Period>);
    type Output = ();

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut Line<Job<Self>> {
        &mut lines.touch
    }

    fn one<S: Store>(store: &S, (key, expiry): &Self::Args) -> Result<(), Error> {
        store.touch(key, *expiry)
    }

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<(), Error>> {
        let calls = args.iter().map(|(key, expiry)| (key, *expiry));
        store.touch_many(&calls.collect::<Vec<_>>())
    }
}
