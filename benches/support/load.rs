//! Callers that call as fast as they are answered, for a while.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

/// What callers saw.
pub(crate) struct Load {
    elapsed: Duration,
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
    length: Duration,
    caller: impl Fn(usize) -> C + Sync,
) -> Load {
    let stop = AtomicBool::new(false);
    let run = |number| {
        let mut call = caller(number);
        let mut latencies = Vec::new();
        while !stop.load(Ordering::Relaxed) {
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
        thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
        let latencies: Vec<_> = callers.into_iter().map(|c| c.join().unwrap()).collect();
        Load::of(begun.elapsed(), latencies.into_iter())
    })
}

/// The same with tasks.
pub(crate) fn tasks<C, F>(
    runtime: &Runtime,
    callers: usize,
    length: Duration,
    caller: impl Fn(usize) -> C,
) -> Load
where
    C: FnMut(usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|number| {
            let (mut call, stop) = (caller(number), stop.clone());
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    call(latencies.len()).await;
                    latencies.push(begun.elapsed());
                }
                latencies
            })
        })
        .collect();
    thread::sleep(length);
    stop.store(true, Ordering::Relaxed);
    let latencies: Vec<_> = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap())
        .collect();
    Load::of(begun.elapsed(), latencies.into_iter())
}
