//! What options come to, once the environment and the defaults have filled the gaps.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use postgres::config::ChannelBinding;

use super::{
    environment::Environment,
    keyword::{self, KEYWORDS, Use},
    options::{ConnectOptions, SslMode, Values, refused},
    service,
    tls::{Identity, Roots, TlsOptions},
};
use crate::Error;

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// How to connect, with nothing left open.
pub(super) struct Plan {
    pub(super) hosts: Vec<Host>,
    /// Whether hosts and addresses are tried in an order of chance.
    pub(super) shuffled: bool,
    pub(super) user: String,
    pub(super) dbname: String,
    pub(super) password: Password,
    pub(super) options: Option<String>,
    pub(super) application_name: Option<String>,
    /// None waits for ever.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) tcp_user_timeout: Option<Duration>,
    pub(super) keepalives: Option<Keepalives>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) tls: TlsOptions,
    pub(super) wanted: Wanted,
}

pub(super) struct Host {
    /// As TLS, the password file and the user know it; empty where only an address is given.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// The folder of a Unix socket.
    Folder(PathBuf),
    /// Where the name leads to.
    Name,
    Address(IpAddr),
}

impl Host {
    /// What its certificate has to be made out to.
    pub(super) fn name_for_tls(&self, ip: IpAddr) -> String {
        if self.name.is_empty() || self.name.starts_with('/') {
            ip.to_string()
        } else {
            self.name.clone()
        }
    }

    /// As the password file calls it.
    pub(super) fn name_for_passwords(&self) -> String {
        match &self.place {
            Place::Address(ip) if self.name.is_empty() => ip.to_string(),
            _ => self.name.clone(),
        }
    }
}

/// As it was called, for errors.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(folder) => {
                write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port)
            }
            Place::Address(ip) if self.name.is_empty() => {
                write!(f, "{}", SocketAddr::new(*ip, self.port))
            }
            _ => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

pub(super) enum Password {
    /// And where it comes from.
    Given(String, &'static str),
    /// What this file says.
    In(Option<PathBuf>),
}

pub(super) struct Keepalives {
    pub(super) idle: Duration,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
}

/// What a server has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Wanted {
    /// What to look for first, and what then.
    pub(super) fn in_turn(self) -> &'static [Wanted] {
        match self {
            Wanted::Any => &[Wanted::Any],
            Wanted::ReadWrite => &[Wanted::ReadWrite],
            Wanted::ReadOnly => &[Wanted::ReadOnly],
            Wanted::Primary => &[Wanted::Primary],
            Wanted::Standby => &[Wanted::Standby],
            Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any],
        }
    }

    /// What is wrong with a server, if something is.
    pub(super) fn mismatch(self, is_read_only: bool, follows: bool) -> Option<&'static str> {
        match self {
            Wanted::ReadWrite if is_read_only => Some("the server is read-only"),
            Wanted::ReadOnly if !is_read_only => Some("the server is not read-only"),
            Wanted::Primary if follows => Some("the server is a standby"),
            Wanted::Standby if !follows => Some("the server is no standby"),
            _ => None,
        }
    }
}

impl Plan {
    pub(super) fn of(options: &ConnectOptions) -> Result<Plan, Error> {
        Plan::within(options, &Environment::of_process())
    }

    fn within(options: &ConnectOptions, environment: &Environment) -> Result<Plan, Error> {
        let found = Found::of(options, environment)?;
        let user = match found.value("user") {
            Some(user) => user,
            None => environment.user.clone().map_err(|why| {
                invalid(&format!(
                    "no user is given, and the system's is not known: {why}"
                ))
            })?,
        };
        let keepalives = found.number("keepalives")?.unwrap_or(1i64) != 0;
        Ok(Plan {
            hosts: hosts(&found)?,
            shuffled: found
                .one_of(
                    "load_balance_hosts",
                    &[("disable", false), ("random", true)],
                )?
                .unwrap_or(false),
            dbname: found.value("dbname").unwrap_or_else(|| user.clone()),
            user,
            password: password(&found, environment),
            options: found.value("options"),
            application_name: found
                .value("application_name")
                .or_else(|| found.value("fallback_application_name")),
            connect_timeout: match found.number::<i64>("connect_timeout")? {
                None => Some(DEFAULT_CONNECT_TIMEOUT),
                Some(seconds) => u64::try_from(seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
            },
            tcp_user_timeout: match found.number("tcp_user_timeout")? {
                None => Some(DEFAULT_TCP_USER_TIMEOUT),
                Some(0) => None,
                Some(millis) => Some(Duration::from_millis(millis)),
            },
            keepalives: if keepalives {
                Some(Keepalives {
                    idle: found
                        .number("keepalives_idle")?
                        .filter(|seconds| *seconds > 0)
                        .map_or(DEFAULT_KEEPALIVES_IDLE, Duration::from_secs),
                    interval: found
                        .number("keepalives_interval")?
                        .filter(|seconds| *seconds > 0)
                        .map(Duration::from_secs),
                    count: found.number("keepalives_count")?.filter(|count| *count > 0),
                })
            } else {
                None
            },
            channel_binding: found
                .one_of(
                    "channel_binding",
                    &[
                        ("disable", ChannelBinding::Disable),
                        ("prefer", ChannelBinding::Prefer),
                        ("require", ChannelBinding::Require),
                    ],
                )?
                .unwrap_or(ChannelBinding::Prefer),
            tls: tls(&found, environment)?,
            wanted: found
                .one_of(
                    "target_session_attrs",
                    &[
                        ("any", Wanted::Any),
                        ("read-write", Wanted::ReadWrite),
                        ("read-only", Wanted::ReadOnly),
                        ("primary", Wanted::Primary),
                        ("standby", Wanted::Standby),
                        ("prefer-standby", Wanted::PreferStandby),
                    ],
                )?
                .unwrap_or(Wanted::Any),
        })
    }
}

/// The values of keywords, from the nearest place that has one.
struct Found<'a> {
    given: &'a Values,
    service: Values,
    environment: &'a Environment,
}

