//! Async tasks, on which nothing may block.

use std::any::Any;

/// The beginning of tokio's panic message if a thread that drives async tasks blocks.
const MESSAGE: &str = "Cannot start a runtime from within a runtime";

/// Returns whether this is tokio's panic about a thread that drives async tasks and must not block.
pub fn is_async_context(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.is_some_and(|text| text.starts_with(MESSAGE))
}
