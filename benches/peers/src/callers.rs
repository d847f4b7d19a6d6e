//! Concurrent callers of a peer: tasks, or threads if the peer blocks. Each makes its next call as soon as the
//! last has returned.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rand::{RngExt, SeedableRng, distr::Distribution, rngs::StdRng};
use rand_distr::Zipf;
use tokio::runtime::Runtime;

use crate::{
    peer::Peer,
    plan::Verb,
    protocol::Run,
    values::{VARIANTS, Values},
};

/// The length of the warm-up, as a part of the length of the run.
pub(crate) const WARM_UP: f64 = 1.0 / 3.0;

/// The exponent of YCSB. A tenth of the sessions gets four fifths of the calls.
const ZIPF_EXPONENT: f64 = 0.99;

const WARMING_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

/// The sessions in a peer's table.
pub(crate) struct Table<P: Peer> {
    pub(crate) keys: Arc<Vec<P::Key>>,
    pub(crate) values: Arc<Values>,
}

struct Shared<P: Peer> {
    peer: Arc<P>,
    keys: Arc<Vec<P::Key>>,
    values: Arc<Values>,
    verb: Verb,
    /// The sessions for [`Verb::Delete`], each deleted once.
    spares: Vec<P::Key>,
    next_spare: AtomicUsize,
    phase: AtomicU8,
}

/// The result of a run.
pub(crate) struct Outcome<K> {
    pub(crate) length: Duration,
    /// In ascending order.
    pub(crate) latencies: Vec<Duration>,
    /// The sessions that were created and not deleted.
    pub(crate) created: Vec<K>,
    /// The sessions for [`Verb::Delete`] that were not deleted.
    pub(crate) spares: Vec<K>,
}

/// A run after its warm-up.
pub(crate) struct Running<P: Peer> {
    shared: Arc<Shared<P>>,
    callers: Vec<Handle<P>>,
    length: Duration,
}

enum Handle<P: Peer> {
    Task(tokio::task::JoinHandle<Result<Caller<P>>>),
    Thread(thread::JoinHandle<Result<Caller<P>>>),
}

/// Starts the callers and waits for the end of the warm-up.
pub(crate) fn start<P: Peer>(
    runtime: &Runtime,
    peer: &Arc<P>,
    table: &Table<P>,
    spares: Vec<P::Key>,
    run: &Run,
) -> Result<Running<P>> {
    let shared = Arc::new(Shared {
        peer: peer.clone(),
        keys: table.keys.clone(),
        values: table.values.clone(),
        verb: run.verb,
        spares,
        next_spare: AtomicUsize::new(0),
        phase: AtomicU8::new(WARMING_UP),
    });
    let mut callers = Vec::new();
    for number in 0..run.callers {
        let caller = Caller {
            shared: shared.clone(),
            rng: StdRng::seed_from_u64(run.seed << 16 | number as u64),
            zipf: Zipf::new(table.keys.len() as f64, ZIPF_EXPONENT)?,
            created: VecDeque::new(),
            latencies: Vec::new(),
        };
        callers.push(if P::BLOCKS {
            let small = thread::Builder::new().stack_size(256 << 10);
            Handle::Thread(small.spawn(|| run_ready(caller.call_repeatedly()))?)
        } else {
            Handle::Task(runtime.spawn(caller.call_repeatedly()))
        });
    }
    thread::sleep(run.length.mul_f64(WARM_UP));
    Ok(Running {
        shared,
        callers,
        length: run.length,
    })
}

