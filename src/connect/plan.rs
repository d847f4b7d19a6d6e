//! What options come to, once the environment and the defaults have filled the gaps.

use std::{path::PathBuf, time::Duration};

use postgres::config::ChannelBinding;

use super::{
    environment::Environment,
    found::{Found, invalid},
    hosts::{Host, hosts},
    options::{ConnectOptions, SslMode},
    tls::{Identity, Roots, TlsOptions},
};
use crate::Error;

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
        Plan::within(options, &Environment::of_process()?)
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
        let hosts = hosts(&found)?;
        Ok(Plan {
            tls: tls(&found, environment, &hosts)?,
            hosts,
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

fn tls(found: &Found<'_>, environment: &Environment, hosts: &[Host]) -> Result<TlsOptions, Error> {
    let (mode, is_given) = sslmode(found, environment)?;
    let roots = match found.file("sslrootcert", "root.crt") {
        Some(file) if file.as_os_str() == "system" => Roots::Systems,
        Some(file) => Roots::File(file),
        None => Roots::Nobodys,
    };
    let mode = match roots {
        // There it is not used, and what it would need is not asked for.
        _ if hosts.iter().all(Host::is_local) => SslMode::Disable,
        Roots::Systems if !is_given => SslMode::VerifyFull,
        Roots::Systems if mode != SslMode::VerifyFull => {
            return Err(invalid(
                "sslrootcert=system needs sslmode=verify-full: anybody can have a certificate of some name",
            ));
        }
        Roots::Nobodys if mode >= SslMode::VerifyCa => {
            return Err(invalid(&format!(
                "sslmode={mode} needs root certificates: name their file with sslrootcert, or take the \
                 system's with sslrootcert=system"
            )));
        }
        _ => mode,
    };
    Ok(TlsOptions {
        mode,
        roots,
        revoked: found.file("sslcrl", "root.crl"),
        identity: identity(found, mode)?,
        sends_name: found.number("sslsni")?.unwrap_or(1i64) != 0,
    })
}

/// And whether somebody has asked for it.
fn sslmode(found: &Found<'_>, environment: &Environment) -> Result<(SslMode, bool), Error> {
    let named = found
        .value("sslmode")
        .map(|mode| mode.parse())
        .transpose()?;
    let mode = named.unwrap_or(SslMode::Prefer);
    let is_required = |value: Option<String>| value.is_some_and(|value| value.starts_with('1'));
    // Of the environment's two variables the newer one counts; otherwise it never asks for less.
    if is_required(found.chosen("requiressl"))
        || named.is_none() && is_required(environment.variable("PGREQUIRESSL"))
    {
        return Ok((mode.max(SslMode::Require), true));
    }
    Ok((mode, named.is_some()))
}

fn identity(found: &Found<'_>, mode: SslMode) -> Result<Option<Identity>, Error> {
    let certificate = match found.file("sslcert", "postgresql.crt") {
        Some(certificate) if mode != SslMode::Disable => certificate,
        _ => return Ok(None),
    };
    match found.file("sslkey", "postgresql.key") {
        Some(key) => Ok(Some(Identity {
            certificate,
            key,
            key_password: found.value("sslpassword"),
        })),
        None => Err(invalid(
            "there is a client's certificate, but no key to it: name its file with sslkey",
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashMap, fs, path::Path};

    use super::*;
    use crate::connect::{
        hosts::{Place, default_folder},
        scratch::Scratch,
    };

    /// A machine with these environment variables, and a user `crab` who has these files.
    struct Machine {
        variables: HashMap<&'static str, String>,
        home: Scratch,
    }

    impl Machine {
        fn with(variables: &[(&'static str, &str)]) -> Machine {
            Machine {
                variables: variables
                    .iter()
                    .map(|(name, value)| (*name, (*value).to_owned()))
                    .collect(),
                home: Scratch::new(),
            }
        }

        fn file(&self, name: &str) -> PathBuf {
            let path = self.home.path().join(name);
            fs::write(&path, "").unwrap();
            path
        }

        fn plan(&self, options: &ConnectOptions) -> Result<Plan, Error> {
            Plan::within(
                options,
                &Environment {
                    variables: self.variables.clone(),
                    user: Ok("crab".to_owned()),
                    passfile: Some(self.home.path().join(".pgpass")),
                    service_file: Some(self.home.path().join(".pg_service.conf")),
                    tls_folder: Some(self.home.path().to_owned()),
                },
            )
        }

        fn reads(&self, conninfo: &str) -> Plan {
            self.plan(&conninfo.parse().unwrap()).unwrap()
        }

        fn refuses(&self, conninfo: &str) -> String {
            let options: Result<ConnectOptions, Error> = conninfo.parse();
            match options.and_then(|options| self.plan(&options)) {
                Err(Error::InvalidOption(what)) => what,
                Err(other) => panic!("{conninfo}: {other:?}"),
                Ok(_) => panic!("{conninfo} is accepted"),
            }
        }
    }

    fn bare() -> Machine {
        Machine::with(&[])
    }

    fn hosts_of(plan: &Plan) -> Vec<String> {
        plan.hosts.iter().map(Host::to_string).collect()
    }

    #[test]
    fn without_options_libpqs_defaults_hold() {
        let plan = bare().plan(&ConnectOptions::new()).unwrap();
        let socket = format!("{}/.s.PGSQL.5432", default_folder());
        assert_eq!(hosts_of(&plan), [socket]);
        assert_eq!(plan.user, "crab");
        assert_eq!(plan.dbname, "crab");
        assert_eq!(bare().reads("host=db").tls.mode, SslMode::Prefer);
        assert_eq!(plan.wanted, Wanted::Any);
        assert!(!plan.shuffled);
        assert_eq!(plan.connect_timeout, Some(Duration::from_secs(10)));
        assert_eq!(plan.tcp_user_timeout, Some(Duration::from_secs(30)));
        assert_eq!(plan.keepalives.unwrap().idle, Duration::from_secs(60));
        assert_eq!(plan.options, None);
        assert_eq!(plan.application_name, None);
    }

    #[test]
    fn the_environment_fills_the_gaps() {
        let machine = Machine::with(&[
            ("PGHOST", "db"),
            ("PGPORT", "6000"),
            ("PGDATABASE", "app"),
            ("PGUSER", "web"),
            ("PGPASSWORD", "secret"),
            ("PGOPTIONS", "-c work_mem=8MB"),
            ("PGAPPNAME", "shop"),
            ("PGCONNECT_TIMEOUT", "3"),
            ("PGSSLMODE", "require"),
            ("PGTARGETSESSIONATTRS", "primary"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGCHANNELBINDING", "require"),
        ]);
        let plan = machine.plan(&ConnectOptions::new()).unwrap();
        assert_eq!(hosts_of(&plan), ["db:6000"]);
        assert_eq!((plan.user.as_str(), plan.dbname.as_str()), ("web", "app"));
        assert!(matches!(&plan.password, Password::Given(p, "PGPASSWORD") if p == "secret"));
        assert_eq!(plan.options.as_deref(), Some("-c work_mem=8MB"));
        assert_eq!(plan.application_name.as_deref(), Some("shop"));
        assert_eq!(plan.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(plan.tls.mode, SslMode::Require);
        assert_eq!(plan.wanted, Wanted::Primary);
        assert!(plan.shuffled);
        assert_eq!(plan.channel_binding, ChannelBinding::Require);

        let given = "host=here port=1 dbname=d user=u password=p options=o application_name=a \
                     connect_timeout=9 sslmode=disable target_session_attrs=any \
                     load_balance_hosts=disable channel_binding=disable";
        let plan = machine.reads(given);
        assert_eq!(hosts_of(&plan), ["here:1"]);
        assert_eq!((plan.user.as_str(), plan.dbname.as_str()), ("u", "d"));
        assert!(matches!(&plan.password, Password::Given(p, "the options") if p == "p"));
        assert_eq!(plan.options.as_deref(), Some("o"));
        assert_eq!(plan.application_name.as_deref(), Some("a"));
        assert_eq!(plan.connect_timeout, Some(Duration::from_secs(9)));
        assert_eq!(plan.tls.mode, SslMode::Disable);
        assert_eq!(plan.wanted, Wanted::Any);
        assert!(!plan.shuffled);
        assert_eq!(plan.channel_binding, ChannelBinding::Disable);

        // An empty value is none.
        assert_eq!(hosts_of(&machine.reads("host='' port=''")), ["db:6000"]);
    }

    #[test]
    fn a_service_comes_before_the_environment_and_after_what_is_given() {
        let machine = Machine::with(&[("PGHOST", "db"), ("PGUSER", "web")]);
        let file = machine.file("services");
        fs::write(&file, "[shop]\nhost=shop-db\nport=7000\nuser=shop\n").unwrap();
        let file = file.display();
        let plan = machine.reads(&format!("service=shop servicefile='{file}' port=7001"));
        assert_eq!(hosts_of(&plan), ["shop-db:7001"]);
        assert_eq!(plan.user, "shop");
        let missing = machine.refuses(&format!("service=other servicefile='{file}'"));
        assert!(missing.contains("other"), "{missing}");
    }

    #[test]
    fn lists_of_hosts_addresses_and_ports_go_together() {
        let machine = bare();
        for (conninfo, hosts) in [
            ("host=a,b", ["a:5432", "b:5432"]),
            ("host=a,b port=1", ["a:1", "b:1"]),
            ("host=a,b port=1,2", ["a:1", "b:2"]),
            ("host=a,b port=1,", ["a:1", "b:5432"]),
            ("hostaddr=10.0.0.1,::1 port=1,2", ["10.0.0.1:1", "[::1]:2"]),
            ("postgresql://a:1,b/", ["a:1", "b:5432"]),
            ("host=/run,a port=1", ["/run/.s.PGSQL.1", "a:1"]),
        ] {
            assert_eq!(hosts_of(&machine.reads(conninfo)), hosts, "{conninfo}");
        }
        let plan = machine.reads("host=a,b hostaddr=10.0.0.1,");
        assert_eq!(plan.hosts[0].place, Place::Address([10, 0, 0, 1].into()));
        assert_eq!(plan.hosts[0].name, "a");
        assert_eq!(plan.hosts[1].place, Place::Name);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_word_on_what_would() {
        let machine = bare();
        for (conninfo, hint) in [
            ("host=a,b hostaddr=10.0.0.1", "2 hosts for 1 addresses"),
            ("host=a,b,c port=1,2", "2 ports for 3 hosts"),
            ("port=0", "65535"),
            ("port=65536", "65535"),
            ("port=five", "65535"),
            ("hostaddr=db", "not an IP address"),
            ("host=@socket", "abstract"),
            (
                "connect_timeout=soon",
                "connect_timeout is not a whole number",
            ),
            ("keepalives_count=-1", "keepalives_count"),
            (
                "sslmode=on",
                "disable, allow, prefer, require, verify-ca, verify-full",
            ),
            ("target_session_attrs=rw", "read-write"),
            ("load_balance_hosts=yes", "disable, random"),
            ("channel_binding=yes", "disable, prefer, require"),
            ("gssencmode=require", "GSSAPI"),
            ("host=db sslmode=verify-full", "sslrootcert"),
            (
                "host=db sslmode=verify-ca sslrootcert=system",
                "verify-full",
            ),
            (
                "sslnegotiation=direct",
                "sslnegotiation is none of postgres",
            ),
            ("host=db sslcert=/crab.crt", "sslkey"),
            ("requirepeer=postgres", "not supported"),
            ("nonsense=1", "keyword `nonsense` at character 1"),
        ] {
            let error = machine.refuses(conninfo);
            assert!(error.contains(hint), "{conninfo}: {error}");
        }
        let machine = Machine::with(&[("PGREQUIREPEER", "postgres")]);
        assert!(machine.refuses("").contains("PGREQUIREPEER"));
    }

    #[test]
    fn requiressl_asks_for_more_and_never_for_less() {
        let machine = Machine::with(&[("PGHOST", "db")]);
        for (conninfo, mode) in [
            ("requiressl=1", SslMode::Require),
            ("requiressl=12", SslMode::Require),
            ("requiressl=0", SslMode::Prefer),
            ("requiressl=yes", SslMode::Prefer),
            ("sslmode=disable requiressl=1", SslMode::Require),
            ("sslmode=disable requiressl=0", SslMode::Disable),
        ] {
            assert_eq!(machine.reads(conninfo).tls.mode, mode, "{conninfo}");
        }
        let root = machine.file("ca").display().to_string();
        let strict = format!("sslmode=verify-full sslrootcert='{root}' requiressl=1");
        assert_eq!(machine.reads(&strict).tls.mode, SslMode::VerifyFull);

        let machine = Machine::with(&[("PGHOST", "db"), ("PGREQUIRESSL", "1")]);
        assert_eq!(machine.reads("").tls.mode, SslMode::Require);
        assert_eq!(machine.reads("sslmode=allow").tls.mode, SslMode::Allow);
    }

    #[test]
    fn the_users_own_files_for_tls_are_found() {
        let machine = Machine::with(&[("PGHOST", "db")]);
        let none = machine.reads("").tls;
        assert!(none.roots == Roots::Nobodys && none.revoked.is_none() && none.identity.is_none());
        let root = machine.file("root.crt");
        let revoked = machine.file("root.crl");
        let certificate = machine.file("postgresql.crt");
        let key = machine.file("postgresql.key");
        let found = machine.reads("sslmode=verify-ca sslpassword=secret").tls;
        assert!(found.roots == Roots::File(root));
        assert_eq!(found.revoked, Some(revoked));
        let identity = found.identity.unwrap();
        assert_eq!((identity.certificate, identity.key), (certificate, key));
        assert_eq!(identity.key_password.as_deref(), Some("secret"));

        // On a Unix socket there is no TLS, and nothing that it needs.
        let local = machine.reads("host=/run sslmode=verify-full").tls;
        assert!(local.mode == SslMode::Disable && local.identity.is_none());

        let systems = machine.reads("sslrootcert=system").tls;
        assert!(systems.roots == Roots::Systems && systems.mode == SslMode::VerifyFull);
    }

    #[test]
    fn times_and_counts_have_libpqs_units() {
        let plan = bare().reads(
            "connect_timeout=2 tcp_user_timeout=1500 keepalives_idle=5 keepalives_interval=6 \
             keepalives_count=7",
        );
        assert_eq!(plan.connect_timeout, Some(Duration::from_secs(2)));
        assert_eq!(plan.tcp_user_timeout, Some(Duration::from_millis(1500)));
        let keepalives = plan.keepalives.unwrap();
        assert_eq!(keepalives.idle, Duration::from_secs(5));
        assert_eq!(keepalives.interval, Some(Duration::from_secs(6)));
        assert_eq!(keepalives.count, Some(7));
        let plan = bare().reads("connect_timeout=0 tcp_user_timeout=0 keepalives=0");
        assert_eq!((plan.connect_timeout, plan.tcp_user_timeout), (None, None));
        assert!(plan.keepalives.is_none());
        assert_eq!(bare().reads("connect_timeout=-1").connect_timeout, None);
        for (timeout, seconds) in [
            (Duration::from_millis(1), 1),
            (Duration::from_millis(1001), 2),
            (Duration::MAX, i32::MAX as u64),
        ] {
            let options = ConnectOptions::new().connect_timeout(timeout);
            let plan = bare().plan(&options).unwrap();
            assert_eq!(plan.connect_timeout, Some(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_conninfo_replaces_the_originals_other_arguments() {
        let options = ConnectOptions::new()
            .host("before")
            .user("before")
            .conninfo("host=in sslmode=disable")
            .unwrap()
            .port(1)
            .sslmode(SslMode::Require);
        let plan = bare().plan(&options).unwrap();
        assert_eq!(hosts_of(&plan), ["in:5432"]);
        assert_eq!(plan.user, "crab");
        // What the original did not have as an argument holds.
        assert_eq!(plan.tls.mode, SslMode::Require);
        // A string that is parsed can be added to.
        let options: ConnectOptions = "host=in user=in".parse().unwrap();
        let plan = bare().plan(&options.port(1).user("after")).unwrap();
        assert_eq!(hosts_of(&plan), ["in:1"]);
        assert_eq!(plan.user, "after");
    }

    #[test]
    fn no_value_brings_in_another_option() {
        let nasty = r"x' host=evil \' password=\\ user=evil";
        let options = ConnectOptions::new()
            .dbname(nasty)
            .user(nasty)
            .password(nasty)
            .options(nasty)
            .application_name(nasty);
        let plan = bare().plan(&options).unwrap();
        assert_eq!((plan.user.as_str(), plan.dbname.as_str()), (nasty, nasty));
        assert_eq!(plan.options.as_deref(), Some(nasty));
        assert_eq!(plan.application_name.as_deref(), Some(nasty));
        assert!(matches!(&plan.password, Password::Given(p, _) if p == nasty));
        assert_eq!(
            hosts_of(&plan),
            hosts_of(&bare().plan(&ConnectOptions::new()).unwrap())
        );
        assert!(bare().plan(&options.host("a\0b")).is_err());
    }

    #[test]
    fn the_password_file_calls_a_host_as_it_was_called() {
        let machine = bare();
        for (conninfo, name) in [
            ("host=db", "db"),
            ("host=db hostaddr=10.0.0.1", "db"),
            ("hostaddr=10.0.0.1", "10.0.0.1"),
            ("host=/run/other", "/run/other"),
        ] {
            assert_eq!(machine.reads(conninfo).hosts[0].name_for_passwords(), name);
        }
        let plan = machine.reads("");
        assert!(matches!(plan.password, Password::In(Some(file)) if file.ends_with(".pgpass")));
        let plan = machine.reads("passfile=/other");
        assert!(matches!(plan.password, Password::In(Some(file)) if file == Path::new("/other")));
    }
}