impl<'a> Found<'a> {
    fn of(options: &'a ConnectOptions, environment: &'a Environment) -> Result<Found<'a>, Error> {
        let mut found = Found {
            given: options.conninfo.as_ref().unwrap_or(&options.given),
            service: Values::new(),
            environment,
        };
        for keyword in KEYWORDS {
            let value = keyword.variable.and_then(|name| environment.variable(name));
            if keyword.usage == Use::Refused && value.is_some() {
                return Err(refused(keyword.variable.unwrap_or(keyword.name)));
            }
        }
        if let Some(name) = found.value("service") {
            found.service = service(&name, &found)?;
        }
        if found.given.values().any(|value| value.contains('\0')) {
            return Err(invalid("no value may have a NUL in it"));
        }
        if found.value("gssencmode").as_deref() == Some("require") {
            return Err(invalid(
                "gssencmode=require: encryption by GSSAPI is not supported",
            ));
        }
        Ok(found)
    }

    /// The value of a keyword; an empty one is none.
    fn value(&self, keyword: &str) -> Option<String> {
        self.chosen(keyword).or_else(|| {
            let variable = keyword::find(keyword)?.variable?;
            self.environment.variable(variable)
        })
    }

    /// As [`value`](Self::value), where it does not come from the environment.
    fn chosen(&self, keyword: &str) -> Option<String> {
        [self.given, &self.service]
            .iter()
            .find_map(|values| values.get(keyword).filter(|value| !value.is_empty()))
            .cloned()
    }

    fn number<T: FromStr>(&self, keyword: &str) -> Result<Option<T>, Error> {
        self.value(keyword)
            .map(|value| value.trim().parse())
            .transpose()
            .map_err(|_| invalid(&format!("{keyword} is not a whole number, or out of range")))
    }

    fn one_of<T: Copy>(&self, keyword: &str, values: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(given) = self.value(keyword) else {
            return Ok(None);
        };
        match values.iter().find(|(name, _)| *name == given) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
                Err(invalid(&format!(
                    "{keyword} is none of {}",
                    names.join(", ")
                )))
            }
        }
    }

    /// A file that is named, or else the user's own of this name.
    fn file(&self, keyword: &str, default: &str) -> Option<PathBuf> {
        self.value(keyword)
            .map(PathBuf::from)
            .or_else(|| self.environment.tls_file(default))
    }

    fn list(&self, keyword: &str) -> Vec<String> {
        self.value(keyword)
            .map(|list| list.split(',').map(|part| part.trim().to_owned()).collect())
            .unwrap_or_default()
    }
}

fn invalid(what: &str) -> Error {
    Error::InvalidOption(what.to_owned())
}

fn service(name: &str, found: &Found<'_>) -> Result<Values, Error> {
    let file = found.value("servicefile").map(PathBuf::from);
    let system = found
        .environment
        .variable("PGSYSCONFDIR")
        .map(PathBuf::from);
    let places = service::Places {
        file: file.as_deref(),
        user_file: found.environment.service_file.as_deref(),
        system_folder: system.as_deref(),
    };
    let pairs = service::read(name, places).map_err(Error::InvalidOption)?;
    let mut values = Values::new();
    for (keyword, value) in pairs {
        match keyword::find(&keyword) {
            None => {
                return Err(invalid(&format!(
                    "the service {name:?} has a keyword that libpq does not know"
                )));
            }
            Some(known) if known.usage == Use::Refused => return Err(refused(known.name)),
            Some(known) => values.insert(known.name, value),
        };
    }
    Ok(values)
}

