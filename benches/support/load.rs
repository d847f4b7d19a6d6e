//! Callers that call as fast as they are answered.

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

/// How long callers go on.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    Time(Duration),
    /// So many calls, of all callers together.
    Calls(u64),
}

impl Length {
    /// How many calls may still be made.
    fn calls(self) -> AtomicI64 {
        AtomicI64::new(match self {
            Length::Time(_) => i64::MAX,
            Length::Calls(calls) => calls as i64,
        })
    }

    /// Waits until callers are to stop, where that is a matter of time.
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

/// What callers saw.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    /// How long each call took.
    latencies: Vec<Duration>,
}

impl Load {
    fn of(elapsed: Duration, callers: impl Iterator<Item = Vec<Duration>>) -> Load {
        let mut latencies: Vec<_> = callers.flatten().collect();
        latencies.sort_unstable();
        Load { elapsed, latencies }
    }

    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// What 99 of 100 calls did not exceed.
    pub(crate) fn p99(&self) -> Duration {
        self.latencies[(self.latencies.len() - 1) * 99 / 100]
    }
}

/// Lets so many threads call. `caller` makes each caller's call; a call is given its number.
pub(crate) fn threads<C: FnMut(usize) + Send>(
    callers: usize,
    length: Length,
    caller: impl Fn(usize) -> C + Sync,
) -> Load {
    let calls = length.calls();
    let run = |number| {
        let mut call = caller(number);
        let mut latencies = Vec::new();
        while may_call(&calls) {
            let begun = Instant::now();
            call(latencies.len());
            latencies.push(begun.elapsed());
        }
        latencies
    };
    let run = &run;
    thread::scope(|scope| {
        let begun = Instant::now();
        let callers: Vec<_> = (0..callers)
            .map(|number| scope.spawn(move || run(number)))
            .collect();
        length.wait(&calls);
        let latencies: Vec<_> = callers.into_iter().map(|c| c.join().unwrap()).collect();
        Load::of(begun.elapsed(), latencies.into_iter())
    })
}

/// The same with tasks.
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
    let begun = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|number| {
            let (mut call, calls) = (caller(number), calls.clone());
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while may_call(&calls) {
                    let begun = Instant::now();
                    call(latencies.len()).await;
                    latencies.push(begun.elapsed());
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
    Load::of(begun.elapsed(), latencies.into_iter())
}
