//! The sessions' values.

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};

/// Each session's value begins with its number, so that one is not taken for another; the rest is the
/// same random text in all, so that PostgreSQL cannot compress it.
pub(crate) struct Values {
    rest: String,
}

/// How many digits a number has.
const DIGITS: usize = 8;

impl Values {
    pub(crate) fn new(bytes: usize) -> Values {
        let rng = StdRng::seed_from_u64(bytes as u64);
        let letters = rng.sample_iter(Alphanumeric);
        Values {
            rest: letters
                .take(bytes.saturating_sub(DIGITS))
                .map(char::from)
                .collect(),
        }
    }

    pub(crate) fn of(&self, session: usize) -> String {
        let mut value = String::with_capacity(DIGITS + self.rest.len());
        value.push_str(&format!("{session:0DIGITS$}"));
        value.push_str(&self.rest);
        value
    }

    pub(crate) fn is(&self, value: &str, session: usize) -> bool {
        value
            .split_at_checked(DIGITS)
            .is_some_and(|(number, rest)| number.parse() == Ok(session) && rest == self.rest)
    }
}
