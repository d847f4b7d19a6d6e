//! The time until a session expires: its type, bounds and default.

use std::sync::{PoisonError, RwLock};

use crate::Error;

/// The time until a session expires: the type [`time::Duration`], under a shorter name.
///
/// It is signed. A period of zero or less makes a session expire at once. A call accepts periods from [`MIN_PERIOD`]
/// to [`MAX_PERIOD`]. If another program has stored the expiry date `infinity`, the remaining period is
/// [`Period::MAX`].
///
/// # Examples
///
/// ```
/// use session_postgres::{Period, time};
///
/// assert_eq!(Period::hours(2), time::Duration::minutes(120));
/// assert_eq!(Period::try_from(std::time::Duration::from_secs(60))?, Period::MINUTE);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Period = time::Duration;

/// The default period of a new store: one week.
pub const DEFAULT_PERIOD: Period = Period::WEEK;

/// The longest period that a call accepts: 290,000 years of 365 days.
///
/// It is limited so that PostgreSQL can store the expiry date.
pub const MAX_PERIOD: Period = Period::days(290_000 * 365);

/// The shortest period that a call accepts: minus 6,000 years of 365 days.
///
/// It is limited so that PostgreSQL can store the expiry date.
pub const MIN_PERIOD: Period = Period::days(-6_000 * 365);

/// Returns the period if every backend can store it.
pub(crate) fn check(period: Period) -> Result<Period, Error> {
    if (MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        Ok(period)
    } else {
        Err(Error::PeriodOutOfRange { period })
    }
}

/// Returns a maximum age that every backend can apply.
///
/// # Panics
///
/// If it is zero or less, or longer than [`MAX_PERIOD`].
pub(crate) fn check_max_age(age: Option<Period>) -> Option<Period> {
    assert!(
        age.is_none_or(|age| age.is_positive() && age <= MAX_PERIOD),
        "max_age must be more than zero and at most MAX_PERIOD"
    );
    age
}

/// How much of its period must have passed before a renewal writes: a fraction from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RenewAfter(f64);

impl RenewAfter {
    /// # Panics
    ///
    /// If it is not from 0 to 1.
    pub(crate) fn new(fraction: f64) -> RenewAfter {
        assert!(
            (0.0..=1.0).contains(&fraction),
            "renew_after must be from 0 to 1, and is {fraction}"
        );
        RenewAfter(fraction)
    }

    /// Returns the remaining time below which a session is renewed to this period.
    pub(crate) fn due_below(self, period: Period) -> Period {
        Period::saturating_seconds_f64(period.as_seconds_f64() * (1.0 - self.0))
    }
}

impl Default for RenewAfter {
    fn default() -> RenewAfter {
        RenewAfter(0.1)
    }
}

/// The default period of one store. It can be changed at any time.
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

    /// Returns the expiry that a caller gave, or else the default.
    pub(crate) fn or_given(&self, expiry: Option<Period>) -> Result<Period, Error> {
        check(expiry.unwrap_or_else(|| self.get()))
    }
}
