//! A site that keeps its sessions on several servers, and what its visitors see when a server stops or joins.
//!
//! `tests/with-postgres cargo run --example sharded` starts the PostgreSQL servers, which stop with the program. It does
//! not use `DATABASE_URL`, because it has to stop a server.
//!
//! For each step, the program prints a table with a line for each server: how many visitors had a session there, what the
//! site answered to them, and how long the slowest answers took. A server that no visitor has used has no line.

/// What the visitors see, counted and printed.
mod sharded {
    mod report;

    pub(crate) use self::report::{Report, until};
}

use std::{error::Error as StdError, time::Duration};

use session_postgres::{
    AsyncStore, Error, Key, Offload, Period, PostgresStore, SessionFields, ShardMap, Sharded,
};
use sharded::{Report, until};
use throwaway_postgres::Server;
use tokio::{task::JoinSet, time::sleep};

/// The time limit of each call to the store. A visitor of a server that is down waits as long for an error.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long a login waits for a server before it tries another one.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);
/// Sessions last longer than any server is down. Otherwise, they could expire before the server is back.
const PERIOD: Period = Period::HOUR;

const VISITORS: u32 = 30;
/// The time between two requests of a visitor.
const PAUSE: Duration = Duration::from_millis(20);

type Store = Sharded<Offload<PostgresStore>>;

fn main() -> Result<(), Box<dyn StdError + Send + Sync>> {
    // Starting and dropping a server blocks, so both happen outside the async runtime.
    let first = [Server::start()?, Server::start()?, Server::start()?];
    let fourth = Server::start()?;
    tour(&first, &fourth)
}

#[tokio::main]
async fn tour([a, b, c]: &[Server; 3], d: &Server) -> Result<(), Box<dyn StdError + Send + Sync>> {
    // The first two characters of a key are its slot, a number from 0 to 4,095. The map says which server has the sessions
    // of which slots. The slots from 3,072 are left for future servers.
    let map: ShardMap = "version=1 a=0-1023 b=1024-2047 c=2048-3071".parse()?;
    let store = Sharded::builder(map)
        .server("a", open(a).await?)
        .server("b", open(b).await?)
        .server("c", open(c).await?)
        .attempt_timeout(ATTEMPT_TIMEOUT)
        .build_async()
        .await?;

    let report = Report::default();
    println!("{VISITORS} visitors log in, look at pages, log out and begin again.");
    report.begin("1. Servers a, b and c share the sessions.");
    let mut visitors = JoinSet::new();
    for number in 1..=VISITORS {
        let visitor = Visitor {
            name: format!("visitor {number}"),
            // Not the same for all, so that there are always visitors between login and logout.
            pages: 10 + number,
            store: store.clone(),
            report: report.clone(),
        };
        visitors.spawn(visitor.come_and_go());
    }
    report.print_when(|| true).await?;

    // This task may block, because the visitors are on other threads.
    b.stop()?;
    report.begin("2. Server b is stopped. New sessions are created on the others.");
    report.print_when(|| report.has_errors("b")).await?;
    // A call for an owner asks all servers.
    match store.owned("visitor 1").await {
        Ok(devices) => println!("Visitor 1 is logged in on {} devices.", devices.len()),
        Err(Error::Partial { done, failed }) => println!(
            "Where is visitor 1 logged in? Servers {done:?} have answered, but not {:?}.",
            failed.iter().map(|(server, _)| server).collect::<Vec<_>>()
        ),
        Err(error) => return Err(error.into()),
    }

    // A new server gets slots that were free, so no session moves. If several programs use the servers, extend the store in
    // all of them before one of them sets the share of the new server.
    let newer = store.map().assign("d", 3072..=4095)?.with_version(2);
    let added = Sharded::builder(newer).server("d", open(d).await?);
    store.extend_async(added.share("d", 0)).await?;
    store.set_share("d", 2)?;
    until(|| is_available(&store, "d")).await?;
    report.begin("3. Server d is added with a share of 2. Server b is still stopped.");
    report.print_when(|| report.has_errors("b")).await?;
    println!("{} visitors wait for server b.", report.waiting());

    report.begin("4. Server b is started again.");
    b.start_again()?;
    let is_back = || report.waiting() == 0 && is_available(&store, "b");
    report.print_when(is_back).await?;
    println!("{} visitors wait for server b.", report.waiting());

    store.set_share("a", 0)?;
    report.begin("5. Server a is closed for new sessions. Those that it has go on until they end.");
    report.print_when(|| true).await?;
    for server in store.servers() {
        let sessions = server.store.run(|store| store.count()).await??;
        println!(
            "Server {} has {sessions} sessions and a share of {}.",
            server.name, server.share
        );
    }

    visitors.shutdown().await;
    println!(
        "\nIn all steps, {} logins have failed, and {} sessions were lost.",
        report.failed_logins(),
        report.lost_sessions()
    );
    Ok(())
}

/// Each server has a facade of its own, with its own queue, workers and connections.
async fn open(server: &Server) -> Result<Offload<PostgresStore>, Error> {
    let options = PostgresStore::builder().max_connections(4);
    let facade = Offload::builder().timeout(TIMEOUT);
    let store = facade.connect(options, server.url()).await?;
    store.run(|store| store.create_table()).await??;
    Ok(store)
}

fn is_available(store: &Store, name: &str) -> bool {
    let servers = store.servers();
    servers
        .iter()
        .any(|server| server.name == name && server.has_joined && server.is_available)
}

struct Visitor {
    name: String,
    /// The number of pages that the visitor looks at between login and logout.
    pages: u32,
    store: Store,
    report: Report,
}

impl Visitor {
    async fn come_and_go(self) {
        loop {
            sleep(PAUSE).await;
            let Some(key) = self.log_in().await else {
                continue;
            };
            let mut pages = 0;
            while pages < self.pages {
                sleep(PAUSE).await;
                match self.see_page(&key).await {
                    Ok(()) => pages += 1,
                    // Only this means that the visitor has to log in again.
                    Err(Error::NotFound) => break,
                    // The site has answered 503, and the browser keeps its cookie. The visitor loads the page again.
                    Err(_) => {}
                }
            }
            while self.log_out(&key).await.is_err() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Creates a session, on any server.
    async fn log_in(&self) -> Option<Key> {
        let request = self.report.request(&self.name);
        let created = self.store.generate_with(SessionFields {
            value: Some(&self.name),
            expiry: Some(PERIOD),
            owner: Some(&self.name),
        });
        let key = created.await.ok();
        request.login(key.as_ref().map(|key| self.server_of(key)).as_deref());
        key
    }

    /// Reads the session and restarts its period. The key says on which server it is.
    async fn see_page(&self, key: &Key) -> Result<(), Error> {
        let request = self.report.request(&self.name);
        let seen = match self.store.renew(key, Some(PERIOD)).await {
            // The session of another visitor.
            Ok(session) if session.value != self.name => Err(Error::NotFound),
            session => session.map(drop),
        };
        request.page(&self.server_of(key), &seen);
        seen
    }

    /// Deletes the session. If the server does not answer, it does no harm to repeat this.
    async fn log_out(&self, key: &Key) -> Result<(), Error> {
        let request = self.report.request(&self.name);
        let cleared = self.store.clear(key).await;
        request.logout(&self.server_of(key), &cleared);
        cleared
    }

    fn server_of(&self, key: &Key) -> String {
        let map = self.store.map();
        map.server_of(key).unwrap_or("none").to_owned()
    }
}
