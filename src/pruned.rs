//! The results of pruning passes.

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
    /// Returns an error only if nothing was removed.
    pub(crate) fn into_result(self) -> Result<u64, Error> {
        match self.error {
            Some(error) if self.removed == 0 => Err(error),
            _ => Ok(self.removed),
        }
    }

    /// Returns the result of a pass without an error, for other implementations of [`Store`](crate::Store).
    pub fn new(removed: u64) -> Pruned {
        Pruned {
            removed,
            ..Pruned::default()
        }
    }
}

impl From<Result<u64, Error>> for Pruned {
    fn from(result: Result<u64, Error>) -> Pruned {
        match result {
            Ok(removed) => Pruned::new(removed),
            Err(error) => Pruned {
                error: Some(error),
                ..Pruned::default()
            },
        }
    }
}

/// The counters of a [`Pruner`](crate::Pruner), returned by [`Pruner::stats`](crate::Pruner::stats), and of a store as a part of
/// [`StoreStats`](crate::StoreStats).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PrunerStats {
    /// Rows that were removed.
    pub removed: u64,
    /// Passes that went through the whole table, or reached their limit.
    pub passes: u64,
    /// Passes that were skipped because another program pruned the table.
    pub yields: u64,
    /// Passes that failed, or that could not remove some expired rows.
    pub failures: u64,
    /// The error of the last pass, or of the first row that the last pass could not remove. `None` if the last pass
    /// did not fail.
    pub last_error: Option<Error>,
}

impl PrunerStats {
    pub(crate) fn count(&mut self, pass: &Pruned) {
        self.removed += pass.removed;
        match &pass.error {
            Some(_) => self.failures += 1,
            None if pass.is_skipped => self.yields += 1,
            None => self.passes += 1,
        }
        self.last_error.clone_from(&pass.error);
    }
}
