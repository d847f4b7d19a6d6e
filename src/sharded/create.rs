//! Creating sessions: on a server that is open, or under a key of the caller.

use std::{future::Future, sync::Arc, time::Instant};

use super::{
    Sharded,
    availability::is_fault_of_server,
    calls::Part,
    layout::{Chosen, Layout, Route},
    mode::Mode,
    server::Server,
};
use crate::{Error, Key};

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Creates a session on a server that is open. If the server fails, tries another one.
    pub(super) async fn create<M: Mode<S>, F: Future<Output = Result<Key, Error>> + Send>(
        &self,
        send: impl Fn(Arc<S>) -> F + Send + Sync,
    ) -> Result<Key, Error> {
        let layout = self.layout();
        let mut failed = Failed::default();
        loop {
            let chosen = layout.choose(&failed.servers)?;
            let Some(Chosen { server, has_others }) = chosen else {
                return Err(failed.error());
            };
            let attempt = async {
                let store = server.ready::<M>().await?;
                send(store).await
            };
            let result = self.attempt::<M, _, _>(has_others, attempt).await;
            let result = result.unwrap_or_else(Err);
            server.note(result.as_ref().err());
            match result {
                Err(e) if is_fault_of_server(&e) => failed.add(&server, e),
                done => return done,
            }
        }
    }

    /// Creates many sessions, each on a server that is open.
    pub(super) async fn create_many<M, C, F>(
        &self,
        calls: &[C],
        send: impl Fn(Arc<S>, Vec<C>) -> F + Send + Sync,
    ) -> Vec<Result<Key, Error>>
    where
        M: Mode<S>,
        C: Copy + Send + Sync,
        F: Future<Output = Vec<Result<Key, Error>>> + Send,
    {
        let layout = self.layout();
        let mut results: Vec<Option<Result<Key, Error>>> = calls.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..calls.len()).collect();
        let mut failed = Failed::default();
        while !open.is_empty() {
            let mut chosen = Vec::new();
            let mut have_others = false;
            for place in open.drain(..) {
                match layout.choose(&failed.servers) {
                    Ok(Some(Chosen { server, has_others })) => {
                        have_others = has_others;
                        chosen.push((place, server));
                    }
                    Ok(None) => results[place] = Some(Err(failed.error())),
                    Err(e) => results[place] = Some(Err(e)),
                }
            }
            let (parts, send) = (Part::group(chosen), &send);
            let attempts = parts.iter().map(|part| async move {
                let own = part.places.iter().map(|place| calls[*place]).collect();
                let attempt = async {
                    let store = part.server.ready::<M>().await?;
                    Ok(send(store, own).await)
                };
                let results = self.attempt::<M, _, _>(have_others, attempt).await;
                (
                    part.server.clone(),
                    part.results(results.unwrap_or_else(Err)),
                )
            });
            for (server, created) in M::all(attempts.collect()).await {
                let errors = || {
                    created
                        .iter()
                        .filter_map(|(_, result)| result.as_ref().err())
                };
                let fault = errors().find(|e| is_fault_of_server(e));
                server.note(fault);
                for (place, result) in created {
                    match result {
                        Err(e) if is_fault_of_server(&e) => {
                            failed.add(&server, e);
                            open.push(place);
                        }
                        done => results[place] = Some(done),
                    }
                }
            }
        }
        results.into_iter().flatten().collect()
    }

    /// Makes an attempt at creating sessions. If there are other servers, it is given up at a time limit. Then it may
    /// still have created a session, but no program has its key.
    async fn attempt<M: Mode<S>, T: Send, F: Future<Output = Result<T, Error>> + Send>(
        &self,
        has_others: bool,
        attempt: F,
    ) -> Result<Result<T, Error>, Error> {
        let begun = Instant::now();
        if !has_others {
            return Ok(attempt.await);
        }
        let done = M::within(self.attempt_timeout(), attempt).await;
        done.ok_or_else(|| Error::StillRunning {
            waited: begun.elapsed(),
        })
    }

    /// Creates a session under the key of the caller. `find` looks for a session with this key.
    pub(super) async fn insert_at<M, F, G>(
        &self,
        key: &Key,
        insert: impl FnOnce(Arc<S>) -> F + Send,
        find: impl FnOnce(Arc<S>) -> G + Send,
    ) -> Result<(), Error>
    where
        M: Mode<S>,
        F: Future<Output = Result<(), Error>> + Send,
        G: Future<Output = Result<(), Error>> + Send,
    {
        let layout = self.layout();
        let route = layout.route(key);
        let server = self.open_server::<M>(&layout, &route).await?;
        self.check_free_at_origin::<M, _>(&route, find).await?;
        let call = async { insert(server.ready::<M>().await?).await };
        let is_slow = || server.is_slow();
        let result = M::watched(self.attempt_timeout(), call, is_slow).await;
        server.note(result.as_ref().err());
        result
    }

    /// Fails if the origin has a session with a key that the caller has chosen. `find` looks for it.
    pub(super) async fn check_free_at_origin<M, G>(
        &self,
        route: &Route<S>,
        find: impl FnOnce(Arc<S>) -> G + Send,
    ) -> Result<(), Error>
    where
        M: Mode<S>,
        G: Future<Output = Result<(), Error>> + Send,
    {
        match &route.origin {
            Some(origin) => is_absent(find(origin.ready::<M>().await?).await),
            None => Ok(()),
        }
    }

    /// Creates sessions under the keys of the caller.
    pub(super) async fn insert_many_at<M, C, F, G>(
        &self,
        calls: &[C],
        key: impl Fn(&C) -> &Key + Send,
        insert: impl Fn(Arc<S>, Vec<C>) -> F + Send + Sync,
        find: impl Fn(Arc<S>, Vec<C>) -> G + Send + Sync,
    ) -> Vec<Result<(), Error>>
    where
        M: Mode<S>,
        C: Copy + Send + Sync,
        F: Future<Output = Vec<Result<(), Error>>> + Send,
        G: Future<Output = Vec<Result<(), Error>>> + Send,
    {
        let layout = self.layout();
        let mut results: Vec<Result<(), Error>> = calls.iter().map(|_| Ok(())).collect();
        let mut to_find = Vec::new();
        let mut to_insert = Vec::new();
        for (place, call) in calls.iter().enumerate() {
            let route = layout.route(key(call));
            match self.open_server::<M>(&layout, &route).await {
                Ok(server) => to_insert.push((place, server)),
                Err(e) => results[place] = Err(e),
            }
            to_find.extend(route.origin.map(|origin| (place, origin)));
        }
        let found = self.send_parts::<M, _, _, _>(Part::group(to_find), calls, &find);
        for (place, found) in found.await {
            if results[place].is_ok() {
                results[place] = is_absent(found);
            }
        }
        to_insert.retain(|(place, _)| results[*place].is_ok());
        let inserted = self.send_parts::<M, _, _, _>(Part::group(to_insert), calls, &insert);
        for (place, inserted) in inserted.await {
            results[place] = inserted;
        }
        results
    }

    /// Returns the server on which a session with a given key can be created.
    async fn open_server<M: Mode<S>>(
        &self,
        layout: &Layout<S>,
        route: &Route<S>,
    ) -> Result<Arc<Server<S>>, Error> {
        match &route.own {
            Some(server) if server.share() > 0 => Ok(server.clone()),
            Some(server) => Err(not_open(format!(
                "server {} is closed for new sessions",
                server.name
            ))),
            None if route.is_unassigned => {
                self.check_newest::<M>(layout).await?;
                Err(not_open("its slot is assigned to no server".to_owned()))
            }
            None => Err(not_open("its slot is retired".to_owned())),
        }
    }
}

/// The servers that have failed to create a session.
#[derive(Default)]
struct Failed {
    servers: Vec<String>,
    error: Option<Error>,
}

impl Failed {
    fn add<S>(&mut self, server: &Server<S>, error: Error) {
        if !self.servers.contains(&server.name) {
            self.servers.push(server.name.clone());
        }
        // An error whose effect is unknown is kept.
        if !matches!(
            self.error,
            Some(Error::Disconnected(_) | Error::StillRunning { .. })
        ) {
            self.error = Some(error);
        }
    }

    fn error(&self) -> Error {
        self.error.clone().unwrap_or_else(all_closed)
    }
}

fn is_absent(found: Result<(), Error>) -> Result<(), Error> {
    match found {
        Err(Error::NotFound) => Ok(()),
        Ok(()) | Err(Error::NotSet) => Err(Error::KeyExists),
        Err(e) => Err(e),
    }
}

pub(super) fn all_closed() -> Error {
    not_open("all servers are closed for new sessions".to_owned())
}

fn not_open(reason: String) -> Error {
    Error::NotOpen { reason }
}
