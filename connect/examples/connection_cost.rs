//! Measures what a connection costs: the CPU time of this program for one, and the time to open all connections of
//! a pool of 8 and of 32.
//!
//! ```text
//! tests/with-postgres cargo run --release -p postgres-connect --features tls --example connection_cost
//! ```
//!
//! It reads the CPU time from `/proc`, so it only runs on Linux.

use std::{
    env,
    error::Error,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use postgres_connect::{ConnectOptions, ConnectionManager, Connector, SslMode, r2d2::Pool};
use throwaway_postgres::{Server, certificates::Ca};

const CONNECTIONS: u32 = 100;

/// Where Debian and its derivatives keep the certificates of all authorities that they trust.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

fn main() -> Result<(), Box<dyn Error>> {
    match env::var("MEASURED_URL") {
        Ok(url) => measure(&url),
        Err(_) => start(),
    }
}

/// Starts the server, and this program again with the certificates in its environment.
fn start() -> Result<(), Box<dyn Error>> {
    let ca = Ca::new("ours")?;
    let pair = ca.server(&["db.test"])?;
    let server = Server::builder()
        .tcp(true)
        .hba("host all all 127.0.0.1/32 trust")
        .tls(&pair.cert_pem, &pair.key_pem, None)
        .start()?;
    let files = env::temp_dir().join(format!("connection-cost-{}", std::process::id()));
    fs::create_dir(&files)?;
    let (one, many) = (files.join("one.pem"), files.join("many.pem"));
    fs::write(&one, ca.pem())?;
    fs::write(&many, fs::read_to_string(SYSTEM)? + ca.pem())?;
    let measured = Command::new(env::current_exe()?)
        .env("MEASURED_URL", server.tcp_url().ok_or("no TCP")?)
        .env("ONE_ROOT", &one)
        .env("SSL_CERT_FILE", &many)
        .status();
    fs::remove_dir_all(&files)?;
    match measured?.success() {
        true => Ok(()),
        false => Err("the measurement failed".into()),
    }
}

fn measure(url: &str) -> Result<(), Box<dyn Error>> {
    let options: ConnectOptions = url.parse()?;
    let options = options.host("db.test").hostaddr("127.0.0.1");
    let trusting = |roots: &str| {
        let options = options.clone().sslmode(SslMode::VerifyFull);
        options.set("sslrootcert", roots)
    };
    let mut cases = vec![("disable", options.clone().sslmode(SslMode::Disable))];
    if cfg!(any(feature = "tls", feature = "rustls")) {
        cases.push(("require", options.clone().sslmode(SslMode::Require)));
        cases.push(("verify-full, one root", trusting(&env::var("ONE_ROOT")?)?));
        let many = env::var("SSL_CERT_FILE")?;
        cases.push(("verify-full, many roots", trusting(&many)?));
        cases.push(("verify-full, system", trusting("system")?));
    }
    for (name, options) in cases {
        let begun = cpu()?;
        let connector = Connector::new(&options)?;
        drop(connector.connect()?);
        let first = millis(cpu()? - begun);
        let begun = cpu()?;
        for _ in 0..CONNECTIONS {
            drop(connector.connect()?);
        }
        let next = millis((cpu()? - begun) / CONNECTIONS);
        print!("{name:<24} CPU of the first {first:5.1} ms, of others {next:5.2} ms;");
        for size in [8, 32] {
            let manager = ConnectionManager::new(connector.clone());
            let begun = Instant::now();
            let pool = Pool::builder().max_size(size).build(manager)?;
            assert_eq!(pool.state().connections, size);
            print!(" {size} in {:4.0} ms", millis(begun.elapsed()));
        }
        println!();
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time that this thread has used a CPU.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().ok_or("empty")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
