//! The options of a connection.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::{
    error::Error,
    libpq::{
        connection_string::{self, Pair},
        keyword::{self, Support},
    },
    ssl_mode::SslMode,
};

/// Options of a connection: a builder with libpq's keywords.
///
/// The most common keywords have a method, and [`set`](Self::set) sets any other. A connection string can be
/// parsed into options: `key=value` pairs or a URL, as in libpq.
///
/// An option that is not set comes from the service file, then from libpq's environment variables (`PGHOST`,
/// `PGUSER` and so on), then from a default. [`keywords`](crate::keywords) lists all of them. The
/// password comes last from the password file. An empty value counts as not set.
///
/// A value cannot set other options, because it is not parsed as a connection string.
///
/// # Examples
///
/// ```no_run
/// use postgres_connect::{ConnectOptions, SslMode};
///
/// let options = ConnectOptions::new()
///     .host("db1.example.com,db2.example.com")
///     .dbname("app")
///     .user("web")
///     .sslmode(SslMode::VerifyFull)
///     .set("sslrootcert", "/etc/app/ca.pem")?
///     .set("target_session_attrs", "read-write")?;
///
/// // The same, as a connection string.
/// let options: ConnectOptions =
///     "postgresql://web@db1.example.com,db2.example.com/app?sslmode=verify-full\
///      &sslrootcert=/etc/app/ca.pem&target_session_attrs=read-write"
///         .parse()?;
/// # Ok::<(), postgres_connect::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing until a connection is opened with them"]
pub struct ConnectOptions {
    set: Values,
    /// Replaces the keywords in [`REPLACED`].
    conninfo: Option<Values>,
    startonly: bool,
}

