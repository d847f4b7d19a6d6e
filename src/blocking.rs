//! Calls that block their thread, which a thread that drives async tasks must not.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::Error;

/// What tokio says if a thread blocks that drives tasks.
const ASYNC: &str = "Cannot start a runtime from within a runtime";

/// Does what blocks. Returns [`Error::AsyncContext`] if this thread drives tasks.
pub(crate) fn blocking<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match is_about_async(&*panic) {
        true => Err(Error::AsyncContext),
        false => resume_unwind(panic),
    })
}

/// Whether tokio panicked because this thread drives tasks.
pub(crate) fn is_about_async(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.is_some_and(|text| text.starts_with(ASYNC))
}
