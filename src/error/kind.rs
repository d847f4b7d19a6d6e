//! The kinds of errors.

use std::fmt;

use super::Error;

/// The kind of an [`Error`], by which errors are counted; see [`CallStats`](crate::CallStats).
///
/// Each kind has the name of the variant of [`Error`] that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants of `Error` are documented")]
pub enum ErrorKind {
    NotFound,
    NotSet,
    KeyExists,
    InvalidKey,
    InvalidValue,
    InvalidOwner,
    PeriodOutOfRange,
    InvalidOption,
    TimedOut,
    StillRunning,
    Locked,
    AsyncContext,
    Overloaded,
    Cancelled,
    NoRuntime,
    Disconnected,
    MissingTable,
    MissingColumn,
    UnfitTable,
    Connect,
    Database,
    NotOpen,
    OtherServer,
    Partial,
    ShardMap,
    Randomness,
    Other,
}

impl ErrorKind {
    /// All kinds, in the order of the enum.
    pub const ALL: &'static [ErrorKind] = &KINDS;

    /// Returns the name of the kind in metrics, for example `timed_out`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not_found",
            ErrorKind::NotSet => "not_set",
            ErrorKind::KeyExists => "key_exists",
            ErrorKind::InvalidKey => "invalid_key",
            ErrorKind::InvalidValue => "invalid_value",
            ErrorKind::InvalidOwner => "invalid_owner",
            ErrorKind::PeriodOutOfRange => "period_out_of_range",
            ErrorKind::InvalidOption => "invalid_option",
            ErrorKind::TimedOut => "timed_out",
            ErrorKind::StillRunning => "still_running",
            ErrorKind::Locked => "locked",
            ErrorKind::AsyncContext => "async_context",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::NoRuntime => "no_runtime",
            ErrorKind::Disconnected => "disconnected",
            ErrorKind::MissingTable => "missing_table",
            ErrorKind::MissingColumn => "missing_column",
            ErrorKind::UnfitTable => "unfit_table",
            ErrorKind::Connect => "connect",
            ErrorKind::Database => "database",
            ErrorKind::NotOpen => "not_open",
            ErrorKind::OtherServer => "other_server",
            ErrorKind::Partial => "partial",
            ErrorKind::ShardMap => "shard_map",
            ErrorKind::Randomness => "randomness",
            ErrorKind::Other => "other",
        }
    }
}

pub(crate) const KINDS: [ErrorKind; 27] = [
    ErrorKind::NotFound,
    ErrorKind::NotSet,
    ErrorKind::KeyExists,
    ErrorKind::InvalidKey,
    ErrorKind::InvalidValue,
    ErrorKind::InvalidOwner,
    ErrorKind::PeriodOutOfRange,
    ErrorKind::InvalidOption,
    ErrorKind::TimedOut,
    ErrorKind::StillRunning,
    ErrorKind::Locked,
    ErrorKind::AsyncContext,
    ErrorKind::Overloaded,
    ErrorKind::Cancelled,
    ErrorKind::NoRuntime,
    ErrorKind::Disconnected,
    ErrorKind::MissingTable,
    ErrorKind::MissingColumn,
    ErrorKind::UnfitTable,
    ErrorKind::Connect,
    ErrorKind::Database,
    ErrorKind::NotOpen,
    ErrorKind::OtherServer,
    ErrorKind::Partial,
    ErrorKind::ShardMap,
    ErrorKind::Randomness,
    ErrorKind::Other,
];

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound => ErrorKind::NotFound,
            Error::NotSet => ErrorKind::NotSet,
            Error::KeyExists => ErrorKind::KeyExists,
            Error::InvalidKey(_) => ErrorKind::InvalidKey,
            Error::InvalidValue(_) => ErrorKind::InvalidValue,
            Error::InvalidOwner(_) => ErrorKind::InvalidOwner,
            Error::PeriodOutOfRange { .. } => ErrorKind::PeriodOutOfRange,
            Error::InvalidOption(_) => ErrorKind::InvalidOption,
            Error::TimedOut { .. } => ErrorKind::TimedOut,
            Error::StillRunning { .. } => ErrorKind::StillRunning,
            Error::Locked => ErrorKind::Locked,
            Error::AsyncContext => ErrorKind::AsyncContext,
            Error::Overloaded { .. } => ErrorKind::Overloaded,
            Error::Cancelled => ErrorKind::Cancelled,
            Error::NoRuntime => ErrorKind::NoRuntime,
            Error::Disconnected(_) => ErrorKind::Disconnected,
            Error::MissingTable { .. } => ErrorKind::MissingTable,
            Error::MissingColumn { .. } => ErrorKind::MissingColumn,
            Error::UnfitTable { .. } => ErrorKind::UnfitTable,
            Error::Connect(_) => ErrorKind::Connect,
            Error::Database(_) => ErrorKind::Database,
            Error::NotOpen { .. } => ErrorKind::NotOpen,
            Error::OtherServer => ErrorKind::OtherServer,
            Error::Partial { .. } => ErrorKind::Partial,
            Error::ShardMap { .. } => ErrorKind::ShardMap,
            Error::Randomness(_) => ErrorKind::Randomness,
            Error::Other(_) => ErrorKind::Other,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_in_their_places() {
        for (place, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
