//! Creating sessions: on a server that is open, or under a key of the caller.

use std::{future::Future, sync::Arc, time::Instant};

use super::{
    Sharded,
    answers::is_effect_unknown,
    availability::is_fault_of_server,
    calls::Part,
    layout::{Chosen, Route},
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
            let Some(chosen) = layout.choose(&failed.servers)? else {
                return Err(failed.end());
            };
            let result = self
                .attempt::<M, _, _>(&chosen.server, chosen.has_others, &send)
                .await;
            chosen.server.note(&result);
            match result {
                Err(e) if is_fault_of_server(&e) && !M::is_too_late() => {
                    failed.add(&chosen.server, e);
                }
                Err(e) => return Err(failed.end_with(e)),
                created => return created,
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
        let mut failed: Vec<Failed> = calls.iter().map(|_| Failed::default()).collect();
        let mut open: Vec<usize> = (0..calls.len()).collect();
        while !open.is_empty() {
            let mut chosen = Vec::new();
            let mut have_others = false;
            for place in open.drain(..) {
                match layout.choose(&failed[place].servers) {
                    Ok(Some(Chosen { server, has_others })) => {
                        have_others |= has_others;
                        chosen.push((place, server));
                    }
                    Ok(None) => results[place] = Some(Err(failed[place].end())),
                    Err(e) => results[place] = Some(Err(e)),
                }
            }
            let (parts, send) = (Part::group(chosen), &send);
            let attempts = parts.iter().map(|part| async move {
                let own: Vec<_> = part.places.iter().map(|place| calls[*place]).collect();
                let send = |store| async { Ok(send(store, own).await) };
                let results = self
                    .attempt::<M, _, _>(&part.server, have_others, send)
                    .await;
                (part.server.clone(), part.results(results))
            });
            for (server, created) in M::all(attempts.collect()).await {
                let errors = created
                    .iter()
                    .filter_map(|(_, result)| result.as_ref().err());
                let fault = errors.clone().find(|e| is_fault_of_server(e));
                match fault {
                    Some(fault) => server.note_fault(fault),
                    None if errors.count() < created.len() => server.succeeded(),
                    None => {}
                }
                for (place, result) in created {
                    match result {
                        Err(e) if is_fault_of_server(&e) && !M::is_too_late() => {
                            failed[place].add(&server, e);
                            open.push(place);
                        }
                        Err(e) => results[place] = Some(Err(failed[place].end_with(e))),
                        created => results[place] = Some(created),
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
        server: &Server<S>,
        has_others: bool,
        send: impl FnOnce(Arc<S>) -> F + Send,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        server.try_one();
        let attempt = async { send(server.ready::<M>().await?).await };
        if !has_others {
            return attempt.await;
        }
        let done = M::within(self.attempt_timeout(), attempt).await;
        done.unwrap_or_else(|| {
            Err(Error::StillRunning {
                waited: begun.elapsed(),
            })
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
        let server = match open_server(&route) {
            Err(e) if route.is_unassigned => {
                self.check_newest::<M>(&layout).await?;
                return Err(e);
            }
            server => server?,
        };
        if let Some(origin) = route.origin {
            is_absent(find(origin.ready::<M>().await?).await)?;
        }
        let inserted = self.attempt::<M, _, _>(&server, false, insert).await;
        server.note(&inserted);
        inserted
    }

    /// Creates a session under a key that was just drawn. If the server fails, the caller can draw another key.
    pub(super) async fn insert_new_at<M, F>(
        &self,
        key: &Key,
        insert: impl FnOnce(Arc<S>) -> F + Send,
    ) -> Result<(), Error>
    where
        M: Mode<S>,
        F: Future<Output = Result<(), Error>> + Send,
    {
        let layout = self.layout();
        let server = open_server(&layout.route(key))?;
        let has_others = layout.choose(std::slice::from_ref(&server.name))?.is_some();
        let inserted = self.attempt::<M, _, _>(&server, has_others, insert).await;
        server.note(&inserted);
        match inserted {
            Err(e) if has_others && is_fault_of_server(&e) => {
                Err(not_open(format!("server {} has failed: {e}", server.name)))
            }
            done => done,
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
        let (mut to_find, mut to_insert, mut unassigned) = (Vec::new(), Vec::new(), Vec::new());
        for (place, call) in calls.iter().enumerate() {
            let route = layout.route(key(call));
            match open_server(&route) {
                Ok(server) => to_insert.push((place, server)),
                Err(e) => results[place] = Err(e),
            }
            if route.is_unassigned {
                unassigned.push(place);
            }
            if results[place].is_ok() {
                to_find.extend(route.origin.map(|origin| (place, origin.clone())));
            }
        }
        if !unassigned.is_empty() {
            if let Err(e) = self.check_newest::<M>(&layout).await {
                for place in unassigned {
                    results[place] = Err(e.clone());
                }
            }
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
}

/// Returns the server on which a session with a given key can be created.
fn open_server<S>(route: &Route<'_, S>) -> Result<Arc<Server<S>>, Error> {
    match route.own {
        Some(server) if server.share() > 0 => Ok(server.clone()),
        Some(server) => Err(not_open(format!(
            "server {} is closed for new sessions",
            server.name
        ))),
        None if route.is_unassigned => {
            Err(not_open("its slot is assigned to no server".to_owned()))
        }
        None => Err(not_open("its slot is retired".to_owned())),
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
        self.error = Some(self.end_with(error));
    }

    /// The error of the call, if that of the last server is `error`. An earlier one is kept if its effect is unknown.
    fn end_with(&self, error: Error) -> Error {
        let earlier = self.error.as_ref().filter(|e| is_effect_unknown(e));
        earlier.cloned().unwrap_or(error)
    }

    /// The error of the call, if there is no other server.
    fn end(&self) -> Error {
        self.error.clone().unwrap_or_else(all_closed)
    }
}

pub(super) fn is_absent(found: Result<(), Error>) -> Result<(), Error> {
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
