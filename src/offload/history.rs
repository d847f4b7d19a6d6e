//! Measurements of the last calls: the size of values, the time of batches, and why calls were late.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{Error, recent::Recent};

#[derive(Default)]
pub(super) struct History {
    /// The sizes of the values that were read lately, in bytes.
    sizes: Recent,
    /// How long batches have taken lately, in microseconds.
    durations: Recent,
    /// Why the store has not executed the last calls in time, until it executes one.
    cause: Mutex<Option<String>>,
}

impl History {
    pub(super) fn read_value(&self, bytes: usize) {
        self.sizes.saw(bytes);
    }

    /// The typical size of a value, in bytes.
    pub(super) fn typical_size(&self) -> usize {
        self.sizes.typical()
    }

    pub(super) fn executed_batch(&self, time: Duration) {
        let micros = time.as_micros().try_into().unwrap_or(usize::MAX);
        self.durations.saw(micros);
    }

    /// The typical duration of a batch.
    pub(super) fn typical_duration(&self) -> Duration {
        Duration::from_micros(self.durations.typical() as u64)
    }

    /// Keeps why calls were late, until a call is done in time.
    pub(super) fn learn<'e>(&self, mut errors: impl Iterator<Item = &'e Error>, is_done: bool) {
        let cause = errors.find_map(|error| match error {
            Error::TimedOut { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        if cause.is_some() || is_done && self.cause().is_some() {
            *self.cause() = cause;
        }
    }

    /// Whether it is known why the last calls were late.
    pub(super) fn has_cause(&self) -> bool {
        self.cause().is_some()
    }

    /// The reason of a call that no worker has taken in time.
    pub(super) fn too_late(&self) -> String {
        match &*self.cause() {
            Some(cause) => {
                format!("no worker was free; the calls before it waited too long: {cause}")
            }
            None => "no worker was free".to_owned(),
        }
    }

    fn cause(&self) -> MutexGuard<'_, Option<String>> {
        // No code panics while it holds this lock.
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
