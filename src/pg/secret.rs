//! Keys and values as parameters that the driver's log does not show.

use std::{error::Error as StdError, fmt};

use bytes::BytesMut;
use postgres::types::{IsNull, ToSql, Type};

use crate::Key;

/// A text whose `Debug` shows `..`, because the driver logs parameters at the debug level.
pub(super) struct Secret<'a>(pub(super) &'a str);

impl<'a> Secret<'a> {
    pub(super) fn of(key: &'a Key) -> Secret<'a> {
        Secret(key.as_str())
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl ToSql for Secret<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    postgres::types::to_sql_checked!();
}
