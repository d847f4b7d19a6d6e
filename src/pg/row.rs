//! How rows are read.

use std::error::Error as StdError;

use bytes::BytesMut;
use postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type},
};

use crate::{Error, Period, Session};

/// An instant as the server sends it: microseconds since the year 2000.
///
/// The largest and smallest stand for infinity and minus infinity, which no calendar type holds.
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

/// What is left of a life, by a row's expiry date and the server's time beside it.
pub(super) fn left(row: &Row, expires: usize, now: usize) -> Result<Period, postgres::Error> {
    Ok(row
        .try_get::<_, Timestamp>(expires)?
        .since(row.try_get(now)?))
}

/// A living row that begins with `session_data, expire_date` and the server's time.
pub(super) struct Found {
    value: Option<String>,
    period: Period,
}

impl Found {
    pub(super) fn read(row: &Row) -> Result<Found, postgres::Error> {
        Ok(Found {
            value: row.try_get(0)?,
            // The server looks at the clock again after it has found that the row lives.
            period: left(row, 1, 2)?.max(Period::microseconds(1)),
        })
    }

    /// Of the rows of one key the one that counts: a table without a unique index may hold several,
    /// and the one that lives longest wins.
    pub(super) fn longest(rows: &[Row]) -> Result<Option<Found>, postgres::Error> {
        let mut longest = None;
        for row in rows {
            longest = Some(Found::read(row)?.or_longer(longest));
        }
        Ok(longest)
    }

    pub(super) fn or_longer(self, other: Option<Found>) -> Found {
        match other {
            Some(other) if other.period >= self.period => other,
            _ => self,
        }
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    pub(super) fn into_session(self) -> Result<Session, Error> {
        let value = self.value.ok_or(Error::NotSet)?;
        Ok(Session {
            value,
            period: self.period,
        })
    }
}
