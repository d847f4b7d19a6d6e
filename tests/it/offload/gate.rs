//! A gate that holds calls until a test opens it.

use std::sync::{Arc, Condvar, Mutex};

#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Waits until the gate is open.
    pub(super) fn pass(&self) {
        let is_open = self.0.is_open.lock().unwrap();
        let opened = self.0.opened.wait_while(is_open, |is_open| !*is_open);
        drop(opened.unwrap());
    }

    pub(super) fn open(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }

    pub(super) fn close(&self) {
        *self.0.is_open.lock().unwrap() = false;
    }

    /// Returns a guard that opens the gate when it is dropped. Without it, a test that fails would hang,
    /// because its runtime waits for the workers at the gate.
    pub(super) fn opener(&self) -> Opener {
        Opener(self.clone())
    }
}

pub(super) struct Opener(Gate);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}
