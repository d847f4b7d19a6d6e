//! Blocking calls, which must not be made on a thread that runs async tasks.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use postgres_connect::is_async_context;

use crate::Error;

/// Executes blocking work. Returns [`Error::AsyncContext`] if this thread runs async tasks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match is_async_context(&*panic) {
        true => Err(Error::AsyncContext),
        false => resume_unwind(panic),
    })
}
