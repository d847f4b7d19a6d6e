//! Comparing maps.

use std::{cmp::Ordering, fmt, ops::RangeInclusive};

use super::{SLOTS, ShardMap, Slots};

/// To which server a map assigns a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    Server(&'a str),
    Retired,
    Unassigned,
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Server(name) => write!(f, "server {name}"),
            Owner::Retired => f.write_str("retired"),
            Owner::Unassigned => f.write_str("no server"),
        }
    }
}

/// How a map differs from one that a server keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Same,
    /// It may replace the one that is kept.
    Newer,
    /// A program must not use it. The text says why.
    Refused(String),
}

impl ShardMap {
    /// Returns the owner of a slot.
    pub(crate) fn owner(&self, slot: u16) -> Owner<'_> {
        let has = |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&slot));
        if has(&self.retired) {
            return Owner::Retired;
        }
        let found = self.servers.iter().find(|of| has(&of.ranges));
        found.map_or(Owner::Unassigned, |of| Owner::Server(&of.name))
    }

    /// Compares this map of a program with the one that a server keeps.
    pub(crate) fn compare_to(&self, kept: &ShardMap) -> Compared {
        let (mine, theirs) = (self.version, kept.version);
        let difference = self.first_difference(kept, false);
        match (mine.cmp(&theirs), difference) {
            (Ordering::Equal, None) => Compared::Same,
            (Ordering::Equal, Some(difference)) => Compared::Refused(format!(
                "both have version {mine}, but {difference}; use one map in all programs, and give a changed one a \
                 higher version"
            )),
            (Ordering::Less, difference) => Compared::Refused(format!(
                "it has version {mine}, but the server has version {theirs}{}; use that one",
                difference.map_or(String::new(), |text| format!(", where {text}"))
            )),
            (Ordering::Greater, _) => match self.first_difference(kept, true) {
                None => Compared::Newer,
                Some(difference) => Compared::Refused(format!(
                    "it has version {mine} after version {theirs} of the server, but {difference}; sessions do not \
                         move, so slots stay where they are until they are retired"
                )),
            },
        }
    }

    /// Describes the first difference to the map that a server keeps. If this one `is_newer`, only a difference that
    /// would lose sessions.
    fn first_difference(&self, kept: &ShardMap, is_newer: bool) -> Option<String> {
        let owners = |slot| (kept.owner(slot), self.owner(slot));
        let is_fault = |slot: &u16| {
            let (theirs, mine) = owners(*slot);
            theirs != mine && !(is_newer && kept.may_change(theirs, mine))
        };
        if let Some(first) = (0..SLOTS).find(is_fault) {
            let end = (first..SLOTS).find(|slot| owners(*slot) != owners(first));
            let last = end.unwrap_or(SLOTS) - 1;
            let (theirs, mine) = owners(first);
            return Some(format!(
                "slots {} belong to {mine} in the program and to {theirs} on the server",
                Slots::new(&[first..=last])
            ));
        }
        let [theirs, mine] = [kept, self].map(|map| map.origin.as_deref());
        let is_removed = is_newer && mine.is_none();
        (theirs != mine && !is_removed).then(|| {
            format!(
                "the origin is {} in the program and {} on the server",
                mine.unwrap_or("not set"),
                theirs.unwrap_or("not set")
            )
        })
    }

    /// Whether a slot that has this owner may have another one in a newer map.
    ///
    /// A server gets no more slots, because it may draw keys in them while programs still use the older map.
    fn may_change(&self, older: Owner<'_>, newer: Owner<'_>) -> bool {
        match (older, newer) {
            (Owner::Unassigned, Owner::Server(name)) => self.names().all(|known| known != name),
            (Owner::Unassigned | Owner::Server(_), Owner::Retired) => true,
            _ => false,
        }
    }
}

/// Two maps are equal if they have the same version and assign each slot to the same server.
impl PartialEq for ShardMap {
    fn eq(&self, other: &ShardMap) -> bool {
        self.compare_to(other) == Compared::Same
    }
}

impl Eq for ShardMap {}

#[cfg(all(test, not(shuttle)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn compare(program: &str, server: &str) -> Compared {
        let [program, server] = [program, server].map(|map| map.parse::<ShardMap>().unwrap());
        program.compare_to(&server)
    }

    fn refusal(program: &str, server: &str) -> String {
        match compare(program, server) {
            Compared::Refused(why) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn maps_with_the_same_content_are_the_same_in_any_order() {
        let order = compare("version=1 b=5 a=0-3,4", "version=1 a=0-4 b=5");
        assert_eq!(order, Compared::Same);
    }

    #[test]
    fn a_newer_map_may_assign_free_slots_and_retire_servers() {
        for newer in [
            "version=2 a=0-4 b=5",
            "version=2 a=0-4 b=5 c=6-9",
            "version=9 a=0-4 retired=5",
        ] {
            assert_eq!(compare(newer, "version=1 a=0-4 b=5"), Compared::Newer);
        }
        let without = compare("version=2 a=0-4", "version=1 a=0-4 origin=a");
        assert_eq!(without, Compared::Newer);
    }

    #[test]
    fn a_map_of_the_same_version_with_other_content_is_refused() {
        let why = refusal("version=1 a=0-4 b=5-9", "version=1 a=0-6 b=7-9");
        let expected = "both have version 1, but slots 5-6 belong to server b in the program and to server a on the server";
        assert!(why.starts_with(expected), "{why}");
        let why = refusal("version=1 a=0", "version=1 a=0 origin=a");
        assert!(
            why.contains("the origin is not set in the program and a on the server"),
            "{why}"
        );
    }

    #[test]
    fn a_newer_map_that_moves_a_slot_is_refused() {
        for (newer, expected) in [
            (
                "version=2 a=1-4",
                "slots 0 belong to no server in the program and to server a on the server",
            ),
            (
                "version=2 b=0-4",
                "slots 0-4 belong to server b in the program and to server a on the server",
            ),
            (
                "version=2 a=0-5",
                "slots 5 belong to server a in the program and to retired on the server",
            ),
            (
                "version=2 a=0-4 retired=5 b=6 origin=b",
                "the origin is b in the program and a on the server",
            ),
        ] {
            let why = refusal(newer, "version=1 a=0-4 retired=5 origin=a");
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_newer_map_that_gives_a_server_more_slots_or_adds_an_origin_is_refused() {
        let why = refusal("version=2 a=0-5", "version=1 a=0-4");
        let expected = "slots 5 belong to server a in the program and to no server on the server";
        assert!(why.contains(expected), "{why}");
        let why = refusal("version=2 a=0-4 origin=a", "version=1 a=0-4");
        let expected = "the origin is a in the program and not set on the server";
        assert!(why.contains(expected), "{why}");
    }

    #[test]
    fn an_older_map_is_refused() {
        let why = refusal("version=1 a=0-4", "version=2 a=0-4 b=5-9");
        let expected = "it has version 1, but the server has version 2, where slots 5-9 belong to no server in the program";
        assert!(why.starts_with(expected), "{why}");
    }
}
