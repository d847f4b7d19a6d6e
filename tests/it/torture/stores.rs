//! The stores under test. Each is used for some rounds.

use std::{sync::Arc, thread, time::Duration};

use session_postgres::{
    AsyncStore, Key, Offload, OffloadBuilder, PostgresStore, Store,
    postgres::{Config, NoTls},
    r2d2::Pool,
};
use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    NAME,
    calls::Task,
    direct::{self, Direct},
    outcome::Tally,
    round::Round,
};
use crate::support::{
    database::{Manager, Schema},
    patiently,
    random::Random,
    wait_until,
};

const TASKS: usize = 16;
const THREADS: usize = 4;
const CONNECTIONS: u32 = 4;

pub(super) enum Subject {
    Facade(Offload<PostgresStore>),
    Blocking(Direct),
}

/// How to build a store: how it connects, whether it has a facade, and the time limits in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    connects: bool,
    has_facade: bool,
    facade_timeout: usize,
    store_timeout: usize,
}

impl Plan {
    pub(super) fn random(random: &mut Random) -> Plan {
        let has_facade = !random.one_in(3);
        let mut timeout = || match random.one_in(3) {
            true => 30 + random.below(100),
            false => 200 + random.below(300),
        };
        let facade_timeout = timeout();
        let store_timeout = timeout();
        let store_timeout = match has_facade && random.one_in(2) {
            true => 30_000,
            false => store_timeout,
        };
        Plan {
            connects: random.one_in(2),
            has_facade,
            facade_timeout,
            store_timeout,
        }
    }

    /// Builds a store that connects through the proxy at this port. The proxy must not break connections
    /// now.
    pub(super) fn build(self, runtime: &Runtime, schema: &Schema, port: u16) -> Subject {
        let millis = |millis| Duration::from_millis(millis as u64);
        let store = || schema.builder().timeout(millis(self.store_timeout));
        let store = store().max_connections(CONNECTIONS);
        let options = format!(
            "host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable \
             application_name={NAME}"
        );
        let facade = OffloadBuilder::default().timeout(millis(self.facade_timeout));
        let store = match self.connects {
            true => patiently(|| store.clone().connect(&*options)),
            false => {
                let config: Config = options.parse().unwrap();
                let pool = Pool::builder().max_size(CONNECTIONS);
                let pool = pool.test_on_check_out(false);
                store.from_pool(pool.build(Manager::new(config, NoTls)).unwrap())
            }
        };
        match self.has_facade {
            true => {
                let _inside = runtime.enter();
                Subject::Facade(facade.build(store))
            }
            false => Subject::Blocking(Direct(Arc::new(store))),
        }
    }
}

impl Subject {
    /// Runs all tasks of a round, and waits until no call is running.
    pub(super) fn run(&self, runtime: &Runtime, round: &Arc<Round>, tally: &Arc<Tally>, seed: u64) {
        match self {
            Subject::Facade(store) => run_tasks(store, runtime, round, tally, seed),
            Subject::Blocking(store) => thread::scope(|scope| {
                for thread in 0..THREADS {
                    let task = task(store, round, tally, thread, seed, false);
                    scope.spawn(move || direct::run(task.live(20)));
                }
            }),
        }
    }

    /// Makes calls until the store has noticed its broken connections.
    pub(super) fn warm_up(&self, runtime: &Runtime, key: &Key) {
        match self {
            Subject::Facade(store) => runtime.block_on(async {
                for _ in 0..3 {
                    let mut reads = JoinSet::new();
                    for _ in 0..CONNECTIONS {
                        let (store, key) = (store.clone(), key.clone());
                        reads.spawn(async move { store.get(&key).await.is_ok() });
                    }
                    reads.join_all().await;
                }
            }),
            Subject::Blocking(store) => thread::scope(|scope| {
                for _ in 0..CONNECTIONS {
                    scope.spawn(|| {
                        for _ in 0..3 {
                            let _ = Store::get(&*store.0, key);
                        }
                    });
                }
            }),
        }
    }
}

/// Runs all tasks of a round on a facade, and waits until no call is running.
pub(super) fn run_tasks<S: Store>(
    store: &Offload<S>,
    runtime: &Runtime,
    round: &Arc<Round>,
    tally: &Arc<Tally>,
    seed: u64,
) {
    let mut tasks = JoinSet::new();
    for thread in 0..TASKS {
        let task = task(store, round, tally, thread, seed, true);
        tasks.spawn_on(task.live(5), runtime.handle());
    }
    runtime.block_on(async {
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
    wait_until("all calls of the facade to end", || {
        let stats = store.stats();
        stats.waiting == 0 && stats.running == 0
    });
}

fn task<S: Clone>(
    store: &S,
    round: &Arc<Round>,
    tally: &Arc<Tally>,
    thread: usize,
    seed: u64,
    drops: bool,
) -> Task<S> {
    Task {
        store: store.clone(),
        round: round.clone(),
        tally: tally.clone(),
        thread,
        random: Random(seed ^ ((thread as u64 + 1) << 40)),
        drops,
    }
}
