//! Models of the facade: shuttle tries thousands of the ways in which threads can interleave.
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test --release --lib model
//! ```
//!
//! A lost wake-up or answer is a deadlock, because no time limit ends a wait here; see [`sync::end`]. Only
//! [`sync`] and the [`store`] differ from the real facade. Each use of one of tokio's oneshot channels or of a
//! call's claim is a single step, because shuttle does not switch threads within it. A run that fails prints
//! its schedule, and `shuttle::replay` repeats it.

mod facade;
mod store;
pub(super) mod sync;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use shuttle::{
    check_pct, check_random,
    future::block_on,
    rand::{Rng, thread_rng},
    sync::mpsc,
    thread::{self, JoinHandle},
};
use tokio::runtime::{Builder, Runtime};

use self::{facade::Facade, store::SENT_TWICE};
use super::OffloadBuilder;
use crate::{AsyncStore, Error, ErrorKind, Key};

/// The number of schedules for each model and each of the two schedulers.
const SCHEDULES: usize = 20_000;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let pct = model.clone();
    check_random(move || model(), SCHEDULES);
    // This scheduler finds bugs that need few, but unlikely switches.
    check_pct(move || pct(), SCHEDULES, 4);
}

/// A runtime of which only the handle is used, because models have threads of their own.
fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().build();
    runtime.expect("it needs no I/O")
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

        // Other workers can start after these have ended.
        sync::enter(&homes[0]);
        block_on(facade.call("late".to_owned())).expect("it is answered");
        facade.end();
    });
}

/// The end of a call in the model below.
enum Ends {
    Answered,
    /// The call of this name was never executed.
    TimedOut(String),
    StillRunning,
    Gone,
}

#[test]
fn a_dropped_call_affects_no_other() {
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
        assert_eq!(stats.batches.calls, calls as u64, "{stats:?}");
        let late = of(|end| matches!(end, Ends::TimedOut(_) | Ends::StillRunning));
        let timed_out = [ErrorKind::TimedOut, ErrorKind::StillRunning];
        let timed_out = timed_out.map(|kind| stats.calls.errors_of(kind));
        assert_eq!(timed_out.iter().sum::<u64>(), late as u64);
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
fn a_call_that_is_dropped_before_a_worker_takes_it_is_never_executed() {
    let runtime = runtime();
    check(move || {
        let facade = Facade::of(OffloadBuilder::default().max_concurrency(1), 1, 256);
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
fn a_runtime_that_shuts_down_cancels_only_its_own_calls() {
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

        // That runtime has no worker, and none can begin there.
        sync::enter(ends);
        let cancelled = block_on(facade.call("late".to_owned()));
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
        sync::enter(goes_on);
        block_on(facade.call("later".to_owned())).expect("it is answered");
        facade.end();
    });
}

#[test]
fn calls_that_take_long_delay_no_others() {
    let runtime = runtime();
    check(move || {
        let workers = thread_rng().gen_range(2..=3);
        let facade = Facade::of(
            OffloadBuilder::default().max_concurrency(workers),
            workers,
            256,
        );
        // So any queue may have its turn next.
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
fn a_batch_that_is_sent_again_delays_no_others() {
    let runtime = runtime();
    check(move || {
        let facade = Facade::of(OffloadBuilder::default().max_concurrency(2), 2, 256);
        let (is_held, held) = mpsc::channel();
        let (release, open) = mpsc::channel();
        *facade.echo.held.lock().expect("no panic") = Some((is_held, open));
        let twice = facade.caller(runtime.handle(), |facade| {
            let key = Key::try_from(SENT_TWICE)?;
            block_on(facade.offload.get(&key))
        });
        held.recv().expect("the worker comes");
        let other = facade.caller(runtime.handle(), |facade| {
            block_on(facade.brief("other".to_owned()))
        });
        other.join().expect("no panic").expect("it is answered");
        release.send(()).expect("it waits for this");
        twice.join().expect("no panic").expect("it is answered");
        facade.end();
    });
}

#[test]
fn calls_are_executed_as_soon_as_there_is_a_thread() {
    let runtimes = [runtime(), runtime()];
    let homes = runtimes.each_ref().map(|runtime| runtime.handle().clone());
    check(move || {
        let facade = Facade::any();
        sync::refuse_threads(thread_rng().gen_range(1..=2));
        let callers = (0..thread_rng().gen_range(1..=3)).map(|caller: usize| {
            facade.caller(&homes[caller % 2], move |facade| {
                let name = format!("{caller}");
                // Each call that finds no worker tries to start one.
                while facade.offload.stats().batches.calls == 0 {
                    sync::be_impatient(true);
                    match block_on(facade.call(name.clone())) {
                        Ok(()) => return,
                        Err(Error::TimedOut { .. } | Error::StillRunning { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    // Without this, shuttle may never run another thread.
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
fn calls_beyond_the_limit_are_overloaded() {
    let runtime = runtime();
    check(move || {
        let max_waiting = thread_rng().gen_range(1..=2);
        let beyond = thread_rng().gen_range(1..=2);
        let builder = OffloadBuilder::default().max_waiting(max_waiting);
        let facade = Facade::of(builder.max_concurrency(1), 1, 256);
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
        // While the worker is held, only the rejected calls return.
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
        assert_eq!(stats.calls.errors_of(ErrorKind::Overloaded), beyond as u64);
        assert_eq!(stats.batches.calls, max_waiting as u64 + 1);
        assert_eq!(facade.echo.served().len(), max_waiting);
    });
}
