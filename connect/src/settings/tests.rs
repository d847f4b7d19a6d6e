#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, fs, path::Path};

use tempfile::TempDir;

use super::{hosts::default_directory, *};
use crate::{ssl_mode::SslMode, tls::Roots};

/// A machine with these environment variables, and a user `crab` who has these files.
struct Machine {
    variables: HashMap<&'static str, String>,
    home: TempDir,
}

impl Machine {
    fn with(variables: &[(&'static str, &str)]) -> Machine {
        Machine {
            variables: variables
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, "").unwrap();
        path
    }

    fn settings(&self, options: &ConnectOptions) -> Result<Settings, Error> {
        Settings::within(
            options,
            &Environment {
                variables: self.variables.clone(),
                user: Ok("crab".to_owned()),
                passfile: Some(self.home.path().join(".pgpass")),
                service_file: Some(self.home.path().join(".pg_service.conf")),
                tls_directory: Some(self.home.path().to_owned()),
            },
        )
    }

    fn reads(&self, conninfo: &str) -> Settings {
        self.settings(&conninfo.parse().unwrap()).unwrap()
    }

    fn refuses(&self, conninfo: &str) -> String {
        let options: Result<ConnectOptions, Error> = conninfo.parse();
        match options.and_then(|options| self.settings(&options)) {
            Err(error) if error.is_invalid_option() => error.to_string(),
            Err(other) => panic!("{conninfo}: {other:?}"),
            Ok(_) => panic!("{conninfo} is accepted"),
        }
    }
}

fn bare() -> Machine {
    Machine::with(&[])
}

fn hosts_of(settings: &Settings) -> Vec<String> {
    settings.hosts.iter().map(Host::to_string).collect()
}

#[test]
fn without_options_the_defaults_are_used() {
    let settings = bare().settings(&ConnectOptions::new()).unwrap();
    let socket = format!("{}/.s.PGSQL.5432", default_directory());
    assert_eq!(hosts_of(&settings), [socket]);
    assert_eq!(settings.user, "crab");
    assert_eq!(settings.dbname, "crab");
    assert_eq!(bare().reads("host=db").tls.mode, SslMode::Prefer);
    assert_eq!(settings.target_role, TargetRole::Any);
    assert!(!settings.is_random_order);
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(10)));
    assert_eq!(settings.tcp_user_timeout, Some(Duration::from_secs(30)));
    assert_eq!(settings.keepalives.unwrap().idle, Duration::from_secs(60));
    assert_eq!(settings.options, None);
    assert_eq!(settings.application_name, None);
}

#[test]
fn options_that_are_not_set_come_from_the_environment() {
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
    let settings = machine.settings(&ConnectOptions::new()).unwrap();
    assert_eq!(hosts_of(&settings), ["db:6000"]);
    assert_eq!(
        (settings.user.as_str(), settings.dbname.as_str()),
        ("web", "app")
    );
    assert!(matches!(&settings.password, Password::Given(p, "PGPASSWORD") if p == "secret"));
    assert_eq!(settings.options.as_deref(), Some("-c work_mem=8MB"));
    assert_eq!(settings.application_name.as_deref(), Some("shop"));
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(settings.tls.mode, SslMode::Require);
    assert_eq!(settings.target_role, TargetRole::Primary);
    assert!(settings.is_random_order);
    assert_eq!(settings.channel_binding, ChannelBinding::Require);

    let given = "host=here port=1 dbname=d user=u password=p options=o application_name=a \
                 connect_timeout=9 sslmode=disable target_session_attrs=any \
                 load_balance_hosts=disable channel_binding=disable";
    let settings = machine.reads(given);
    assert_eq!(hosts_of(&settings), ["here:1"]);
    assert_eq!(
        (settings.user.as_str(), settings.dbname.as_str()),
        ("u", "d")
    );
    assert!(matches!(&settings.password, Password::Given(p, "the options") if p == "p"));
    assert_eq!(settings.options.as_deref(), Some("o"));
    assert_eq!(settings.application_name.as_deref(), Some("a"));
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(9)));
    assert_eq!(settings.tls.mode, SslMode::Disable);
    assert_eq!(settings.target_role, TargetRole::Any);
    assert!(!settings.is_random_order);
    assert_eq!(settings.channel_binding, ChannelBinding::Disable);

    // An empty value counts as not set.
    assert_eq!(hosts_of(&machine.reads("host='' port=''")), ["db:6000"]);
}

#[test]
fn a_service_has_precedence_over_the_environment_but_not_over_options() {
    let machine = Machine::with(&[("PGHOST", "db"), ("PGUSER", "web")]);
    let file = machine.file("services");
    fs::write(&file, "[shop]\nhost=shop-db\nport=7000\nuser=shop\n").unwrap();
    let file = file.display();
    let settings = machine.reads(&format!("service=shop servicefile='{file}' port=7001"));
    assert_eq!(hosts_of(&settings), ["shop-db:7001"]);
    assert_eq!(settings.user, "shop");
    let missing = machine.refuses(&format!("service=other servicefile='{file}'"));
    assert!(missing.contains("other"), "{missing}");
}

