//! Where a store is dropped.

use std::{ops::Deref, thread};

use tokio::runtime::Handle;

/// A store that is dropped where it may block.
pub(super) struct DroppedElsewhere<S: Send + 'static>(Option<S>);

impl<S: Send + 'static> DroppedElsewhere<S> {
    pub(super) fn new(store: S) -> DroppedElsewhere<S> {
        DroppedElsewhere(Some(store))
    }
}

impl<S: Send + 'static> Deref for DroppedElsewhere<S> {
    type Target = S;

    fn deref(&self) -> &S {
        match &self.0 {
            Some(store) => store,
            None => unreachable!("it is taken only when it is dropped"),
        }
    }
}

impl<S: Send + 'static> Drop for DroppedElsewhere<S> {
    fn drop(&mut self) {
        let store = self.0.take();
        if Handle::try_current().is_ok() {
            thread::spawn(|| drop(store));
        }
    }
}
