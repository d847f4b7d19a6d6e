//! Calls that concern the sessions on all servers.

use std::{future::Future, sync::Arc};

use super::{Sharded, mode::Mode};
use crate::{Error, Pruned};

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Makes a call on every server, on all at the same time. Returns the results with the names of the servers.
    pub(super) async fn on_every<M: Mode<S>, T, F>(
        &self,
        send: impl Fn(Arc<S>) -> F + Send + Sync,
    ) -> Vec<(String, Result<T, Error>)>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let (layout, send) = (self.layout(), &send);
        let sent = layout.servers.iter().map(|server| async move {
            let result = match server.ready::<M>().await {
                Ok(store) => send(store).await,
                Err(e) => Err(e),
            };
            (server.name.clone(), result)
        });
        M::all(sent.collect()).await
    }

    /// Removes expired sessions on one server after the other.
    pub(super) async fn prune_every<M: Mode<S>, F: Future<Output = Pruned> + Send>(
        &self,
        limit: u64,
        send: impl Fn(Arc<S>, u64) -> F + Send,
    ) -> Pruned {
        let mut total = Pruned::new(0);
        let mut errors = Vec::new();
        let mut skipped = 0;
        let servers = &self.layout().servers;
        for server in servers {
            let left = limit.saturating_sub(total.removed);
            if left == 0 {
                break;
            }
            let pass = match server.ready::<M>().await {
                Ok(store) => send(store, left).await,
                Err(e) => Pruned::from(Err(e)),
            };
            total.removed += pass.removed;
            skipped += usize::from(pass.is_skipped);
            errors.push((server.name.clone(), pass.error.map_or(Ok(()), Err)));
        }
        total.is_skipped = skipped == servers.len();
        total.error = all_or_error(errors).err();
        total
    }
}

/// Returns the results of all servers, or an error that names those that have failed.
///
/// If all have failed for a reason of the same kind, returns the first error, because it is probably about the call.
pub(super) fn all_or_error<T>(results: Vec<(String, Result<T, Error>)>) -> Result<Vec<T>, Error> {
    let (mut done, mut values, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (server, result) in results {
        match result {
            Ok(value) => {
                done.push(server);
                values.push(value);
            }
            Err(e) => failed.push((server, e)),
        }
    }
    match &failed[..] {
        [] => Ok(values),
        [(_, first), rest @ ..]
            if done.is_empty() && rest.iter().all(|(_, e)| e.kind() == first.kind()) =>
        {
            Err(first.clone())
        }
        _ => Err(Error::Partial { done, failed }),
    }
}
