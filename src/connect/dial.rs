//! Making a connection: host by host, address by address, until one is as wanted.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use postgres::{
    CancelToken, Client, Config, NoTls,
    config::{SslMode as DriversSslMode, SslNegotiation},
};
use rand::{TryRng, rngs::SysRng};

use super::{
    detour::{self, Detour, TO_ITSELF},
    error::{Attempt, ConnectError, Failure, PasswordOrigin},
    hosts::{Host, Place},
    options::{ConnectOptions, SslMode},
    passfile::{self, Found},
    plan::{Password, Plan, Wanted},
    tls::Tls,
    wire::{Connector, Encryption},
};
use crate::{
    Error,
    deadline::{Deadline, GRACE},
};

/// What decides whether a server is as wanted.
const ROLE: &str = "SELECT current_setting('transaction_read_only') = 'on', pg_is_in_recovery()";

/// Makes connections, all in the same way.
pub(crate) struct Dialer {
    plan: Plan,
    /// Where there are Unix sockets to connect to.
    detour: Option<Detour>,
}

/// One place where a host may be.
enum Address {
    Folder(PathBuf),
    Ip(IpAddr),
}

impl Dialer {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Dialer, Error> {
        let plan = Plan::of(options)?;
        let is_local = plan.hosts.iter().any(Host::is_local);
        let detour = is_local.then(Detour::open).flatten();
        let dialer = Dialer { plan, detour };
        // Files that cannot be read are the caller's to mend, like any other option.
        dialer.tries().map_err(Error::InvalidOption)?;
        Ok(dialer)
    }

