//! A server that is stopped, frozen or killed while calls are made on all servers.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use session_postgres::{Error, Key, SessionFields, ShardMap, Store};

use super::{map, own_servers::OwnServers};
use crate::support::{
    blocking::Blocking,
    random::{Random, seed},
    sharded::MAP,
    verbs::of_owner,
    wait_until,
};

/// Faults of server `b`, and how each ends.
type Fault = (&'static str, fn(&OwnServers), fn(&OwnServers));

const FAULTS: [Fault; 3] = [
    ("stopped", |on| on.stop("b"), |on| on.start_again("b")),
    (
        "frozen",
        |on| on.server("b").pause().unwrap(),
        |on| on.server("b").resume().unwrap(),
    ),
    (
        "killed",
        |on| on.server("b").kill().unwrap(),
        |on| on.start_again("b"),
    ),
];

/// The time limit of calls to `b`. All others take less.
const LIMIT: Duration = Duration::from_secs(3);

/// Threads of each kind of store that make calls for sessions on servers that work.
const THREADS: usize = 3;

/// The sessions of a thread on each server. Only this thread uses them.
const SESSIONS: usize = 4;

/// A store under load, and what its calls have taken.
struct Load<'s> {
    kind: &'static str,
    store: &'s dyn Store,
    map: ShardMap,
    /// Whether calls for sessions on `b` have their effect.
    b_works: &'s AtomicBool,
    ends: &'s AtomicBool,
    /// Calls since the last fault began or ended.
    calls: AtomicUsize,
    on_healthy: Mutex<Vec<Duration>>,
    creations: Mutex<Vec<Duration>>,
    on_b: Mutex<Vec<String>>,
}

