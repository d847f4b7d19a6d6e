//! Dropping a store on a thread that may block.

use std::{
    mem,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::runtime::Handle;

/// A store that is dropped on a thread that may block.
pub(super) struct DroppedOnThread<S: Send + 'static>(Option<S>);

impl<S: Send + 'static> DroppedOnThread<S> {
    pub(super) fn new(store: S) -> DroppedOnThread<S> {
        DroppedOnThread(Some(store))
    }
}

impl<S: Send + 'static> Deref for DroppedOnThread<S> {
    type Target = S;

    fn deref(&self) -> &S {
        match &self.0 {
            Some(store) => store,
            None => unreachable!("the store is taken only in drop"),
        }
    }
}

impl<S: Send + 'static> Drop for DroppedOnThread<S> {
    fn drop(&mut self) {
        let store = Arc::new(Mutex::new(self.0.take()));
        let take = |store: &Mutex<Option<S>>| {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.take()
        };
        if Handle::try_current().is_ok() {
            let moved = store.clone();
            let thread = thread::Builder::new().name("session-drop".to_owned());
            if thread.spawn(move || drop(take(&moved))).is_err() {
                // There is no thread. Dropping the store here would panic, because a client blocks.
                mem::forget(take(&store));
            }
        }
    }
}
