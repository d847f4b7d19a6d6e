//! A session store of tower-sessions over any async store.

/// A session store of tower-sessions over any [`AsyncStore`](crate::AsyncStore).
///
/// An [`Offload`](crate::Offload) is such a session store itself. This type is for your own implementations of
/// `AsyncStore`, and for generic code. The module [`tower_sessions`](super) describes the calls.
///
/// A layer of tower-sessions needs a store that implements `Clone` and `Debug`.
///
/// # Examples
///
/// ```
/// use std::fmt::Debug;
///
/// use session_postgres::{AsyncStore, MemoryStore, Offload, tower_sessions::Adapter};
/// # #[cfg(not(feature = "tower-sessions"))]
/// # use tower_sessions_0_14 as tower_sessions;
/// use tower_sessions::SessionManagerLayer;
///
/// fn sessions<A: AsyncStore + Clone + Debug>(store: A) -> SessionManagerLayer<Adapter<A>> {
///     SessionManagerLayer::new(Adapter::new(store))
/// }
///
/// let sessions = sessions(Offload::new(MemoryStore::new()));
/// ```
#[derive(Debug, Clone)]
pub struct Adapter<A> {
    pub(super) store: A,
}

impl<A> Adapter<A> {
    /// Returns a session store whose sessions are in `store`.
    pub fn new(store: A) -> Adapter<A> {
        Adapter { store }
    }
}