impl Load<'_> {
    fn is_on_b(&self, key: &Key) -> bool {
        self.map.server_of(key) == Some("b")
    }

    /// Makes all kinds of calls for sessions of this thread on `a` and `c`, and creates sessions on all servers.
    fn run(&self) {
        let mut random = Random(seed());
        let mut keys: Vec<(Key, String)> = Vec::new();
        while keys.len() < SESSIONS {
            let key = self.store.generate(Some("0"), None).unwrap();
            match self.is_on_b(&key) {
                true => self.store.clear(&key).unwrap(),
                false => keys.push((key, "0".to_owned())),
            }
        }
        for call in 1.. {
            if self.ends.load(Ordering::Relaxed) {
                break;
            }
            let place = random.below(keys.len());
            let begun = Instant::now();
            let (key, value) = &mut keys[place];
            self.call(random.below(12), key, value, call);
            let taken = begun.elapsed();
            assert!(taken < LIMIT, "{}: a call took {taken:?}", self.kind);
            self.on_healthy.lock().unwrap().push(taken);
            if call % 8 == 0 {
                self.create(call % 16 == 0);
            }
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        for (key, value) in keys {
            assert_eq!(self.store.get(&key).unwrap().value, value);
        }
    }

    /// Makes a call that must succeed.
    fn call(&self, verb: usize, key: &mut Key, value: &mut String, call: usize) {
        let store = self.store;
        let new = call.to_string();
        match verb {
            0 => *key = store.rotate(key).unwrap(),
            1 => {
                *key = store.rotate_with(key, of_owner("crab")).unwrap();
                *value = "lobster".to_owned();
            }
            2 => {
                let drawn = store.new_key(Some(key)).unwrap();
                store
                    .rotate_to(key, &drawn, SessionFields::default())
                    .unwrap();
                *key = drawn;
            }
            3 => {
                store.set(key, &new, None).unwrap();
                *value = new;
            }
            4 => {
                store.set_many(&[(key, &new, None)]).remove(0).unwrap();
                *value = new;
            }
            5 => {
                let edited = store.update(key, None, &mut |old| {
                    assert_eq!(old, Some(&**value));
                    Some(new.clone())
                });
                *value = edited.unwrap().value;
            }
            6 => store.touch(key, None).unwrap(),
            7 => assert_eq!(store.renew(key, None).unwrap().value, *value),
            8 => assert_eq!(store.get_many(&[key]).remove(0).unwrap().value, *value),
            9 => store.set_owner(key, Some("crab")).unwrap(),
            _ => assert_eq!(store.get(key).unwrap().value, *value),
        }
    }

    /// Creates one or two sessions. This never fails.
    fn create(&self, many: bool) {
        let begun = Instant::now();
        let keys = match many {
            true => self.store.generate_many(&[SessionFields::default(); 2]),
            false => vec![self.store.generate(None, None)],
        };
        let taken = begun.elapsed();
        assert!(taken < LIMIT, "{}: a creation took {taken:?}", self.kind);
        self.creations.lock().unwrap().push(taken);
        for key in keys {
            let key = key.unwrap();
            if !self.is_on_b(&key) {
                self.store.clear(&key).unwrap();
            }
        }
    }

    /// Reads and writes a session on `b`. If the server does not answer, it must not be reported absent.
    fn visit_b(&self, key: &Key) {
        while !self.ends.load(Ordering::Relaxed) {
            let worked = self.b_works.load(Ordering::Relaxed);
            let results = [
                self.store
                    .get(key)
                    .map(|session| assert_eq!(session.value, "on b")),
                self.store.set(key, "on b", None),
                self.store.touch(key, None),
            ];
            for error in results.into_iter().filter_map(Result::err) {
                let is_expected = matches!(
                    error,
                    Error::TimedOut { .. }
                        | Error::StillRunning { .. }
                        | Error::Disconnected(_)
                        | Error::Database(_)
                );
                assert!(is_expected, "{}: {error:?}", self.kind);
                if !worked {
                    let kind = format!("{:?}", error.kind());
                    self.on_b.lock().unwrap().push(kind);
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Prints the times of the calls since the last report.
    fn report(&self, when: &str) {
        self.calls.store(0, Ordering::Relaxed);
        for (what, times) in [
            ("calls on a and c", &self.on_healthy),
            ("creations", &self.creations),
        ] {
            let mut times = std::mem::take(&mut *times.lock().unwrap());
            times.sort_unstable();
            let Some(most) = times.last() else { continue };
            let of = |part: usize| times[times.len() * part / 100];
            println!(
                "{:8} {when:14} {what:16}: {:6}, p50 {:9.2?}, p99 {:9.2?}, max {most:9.2?}",
                self.kind,
                times.len(),
                of(50),
                of(99)
            );
        }
        let mut errors = std::mem::take(&mut *self.on_b.lock().unwrap());
        errors.sort();
        let of = |kind: &String| errors.iter().filter(|of| *of == kind).count();
        let mut kinds = errors.clone();
        kinds.dedup();
        let counts: Vec<_> = kinds
            .iter()
            .map(|kind| format!("{kind} {}", of(kind)))
            .collect();
        if !counts.is_empty() {
            println!(
                "{:8} {when:14} errors on b     : {}",
                self.kind,
                counts.join(", ")
            );
        }
    }

    fn wait_for_calls(&self, count: usize) {
        wait_until("calls under load", || {
            self.calls.load(Ordering::Relaxed) >= count || self.ends.load(Ordering::Relaxed)
        });
    }
}

/// Ends the load when it is dropped, also by a panic of any thread, so that all threads end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The printed times are a measurement, and the limits that are asserted are generous.
#[test]
fn a_stopped_frozen_or_killed_server_affects_only_its_own_sessions() {
    let mut servers = OwnServers::lock();
    servers.limit_on_b = LIMIT;
    let blocking = servers.blocking(MAP, 3).build().unwrap();
    let tasks = servers.tasks(MAP, 3);
    let facades = Blocking::new(|| tasks.clone());
    let (b_works, ends) = (AtomicBool::new(true), AtomicBool::new(false));
    let load = |kind, store| Load {
        kind,
        store,
        map: map(MAP),
        b_works: &b_works,
        ends: &ends,
        calls: AtomicUsize::new(0),
        on_healthy: Mutex::default(),
        creations: Mutex::default(),
        on_b: Mutex::default(),
    };
    let loads = [
        load("threads", &blocking as &dyn Store),
        load("tasks", &facades),
    ];
    let on_b = loop {
        let key = blocking.generate(Some("on b"), None).unwrap();
        if map(MAP).server_of(&key) == Some("b") {
            break key;
        }
    };
    let is_available = || {
        [
            blocking.servers()[1].is_available,
            tasks.servers()[1].is_available,
        ]
    };
    thread::scope(|scope| {
        let ends = Ends(&ends);
        for load in &loads {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let _ends = Ends(load.ends);
                    load.run();
                });
            }
            scope.spawn(|| {
                let _ends = Ends(load.ends);
                load.visit_b(&on_b);
            });
        }
        for (fault, begin, end) in FAULTS {
            loads.iter().for_each(|load| load.wait_for_calls(300));
            loads.iter().for_each(|load| load.report("before"));
            b_works.store(false, Ordering::Relaxed);
            begin(&servers);
            wait_until("both stores leave the server out", || {
                is_available() == [false; 2] || loads[0].ends.load(Ordering::Relaxed)
            });
            loads.iter().for_each(|load| load.wait_for_calls(300));
            loads.iter().for_each(|load| load.report(fault));
            end(&servers);
            for store in [&blocking as &dyn Store, &facades] {
                wait_until("the server gets new sessions again", || {
                    let key = store.generate(None, None).unwrap();
                    loads[0].ends.load(Ordering::Relaxed) || map(MAP).server_of(&key) == Some("b")
                });
                wait_until("its session is there", || {
                    store
                        .get(&on_b)
                        .is_ok_and(|session| session.value == "on b")
                });
            }
            b_works.store(true, Ordering::Relaxed);
            loads.iter().for_each(|load| load.report("recovering"));
        }
        drop(ends);
    });
}
