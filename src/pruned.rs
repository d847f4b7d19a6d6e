//! The result of a pruning pass.

use crate::Error;

/// The result of [`Store::prune_pass`](crate::Store::prune_pass).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pruned {
    /// How many expired sessions were removed.
    pub removed: u64,
    /// Whether the pass ended because another program removes expired sessions at the same time.
    pub is_skipped: bool,
    /// Why the pass ended early, or why it did not remove the first of the expired sessions that it could not remove.
    pub error: Option<Error>,
}

impl Pruned {
    /// Returns the result of a pass without an error, for other implementations of [`Store`](crate::Store).
    pub fn new(removed: u64) -> Pruned {
        Pruned {
            removed,
            ..Pruned::default()
        }
    }
}
