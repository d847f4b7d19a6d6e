//! Sessions of an owner, while other calls change them.

mod locks;
mod races;

use std::{sync::Barrier, thread};

use session_postgres::{Key, PostgresStore, Store};

use crate::support::verbs::of_owner;

/// Adds sessions of the owner `crab`.
fn sessions(store: &PostgresStore, count: usize) -> Vec<Key> {
    let made = store.generate_many(&vec![of_owner("crab"); count]);
    made.into_iter().map(Result::unwrap).collect()
}

/// Runs both at the same time.
fn at_once<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            start.wait();
            first()
        });
        start.wait();
        let second = second();
        (first.join().unwrap(), second)
    })
}
