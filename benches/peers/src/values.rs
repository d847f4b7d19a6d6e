//! The values of the sessions.

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};

/// A value consists of the number of its session, so that wrong answers are noticed, the number of its variant,
/// and the variant's random text, which PostgreSQL cannot compress. There are several variants, because writing
/// an unchanged value leaves little in the write-ahead log.
pub(crate) struct Values {
    texts: Vec<String>,
}

/// At most ten, because a value has one digit for it.
pub(crate) const VARIANTS: usize = 8;

/// The number of digits of a session's number.
const DIGITS: usize = 8;

impl Values {
    pub(crate) fn new(bytes: usize) -> Values {
        let text = |variant| {
            let rng = StdRng::seed_from_u64(variant as u64);
            let letters = rng.sample_iter(Alphanumeric).map(char::from);
            letters.take(bytes.saturating_sub(DIGITS + 1)).collect()
        };
        Values {
            texts: (0..VARIANTS).map(text).collect(),
        }
    }

    pub(crate) fn of(&self, session: usize, variant: usize) -> String {
        format!("{session:0DIGITS$}{variant}{}", self.texts[variant])
    }

    pub(crate) fn is(&self, value: &str, session: usize) -> bool {
        let parts = value.split_at_checked(DIGITS);
        parts.is_some_and(|(number, rest)| {
            let parts = rest.split_at_checked(1);
            number.parse() == Ok(session)
                && parts.is_some_and(|(variant, text)| {
                    let variant: Option<usize> = variant.parse().ok();
                    variant
                        .and_then(|variant| self.texts.get(variant))
                        .map(String::as_str)
                        == Some(text)
                })
        })
    }
}
