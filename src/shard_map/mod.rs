//! Which server has the sessions of which keys.

mod owner;
mod slots;
mod text;

use std::{fmt, ops::RangeInclusive};

pub(crate) use self::{
    owner::{Compared, Owner},
    slots::{OwnSlots, SLOTS, Slots, slot_of},
};
use crate::{Error, Key};

/// The largest number of characters in the name of a server.
const MAX_NAME_LENGTH: usize = 63;

/// Words of the text form that cannot be names of servers.
const RESERVED: [&str; 3] = ["version", "retired", "origin"];

/// Which server of a [`Sharded`](crate::Sharded) store has the sessions of which keys.
///
/// The first two characters of a key are its slot, a number from 0 to 4,095. A map assigns slots to servers. This is
/// permanent, because the sessions of a slot do not move. Slots that are not assigned are for future servers.
///
/// All programs that share the servers must use the same map. Each server keeps it, and refuses programs with another
/// one. To change a map, make one with a higher version; see the guide on [scaling](crate::guide::scaling).
///
/// A map has a text form, for configuration files. `Display` writes it and [`str::parse`] reads it:
///
/// ```text
/// version=3 a=0-1023 b=1024-2047,3072 retired=2048-2559 origin=a
/// ```
///
/// # Examples
///
/// ```
/// use session_postgres::ShardMap;
///
/// let map = ShardMap::new(1).assign("a", 0..=1023)?.assign("b", 1024..=2047)?;
/// assert_eq!(map, "version=1 a=0-1023 b=1024-2047".parse()?);
///
/// let key = map.generate_key("b")?;
/// assert_eq!(map.server_of(&key), Some("b"));
/// # Ok::<(), session_postgres::Error>(())
/// ```
#[derive(Clone)]
pub struct ShardMap {
    version: u32,
    servers: Vec<Assigned>,
    retired: Vec<RangeInclusive<u16>>,
    origin: Option<String>,
}

#[derive(Clone)]
struct Assigned {
    name: String,
    ranges: Vec<RangeInclusive<u16>>,
}

impl ShardMap {
    /// Returns a map without servers. Of two maps, the one with the higher version is newer.
    ///
    /// # Panics
    ///
    /// If `version` is 0.
    pub fn new(version: u32) -> ShardMap {
        assert!(version > 0, "the version of a map must be at least 1");
        ShardMap {
            version,
            servers: Vec::new(),
            retired: Vec::new(),
            origin: None,
        }
    }

    /// Assigns slots to a server. A server may have several ranges.
    ///
    /// The number of slots does not limit the number of sessions, and does not determine how many of the new sessions a
    /// server gets; see [`ShardedBuilder::share`](crate::ShardedBuilder::share). So leave many for future servers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the range is empty or ends above 4,095, if a slot of it is assigned already, or if
    /// the name is invalid. A name has 1 to 63 ASCII letters, digits, `-`, `_` and `.`, and is none of `version`,
    /// `retired` and `origin`.
    pub fn assign(mut self, server: &str, slots: RangeInclusive<u16>) -> Result<ShardMap, Error> {
        check_name(server)?;
        self.check_free(&slots)?;
        match self.servers.iter_mut().find(|of| of.name == server) {
            Some(assigned) => assigned.ranges.push(slots),
            None => self.servers.push(Assigned {
                name: server.to_owned(),
                ranges: vec![slots],
            }),
        }
        Ok(self)
    }

    /// Sets the server that had all sessions before there was a map. It needs slots of its own, like any other server.
    ///
    /// Sessions that were created then may be in any slot. So a session that is not on the server of its slot is looked
    /// up on this server, too. [Remove](Self::without_origin) the origin in a later version of the map, when it has no such
    /// sessions any more.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if no slots are assigned to this server.
    pub fn origin(mut self, server: &str) -> Result<ShardMap, Error> {
        self.slots_of(server)?;
        self.origin = Some(server.to_owned());
        Ok(self)
    }

    /// Removes the origin. The server keeps its own slots.
    pub fn without_origin(self) -> ShardMap {
        ShardMap {
            origin: None,
            ..self
        }
    }

    /// Removes a server whose sessions have all ended. Its slots are not assigned again: a key in them has no session. If the
    /// server is the origin, the map has none then.
    ///
    /// Set its share to 0 in all programs long before that. A program with an older map would still create sessions there,
    /// which a program with the newer one does not find.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the map has no such server.
    pub fn retire(mut self, server: &str) -> Result<ShardMap, Error> {
        let place = self.servers.iter().position(|of| of.name == server);
        let removed = self.servers.remove(place.ok_or_else(|| no_server(server))?);
        self.retired.extend(removed.ranges);
        self.origin.take_if(|origin| origin == server);
        Ok(self)
    }

    /// Returns a map with the same assignments and another version.
    ///
    /// # Panics
    ///
    /// If `version` is 0.
    pub fn with_version(self, version: u32) -> ShardMap {
        assert!(version > 0, "the version of a map must be at least 1");
        ShardMap { version, ..self }
    }

    /// Returns the version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the server to which the slot of this key is assigned, or `None` if it is not assigned or retired.
    pub fn server_of(&self, key: &Key) -> Option<&str> {
        match self.owner(slot_of(key)) {
            Owner::Server(name) => Some(name),
            Owner::Retired | Owner::Unassigned => None,
        }
    }

    /// Returns a new random key in a slot of this server, for other implementations of [`Store`](crate::Store).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the map does not have this server, [`Error::Randomness`] if the operating system
    /// provides no random bytes.
    pub fn generate_key(&self, server: &str) -> Result<Key, Error> {
        Key::generate_in(&self.slots_of(server)?)
    }

    /// The names of all servers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|of| of.name.as_str())
    }

    pub(crate) fn origin_name(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    pub(crate) fn slots_of(&self, server: &str) -> Result<Slots, Error> {
        let found = self.servers.iter().find(|of| of.name == server);
        let found = found.ok_or_else(|| no_server(server))?;
        Ok(Slots::new(&found.ranges))
    }

    fn check_free(&self, slots: &RangeInclusive<u16>) -> Result<(), Error> {
        if slots.is_empty() || *slots.end() >= SLOTS {
            return Err(invalid(format!(
                "slots {}-{} are not a range within 0-{}",
                slots.start(),
                slots.end(),
                SLOTS - 1
            )));
        }
        for slot in slots.clone() {
            match self.owner(slot) {
                Owner::Unassigned => {}
                taken => {
                    return Err(invalid(format!("slot {slot} is assigned twice: {taken}")));
                }
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let length = 1..=MAX_NAME_LENGTH;
    match length.contains(&name.len()) && name.chars().all(is_valid) && !RESERVED.contains(&name) {
        true => Ok(()),
        false => Err(invalid(format!(
            "{name:?} cannot be the name of a server: a name has 1 to {MAX_NAME_LENGTH} ASCII letters, digits, `-`, \
             `_` and `.`, and is none of {}",
            RESERVED.join(", ")
        ))),
    }
}

fn no_server(name: &str) -> Error {
    invalid(format!("the map has no server {name}"))
}

fn invalid(why: String) -> Error {
    Error::InvalidOption(why)
}

impl fmt::Debug for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardMap({self})")
    }
}
