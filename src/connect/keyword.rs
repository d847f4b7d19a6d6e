//! The keywords of libpq's connection strings, as of libpq 18.

/// What becomes of a keyword's value.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Use {
    /// It counts.
    Counts,
    /// It changes nothing, here or in libpq.
    Nothing,
    /// It asks for what is not there, and to go on without might be less safe.
    Refused,
}

pub(super) struct Keyword {
    pub(super) name: &'static str,
    /// The environment variable that stands in for it.
    pub(super) variable: Option<&'static str>,
    pub(super) usage: Use,
}

const fn counts(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        usage: Use::Counts,
    }
}

const fn nothing(name: &'static str) -> Keyword {
    Keyword {
        name,
        variable: None,
        usage: Use::Nothing,
    }
}

const fn refused(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        usage: Use::Refused,
    }
}

pub(super) const KEYWORDS: &[Keyword] = &[
    counts("service", Some("PGSERVICE")),
    counts("servicefile", Some("PGSERVICEFILE")),
    counts("host", Some("PGHOST")),
    counts("hostaddr", Some("PGHOSTADDR")),
    counts("port", Some("PGPORT")),
    counts("dbname", Some("PGDATABASE")),
    counts("user", Some("PGUSER")),
    counts("password", Some("PGPASSWORD")),
    counts("passfile", Some("PGPASSFILE")),
    counts("options", Some("PGOPTIONS")),
    counts("application_name", Some("PGAPPNAME")),
    counts("fallback_application_name", None),
    counts("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    counts("tcp_user_timeout", None),
    counts("keepalives", None),
    counts("keepalives_idle", None),
    counts("keepalives_interval", None),
    counts("keepalives_count", None),
    counts("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    counts("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    counts("channel_binding", Some("PGCHANNELBINDING")),
    counts("sslmode", Some("PGSSLMODE")),
    counts("requiressl", Some("PGREQUIRESSL")),
    counts("sslnegotiation", Some("PGSSLNEGOTIATION")),
    counts("sslrootcert", Some("PGSSLROOTCERT")),
    counts("sslcrl", Some("PGSSLCRL")),
    counts("sslcert", Some("PGSSLCERT")),
    counts("sslkey", Some("PGSSLKEY")),
    counts("sslpassword", None),
    counts("sslsni", Some("PGSSLSNI")),
    counts("gssencmode", Some("PGGSSENCMODE")),
    // The driver speaks UTF-8, and that is what values are.
    nothing("client_encoding"),
    nothing("tty"),
    nothing("authtype"),
    nothing("sslcompression"),
    nothing("krbsrvname"),
    nothing("gsslib"),
    nothing("gssdelegation"),
    refused("replication", None),
    refused("requirepeer", Some("PGREQUIREPEER")),
    refused("require_auth", Some("PGREQUIREAUTH")),
    refused("sslcertmode", Some("PGSSLCERTMODE")),
    refused("sslcrldir", Some("PGSSLCRLDIR")),
    refused("sslkeylogfile", None),
    refused("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    refused("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    refused("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    refused("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    refused("scram_client_key", None),
    refused("scram_server_key", None),
    refused("oauth_issuer", None),
    refused("oauth_client_id", None),
    refused("oauth_client_secret", None),
    refused("oauth_scope", None),
];

pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// What to do instead of a keyword that libpq does not know, if that is known: other programs have it, or
/// write one of libpq's otherwise.
pub(super) fn advice(unknown: &str) -> Option<String> {
    let unknown = normal(unknown);
    let builder = match unknown.as_str() {
        "schema" | "currentschema" | "searchpath" => "schema(…)",
        "pgbouncer" | "statementcachesize" | "statementcachecapacity" | "preparethreshold" => {
            "prepared(false)"
        }
        "connectionlimit" | "poolsize" | "maxconnections" => "max_connections(…)",
        "ssl" => return Some("use `sslmode`".to_owned()),
        _ => {
            let meant = KEYWORDS
                .iter()
                .find(|known| normal(known.name) == unknown)?;
            return Some(format!("use `{}`", meant.name));
        }
    };
    Some(format!("use `PostgresStore::builder().{builder}`"))
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_call_otherwise_is_explained() {
        for (unknown, expected) in [
            ("schema", Some("use `PostgresStore::builder().schema(…)`")),
            (
                "currentSchema",
                Some("use `PostgresStore::builder().schema(…)`"),
            ),
            (
                "pgbouncer",
                Some("use `PostgresStore::builder().prepared(false)`"),
            ),
            (
                "statement_cache_size",
                Some("use `PostgresStore::builder().prepared(false)`"),
            ),
            (
                "connection_limit",
                Some("use `PostgresStore::builder().max_connections(…)`"),
            ),
            ("ssl", Some("use `sslmode`")),
            ("ssl_mode", Some("use `sslmode`")),
            ("sslMode", Some("use `sslmode`")),
            ("ApplicationName", Some("use `application_name`")),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(advice(unknown).as_deref(), expected, "{unknown}");
        }
    }

    #[test]
    fn the_readme_has_every_keyword_that_counts_and_its_variable() {
        let readme = include_str!("../../README.md");
        for keyword in KEYWORDS {
            let variable = keyword
                .variable
                .map_or(String::new(), |name| format!(" `{name}`"));
            let row = format!("\n| `{}` |{variable} | ", keyword.name);
            let is_there = readme.contains(&row);
            assert_eq!(is_there, keyword.usage == Use::Counts, "{}", keyword.name);
        }
    }
}
