//! Opening a connection: each host in turn, and each of its addresses, until a server is suitable.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postgres::{
    CancelToken, Client, Config, NoTls,
    config::{SslMode as DriversSslMode, SslNegotiation},
};
use rand::{TryRng, rngs::SysRng};

use crate::{
    async_context::is_async_context,
    attempt::{Attempt, AttemptError, PasswordOrigin},
    deadline::Deadline,
    error::Error,
    libpq::password_file::{self, Entry},
    options::ConnectOptions,
    settings::{Host, Location, Password, Settings, TargetRole},
    ssl_mode::SslMode,
    stream::{Encryption, MakeStream},
    tls::{LastTls, Tls},
};

/// Whether the server is read-only, and whether it is a standby.
const ROLE: &str = "SELECT current_setting('transaction_read_only') = 'on', pg_is_in_recovery()";

/// Opens connections, all with the same options.
///
/// [`new`](Self::new) reads the environment and the service file. Each connection reads the password file and
/// the certificate files again, so they can be replaced while the program runs. The authorities that the operating
/// system trusts are read only if they are used, and not again for each connection, because there are many. Clones
/// share the options.
///
/// # Examples
///
/// ```no_run
/// use postgres_connect::{ConnectOptions, Connector};
///
/// let connector = Connector::new(&ConnectOptions::new().host("db.example.com"))?;
/// let mut client = connector.connect()?;
/// client.batch_execute("SELECT 1")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Connector {
    settings: Arc<Settings>,
    tls: Arc<LastTls>,
}

/// Opens one connection.
///
/// # Errors
///
/// The errors of [`Connector::new`] and [`Connector::connect`], and that of an invalid connection string.
///
/// # Examples
///
/// ```no_run
/// let mut client = postgres_connect::connect("postgresql://web@db.example.com/app")?;
/// client.batch_execute("SELECT 1")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect<O>(options: O) -> Result<Client, Error>
where
    O: TryInto<ConnectOptions>,
    O::Error: Into<Error>,
{
    Connector::new(&options.try_into().map_err(Into::into)?)?.connect()
}

/// One address of a host.
enum Address {
    /// The directory of a Unix socket.
    Directory(PathBuf),
    Ip(IpAddr),
}

impl Connector {
    /// Returns a connector for these options. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If an option is invalid or a file that it names cannot be read. See
    /// [`Error::is_invalid_option`].
    pub fn new(options: &ConnectOptions) -> Result<Connector, Error> {
        let connector = Connector {
            settings: Arc::new(Settings::new(options)?),
            tls: Arc::default(),
        };
        // An unreadable file is an error of the options and not of each connection.
        connector.encryptions().map_err(Error::invalid_option)?;
        Ok(connector)
    }

    /// Connects to the first suitable server, and blocks until it is ready for statements.
    ///
    /// Each address is tried for up to [`connect_timeout`](ConnectOptions::connect_timeout). If this thread has an
    /// earlier [`Deadline`], that limits the wait for the server's answers, but not the TCP handshake.
    ///
    /// The client blocks too when it executes a statement and when it is dropped. On an async task it panics.
    ///
    /// # Errors
    ///
    /// If no server is suitable. The error names every address that was tried, and why it failed. On an async task,
    /// [`Error::is_async_context`].
    pub fn connect(&self) -> Result<Client, Error> {
        // The driver panics on an async task, and if no file descriptor is left.
        catch_unwind(AssertUnwindSafe(|| self.try_all())).unwrap_or_else(|panic| {
            Err(match is_async_context(&*panic) {
                true => Error::async_context(),
                false => Error::panicked(),
            })
        })
    }

    /// Asks the server to cancel the running statement of a connection. The request has a connection of its
    /// own, with TLS if possible, and at most [`Deadline::GRACE`] of time.
    ///
    /// Returns whether the request is known to be over. Then it cannot cancel a later statement of the connection.
    pub(crate) fn cancel(&self, token: &CancelToken) -> bool {
        let mut encryptions = self.encryptions().unwrap_or_default();
        encryptions.sort_by_key(|encryption| matches!(encryption, Encryption::Never));
        let mut streams = encryptions.into_iter().map(MakeStream::for_cancel_request);
        let is_sent = Deadline::within(Duration::ZERO)
            .scope(|| streams.any(|stream| token.cancel_query(stream).is_ok()));
        is_sent && self.can_wait_for_cancel()
    }

