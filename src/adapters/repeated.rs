//! Writes that are repeated if their connection breaks.

use std::future::Future;

use crate::Error;

/// The largest number of attempts at a write whose connection breaks.
const MAX_WRITES: usize = 4;

/// Makes a write, and repeats it while its connection breaks.
///
/// The first attempt may have had its effect, so a write must be safe to repeat. The last update wins in any case, an
/// update does not restore a deleted session, and a second deletion finds nothing. A creation takes another key each
/// time: if a broken attempt has created a session, no visitor has its key, and
/// [`AsyncStore::owned`](crate::AsyncStore::owned) returns it until it expires.
pub(crate) async fn repeated<T, F: Future<Output = Result<T, Error>>>(
    mut write: impl FnMut() -> F,
) -> Result<T, Error> {
    for _ in 1..MAX_WRITES {
        match write().await {
            Err(Error::Disconnected(_)) => {}
            result => return result,
        }
    }
    write().await
}
