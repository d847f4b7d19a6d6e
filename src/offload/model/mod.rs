//! Models of the facade, in which shuttle tries thousands of the ways that threads can interleave:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test --release --lib model
//! ```
//!
//! A wake-up or an answer that is lost shows as a deadlock: no time limit ends a wait here, see
//! [`sync::end`].
//! Everything is real but for [`sync`] and the store. So are tokio's oneshot channels and the claims of
//! calls: each use of one is a single step, because shuttle does not switch within it. A run that fails
//! prints its schedule, which `shuttle::replay` repeats.

pub(super) mod sync;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shuttle::{
    check_pct, check_random,
    future::block_on,
    rand::{Rng, thread_rng},
    sync::mpsc,
    thread::{self, JoinHandle},
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{Offload, OffloadBuilder};
use crate::{AsyncStore, Error, Key, Period, Session, Store, deadline::Deadline};

/// How many schedules of a model are tried, in each of two ways of choosing them.
const SCHEDULES: usize = 20_000;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let pct = model.clone();
    check_random(move || model(), SCHEDULES);
    // This one finds what needs few, but unlikely switches.
    check_pct(move || pct(), SCHEDULES, 4);
}

/// Only its handle is used: models have threads of their own.
fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().build();
    runtime.expect("it needs no I/O")
}

/// A store that answers with the key, and takes note of it.
#[derive(Default)]
struct Echo {
    served: Mutex<Vec<String>>,
    /// How many workers are in the store, and how many were at most.
    busy: Gauge,
    /// The same of those that execute what may take long.
    long: Gauge,
    /// Whether the deadline of a batch passes now and then before it is executed, and whether a row is locked
    /// now and then.
    is_troubled: AtomicBool,
    /// How many calls were told that a row is locked, and so are taken twice.
    locked: AtomicUsize,
    has_served_the_gone: AtomicBool,
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let done = work();
        self.now.fetch_sub(1, SeqCst);
        done
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }
}

impl Echo {
    fn serve<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        self.busy.during(|| {
            let mut served = self.served.lock().expect("no thread panics");
            served.extend(keys.map(str::to_owned));
            drop(served);
            thread::yield_now();
        });
    }

    fn served(&self) -> Vec<String> {
        let mut served = self.served.lock().expect("no thread panics").clone();
        served.sort();
        served
    }

    /// By chance, if the store is troubled.
    fn fails(&self) -> bool {
        self.is_troubled.load(SeqCst) && thread_rng().gen_bool(0.3)
    }

    /// By chance, the deadline passes while the server is at it, and it does nothing.
    fn is_cancelled(&self) -> bool {
        let is_cancelled = self.fails();
        if is_cancelled {
            let deadline = Deadline::current().expect("every call has one");
            self.busy.during(thread::yield_now);
            deadline.expire();
        }
        is_cancelled
    }
}

fn too_late() -> Error {
    Error::TimedOut {
        waited: Duration::ZERO,
        reason: String::new(),
    }
}

fn answer(key: &Key) -> Result<Session, Error> {
    Ok(Session {
        value: key.to_string(),
        period: Period::MAX,
    })
}

impl Store for Echo {
    fn default_period(&self) -> Period {
        Period::MAX
    }

    fn set_default_period(&self, _: Period) {}

    fn generate(&self, _: Option<&str>, _: Option<Period>) -> Result<Key, Error> {
        unreachable!("no model calls this")
    }

    fn clear(&self, _: &Key) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn get(&self, key: &Key) -> Result<Session, Error> {
        self.get_many(&[key]).remove(0)
    }

