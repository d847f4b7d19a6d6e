//! The text form of a map.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use super::{ShardMap, Slots, invalid};
use crate::Error;

impl fmt::Display for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version={}", self.version)?;
        for server in &self.servers {
            write!(f, " {}={}", server.name, Slots::new(&server.ranges))?;
        }
        if !self.retired.is_empty() {
            write!(f, " retired={}", Slots::new(&self.retired))?;
        }
        self.origin
            .iter()
            .try_for_each(|origin| write!(f, " origin={origin}"))
    }
}

/// Fails with [`Error::InvalidOption`].
impl FromStr for ShardMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardMap, Error> {
        let mut words = text.split_whitespace();
        let version = words.next().and_then(|word| word.strip_prefix("version="));
        let version = version.and_then(|number| number.parse().ok());
        let version = version.filter(|version| *version > 0);
        let mut map = ShardMap::new(version.ok_or_else(|| {
            invalid("a map begins with its version, for example version=1 a=0-1023".to_owned())
        })?);
        for word in words {
            let (name, rest) = word.split_once('=').ok_or_else(|| {
                invalid(format!(
                    "{word:?} in a map is not of the form server=0-1023"
                ))
            })?;
            if name == "origin" {
                map = map.origin(rest)?;
                continue;
            }
            for range in rest.split(',') {
                let slots = parse_range(range).ok_or_else(|| {
                    invalid(format!(
                        "{range:?} in a map is not a range of slots such as 0-1023"
                    ))
                })?;
                map = match name {
                    "retired" => {
                        map.check_free(&slots)?;
                        map.retired.push(slots);
                        map
                    }
                    _ => map.assign(name, slots)?,
                };
            }
        }
        Ok(map)
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(all(test, not(shuttle)))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_map_is_read_back() {
        for text in [
            "version=1",
            "version=7 a=0-1023",
            "version=7 a=0-9,11,20-30 b.c-d_E=10 retired=4095 origin=a",
        ] {
            let map: ShardMap = text.parse().unwrap();
            assert_eq!(map.to_string(), text);
        }
    }

    #[test]
    fn a_text_that_is_no_map_is_an_error_that_says_why() {
        for (text, expected) in [
            ("", "begins with its version"),
            ("a=0-9", "begins with its version"),
            ("version=0 a=0-9", "begins with its version"),
            ("version=x", "begins with its version"),
            ("version=1 a", "not of the form server=0-1023"),
            ("version=1 a=", "not a range of slots"),
            ("version=1 a=5-", "not a range of slots"),
            ("version=1 a=5-4", "slots 5-4 are not a range within 0-4095"),
            (
                "version=1 a=0-4096",
                "slots 0-4096 are not a range within 0-4095",
            ),
            ("version=1 a=0-9 b=9", "slot 9 is assigned twice: server a"),
            (
                "version=1 retired=0-9 b=9",
                "slot 9 is assigned twice: retired",
            ),
            (
                "version=1 a=9 retired=9",
                "slot 9 is assigned twice: server a",
            ),
            ("version=1 a b=9", "not of the form"),
            ("version=1 ä=9", "cannot be the name of a server"),
            ("version=1 version=9", "cannot be the name of a server"),
            ("version=1 a=9 origin=b", "the map has no server b"),
            ("version=1 origin=a a=9", "the map has no server a"),
        ] {
            let error = text.parse::<ShardMap>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
