//! What others do to the server during a round.

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

use super::{NAME, brief::Brief, outcome::Tally, round::Round};
use crate::support::random::Random;

/// How the server restarts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Restart {
    Fast,
    Crash,
}

/// Threads that go on until they are stopped.
pub(super) struct Faults {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What every thread needs.
struct Hand {
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
        let hand = |number: u64| Hand {
            config: config.clone(),
            random: Random(seed ^ (number << 48)),
            tally: tally.clone(),
            stop: stop.clone(),
        };
        let mut threads = Vec::new();
        for number in 0..2 {
            let (hand, round) = (hand(number), round.clone());
            threads.push(thread::spawn(move || hand.lock_rows(&round)));
        }
        let (brief, locked) = (hand(4), round.clone());
        threads.push(thread::spawn(move || brief.lock_brief_rows(&locked)));
        let killer = hand(2);
        threads.push(thread::spawn(move || killer.kill_backends()));
        if let Some(restart) = restart {
            let (mut hand, server) = (hand(3), server.clone());
            threads.push(thread::spawn(move || hand.restart(&server, restart)));
        }
        Faults { stop, threads }
    }
}

/// Waits until the last is over; the server runs.
impl Drop for Faults {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for ended in self.threads.drain(..).map(JoinHandle::join) {
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

impl Hand {
    /// Another program that keeps rows locked, one at a time.
    fn lock_rows(mut self, round: &Round) {
        let mut client = None;
        self.until_stopped(80, |hand| {
            let key = round.key(hand.random.below(round.keys()));
            let longest = [30, 400][hand.random.below(2)];
            let client = hand.connected(&mut client)?;
            hand.lock_row(client, &key, longest)
        });
    }

    /// Another program that makes sessions that live briefly, and keeps them locked at their end.
    fn lock_brief_rows(mut self, round: &Round) {
        let mut client = None;
        self.until_stopped(50, |hand| {
            let client = hand.connected(&mut client)?;
            let brief = Brief::stored(client)?;
            let key = brief.key.clone();
            round.add_brief(brief);
            hand.pause(1, 200);
            hand.lock_row(client, &key, 400)
        });
    }

    /// Keeps a row locked, for so many milliseconds at most.
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

    /// An operator who ends the store's connections.
    fn kill_backends(mut self) {
        let mut client = None;
        self.until_stopped(300, |hand| {
            let client = hand.connected(&mut client)?;
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name = $1 ORDER BY random() LIMIT 1";
            let killed = client.execute(kill, &[&NAME])?;
            hand.tally.count_many("kills", killed as usize);
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

    /// Does it again and again, with pauses of so many milliseconds at most. A connection that fails
    /// does so because the server restarts.
    fn until_stopped(
        &mut self,
        longest: usize,
        mut work: impl FnMut(&mut Hand) -> Result<(), postgres::Error>,
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