    fn set(&self, _: &Key, _: &str, _: Option<Period>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    fn insert(&self, _: &Key, _: Option<&str>, _: Option<Period>) -> Result<(), Error> {
        unreachable!("no model calls this")
    }

    /// Waits for the lock, so it may take long.
    fn touch(&self, key: &Key, _: Option<Period>) -> Result<(), Error> {
        self.long.during(|| self.serve([key.as_str()].into_iter()));
        Ok(())
    }

    fn rotate(&self, _: &Key) -> Result<Key, Error> {
        unreachable!("no model calls this")
    }

    fn update(
        &self,
        _: &Key,
        _: Option<Period>,
        _: &mut dyn FnMut(Option<&str>) -> Option<String>,
    ) -> Result<Session, Error> {
        unreachable!("no model calls this")
    }

    fn get_many(&self, keys: &[&Key]) -> Vec<Result<Session, Error>> {
        if self.is_cancelled() {
            return keys.iter().map(|_| Err(too_late())).collect();
        }
        self.serve(keys.iter().map(|key| key.as_str()));
        keys.iter().map(|key| answer(key)).collect()
    }

    fn try_touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        if self.is_cancelled() {
            return calls.iter().map(|_| Err(too_late())).collect();
        }
        let results: Vec<_> = calls
            .iter()
            .map(|_| match self.fails() {
                true => Err(Error::Locked),
                false => Ok(()),
            })
            .collect();
        let locked = results.iter().filter(|result| result.is_err()).count();
        self.locked.fetch_add(locked, SeqCst);
        let done = calls.iter().zip(&results).filter(|(_, done)| done.is_ok());
        self.serve(done.map(|((key, _), _)| key.as_str()));
        results
    }
}

/// A facade, and the store behind it.
#[derive(Clone)]
struct Facade {
    offload: Offload<Arc<Echo>>,
    echo: Arc<Echo>,
    workers: usize,
    max_batch: usize,
}

impl Facade {
    /// One of any size.
    fn any() -> Facade {
        let max_batch = [1, 2, 256][thread_rng().gen_range(0..3)];
        let builder = OffloadBuilder::default().max_batch(max_batch);
        Facade::of(builder, thread_rng().gen_range(1..=3), max_batch)
    }

    fn of(builder: OffloadBuilder, workers: usize, max_batch: usize) -> Facade {
        sync::begin();
        let echo = Arc::new(Echo::default());
        Facade {
            offload: builder.max_concurrency(workers).build(echo.clone()),
            echo,
            workers,
            max_batch,
        }
    }

    /// A thread that calls from a runtime.
    fn caller<T: Send + 'static>(
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

    /// One of any size, behind which deadlines pass and rows are locked.
    fn troubled() -> Facade {
        let facade = Facade::any();
        facade.echo.is_troubled.store(true, SeqCst);
        facade
    }

    /// A call of any kind, that brings its name back.
    async fn call(&self, name: String) -> Result<(), Error> {
        if thread_rng().gen_bool(0.3) {
            let answer = self.run(name.clone(), Arc::default()).await?;
            assert_eq!(answer, name, "the answer is of another call");
            return Ok(());
        }
        self.brief(name).await
    }

    /// A call of a verb that does not take long, that brings its name back.
    async fn brief(&self, name: String) -> Result<(), Error> {
        let key = Key::try_from(name.as_str())?;
        if thread_rng().gen_bool(0.5) {
            return self.offload.touch(&key, None).await;
        }
        let answer = self.offload.get(&key).await?.value;
        assert_eq!(answer, name, "the answer is of another call");
        Ok(())
    }

    /// A call that takes note if it is served though its caller `has_gone`.
    async fn run(&self, name: String, has_gone: Arc<AtomicBool>) -> Result<String, Error> {
        let serve = move |echo: &Arc<Echo>| {
            if has_gone.load(SeqCst) {
                echo.has_served_the_gone.store(true, SeqCst);
            }
            echo.long.during(|| echo.serve([name.as_str()].into_iter()));
            name
        };
        self.offload.run(serve).await
    }

    /// A call that holds its worker until `open` hears of it.
    async fn hold(&self, is_held: mpsc::Sender<()>, open: mpsc::Receiver<()>) -> Result<(), Error> {
        let hold = move |echo: &Arc<Echo>| {
            echo.long.during(|| {
                is_held.send(()).expect("it is waited for");
                open.recv().expect("it is sent");
            });
        };
        self.offload.run(hold).await
    }

