//! The sessions' values.

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};

/// A value is the number of its session, so that one is not taken for another, the number of its edition,
/// and that edition's random text, which PostgreSQL cannot compress. There are several, for a row that is
/// written as it was leaves little in the write-ahead log.
pub(crate) struct Values {
    texts: Vec<String>,
}

/// How many texts there are; one digit tells which it is.
pub(crate) const EDITIONS: usize = 8;

/// How many digits the number of a session has.
const DIGITS: usize = 8;

impl Values {
    pub(crate) fn new(bytes: usize) -> Values {
        let text = |edition| {
            let rng = StdRng::seed_from_u64(edition as u64);
            let letters = rng.sample_iter(Alphanumeric).map(char::from);
            letters.take(bytes.saturating_sub(DIGITS + 1)).collect()
        };
        Values {
            texts: (0..EDITIONS).map(text).collect(),
        }
    }

    pub(crate) fn of(&self, session: usize, edition: usize) -> String {
        format!("{session:0DIGITS$}{edition}{}", self.texts[edition])
    }

    pub(crate) fn is(&self, value: &str, session: usize) -> bool {
        let parts = value.split_at_checked(DIGITS);
        parts.is_some_and(|(number, rest)| {
            let parts = rest.split_at_checked(1);
            number.parse() == Ok(session)
                && parts.is_some_and(|(edition, text)| {
                    let edition: Option<usize> = edition.parse().ok();
                    edition
                        .and_then(|edition| self.texts.get(edition))
                        .map(String::as_str)
                        == Some(text)
                })
        })
    }
}
