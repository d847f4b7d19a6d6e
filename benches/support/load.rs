//! Concurrent callers, as threads or tasks. Each makes its next call as soon as the last has returned.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

/// When the callers stop.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Time(Duration),
    /// The number of calls of all callers together.
    Calls(u64),
}

impl Length {
    /// Returns the number of calls that the callers may make.
    fn calls(self) -> AtomicI64 {
        AtomicI64::new(match self {
            Length::Time(_) => i64::MAX,
            Length::Calls(calls) => calls as i64,
        })
    }

    /// If the length is a time, waits for it and then stops the callers.
    fn wait(self, calls: &AtomicI64) {
        if let Length::Time(time) = self {
            thread::sleep(time);
            calls.store(0, Ordering::Relaxed);
        }
    }
}

fn may_call(calls: &AtomicI64) -> bool {
    calls.fetch_sub(1, Ordering::Relaxed) > 0
}

/// The result of a run.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    /// Of all calls, in ascending order.
    latencies: Vec<Duration>,
}

impl Load {
    fn of(elapsed: Duration, callers: impl Iterator<Item = Vec<Duration>>) -> Load {
        let mut latencies: Vec<_> = callers.flatten().collect();
        latencies.sort_unstable();
        Load { elapsed, latencies }
    }

    /// Returns the calls per second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn p99(&self) -> Duration {
        self.latencies[(self.latencies.len() - 1) * 99 / 100]
    }
}

/// Runs the callers as threads. `caller` returns the function that a caller calls with the number of each call.
pub(crate) fn threads<C: FnMut(usize) + Send>(
    callers: usize,
    length: Length,
    caller: impl Fn(usize) -> C,
) -> Load {
    let calls = length.calls();
    let run = |mut call: C| {
        let mut latencies = Vec::new();
        while may_call(&calls) {
            let start = Instant::now();
            call(latencies.len());
            latencies.push(start.elapsed());
        }
        latencies
    };
    let run = &run;
    // Before the start, because a caller may open a connection.
    let callers: Vec<_> = (0..callers).map(caller).collect();
    thread::scope(|scope| {
        let start = Instant::now();
        let threads: Vec<_> = callers
            .into_iter()
            .map(|call| scope.spawn(move || run(call)))
            .collect();
        length.wait(&calls);
        let latencies: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        Load::of(start.elapsed(), latencies.into_iter())
    })
}

/// Runs the callers as tasks.
pub(crate) fn tasks<C, F>(
    runtime: &Runtime,
    callers: usize,
    length: Length,
    caller: impl Fn(usize) -> C,
) -> Load
where
    C: FnMut(usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let calls = Arc::new(length.calls());
    let start = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|number| {
            let (mut call, calls) = (caller(number), calls.clone());
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while may_call(&calls) {
                    let start = Instant::now();
                    call(latencies.len()).await;
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    length.wait(&calls);
    let latencies: Vec<_> = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap())
        .collect();
    Load::of(start.elapsed(), latencies.into_iter())
}
