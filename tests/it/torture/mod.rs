//! Random calls under random failures must be linearizable, and so must the sessions that they leave.
//!
//! The failures: connections break before, during and after a statement, server processes are killed, the
//! server restarts, another program locks rows, cancel requests arrive late, and futures are dropped.
//!
//! `TORTURE_SECONDS` is the duration, default 20. `TORTURE_SEED` is the seed of the first round. With
//! `--nocapture`, the test prints how often each result occurred.

mod calls;
mod direct;
mod faults;
mod outcome;
mod proxy;
mod round;
mod short_lived;
mod stores;
mod uncancellable;
mod verbs;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use session_postgres::postgres::Client;
use throwaway_postgres::Server;
use tokio::runtime::{Builder, Runtime};

use self::{
    faults::{Faults, Restart},
    outcome::Tally,
    proxy::Proxy,
    round::{Round, Stored},
    short_lived::ShortLived,
    stores::{Plan, Subject},
};
use crate::support::{
    database::Schema,
    random::{Random, seed},
    wait_until,
};

/// The `application_name` of the stores' connections.
const NAME: &str = "tortured";

/// The number of rounds for which a store is used.
const ROUNDS: u64 = 4;

const RESTART_EVERY: Duration = Duration::from_secs(8);

/// A server, the proxy through which stores connect to it, and what they share.
struct Setup {
    server: Arc<Server>,
    schema: Schema,
    proxy: Proxy,
    runtime: Runtime,
    tally: Arc<Tally>,
}

#[test]
fn calls_are_linearizable_under_random_failures() {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let seconds = number("TORTURE_SECONDS").unwrap_or(20);
    let first = number("TORTURE_SEED").unwrap_or_else(seed);
    eprintln!("seed {first}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    let mut undecided = 0;
    let setup = Setup::new(first);
    let mut restarts = [Restart::Fast, Restart::Crash].into_iter().cycle();
    let mut next_restart = Instant::now() + RESTART_EVERY / 2;
    while Instant::now() < end {
        let era = rounds / ROUNDS;
        let plan = Plan::random(&mut Random(first.wrapping_add(era)));
        let subject = plan.build(&setup.runtime, &setup.schema, setup.proxy.port());
        for _ in 0..ROUNDS {
            let restart = (Instant::now() > next_restart).then(|| restarts.next().unwrap());
            if restart.is_some() {
                next_restart = Instant::now() + RESTART_EVERY;
            }
            let seed = first.wrapping_add(rounds);
            match setup.round(&subject, restart, seed).check() {
                Ok(families) => undecided += families,
                Err(what) => panic!(
                    "round {rounds} from seed {first} ({plan:?}, restart: {restart:?}): {what}\n{}",
                    setup.tally
                ),
            }
            rounds += 1;
        }
    }
    let (cuts, cancels) = setup.proxy.counts();
    eprintln!("{cuts} cuts, {cancels} cancel requests\n{}", setup.tally);
    let families = rounds as usize * round::FAMILIES;
    eprintln!("{rounds} rounds; {undecided} of {families} families undecided");
    assert!(
        undecided * 20 <= families,
        "{undecided} of {families} undecided"
    );
}

impl Setup {
    fn new(seed: u64) -> Setup {
        // Otherwise a crash may lose committed transactions.
        let server = Server::builder()
            .setting("synchronous_commit", "on")
            .start()
            .unwrap();
        let schema = Schema::on(server.url());
        schema.create_table(false);
        Setup {
            proxy: Proxy::to(server.socket_dir(), seed),
            server: Arc::new(server),
            schema,
            runtime: Builder::new_multi_thread()
                .worker_threads(2)
                .enable_time()
                .build()
                .unwrap(),
            tally: Arc::default(),
        }
    }

    fn round(&self, subject: &Subject, restart: Option<Restart>, seed: u64) -> Round {
        let mut client = self.schema.client();
        let round = Arc::new(Round::new(ShortLived::stored(&mut client).unwrap()));
        let config = self.schema.config();
        let faults = Faults::begin(&config, &self.server, &round, &self.tally, restart, seed);
        self.proxy.set_breaks(true);
        subject.run(&self.runtime, &round, &self.tally, seed);
        self.proxy.set_breaks(false);
        drop(faults);

        let mut client = self.schema.client();
        self.end_statements(&mut client);
        round.read_all(|key| {
            let sql = "SELECT session_data, owner FROM session \
                       WHERE session_key = $1 AND expire_date > clock_timestamp()";
            let row = client.query_opt(sql, &[&key.as_str()]).unwrap();
            row.map(|row| Stored {
                value: row.get(0),
                owner: Some(row.get(1)),
            })
        });
        subject.warm_up(&self.runtime, &round.key(0));
        Arc::into_inner(round).expect("all tasks to be over")
    }

    /// Cuts all connections, and waits until the server has ended their statements.
    fn end_statements(&self, client: &mut Client) {
        let now = client.query_one("SELECT clock_timestamp()", &[]).unwrap();
        let now: SystemTime = now.get(0);
        self.proxy.cut_all();
        wait_until("the end of all statements", || {
            let sql = "SELECT count(*) FROM pg_stat_activity \
                       WHERE application_name = $1 AND backend_start <= $2";
            let left = client.query_one(sql, &[&NAME, &now]).unwrap();
            left.get::<_, i64>(0) == 0
        });
    }
}
