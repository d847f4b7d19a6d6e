//! From one server to several, while programs run and are replaced one after the other.

use std::{
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use session_postgres::{
    AsyncStore, Error, Key, Offload, PostgresStore, SessionFields, Sharded, Store,
};
use tokio::runtime::Runtime;

use super::{map, store};
use crate::support::{
    blocking::Blocking,
    database::Schema,
    random::{Random, seed},
    sharded::Schemas,
    verbs::of_owner,
    wait_until,
};

/// The server that has all sessions is the only one. It gets slots for new sessions.
const ONLY_OLD: &str = "version=1 old=0-1023 origin=old";
const WITH_NEW: &str = "version=2 old=0-1023 b=1024-2047 c=2048-3071 origin=old";
const ONLY_NEW: &str = "version=3 b=1024-2047 c=2048-3071 retired=0-1023";

const VISITORS: usize = 4;

/// A program that serves visitors. It is replaced by another one.
struct Program {
    store: RwLock<Arc<dyn Store>>,
    blocking: Mutex<Option<Sharded<PostgresStore>>>,
    facades: Mutex<Option<Sharded<Offload<PostgresStore>>>>,
}

impl Program {
    fn new(store: impl Store) -> Program {
        Program {
            store: RwLock::new(Arc::new(store)),
            blocking: Mutex::default(),
            facades: Mutex::default(),
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.read().unwrap().clone()
    }

    /// Replaces the program by one with blocking stores.
    fn restart_blocking(&self, store: Sharded<PostgresStore>) {
        *self.blocking.lock().unwrap() = Some(store.clone());
        *self.store.write().unwrap() = Arc::new(store);
    }

    fn restart_with_facades(&self, store: Sharded<Offload<PostgresStore>>) {
        *self.facades.lock().unwrap() = Some(store.clone());
        *self.store.write().unwrap() = Arc::new(Blocking::new(|| store));
    }

    fn set_share(&self, server: &str, share: u32) {
        if let Some(store) = &*self.blocking.lock().unwrap() {
            store.set_share(server, share).unwrap();
        }
        if let Some(store) = &*self.facades.lock().unwrap() {
            store.set_share(server, share).unwrap();
        }
    }
}

/// A site with three programs and its visitors.
struct Site {
    programs: [Program; 3],
    ends: AtomicBool,
    calls: AtomicUsize,
    /// The keys of all sessions that visitors have.
    kept: Mutex<Vec<(Key, String)>>,
}

impl Site {
    fn any(&self, random: &mut Random) -> Arc<dyn Store> {
        self.programs[random.below(3)].store()
    }

    /// Makes calls with any of the programs. No session may be lost, and none that has ended may come back.
    fn visit(&self) {
        let random = &mut Random(seed());
        let mut sessions: Vec<(Key, String)> = Vec::new();
        let mut ended: Vec<Key> = Vec::new();
        for call in 0.. {
            if self.ends.load(Ordering::Relaxed) {
                break;
            }
            if sessions.len() < 6 {
                sessions.push(self.new_session(random, call));
            }
            let store = self.any(random);
            let place = random.below(sessions.len());
            let (key, value) = &mut sessions[place];
            match random.below(10) {
                0 => *key = store.rotate(key).unwrap(),
                1 => {
                    *key = store.rotate_with(key, of_owner("crab")).unwrap();
                    *value = "lobster".to_owned();
                }
                2 => {
                    let new = store.new_key(Some(key)).unwrap();
                    store
                        .rotate_to(key, &new, SessionFields::default())
                        .unwrap();
                    *key = new;
                }
                3 | 4 => {
                    *value = call.to_string();
                    store.set(key, value, None).unwrap();
                }
                5 => {
                    let (key, _) = sessions.swap_remove(place);
                    store.clear(&key).unwrap_or_else(|e| panic!("{e}"));
                    ended.push(key);
                }
                _ => {
                    let got = store
                        .get(key)
                        .unwrap_or_else(|e| panic!("a session is lost: {e}"));
                    assert_eq!(got.value, *value);
                }
            }
            if let Some(key) = ended.last() {
                let got = self.any(random).get(key);
                // A program may have noticed that its map is outdated.
                let is_gone = matches!(got, Err(Error::NotFound | Error::ShardMap { .. }));
                assert!(is_gone, "{got:?}");
            }
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
        self.kept.lock().unwrap().extend(sessions);
    }

    fn new_session(&self, random: &mut Random, call: usize) -> (Key, String) {
        let (store, value) = (self.any(random), call.to_string());
        let key = match random.one_in(2) {
            true => store.generate(Some(&value), None).unwrap(),
            // As with tower-sessions.
            false => {
                let key = store.new_key(None).unwrap();
                match store.insert(&key, Some(&value), None) {
                    // The server was closed in the meantime.
                    Err(Error::NotOpen { .. }) => return self.new_session(random, call),
                    inserted => inserted.unwrap(),
                }
                key
            }
        };
        (key, value)
    }

    /// Waits until all programs were used for some time.
    fn go_on(&self) {
        let target = self.calls.load(Ordering::Relaxed) + 200;
        wait_until("calls of visitors", || {
            self.calls.load(Ordering::Relaxed) >= target || self.ends.load(Ordering::Relaxed)
        });
    }
}

/// Ends the visits also if a thread of them panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_site_moves_from_one_server_to_several_without_losing_a_session() {
    let Schemas([old, b, c]) = Schemas::new();
    let runtime = Runtime::new().unwrap();
    let facade = |schema: &Schema| Offload::new(store(schema));
    let site = Site {
        programs: [(); 3].map(|()| Program::new(store(&old))),
        ends: AtomicBool::new(false),
        calls: AtomicUsize::new(0),
        kept: Mutex::default(),
    };
    let [first, second, third] = &site.programs;
    thread::scope(|scope| {
        let ends = Ends(&site.ends);
        for _ in 0..VISITORS {
            scope.spawn(|| {
                let _ends = Ends(&site.ends);
                site.visit();
            });
        }
        site.go_on();

        // 1. Each program is replaced by one with a map of the only server.
        first.restart_blocking(
            Sharded::builder(map(ONLY_OLD))
                .server("old", store(&old))
                .build()
                .unwrap(),
        );
        site.go_on();
        second.restart_blocking(
            Sharded::builder(map(ONLY_OLD))
                .server("old", store(&old))
                .build()
                .unwrap(),
        );
        let built = Sharded::builder(map(ONLY_OLD))
            .server("old", facade(&old))
            .build_async();
        third.restart_with_facades(runtime.block_on(built).unwrap());
        site.go_on();

        // 2. Each learns of the new servers, which are closed: one by a restart, the others while they run.
        let builder = Sharded::builder(map(WITH_NEW)).share("b", 0).share("c", 0);
        let builder = builder.server("old", store(&old)).server("b", store(&b));
        first.restart_blocking(builder.server("c", store(&c)).build().unwrap());
        site.go_on();

        let newer = Sharded::builder(map(WITH_NEW))
            .share("b", 0)
            .share("c", 0)
            .server("b", store(&b))
            .server("c", store(&c));
        let running = second.blocking.lock().unwrap().clone().unwrap();
        running.extend(newer).unwrap();
        site.go_on();
        let newer = Sharded::builder(map(WITH_NEW))
            .share("b", 0)
            .share("c", 0)
            .server("b", facade(&b))
            .server("c", facade(&c));
        let running = third.facades.lock().unwrap().clone().unwrap();
        runtime.block_on(running.extend_async(newer)).unwrap();
        site.go_on();
        assert_eq!([b.count("true"), c.count("true")], [0, 0]);

        // 3. The new servers are opened, and the old one is closed, in one program after the other.
        for program in &site.programs {
            for (server, share) in [("b", 1), ("c", 1), ("old", 0)] {
                program.set_share(server, share);
            }
            site.go_on();
        }
        site.go_on();
        drop(ends);
    });
    // Each session is found by each program.
    let kept = site.kept.lock().unwrap();
    assert!(kept.len() >= VISITORS);
    for (key, value) in &*kept {
        for program in &site.programs {
            assert_eq!(program.store().get(key).unwrap().value, *value);
        }
    }
    // Those of the old server end.
    let on_old = store(&old);
    assert!(on_old.count().unwrap() > 0);
    let (ended, kept): (Vec<_>, Vec<_>) = kept.iter().partition(|(key, _)| on_old.get(key).is_ok());
    for (key, _) in ended {
        first.store().clear(key).unwrap();
    }
    assert_eq!(on_old.count().unwrap(), 0);

    // 4. Then it is removed, and the programs need only the others.
    for program in [first, second] {
        let running = program.blocking.lock().unwrap().clone().unwrap();
        running.extend(Sharded::builder(map(ONLY_NEW))).unwrap();
    }
    let running = third.facades.lock().unwrap().clone().unwrap();
    runtime
        .block_on(running.extend_async(Sharded::builder(map(ONLY_NEW))))
        .unwrap();
    for (key, value) in &kept {
        for program in &site.programs {
            assert_eq!(program.store().get(key).unwrap().value, *value);
        }
    }
    let new = runtime
        .block_on(running.generate(Some("lobster"), None))
        .unwrap();
    assert_eq!(first.store().get(&new).unwrap().value, "lobster");
}