    /// Whether a cancel request can wait until the server has closed its connection. The driver offers no way
    /// to do so on a Unix socket.
    pub(crate) fn can_wait_for_cancel(&self) -> bool {
        !self.settings.hosts.iter().any(Host::is_unix_socket)
    }

    fn try_all(&self) -> Result<Client, Error> {
        let mut attempts = Vec::new();
        'all: for role in self.settings.target_role.in_order() {
            for host in self.in_order(&self.settings.hosts) {
                if let Some(client) = self.try_host(host, *role, &mut attempts) {
                    return Ok(client);
                }
                // The other hosts have the same users. Like libpq, do not try a wrong password on each of
                // them, because that may lock the user out.
                if attempts.last().is_some_and(Attempt::is_rejected) {
                    break 'all;
                }
            }
        }
        let Settings { user, dbname, .. } = &*self.settings;
        Err(Error::of_attempts(user, dbname, &attempts))
    }

    fn try_host(
        &self,
        host: &Host,
        role: TargetRole,
        attempts: &mut Vec<Attempt>,
    ) -> Option<Client> {
        let addresses = match self.addresses(host) {
            Ok(addresses) => addresses,
            Err(error) => {
                attempts.push(Attempt::new(host.to_string(), error));
                return None;
            }
        };
        for (address, encryptions) in addresses {
            for encryption in encryptions {
                let stream = MakeStream::new(encryption);
                let attempt = || self.try_address(host, &address, &stream, role);
                let error = match self.within_connect_timeout(attempt) {
                    Ok(client) => return Some(client),
                    Err(error) => error,
                };
                let with_tls = stream.has_begun_tls();
                let is_last = !error.may_depend_on_tls()
                    || self.settings.tls.mode == SslMode::Prefer && !with_tls;
                attempts.push(Attempt::new(describe(host, &address, with_tls), error));
                if is_last {
                    break;
                }
            }
            if attempts.last().is_some_and(Attempt::is_rejected) {
                break;
            }
        }
        None
    }

    fn within_connect_timeout<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.settings.connect_timeout {
            // A stream ends its wait `GRACE` after the deadline.
            Some(timeout) => Deadline::within(timeout.saturating_sub(Deadline::GRACE)).scope(work),
            None => work(),
        }
    }

    fn try_address(
        &self,
        host: &Host,
        address: &Address,
        stream: &MakeStream,
        role: TargetRole,
    ) -> Result<Client, AttemptError> {
        let mut config = self.config();
        let origin = self.set_password(&mut config, host);
        let connected = match address {
            Address::Ip(ip) => {
                let address = SocketAddr::new(*ip, host.port);
                connect_tcp(config, &host.name_for_tls(*ip), address, stream)
            }
            Address::Directory(directory) => connect_unix(config, directory, host.port),
        };
        let checked = connected.and_then(|mut client| {
            let mismatch = mismatch(&mut client, role)?;
            Ok((client, mismatch))
        });
        match checked.map_err(|e| AttemptError::of_driver(&e, &origin))? {
            (client, None) => Ok(client),
            (_, Some(mismatch)) => Err(AttemptError::of_role(mismatch)),
        }
    }

    /// The part of the configuration that is the same for every address.
    fn config(&self) -> Config {
        let settings = &self.settings;
        let mut config = Config::new();
        config
            .user(&settings.user)
            .dbname(&settings.dbname)
            .channel_binding(settings.channel_binding)
            .keepalives(settings.keepalives.is_some());
        if let Some(options) = &settings.options {
            config.options(options);
        }
        if let Some(name) = &settings.application_name {
            config.application_name(name);
        }
        if let Some(timeout) = settings.connect_timeout {
            config.connect_timeout(timeout);
        }
        if let Some(timeout) = settings.tcp_user_timeout {
            config.tcp_user_timeout(timeout);
        }
        if let Some(keepalives) = &settings.keepalives {
            config.keepalives_idle(keepalives.idle);
            if let Some(interval) = keepalives.interval {
                config.keepalives_interval(interval);
            }
            if let Some(count) = keepalives.count {
                config.keepalives_retries(count);
            }
        }
        config
    }

    fn set_password(&self, config: &mut Config, host: &Host) -> PasswordOrigin {
        let settings = &self.settings;
        let file = match &settings.password {
            Password::Given(password, origin) => {
                config.password(password);
                return PasswordOrigin::Place((*origin).to_owned());
            }
            Password::InFile(None) => return PasswordOrigin::Nowhere(None),
            Password::InFile(Some(file)) => file,
        };
        let name = host.name_in_password_file();
        let entry = password_file::find(file, &name, host.port, &settings.dbname, &settings.user);
        match entry {
            Entry::Password(password) => {
                config.password(password);
                PasswordOrigin::Place(file.display().to_string())
            }
            Entry::Missing => PasswordOrigin::Nowhere(None),
            Entry::Ignored(why) => PasswordOrigin::Nowhere(Some(why)),
        }
    }

    /// The addresses of a host, each with the encryptions to try.
    fn addresses(&self, host: &Host) -> Result<Vec<(Address, Vec<Encryption>)>, AttemptError> {
        let addresses = match &host.location {
            Location::Directory(directory) => {
                let address = Address::Directory(directory.clone());
                return Ok(vec![(address, vec![Encryption::Never])]);
            }
            Location::Address(ip) => vec![*ip],
            Location::Name => (host.name.as_str(), host.port)
                .to_socket_addrs()
                .map_err(|e| AttemptError::of_lookup(&e))?
                .map(|address| address.ip())
                .collect(),
        };
        let encryptions = self.encryptions().map_err(AttemptError::of_tls)?;
        let addresses = self.in_order(&addresses).into_iter();
        Ok(addresses
            .map(|ip| (Address::Ip(*ip), encryptions.clone()))
            .collect())
    }

    /// The encryptions to try on TCP, in order.
    fn encryptions(&self) -> Result<Vec<Encryption>, String> {
        let mode = self.settings.tls.mode;
        let tls = || self.tls.get(&self.settings.tls);
        Ok(match mode {
            mode if mode.allows_plain() && !Tls::IS_AVAILABLE => vec![Encryption::Never],
            SslMode::Disable => vec![Encryption::Never],
            SslMode::Allow => vec![Encryption::Never, Encryption::Always(tls()?)],
            SslMode::Prefer => vec![Encryption::IfSupported(tls()?), Encryption::Never],
            _ => vec![Encryption::Always(tls()?)],
        })
    }

    /// All of them in order, or in random order if `load_balance_hosts` asks for that.
    fn in_order<'a, T>(&self, all: &'a [T]) -> Vec<&'a T> {
        let mut all: Vec<_> = all.iter().collect();
        if self.settings.is_random_order {
            all.sort_by_cached_key(|_| SysRng.try_next_u64().unwrap_or_default());
        }
        all
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.settings.hosts.iter().map(Host::to_string).collect();
        f.debug_struct("Connector").field("hosts", &hosts).finish()
    }
}