fn hosts(found: &Found<'_>) -> Result<Vec<Host>, Error> {
    let names = found.list("host");
    let addresses = found.list("hostaddr");
    let ports = found.list("port");
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(invalid(&format!(
            "there are {} hosts for {} addresses of hosts: each needs one",
            names.len(),
            addresses.len()
        )));
    }
    let count = names.len().max(addresses.len()).max(1);
    if ports.len() > 1 && ports.len() != count {
        return Err(invalid(&format!(
            "there are {} ports for {count} hosts: give one for all, or one for each",
            ports.len()
        )));
    }
    (0..count)
        .map(|place| {
            let name = names.get(place).cloned().unwrap_or_default();
            let address = addresses.get(place).map_or("", String::as_str);
            let port = ports
                .get(place)
                .or(ports.first())
                .map_or("", String::as_str);
            host(name, address, port)
        })
        .collect()
}

fn host(name: String, address: &str, port: &str) -> Result<Host, Error> {
    let port = match port {
        "" => DEFAULT_PORT,
        port => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| invalid("port is not a number from 1 to 65535"))?,
    };
    if !address.is_empty() {
        let address = address
            .parse()
            .map_err(|_| invalid("hostaddr is not an IP address"))?;
        return Ok(Host {
            name,
            place: Place::Address(address),
            port,
        });
    }
    if name.starts_with('@') {
        return Err(invalid(
            "sockets in the abstract namespace are not supported",
        ));
    }
    if cfg!(unix) && name.starts_with('/') {
        let place = Place::Folder(PathBuf::from(&name));
        return Ok(Host { name, place, port });
    }
    if !name.is_empty() {
        let place = Place::Name;
        return Ok(Host { name, place, port });
    }
    if cfg!(unix) {
        let name = default_folder().to_owned();
        let place = Place::Folder(PathBuf::from(&name));
        return Ok(Host { name, place, port });
    }
    let name = "localhost".to_owned();
    let place = Place::Name;
    Ok(Host { name, place, port })
}

/// Where PostgreSQL's own packages, and then PostgreSQL itself, have the socket.
fn default_folder() -> &'static str {
    const PACKAGED: &str = "/var/run/postgresql";
    if Path::new(PACKAGED).is_dir() {
        PACKAGED
    } else {
        "/tmp"
    }
}

fn password(found: &Found<'_>, environment: &Environment) -> Password {
    if let Some(password) = found.chosen("password") {
        return Password::Given(password, "the options");
    }
    if let Some(password) = environment.variable("PGPASSWORD") {
        return Password::Given(password, "PGPASSWORD");
    }
    let file = found.value("passfile").map(PathBuf::from);
    Password::In(file.or_else(|| environment.passfile.clone()))
}

fn tls(found: &Found<'_>, environment: &Environment) -> Result<TlsOptions, Error> {
    let modes = SslMode::ALL.map(|mode| (mode.name(), mode));
    let named = found.one_of("sslmode", &modes)?;
    let is_required = |value: Option<String>| value.is_some_and(|value| value.starts_with('1'));
    let mut mode = named.unwrap_or(SslMode::Prefer);
    // It asks for more, never for less; and of the environment's two variables the newer one counts.
    if is_required(found.chosen("requiressl"))
        || named.is_none() && is_required(environment.variable("PGREQUIRESSL"))
    {
        mode = mode.max(SslMode::Require);
    }
    let roots = match found.file("sslrootcert", "root.crt") {
        Some(file) if file.as_os_str() == "system" => Roots::Systems,
        Some(file) => Roots::File(file),
        None => Roots::Nobodys,
    };
    if roots == Roots::Systems && mode != SslMode::VerifyFull {
        if named.is_some() {
            return Err(invalid(
                "sslrootcert=system needs sslmode=verify-full: anybody can have a certificate of some name",
            ));
        }
        mode = SslMode::VerifyFull;
    }
    if roots == Roots::Nobodys && mode >= SslMode::VerifyCa {
        return Err(invalid(&format!(
            "sslmode={} needs root certificates: name their file with sslrootcert, or take the system's \
             with sslrootcert=system",
            mode.name()
        )));
    }
    let begins_at_once = found
        .one_of("sslnegotiation", &[("postgres", false), ("direct", true)])?
        .unwrap_or(false);
    if begins_at_once && mode < SslMode::Require {
        return Err(invalid(
            "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full",
        ));
    }
    let certificate = found.file("sslcert", "postgresql.crt");
    let identity = match (certificate, found.file("sslkey", "postgresql.key")) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate,
            key,
            key_password: found.value("sslpassword"),
        }),
        (Some(_), None) => {
            return Err(invalid(
                "there is a client's certificate, but no key to it: name its file with sslkey",
            ));
        }
        (None, _) => None,
    };
    Ok(TlsOptions {
        mode,
        roots,
        revoked: found.file("sslcrl", "root.crl"),
        identity,
        sends_name: found.number("sslsni")?.unwrap_or(1i64) != 0,
        begins_at_once,
    })
}