/// The keywords that [`ConnectOptions::conninfo`] replaces: the arguments of `connect` in OCaml's binding of
/// libpq.
const REPLACED: [&str; 9] = [
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
pub(crate) type Values = BTreeMap<&'static str, String>;

impl ConnectOptions {
    /// Returns empty options.
    pub fn new() -> ConnectOptions {
        ConnectOptions::default()
    }

    /// Sets the host name of the server. If it begins with `/`, it is the directory of a Unix socket.
    /// Several hosts are separated by commas, and tried in order. TLS compares the name with the server's
    /// certificate.
    ///
    /// Defaults to `/var/run/postgresql` if that directory exists, else to `/tmp`; on Windows to `localhost`.
    pub fn host(self, names: &str) -> Self {
        self.with("host", names)
    }

    /// Sets the IP address of the server, so that its name is not looked up. TLS and the password file still
    /// use the name in [`host`](Self::host). Several addresses are separated by commas, one for each host.
    pub fn hostaddr(self, addresses: &str) -> Self {
        self.with("hostaddr", addresses)
    }

    /// Sets the port: one for all hosts, or one for each, separated by commas.
    ///
    /// Defaults to 5432.
    pub fn port(self, ports: impl fmt::Display) -> Self {
        self.with("port", &ports.to_string())
    }

    /// Sets the name of the database.
    ///
    /// Defaults to the name of the user.
    pub fn dbname(self, name: &str) -> Self {
        self.with("dbname", name)
    }

    /// Sets the name of the database user.
    ///
    /// Defaults to the name of the operating system's user.
    pub fn user(self, name: &str) -> Self {
        self.with("user", name)
    }

    /// Sets the password.
    ///
    /// Defaults to the entry for host, port, database and user in the password file, which is named by
    /// `passfile` or `PGPASSFILE`, or else is `~/.pgpass`. As in libpq, a file that other users may read is
    /// ignored.
    pub fn password(self, password: &str) -> Self {
        self.with("password", password)
    }

    /// Sets command-line options of the server process, such as `-c work_mem=8MB`. A space in a value needs a
    /// backslash before it.
    pub fn options(self, options: &str) -> Self {
        self.with("options", options)
    }

    /// Does nothing, as in libpq. OCaml's binding of libpq has this argument.
    pub fn tty(self, tty: &str) -> Self {
        self.with("tty", tty)
    }

    /// Asks for TLS, like [`SslMode::Require`], if the value begins with `1`. Other values change nothing.
    pub fn requiressl(self, requiressl: &str) -> Self {
        self.with("requiressl", requiressl)
    }

    /// Sets a connection string that replaces the options from [`host`](Self::host) to
    /// [`requiressl`](Self::requiressl), including those that are set later.
    ///
    /// This is the argument `conninfo` in OCaml's binding of libpq. To add options to a connection string,
    /// parse it instead: `text.parse::<ConnectOptions>()`.
    ///
    /// # Errors
    ///
    /// If it cannot be parsed, or has a keyword that is unknown or not supported.
    pub fn conninfo(mut self, conninfo: &str) -> Result<Self, Error> {
        self.conninfo = Some(parse(conninfo)?);
        Ok(self)
    }

    /// Sets whether a pool or store is built without a connection. The first use opens one, and gets the error if
    /// that fails.
    ///
    /// [`Connector::connect`](crate::Connector::connect) ignores it, and callers read it with
    /// [`is_startonly`](Self::is_startonly).
    ///
    /// Defaults to `false`.
    pub fn startonly(mut self, on: bool) -> Self {
        self.startonly = on;
        self
    }

    /// Returns whether [`startonly`](Self::startonly) is set.
    pub fn is_startonly(&self) -> bool {
        self.startonly
    }

    /// Sets whether TLS is used, and how the server's certificate is checked.
    ///
    /// Defaults to [`SslMode::Prefer`].
    pub fn sslmode(self, mode: SslMode) -> Self {
        self.with("sslmode", &mode.to_string())
    }

    /// Sets the name of the program in the server's views and logs.
    pub fn application_name(self, name: &str) -> Self {
        self.with("application_name", name)
    }

    /// Sets the time limit of one attempt to connect to one address, until the server is ready for
    /// statements. It is rounded up to whole seconds.
    ///
    /// Defaults to 10 seconds. On a Unix socket it covers only the `connect` of the socket.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        let seconds = timeout
            .as_secs()
            .saturating_add(u64::from(timeout.subsec_nanos() > 0));
        // The largest number that libpq can hold is 68 years.
        let seconds = seconds.clamp(1, i32::MAX as u64);
        self.with("connect_timeout", &seconds.to_string())
    }

    /// Sets a keyword of libpq's connection strings. The value has the same meaning as in libpq.
    ///
    /// # Errors
    ///
    /// If libpq has no such keyword, or it is not supported. The value is checked by
    /// [`Connector::new`](crate::Connector::new).
    pub fn set(self, keyword: &str, value: &str) -> Result<Self, Error> {
        match keyword::find(keyword) {
            None => {
                let advice = keyword::advice(keyword);
                let advice = advice.map_or(String::new(), |advice| format!(": {advice}"));
                Err(Error::invalid_option(format!(
                    "libpq has no keyword {keyword:?}{advice}"
                )))
            }
            Some(known) if known.support == Support::Refused => Err(refused(known.name)),
            Some(known) => Ok(self.with(known.name, value)),
        }
    }

    /// The values of all options that are set.
    pub(crate) fn values(&self) -> Values {
        let Some(conninfo) = &self.conninfo else {
            return self.set.clone();
        };
        let mut values = conninfo.clone();
        let kept = self
            .set
            .iter()
            .filter(|(keyword, _)| !REPLACED.contains(keyword));
        values.extend(kept.map(|(keyword, value)| (*keyword, value.clone())));
        values
    }

    fn with(mut self, keyword: &'static str, value: &str) -> Self {
        self.set.insert(keyword, value.to_owned());
        self
    }
}

/// Parses a connection string. The error quotes nothing that may be a value or a part of the password.
fn parse(conninfo: &str) -> Result<Values, Error> {
    let invalid =
        |what: String| Error::invalid_option(format!("the connection string is invalid: {what}"));
    let mut values = Values::new();
    let pairs = connection_string::parse(conninfo).map_err(invalid)?;
    for pair in pairs {
        let Some(known) = keyword::find(&pair.keyword) else {
            return Err(invalid(unknown(&pair)));
        };
        if known.support == Support::Refused {
            return Err(refused(known.name));
        }
        values.insert(known.name, pair.value);
    }
    Ok(values)
}

/// The error text for a keyword that libpq does not have.
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
        "a value with spaces needs single quotes, and in a URI `&` and `@` of a value are written `%26` and \
         `%40`"
            .to_owned()
    });
    format!("libpq has no keyword{name} {}: {advice}", pair.position)
}

pub(crate) fn refused(keyword: &str) -> Error {
    Error::invalid_option(format!(
        "{keyword:?} is not supported, and ignoring it might make the connection less safe"
    ))
}

impl FromStr for ConnectOptions {
    type Err = Error;

    fn from_str(conninfo: &str) -> Result<Self, Error> {
        Ok(ConnectOptions {
            set: parse(conninfo)?,
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

/// Shows the options that are set. Passwords are replaced by `..`.
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
