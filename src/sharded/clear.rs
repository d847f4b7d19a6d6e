//! Removing sessions. A store returns `Ok` for one that it does not have, so a session that can be on several servers is
//! looked up first.

use std::{future::Future, sync::Arc};

use super::{Sharded, calls::NO_RESULT, mode::Mode};
use crate::{Error, Key, Session};

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Removes a session. If it is told so, `clear` must look it up first, and fail if it is absent.
    pub(super) async fn clear_at<M: Mode<S>, F: Future<Output = Result<(), Error>> + Send>(
        &self,
        key: &Key,
        clear: impl Fn(Arc<S>, bool) -> F,
    ) -> Result<(), Error> {
        let looks_up = self.layout().route(key).only().is_none();
        let cleared = self.on::<M, _, _>(key, |store| clear(store, looks_up));
        or_absent(cleared.await)
    }

    /// Removes many sessions. If it is told so, `clear` must look them up first, and fail for those that are absent.
    pub(super) async fn clear_many_at<'k, M, F>(
        &self,
        keys: &[&'k Key],
        clear: impl Fn(Arc<S>, Vec<&'k Key>, bool) -> F + Send + Sync,
    ) -> Vec<Result<(), Error>>
    where
        M: Mode<S>,
        F: Future<Output = Vec<Result<(), Error>>> + Send,
    {
        let looks_up = self.layout().has_origin();
        let clear = |store, keys| clear(store, keys, looks_up);
        let cleared = self.on_many::<M, _, _, _>(keys, |key| key, clear).await;
        cleared.into_iter().map(or_absent).collect()
    }
}

fn or_absent(cleared: Result<(), Error>) -> Result<(), Error> {
    match cleared {
        Err(Error::NotFound) => Ok(()),
        done => done,
    }
}

/// Whether a session exists, from the result of a look-up.
pub(super) fn exists(found: Result<Session, Error>) -> Result<(), Error> {
    match found {
        Ok(_) | Err(Error::NotSet) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The keys of the sessions that exist.
pub(super) fn existing<'k>(keys: &[&'k Key], found: &[Result<(), Error>]) -> Vec<&'k Key> {
    let exist = keys.iter().zip(found).filter(|(_, found)| found.is_ok());
    exist.map(|(key, _)| *key).collect()
}

fn no_result() -> Result<(), Error> {
    Err(Error::other(NO_RESULT))
}

/// The results for all keys, from those for the sessions that exist.
pub(super) fn cleared(
    found: Vec<Result<(), Error>>,
    cleared: Vec<Result<(), Error>>,
) -> Vec<Result<(), Error>> {
    let mut cleared = cleared.into_iter();
    let found = found.into_iter();
    found
        .map(|found| found.and_then(|()| cleared.next().unwrap_or_else(no_result)))
        .collect()
}
