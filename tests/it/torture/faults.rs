//! Failures during a round that other programs cause on the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use session_postgres::{
    Key,
    postgres::{self, Client, Config, NoTls},
};
use throwaway_postgres::Server;

use super::{NAME, outcome::Tally, round::Round, short_lived::ShortLived};
use crate::support::random::Random;

/// How the server restarts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Restart {
    Fast,
    Crash,
}

/// Threads that cause failures until this is dropped.
pub(super) struct Faults {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One of these threads.
struct FaultThread {
    config: Config,
    random: Random,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

impl Faults {
    pub(super) fn begin(
        config: &Config,
        server: &Arc<Server>,
        round: &Arc<Round>,
        tally: &Arc<Tally>,
        restart: Option<Restart>,
        seed: u64,
    ) -> Faults {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |number: u64| FaultThread {
            config: config.clone(),
            random: Random(seed ^ (number << 48)),
            tally: tally.clone(),
            stop: stop.clone(),
        };
        let mut threads = Vec::new();
        for number in 0..2 {
            let (worker, round) = (worker(number), round.clone());
            threads.push(thread::spawn(move || worker.lock_rows(&round)));
        }
        let (short_lived, locked) = (worker(4), round.clone());
        threads.push(thread::spawn(move || {
            short_lived.lock_short_lived_rows(&locked)
        }));
        let killer = worker(2);
        threads.push(thread::spawn(move || killer.kill_backends()));
        if let Some(restart) = restart {
            let (mut worker, server) = (worker(3), server.clone());
            threads.push(thread::spawn(move || worker.restart(&server, restart)));
        }
        Faults { stop, threads }
    }
}

/// Stops the threads and waits for them. The server runs afterwards.
impl Drop for Faults {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for ended in self.threads.drain(..).map(JoinHandle::join) {
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

impl FaultThread {
    /// Locks rows, one at a time, like another program.
    fn lock_rows(mut self, round: &Round) {
        let mut client = None;
        self.until_stopped(80, |worker| {
            let key = round.key(worker.random.below(round.keys()));
            let longest = [30, 400][worker.random.below(2)];
            let client = worker.connected(&mut client)?;
            worker.lock_row(client, &key, longest)
        });
    }

    /// Adds short-lived sessions, and locks them while they expire.
    fn lock_short_lived_rows(mut self, round: &Round) {
        let mut client = None;
        self.until_stopped(50, |worker| {
            let client = worker.connected(&mut client)?;
            let short_lived = ShortLived::stored(client)?;
            let key = short_lived.key.clone();
            round.add_short_lived(short_lived);
            worker.pause(1, 200);
            worker.lock_row(client, &key, 400)
        });
    }

    /// Locks a row for at most so many milliseconds.
    fn lock_row(
        &mut self,
        client: &mut Client,
        key: &Key,
        longest: usize,
    ) -> Result<(), postgres::Error> {
        let mut transaction = client.transaction()?;
        let lock = "SELECT FROM session WHERE session_key = $1 FOR UPDATE";
        if transaction.execute(lock, &[&key.as_str()])? > 0 {
            self.pause(5, longest);
            self.tally.count("locks held");
        }
        transaction.rollback()
    }

    /// Kills the server processes of the store's connections, like an operator.
    fn kill_backends(mut self) {
        let mut client = None;
        self.until_stopped(300, |worker| {
            let client = worker.connected(&mut client)?;
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name = $1 ORDER BY random() LIMIT 1";
            let killed = client.execute(kill, &[&NAME])?;
            worker.tally.count_many("kills", killed as usize);
            Ok(())
        });
    }

    fn restart(&mut self, server: &Server, how: Restart) {
        self.pause(20, 500);
        match how {
            Restart::Fast => server.restart().unwrap(),
            Restart::Crash => {
                server.kill().unwrap();
                server.start_again().unwrap();
            }
        }
        self.tally.count(&format!("restarts ({how:?})"));
    }

    /// Repeats `work` until the threads are stopped, with pauses of at most so many milliseconds. Errors
    /// are ignored, because the server may be restarting.
    fn until_stopped(
        &mut self,
        longest: usize,
        mut work: impl FnMut(&mut FaultThread) -> Result<(), postgres::Error>,
    ) {
        while !self.stop.load(Ordering::SeqCst) {
            self.pause(1, longest);
            let _ = work(self);
        }
    }

    fn connected<'a>(
        &self,
        client: &'a mut Option<Client>,
    ) -> Result<&'a mut Client, postgres::Error> {
        if client.as_ref().is_none_or(Client::is_closed) {
            let mut fresh = self.config.connect(NoTls)?;
            fresh.batch_execute("SET lock_timeout = '200 ms'")?;
            *client = Some(fresh);
        }
        Ok(client.as_mut().expect("it was just made"))
    }

    fn pause(&mut self, least: usize, most: usize) {
        let millis = least + self.random.below(most);
        thread::sleep(Duration::from_millis(millis as u64));
    }
}
