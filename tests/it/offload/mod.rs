//! The async facade.

mod batches;
mod connection_errors;
mod deadlines;
mod dropped_calls;
mod gate;
mod gated_store;
mod last_handle;
mod locks;
mod many_callers;
mod no_threads;
mod on_postgres;
mod overload;
mod panics;
mod runtimes;
mod updates;
mod workers;

use std::{future::Future, sync::mpsc};

use session_postgres::{Key, Offload, Store};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use self::gated_store::GatedStore;
use crate::support::wait_until;

/// Starts a task that makes a call.
fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Offload<GatedStore>,
    key: &Key,
    call: impl FnOnce(Offload<GatedStore>, Key) -> F,
) -> JoinHandle<T> {
    tokio::spawn(call(store.clone(), key.clone()))
}

/// Waits until no call waits or runs. Must be called outside of a runtime.
fn wait_until_idle<S: Store>(store: &Offload<S>) {
    wait_until("the facade is idle", || {
        let stats = store.stats();
        stats.waiting == 0 && stats.running == 0
    });
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_time().build().unwrap()
}

/// Occupies one worker of a facade until the sender is dropped.
fn occupy<S: Store>(store: &Offload<S>, runtime: &Runtime) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let busy = store.clone();
    runtime.spawn(async move {
        let hold = move |_: &S| {
            begun.send(()).unwrap();
            released.recv()
        };
        busy.run(hold).await
    });
    has_begun.recv().unwrap();
    release
}
