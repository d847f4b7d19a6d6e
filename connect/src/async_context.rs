//! Threads that run async tasks and must not block.

use std::any::Any;

/// The beginning of tokio's panic message if a thread that runs async tasks blocks.
const MESSAGE: &str = "Cannot start a runtime from within a runtime";

/// Returns whether this is tokio's panic about blocking a thread that runs async tasks.
///
/// A [`postgres::Client`] panics in this way if an async task uses it. A caller of `catch_unwind` can turn the panic
/// into an error.
///
/// # Examples
///
/// ```
/// use std::panic::catch_unwind;
///
/// use postgres_connect::is_async_context;
/// use tokio::runtime::{Handle, Runtime};
///
/// let runtime = Runtime::new()?;
/// let panic = runtime.block_on(async { catch_unwind(|| Handle::current().block_on(async {})) });
/// assert!(is_async_context(&*panic.unwrap_err()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_async_context(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.is_some_and(|text| text.starts_with(MESSAGE))
}