#[test]
fn lists_of_hosts_addresses_and_ports_are_combined() {
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
    let settings = machine.reads("host=a,b hostaddr=10.0.0.1,");
    assert_eq!(
        settings.hosts[0].location,
        Location::Address([10, 0, 0, 1].into())
    );
    assert_eq!(settings.hosts[0].name, "a");
    assert_eq!(settings.hosts[1].location, Location::Name);
}

#[test]
fn the_error_of_an_invalid_value_names_valid_ones() {
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
fn requiressl_never_makes_sslmode_weaker() {
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
fn the_users_files_for_tls_are_found() {
    let machine = Machine::with(&[("PGHOST", "db")]);
    let none = machine.reads("").tls;
    assert!(none.roots == Roots::None && none.revoked.is_none() && none.identity.is_none());
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

    // On a Unix socket there is no TLS, so its files are not needed.
    let local = machine.reads("host=/run sslmode=verify-full").tls;
    assert!(local.mode == SslMode::Disable && local.identity.is_none());

    let systems = machine.reads("sslrootcert=system").tls;
    assert!(systems.roots == Roots::System && systems.mode == SslMode::VerifyFull);
}

#[test]
fn times_and_counts_have_libpqs_units() {
    let settings = bare().reads(
        "connect_timeout=2 tcp_user_timeout=1500 keepalives_idle=5 keepalives_interval=6 \
         keepalives_count=7",
    );
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(2)));
    assert_eq!(settings.tcp_user_timeout, Some(Duration::from_millis(1500)));
    let keepalives = settings.keepalives.unwrap();
    assert_eq!(keepalives.idle, Duration::from_secs(5));
    assert_eq!(keepalives.interval, Some(Duration::from_secs(6)));
    assert_eq!(keepalives.count, Some(7));
    let settings = bare().reads("connect_timeout=0 tcp_user_timeout=0 keepalives=0");
    assert_eq!(
        (settings.connect_timeout, settings.tcp_user_timeout),
        (None, None)
    );
    assert!(settings.keepalives.is_none());
    assert_eq!(bare().reads("connect_timeout=-1").connect_timeout, None);
    for (timeout, seconds) in [
        (Duration::from_millis(1), 1),
        (Duration::from_millis(1001), 2),
        (Duration::MAX, i32::MAX as u64),
    ] {
        let options = ConnectOptions::new().connect_timeout(timeout);
        let settings = bare().settings(&options).unwrap();
        assert_eq!(settings.connect_timeout, Some(Duration::from_secs(seconds)));
    }
}

#[test]
fn conninfo_replaces_the_other_arguments_of_ocamls_connect() {
    let options = ConnectOptions::new()
        .host("before")
        .user("before")
        .conninfo("host=in sslmode=disable")
        .unwrap()
        .port(1)
        .sslmode(SslMode::Require);
    let settings = bare().settings(&options).unwrap();
    assert_eq!(hosts_of(&settings), ["in:5432"]);
    assert_eq!(settings.user, "crab");
    // OCaml's `connect` has no argument `sslmode`, so this is kept.
    assert_eq!(settings.tls.mode, SslMode::Require);
    // Options can be added to a parsed string.
    let options: ConnectOptions = "host=in user=in".parse().unwrap();
    let settings = bare().settings(&options.port(1).user("after")).unwrap();
    assert_eq!(hosts_of(&settings), ["in:1"]);
    assert_eq!(settings.user, "after");
}

#[test]
fn a_value_cannot_set_another_option() {
    let nasty = r"x' host=evil \' password=\\ user=evil";
    let options = ConnectOptions::new()
        .dbname(nasty)
        .user(nasty)
        .password(nasty)
        .options(nasty)
        .application_name(nasty);
    let settings = bare().settings(&options).unwrap();
    assert_eq!(
        (settings.user.as_str(), settings.dbname.as_str()),
        (nasty, nasty)
    );
    assert_eq!(settings.options.as_deref(), Some(nasty));
    assert_eq!(settings.application_name.as_deref(), Some(nasty));
    assert!(matches!(&settings.password, Password::Given(p, _) if p == nasty));
    assert_eq!(
        hosts_of(&settings),
        hosts_of(&bare().settings(&ConnectOptions::new()).unwrap())
    );
    assert!(bare().settings(&options.host("a\0b")).is_err());
}

#[test]
fn the_password_file_is_searched_for_the_host_in_the_options() {
    let machine = bare();
    for (conninfo, name) in [
        ("host=db", "db"),
        ("host=db hostaddr=10.0.0.1", "db"),
        ("hostaddr=10.0.0.1", "10.0.0.1"),
        ("host=/run/other", "/run/other"),
    ] {
        assert_eq!(
            machine.reads(conninfo).hosts[0].name_in_password_file(),
            name
        );
    }
    let settings = machine.reads("");
    assert!(matches!(settings.password, Password::InFile(Some(file)) if file.ends_with(".pgpass")));
    let settings = machine.reads("passfile=/other");
    assert!(
        matches!(settings.password, Password::InFile(Some(file)) if file == Path::new("/other"))
    );
}
