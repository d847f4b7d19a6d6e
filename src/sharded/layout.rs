//! The servers of a map, and where a key belongs.

use std::sync::Arc;

use rand::{TryRng, rngs::SysRng};

use super::{newest::Checks, server::Server};
use crate::{
    Error, Key, ShardMap,
    shard_map::{Owner, SLOTS, slot_of},
};

pub(super) struct Layout<S> {
    pub(super) map: Arc<ShardMap>,
    pub(super) servers: Vec<Arc<Server<S>>>,
    by_slot: Vec<Place>,
    origin: Option<usize>,
    pub(super) checks: Checks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Server(usize),
    Retired,
    Unassigned,
}

/// The servers that can have the session with a key.
pub(super) struct Route<'l, S> {
    /// The server of its slot.
    pub(super) own: Option<&'l Arc<Server<S>>>,
    /// The origin, if it is another server.
    pub(super) origin: Option<&'l Arc<Server<S>>>,
    /// Whether the origin is asked first, because the other server has failed lately.
    is_origin_first: bool,
    /// Whether its slot is assigned to no server and was not retired.
    pub(super) is_unassigned: bool,
}

/// A server for a new session.
pub(super) struct Chosen<S> {
    pub(super) server: Arc<Server<S>>,
    /// Whether there is another one.
    pub(super) has_others: bool,
}

impl<'l, S> Route<'l, S> {
    /// Returns the only server where the session can be, if there is just one.
    pub(super) fn only(&self) -> Option<&'l Arc<Server<S>>> {
        match (self.own, self.origin) {
            (Some(server), None) => Some(server),
            _ => None,
        }
    }

    /// Notes the error of a server, so that the next call asks the other one first, if there are two.
    pub(super) fn note_fault(&self, server: &Server<S>, error: &Error) {
        if self.only().is_none() {
            server.note_fault(error);
        }
    }

    /// Returns the servers in the order in which they are asked.
    pub(super) fn servers(&self) -> impl Iterator<Item = &'l Arc<Server<S>>> + use<'l, S> {
        let (first, second) = match self.is_origin_first {
            true => (self.origin, self.own),
            false => (self.own, self.origin),
        };
        first.into_iter().chain(second)
    }
}

impl<S> Layout<S> {
    /// `servers` must be those of the map.
    pub(super) fn new(map: Arc<ShardMap>, servers: Vec<Arc<Server<S>>>) -> Layout<S> {
        let place = |name: &str| servers.iter().position(|server| server.name == name);
        let by_slot = (0..SLOTS).map(|slot| match map.owner(slot) {
            Owner::Server(name) => place(name).map_or(Place::Unassigned, Place::Server),
            Owner::Retired => Place::Retired,
            Owner::Unassigned => Place::Unassigned,
        });
        Layout {
            by_slot: by_slot.collect(),
            origin: map.origin_name().and_then(place),
            map,
            servers,
            checks: Checks::default(),
        }
    }

    pub(super) fn route(&self, key: &Key) -> Route<'_, S> {
        let place = self.by_slot[usize::from(slot_of(key))];
        let own = match place {
            Place::Server(index) => Some(index),
            Place::Retired | Place::Unassigned => None,
        };
        let origin = self.origin.filter(|origin| own != Some(*origin));
        let server = |index: usize| &self.servers[index];
        let (own, origin) = (own.map(server), origin.map(server));
        let is_bad = |server: &Arc<Server<S>>| !server.is_good();
        Route {
            is_origin_first: origin.is_some() && own.is_some_and(is_bad),
            own,
            origin,
            is_unassigned: place == Place::Unassigned,
        }
    }

    pub(super) fn has_origin(&self) -> bool {
        self.origin.is_some()
    }

    pub(super) fn server(&self, name: &str) -> Option<&Arc<Server<S>>> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// Chooses a server for a new session at random, in proportion to the shares, but none of `tried`. A server
    /// that has failed lately is chosen only if there are no others.
    pub(super) fn choose(&self, tried: &[String]) -> Result<Option<Chosen<S>>, Error> {
        let open = self.servers.iter().filter_map(|server| {
            let share = server.share();
            let is_open = share > 0 && !tried.contains(&server.name);
            is_open.then(|| (server, u64::from(share)))
        });
        let good = open.clone().filter(|(server, _)| server.is_good());
        let mut candidates: Vec<_> = good.collect();
        if candidates.is_empty() {
            candidates = open.collect();
        }
        Ok(pick(&candidates)?.map(|server| Chosen {
            server: server.clone(),
            has_others: candidates.len() > 1,
        }))
    }
}

/// Picks a server at random, in proportion to the shares, which are not 0.
fn pick<'a, S>(servers: &[(&'a Arc<Server<S>>, u64)]) -> Result<Option<&'a Arc<Server<S>>>, Error> {
    if servers.len() <= 1 {
        return Ok(servers.first().map(|(server, _)| *server));
    }
    let total: u64 = servers.iter().map(|(_, share)| share).sum();
    let random = SysRng.try_next_u64();
    let mut place = random.map_err(|e| Error::Randomness(e.to_string()))? % total;
    for (server, share) in servers {
        if place < *share {
            return Ok(Some(server));
        }
        place -= share;
    }
    Ok(servers.last().map(|(server, _)| *server))
}
