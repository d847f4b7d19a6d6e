//! A facade as the models use it: with callers on threads of shuttle.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    sync::mpsc,
    thread::{self, JoinHandle},
};
use tokio::runtime::Handle;

use super::{store::Echo, sync};
use crate::{AsyncStore, Error, Key, Offload, OffloadBuilder};

/// A facade, and the store behind it.
#[derive(Clone)]
pub(super) struct Facade {
    pub(super) offload: Offload<Arc<Echo>>,
    pub(super) echo: Arc<Echo>,
    workers: usize,
    max_batch: usize,
}

impl Facade {
    /// A facade of random size.
    pub(super) fn any() -> Facade {
        let max_batch = [1, 2, 256][thread_rng().gen_range(0..3)];
        let workers = thread_rng().gen_range(1..=3);
        let mut builder = OffloadBuilder::default().max_batch(max_batch);
        // Otherwise their number is adapted to the load.
        if thread_rng().gen_bool(0.5) {
            builder = builder.max_concurrency(workers);
        }
        Facade::of(builder, workers, max_batch)
    }

    pub(super) fn of(builder: OffloadBuilder, workers: usize, max_batch: usize) -> Facade {
        sync::begin();
        let echo = Arc::new(Echo::default());
        echo.parallelism.store(workers, SeqCst);
        Facade {
            offload: builder.build(echo.clone()),
            echo,
            workers,
            max_batch,
        }
    }

    /// Starts a thread that makes calls from a runtime.
    pub(super) fn caller<T: Send + 'static>(
        &self,
        home: &Handle,
        calls: impl FnOnce(Facade) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (facade, home) = (self.clone(), home.clone());
        thread::spawn(move || {
            sync::enter(&home);
            calls(facade)
        })
    }

    /// A facade of random size, with deadlines that pass and locked rows.
    pub(super) fn troubled() -> Facade {
        let facade = Facade::any();
        facade.echo.is_troubled.store(true, SeqCst);
        facade
    }

    /// Makes a call of a random kind. Checks that the answer is its name.
    pub(super) async fn call(&self, name: String) -> Result<(), Error> {
        if thread_rng().gen_bool(0.3) {
            let answer = self.run(name.clone(), Arc::default()).await?;
            assert_eq!(answer, name, "the answer is of another call");
            return Ok(());
        }
        self.brief(name).await
    }

    /// Makes a call of a verb that does not take long. Checks that the answer is its name.
    pub(super) async fn brief(&self, name: String) -> Result<(), Error> {
        let key = Key::try_from(name.as_str())?;
        if thread_rng().gen_bool(0.5) {
            return self.offload.touch(&key, None).await;
        }
        let answer = self.offload.get(&key).await?.value;
        assert_eq!(answer, name, "the answer is of another call");
        Ok(())
    }

    /// Makes a call that records if it is executed although its caller `has_gone`.
    pub(super) async fn run(
        &self,
        name: String,
        has_gone: Arc<AtomicBool>,
    ) -> Result<String, Error> {
        let serve = move |echo: &Arc<Echo>| {
            if has_gone.load(SeqCst) {
                echo.has_served_the_gone.store(true, SeqCst);
            }
            echo.long.during(|| echo.serve([name.as_str()].into_iter()));
            name
        };
        self.offload.run(serve).await
    }

    /// Makes a call that occupies its worker until `open` gets a message.
    pub(super) async fn hold(
        &self,
        is_held: mpsc::Sender<()>,
        open: mpsc::Receiver<()>,
    ) -> Result<(), Error> {
        let hold = move |echo: &Arc<Echo>| {
            echo.long.during(|| {
                is_held.send(()).expect("it is waited for");
                open.recv().expect("it is sent");
            });
        };
        self.offload.run(hold).await
    }

    /// Occupies the only worker until the returned sender sends.
    pub(super) fn held(&self, home: &Handle) -> (JoinHandle<Result<(), Error>>, mpsc::Sender<()>) {
        let (is_held, held) = mpsc::channel();
        let (release, open) = mpsc::channel();
        let holder = self.caller(home, |facade| {
            block_on(async move { facade.hold(is_held, open).await })
        });
        held.recv().expect("the worker comes");
        (holder, release)
    }

    /// Checks that workers have taken this many calls.
    pub(super) fn took(&self, calls: usize) {
        let taken = calls + self.echo.locked.load(SeqCst);
        assert_eq!(self.offload.stats().batches.calls, taken as u64);
    }

    /// Ends all workers, and checks the counters.
    pub(super) fn end(&self) {
        sync::end(|| {
            self.offload.stats();
        });
        let stats = self.offload.stats();
        assert_eq!((stats.waiting, stats.running), (0, 0), "{stats:?}");
        assert!(stats.batches.largest <= self.max_batch, "{stats:?}");
        assert!(self.echo.busy.most() <= self.workers, "{stats:?}");
        assert!(self.echo.long.most() <= (self.workers - 1).max(1));
        assert!(!self.echo.has_served_the_gone.load(SeqCst));
    }
}
