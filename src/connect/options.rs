//! How to connect: the arguments of the original's `connect`, and what else libpq takes.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::{
    conninfo::{self, Pair},
    keyword::{self, Use},
};
use crate::Error;

/// How to connect: a builder with the arguments of the original's `connect`, and with whatever else
/// libpq takes, by [`set`](Self::set) or in a connection string.
///
/// What is not given comes from libpq's environment variables (`PGHOST`, `PGUSER` and so on, see the
/// table in the [crate's documentation](crate#connect)), the password from the password file, and the
/// rest from defaults. All of it is read when a store is made; the password file and the files of
/// certificates again with every connection, so that they can be changed while the program runs.
/// An empty value counts as none.
///
/// No value can bring in another option: each is kept by itself, and never becomes part of a text.
///
/// # Examples
///
/// ```no_run
/// use session_postgres::{ConnectOptions, PostgresStore, SslMode};
///
/// let options = ConnectOptions::new()
///     .host("db1.example.com,db2.example.com")
///     .dbname("app")
///     .user("web")
///     .sslmode(SslMode::VerifyFull)
///     .set("sslrootcert", "/etc/app/ca.pem")?
///     .set("target_session_attrs", "read-write")?;
/// let store = PostgresStore::connect(options)?;
///
/// // The same, as a connection string.
/// let options: ConnectOptions =
///     "postgresql://web@db1.example.com,db2.example.com/app?sslmode=verify-full\
///      &sslrootcert=/etc/app/ca.pem&target_session_attrs=read-write"
///         .parse()?;
/// # Ok::<(), session_postgres::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing until a store is connected with them"]
pub struct ConnectOptions {
    given: Values,
    /// In the place of the original's arguments.
    conninfo: Option<Values>,
    startonly: bool,
}

/// The keywords that are arguments of the original's `connect`.
const ARGUMENTS: [&str; 9] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    "tty",
    "requiressl",
];

/// Values by the names of their keywords.
pub(super) type Values = BTreeMap<&'static str, String>;

impl ConnectOptions {
    /// Options that leave all to the environment and to the defaults.
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Sets the name of the server's host, which TLS checks against its certificate; or, where it
    /// begins with `/`, the folder of its Unix socket. May be several, with commas between them, which
    /// are tried in order.
    ///
    /// Defaults to `/var/run/postgresql` where there is such a folder, else `/tmp`; on Windows to
    /// `localhost`.
    pub fn host(self, names: &str) -> Self {
        self.with("host", names)
    }

    /// Sets the server's address, so that its name need not be looked up; [`host`](Self::host) then
    /// serves TLS and the password file. As many as there are hosts, with commas between them.
    pub fn hostaddr(self, addresses: &str) -> Self {
        self.with("hostaddr", addresses)
    }

    /// Sets the port: one for all hosts, or as many as there are, with commas between them.
    ///
    /// Defaults to 5432.
    pub fn port(self, ports: impl fmt::Display) -> Self {
        self.with("port", &ports.to_string())
    }

    /// Sets the name of the database.
    ///
    /// Defaults to the user's name.
    pub fn dbname(self, name: &str) -> Self {
        self.with("dbname", name)
    }

    /// Sets the user.
    ///
    /// Defaults to the operating system's name of who runs the program.
    pub fn user(self, name: &str) -> Self {
        self.with("user", name)
    }

    /// Sets the password.
    ///
    /// Defaults to what the password file has for host, port, database and user: the file that
    /// `passfile` or `PGPASSFILE` names, else `~/.pgpass`. As in libpq, the file is left unread where
    /// others may read it.
    pub fn password(self, password: &str) -> Self {
        self.with("password", password)
    }

    /// Sets command-line options for the server's process, such as `-c work_mem=8MB`; a blank within a
    /// value has a backslash before it.
    pub fn options(self, options: &str) -> Self {
        self.with("options", options)
    }

    /// Does nothing. The original has it, and libpq took no notice of it before it was taken out there.
    pub fn tty(self, tty: &str) -> Self {
        self.with("tty", tty)
    }

    /// Asks for TLS, as [`SslMode::Require`], where it begins with `1`; else changes nothing.
    pub fn requiressl(self, requiressl: &str) -> Self {
        self.with("requiressl", requiressl)
    }

    /// Takes a connection string, `key=value` pairs or a URL, in the place of every other argument of the
    /// original's `connect` but [`startonly`](Self::startonly): from [`host`](Self::host) to
    /// [`requiressl`](Self::requiressl), be they set before or after. A string that these shall add to is
    /// parsed: `text.parse::<ConnectOptions>()`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where it cannot be parsed, or has a keyword that libpq does not know or
    /// that is not supported.
    pub fn conninfo(mut self, conninfo: &str) -> Result<Self, Error> {
        self.conninfo = Some(parse(conninfo)?);
        Ok(self)
    }

    /// Whether to return without a connection: the first call that needs one makes it. Where that fails,
    /// the call is [`Error::TimedOut`], with what went wrong in the reason.
    ///
    /// Defaults to `false`.
    pub fn startonly(mut self, on: bool) -> Self {
        self.startonly = on;
        self
    }

    pub(crate) fn is_startonly(&self) -> bool {
        self.startonly
    }

    /// Sets what of TLS is asked for.
    ///
    /// Defaults to [`SslMode::Prefer`].
    pub fn sslmode(self, mode: SslMode) -> Self {
        self.with("sslmode", &mode.to_string())
    }

    /// Sets the name that the server's views and logs show for the connections.
    pub fn application_name(self, name: &str) -> Self {
        self.with("application_name", name)
    }

