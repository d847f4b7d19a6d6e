//! The counters of calls by method, and of errors by kind.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{
    Method,
    catalogue::CallMetrics,
    method::METHODS,
    metric::{Counter, Histogram},
    trace,
};
use crate::{Error, ErrorKind, error::KINDS};

/// The numbers of calls and errors, as a part of [`OffloadStats`](crate::OffloadStats) and
/// [`StoreStats`](crate::StoreStats).
///
/// # Examples
///
/// ```
/// use session_postgres::{AsyncStore, ErrorKind, MemoryStore, Method, Offload};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Offload::new(MemoryStore::new());
/// let key = store.generate(None, None).await?;
/// store.clear(&key).await?;
/// assert!(store.get(&key).await.is_err());
///
/// let calls = store.stats().calls;
/// assert_eq!((calls.of(Method::Get), calls.total()), (1, 3));
/// assert_eq!((calls.errors_of(ErrorKind::NotFound), calls.errors()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CallStats {
    by_method: [u64; METHODS.len()],
    by_kind: [u64; KINDS.len()],
    slow: u64,
}

impl CallStats {
    /// Returns the number of calls, including those that have not ended.
    pub fn total(&self) -> u64 {
        self.by_method.iter().sum()
    }

    /// Returns the number of calls of a method.
    pub fn of(&self, method: Method) -> u64 {
        self.by_method[method as usize]
    }

    /// Returns the number of calls that failed.
    pub fn errors(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    /// Returns the number of calls that failed with an error of this kind.
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.by_kind[kind as usize]
    }

    /// Returns the number of calls that took longer than the `slow_threshold`.
    pub fn slow(&self) -> u64 {
        self.slow
    }
}

/// Shows the methods that were called and the kinds of errors that occurred.
impl fmt::Debug for CallStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        let methods = Method::ALL.iter().zip(self.by_method);
        let kinds = ErrorKind::ALL.iter().zip(self.by_kind);
        for (method, calls) in methods.filter(|(_, calls)| *calls > 0) {
            shown.entry(&method.as_str(), &calls);
        }
        for (kind, errors) in kinds.filter(|(_, errors)| *errors > 0) {
            shown.entry(&kind.as_str(), &errors);
        }
        shown.entry(&"slow", &self.slow).finish()
    }
}

/// Counts calls and measures their time.
pub(crate) struct CallCounters {
    by_method: [Counter; METHODS.len()],
    seconds: [Histogram; METHODS.len()],
    by_kind: [Counter; KINDS.len()],
    slow: Counter,
    slow_threshold: Duration,
}

/// A call that has begun, or several that are executed together. If it is dropped, its time is measured.
pub(crate) struct Begun<'a> {
    counters: &'a CallCounters,
    method: Method,
    calls: usize,
    at: Instant,
}

impl Begun<'_> {
    pub(crate) fn end(self, errors: Vec<&Error>) {
        for error in errors {
            self.counters.by_kind[error.kind() as usize].add(1);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Begun {
            counters,
            method,
            calls,
            at,
        } = *self;
        if calls == 0 {
            return;
        }
        let time = at.elapsed();
        counters.seconds[method as usize].record_time(time);
        // A pass for expired rows may take minutes.
        if time > counters.slow_threshold && method != Method::Prune {
            counters.slow.add(calls as u64);
            trace::slow_call(method, calls, time);
        }
    }
}

/// Returns the error of a call, if any.
pub(crate) fn error_of<T>(result: &Result<T, Error>) -> Vec<&Error> {
    result.as_ref().err().into_iter().collect()
}

/// Returns the errors of calls that were executed together.
#[allow(
    clippy::ptr_arg,
    reason = "it is passed where a function of the result is needed"
)]
pub(crate) fn errors_of<T>(results: &Vec<Result<T, Error>>) -> Vec<&Error> {
    let errors = results.iter().filter_map(|result| result.as_ref().err());
    errors.collect()
}

impl CallCounters {
    pub(crate) fn new(metrics: &CallMetrics, slow_threshold: Duration) -> CallCounters {
        let method = |method: Method| Some(("method", method.as_str()));
        CallCounters {
            by_method: METHODS.map(|of| Counter::labelled(metrics.calls, method(of))),
            seconds: METHODS.map(|of| Histogram::labelled(metrics.seconds, method(of))),
            by_kind: KINDS
                .map(|kind| Counter::labelled(metrics.errors, Some(("kind", kind.as_str())))),
            slow: Counter::new(metrics.slow),
            slow_threshold,
        }
    }

    pub(crate) fn begin(&self, method: Method, calls: usize) -> Begun<'_> {
        self.by_method[method as usize].add(calls as u64);
        Begun {
            counters: self,
            method,
            calls,
            at: Instant::now(),
        }
    }

    pub(crate) fn get(&self) -> CallStats {
        CallStats {
            by_method: self.by_method.each_ref().map(Counter::get),
            by_kind: self.by_kind.each_ref().map(Counter::get),
            slow: self.slow.get(),
        }
    }
}
