//! The canceller of a store on connections that the caller has opened.

use std::{fmt, sync::Arc};

use postgres::{Socket, tls::MakeTlsConnect};
use postgres_connect::Canceller;

/// Makes a canceller for a store on connections that the caller has opened. Stores share none, because each
/// canceller sends a limited number of requests at the same time.
#[derive(Clone)]
pub(super) struct MakeCanceller(Arc<dyn Fn() -> Canceller + Send + Sync>);

impl MakeCanceller {
    pub(super) fn with_tls<T>(tls: T) -> MakeCanceller
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    {
        MakeCanceller(Arc::new(move || Canceller::by_driver(tls.clone())))
    }

    pub(super) fn make(&self) -> Canceller {
        self.0()
    }
}

impl fmt::Debug for MakeCanceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeCanceller")
    }
}