    /// Sets how long one try to connect to one address may take, until the server is ready for
    /// statements; at least a second, and in whole seconds.
    ///
    /// Defaults to 10 seconds. On a Unix socket it covers no more than the socket's own part, where the
    /// program may not use TCP with itself.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        let seconds = timeout
            .as_secs()
            .saturating_add(u64::from(timeout.subsec_nanos() > 0));
        // As much as libpq can hold, which is 68 years.
        let seconds = seconds.clamp(1, i32::MAX as u64);
        self.with("connect_timeout", &seconds.to_string())
    }

    /// Sets any keyword of libpq's connection strings, with the meaning it has there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] where libpq has no such keyword, or it is not supported. Whether the
    /// value is good shows when a store is connected.
    pub fn set(self, keyword: &str, value: &str) -> Result<Self, Error> {
        match keyword::find(keyword) {
            None => {
                let advice = keyword::advice(keyword);
                let advice = advice.map_or(String::new(), |advice| format!(": {advice}"));
                Err(Error::InvalidOption(format!(
                    "libpq has no keyword {keyword:?}{advice}"
                )))
            }
            Some(known) if known.usage == Use::Refused => Err(refused(known.name)),
            Some(known) => Ok(self.with(known.name, value)),
        }
    }

    /// What is set in the end.
    pub(super) fn values(&self) -> Values {
        let Some(conninfo) = &self.conninfo else {
            return self.given.clone();
        };
        let mut values = conninfo.clone();
        let beyond = self
            .given
            .iter()
            .filter(|(keyword, _)| !ARGUMENTS.contains(keyword));
        values.extend(beyond.map(|(keyword, value)| (*keyword, value.clone())));
        values
    }

    fn with(mut self, keyword: &'static str, value: &str) -> Self {
        self.given.insert(keyword, value.to_owned());
        self
    }
}

/// What a connection string says. If it is wrong, the error quotes nothing that might be a value or a piece
/// of the password.
fn parse(conninfo: &str) -> Result<Values, Error> {
    let wrong = |what: String| {
        Error::InvalidOption(format!("the connection string cannot be used: {what}"))
    };
    let mut values = Values::new();
    let pairs = conninfo::parse(conninfo).map_err(wrong)?;
    for pair in pairs {
        let Some(known) = keyword::find(&pair.keyword) else {
            return Err(wrong(unknown(&pair)));
        };
        if known.usage == Use::Refused {
            return Err(refused(known.name));
        }
        values.insert(known.name, pair.value);
    }
    Ok(values)
}

/// What is wrong with a pair whose keyword libpq does not know.
fn unknown(pair: &Pair) -> String {
    let (name, advice) = if pair.can_be_named {
        (
            format!(" `{}`", pair.keyword),
            keyword::advice(&pair.keyword),
        )
    } else {
        (String::new(), None)
    };
    let advice = advice.unwrap_or_else(|| {
        "a value with blanks needs single quotes, and in a URI `&` and `@` of a value are written `%26` and \
         `%40`"
            .to_owned()
    });
    format!(
        "libpq does not know the keyword{name} {}: {advice}",
        pair.position
    )
}

pub(super) fn refused(keyword: &str) -> Error {
    Error::InvalidOption(format!(
        "{keyword:?} is not supported, and to leave it out might be less safe than was asked for"
    ))
}

impl FromStr for ConnectOptions {
    type Err = Error;

    fn from_str(conninfo: &str) -> Result<Self, Error> {
        Ok(ConnectOptions {
            given: parse(conninfo)?,
            ..ConnectOptions::default()
        })
    }
}

impl TryFrom<&str> for ConnectOptions {
    type Error = Error;

    fn try_from(conninfo: &str) -> Result<Self, Error> {
        conninfo.parse()
    }
}

impl TryFrom<&String> for ConnectOptions {
    type Error = Error;

    fn try_from(conninfo: &String) -> Result<Self, Error> {
        conninfo.parse()
    }
}

impl TryFrom<String> for ConnectOptions {
    type Error = Error;

    fn try_from(conninfo: String) -> Result<Self, Error> {
        conninfo.parse()
    }
}

/// Shows what is set, but of passwords only that they are.
impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ConnectOptions");
        for (keyword, value) in self.values() {
            if keyword.contains("password") {
                shown.field(keyword, &format_args!(".."));
            } else {
                shown.field(keyword, &value);
            }
        }
        shown.field("startonly", &self.startonly).finish()
    }
}

/// What of TLS is asked for, on TCP. A Unix socket never has it.
///
/// All but the first three need the feature `tls`; without it they fail. And where the feature is off,
/// the first three are all without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS only where the server refuses without.
    Allow,
    /// TLS where the server has it.
    Prefer,
    /// TLS, with whatever certificate, unless there are root certificates: then as
    /// [`VerifyCa`](Self::VerifyCa).
    Require,
    /// TLS, and the server's certificate is signed by somebody whom we trust.
    VerifyCa,
    /// As [`VerifyCa`](Self::VerifyCa), and the certificate is made out to the server's name. No other
    /// mode keeps out everybody who can get between.
    VerifyFull,
}

impl SslMode {
    const ALL: [SslMode; 6] = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];

    /// Whether a connection without TLS will do.
    pub(super) fn can_do_without(self) -> bool {
        self <= SslMode::Prefer
    }
}

/// As libpq writes it.
impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        })
    }
}

impl FromStr for SslMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = SslMode::ALL
            .into_iter()
            .find(|mode| mode.to_string() == text);
        named.ok_or_else(|| {
            let names = SslMode::ALL.map(|mode| mode.to_string()).join(", ");
            Error::InvalidOption(format!("sslmode is none of {names}"))
        })
    }
}