    /// A connection to the first server that is as wanted.
    pub(crate) fn dial(&self) -> Result<Client, ConnectError> {
        let mut attempts = Vec::new();
        'all: for wanted in self.plan.wanted.in_turn() {
            for host in self.in_order(&self.plan.hosts) {
                if let Some(client) = self.dial_host(host, *wanted, &mut attempts) {
                    return Ok(client);
                }
                // The others have the same users: libpq goes no further, lest it locks one out.
                if attempts.last().is_some_and(Attempt::is_unwelcome) {
                    break 'all;
                }
            }
        }
        let Plan { user, dbname, .. } = &self.plan;
        Err(ConnectError::new(user, dbname, &attempts))
    }

    /// Has the server cancel what a connection does, by a connection as those that are dialled, with TLS if
    /// that can be had. Gives up if the server cannot be reached soon. Returns whether the request is known to
    /// be over.
    pub(crate) fn cancel(&self, token: &CancelToken) -> bool {
        let mut tries = self.tries().unwrap_or_default();
        tries.sort_by_key(|encryption| matches!(encryption, Encryption::Never));
        let cancel = || {
            let mut tries = tries.into_iter().map(Connector::for_cancelling);
            tries.any(|connector| token.cancel_query(connector).is_ok())
        };
        // The server has as long as a call waits for it to confirm that it was cancelled.
        let is_sent = Deadline::within(Duration::ZERO).of(|| match &self.detour {
            Some(detour) => detour.lend(|_| cancel()),
            None => cancel(),
        });
        is_sent && self.cancels_patiently()
    }

    /// Whether a request to cancel waits until the server has passed it on: on a Unix socket without a
    /// detour the driver sees to it alone.
    pub(crate) fn cancels_patiently(&self) -> bool {
        self.detour().is_some() || !self.plan.hosts.iter().any(Host::is_local)
    }

    fn detour(&self) -> Option<&Detour> {
        self.detour.as_ref().filter(|detour| !detour.is_closed())
    }

    /// Does `work` with the server, which has to answer in time.
    fn in_time<T>(&self, work: impl FnOnce() -> T) -> T {
        match self.plan.connect_timeout {
            // The server is given up so long after the deadline.
            Some(timeout) => Deadline::within(timeout.saturating_sub(GRACE)).of(work),
            None => work(),
        }
    }

    fn dial_host(
        &self,
        host: &Host,
        wanted: Wanted,
        attempts: &mut Vec<Attempt>,
    ) -> Option<Client> {
        let ways = match self.ways(host) {
            Ok(ways) => ways,
            Err(failure) => {
                attempts.push(Attempt::new(host.to_string(), failure));
                return None;
            }
        };
        for (address, tries) in ways {
            for encryption in tries {
                let connector = Connector::new(encryption);
                let attempt = || self.attempt(host, &address, &connector, wanted);
                let failure = match self.in_time(attempt) {
                    Ok(client) => return Some(client),
                    Err(failure) => failure,
                };
                let with_tls = connector.has_begun_tls();
                let is_over = !failure.may_be_about_tls()
                    || self.plan.tls.mode == SslMode::Prefer && !with_tls;
                attempts.push(Attempt::new(place(host, &address, with_tls), failure));
                if is_over {
                    break;
                }
            }
            if attempts.last().is_some_and(Attempt::is_unwelcome) {
                break;
            }
        }
        None
    }

    fn attempt(
        &self,
        host: &Host,
        address: &Address,
        connector: &Connector,
        wanted: Wanted,
    ) -> Result<Client, Failure> {
        let mut config = Config::new();
        let origin = self.configure(&mut config, host);
        let connected = match address {
            Address::Ip(ip) => {
                let address = SocketAddr::new(*ip, host.port);
                connect(config, &host.name_for_tls(*ip), address, connector)
            }
            Address::Folder(folder) => self.connect_locally(config, folder, host.port, connector),
        };
        let mut client = connected.map_err(|e| Failure::of_driver(&e, &origin))?;
        let mismatch = mismatch(&mut client, wanted);
        match mismatch.map_err(|e| Failure::of_driver(&e, &origin))? {
            None => Ok(client),
            Some(what) => Err(Failure::of_role(what)),
        }
    }

    fn connect_locally(
        &self,
        mut config: Config,
        folder: &Path,
        port: u16,
        connector: &Connector,
    ) -> Result<Client, postgres::Error> {
        if let Some(detour) = self.detour() {
            let mut config = config.clone();
            config.connect_timeout(TO_ITSELF);
            let name = detour::name(folder, port);
            let connected = detour.lend(|address| connect(config, &name, address, connector));
            if connected.is_ok() || connector.is_reached() {
                return connected;
            }
        }
        let connected = config
            .host(&folder.to_string_lossy())
            .port(port)
            .ssl_mode(DriversSslMode::Disable)
            .connect(NoTls);
        // Where this fails too, for want of file descriptors or so, it was not the detour's fault.
        if let (Some(detour), Ok(_)) = (self.detour(), &connected) {
            detour.close();
        }
        connected
    }

    /// What is the same for every address of a host; says where the password comes from.
    fn configure(&self, config: &mut Config, host: &Host) -> PasswordOrigin {
        let plan = &self.plan;
        config
            .user(&plan.user)
            .dbname(&plan.dbname)
            .channel_binding(plan.channel_binding)
            .keepalives(plan.keepalives.is_some());
        if let Some(options) = &plan.options {
            config.options(options);
        }
        if let Some(name) = &plan.application_name {
            config.application_name(name);
        }
        if let Some(timeout) = plan.connect_timeout {
            config.connect_timeout(timeout);
        }
        if let Some(timeout) = plan.tcp_user_timeout {
            config.tcp_user_timeout(timeout);
        }
        if let Some(keepalives) = &plan.keepalives {
            config.keepalives_idle(keepalives.idle);
            keepalives
                .interval
                .map(|interval| config.keepalives_interval(interval));
            keepalives
                .count
                .map(|count| config.keepalives_retries(count));
        }
        let file = match &plan.password {
            Password::Given(password, origin) => {
                config.password(password);
                return PasswordOrigin::Place((*origin).to_owned());
            }
            Password::In(None) => return PasswordOrigin::Nowhere(None),
            Password::In(Some(file)) => file,
        };
        let name = host.name_for_passwords();
        match passfile::find(file, &name, host.port, &plan.dbname, &plan.user) {
            Found::Password(password) => {
                config.password(password);
                PasswordOrigin::Place(file.display().to_string())
            }
            Found::Nothing => PasswordOrigin::Nowhere(None),
            Found::Ignored(why) => PasswordOrigin::Nowhere(Some(why)),
        }
    }

    /// The addresses of a host, and how to try each of them.
    fn ways(&self, host: &Host) -> Result<Vec<(Address, Vec<Encryption>)>, Failure> {
        let addresses = match &host.place {
            Place::Folder(folder) => {
                let address = Address::Folder(folder.clone());
                return Ok(vec![(address, vec![Encryption::Never])]);
            }
            Place::Address(ip) => vec![*ip],
            Place::Name => (host.name.as_str(), host.port)
                .to_socket_addrs()
                .map_err(|e| Failure::of_lookup(&e))?
                .map(|address| address.ip())
                .collect(),
        };
        let tries = self.tries().map_err(Failure::of_tls)?;
        let addresses = self.in_order(&addresses).into_iter();
        Ok(addresses
            .map(|ip| (Address::Ip(*ip), tries.clone()))
            .collect())
    }

    /// With and without TLS, in the order of trying.
    fn tries(&self) -> Result<Vec<Encryption>, String> {
        let tls = &self.plan.tls;
        Ok(match tls.mode {
            mode if mode.can_do_without() && !Tls::IS_THERE => vec![Encryption::Never],
            SslMode::Disable => vec![Encryption::Never],
            SslMode::Allow => vec![Encryption::Never, Encryption::Always(Tls::new(tls)?)],
            SslMode::Prefer => vec![Encryption::Offered(Tls::new(tls)?), Encryption::Never],
            _ => vec![Encryption::Always(Tls::new(tls)?)],
        })
    }

    /// As they are, or as chance has it.
    fn in_order<'a, T>(&self, all: &'a [T]) -> Vec<&'a T> {
        let mut all: Vec<_> = all.iter().collect();
        if self.plan.shuffled {
            all.sort_by_cached_key(|_| SysRng.try_next_u64().unwrap_or_default());
        }
        all
    }
}