    /// The only worker held from here on, until the sender is sent to.
    fn held(&self, home: &Handle) -> (JoinHandle<Result<(), Error>>, mpsc::Sender<()>) {
        let (is_held, held) = mpsc::channel();
        let (release, open) = mpsc::channel();
        let holder = self.caller(home, |facade| {
            block_on(async move { facade.hold(is_held, open).await })
        });
        held.recv().expect("the worker comes");
        (holder, release)
    }

    /// Sees that workers have taken so many calls.
    fn took(&self, calls: usize) {
        let taken = calls + self.echo.locked.load(SeqCst);
        assert_eq!(self.offload.stats().calls, taken as u64);
    }

    /// Closes all workers, and sees that everything is as it should be.
    fn end(&self) {
        sync::end(|| {
            self.offload.stats();
        });
        let stats = self.offload.stats();
        assert_eq!((stats.waiting, stats.running), (0, 0), "{stats:?}");
        assert!(stats.largest_batch <= self.max_batch, "{stats:?}");
        assert!(self.echo.busy.most() <= self.workers, "{stats:?}");
        assert!(self.echo.long.most() <= (self.workers - 1).max(1));
        assert!(!self.echo.has_served_the_gone.load(SeqCst));
    }
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let joined = threads.into_iter().map(|thread| thread.join());
    joined.map(|joined| joined.expect("no panic")).collect()
}

#[test]
fn every_call_is_answered_once() {
    let runtimes = [runtime(), runtime()];
    let homes = runtimes.each_ref().map(|runtime| runtime.handle().clone());
    check(move || {
        let facade = Facade::troubled();
        let callers = thread_rng().gen_range(2..=5);
        let callers = (0..callers).map(|caller| {
            facade.caller(&homes[thread_rng().gen_range(0..2)], move |facade| {
                let names = (0..2).map(|call| format!("{caller}.{call}"));
                let names: Vec<_> = names.collect();
                for name in &names {
                    let answered = block_on(facade.call(name.clone()));
                    answered.expect("it is answered");
                }
                names
            })
        });
        let called = join(callers.collect()).concat();
        facade.end();
        assert_eq!(facade.echo.served(), called);
        facade.took(called.len());

        // The workers that have closed leave room for others.
        sync::enter(&homes[0]);
        block_on(facade.call("late".to_owned())).expect("it is answered");
        facade.end();
    });
}

/// What comes of a call in the model below.
enum Ends {
    Answered,
    /// Never served, by the name of the call.
    TimedOut(String),
    StillRunning,
    Gone,
}

