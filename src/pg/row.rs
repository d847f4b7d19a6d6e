//! Reading rows.

use std::error::Error as StdError;

use bytes::BytesMut;
use postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type},
};

use crate::{Error, OwnedSession, Period, Session};

/// An instant as the server sends it: microseconds since the year 2000.
///
/// The largest and smallest values are `infinity` and `-infinity`, which calendar types cannot represent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timestamp(i64);

impl Timestamp {
    const INFINITY: Timestamp = Timestamp(i64::MAX);

    fn since(self, earlier: Timestamp) -> Period {
        if self == Timestamp::INFINITY {
            Period::MAX
        } else {
            Period::microseconds(self.0.saturating_sub(earlier.0))
        }
    }
}

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Timestamp(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// Returns the remaining period of a session, from the columns of its expiry date and of the server's time.
pub(super) fn remaining(row: &Row, expires: usize, now: usize) -> Result<Period, postgres::Error> {
    Ok(row
        .try_get::<_, Timestamp>(expires)?
        .since(row.try_get(now)?))
}

/// A living session, from a row that begins with its value, when it expires, the server's time, and when it was
/// created.
pub(super) struct SessionRow {
    value: Option<String>,
    period: Period,
    age: Option<Period>,
}

impl SessionRow {
    pub(super) fn read(row: &Row) -> Result<SessionRow, postgres::Error> {
        // A column of another type has another meaning.
        let created: Option<Timestamp> = match *row.columns()[3].type_() {
            Type::TIMESTAMPTZ => row.try_get(3)?,
            _ => None,
        };
        let now: Timestamp = row.try_get(2)?;
        Ok(SessionRow {
            value: row.try_get(0)?,
            // The server reads the clock again after it has found that the session lives.
            period: remaining(row, 1, 2)?.max(Period::microseconds(1)),
            // A restored table may contain dates in the future.
            age: created.map(|created| now.since(created).max(Period::ZERO)),
        })
    }

    /// Returns the session of one key. A table without a unique index may have several rows of a key. The one
    /// that lives longest counts.
    pub(super) fn read_longest(rows: &[Row]) -> Result<Option<SessionRow>, postgres::Error> {
        let mut longest = None;
        for row in rows {
            longest = Some(SessionRow::read(row)?.or_longer(longest));
        }
        Ok(longest)
    }

    pub(super) fn or_longer(self, other: Option<SessionRow>) -> SessionRow {
        match other {
            Some(other) if other.period >= self.period => other.or_age(&self),
            Some(other) => self.or_age(&other),
            None => self,
        }
    }

    /// Takes over the age if this row does not have one.
    fn or_age(mut self, other: &SessionRow) -> SessionRow {
        self.age = self.age.or(other.age);
        self
    }

    /// Whether a renewal is to restart the period: less time is left than `due_below`, and the maximum age is not the
    /// reason for that. A session without a value is not renewed, because a renewal of it fails.
    pub(super) fn is_due(&self, due_below: Period, max_age: Option<Period>) -> bool {
        let ends_by_age = match (max_age, self.age) {
            (Some(max_age), Some(age)) => age + self.period >= max_age,
            _ => false,
        };
        self.value.is_some() && self.period < due_below && !ends_by_age
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    pub(super) fn age(&self) -> Option<Period> {
        self.age
    }

    pub(super) fn into_session(self) -> Result<Session, Error> {
        let value = self.value.ok_or(Error::NotSet)?;
        Ok(Session {
            value,
            period: self.period,
            age: self.age,
        })
    }

    pub(super) fn into_owned(self, handle: String) -> OwnedSession {
        OwnedSession {
            handle,
            value: self.value,
            period: self.period,
            age: self.age,
        }
    }
}
