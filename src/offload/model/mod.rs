//! Models of the facade, in which shuttle tries thousands of the ways that threads can interleave:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test --release --lib model
//! ```
//!
//! A wake-up or an answer that is lost shows as a deadlock: time saves nobody here, see [`sync::end`].
//! Everything is real but for [`sync`] and the store. tokio's oneshot channels are, too: shuttle does
//! not switch within them. A run that fails prints its schedule, which `shuttle::replay` repeats.

pub(super) mod sync;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
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
use crate::{AsyncStore, Error, Key, Period, Session, Store};

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
    busy: AtomicUsize,
    busiest: AtomicUsize,
    has_served_the_gone: AtomicBool,
}

impl Echo {
    fn trip<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let busy = self.busy.fetch_add(1, SeqCst) + 1;
        self.busiest.fetch_max(busy, SeqCst);
        let mut served = self.served.lock().expect("nobody panics");
        served.extend(keys.map(str::to_owned));
        drop(served);
        thread::yield_now();
        self.busy.fetch_sub(1, SeqCst);
    }

    fn served(&self) -> Vec<String> {
        let mut served = self.served.lock().expect("nobody panics").clone();
        served.sort();
        served
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

    fn touch(&self, key: &Key, expiry: Option<Period>) -> Result<(), Error> {
        self.touch_many(&[(key, expiry)]).remove(0)
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
        self.trip(keys.iter().map(|key| key.as_str()));
        keys.iter().map(|key| answer(key)).collect()
    }

    fn touch_many(&self, calls: &[(&Key, Option<Period>)]) -> Vec<Result<(), Error>> {
        self.trip(calls.iter().map(|(key, _)| key.as_str()));
        calls.iter().map(|_| Ok(())).collect()
    }
}

/// A facade, and the store behind it.
#[derive(Clone)]
struct Facade {
    offload: Offload<Arc<Echo>>,
    echo: Arc<Echo>,
    lanes: usize,
    max_batch: usize,
}

impl Facade {
    /// One of any size.
    fn any() -> Facade {
        let max_batch = [1, 2, 256][thread_rng().gen_range(0..3)];
        let builder = OffloadBuilder::default().max_batch(max_batch);
        Facade::of(builder, thread_rng().gen_range(1..=3), max_batch)
    }

    fn of(builder: OffloadBuilder, lanes: usize, max_batch: usize) -> Facade {
        sync::begin();
        let echo = Arc::new(Echo::default());
        Facade {
            offload: builder.lanes(lanes).build(echo.clone()),
            echo,
            lanes,
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

    /// A call of any verb, that brings its name back.
    async fn call(&self, name: String) -> Result<(), Error> {
        let key = Key::try_from(name.as_str())?;
        let answer = match thread_rng().gen_range(0..3) {
            0 => self.offload.get(&key).await?.value,
            1 => self
                .offload
                .touch(&key, None)
                .await
                .map(|()| name.clone())?,
            _ => self.run(name.clone(), Arc::default()).await?,
        };
        assert_eq!(answer, name, "the answer is somebody else's");
        Ok(())
    }

    /// A call that takes note where it is served though its caller `has_gone`.
    async fn run(&self, name: String, has_gone: Arc<AtomicBool>) -> Result<String, Error> {
        let serve = move |echo: &Arc<Echo>| {
            if has_gone.load(SeqCst) {
                echo.has_served_the_gone.store(true, SeqCst);
            }
            echo.trip([name.as_str()].into_iter());
            name
        };
        self.offload.run(serve).await
    }

    /// A call that holds its lane until `open` hears of it.
    async fn hold(&self, is_held: mpsc::Sender<()>, open: mpsc::Receiver<()>) -> Result<(), Error> {
        let hold = move |_: &Arc<Echo>| {
            is_held.send(()).expect("it is waited for");
            open.recv().expect("it is sent");
        };
        self.offload.run(hold).await
    }

    /// The one lane held from here on, until the sender is sent to.
    fn held(&self, home: &Handle) -> (JoinHandle<Result<(), Error>>, mpsc::Sender<()>) {
        let (is_held, held) = mpsc::channel();
        let (release, open) = mpsc::channel();
        let holder = self.caller(home, |facade| {
            block_on(async move { facade.hold(is_held, open).await })
        });
        held.recv().expect("the lane comes");
        (holder, release)
    }

    /// Closes all lanes, and sees that everything is as it should be.
    fn end(&self) {
        sync::end(|| {
            self.offload.stats();
        });
        let stats = self.offload.stats();
        assert_eq!((stats.waiting, stats.running), (0, 0), "{stats:?}");
        assert!(stats.largest_batch <= self.max_batch, "{stats:?}");
        assert!(self.echo.busiest.load(SeqCst) <= self.lanes, "{stats:?}");
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
        let facade = Facade::any();
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
        assert_eq!(facade.offload.stats().calls, called.len() as u64);

        // The lanes that have closed leave room for others.
        sync::enter(&homes[0]);
        block_on(facade.call("late".to_owned())).expect("it is answered");
        facade.end();
    });
}

/// What a caller does in the model below, and what comes of it.
enum Ends {
    Answered,
    TimedOut,
    Gone,
}

#[test]
fn nobody_suffers_from_those_who_leave() {
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
                        sync::be_impatient();
                        let answer = block_on(facade.run(name, has_gone.clone()));
                        has_gone.store(true, SeqCst);
                        match answer {
                            Ok(_) => Ends::Answered,
                            Err(Error::TimedOut { .. }) => Ends::TimedOut,
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
        let timeouts = of(|end| matches!(end, Ends::TimedOut));
        assert_eq!(stats.timeouts, timeouts as u64);
        let served = facade.echo.served();
        let answered = of(|end| matches!(end, Ends::Answered));
        assert!((answered..=calls).contains(&served.len()), "{served:?}");
        assert!(served.windows(2).all(|two| two[0] != two[1]), "{served:?}");
    });
}

#[test]
fn who_leaves_before_the_lane_comes_is_not_served() {
    let runtime = runtime();
    check(move || {
        let max_batch = 256;
        let facade = Facade::of(OffloadBuilder::default(), 1, max_batch);
        let (holder, release) = facade.held(runtime.handle());

        let leave = ["leaves.0", "leaves.1"].map(|name| {
            facade.caller(runtime.handle(), move |facade| {
                let call = facade.call(name.to_owned());
                let answer = block_on(sync::up_to(thread_rng().gen_range(1..4), call));
                assert!(answer.is_none(), "the lane is held");
            })
        });
        let stay = ["stays.0", "stays.1"].map(|name| {
            facade.caller(runtime.handle(), move |facade| {
                block_on(facade.call(name.to_owned()))
            })
        });
        join(leave.into());
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
        let facade = Facade::any();
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
        assert_eq!(facade.offload.stats().calls, answered.len() as u64);

        // No lane is left, nor can one be opened there.
        sync::enter(ends);
        let cancelled = block_on(facade.call("late".to_owned()));
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
        sync::enter(goes_on);
        block_on(facade.call("later".to_owned())).expect("it is answered");
        facade.end();
    });
}

#[test]
fn nobody_waits_for_a_lane_that_is_held() {
    let runtime = runtime();
    check(move || {
        let lanes = thread_rng().gen_range(2..=3);
        let facade = Facade::of(OffloadBuilder::default(), lanes, 256);
        let (is_held, _held) = mpsc::channel();
        let holders = (1..lanes).map(|_| {
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
                block_on(facade.call(format!("{caller}")))
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
        // While the lane is held, only who is turned away comes back.
        for _ in 0..beyond {
            match is_done.recv().expect("somebody comes back") {
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