/// Connects by TCP. The driver believes that [`MakeStream`] is TLS which begins at once.
fn connect_tcp(
    mut config: Config,
    name: &str,
    address: SocketAddr,
    stream: &MakeStream,
) -> Result<Client, postgres::Error> {
    config
        .host(name)
        .hostaddr(address.ip())
        .port(address.port())
        .ssl_mode(DriversSslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct)
        .connect(stream.clone())
}

fn connect_unix(
    mut config: Config,
    directory: &Path,
    port: u16,
) -> Result<Client, postgres::Error> {
    config
        .host(&directory.to_string_lossy())
        .port(port)
        .ssl_mode(DriversSslMode::Disable)
        .connect(NoTls)
}

/// Why a server is not suitable.
fn mismatch(
    client: &mut Client,
    role: TargetRole,
) -> Result<Option<&'static str>, postgres::Error> {
    if role == TargetRole::Any {
        return Ok(None);
    }
    let rows = client.query_typed(ROLE, &[])?;
    match rows.first() {
        Some(row) => Ok(role.mismatch(row.try_get(0)?, row.try_get(1)?)),
        None => Ok(None),
    }
}

/// The address of an attempt in the error.
fn describe(host: &Host, address: &Address, with_tls: bool) -> String {
    let tls = if with_tls { ", with TLS" } else { "" };
    match address {
        Address::Ip(ip) if host.name_for_tls(*ip) != ip.to_string() => {
            format!("{host} ({ip}{tls})")
        }
        _ => format!("{host}{tls}"),
    }
}
