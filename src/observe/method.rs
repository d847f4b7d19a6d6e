//! The methods by which calls are counted.

use std::fmt;

/// A method of a store, by which its calls are counted; see [`CallStats`](crate::CallStats).
///
/// A call of [`get_many`](crate::Store::get_many) for ten keys counts as ten calls of [`Get`](Method::Get), and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `generate`, `generate_with` and `generate_many`.
    Generate,
    /// `clear` and `clear_many`.
    Clear,
    /// `get`, `find` and `get_many`.
    Get,
    /// `renew` and `renew_many`.
    Renew,
    /// `set` and `set_many`.
    Set,
    /// `insert` and `insert_many`.
    Insert,
    /// `touch` and `touch_many`.
    Touch,
    /// `rotate`, `rotate_with` and `rotate_to`.
    Rotate,
    /// `update`.
    Update,
    /// `set_owner`.
    SetOwner,
    /// `owned`.
    Owned,
    /// `clear_owned`.
    ClearOwned,
    /// `clear_handle`.
    ClearHandle,
    /// `prune`, `prune_pass`, and each pass of a [`Pruner`](crate::Pruner).
    Prune,
    /// Work of the program: `with_client`, `transaction` and [`Offload::run`](crate::Offload::run). The errors that the
    /// work returns are not counted.
    Run,
}

impl Method {
    /// All methods, in the order of the enum.
    pub const ALL: &'static [Method] = &METHODS;

    /// Returns the name of the method in metrics and spans, for example `set_owner`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Generate => "generate",
            Method::Clear => "clear",
            Method::Get => "get",
            Method::Renew => "renew",
            Method::Set => "set",
            Method::Insert => "insert",
            Method::Touch => "touch",
            Method::Rotate => "rotate",
            Method::Update => "update",
            Method::SetOwner => "set_owner",
            Method::Owned => "owned",
            Method::ClearOwned => "clear_owned",
            Method::ClearHandle => "clear_handle",
            Method::Prune => "prune",
            Method::Run => "run",
        }
    }
}

pub(crate) const METHODS: [Method; 15] = [
    Method::Generate,
    Method::Clear,
    Method::Get,
    Method::Renew,
    Method::Set,
    Method::Insert,
    Method::Touch,
    Method::Rotate,
    Method::Update,
    Method::SetOwner,
    Method::Owned,
    Method::ClearOwned,
    Method::ClearHandle,
    Method::Prune,
    Method::Run,
];

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn all_methods_are_in_their_places() {
        for (place, method) in METHODS.into_iter().enumerate() {
            assert_eq!(method as usize, place);
        }
    }
}
