//! A site with sessions, and what its program does in a request.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use session_postgres::Period;
use tokio::task::JoinSet;

use crate::{
    peer::{Ours, Peer},
    values::Values,
};

/// The number of concurrent requests.
const CALLERS: usize = 64;

/// Sessions that are used after each other are this far apart in the table. A prime, so that all are used equally.
const STRIDE: usize = 7919;

/// The calls of a program for a request that only reads and keeps its visitor logged in.
pub(super) trait Strategy: 'static {
    type Peer: Peer;

    /// Returns the value of the session.
    fn request(
        peer: &Self::Peer,
        key: &<Self::Peer as Peer>::Key,
    ) -> impl Future<Output = Result<String>> + Send;

    /// Sets the period of sessions, if the strategy depends on it.
    fn set_period(_: &Self::Peer, _: Period) {}
}

pub(super) struct Renew;

impl Strategy for Renew {
    type Peer = Ours;

    async fn request(peer: &Ours, key: &<Ours as Peer>::Key) -> Result<String> {
        peer.renew(key).await
    }

    fn set_period(peer: &Ours, period: Period) {
        peer.set_period(period);
    }
}

pub(super) struct GetAndTouch;

impl Strategy for GetAndTouch {
    type Peer = Ours;

    async fn request(peer: &Ours, key: &<Ours as Peer>::Key) -> Result<String> {
        let value = peer.load(key).await?;
        peer.touch(key).await?;
        Ok(value)
    }
}

/// Saves the value that it has loaded.
pub(super) struct AlwaysSave<P>(PhantomData<P>);

impl<P: Peer> Strategy for AlwaysSave<P> {
    type Peer = P;

    async fn request(peer: &P, key: &P::Key) -> Result<String> {
        let value = peer.load(key).await?;
        peer.save(key, value.clone()).await?;
        Ok(value)
    }
}

/// A database with sessions, and a program that uses it.
pub(super) struct Site<S: Strategy> {
    peer: Arc<S::Peer>,
    keys: Arc<Vec<<S::Peer as Peer>::Key>>,
    values: Arc<Values>,
}

impl<S: Strategy> Site<S> {
    pub(super) async fn open(
        url: &str,
        values: &Arc<Values>,
        period: Period,
        sessions: usize,
    ) -> Result<Site<S>> {
        let peer = Arc::new(S::Peer::open(url, &Default::default()).await?);
        S::set_period(&peer, period);
        let create = |session| {
            let (peer, value) = (peer.clone(), values.of(session, 0));
            tokio::spawn(async move { peer.create(value).await })
        };
        let creating: Vec<_> = (0..sessions).map(create).collect();
        let mut keys = Vec::new();
        for key in creating {
            keys.push(key.await??);
        }
        Ok(Site {
            peer,
            keys: Arc::new(keys),
            values: values.clone(),
        })
    }

    /// Makes requests, the same number for each session. Returns how long they take.
    pub(super) async fn serve(&self, requests: usize) -> Result<Duration> {
        let start = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (peer, keys) = (self.peer.clone(), self.keys.clone());
            let (values, next) = (self.values.clone(), next.clone());
            callers.spawn(async move {
                loop {
                    let request = next.fetch_add(1, Ordering::Relaxed);
                    if request >= requests {
                        return Ok(());
                    }
                    let session = request * STRIDE % keys.len();
                    let value = S::request(&peer, &keys[session]).await?;
                    ensure!(values.is(&value, session), "another session's value");
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        Ok(start.elapsed())
    }
}
