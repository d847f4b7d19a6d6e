//! A typical recent value of a quantity.

use std::sync::atomic::{AtomicUsize, Ordering};

/// An estimate that follows a larger value at once, and a smaller one by an eighth of the difference.
#[derive(Debug, Default)]
pub(crate) struct Recent(AtomicUsize);

impl Recent {
    pub(crate) fn typical(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn saw(&self, value: usize) {
        let before = self.typical();
        let after = value.max(before - before.saturating_sub(value).div_ceil(8));
        if after != before {
            self.0.store(after, Ordering::Relaxed);
        }
    }
}