#[test]
fn callers_that_leave_affect_no_others() {
    let runtime = runtime();
    check(move || {
        let facade = Facade::any();
        let callers = (0..thread_rng().gen_range(2..=5)).map(|caller: usize| {
            facade.caller(runtime.handle(), move |facade| {
                let name = format!("{caller}");
                let has_gone = Arc::new(AtomicBool::new(false));
                match caller % 3 {
                    0 => {
                        block_on(facade.call(name)).expect("it is answered");
                        Ends::Answered
                    }
                    1 => {
                        sync::be_impatient(true);
                        let answer = match thread_rng().gen_bool(0.5) {
                            true => block_on(facade.run(name.clone(), has_gone.clone())).map(drop),
                            false => block_on(facade.brief(name.clone())),
                        };
                        match answer {
                            Ok(()) => Ends::Answered,
                            Err(Error::TimedOut { .. }) => {
                                has_gone.store(true, SeqCst);
                                Ends::TimedOut(name)
                            }
                            Err(Error::StillRunning { .. }) => Ends::StillRunning,
                            Err(e) => panic!("{e}"),
                        }
                    }
                    _ => {
                        let call = facade.run(name, has_gone.clone());
                        let answer = block_on(sync::up_to(thread_rng().gen_range(1..4), call));
                        has_gone.store(true, SeqCst);
                        match answer {
                            Some(answer) => {
                                answer.expect("it is answered");
                                Ends::Answered
                            }
                            None => Ends::Gone,
                        }
                    }
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        let calls = callers.len();
        let ends = join(callers);
        facade.end();

        let of = |wanted: fn(&Ends) -> bool| ends.iter().filter(|end| wanted(end)).count();
        let stats = facade.offload.stats();
        assert_eq!(stats.calls, calls as u64, "{stats:?}");
        let late = of(|end| matches!(end, Ends::TimedOut(_) | Ends::StillRunning));
        assert_eq!(stats.timeouts, late as u64);
        let served = facade.echo.served();
        let taken = of(|end| matches!(end, Ends::Answered | Ends::StillRunning));
        let gone = of(|end| matches!(end, Ends::Gone));
        assert!((taken..=taken + gone).contains(&served.len()), "{served:?}");
        assert!(served.windows(2).all(|two| two[0] != two[1]), "{served:?}");
        for end in &ends {
            if let Ends::TimedOut(name) = end {
                assert!(!served.contains(name), "{name} is served");
            }
        }
    });
}

#[test]
fn a_caller_that_leaves_before_a_worker_comes_is_not_served() {
    let runtime = runtime();
    check(move || {
        let facade = Facade::of(OffloadBuilder::default(), 1, 256);
        let (holder, release) = facade.held(runtime.handle());

        let leave = ["leaves.0", "leaves.1"].map(|name| {
            facade.caller(runtime.handle(), move |facade| {
                let call = facade.call(name.to_owned());
                let answer = block_on(sync::up_to(thread_rng().gen_range(1..4), call));
                assert!(answer.is_none(), "the worker is held");
            })
        });
        let late = ["late.0", "late.1"].map(|name| {
            facade.caller(runtime.handle(), move |facade| {
                sync::be_impatient(true);
                let late = block_on(facade.call(name.to_owned()));
                assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
            })
        });
        let stay = ["stays.0", "stays.1"].map(|name| {
            facade.caller(runtime.handle(), move |facade| {
                block_on(facade.call(name.to_owned()))
            })
        });
        join(leave.into_iter().chain(late).collect());
        release.send(()).expect("it waits for this");
        for answer in join(stay.into_iter().chain([holder]).collect()) {
            answer.expect("it is answered");
        }
        facade.end();
        assert_eq!(facade.echo.served(), ["stays.0", "stays.1"]);
    });
}

#[test]
fn a_runtime_that_shuts_down_cancels_its_own_calls_only() {
    let runtimes = [runtime(), runtime()];
    check(move || {
        let [ends, goes_on] = runtimes.each_ref().map(Runtime::handle);
        let facade = Facade::troubled();
        let callers = (0..thread_rng().gen_range(2..=4)).map(|caller: usize| {
            let is_cut_off = caller % 2 == 0;
            let home = if is_cut_off { ends } else { goes_on };
            facade.caller(home, move |facade| {
                let mut answered = Vec::new();
                for call in 0..2 {
                    let name = format!("{caller}.{call}");
                    match block_on(facade.call(name.clone())) {
                        Ok(()) => answered.push(name),
                        Err(Error::Cancelled) if is_cut_off => {}
                        Err(e) => panic!("{name}: {e}"),
                    }
                }
                answered
            })
        });
        let callers: Vec<_> = callers.collect();
        if thread_rng().gen_bool(0.5) {
            thread::yield_now();
        }
        sync::shut_down(ends);
        let answered = join(callers).concat();
        facade.end();
        assert_eq!(facade.echo.served(), answered);
        facade.took(answered.len());

        // No worker is left, nor can one begin there.
        sync::enter(ends);
        let cancelled = block_on(facade.call("late".to_owned()));
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
        sync::enter(goes_on);
        block_on(facade.call("later".to_owned())).expect("it is answered");
        facade.end();
    });
}

#[test]
fn calls_that_take_long_hold_up_no_others() {
    let runtime = runtime();
    check(move || {
        let workers = thread_rng().gen_range(2..=3);
        let facade = Facade::of(OffloadBuilder::default(), workers, 256);
        // The queue whose turn it is afterwards is any.
        for _ in 0..thread_rng().gen_range(0..=1) {
            let first = facade.caller(runtime.handle(), |facade| {
                block_on(facade.brief("first".to_owned()))
            });
            first.join().expect("no panic").expect("it is answered");
        }
        let (is_held, _held) = mpsc::channel();
        // More than there are workers.
        let holders = (0..=workers).map(|_| {
            let is_held = is_held.clone();
            let (release, open) = mpsc::channel();
            let holder = facade.caller(runtime.handle(), |facade| {
                block_on(async move { facade.hold(is_held, open).await })
            });
            (holder, release)
        });
        let (holders, releases): (Vec<_>, Vec<_>) = holders.unzip();
        let callers = (0..thread_rng().gen_range(1..=3)).map(|caller| {
            facade.caller(runtime.handle(), move |facade| {
                block_on(facade.brief(format!("{caller}")))
            })
        });
        for answer in join(callers.collect()) {
            answer.expect("it is answered");
        }
        for release in releases {
            release.send(()).expect("it waits for this");
        }
        for answer in join(holders) {
            answer.expect("it is answered");
        }
        facade.end();
    });
}

#[test]
fn a_facade_without_a_thread_serves_as_soon_as_there_is_one() {
    let runtimes = [runtime(), runtime()];
    let homes = runtimes.each_ref().map(|runtime| runtime.handle().clone());
    check(move || {
        let facade = Facade::any();
        sync::refuse_threads(thread_rng().gen_range(1..=2));
        let callers = (0..thread_rng().gen_range(1..=3)).map(|caller: usize| {
            facade.caller(&homes[caller % 2], move |facade| {
                let name = format!("{caller}");
                // Each call that finds no worker tries to start one.
                while facade.offload.stats().calls == 0 {
                    sync::be_impatient(true);
                    match block_on(facade.call(name.clone())) {
                        Ok(()) => return,
                        Err(Error::TimedOut { .. } | Error::StillRunning { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    // Otherwise shuttle may let no other thread go on.
                    thread::yield_now();
                }
                sync::be_impatient(false);
                block_on(facade.call(name)).expect("it is answered");
            })
        });
        join(callers.collect());
        facade.end();
    });
}

#[test]
fn those_beyond_the_limit_are_turned_away() {
    let runtime = runtime();
    check(move || {
        let max_waiting = thread_rng().gen_range(1..=2);
        let beyond = thread_rng().gen_range(1..=2);
        let builder = OffloadBuilder::default().max_waiting(max_waiting);
        let facade = Facade::of(builder, 1, 256);
        let (holder, release) = facade.held(runtime.handle());

        let (done, is_done) = mpsc::channel();
        let callers = (0..max_waiting + beyond).map(|caller| {
            let done = done.clone();
            facade.caller(runtime.handle(), move |facade| {
                let answer = block_on(facade.call(format!("{caller}")));
                done.send(answer).expect("it is waited for");
            })
        });
        let callers: Vec<_> = callers.collect();
        // While the worker is held, only callers that are turned away come back.
        for _ in 0..beyond {
            match is_done.recv().expect("one comes back") {
                Err(Error::Overloaded { waiting }) => assert_eq!(waiting, max_waiting),
                other => panic!("{other:?}"),
            }
        }
        release.send(()).expect("it waits for this");
        for _ in 0..max_waiting {
            let answer = is_done.recv().expect("all come back");
            answer.expect("it is answered");
        }
        join(callers);
        join(vec![holder])
            .remove(0)
            .expect("the holder is answered");
        facade.end();
        let stats = facade.offload.stats();
        assert_eq!(stats.overloads, beyond as u64);
        assert_eq!(stats.calls, max_waiting as u64 + 1);
        assert_eq!(facade.echo.served().len(), max_waiting);
    });
}
