//! Calls for the sessions of given keys.

use std::{future::Future, iter, sync::Arc};

use super::{Sharded, answers::Answers, layout::Route, mode::Mode, server::Server};
use crate::{Error, Key};

/// The error of a call if the store of a server returns too few results for a batch.
pub(super) const NO_RESULT: &str = "the store has returned no result for a call";

/// The calls of a batch that one server gets.
pub(super) struct Part<S> {
    pub(super) server: Arc<Server<S>>,
    /// Their places in the batch.
    pub(super) places: Vec<usize>,
}

impl<S> Part<S> {
    /// Groups the places of calls by their servers.
    pub(super) fn group(calls: impl IntoIterator<Item = (usize, Arc<Server<S>>)>) -> Vec<Part<S>> {
        let mut parts: Vec<Part<S>> = Vec::new();
        for (place, server) in calls {
            let of_server = |part: &&mut Part<S>| Arc::ptr_eq(&part.server, &server);
            match parts.iter_mut().find(of_server) {
                Some(part) => part.places.push(place),
                None => parts.push(Part {
                    server,
                    places: vec![place],
                }),
            }
        }
        parts
    }

    /// Pairs the places with results. If the server could not be asked, its error is the result of each.
    pub(super) fn results<T>(
        &self,
        results: Result<Vec<Result<T, Error>>, Error>,
    ) -> Vec<(usize, Result<T, Error>)> {
        let (results, rest) = match results {
            Ok(results) => (results, Error::other(NO_RESULT)),
            Err(e) => (Vec::new(), e),
        };
        let results = results
            .into_iter()
            .chain(iter::repeat_with(|| Err(rest.clone())));
        self.places.iter().copied().zip(results).collect()
    }
}

impl<S: Send + Sync + 'static> Sharded<S> {
    /// Makes a call where the session with this key can be.
    pub(super) async fn on<M: Mode<S>, T, F: Future<Output = Result<T, Error>> + Send>(
        &self,
        key: &Key,
        mut send: impl FnMut(Arc<S>) -> F,
    ) -> Result<T, Error> {
        let layout = self.layout();
        let route = layout.route(key);
        let mut answers = Answers::default();
        for server in route.servers() {
            let answer = match server.ready::<M>().await {
                Ok(store) => send(store).await,
                Err(e) => Err(e),
            };
            if let Err(e) = &answer {
                route.note_fault(server, e);
            }
            if !answers.add(answer) {
                break;
            }
        }
        if route.is_unassigned && answers.is_absent() {
            self.check_newest::<M>(&layout).await?;
        }
        answers.end()
    }

    /// Returns the store that has the session with this key. `find` looks for the session and returns the store.
    pub(super) async fn find_store<M: Mode<S>, F: Future<Output = Result<Arc<S>, Error>> + Send>(
        &self,
        key: &Key,
        find: impl FnMut(Arc<S>) -> F,
    ) -> Result<Arc<S>, Error> {
        let layout = self.layout();
        match layout.route(key).only() {
            Some(server) => server.ready::<M>().await,
            None => self.on::<M, _, _>(key, find).await,
        }
    }

    /// Makes many calls, each where its session can be, and those on different servers at the same time.
    pub(super) async fn on_many<M, C, T, F>(
        &self,
        calls: &[C],
        key: impl Fn(&C) -> &Key + Send,
        send: impl Fn(Arc<S>, Vec<C>) -> F + Send + Sync,
    ) -> Vec<Result<T, Error>>
    where
        M: Mode<S>,
        C: Copy + Send + Sync,
        T: Send,
        F: Future<Output = Vec<Result<T, Error>>> + Send,
    {
        let layout = self.layout();
        let routes: Vec<Route<'_, S>> = calls.iter().map(|call| layout.route(key(call))).collect();
        let mut answers: Vec<_> = calls.iter().map(|_| Answers::default()).collect();
        let mut open: Vec<usize> = (0..calls.len()).collect();
        for turn in 0..2 {
            let next = |place: usize| Some((place, routes[place].servers().nth(turn)?.clone()));
            let parts = Part::group(open.drain(..).filter_map(next));
            let answered = self.send_parts::<M, _, _, _>(parts, calls, &send).await;
            for (place, answer) in answered {
                let route = &routes[place];
                if let (Err(e), Some(server)) = (&answer, route.servers().nth(turn)) {
                    route.note_fault(server, e);
                }
                if answers[place].add(answer) {
                    open.push(place);
                }
            }
        }
        let is_unknown =
            |place: &usize| routes[*place].is_unassigned && answers[*place].is_absent();
        let unknown: Vec<_> = (0..calls.len()).filter(is_unknown).collect();
        let mut results: Vec<_> = answers.into_iter().map(Answers::end).collect();
        if !unknown.is_empty() {
            if let Err(e) = self.check_newest::<M>(&layout).await {
                for place in unknown {
                    results[place] = Err(e.clone());
                }
            }
        }
        results
    }

    /// Sends each part of a batch to its server, all at the same time.
    pub(super) async fn send_parts<M, C, T, F>(
        &self,
        parts: Vec<Part<S>>,
        calls: &[C],
        send: &(impl Fn(Arc<S>, Vec<C>) -> F + Sync),
    ) -> Vec<(usize, Result<T, Error>)>
    where
        M: Mode<S>,
        C: Copy + Send + Sync,
        T: Send,
        F: Future<Output = Vec<Result<T, Error>>> + Send,
    {
        let sent = parts.iter().map(|part| async move {
            let own = part.places.iter().map(|place| calls[*place]).collect();
            part.results(match part.server.ready::<M>().await {
                Ok(store) => Ok(send(store, own).await),
                Err(e) => Err(e),
            })
        });
        M::all(sent.collect()).await.into_iter().flatten().collect()
    }
}
