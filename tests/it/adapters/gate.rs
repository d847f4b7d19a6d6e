//! A gate that holds the slow pages of a site until a test opens it.

use tokio::sync::Semaphore;

use crate::support::wait_until;

pub(super) struct Gate {
    arrived: Semaphore,
    may_pass: Semaphore,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate {
            arrived: Semaphore::new(0),
            may_pass: Semaphore::new(0),
        }
    }

    /// Waits until the test lets this page pass.
    pub(super) async fn pass(&self) {
        self.arrived.add_permits(1);
        self.may_pass.acquire().await.unwrap().forget();
    }

    pub(super) fn wait_for(&self, pages: u32) {
        let arrived = || self.arrived.try_acquire_many(pages);
        wait_until("the slow pages", || {
            arrived().map(|all| all.forget()).is_ok()
        });
    }

    pub(super) fn open(&self, pages: usize) {
        self.may_pass.add_permits(pages);
    }
}
