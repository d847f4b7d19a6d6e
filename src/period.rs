//! How long a session lives: the type, its bounds and the default.

use std::sync::{PoisonError, RwLock};

use crate::Error;

/// A length of life: how long a session has, or has left.
///
/// It is signed, as in the original: a period of zero or less describes a session that is already
/// expired. The largest that can be asked for is [`MAX_PERIOD`]; [`Period::MAX`] is what a session
/// has left that never expires.
pub type Period = time::Duration;

/// What a session gets where no expiry is given and nobody changed the default: one week.
pub const DEFAULT_PERIOD: Period = Period::WEEK;

/// The longest period that can be asked for, 290,000 years: with it, the expiry date still fits
/// PostgreSQL's range.
pub const MAX_PERIOD: Period = Period::days(290_000 * 365);

/// The shortest period that can be asked for, 6,000 years ago. Anything from zero down means
/// "already expired".
pub const MIN_PERIOD: Period = Period::days(-6_000 * 365);

/// Passes a period that every backend can hold.
pub(crate) fn check(period: Period) -> Result<Period, Error> {
    if (MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        Ok(period)
    } else {
        Err(Error::PeriodOutOfRange { period })
    }
}

/// The default period of one store, which its users may change at any time.
#[derive(Debug)]
pub(crate) struct DefaultPeriod(RwLock<Period>);

impl DefaultPeriod {
    pub(crate) fn new(period: Period) -> Self {
        DefaultPeriod(RwLock::new(period))
    }

    pub(crate) fn get(&self) -> Period {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, period: Period) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = period;
    }

    /// The period to write for what a caller gave as expiry.
    pub(crate) fn or_given(&self, expiry: Option<Period>) -> Result<Period, Error> {
        check(expiry.unwrap_or_else(|| self.get()))
    }
}