impl<P: Peer> Running<P> {
    /// Measures the calls and then stops the callers. `last` is called before they have stopped.
    pub(crate) fn measure<T>(
        self,
        runtime: &Runtime,
        last: impl FnOnce() -> Result<T>,
    ) -> Result<(Outcome<P::Key>, T)> {
        let Shared {
            phase, next_spare, ..
        } = &*self.shared;
        let start = Instant::now();
        phase.store(MEASURED, Ordering::Relaxed);
        let has_work = || {
            self.shared.verb != Verb::Delete
                || next_spare.load(Ordering::Relaxed) < self.shared.spares.len()
        };
        while start.elapsed() < self.length && has_work() {
            let left = self.length.saturating_sub(start.elapsed());
            thread::sleep(match self.shared.verb {
                Verb::Delete => left.min(Duration::from_millis(2)),
                _ => left,
            });
        }
        let length = start.elapsed();
        phase.store(OVER, Ordering::Relaxed);
        let last = last();

        let (mut latencies, mut created) = (Vec::new(), Vec::new());
        for caller in self.callers {
            let caller = match caller {
                Handle::Task(task) => runtime.block_on(task)?,
                Handle::Thread(thread) => {
                    thread.join().map_err(|_| anyhow!("a caller panicked"))?
                }
            }?;
            latencies.extend(caller.latencies);
            created.extend(caller.created);
        }
        latencies.sort_unstable();
        let Shared {
            spares, next_spare, ..
        } = Arc::into_inner(self.shared).context("a caller is still running")?;
        let used = next_spare.into_inner().min(spares.len());
        let outcome = Outcome {
            length,
            latencies,
            created,
            spares: spares.into_iter().skip(used).collect(),
        };
        Ok((outcome, last?))
    }
}

struct Caller<P: Peer> {
    shared: Arc<Shared<P>>,
    rng: StdRng,
    zipf: Zipf<f64>,
    created: VecDeque<P::Key>,
    latencies: Vec<Duration>,
}

impl<P: Peer> Caller<P> {
    async fn call_repeatedly(mut self) -> Result<Caller<P>> {
        let shared = self.shared.clone();
        let is = |phase| shared.phase.load(Ordering::Relaxed) == phase;
        while !is(OVER) {
            let session = self.choose();
            let verb = match shared.verb {
                Verb::Mix => self.verb(),
                verb => verb,
            };
            let start = Instant::now();
            if !self.call(verb, session).await? {
                break;
            }
            if is(MEASURED) {
                self.latencies.push(start.elapsed());
            }
        }
        Ok(self)
    }

    fn choose(&mut self) -> usize {
        let sessions = self.shared.keys.len();
        match self.shared.verb {
            // Spreads the frequent sessions over the table.
            Verb::Mix => (self.zipf.sample(&mut self.rng) as usize * 7919) % sessions,
            _ => self.rng.random_range(0..sessions),
        }
    }

    fn verb(&mut self) -> Verb {
        match self.rng.random_range(0..100) {
            0..90 => Verb::Load,
            90..98 => Verb::Save,
            // Deletes only sessions that this caller created, so that all others remain.
            98 if !self.created.is_empty() => Verb::Delete,
            _ => Verb::Create,
        }
    }

    /// Returns false if there was no session to delete.
    async fn call(&mut self, verb: Verb, session: usize) -> Result<bool> {
        let Shared {
            peer,
            keys,
            values,
            spares,
            next_spare,
            ..
        } = &*self.shared;
        let variant = self.rng.random_range(0..VARIANTS);
        match verb {
            Verb::Load => {
                let value = peer.load(&keys[session]).await?;
                ensure!(values.is(&value, session), "another session's value");
            }
            Verb::Save => {
                peer.save(&keys[session], values.of(session, variant))
                    .await?
            }
            Verb::Renew => {
                let value = peer.renew(&keys[session]).await?;
                ensure!(values.is(&value, session), "another session's value");
            }
            Verb::Create => {
                let key = peer.create(values.of(session, variant)).await?;
                self.created.push_back(key);
            }
            Verb::Delete => match self.created.pop_front() {
                Some(key) => peer.delete(&key).await?,
                None => match spares.get(next_spare.fetch_add(1, Ordering::Relaxed)) {
                    Some(key) => peer.delete(key).await?,
                    None => return Ok(false),
                },
            },
            Verb::Mix => bail!("a mix within a mix"),
        }
        Ok(true)
    }
}

/// Runs a future that blocks and is ready at the first poll.
fn run_ready<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => bail!("a blocking call returned a pending future"),
    }
}
