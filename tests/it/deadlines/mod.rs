//! Operations that reach their time limit while the server works, or while they wait for a lock.

mod cancel_requests;
mod locks;
mod shared_pool;
mod threads;
mod updates;

use std::time::Duration;

use crate::support::{database::Schema, wait_until};

const SHORT: Duration = Duration::from_millis(100);

/// Waits until the server has no active statement. A call can return before its cancelled statement has ended.
fn wait_for_server(schema: &Schema) {
    wait_until("the server is done", || schema.active() == 0);
}