/// Connects by TCP. To the driver, the connector is TLS that begins at once.
fn connect(
    mut config: Config,
    name: &str,
    address: SocketAddr,
    connector: &Connector,
) -> Result<Client, postgres::Error> {
    config
        .host(name)
        .hostaddr(address.ip())
        .port(address.port())
        .ssl_mode(DriversSslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct)
        .connect(connector.clone())
}

/// Why a server is not as wanted, if it is not.
fn mismatch(client: &mut Client, wanted: Wanted) -> Result<Option<&'static str>, postgres::Error> {
    if wanted == Wanted::Any {
        return Ok(None);
    }
    let rows = client.query_typed(ROLE, &[])?;
    match rows.first() {
        Some(row) => Ok(wanted.mismatch(row.try_get(0)?, row.try_get(1)?)),
        None => Ok(None),
    }
}

/// Where an attempt was made, for the error.
fn place(host: &Host, address: &Address, with_tls: bool) -> String {
    let tls = if with_tls { ", with TLS" } else { "" };
    match address {
        Address::Ip(ip) if host.name_for_tls(*ip) != ip.to_string() => {
            format!("{host} ({ip}{tls})")
        }
        _ => format!("{host}{tls}"),
    }
}

#[cfg(test)]
mod tests {
    use throwaway_postgres::Server;

    use super::*;

    #[test]
    fn a_detour_that_leads_nowhere_any_more_is_not_taken_again() {
        let server = Server::start().expect("a server");
        let options = server.url().parse().expect("options");
        let mut dialer = Dialer::new(&options).expect("a dialer");
        assert!(dialer.cancels_patiently());
        dialer.detour = Some(Detour::to_nowhere());
        for _ in 0..2 {
            let mut client = dialer.dial().expect("a connection");
            client.batch_execute("SELECT 1").expect("an answer");
            assert!(!dialer.cancels_patiently());
        }
    }
}
