//! What a call is made of while it waits, and how calls of one verb are carried out together.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use tokio::sync::oneshot;

use super::queue::{Batch, Lines};
use crate::{Error, Key, Period, Session, Store};

/// What a caller is told: the call's result, or the panic that it ended in.
pub(super) type Answer<T> = thread::Result<Result<T, Error>>;

/// A call that waits in a line of its verb.
pub(super) struct Job<V: Verb> {
    pub(super) args: V::Args,
    pub(super) reply: oneshot::Sender<Answer<V::Output>>,
}

/// What a lane carries out next.
pub(super) type Work<S> = Box<dyn FnOnce(&S) + Send>;

/// A verb whose calls can share a trip.
pub(super) trait Verb: Sized + Send + 'static {
    /// What a call brings, owned, for it crosses threads.
    type Args: Send + 'static;
    type Output: Send + 'static;

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>>;

    fn one<S: Store>(store: &S, args: &Self::Args) -> Result<Self::Output, Error>;

    fn many<S: Store>(store: &S, args: &[Self::Args]) -> Vec<Result<Self::Output, Error>>;
}

/// Takes up to `most` calls out of a line, without those whose callers have gone. Says how many calls
/// left the line in all.
pub(super) fn take<V: Verb, S: Store>(
    line: &mut VecDeque<Job<V>>,
    most: usize,
) -> (usize, Option<Batch<S>>) {
    let before = line.len();
    let mut jobs = Vec::with_capacity(before.min(most));
    while jobs.len() < most {
        match line.pop_front() {
            Some(job) if job.reply.is_closed() => {}
            Some(job) => jobs.push(job),
            None => break,
        }
    }
    let calls = jobs.len();
    let batch = (calls > 0).then(|| Batch {
        work: Box::new(move |store: &S| carry_out(jobs, store)) as Work<S>,
        calls,
    });
    (before - line.len(), batch)
}

/// Carries out the calls in one trip, and answers each caller.
///
/// Where a trip of several panics, nobody can tell whose fault it was: each call then goes alone.
fn carry_out<V: Verb, S: Store>(jobs: Vec<Job<V>>, store: &S) {
    let (args, replies): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (job.args, job.reply)).unzip();
    let one = |args: &V::Args| catch_unwind(AssertUnwindSafe(|| V::one(store, args)));
    let answers: Vec<Answer<V::Output>> = if let [args] = &*args {
        vec![one(args)]
    } else {
        match catch_unwind(AssertUnwindSafe(|| V::many(store, &args))) {
            Ok(results) => results.into_iter().map(Ok).collect(),
            Err(_) => args.iter().map(one).collect(),
        }
    };
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A caller who has gone wants no answer.
        let _ = reply.send(answer);
    }
}

/// `(value, expiry)`
pub(super) struct Generate;

impl Verb for Generate {
    type Args = (Option<String>, Option<Period>);
    type Output = Key;

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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

    fn line<S: Store>(lines: &mut Lines<S>) -> &mut VecDeque<Job<Self>> {
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
